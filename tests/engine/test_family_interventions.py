"""Every family's interventions are what plain forward hooks make of a model that TransformerLens never touched.

A patch of a whole row is the same before and after a norm of each position; an intervention tells the two apart.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import patchwidgets as pw
from patchwidgets.datasets import Dataset
from patchwidgets.engine.baseline import Baseline
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.lanes import Lane
from patchwidgets.engine.patch import encode
from patchwidgets.engine.values import Sources, make_value
from patchwidgets.interventions import Intervention, Mean, Noise, Scale, Vector, Zero
from patchwidgets.sites import SITES
from tests.engine.plain import CLEAN, CORRUPTED, PAIR, Family, Hook, difference, family_of, lacks
from tests.families import ADDRESSES, FAMILIES

CHANGED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "embed": (("pos",), {}),
    "attn_out": (("layer", "pos"), {"positions": [2, 7]}),
    "mlp_out": (("layer",), {}),
    "z": (("layer", "head"), {}),
    "v": (("layer", "head"), {"layers": [1]}),
    "mlp_post": (("layer", "neuron"), {"neurons": [0, 29]}),
}
"""The tables that are measured: the granularity, and the cells of it."""

OTHERS = Dataset(
    [
        pw.PromptPair([5, 6, 7, 8, 9, 10, 11, 12], [13, 2, 40, 4, 58, 6, 7, 30], answer=1, foil=2),
        pw.PromptPair([21, 6, 33, 8, 41, 10, 50, 12], [59, 3, 14, 25, 6, 37, 48, 9], answer=1, foil=2),
    ]
)
"""Prompts to take means over."""


class Changes:
    """What an intervention makes of an activation of one layer, worked out on plain PyTorch's activations."""

    def __init__(self, family: Family, site: str, what: Intervention, base: list[int], layer: int) -> None:
        self.family, self.site, self.what, self.layer = family, site, what, layer
        self.hook = Hook(family.bare, ADDRESSES[family.name][site], layer)
        self.base = base
        self.new = self._new() if isinstance(what, (Mean, Vector)) else []

    def _new(self) -> list[Tensor]:
        """Return what stands in the place of the whole activation."""
        now = self.hook.read(self.base)
        if isinstance(self.what, Vector):
            return [torch.tensor(self.what.values, dtype=now.dtype).expand_as(now)]
        assert isinstance(self.what, Mean)
        seen = torch.stack([self.hook.read(list(pair.corrupted)) for pair in OTHERS])
        return [seen.mean(0) if self.what.per_position else seen.mean((0, 1)).expand_as(now)]

    def measure(self, cell: dict[str, int]) -> float:
        """Return the logit difference after one cell is changed, the mean over the draws of noise."""
        if isinstance(self.what, Noise):
            drawn = [self._noise(sample) for sample in range(self.what.samples)]
            where = tuple(cell.get(axis, slice(None)) for axis in self.hook.address.axes)
            found = [self.hook.change(self.base, cell, lambda now, each=each: now + each[where]) for each in drawn]
            return sum(found) / len(found)
        if self.new:
            return self.hook.write(self.base, cell, self.new[0])
        factor = self.what.factor if isinstance(self.what, Scale) else 0.0
        return self.hook.change(self.base, cell, lambda now: now * factor)

    def _noise(self, sample: int) -> Tensor:
        """Return the numbers the engine draws for this place: no one else can know them."""
        handle = handle_of(self.family.bridged)
        (pair,) = encode(handle, PAIR)
        lane = Lane(sample, pair, 0, sample, "both")
        sources = Sources(handle, [lane], "corrupted", [], 0, lambda over: ())
        value = make_value(self.what, sources, Baseline())
        place = {"layer": self.layer} if SITES[self.site].layered else {}
        return value((SITES[self.site], place), lane, torch.zeros_like(self.hook.read(self.base)))


def _intervention(kind: str, width: int) -> Intervention:
    vector = Vector(np.linspace(-2, 3, width)) if width else Vector(0.5)
    return {
        "zero": Zero(), "scale": Scale(0.5), "mean per position": Mean(OTHERS),
        "mean": Mean(OTHERS, per_position=False), "vector": vector, "noise": Noise(1.0, samples=2),
    }[kind]  # fmt: skip


def _width(family: Family, site: str) -> int:
    """Return how many numbers a cell of one position has, 0 where each is a cell of its own."""
    address = ADDRESSES[family.name][site]
    return 0 if "neuron" in address.axes else Hook(family.bare, address, 0).read(CLEAN).shape[-1]


@cache
def _measured(family: Family, site: str, kind: str, labels: tuple[tuple[str, tuple[int, ...]], ...]) -> np.ndarray:
    """Return the logit difference after each cell, in order, for a table whose axes show these indices."""
    what, expected = _intervention(kind, _width(family, site)), []
    for layer in dict(labels).get("layer", (0,)):
        changes = Changes(family, site, what, CORRUPTED, layer)
        rest = {axis: indices for axis, indices in labels if axis != "layer"}
        expected += [changes.measure(dict(zip(rest, where, strict=True))) for where in product(*rest.values())]
    return np.array(expected)


TRIED = [(name, site) for name in FAMILIES for site in CHANGED if site not in lacks(name)]


@pytest.mark.parametrize("kind", ["zero", "scale", "mean per position", "mean", "vector", "noise"])
@pytest.mark.parametrize(("name", "site"), TRIED)
def test_every_intervention_is_what_plain_hooks_make_of_it(name: str, site: str, kind: str, engine: str) -> None:
    family = family_of(name)
    by, chosen = CHANGED[site]
    what = _intervention(kind, _width(family, site))
    result = pw.patch(family.bridged, PAIR, site, by=by, intervention=what, **chosen).wait()
    assert result.engine == family.engine(engine)
    expected = _measured(family, site, kind, tuple((axis, tuple(result.data[axis].values.tolist())) for axis in by))
    allowed = family.allowed(difference(family.bare, CLEAN) - difference(family.bare, CORRUPTED))
    found = result.data["patched"].values[0].ravel()
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)
    assert np.abs(expected - result.corrupted).max() > 1e-3
