"""How sure a mean over prompt pairs is: bootstrap intervals and a paired sign-flip test, cell by cell.

Pairs are what is drawn, so all cells of a map share the same draws; a prompt's cells are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from .errors import PatchError, quoted

Array = NDArray[np.float64]

# Numbers held at once, about 100 MB: cells are worked off in chunks of the same draws.
_AT_ONCE = 12_000_000
# The contract's smallest gap that may be divided by, relative to the two metrics.
_SMALL = 1e-4


def bootstrap(
    values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[Array, Array]:
    """Return the bootstrap interval (low, high) of the mean over pairs, by percentiles of resampled means.

    values: [pair, ...], in any unit; low and high: [...], in the same unit. Equal values in all pairs give low = high =
    that value. Raises PatchError for fewer than two pairs and for NaN or infinite values.

    >>> low, high = bootstrap([1.0, 2.0, 3.0, 4.0])
    >>> bool(low < 2.5 < high)
    True
    """
    array = _checked(values, "values")
    confidence, resamples = _checked_draws(confidence, resamples, seed)
    first = array[0]
    # Relative to the first pair, so that equal values come out as exactly that value.
    centred = (array - first).reshape(len(array), -1)

    def statistic(weights: Array, cells: Array) -> Array:
        return weights @ cells

    low, high = _intervals(centred, statistic, confidence, resamples, seed)
    return first + low.reshape(first.shape), first + high.reshape(first.shape)


def bootstrap_normalized(
    patched: ArrayLike,
    base: ArrayLike,
    source: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Return the bootstrap interval (low, high) of the normalized effect, `mean(patched - base) / mean(source - base)`.

    patched: [pair, ...]; base and source: [pair], the metric in the two runs; low and high: [...], without unit. Each
    draw takes numerator and denominator from the same pairs. NaN where the mean gap is too small to divide by, or where
    its own interval contains 0: then no interval of the ratio is bounded. Raises PatchError as `bootstrap`, and for
    unequal numbers of pairs.

    >>> low, high = bootstrap_normalized(patched=[1.0, 2.0, 2.0], base=[0.0, 1.0, 0.0], source=[2.0, 3.0, 4.0])
    >>> (low.item(), high.item())
    (0.5, 0.5)
    """
    arrays = [_checked(array, name) for array, name in ((patched, "patched"), (base, "base"), (source, "source"))]
    cells, base_values, source_values = arrays
    for array, name in ((base_values, "base"), (source_values, "source")):
        if array.shape != (len(cells),):
            raise PatchError(
                f"{name} has shape {array.shape} where patched has {len(cells)} pairs; give one number per pair."
            )
    confidence, resamples = _checked_draws(confidence, resamples, seed)
    shape = cells.shape[1:]
    gap = source_values - base_values
    largest = max(1.0, abs(source_values.mean()), abs(base_values.mean()))
    gap_low, gap_high = bootstrap(gap, confidence=confidence, resamples=resamples, seed=seed)
    if abs(gap.mean()) < _SMALL * largest or gap_low <= 0 <= gap_high:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    effects = (cells.reshape(len(cells), -1).T - base_values).T

    def statistic(weights: Array, chunk: Array) -> Array:
        below = (weights @ gap)[..., None]
        # A rare draw of gaps that cancel exactly belongs to the far end, as its neighbours do.
        return np.divide(
            weights @ chunk, below, out=np.full((*below.shape[:-1], chunk.shape[1]), np.inf), where=below != 0
        )

    low, high = _intervals(effects, statistic, confidence, resamples, seed)
    return low.reshape(shape), high.reshape(shape)


