"""Identities of the mathematics, in float64: what must come out whatever the weights are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models
from tests.engine import oracle

FAMILIES = ("gpt2", "llama", "neox")
DIRECTIONS = ("denoise", "noise")


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    return request.getfixturevalue(request.param)


def sweep(model: TransformerBridge, site: str, **options: object) -> PatchResult:
    return patch(model, models.PAIR, site, **options).wait()  # type: ignore[arg-type]


def test_a_layer_leaves_what_the_next_one_enters(model: TransformerBridge) -> None:
    entering = sweep(model, "resid_pre").data["patched"].values
    leaving = sweep(model, "resid_post").data["patched"].values
    np.testing.assert_allclose(leaving[:, :-1], entering[:, 1:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_cells_before_the_first_difference_are_exactly_zero_and_rightly_so(
    model: TransformerBridge, direction: str
) -> None:
    result = sweep(model, "resid_pre", direction=direction)
    implied = result.data["status"].values == "implied"
    columns = implied.all(axis=0)
    first = 3 if model.cfg.default_prepend_bos else 2
    assert list(np.flatnonzero(columns)) == list(range(first))
    assert not implied[:, first:].any()
    assert (result.effect.values[:, implied] == 0.0).all()
    assert (result.normalized.values[:, implied] == 0.0).all()
    clean, corrupted = (models.tokens(model, str(text)) for text in (models.PAIR.clean, models.PAIR.corrupted))
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    where = [cell for cell in oracle.every_cell(("layer", "pos"), dict(result.data.sizes)) if cell["pos"] < first]
    score = oracle.scores(*models.answer_ids())["logit_diff"]
    by_force = oracle.cells(model, "resid_pre", base, source, score, where)
    np.testing.assert_allclose(by_force, result.data["patched"].values[0, :, :first].ravel(), rtol=0, atol=1e-9)


def test_no_cell_without_a_position_is_implied(model: TransformerBridge) -> None:
    for site, by in (("z", ("layer", "head")), ("resid_pre", ("layer",))):
        assert set(sweep(model, site, by=by).data["status"].values.ravel()) == {"measured"}


def test_effects_are_what_their_names_say(model: TransformerBridge) -> None:
    """effect = patched - base and normalized = effect / (source - base), with base and source by the direction."""
    for direction, base, source in (("denoise", "corrupted", "clean"), ("noise", "clean", "corrupted")):
        result = sweep(model, "z", direction=direction, metric=["logit_diff", "prob"])
        patched = result.data["patched"].values
        at_base, at_source = (result.data[run].values[:, None, None] for run in (base, source))
        np.testing.assert_array_equal(result.effect.values, patched - at_base)
        np.testing.assert_allclose(result.normalized.values, (patched - at_base) / (at_source - at_base), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_the_batch_size_changes_nothing(model: TransformerBridge, batch_size: int) -> None:
    options = {"by": ("layer", "pos", "head"), "metric": ["logit_diff", "logprob"]}
    expected = sweep(model, "z", **options).data["patched"].values
    found = sweep(model, "z", batch_size=batch_size, **options).data["patched"].values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_part_of_a_sweep_is_that_part_of_the_whole(llama: TransformerBridge) -> None:
    by = ("layer", "pos", "head")
    whole = sweep(llama, "v", by=by).data
    part = sweep(llama, "v", by=by, layers=[2, 0], positions=[-1, 3], heads=1).data
    assert [list(part[axis].values) for axis in by] == [[0, 2], [3, 6], [1]]
    expected = whole.sel(layer=[0, 2], pos=[3, 6], head=[1])
    np.testing.assert_allclose(part["patched"].values, expected["patched"].values, rtol=0, atol=1e-9)
    assert list(part["token"].values) == list(expected["token"].values)
    assert list(part["token_corrupted"].values) == list(expected["token_corrupted"].values)


def test_a_sweep_of_nothing_but_implied_cells_is_complete_at_once(gpt2: TransformerBridge) -> None:
    run = patch(gpt2, models.PAIR, "resid_pre", positions=[0, 1])
    result = run.wait()
    assert (run.done, run.total) == (0, 0)
    assert not run.cancelled
    assert set(result.data["status"].values.ravel()) == {"implied"}
    np.testing.assert_array_equal(result.normalized.values, 0.0)


def test_ids_as_prompts_give_the_numbers_of_their_texts(gpt2: TransformerBridge) -> None:
    ids = [models.tokens(gpt2, str(text))[0].tolist() for text in (models.PAIR.clean, models.PAIR.corrupted)]
    answer, foil = models.answer_ids()
    by_id = patch(gpt2, PromptPair(*ids, answer=answer, foil=foil), "mlp_out").wait()
    by_text = sweep(gpt2, "mlp_out")
    np.testing.assert_array_equal(by_id.data["patched"].values, by_text.data["patched"].values)
    assert by_id.provenance["tokens"] == by_text.provenance["tokens"]
    assert (by_text.provenance["prepend_bos"], by_id.provenance["prepend_bos"]) == (True, False)
    assert by_id.provenance["bos_at"] == by_text.provenance["bos_at"] == 0


def test_prepend_bos_moves_the_positions_and_is_recorded(gpt2: TransformerBridge) -> None:
    without = sweep(gpt2, "resid_pre", prepend_bos=False)
    assert without.data.sizes["pos"] == 6
    assert (without.provenance["prepend_bos"], without.provenance["bos_at"]) == (False, None)
    assert list(without.data["token"].values) == ["w1", "w2", "w3", "w4", "w5", "w6"]
    with torch.no_grad():
        last = gpt2(gpt2.to_tokens(models.PAIR.clean, prepend_bos=False))[0, -1]
    answer, foil = models.answer_ids()
    assert foil is not None
    assert without.clean == pytest.approx(float(last[answer] - last[foil]), abs=1e-9)
