"""Nothing is written where a sliding window closes attention: the window is the model's own, not the causal one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import patchwidgets as pw
from patchwidgets.interventions import Intervention, Mask, Noise, Scale, Vector, Zero
from tests import models
from tests.engine.plain import ANSWER, CLEAN, CORRUPTED, FOIL, PAIR, Family, family_of
from tests.engine.test_interventions import draw
from tests.engine.test_noise_unit import entering
from tests.families import HEADS, LAYERS, WINDOW

SLIDING = {"mistral": (0, 1, 2), "gemma2": (0, 2), "gemma3": (0, 2), "llama": ()}
"""Family -> the layers whose attention reaches back only WINDOW tokens."""
LENGTH = len(CLEAN)

Change = Callable[[Tensor, str], Tensor]
"""(a layer's attention [head, dest, src], the hook's name) -> what it becomes where it is open."""


def open_in(name: str, layer: int) -> Tensor:
    """Return where a layer may attend, from the model's settings: not ahead, and not past the window."""
    back = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    return (back >= 0) & (back < (WINDOW if layer in SLIDING[name] else LENGTH))


def measured(family: Family, site: str, layer: int, head: int, change: Change) -> float:
    """Return the logit difference of the corrupted run with one head's open attention changed."""
    open_, name = open_in(family.name, layer), f"blocks.{layer}.attn.hook_{site}"

    def put(activation: Tensor, hook: object) -> Tensor:
        activation[0, head] = torch.where(open_, change(activation[0], name)[head], activation[0, head])
        return activation

    with torch.no_grad():
        last = family.bridged.run_with_hooks(torch.tensor([CORRUPTED]), fwd_hooks=[(name, put)])[0, -1]
    return float(last[ANSWER] - last[FOIL])


def noise(family: Family) -> Change:
    unit = float(entering(family.name, family.bare).std())

    def change(now: Tensor, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(draw(0, 0, 0, name))
        return now + 0.5 * unit * torch.randn(now.shape, generator=generator, dtype=torch.float64)

    return change


CHANGES: dict[str, tuple[Intervention, Callable[[Family], Change]]] = {
    "vector": (Vector(0.2), lambda family: lambda now, name: torch.full_like(now, 0.2)),
    "added": (Vector(0.1, add=True), lambda family: lambda now, name: now + 0.1),
    "noise": (Noise(0.5, samples=1), noise),
    "scale": (Scale(-2.0), lambda family: lambda now, name: -2 * now),
    "zero": (Zero(), lambda family: lambda now, name: torch.zeros_like(now)),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("site", ["pattern", "attn_scores"])
@pytest.mark.parametrize("name", SLIDING)
def test_closed_attention_stays_closed(name: str, site: str, what: str) -> None:
    family = family_of(name)
    intervention, change = CHANGES[what]
    result = pw.patch(family.bridged, PAIR, site, intervention=intervention).wait()
    expected = [measured(family, site, *at, change(family)) for at in product(range(LAYERS), range(HEADS))]
    np.testing.assert_allclose(result.data["patched"].values.ravel(), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_a_cell_outside_the_window_moves_nothing(name: str) -> None:
    by = ("layer", "head", "dest", "src")
    result = pw.patch(family_of(name).bridged, PAIR, "pattern", by=by, intervention=Vector(0.5), heads=[1]).wait()
    moved = result.effect.values[0, :, 0]
    for layer in range(LAYERS):
        open_ = open_in(name, layer).numpy()
        causal = np.tril(np.ones_like(open_))
        np.testing.assert_allclose(moved[layer][causal & ~open_], 0.0, rtol=0, atol=1e-12)
        # In the last layer only what the last position attends to is read.
        assert np.abs(moved[layer][-1][open_[-1]]).min() > 1e-6


def test_what_stands_stays_inside_the_window_too() -> None:
    family = family_of("mistral")
    stand = pw.Standing("pattern", Vector(0.2), layers=[1], heads=[2])
    result = pw.patch(family.bridged, PAIR, "z", layers=[0], standing=stand).wait()
    expected = measured(family, "pattern", 1, 2, lambda now, name: torch.full_like(now, 0.2))
    assert result.corrupted == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("site", ["pattern", "attn_scores"])
def test_a_patch_of_unequal_prompts_stays_inside_the_window(site: str) -> None:
    """Positions that are three apart in one prompt are seven apart in the other."""
    family = family_of("mistral")
    pair = pw.PromptPair(CLEAN, [CORRUPTED[0], 30, 31, 32, 33, *CORRUPTED[1:]], answer=ANSWER, foil=FOIL)
    matched = [(0, 0), *((i, i + 4) for i in range(1, LENGTH))]
    result = pw.patch(family.bridged, pair, site, align=matched, layers=[0], heads=[0]).wait()
    name, length = f"blocks.0.attn.hook_{site}", len(pair.corrupted)
    with torch.no_grad():
        source = family.bridged.run_with_cache(torch.tensor([CLEAN]))[1][name][0, 0]
    back = torch.arange(length)[:, None] - torch.arange(length)
    open_ = (back >= 0) & (back < WINDOW)

    def put(activation: Tensor, hook: object) -> Tensor:
        for (ours, mine), (theirs, other) in product(matched, matched):
            if open_[mine, other]:
                activation[0, 0, mine, other] = source[ours, theirs]
        return activation

    with torch.no_grad():
        last = family.bridged.run_with_hooks(torch.tensor([pair.corrupted]), fwd_hooks=[(name, put)])[0, -1]
    assert result.data["patched"].item() == pytest.approx(float(last[ANSWER] - last[FOIL]), abs=1e-8)


@pytest.mark.parametrize("site", ["pattern", "attn_scores"])
@pytest.mark.parametrize("name", ["gemma2", "llama"])
def test_a_mask_counts_and_weighs_open_attention_alone(name: str, site: str) -> None:
    family = family_of(name)
    where = [f"blocks.{layer}.attn.hook_{site}" for layer in range(LAYERS)]
    seen: dict[str, Tensor] = {}

    def keep(activation: Tensor, hook: Any) -> Tensor:
        seen[hook.name] = activation.requires_grad_()
        return activation

    with torch.enable_grad():
        last = family.bridged.run_with_hooks(torch.tensor([CORRUPTED]), fwd_hooks=[(each, keep) for each in where])
        found = torch.autograd.grad(last[0, -1, ANSWER] - last[0, -1, FOIL], [seen[each] for each in where])
    for mask in (Mask(1e-3, absolute=True), Mask(graded=True)):
        result = pw.patch(family.bridged, PAIR, site, intervention=mask).wait()
        kept, expected = [], []
        for layer, head in product(range(LAYERS), range(HEADS)):
            open_ = open_in(name, layer)
            size = torch.where(open_, found[layer][0, head].detach(), 0.0)
            weight = (size.abs() > 1e-3).double() if mask.absolute else size.clamp(min=0) / size.max().clamp(min=1e-300)
            kept.append(float(weight[open_].mean()))
            expected.append(measured(family, site, layer, head, lambda now, each, weight=weight: now * weight))
        np.testing.assert_allclose(result.data["kept"].values.ravel(), kept, rtol=0, atol=1e-9)
        np.testing.assert_allclose(result.data["patched"].values.ravel(), expected, rtol=0, atol=1e-8)


def test_the_model_is_left_as_it_was() -> None:
    model = models.bridge("llama")
    before = models.state(model)
    pw.patch(model, models.PAIR, "pattern", intervention=Vector(0.1)).wait()
    assert models.state(model) == before
