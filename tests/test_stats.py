"""Intervals and p-values agree with sums done by hand, with plain loops, and with every sign pattern written out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import numpy as np
import pytest

from patchwidgets import stats
from patchwidgets.errors import PatchError
from patchwidgets.stats import bootstrap, bootstrap_normalized, sign_flip

RNG = np.random.default_rng(3)
VALUES = RNG.normal(0.4, 1.0, size=(9, 2, 3))
BASE = RNG.normal(-2.0, 0.3, size=9)
SOURCE = RNG.normal(2.0, 0.3, size=9)


def test_two_pairs_by_hand() -> None:
    # The four draws of two pairs have the means 0, 1/2, 1/2 and 1; the outer quarters are cut off at 0.4.
    low, high = bootstrap([0.0, 1.0], confidence=0.4, resamples=4000)
    assert (low.item(), high.item()) == (0.5, 0.5)
    low, high = bootstrap([0.0, 1.0], confidence=0.9, resamples=4000)
    assert (low.item(), high.item()) == (0.0, 1.0)


def test_the_interval_is_that_of_a_plain_loop_over_the_same_draws() -> None:
    rows = np.random.default_rng(11).integers(0, 9, (500, 9))
    means = np.array([VALUES[drawn].mean(axis=0) for drawn in rows])
    low, high = bootstrap(VALUES, confidence=0.8, resamples=500, seed=11)
    assert low.shape == high.shape == (2, 3)
    np.testing.assert_allclose([low, high], np.percentile(means, [10, 90], axis=0), rtol=0, atol=1e-12)


def test_the_normalized_interval_draws_numerator_and_denominator_together() -> None:
    patched = BASE[:, None, None] + VALUES
    rows = np.random.default_rng(11).integers(0, 9, (500, 9))
    ratios = np.array([VALUES[drawn].mean(axis=0) / (SOURCE - BASE)[drawn].mean() for drawn in rows])
    low, high = bootstrap_normalized(patched, BASE, SOURCE, confidence=0.8, resamples=500, seed=11)
    np.testing.assert_allclose([low, high], np.percentile(ratios, [10, 90], axis=0), rtol=0, atol=1e-12)


def test_the_normalized_interval_of_a_full_and_of_no_effect_is_a_point() -> None:
    patched = np.stack([SOURCE, BASE, (SOURCE + BASE) / 2], axis=-1)
    low, high = bootstrap_normalized(patched, BASE, SOURCE)
    np.testing.assert_allclose([low, high], [[1.0, 0.0, 0.5]] * 2, rtol=0, atol=1e-12)


def test_a_known_interval_is_covered_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(1.0, 2.0, size=(60, 400))
    low, high = bootstrap(draws, confidence=0.9)
    assert 0.83 <= np.mean((low <= 1.0) & (high >= 1.0)) <= 0.95


def test_equal_values_give_that_value_and_no_warning() -> None:
    values = np.tile([0.1, -3.7, 0.0], (7, 1))
    low, high = bootstrap(values)
    assert low.tolist() == high.tolist() == [0.1, -3.7, 0.0]
    assert sign_flip(np.zeros((5, 2))).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "gap",
    [[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [1e-6, 1e-6, 2e-6], [0.0, 0.0, 3.0]],
    ids=["none", "either sign", "tiny", "often none"],
)
def test_a_gap_that_cannot_be_divided_by_gives_nan(gap: list[float]) -> None:
    low, high = bootstrap_normalized(np.ones((3, 2)), np.zeros(3), gap)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_a_draw_whose_gaps_are_all_zero_leaves_numbers_not_nan() -> None:
    # One draw in 27 takes only the pair without a gap: too few to reach the 5 % at either end.
    gap = np.array([3.0, 0.0, 3.0])
    low, high = bootstrap_normalized(np.array([3.0, 0.0, 3.0]), np.zeros(3), gap, confidence=0.9)
    assert (low.item(), high.item()) == (1.0, 1.0)


def test_the_seed_fixes_the_draws() -> None:
    assert np.array_equal(bootstrap(VALUES, seed=1), bootstrap(VALUES, seed=1))
    assert not np.array_equal(bootstrap(VALUES, seed=1), bootstrap(VALUES, seed=2))
    many = RNG.normal(size=(20, 3))
    assert np.array_equal(sign_flip(many, resamples=99, seed=1), sign_flip(many, resamples=99, seed=1))


def test_cells_worked_off_in_chunks_have_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = BASE[:, None, None] + VALUES
    many = RNG.normal(0.3, size=(15, 7))

    def all_of_it() -> list[np.ndarray]:
        return [
            *bootstrap(VALUES, resamples=50),
            *bootstrap_normalized(patched, BASE, SOURCE, resamples=50),
            sign_flip(many, resamples=200),
        ]

    whole = all_of_it()
    monkeypatch.setattr(stats, "_AT_ONCE", 400)
    for one, other in zip(whole, all_of_it(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_the_exact_test_is_the_share_of_sign_patterns_at_least_as_far_out() -> None:
    signs = np.array(list(itertools.product([1, -1], repeat=9)))
    means = np.einsum("sp,pij->sij", signs, VALUES) / 9
    expected = (abs(means) >= abs(VALUES.mean(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(sign_flip(VALUES), expected, rtol=0, atol=1e-12)
    assert sign_flip(np.full(9, 2.5)).item() == 2 / 2**9


def test_the_exact_test_needs_as_many_draws_as_there_are_patterns() -> None:
    values = RNG.normal(0.5, size=10)
    assert sign_flip(values, resamples=1024, seed=1) == sign_flip(values, resamples=1024, seed=2)
    drawn = [sign_flip(values, resamples=1023, seed=seed).item() for seed in range(4)]
    assert len(set(drawn)) > 1
    np.testing.assert_allclose(drawn, sign_flip(values).item(), rtol=0, atol=0.06)


def test_the_test_is_of_the_mean_in_both_directions() -> None:
    assert sign_flip(-VALUES).tolist() == sign_flip(VALUES).tolist()
    assert sign_flip([1.0, -1.0, 1.0, -1.0]).item() == 1.0


NAN = np.array([[1.0, 2.0], [3.0, np.nan]])
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "NaN": (lambda: bootstrap(NAN), "values is nan for pair 1, cell (1,); leave out cells that were not measured, and"),
    "infinite": (lambda: sign_flip([1.0, np.inf]), "values is inf for pair 1; leave out"),
    "one pair": (
        lambda: bootstrap([[1.0, 2.0]]),
        "values has one pair, which says nothing about the spread; give at least two",
    ),
    "one pair to test": (lambda: sign_flip([1.0]), "values has one pair,"),
    "no pairs": (
        lambda: bootstrap(np.empty((0, 3))),
        "values has shape (0, 3); give numbers of shape [pair, ...] with at",
    ),
    "no cells": (lambda: sign_flip(np.empty((4, 0))), "values has shape (4, 0);"),
    "a number": (lambda: bootstrap(1.0), "values has shape ();"),
    "texts": (lambda: bootstrap(["a", "b"]), "values must be numbers of shape [pair, ...]: could not convert string"),
    "ragged": (lambda: bootstrap([[1.0], [1.0, 2.0]]), "values must be numbers of shape [pair, ...]: "),
    "confidence": (
        lambda: bootstrap([1.0, 2.0], confidence=95),
        "confidence must be between 0 and 1, such as 0.95, not 95.",
    ),
    "resamples": (lambda: bootstrap([1.0, 2.0], resamples=0), "resamples must be a whole number of at least 1, not 0."),
    "resamples to test": (
        lambda: sign_flip([1.0, 2.0], resamples=1e4),
        "resamples must be a whole number of at least 1, not 10000.0.",
    ),
    "seed": (lambda: bootstrap([1.0, 2.0], seed=None), "seed must be a whole number of at least 0, not None."),
    "seed to test": (lambda: sign_flip([1.0, 2.0], seed=-1), "seed must be a whole number of at least 0, not -1."),
    "fewer bases": (
        lambda: bootstrap_normalized(VALUES, BASE[:8], SOURCE),
        "base has shape (8,) where patched has 9 pairs; give one number",
    ),
    "sources by cell": (
        lambda: bootstrap_normalized(VALUES, BASE, VALUES),
        "source has shape (9, 2, 3) where patched has 9 pairs;",
    ),
    "a NaN base": (lambda: bootstrap_normalized(VALUES, BASE * np.nan, SOURCE), "base is nan for pair 0; leave out"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_cannot_be_judged_is_refused_in_words(wrong: str) -> None:
    make, told = REFUSED[wrong]
    with pytest.raises(PatchError, match=re.escape(told)):
        make()
