"""Intervals as a map shows them: those of the pairs' own numbers, computed another way."""

from __future__ import annotations

import numpy as np
import pytest

from patchwidgets.result import PatchResult, make_data
from patchwidgets.spread import pair_effects, spread_of
from patchwidgets.views.heatmap import UNSURE
from patchwidgets.views.of_result import heatmap_of

PAIRS = 12
CELLS = np.array([0.0, 0.6, 0.02, 0.3])
rng = np.random.default_rng(3)
CORRUPTED, CLEAN = rng.normal(-2, 0.3, PAIRS), rng.normal(2, 0.3, PAIRS)
PATCHED = CORRUPTED[:, None] + CELLS * 4 + rng.normal(0, 0.8, (PAIRS, 4)) * (CELLS > 0)


def result(clean: np.ndarray = CLEAN) -> PatchResult:
    plain = np.stack([clean, CORRUPTED], -1)[None]
    data = make_data(
        ("layer", "head"), {"layer": 2, "head": 2}, ("logit_diff",), PATCHED.mean(0)[None], np.array([1, 0, 0, 0]),
        [clean.mean()], [CORRUPTED.mean()], [], pairs=(PATCHED[None], plain),
    )  # fmt: skip
    origin = {
        "site": "z", "direction": "denoise", "metrics": ["logit_diff"], "by": ["layer", "head"], "n": PAIRS,
        "texts": {"clean": [], "corrupted": []}, "bos_at": None, "model": "toy", "revision": None,
        "weights": "raw", "location": "native",
        "answer": None, "foil": None, "dtype": "float64",
        "device": "cpu", "engine": "hooked", "check": {"controls": 1, "worst_logit_difference": 0.0},
        "versions": {"transformer-lens": "4.3.0"}, "samples": 1, "intervention": "patch",
    }  # fmt: skip
    return PatchResult(data, origin)


def by_hand(values: np.ndarray, over: np.ndarray, draws: int = 4000) -> np.ndarray:
    """Return the percentile interval of mean(values) / mean(over), drawn by a loop of its own."""
    drawn = np.random.default_rng(11)
    found = []
    for _ in range(draws):
        rows = drawn.integers(0, len(values), len(values))
        found.append(values[rows].mean() / over[rows].mean())
    return np.percentile(found, [2.5, 97.5])


def test_intervals_are_those_of_draws_by_hand() -> None:
    found = spread_of(result())
    assert found is not None
    assert found.n == PAIRS
    for cell in (1, 2, 3):
        low, high = by_hand(PATCHED[:, cell] - CORRUPTED, CLEAN - CORRUPTED)
        assert found.low[cell] == pytest.approx(low, abs=0.02)
        assert found.high[cell] == pytest.approx(high, abs=0.02)
    assert found.includes_zero.tolist() == [False, False, True, False]
    assert np.isnan(found.low[0])  # implied: exactly 0, and no estimate


def test_raw_effects_have_intervals_in_their_own_unit() -> None:
    found = spread_of(result(), "effect")
    assert found is not None
    low, high = by_hand(PATCHED[:, 1] - CORRUPTED, np.ones(PAIRS))
    assert (found.low[1], found.high[1]) == (pytest.approx(low, abs=0.08), pytest.approx(high, abs=0.08))


def test_a_gap_that_may_be_zero_bounds_no_interval() -> None:
    found = spread_of(result(clean=CORRUPTED + np.linspace(-1, 1.2, PAIRS)))
    assert found is not None
    assert np.isnan(found.low).all()
    assert not found.includes_zero.any()


def test_a_single_pair_has_no_spread() -> None:
    data = make_data(("layer",), {"layer": 1}, ("prob",), np.array([[0.5]]), np.array([0]), [1.0], [0.0], [])
    assert spread_of(PatchResult(data, {"direction": "denoise", "by": ["layer"], "site": "resid_pre"})) is None


def test_the_effects_of_pairs() -> None:
    np.testing.assert_allclose(pair_effects(result()), PATCHED - CORRUPTED[:, None], rtol=0, atol=1e-12)


def test_a_map_has_them() -> None:
    view, found = heatmap_of(result()), spread_of(result())
    assert found is not None
    assert view.value(1, 0)["low"] == pytest.approx(found.low[2], abs=1e-6)
    assert view.value(1, 0)["high"] == pytest.approx(found.high[2], abs=1e-6)
    assert list(view.marks) == [0, 0, UNSURE, 0]
    assert view.words["mark_4"] == "the 95% interval over 12 pairs includes 0"
    assert view.words["interval_from"] == "bootstrap over 12 pairs, percentiles of 2000 draws"
