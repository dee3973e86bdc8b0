"""A dataset's sweep is the mean of its pairs' sweeps, with their spread; and which pairs a model answers rightly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets import stats
from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.engine.answered import by_length, right
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError, PromptError
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

PAIRS = [
    PromptPair("w1 w2 w3 w4", "w1 w9 w3 w8", answer="w20", foil="w21"),
    PromptPair("w5 w2 w6 w4", "w5 w2 w7 w4", answer="w22", foil="w23"),
    PromptPair("w1 w2 w8 w8", "w1 w2 w3 w9", answer="w24", foil="w25"),
    PromptPair("w9 w1 w3 w2", "w9 w6 w3 w4", answer=["w20", "w27"], foil="w28"),
]
DATA = Dataset(PAIRS, name="four")
MIXED = Dataset([*PAIRS[:2], PromptPair("w1 w2 w3 w4 w5 w6", "w1 w2 w9 w4 w8 w6", answer="w20", foil="w21")])


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def result(gpt2: TransformerBridge, engine: str) -> PatchResult:
    return patch(gpt2, DATA, "resid_pre", metric=["logit_diff", "logprob"]).wait()


def singles(model: TransformerBridge, data: Dataset, site: str, **options: Any) -> list[PatchResult]:
    return [patch(model, pair, site, **options).wait() for pair in data]


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(
    ("site", "by"), [("resid_pre", ("layer", "pos")), ("z", ("layer", "head")), ("embed", ("pos",))]
)
def test_means_and_pairs_are_those_of_single_sweeps(
    model: TransformerBridge, site: str, by: tuple[str, ...], direction: str
) -> None:
    options: dict[str, Any] = {"by": by, "direction": direction, "metric": ["logit_diff", "prob"]}
    found = patch(model, DATA, site, **options).wait()
    alone = singles(model, DATA, site, **options)
    each = np.stack([single.data["patched"].values for single in alone], 1)
    np.testing.assert_allclose(found.data["patched_pairs"].transpose("metric", "pair", ...), each, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.data["patched"], each.mean(1), rtol=0, atol=1e-9)
    for run in ("clean", "corrupted"):
        plain = np.stack([single.data[run].values for single in alone], 1)
        np.testing.assert_allclose(found.data[f"{run}_pairs"], plain, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.data[run], plain.mean(1), rtol=0, atol=1e-9)
    base, source = ("corrupted", "clean") if direction == "denoise" else ("clean", "corrupted")
    gap = found.data[source] - found.data[base]
    expected = (found.data["patched"] - found.data[base]) / gap
    np.testing.assert_allclose(found.normalized, expected, rtol=0, atol=1e-9)
    assert (found.n, found.provenance["n"]) == (4, 4)


def test_a_cell_is_implied_only_where_it_is_in_every_pair(result: PatchResult) -> None:
    """The pairs differ first at positions 2, 3, 3 and 2, the BOS counted."""
    assert [set(result.data["status"].isel(pos=pos).values) for pos in range(5)] == [
        {"implied"}, {"implied"}, {"measured"}, {"measured"}, {"measured"},
    ]  # fmt: skip
    first = result.data["patched_pairs"].sel(pos=2, pair=1)
    np.testing.assert_allclose(first, result.data["corrupted_pairs"].sel(pair=1).values[:, None] + 0 * first, atol=1e-9)


def test_tokens_that_differ_between_pairs_are_not_named(result: PatchResult) -> None:
    assert result.data["token"].values.tolist() == ["[BOS]", *["\u2026"] * 4]
    assert len(result.provenance["pairs"]) == 4


def test_the_table_has_intervals(result: PatchResult) -> None:
    frame = result.to_dataframe()
    assert list(frame.columns[-2:]) == ["ci_low", "ci_high"]
    assert len(frame) == 3 * 5 * 2
    for i, metric in enumerate(("logit_diff", "logprob")):
        base, source = (result.data[f"{run}_pairs"].values[i] for run in ("corrupted", "clean"))
        each = result.data["patched_pairs"].transpose("metric", "pair", ...).values[i]
        low, high = stats.bootstrap_normalized(each, base, source)
        rows = frame[frame["metric"] == metric]
        np.testing.assert_allclose(rows["ci_low"], low.ravel(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(rows["ci_high"], high.ravel(), rtol=0, atol=1e-12)
        there = rows.dropna(subset=["ci_low"])
        assert (there["ci_low"] <= there["normalized"] + 1e-12).all()
        assert (there["normalized"] <= there["ci_high"] + 1e-12).all()


def test_the_table_of_pairs_has_a_row_for_each(result: PatchResult) -> None:
    frame = result.to_dataframe(pairs=True)
    assert len(frame) == 3 * 5 * 2 * 4
    mean = frame.groupby(["layer", "pos", "metric"], sort=False)[["patched", "effect", "normalized"]].mean()
    whole = result.to_dataframe().set_index(["layer", "pos", "metric"])
    for column in ("patched", "effect", "normalized"):
        np.testing.assert_allclose(mean[column], whole.loc[mean.index, column], rtol=0, atol=1e-9)
    one = frame[(frame["pair"] == 2) & (frame["metric"] == "logit_diff")]
    expected = result.data["patched_pairs"].sel(pair=2, metric="logit_diff").values.ravel()
    np.testing.assert_array_equal(one["patched"], expected)


def test_the_sign_flip_test_is_that_of_the_effects(result: PatchResult) -> None:
    p = result.sign_flip()
    each = result.data["patched_pairs"].transpose("metric", "pair", ...).values[0]
    effects = each - result.data["corrupted_pairs"].values[0][:, None, None]
    np.testing.assert_array_equal(p.values[0], stats.sign_flip(effects))
    assert p.dims == ("metric", "layer", "pos")
    assert (p.isel(pos=0).values == 1.0).all()


def assert_nan_where_nothing_is(result: PatchResult) -> None:
    nothing = np.isin(result.data["status"].values, ("pending", "unavailable"))
    assert nothing.any()
    assert not nothing.all()
    for found in (*result.interval(resamples=200), result.sign_flip(resamples=200)):
        assert np.isnan(found.values[:, nothing]).all()
    assert np.isfinite(result.sign_flip(resamples=200).values[:, ~nothing]).all()
    frame = result.to_dataframe()
    assert frame.loc[frame["status"].isin(["pending", "unavailable"]), ["ci_low", "ci_high"]].isna().all(axis=None)
    assert len(result.to_dataframe(pairs=True)) == 4 * len(frame)


def test_cells_that_are_impossible_stay_nan(gpt2: TransformerBridge) -> None:
    by = ("layer", "head", "dest", "src")
    result = patch(gpt2, DATA, "pattern", by=by, layers=[1], heads=[0]).wait()
    assert_nan_where_nothing_is(result)


def test_cells_that_are_not_measured_yet_stay_nan(result: PatchResult) -> None:
    data = result.data.copy(deep=True)
    data["status"].loc[{"layer": 1}] = "pending"
    data["patched"].loc[{"layer": 1}] = np.nan
    data["patched_pairs"].loc[{"layer": 1}] = np.nan
    partial = PatchResult(data, result.provenance)
    assert_nan_where_nothing_is(partial)
    whole = result.interval()[0].sel(layer=[0, 2])
    np.testing.assert_array_equal(partial.interval()[0].sel(layer=[0, 2]), whole)
    data["status"][:] = "pending"
    data["patched"][:] = np.nan
    assert np.isnan(PatchResult(data, result.provenance).interval()[1].values).all()


def test_a_single_pair_has_no_spread(gpt2: TransformerBridge) -> None:
    for one in (PAIRS[0], DATA[:1]):
        result = patch(gpt2, one, "z", layers=[0]).wait()
        assert "ci_low" not in result.to_dataframe()
        for ask in (result.interval, result.sign_flip, lambda result=result: result.to_dataframe(pairs=True)):
            with pytest.raises(PatchError, match=r"this result is of one pair; .* needs a Dataset"):
                ask()


def test_pairs_of_other_lengths_are_swept_where_no_position_is_named(gpt2: TransformerBridge) -> None:
    for site, by in (("z", ("layer", "head")), ("resid_pre", ("layer",)), ("mlp_post", ("layer", "neuron"))):
        options: dict[str, Any] = {"by": by, "layers": [1], "metric": ["logit_diff", "logprob"]}
        found = patch(gpt2, MIXED, site, **options).wait()
        alone = np.stack([single.data["patched"].values for single in singles(gpt2, MIXED, site, **options)], 1)
        np.testing.assert_allclose(
            found.data["patched_pairs"].transpose("metric", "pair", ...), alone, rtol=0, atol=1e-9
        )


@pytest.mark.parametrize(("site", "options"), [
    ("resid_pre", {}), ("embed", {}), ("z", {"by": ("layer", "pos", "head")}), ("z", {"positions": [1]}),
    ("pattern", {"by": ("layer", "head", "dest")}),
])  # fmt: skip
def test_positions_of_other_lengths_are_refused_with_the_remedy(
    gpt2: TransformerBridge, site: str, options: dict[str, Any]
) -> None:
    told = r"the corrupted prompts have 5, 7 tokens, so a position does not mean one thing; sweep pw\.by_length\("
    with pytest.raises(PatchError, match=told):
        patch(gpt2, MIXED, site, **options)


def test_errors_name_the_pair(gpt2: TransformerBridge) -> None:
    bad = Dataset([*PAIRS[:2], PromptPair("w1 w2", "w1 w3", answer="zebra", foil="w20")])
    with pytest.raises(PromptError, match="pair 2 of the dataset: the answer 'zebra' is not in this model's") as caught:
        patch(gpt2, bad, "z")
    assert caught.value.field == "answer"
    uneven = Dataset([PAIRS[0], PromptPair("w1 w2", "w1 w3 w4", answer="w20", foil="w21")])
    with pytest.raises(PromptError, match="pair 1 of the dataset: the prompts have different lengths"):
        patch(gpt2, uneven, "z")
    with pytest.raises(PatchError, match=r"pair 0 of the dataset: match \(9, 9\): the clean prompt has positions 0 to"):
        patch(gpt2, DATA, "z", align=[(9, 9)])


def test_answers_of_any_kind_go_together(gpt2: TransformerBridge) -> None:
    data = Dataset([
        PAIRS[0], PAIRS[3],
        PromptPair("w1 w2 w3 w4", "w1 w9 w3 w8", answer=Continuation("w20 w22"), foil=Continuation("w21 w22 w23")),
    ])  # fmt: skip
    options: dict[str, Any] = {"metric": ["logit_diff", "logprob", "accuracy"]}
    found = patch(gpt2, data, "resid_pre", **options).wait().data["patched_pairs"]
    alone = np.stack([single.data["patched"].values for single in singles(gpt2, data, "resid_pre", **options)], 1)
    np.testing.assert_allclose(found.transpose("metric", "pair", ...), alone, rtol=0, atol=1e-9)


def last(model: TransformerBridge, text: object) -> torch.Tensor:
    with torch.no_grad():
        return model(models.tokens(model, str(text)))[0, -1]


def best(model: TransformerBridge, text: str) -> str:
    return models.WORDS[int(last(model, text).argmax())]


def test_right_keeps_what_the_model_answers(model: TransformerBridge) -> None:
    """Prompts of several lengths; every pair is judged by plain runs, one at a time."""
    words = [f"w{i}" for i in range(38)]
    pairs = []
    for length in (2, 5, 9):
        for start in range(8):
            text = [words[(start * 7 + i * i) % 38] for i in range(length)]
            clean, corrupted = " ".join(text), " ".join(["w30", *text[1:]])
            foil = best(model, corrupted) if start % 4 < 2 else words[start]
            pairs += [PromptPair(clean, corrupted, answer=best(model, clean) if start % 2 else "w3", foil=foil)]
            pairs += [PromptPair(clean, corrupted, answer=best(model, clean))]
    apart = [pair for pair in dict.fromkeys(pairs) if pair.answer != pair.foil and pair.clean != pair.corrupted]

    def answered(pair: PromptPair) -> bool:
        rated = last(model, pair.corrupted)
        answer = models.WORDS.index(str(pair.answer))
        above = pair.foil is None or bool(rated[models.WORDS.index(str(pair.foil))] > rated[answer])
        return best(model, str(pair.clean)) == pair.answer and above

    expected = [pair for pair in apart if answered(pair)]
    found = right(model, Dataset(apart, name="random"))
    assert list(found) == expected
    assert 5 < len(expected) < len(apart) - 5
    assert any(pair.foil and pair not in expected and best(model, str(pair.clean)) == pair.answer for pair in apart)
    assert found.name == "random"


def test_right_takes_sets_and_continuations(gpt2: TransformerBridge) -> None:
    text, row = "w1 w2 w3", []
    for _ in range(3):
        row.append(best(gpt2, " ".join([text, *row])))
    said = " ".join(row)
    wrong = " ".join([*row[:2], "w1" if row[2] != "w1" else "w2"])
    other = "w4" if row[0] != "w4" else "w5"
    answers = {
        Continuation(said): True,
        Continuation(wrong): False,
        (row[0], other): True,
        (other, "w6"): row[0] == "w6",
    }
    pairs = [PromptPair(text, "w1 w9 w3", answer=answer) for answer in answers]
    kept = right(gpt2, Dataset(pairs))
    assert [pair.answer for pair in kept] == [answer for answer, keep in answers.items() if keep]


def test_right_keeps_labels_and_leaves_no_trace(gpt2: TransformerBridge) -> None:
    pairs = [PromptPair("w1 w2", "w3 w2", answer=best(gpt2, "w1 w2")), PromptPair("w5 w6", "w7 w6", answer="w3")]
    before = models.state(gpt2)
    assert right(gpt2, Dataset(pairs, labels={"kind": ["a", "b"]})).labels["kind"][0] == "a"
    assert models.state(gpt2) == before


def test_when_nothing_is_right_it_says_so(gpt2: TransformerBridge) -> None:
    wrong = next(word for word in ("w3", "w4") if word != best(gpt2, "w5 w6"))
    data = Dataset([PromptPair("w5 w6", "w7 w6", answer=wrong)], name="hard")
    with pytest.raises(PatchError, match=r"answers 0 of 1 pair of 'hard' rightly; look at what it predicts, or"):
        right(gpt2, data)
    with pytest.raises(PatchError, match="pair 0 of the dataset: no answer given"):
        right(gpt2, Dataset([PromptPair("w5 w6", "w7 w6")]))
    with pytest.raises(PatchError, match=r"expected a Dataset, got \[\]; write pw.Dataset\(\[pair, ...\]\)"):
        right(gpt2, [])  # type: ignore[arg-type]


def test_by_length_of_prompts_that_are_aligned(neox: TransformerBridge) -> None:
    """What an error about lengths advises is possible: one of these at a time is swept by position."""
    prompts = [("w1 w2 w3", "w4 w3"), ("w1 w2", "w4 w2"), ("w1 w5 w3", "w4 w3")]
    pairs = [PromptPair(clean, corrupted, answer="w5", foil="w6") for clean, corrupted in prompts]
    found = by_length(neox, Dataset(pairs), align="auto")
    assert {of: len(data) for of, data in found.items()} == {2: 1, (3, 2): 2}
    for data in found.values():
        assert patch(neox, data, "resid_pre", align="auto").wait().n == len(data)


def test_by_length_counts_the_bos(gpt2: TransformerBridge, neox: TransformerBridge) -> None:
    found = by_length(gpt2, MIXED)
    assert {length: list(data) for length, data in found.items()} == {5: PAIRS[:2], 7: [MIXED[2]]}
    assert list(found) == [5, 7]
    assert list(by_length(neox, MIXED)) == [4, 6]
    assert list(by_length(neox, MIXED, prepend_bos=True)) == [5, 7]
    for length, data in found.items():
        assert patch(gpt2, data, "resid_pre", layers=[0]).wait().data.sizes["pos"] == length
    with pytest.raises(PatchError, match="pair 0 of the dataset: the prompts have different lengths"):
        by_length(gpt2, Dataset([PromptPair("w1", "w1 w2")]))
    with pytest.raises(PatchError, match="expected a Dataset, got PromptPair"):
        by_length(gpt2, PAIRS[0])  # type: ignore[arg-type]


def test_implied_effects_are_exactly_nothing_over_many_pairs(gpt2: TransformerBridge) -> None:
    words = [w for w in range(1, 38) if w not in (2, 3, 9, 20, 21)][:31]
    data = Dataset([PromptPair(f"w{w} w2 w3", f"w{w} w2 w9", answer="w20", foil="w21") for w in words])
    result = patch(gpt2, data, "resid_pre").wait()
    implied = result.data["status"] == "implied"
    assert bool(implied.any())
    assert float(abs(result.effect.where(implied)).max()) == 0.0


def test_a_mask_by_a_divergence_from_the_run_it_changes_is_refused(gpt2: TransformerBridge) -> None:
    with pytest.raises(PatchError, match="kl_clean is at its least in the clean run"):
        patch(gpt2, PAIRS[0], "z", intervention="mask", metric="kl_clean", direction="noise")