def sign_flip(values: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> Array:
    """Return the two-sided p-value of a mean of 0 under random signs per pair: the paired sign-flip test.

    values: [pair, ...], for instance effects, or differences of two effects on the same pairs; p: [...]. Exact when the
    2**pairs sign patterns are at most `resamples`, else from that many draws; no p is below 2 / 2**pairs. Raises
    PatchError for fewer than two pairs and for NaN or infinite values.

    >>> sign_flip([1.0, 2.0, 3.0]).item()
    0.25
    """
    array = _checked(values, "values")
    count = _checked_count(resamples, "resamples")
    _checked_count(seed, "seed", at_least=0)
    flat = array.reshape(len(array), -1)

    def chunk_p(cells: Array) -> Array:
        # scipy flips the signs of a sample of ones, so one product gives the means of all cells.
        def statistic(signs: Array, axis: int = -1) -> Array:
            return np.asarray(signs) @ cells / len(cells)

        tested = stats.permutation_test(
            (np.ones(len(cells)),),
            statistic,
            permutation_type="samples",
            vectorized=True,
            n_resamples=count,
            batch=max(1, _AT_ONCE // len(cells)),
            axis=-1,
            rng=np.random.default_rng(seed),
        )
        return np.asarray(tested.pvalue)

    return _chunked(flat, count, chunk_p).reshape(array.shape[1:])


def _intervals(
    cells: Array, statistic: Callable[[Array, Array], Array], confidence: float, resamples: int, seed: int
) -> tuple[Array, Array]:
    """Return percentile intervals of `statistic(weights[..., pair], cells[pair, cell])`, weights summing to 1."""
    pairs = len(cells)

    def chunk_interval(chunk: Array) -> Array:
        # scipy draws rows; how often each was drawn gives the statistic of all cells in one product.
        def of_rows(rows: NDArray[np.int64], axis: int = -1) -> Array:
            return np.moveaxis(statistic(_counts(np.asarray(rows), pairs) / pairs, chunk), -1, 0)

        # scipy takes a standard error too, which draws at infinity do not have.
        with np.errstate(invalid="ignore"):
            interval = stats.bootstrap(
                (np.arange(pairs),),
                of_rows,
                n_resamples=resamples,
                batch=max(1, _AT_ONCE // pairs),
                vectorized=True,
                axis=-1,
                confidence_level=confidence,
                method="percentile",
                rng=np.random.default_rng(seed),
            ).confidence_interval
        return np.stack([interval.low, interval.high], axis=-1)

    low, high = np.moveaxis(_chunked(cells, resamples, chunk_interval), -1, 0)
    return low, high


def _counts(rows: NDArray[np.int64], pairs: int) -> Array:
    """Return how often each pair occurs along the last axis: [..., draw] to [..., pair]."""
    flat = rows.reshape(-1, rows.shape[-1])
    offsets = np.arange(len(flat))[:, None] * pairs
    counts = np.bincount((flat + offsets).ravel(), minlength=len(flat) * pairs)
    return counts.reshape(*rows.shape[:-1], pairs).astype(np.float64)


def _chunked(cells: Array, resamples: int, work: Callable[[Array], Array]) -> Array:
    step = max(1, _AT_ONCE // resamples)
    return np.concatenate([work(cells[:, at : at + step]) for at in range(0, cells.shape[1], step)])


def _checked(values: ArrayLike, name: str) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PatchError(f"{name} must be numbers of shape [pair, ...]: {error}.") from error
    if array.ndim == 0 or array.size == 0:
        raise PatchError(f"{name} has shape {array.shape}; give numbers of shape [pair, ...] with at least two pairs.")
    if len(array) < 2:
        raise PatchError(f"{name} has one pair, which says nothing about the spread; give at least two pairs.")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        pair, *cell = wrong[0].tolist()
        raise PatchError(
            f"{name} is {array[tuple(wrong[0])]} for pair {pair}{f', cell {tuple(cell)}' if cell else ''}; "
            "leave out cells that were not measured, and pairs whose metric is not finite."
        )
    return array


def _checked_draws(confidence: Any, resamples: Any, seed: Any) -> tuple[float, int]:
    _checked_count(seed, "seed", at_least=0)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        raise PatchError(f"confidence must be between 0 and 1, such as 0.95, not {quoted(confidence)}.")
    return float(confidence), _checked_count(resamples, "resamples")


def _checked_count(value: Any, name: str, *, at_least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise PatchError(f"{name} must be a whole number of at least {at_least}, not {quoted(value)}.")
    return value
