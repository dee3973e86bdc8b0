"""Prompts of unequal length: refused unless aligned, then patched at the matched positions only, without padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.alignment import Alignment, propose
from patchwidgets.datasets import Dataset
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Mean, Scale, Standing, Zero
from patchwidgets.joint import Joint
from patchwidgets.prompts import PromptPair
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

PAIR = PromptPair("w1 w2 w3 w4 w5", "w1 w2 w9 w8 w3 w4 w5", answer="w20", foil="w21")
"""With a BOS six and eight tokens: the corrupted positions 3 and 4 have no counterpart."""
GAP = (3, 4)
SITES = [
    ("resid_pre", ("layer", "pos"), "blocks.{}.hook_resid_pre"),
    ("attn_out", ("layer",), "blocks.{}.hook_attn_out"),
    ("z", ("layer", "head"), "blocks.{}.attn.hook_z"),
    ("v", ("layer", "pos", "head"), "blocks.{}.attn.hook_v"),
    ("pattern", ("layer", "head"), "blocks.{}.attn.hook_pattern"),
    ("pattern", ("layer", "head", "dest"), "blocks.{}.attn.hook_pattern"),
]


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    return request.getfixturevalue(request.param)


def by_hand(
    model: TransformerBridge, hook: str, cell: dict[str, int], matches: list[tuple[int, int]], direction: str
) -> float:
    """Return the logit difference after the cell's matched positions are written one by one."""
    prompts = {"clean": models.tokens(model, str(PAIR.clean)), "corrupted": models.tokens(model, str(PAIR.corrupted))}
    base, source = ("corrupted", "clean") if direction == "denoise" else ("clean", "corrupted")
    pairs = [(q, p) if direction == "denoise" else (p, q) for p, q in matches]
    name, head = hook.format(cell["layer"]), cell.get("head", slice(None))
    where = cell.get("pos", cell.get("dest"))
    with torch.no_grad():
        _, cache = model.run_with_cache(prompts[source])

        def put(activation: Tensor, hook: object) -> Tensor:
            for there, other in pairs:
                if where not in (None, there):
                    continue
                if "pattern" not in name:
                    at = (head,) if activation.dim() == 4 else ()
                    activation[(0, there, *at)] = cache[name][(0, other, *at)]
                    continue
                for key, other_key in pairs:
                    if key <= there:
                        activation[0, head, there, key] = cache[name][0, head, other, other_key]
            return activation

        last = model.run_with_hooks(prompts[base], fwd_hooks=[(name, put)])[0, -1]
    answer, foil = models.answer_ids()
    return float(last[answer] - last[foil])


def assert_agrees(
    model: TransformerBridge, site: str, by: tuple[str, ...], hook: str, align: Any, matches: list[tuple[int, int]],
    direction: str,
) -> None:  # fmt: skip
    result = patch(model, PAIR, site, by=by, direction=direction, align=align).wait()
    side = 1 if direction == "denoise" else 0
    there = [match[side] for match in matches]
    axis = next((axis for axis in by if axis in ("pos", "dest")), None)
    table, status = result.data["patched"].values[0], result.data["status"].values
    for where in np.ndindex(*table.shape):
        cell = dict(zip(by, where, strict=True))
        if axis is not None and cell[axis] not in there:
            assert (status[where], np.isnan(table[where])) == ("unavailable", True)
            continue
        assert status[where] in ("measured", "implied")
        assert table[where] == pytest.approx(by_hand(model, hook, cell, matches, direction), abs=1e-8), cell
    longer = 8 if direction == "denoise" else 6
    assert axis is None or result.data.sizes[axis] == longer


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(("site", "by", "hook"), SITES)
def test_the_proposed_alignment(
    model: TransformerBridge, site: str, by: tuple[str, ...], hook: str, direction: str
) -> None:
    matches = [(0, 0), (1, 1), (2, 2), (3, 5), (4, 6), (5, 7)]
    assert_agrees(model, site, by, hook, "auto", matches, direction)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(("site", "by", "hook"), [SITES[0], SITES[2], SITES[4]])
def test_an_alignment_of_ones_own(
    gpt2: TransformerBridge, site: str, by: tuple[str, ...], hook: str, direction: str
) -> None:
    matches = [(0, 0), (1, 2), (3, 3), (5, 7)]
    for align in (matches, Alignment.from_pairs(6, 8, matches)):
        assert_agrees(gpt2, site, by, hook, align, matches, direction)


def test_prompts_of_one_length_may_be_matched_otherwise(gpt2: TransformerBridge) -> None:
    shifted = patch(gpt2, models.PAIR, "resid_pre", align=[(0, 0), (2, 3), (6, 6)]).wait()
    assert list(shifted.data["status"].sel(layer=1).values) == [
        "implied", "unavailable", "unavailable", "measured", "unavailable", "unavailable", "measured",
    ]  # fmt: skip
    assert shifted.data["token"].values.tolist() == ["[BOS]", "", "", "w2", "", "", "w6"]
    plain = patch(gpt2, models.PAIR, "resid_pre").wait()
    same = patch(gpt2, models.PAIR, "resid_pre", align=Alignment.one_to_one(7)).wait()
    np.testing.assert_array_equal(plain.data["patched"], same.data["patched"])
    assert same.provenance["alignment"] is None


def test_the_result_carries_the_alignment_and_says_it(gpt2: TransformerBridge) -> None:
    result = patch(gpt2, PAIR, "z", align="auto").wait()
    ids = [models.tokens(gpt2, str(text))[0].tolist() for text in (PAIR.clean, PAIR.corrupted)]
    assert Alignment.from_json(result.provenance["alignment"]) == propose(*ids)
    said = " ".join(result.describe().split())
    assert "6 of the clean prompt's 6 positions and of the corrupted prompt's 8 are matched" in said
    assert "are matched" not in patch(gpt2, models.PAIR, "z").wait().describe()


