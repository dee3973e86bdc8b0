"""Candidate stages: strong cells that lie side by side, found in a result's map and told in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PatchError, quoted
from .metrics import tolerance
from .spelling import counted, signed

if TYPE_CHECKING:
    import pandas as pd

    from .result import PatchResult

THRESHOLD = 0.5
"""The share of the gap from which a cell is strong, where nothing else is asked for."""

_ALONG_TOKENS = ("pos", "src", "dest")
_UNORDERED = ("head", "neuron")
_TOLD = 4
_WHERE = {"pos": "at", "src": "from", "dest": "to"}


@dataclass(frozen=True)
class Stage:
    """Strong cells of one sign that hang together.

    Attributes:
        cells: their flat indices, in the order of the result's axes.
        bounds: axis -> the first and the last index in the model.
        strongest: the normalized effect that is largest in size, with its sign.
        mean: the mean normalized effect.
    """

    cells: np.ndarray
    bounds: dict[str, tuple[int, int]]
    strongest: float
    mean: float


@dataclass(frozen=True)
class Stages:
    """The clusters of one metric.

    Attributes:
        threshold: the share of the gap from which a cell is strong.
        found: the clusters, in the order of their first cells.
        labels: per cell [cell] the number of its cluster, from 1; 0 for the others.
        words: what was found, or why there is nothing to find, in a sentence's part.
    """

    threshold: float
    found: tuple[Stage, ...]
    labels: np.ndarray
    words: str


def ordered_axes(by: Sequence[str]) -> tuple[str, ...]:
    """Return the axes along which cells have neighbours.

    Heads and neurons have no order, and the number of one says nothing about that number in the next layer: cells that
    name a head or a neuron are neighbours along tokens only.

    >>> ordered_axes(("layer", "pos")), ordered_axes(("layer", "pos", "head")), ordered_axes(("layer", "head"))
    (('layer', 'pos'), ('pos',), ())
    """
    numbered = bool(set(by) & set(_UNORDERED))
    return tuple(axis for axis in by if axis in _ALONG_TOKENS or (axis == "layer" and not numbered))


def find_stages(result: PatchResult, threshold: float = THRESHOLD) -> Stages:
    """Return the clusters of a result's first metric.

    A cell is strong where its normalized effect is `threshold` or more in size. Two strong cells of one sign hang
    together where they are one step apart in the model along one ordered axis and equal in all others: a map of every
    other layer has no neighbours along its layers. One cell alone is no cluster. What is pending or unavailable is not
    strong. Raises PatchError for a threshold that is no number above 0.
    """
    threshold = check_threshold(threshold)
    result = result.select(result.metrics[0])
    values = result.normalized.values[0]
    nothing = Stages(threshold, (), np.zeros(values.size, dtype=np.int32), why_none(result))
    if nothing.words:
        return nothing
    labels = _labels(values, result, threshold).reshape(-1)
    found = _stages(result, values, labels)
    return Stages(threshold, found, labels, _told(result, found, threshold))


def check_threshold(value: object) -> float:
    """Return a threshold as a number; raise PatchError where it is none above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < math.inf:
        raise PatchError(f"threshold must be a share of the gap above 0, such as 0.5, not {quoted(value)}.")
    return float(value)


def why_none(result: PatchResult) -> str:
    """Return why there can be no clusters in a result's first metric, "" where there can be some."""
    if result.is_difference:
        return "a difference of two results has none"
    if not ordered_axes(result.by):
        if set(result.by) & set(_UNORDERED):
            return "heads and neurons have no order, so that none of these cells is beside another"
        return "sets of cells have no order"
    if not np.isfinite(result.normalized.values[0]).any():
        return "there is no normalized effect to measure strength by"
    gap = float(result.data["clean"].values[0] - result.data["corrupted"].values[0])
    if abs(gap) <= tolerance(result.provenance["dtype"], gap):
        return f"the two runs are {abs(gap):.2g} apart, which is not resolved at this precision"
    return ""


def table(result: PatchResult, threshold: float = THRESHOLD) -> pd.DataFrame:
    """Return a row per metric and cluster.

    Columns: metric, stage (from 1), cells; per axis its first and last index (`layer_first`, `layer_last`; a head or a
    neuron has one column); `token_first` and `token_last` where there are positions; `strongest` and `mean`, both
    normalized.
    """
    import pandas as pd

    axes = [name for axis in result.by for name in _columns_of(axis)]
    texts = ["token_first", "token_last"] if "pos" in result.by else []
    rows = [
        {"metric": metric, "stage": number, "cells": len(stage.cells), **_row(result, stage)}
        for metric in result.metrics
        for number, stage in enumerate(find_stages(result.select(metric), threshold).found, 1)
    ]
    return pd.DataFrame(rows, columns=["metric", "stage", "cells", *axes, *texts, "strongest", "mean"])


def _columns_of(axis: str) -> list[str]:
    return [axis] if axis in _UNORDERED else [f"{axis}_first", f"{axis}_last"]


def _row(result: PatchResult, stage: Stage) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for axis, ends in stage.bounds.items():
        row |= dict(zip(_columns_of(axis), ends, strict=False))
    if "pos" in stage.bounds:
        first, last = (_token(result, at) for at in stage.bounds["pos"])
        row |= {"token_first": first, "token_last": last}
    return {**row, "strongest": stage.strongest, "mean": stage.mean}


