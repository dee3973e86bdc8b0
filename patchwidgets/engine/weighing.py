"""Attention weighed by what it carries: each weight times the length of the value vector as W_O writes it.

Kobayashi et al. 2020, "Attention is Not Only a Weight" (arXiv 2004.10102), section 3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..sites import get_site
from .direct import W_O, NotDirect, Run, near
from .handle import ModelHandle
from .inspect import Keep, pattern_hook


class Weighing:
    """The value-weighted attention of one head. NotDirect, also of `weighed`, says why a model has none."""

    def __init__(self, handle: ModelHandle, layer: int, head: int) -> None:
        self._layer, self._head, self._heads = layer, head, handle.n_heads
        self._write = W_O(handle, layer)
        for site in ("v", "z"):
            handle.shape(get_site(site))
        self._pattern = pattern_hook(handle, layer)
        self._v, self._z = (get_site(site).hook_name(layer) for site in ("v", "z"))

    @property
    def watch(self) -> dict[str, Keep]:
        """What must be kept of every run, beside the head's pattern: all values and all of z."""
        return dict.fromkeys((self._v, self._z), lambda activation, run: activation)

    @property
    def normed_after(self) -> bool:
        """Whether a norm stands after W_O: the lengths are those before it."""
        return self._write.post is not None

    def check(self, plain: Run) -> None:
        """Raise NotDirect when a plain run's z is not its pattern times its values."""
        z = plain[self._z][:, :, self._head]
        if not near(plain[self._pattern] @ self._values(plain), z):
            raise NotDirect(f"the heads of layer {self._layer} do more than to sum their values by the attention.")

    @torch.no_grad()
    def weighed(self, run: Run) -> np.ndarray:
        """Return |pattern| x |value W_O|, every row made to sum to 1, [dest, src]; the mean over the draws."""
        values = self._values(run)
        lengths = self._write.alone(values.flatten(0, 1), self._head, self._heads).norm(dim=-1).view(values.shape[:2])
        carried = run[self._pattern].abs() * lengths[:, None]
        return (carried / carried.sum(-1, keepdim=True)).mean(0).float().cpu().numpy()

    def _values(self, run: Run) -> Tensor:
        """Return the head's values [draw, pos, d_head]; query heads may share them."""
        values = run[self._v]
        return values[:, :, self._head // (self._heads // values.shape[2])]