def test_without_an_alignment_unequal_prompts_are_refused(gpt2: TransformerBridge) -> None:
    with pytest.raises(PatchError, match=r"6 clean, 8 corrupted.* compare them by an alignment with align=\"auto\""):
        patch(gpt2, PAIR, "resid_pre")


@pytest.mark.parametrize(
    ("align", "told"),
    [
        ("Auto", r"align must be None, \"auto\", an Alignment or a list of \(clean, corrupted\) positions, not 'Auto'"),
        (5, "align must be None"),
        ([(0, 0), (9, 3)], r"match \(9, 3\): the clean prompt has positions 0 to 5, no 9"),
        ([(0, 3), (1, 2)], r"matches \(0, 3\) and \(1, 2\) cross"),
        (Alignment.one_to_one(8), "the clean prompt has positions 0 to 5, no 6"),
    ],
)
def test_what_is_no_alignment_of_these_prompts_is_refused(gpt2: TransformerBridge, align: Any, told: str) -> None:
    with pytest.raises(PatchError, match=told):
        patch(gpt2, PAIR, "resid_pre", align=align)


def test_an_intervention_that_needs_no_other_run_acts_at_every_position(gpt2: TransformerBridge) -> None:
    """A gap has no clean activation to take; it has one of its own, which can be halved."""
    for what in (Zero(), Scale(0.5), Mean(Dataset([PAIR, models.PAIR]), per_position=False)):
        options: dict[str, Any] = {"intervention": what, "align": "auto"}
        both = patch(gpt2, PAIR, "resid_pre", **options).wait()
        assert set(both.data["status"].values.ravel()) == {"measured"}
        twin = PromptPair("w7 w2 w9 w8 w3 w4 w5", PAIR.corrupted, answer="w20", foil="w21")
        alone = patch(gpt2, twin, "resid_pre", intervention=what).wait()
        np.testing.assert_allclose(both.data["patched"], alone.data["patched"], rtol=0, atol=1e-9)
        for site, by in (("z", "layer,head"), ("pattern", "layer,head"), ("attn_out", "layer")):
            if site == "pattern" and isinstance(what, Mean):
                continue
            whole, other = (
                patch(gpt2, pair, site, by=tuple(by.split(",")), intervention=what, align=align).wait()
                for pair, align in ((PAIR, "auto"), (twin, None))
            )
            np.testing.assert_allclose(whole.data["patched"], other.data["patched"], rtol=0, atol=1e-9)


def test_what_stands_stands_at_every_position_and_gaps_stay_unavailable(gpt2: TransformerBridge) -> None:
    standing = Standing("z", Zero(), layers=[0], heads=[1], runs="corrupted")
    result = patch(gpt2, PAIR, "resid_pre", standing=standing, align="auto").wait()
    assert (result.data["status"].isel(pos=list(GAP)).values == "unavailable").all()

    def put(activation: Tensor, hook: object) -> Tensor:
        activation[:, :, 1] = 0
        return activation

    answer, foil = models.answer_ids()
    with torch.no_grad():
        tokens = models.tokens(gpt2, str(PAIR.corrupted))
        last = gpt2.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_z", put)])[0, -1]
    assert result.corrupted == pytest.approx(float(last[answer] - last[foil]), abs=1e-8)


def test_a_set_with_a_cell_in_a_gap_is_unavailable(gpt2: TransformerBridge) -> None:
    sets = {
        "gap": [("resid_pre", {"layer": 1, "pos": 3}), ("resid_pre", {"layer": 1, "pos": 7})],
        "matched": [("resid_pre", {"layer": 1, "pos": 5}), ("resid_pre", {"layer": 1, "pos": -1})],
    }
    result = patch(gpt2, PAIR, Joint(sets), align="auto").wait()
    assert result.data["status"].values.tolist() == ["unavailable", "measured"]
    one = patch(gpt2, PAIR, "resid_pre", by=("layer",), layers=[1], positions=[5, 7], align="auto").wait()
    assert result.data["patched"].values[0, 1] == pytest.approx(one.data["patched"].item(), abs=1e-9)


def test_a_dataset_is_aligned_pair_by_pair(gpt2: TransformerBridge) -> None:
    other = PromptPair("w1 w2 w3 w4 w6", "w1 w2 w7 w3 w3 w4 w6", answer="w20", foil="w21")
    both = patch(gpt2, Dataset([PAIR, other]), "resid_pre", align="auto").wait()
    singles = [patch(gpt2, pair, "resid_pre", align="auto").wait() for pair in (PAIR, other)]
    for number, single in enumerate(singles):
        there = ~np.isnan(both.data["patched"].values[0])
        found = both.data["patched_pairs"].isel(metric=0, pair=number).values
        np.testing.assert_allclose(found[there], single.data["patched"].values[0][there], rtol=0, atol=1e-9)
        unavailable = single.data["status"].values == "unavailable"
        assert (both.data["status"].values[unavailable] == "unavailable").all()


def test_positions_read_from_the_start_need_prompts_of_one_length(gpt2: TransformerBridge) -> None:
    pair = PromptPair(PAIR.clean, PAIR.corrupted, answer="w20", foil="w21", at=2)
    with pytest.raises(PatchError, match="at=2 counts from the start, and the prompts have 6 and 8 tokens"):
        patch(gpt2, pair, "z", align="auto")
