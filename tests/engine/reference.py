"""A slow and obvious measurement of one cell at a time, entry by entry, through TransformerLens's own hooks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.sites import Site

Where = Mapping[str, Collection[int]]
"""axis -> the indices written; an axis that is left out is written whole."""
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reference:
    """One model and one pair of runs.

    Attributes:
        base, source: the tokens of the run that is changed and of the one activations are taken from.
        counterparts: base position -> source position, for those that have one.
        change: what an entry becomes, None meaning the source's entry.
    """

    model: TransformerBridge
    base: list[int]
    source: list[int]
    counterparts: Mapping[int, int]
    change: Change | None = None

    def logits(self, site: Site, layers: Collection[int | None], where: Where) -> Tensor:
        """Return the logits [1, pos, vocab] of the base run with the entries `where` written in the given layers."""
        names = {site.hook_name(layer) for layer in layers}
        with torch.no_grad():
            _, kept = self.model.run_with_cache(torch.tensor([self.source]), names_filter=lambda name: name in names)
            return self.model.run_with_hooks(
                torch.tensor([self.base]),
                fwd_hooks=[(name, self._writer(site, where, kept[name])) for name in names],
            )

    def _writer(self, site: Site, where: Where, source: Tensor) -> Callable[..., Tensor]:
        axes = [axis for axis in site.axes if axis]

        def write(activation: Tensor, hook: object) -> Tensor:
            before = activation.clone()
            for entry in product(*(range(size) for size in activation.shape[1 : 1 + len(axes)])):
                at = dict(zip(axes, entry, strict=True))
                if any(axis in where and index not in where[axis] for axis, index in at.items()):
                    continue
                if "dest" in at and at["src"] > at["dest"]:
                    continue
                if self.change is not None:
                    activation[(0, *entry)] = self.change(before[(0, *entry)])
                    continue
                other = [self._beside(axis, index) for axis, index in at.items()]
                if None not in other:
                    activation[(0, *entry)] = source[(0, *other)]
            return activation

        return write

    def _beside(self, axis: str, index: int) -> int | None:
        return self.counterparts.get(index) if axis in ("pos", "dest", "src") else index


def around(layer: int, window: int, n_layers: int) -> list[int]:
    """Return the layers of a window (Meng et al., arXiv 2202.05262, appendix A.2), cut off at both ends."""
    return [other for other in range(n_layers) if layer - window // 2 <= other < layer + (window + 1) // 2]
