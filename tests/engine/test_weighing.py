"""Value-weighted attention from plain weights, and by what it means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from patchwidgets.engine.direct import NotDirect
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.inspect import inspect_cells
from patchwidgets.engine.patch import encode
from patchwidgets.engine.weighing import Weighing
from patchwidgets.interventions import Noise, Patch
from tests.engine import plain
from tests.engine.plain import CLEAN, PAIR, Family, Hook, family_of, lacks
from tests.families import ADDRESSES, FAMILIES, HEADS, KV_HEADS

CELL = ("z", {"layer": 1, "pos": 5, "head": 2})


def looked(family: Family, head: int, **options: Any) -> tuple[Weighing, Any]:
    handle = handle_of(family.bridged)
    weighing = Weighing(handle, 1, head)
    pair = encode(handle, PAIR, prepend_bos=None)[0]
    seen = inspect_cells(handle, pair, Patch("denoise"), [CELL], (1, head), watch=weighing.watch, **options)
    for run in seen.kept[:2]:
        weighing.check(run)
    return weighing, seen


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_by_hand(name: str) -> None:
    """Weights and values from plain Hugging Face runs, W_O from its weights."""
    family = family_of(name)
    bare: Any = family.bare
    pattern = plain.patterns(bare, CLEAN, 1)
    values = Hook(bare, ADDRESSES[name]["v"], 1).read(CLEAN)
    for head in range(HEADS):
        weighing, seen = looked(family, head)
        v = values[:, head // (HEADS // values.shape[1])]
        own = slice(head * v.shape[-1], (head + 1) * v.shape[-1])
        if name == "gpt2":
            written = v @ bare.transformer.h[1].attn.c_proj.weight[own]
        else:
            written = v @ bare.model.layers[1].self_attn.o_proj.weight[:, own].T
        carried = pattern[head].abs() * torch.linalg.vector_norm(written, dim=-1)
        expected = carried / carried.sum(-1, keepdim=True)
        np.testing.assert_allclose(weighing.weighed(seen.kept[0]), expected.detach(), rtol=0, atol=1e-6)
        assert not np.allclose(expected, pattern[head], atol=1e-3)


@pytest.mark.parametrize("name", [name for name in FAMILIES if "pattern" not in lacks(name)])
def test_every_row_is_a_share_of_what_is_carried(name: str) -> None:
    """Rows sum to 1, nothing comes from later tokens, and the first token has but itself; in every run."""
    weighing, seen = looked(family_of(name), 3)
    for run in seen.kept:
        weighed = weighing.weighed(run)
        np.testing.assert_allclose(weighed.sum(-1), 1.0, rtol=0, atol=1e-6)
        assert (np.triu(weighed, 1) == 0).all()
        assert weighed[0, 0] == 1.0
    assert weighing.normed_after == (name in ("gemma2", "gemma3", "olmo2"))


def test_shared_values_are_the_groups() -> None:
    """Two query heads that share their values differ by their patterns and their W_O alone."""
    weighing, seen = looked(family_of("llama"), 3)
    (hook,) = (name for name in weighing.watch if name.endswith("hook_v"))
    values = seen.kept[0][hook]
    assert values.shape[2] == KV_HEADS
    other = values.clone()
    other[:, :, 0] = 0.0
    np.testing.assert_array_equal(weighing.weighed({**seen.kept[0], hook: other}), weighing.weighed(seen.kept[0]))


def test_a_row_that_the_patch_rescales_is_weighed_in_that_run() -> None:
    """A patched value changes the shares of the patched run, one draw at a time and then their mean."""
    family = family_of("gpt2")
    handle = handle_of(family.bridged)
    weighing = Weighing(handle, 1, 2)
    pair = encode(handle, PAIR, prepend_bos=None)[0]
    cells = [("v", {"layer": 1, "pos": 5, "head": 2})]
    noise = Noise(3.0, samples=2)
    seen = inspect_cells(handle, pair, Patch("denoise"), cells, (1, 2), watch=weighing.watch, intervention=noise)
    run = seen.kept[2]
    alone = [weighing.weighed({hook: kept[i : i + 1] for hook, kept in run.items()}) for i in range(2)]
    np.testing.assert_allclose(weighing.weighed(run), np.mean(alone, 0), rtol=0, atol=1e-6)
    assert not np.allclose(alone[0][5:, 5], weighing.weighed(seen.kept[1])[5:, 5], atol=1e-3)
    np.testing.assert_allclose(alone[0][:5], weighing.weighed(seen.kept[1])[:5], rtol=0, atol=1e-6)


def test_heads_that_do_more_than_sum_are_refused() -> None:
    weighing, seen = looked(family_of("gpt2"), 1)
    (hook,) = (name for name in weighing.watch if name.endswith("hook_z"))
    with pytest.raises(NotDirect, match="the heads of layer 1 do more than to sum their values"):
        weighing.check({**seen.kept[0], hook: 2 * seen.kept[0][hook]})
