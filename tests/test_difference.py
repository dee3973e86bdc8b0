"""One result minus another: the numbers, the statuses, the words, and what cannot be subtracted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets import difference
from patchwidgets.result import ESTIMATED, IMPLIED, MEASURED, PENDING, UNAVAILABLE, PatchResult, make_data
from patchwidgets.words import meaning, small_gaps

TEXTS = {"clean": ["a", "b", "c"], "corrupted": ["a", "x", "c"]}


def result(values: Any, status: Any = None, *, runs: tuple[float, float] = (4.0, 0.0), **more: Any) -> PatchResult:
    """One metric over two layers and three positions; `more` goes to the provenance."""
    patched, metric = np.asarray(values, dtype=float), more.pop("metric", "logit_diff")
    codes = np.full((2, 3), MEASURED) if status is None else np.asarray(status)
    data = make_data(
        ("layer", "pos"), {"layer": 2, "pos": 3}, (metric,), patched[None], codes, [runs[0]], [runs[1]],
        list(zip(TEXTS["clean"], TEXTS["corrupted"], strict=True)),
    )  # fmt: skip
    return PatchResult(data, {
        "site": "resid_pre", "direction": "denoise", "by": ["layer", "pos"], "metrics": [metric], "bos_at": None,
        "n": 1, "model": "tiny", "weights": "raw", "dtype": "float32", "device": "cpu", "engine": "hooked",
        "intervention": "patch",
        "check": {"controls": 1, "worst_logit_difference": 0.0}, "versions": {"transformer-lens": "4.3.0"},
        "tokens": {"clean": [1, 2, 3], "corrupted": [1, 9, 3]}, "texts": TEXTS, "alignment": None,
        "prompts": {"clean": "a b c", "corrupted": "a x c"}, "answer": {"token": 2, "text": " b"},
        "foil": {"token": 9, "text": " x"}, **more,
    })  # fmt: skip


A = result([[0.0, 4.0, 1.0], [0.0, 1.0, 3.0]])
B = result([[4.0, 1.0, 4.0], [4.0, 3.0, 0.0]], direction="noise")


def test_effects_are_subtracted_each_from_its_own_base() -> None:
    made = A - B
    np.testing.assert_array_equal(made.effect.values[0], [[0.0, 7.0, 1.0], [0.0, 2.0, 7.0]])
    np.testing.assert_array_equal(made.normalized.values, A.normalized.values - B.normalized.values)
    np.testing.assert_array_equal(made.data["patched"].values, A.data["patched"].values - B.data["patched"].values)
    assert (A - A).normalized.values.tolist() == [[[0.0] * 3] * 2]
    assert made.is_difference
    assert not A.is_difference


def test_what_is_not_known_in_both_is_unavailable() -> None:
    first = result(np.ones((2, 3)), [[MEASURED, IMPLIED, PENDING], [ESTIMATED, IMPLIED, UNAVAILABLE]])
    second = result(np.ones((2, 3)), [[MEASURED, MEASURED, MEASURED], [IMPLIED, IMPLIED, MEASURED]])
    made = first - second
    assert made.data["status"].values.tolist() == [
        ["measured", "measured", "unavailable"], ["estimated", "implied", "unavailable"],
    ]  # fmt: skip
    assert np.isnan(made.normalized.values[0]).tolist() == [[False, False, True], [False, False, True]]
    assert np.isnan(made.effect.values[0]).tolist() == [[False, False, True], [False, False, True]]


def test_both_origins_travel_along(tmp_path: Path) -> None:
    made = A - B
    sides = made.provenance["difference"]
    assert [side["direction"] for side in sides] == ["denoise", "noise"]
    assert [side["baselines"] for side in sides] == [{"logit_diff": [4.0, 0.0]}] * 2
    assert {**sides[0], "baselines": None} == {**A.provenance, "baselines": None}
    again = PatchResult.load(made.save(tmp_path / "difference.nc"))
    assert again.provenance == made.provenance
    assert again.describe() == made.describe()
    np.testing.assert_array_equal(again.normalized, made.normalized)
    np.testing.assert_array_equal(again.to_dataframe()["effect"], made.to_dataframe()["effect"])


def test_the_words_follow_from_what_the_two_do_not_share() -> None:
    said = meaning((A - B).provenance)
    assert said["title"] == "resid_pre by layer and token: clean into corrupted minus corrupted into clean"
    assert said["sentence"] == (
        "A cell shows how much is recovered in A (clean into corrupted) minus how much is destroyed in B "
        "(corrupted into clean)."
    )
    assert said["high"] == "above 0: more is recovered in A than destroyed in B"
    titles = {
        "resid_pre by layer and token minus resid_post by layer and token": result(
            A.data["patched"][0], site="resid_post"
        ),
        "resid_pre by layer and token: tiny minus large": result(A.data["patched"][0], model="large"),
        "resid_pre by layer and token: ' b' over ' x' minus ' b' over ' y'": result(
            A.data["patched"][0], foil={"token": 8, "text": " y"}
        ),
        "resid_pre by layer and token: 'a b c' / 'a x c' minus 'a b c' / 'a y c'": result(
            A.data["patched"][0], prompts={"clean": "a b c", "corrupted": "a y c"}
        ),
        "resid_pre by layer and token: A minus B": result(A.data["patched"][0]),
    }
    assert [meaning((A - other).provenance)["title"] for other in titles.values()] == list(titles)


def test_it_is_described_with_both_baselines_and_the_sum_of_the_errors() -> None:
    other = result(B.data["patched"][0], runs=(20_000.0, 0.0), engine="replay")
    told = " ".join((A - other).describe().split())
    assert "A: logit_diff +4.00 clean, 0.00 corrupted. B: logit_diff +20000.00 clean, 0.00 corrupted." in told
    assert "hooked engine" in told
    assert "replay engine" in told
    assert "Effects below 2 are not resolved" in told


def test_a_gap_too_small_in_either_leaves_no_normalized_difference() -> None:
    flat = result(np.ones((2, 3)), runs=(1.0, 1.0))
    made = A - flat
    assert np.isnan(made.normalized.values).all()
    assert np.isfinite(made.effect.values).all()
    assert "logit_diff: the two runs hardly differ" in small_gaps(made)[0]


def test_different_tokens_at_a_position_are_both_named() -> None:
    made = A - result(np.ones((2, 3)), texts={"clean": ["a", "b", "c"], "corrupted": ["a", "y", "c"]})
    assert made.to_dataframe()["token_corrupted"].tolist()[:3] == ["a", "x/y", "c"]


def test_the_metrics_both_have_are_subtracted() -> None:
    other = result(np.ones((2, 3)), metric="prob")
    with pytest.raises(pw.PatchError, match="A has the metrics logit_diff, B prob; measure one that both have"):
        A.minus(other)


def _heads() -> PatchResult:
    data = make_data(
        ("layer", "head"),
        {"layer": 2, "head": 3},
        ("logit_diff",),
        np.zeros((1, 2, 3)),
        np.zeros((2, 3), int),
        [1],
        [0],
        [],
    )
    return PatchResult(data, {**A.provenance, "site": "z", "by": ["layer", "head"]})


def _shorter() -> PatchResult:
    return PatchResult(A.data.isel(pos=[1, 2]), A.provenance)


def _aligned() -> PatchResult:
    return PatchResult(A.data, {**A.provenance, "direction": "noise", "alignment": [[0, 0], [1, 1], [2, 2]]})


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (_heads, "A is by layer, pos, B by layer, head"),
        (_shorter, "A has 3 positions and B has the positions 1, 2: their cells are not the same ones"),
        (_aligned, "A's positions count the corrupted prompt's tokens, B's the clean prompt's"),
        (lambda: A - B, "one of the two is a difference already"),
    ],
)
def test_other_cells_are_refused_with_the_reason(other: Callable[[], PatchResult], told: str) -> None:
    with pytest.raises(pw.PatchError, match="cannot be subtracted") as caught:
        A.minus(other())
    assert told in str(caught.value)


def test_what_only_one_result_has_is_asked_of_one() -> None:
    made = A - B
    for ask, told in (
        (lambda: made.direction, "has no direction"),
        (lambda: made.intervention, "interventions of both"),
        (made.code, "print the code of each"),
        (made.interval, "no values of single pairs"),
    ):
        with pytest.raises(pw.PatchError, match=told):
            ask()
    assert (A - A).direction.base == "corrupted"
    with pytest.raises(pw.PatchError, match="expected a PatchResult"):
        A.minus(1)  # type: ignore[arg-type]


def test_sufficient_but_not_necessary_and_the_reverse() -> None:
    # Recovered: 0, 1, .25 / 0, .25, .75. Destroyed: 0, .75, 0 / 0, .25, 1.
    codes = difference.one_way(A, B, "logit_diff", 0.5)
    assert codes.tolist() == [[0, 0, 0], [0, 0, 0]]
    codes = difference.one_way(A, B, "logit_diff", 0.8)
    assert codes.tolist() == [[0, 1, 0], [0, 0, 2]]
    assert difference.one_way(B, A, "logit_diff", 0.8).tolist() == codes.tolist()
    words = difference.one_way_words(0.8)
    assert words[difference.SUFFICIENT].startswith("sufficient here, given the rest of the corrupted run (at least 0.8")
    assert "not necessary on these prompts (less than 0.8 destroyed)" in words[difference.SUFFICIENT]


def test_a_cell_that_is_unknown_in_one_direction_is_not_marked() -> None:
    part = result(A.data["patched"][0], [[0, PENDING, 0], [0, 0, 0]])
    part.data["patched"].values[0, 0, 1] = np.nan
    assert difference.one_way(part, B, "logit_diff", 0.8).tolist() == [[0, 0, 0], [0, 0, 2]]


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (A, A, "both denoise"),
        (A, result(np.ones((2, 3)), direction="noise", intervention="zero"), "another intervention"),
        (A, result(np.ones((2, 3)), direction="noise", foil=None), "they differ in foil"),
        (A, _heads(), "A is by layer, pos"),
    ],
)
def test_sufficient_and_necessary_need_the_same_question_asked_both_ways(
    a: PatchResult, b: PatchResult, told: str
) -> None:
    assert told in difference.misfit_two_ways(a, b)
    with pytest.raises(pw.PatchError, match="sufficient but not necessary"):
        difference.one_way(a, b, "logit_diff", 0.5)


@pytest.mark.parametrize("threshold", [0, 1.5, float("nan")])
def test_a_threshold_is_a_share_of_the_gap(threshold: float) -> None:
    with pytest.raises(pw.PatchError, match="threshold must be above 0"):
        difference.one_way(A, B, "logit_diff", threshold)


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_a_difference_is_drawn_and_published_like_any_result(tmp_path: Path) -> None:
    made = A - B
    axes = made.plot()
    assert "minus" in axes.get_title(loc="left")
    page = made.to_html(tmp_path / "difference.html").read_text()
    assert "clean into corrupted minus corrupted into clean" in page
    assert "Code that measures them again" not in page