def _labels(values: np.ndarray, result: PatchResult, threshold: float) -> np.ndarray:
    """Return the clusters' numbers [*by], in the order of their first cells."""
    from scipy import ndimage  # scipy takes a while to import

    ordered = ordered_axes(result.by)
    places, sizes = [], []
    for axis, size in zip(result.by, values.shape, strict=True):
        at = result.data[axis].values.astype(np.int64) if axis in ordered else np.arange(size)
        places.append(at - at.min())
        sizes.append(int(places[-1].max()) + 1)
    # Cells that are not one step apart in the model are kept apart by the ones between them.
    room, joined = np.ix_(*places), _neighbours(result.by, ordered)
    numbers = np.zeros(values.shape, dtype=np.int64)
    for sign in (1, -1):
        strong = np.zeros(sizes, dtype=bool)
        strong[room] = sign * np.nan_to_num(values) >= threshold
        found = np.zeros(sizes, dtype=np.int64)
        ndimage.label(strong, structure=joined, output=found)
        numbers = np.where(found[room] > 0, sign * found[room], numbers)
    return _in_order(numbers)


def _neighbours(by: Sequence[str], ordered: Sequence[str]) -> np.ndarray:
    """Return which steps lead to a neighbour: one along an ordered axis."""
    joined = np.zeros((3,) * len(by), dtype=bool)
    for i, axis in enumerate(by):
        if axis in ordered:
            joined[(1,) * i + (slice(None),) + (1,) * (len(by) - 1 - i)] = True
    return joined


def _in_order(numbers: np.ndarray) -> np.ndarray:
    """Return clusters of two cells and more, numbered from 1 by their first cells."""
    flat = numbers.reshape(-1)
    names, first, named, counts = np.unique(flat, return_index=True, return_inverse=True, return_counts=True)
    kept = (names != 0) & (counts > 1)
    renamed = np.zeros(names.shape, dtype=np.int32)
    renamed[np.flatnonzero(kept)[np.argsort(first[kept])]] = np.arange(1, kept.sum() + 1)
    return renamed[named].reshape(numbers.shape)


def _stages(result: PatchResult, values: np.ndarray, labels: np.ndarray) -> tuple[Stage, ...]:
    """Return the clusters that the cells [cell] are labelled with, all at once: there can be thousands."""
    cells = np.argsort(labels, kind="stable")[np.count_nonzero(labels == 0) :]
    if not cells.size:
        return ()
    starts = np.flatnonzero(np.diff(labels[cells], prepend=0))
    counts = np.diff(starts, append=cells.size)
    at = np.unravel_index(cells, values.shape)
    bounds = {}
    for axis, where in zip(result.by, at, strict=True):
        named = result.data[axis].values[where]
        ends = [ufunc.reduceat(named, starts).tolist() for ufunc in (np.minimum, np.maximum)]
        bounds[axis] = list(zip(*ends, strict=True))
    own = values.reshape(-1)[cells]
    low, high = np.minimum.reduceat(own, starts), np.maximum.reduceat(own, starts)
    strongest = np.where(low < 0, low, high)  # All of a cluster's cells have one sign.
    means = np.add.reduceat(own, starts) / counts
    return tuple(
        Stage(some, {axis: ends[i] for axis, ends in bounds.items()}, float(strongest[i]), float(means[i]))
        for i, some in enumerate(np.split(cells, starts[1:]))
    )


def _token(result: PatchResult, position: int) -> str:
    """Return the token at a position of the base run, and its counterpart where that is another."""
    texts = [result.provenance["texts"][run] for run in ("clean", "corrupted")]
    return "/".join(dict.fromkeys(text[position] for text in texts if position < len(text) and text[position]))


def _told(result: PatchResult, found: Sequence[Stage], threshold: float) -> str:
    if not found:
        return f"none: no two neighbouring cells are {threshold:g} of the gap or more"
    many = counted(len(found), "candidate stage")
    listed = [
        f"{place_of(result, stage)} ({len(stage.cells)} cells, strongest {signed(stage.strongest)})"
        for stage in found[:_TOLD]
    ]
    more = [f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
    return f"{many}, neighbouring cells of {threshold:g} of the gap or more: {'; '.join([*listed, *more])}"


def place_of(result: PatchResult, stage: Stage) -> str:
    """Return where a cluster lies: "layers 0–3 at ' Mary', position 2"."""
    bounds = stage.bounds
    parts = []
    if "head" in bounds:
        parts.append(f"head {bounds['layer'][0]}.{bounds['head'][0]}")
    elif "neuron" in bounds:
        parts.append(f"neuron {bounds['layer'][0]}.{bounds['neuron'][0]}")
    elif "layer" in bounds:
        parts.append(_span("layer", bounds["layer"]))
    for axis in ("src", "dest", "pos"):
        if axis in bounds:
            texts = "–".join(repr(_token(result, at)) for at in sorted(set(bounds[axis])))
            parts.append(f"{_WHERE[axis]} {texts}, {_span('position', bounds[axis])}")
    return " ".join(parts)


def _span(name: str, ends: tuple[int, int]) -> str:
    first, last = ends
    return f"{name} {first}" if first == last else f"{name}s {first}–{last}"
