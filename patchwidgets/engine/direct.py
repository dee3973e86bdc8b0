"""What one head adds to the logits directly: through W_O, the last norm with its scale held, and the unembedding.

Direct logit attribution: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al. 2022
(arXiv 2211.00593), section 3.1. No module is taken apart: norms and projections are the model's own, asked what they
make of given rows, and every step is held against the run that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..errors import PatchError
from ..prompts import EncodedPair
from ..sites import get_site
from .baseline import RUNS
from .gate import hooked, slack
from .handle import ModelHandle
from .inspect import Keep
from .replay.parts import cap_of

ENTERING = "ln_final.hook_in"
_PROBE = 1024.0
_ROUNDED = 1e-6
Run = Mapping[str, Tensor]
"""Hook name -> what was kept of a run, [draw, ...]."""


class NotDirect(PatchError):
    """The way from the heads to the logits is none that a contribution can be followed along; the text says where."""


class DirectPath:
    """From a layer's heads straight to the logits at one position.

    `at` names the position in either run, None where that run has no token there: what is kept is then the row of the
    position read. Building one may run the model; NotDirect says why a model has no such path.
    """

    def __init__(self, handle: ModelHandle, pair: EncodedPair, layer: int, at: Mapping[str, int | None]) -> None:
        self._handle, self._layer = handle, layer
        self._write = W_O(handle, layer)
        bridge: Any = handle.bridge
        if not hasattr(bridge, "ln_final") or not hasattr(bridge, "unembed"):
            raise NotDirect(f"the model {handle.name!r} shows no last norm or no unembedding.")
        self._norm, self._unembed = bridge.ln_final, bridge.unembed
        self.at = dict(at)
        reads = {run: len(pair.ids(run)) + pair.at for run in RUNS}
        self._rows = {run: [reads[run] if at[run] is None else at[run], reads[run]] for run in RUNS}
        self._z = get_site("z").hook_name(layer)
        sites = ["attn_out", "resid_pre", *(["resid_mid"] if self._serial else ["mlp_out", "resid_post"])]
        for site in ("z", *sites):
            handle.shape(get_site(site))
        _check_fires(handle)
        self._residual = {site: get_site(site).hook_name(layer) for site in sites}

    @property
    def _serial(self) -> bool:
        return self._handle.has(get_site("resid_mid"))

    @property
    def capped(self) -> bool:
        """Whether the model squashes its logits after the unembedding."""
        return cap_of(self._handle.bridge) is not None

    @property
    def watch(self) -> dict[str, Keep]:
        """What must be kept of every run: the rows of the position and of the one read, [draw, 2, ...]; all of z."""
        rows = dict.fromkeys((ENTERING, *self._residual.values()), self._keep)
        return {**rows, self._z: lambda activation, run: activation}

    def _keep(self, activation: Tensor, run: str) -> Tensor:
        return activation[:, self._rows[run]]

    @torch.no_grad()
    def check(self, plain: Run, run: str) -> None:
        """Raise NotDirect when a plain run's residual stream is not what its heads write added to what was there."""
        step = {site: plain[hook][:, 0] for site, hook in self._residual.items()}
        if not near(self._write(self._z_of(plain, run)), step["attn_out"]):
            raise NotDirect(f"between W_O of layer {self._layer} and the residual stream stands what is no norm.")
        after = step["resid_mid"] if self._serial else step["resid_post"] - step["mlp_out"]
        if not near(step["resid_pre"] + step["attn_out"], after):
            raise NotDirect(f"layer {self._layer} does not add its attention's output to the residual stream as it is.")

    @torch.no_grad()
    def check_logits(self, run: Run, logits: Tensor) -> None:
        """Raise NotDirect when a run's logits [draw, vocab] do not follow from its last norm and the unembedding."""
        made = self._unembed(self._norm(run[ENTERING][:, 1]))
        cap = cap_of(self._handle.bridge)
        if not near(made if cap is None else torch.tanh(made / cap) * cap, logits):
            raise NotDirect("the model does something of its own between its unembedding and its logits.")

    @torch.no_grad()
    def heads(self, kept: Run, head: int, run: str) -> Tensor:
        """Return what a head adds to the residual stream at the position, [draw, d]: without W_O's bias.

        `run` names the run whose positions those of the kept one are.
        """
        z = self._z_of(kept, run)
        added = self._write.alone(z[:, head], head, z.shape[1])
        return added if self._write.post is None else held(self._write.post, self._write.raw(z), added)

    @torch.no_grad()
    def logits(self, run: Run, added: Tensor) -> Tensor:
        """Return the logits that vectors [draw, d] of the residual stream stand for, [draw, vocab]: no bias is in them.

        The last norm divides them by what it divides the run's own row by. A model that caps its logits does so after.
        """
        normed = held(self._norm, run[ENTERING][:, 0], added)
        return self._unembed(normed) - self._unembed(torch.zeros_like(normed))

    def _z_of(self, kept: Run, run: str) -> Tensor:
        return kept[self._z][:, self._rows[run][0]]


