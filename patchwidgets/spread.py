"""How sure the means of a dataset are, as a map shows it: an interval per cell, and which of them include zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .metrics import gap_too_small, tolerance
from .result import IMPLIED, STATUSES, PatchResult

CONFIDENCE, DRAWS = 0.95, 2000


@dataclass(frozen=True)
class Spread:
    """The intervals of a result's first metric, each [cell]; NaN where there is none.

    Attributes:
        low, high: the interval of the mean, in the unit of `quantity`.
        includes_zero: whether 0 is in it, as far as the precision resolves; never for a cell that is 0 by implication.
        n: the number of pairs.
        quantity: "normalized" or "effect".
    """

    low: np.ndarray
    high: np.ndarray
    includes_zero: np.ndarray
    n: int
    quantity: str

    @property
    def words(self) -> dict[str, str]:
        """What a map says of its intervals: beside a cell's numbers, and of those that include zero."""
        return {
            "interval": f"{CONFIDENCE:.0%} interval",
            "interval_from": drawn_how(self.n),
            "mark_4": f"the {CONFIDENCE:.0%} interval over {self.n} pairs includes 0",
            "mark_4_short": "unsure",
            "note": f"Means over {self.n} pairs.",
        }


def drawn_how(pairs: int) -> str:
    """Return in words how an interval was found."""
    return f"bootstrap over {pairs} pairs, percentiles of {DRAWS} draws"


def spread_of(result: PatchResult, quantity: str = "normalized") -> Spread | None:
    """Return the bootstrap intervals over the pairs of a result's first metric, None where it is of one pair.

    Pairs are drawn with replacement; a normalized effect is divided by the mean gap of the same draw.
    """
    if result.is_difference or "patched_pairs" not in result.data:
        return None
    low, high = _bounds(result, quantity)
    implied = result.data["status"].values.reshape(-1) == STATUSES[IMPLIED]
    low, high = np.where(implied, np.nan, low), np.where(implied, np.nan, high)
    error = resolved_from(result, quantity)
    return Spread(low, high, (low <= error) & (high >= -error), result.n, quantity)


def of_cell(result: PatchResult, flat: int, quantity: str) -> tuple[np.ndarray, tuple[float, float]] | None:
    """Return the pairs' own values in one cell, [pair], and the interval of their mean; None where there are none.

    Normalized values are divided by the mean gap, so that their mean is the cell's.
    """
    from . import stats  # scipy takes a while to import

    if result.is_difference or "patched_pairs" not in result.data:
        return None
    effects = pair_effects(result)[:, flat]
    if not np.isfinite(effects).all():
        return None
    if quantity == "effect":
        low, high = stats.bootstrap(effects, confidence=CONFIDENCE, resamples=DRAWS)
        return effects, (float(low), float(high))
    runs = (result.direction.base, result.direction.source)
    base, source = (result.data[f"{run}_pairs"].transpose("metric", "pair").values[0] for run in runs)
    low, high = stats.bootstrap_normalized(effects + base, base, source, confidence=CONFIDENCE, resamples=DRAWS)
    return effects / (source - base).mean(), (float(low), float(high))


def _bounds(result: PatchResult, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    if quantity == "normalized":
        low, high = result.interval(CONFIDENCE, resamples=DRAWS)
        return low.values[0].reshape(-1), high.values[0].reshape(-1)
    from . import stats  # scipy takes a while to import

    effects = pair_effects(result)
    found = np.full((2, effects.shape[1]), np.nan)
    there = np.isfinite(effects).all(0)
    if there.any():
        found[:, there] = stats.bootstrap(effects[:, there], confidence=CONFIDENCE, resamples=DRAWS)
    return found[0], found[1]


def resolved_from(result: PatchResult, quantity: str) -> float:
    """Return the size from which an effect is more than rounding, in the unit of `quantity`."""
    gap = float(result.data["clean"].values[0]) - float(result.data["corrupted"].values[0])
    error = tolerance(result.provenance["dtype"], gap)
    return error / abs(gap) if quantity == "normalized" and gap else error


def pair_gaps(result: PatchResult) -> np.ndarray:
    """Return every pair's own gap in a result's first metric, [pair], source minus base; NaN where it is too small."""
    runs = (result.direction.base, result.direction.source)
    base, source = (result.data[f"{run}_pairs"].transpose("metric", "pair").values[0] for run in runs)
    return np.where([gap_too_small(*pair) for pair in zip(base, source, strict=True)], np.nan, source - base)


def pair_effects(result: PatchResult) -> np.ndarray:
    """Return every pair's effect in a result's first metric, [pair, cell], in the metric's unit."""
    each = result.data["patched_pairs"].transpose("metric", "pair", *result.by).values[0]
    base = result.data[f"{result.direction.base}_pairs"].transpose("metric", "pair").values[0]
    return each.reshape(len(each), -1) - base[:, None]