class W_O:
    """How a layer's attention writes its heads' outputs to the residual stream; NotDirect where nothing shows it.

    Attributes:
        post: the norm between W_O and the residual stream, where there is one (Gemma2, Gemma3, OLMo2).
    """

    def __init__(self, handle: ModelHandle, layer: int) -> None:
        bridge: Any = handle.bridge
        block = bridge.blocks[layer]
        output = getattr(block.attn, "o", None)
        if output is None:
            raise NotDirect(f"the model {handle.name!r} shows no W_O.")
        self._projection = getattr(output, "original_component", output)
        self.post: Callable[[Tensor], Tensor] | None = getattr(block, "ln1_post", None)

    def raw(self, z: Tensor) -> Tensor:
        """Return what all heads' z [n, head, d_head] become, [n, d], before a norm that follows."""
        return self._projection(z.flatten(-2))

    def __call__(self, z: Tensor) -> Tensor:
        """Return what is added to the residual stream, the norm included."""
        return self.raw(z) if self.post is None else self.post(self.raw(z))

    def alone(self, vectors: Tensor, head: int, heads: int) -> Tensor:
        """Return what vectors [n, d_head] in the place of one head's z become, [n, d]: without bias, before a norm."""
        z = vectors.new_zeros(len(vectors), heads, vectors.shape[-1])
        nothing = self.raw(z[:1])
        z[:, head] = vectors
        return self.raw(z) - nothing


@torch.no_grad()
def held(norm: Callable[[Tensor], Tensor], rows: Tensor, added: Tensor) -> Tensor:
    """Return what vectors [n, d] add to `norm(rows)` while each row is divided by its own scale.

    LayerNorm: gain x (vector - its mean) / the row's standard deviation; RMSNorm: gain x vector / the row's root mean
    square. Which of them the norm is, its gain and the scales are found by asking it; NotDirect when it is neither.

    >>> norm = torch.nn.LayerNorm(4)
    >>> row, added = torch.tensor([[3.0, -1.0, 2.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0, 5.0]])
    >>> held(norm, row, added)
    tensor([[-0.6325, -0.6325, -0.6325,  1.8974]])
    """
    wide = torch.promote_types(rows.dtype, torch.float32)
    own = rows.to(wide)
    nothing = norm(torch.zeros_like(rows)).to(wide)

    def made(vectors: Tensor) -> Tensor:
        return norm(vectors.to(rows.dtype)).to(wide) - nothing

    def agree(one: Tensor, other: Tensor) -> bool:
        return near(one.to(rows.dtype), other.to(rows.dtype))  # Both are only as exact as the norm's own dtype.

    signs = torch.ones_like(own[:1])
    signs[:, 1::2] = -1
    # Large, so that the small number that norms add under the root does not count.
    signed = made(_PROBE * signs)
    centring = agree(made(_PROBE * (signs + 1)), signed)

    def centred(vectors: Tensor) -> Tensor:
        return vectors - vectors.mean(-1, keepdim=True) if centring else vectors

    found = made(own)
    gain = signed * _root_mean_square(centred(signs)) / centred(signs)
    whole = gain * centred(own)
    scale = (found * whole).sum(-1, keepdim=True) / (whole * whole).sum(-1, keepdim=True)
    if not agree(scale * whole, found):
        raise NotDirect("a norm on the way to the logits is neither a LayerNorm nor an RMSNorm.")
    return (scale * gain * centred(added.to(wide))).to(rows.dtype)


def _root_mean_square(vectors: Tensor) -> Tensor:
    return vectors.pow(2).mean(-1, keepdim=True).sqrt()


def near(found: Tensor, expected: Tensor) -> bool:
    """Return whether two computations agree as far as the precision goes, relative to the largest entry.

    Some models compute norms and attention in float32 whatever their weights are.
    """
    allowed = max(slack(torch.ones_like(expected)), _ROUNDED) * float(expected.abs().max())
    return found.shape == expected.shape and float((found - expected).abs().max()) <= allowed


_FIRES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _check_fires(handle: ModelHandle) -> None:
    """Raise NotDirect when the last norm's input is not shown in a pass: a hook may be listed and never fire."""
    bridge: Any = handle.bridge
    if bridge not in _FIRES:
        try:
            with handle.lock, hooked(handle.hooks, {ENTERING: lambda activation: None}):
                handle.forward(torch.tensor([[0]], device=handle.device), keep=1)
            _FIRES[bridge] = True
        except (PatchError, KeyError):
            _FIRES[bridge] = False
    if not _FIRES[bridge]:
        raise NotDirect(f"the model {handle.name!r} does not show what enters its last norm.")
