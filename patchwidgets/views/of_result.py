"""A PatchResult as the heatmap's values and words."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import words
from ..grid import Grid, grid_of
from ..result import STATUSES, PatchResult
from ..spread import Spread, spread_of
from .heatmap import UNSURE, Heatmap

RAW_WORDS = {
    "high": "above 0: the patch raises the metric",
    "near_zero": "near 0: the patch moves nothing here",
    "negative": "below 0: the patch lowers the metric",
}


def heatmap_of(result: PatchResult, **traits: Any) -> Heatmap:
    """Return a Heatmap of a result's first metric alone; other traits are passed on.

    Normalized effects are coloured on a scale of -1 to 1, raw effects where that metric's gap is too small.
    """
    return Heatmap(**{**heatmap_traits(result), **traits})


def heatmap_traits(result: PatchResult) -> dict[str, Any]:
    """Return what `Heatmap` and its `show` take to show a result's first metric."""
    result = result.select(result.metrics[0])
    grid = grid_of(result)
    shown = {"rows": grid.rows, "columns": _with_gaps(grid, result)}
    traits = traits_of(result, grid)
    spread = spread_of(result, traits["quantity"])
    return {**shown, **values_of(result, grid), **with_spread(traits, spread, grid)}


def with_spread(traits: dict[str, Any], spread: Spread | None, grid: Grid) -> dict[str, Any]:
    """Return the traits of a map with what shows how sure its means are; the same where there is no spread."""
    if spread is None:
        return traits
    found = {"low": spread.low, "high": spread.high, "marks": np.where(spread.includes_zero, UNSURE, 0)}
    shown = {
        name: np.append(flat, 0 if name == "marks" else np.nan)[grid.raster].reshape(grid.shape)
        for name, flat in found.items()
    }
    return {**traits, **shown, "words": {**traits["words"], **spread.words}}


def _with_gaps(grid: Grid, result: PatchResult) -> dict[str, Any]:
    """Return a grid's columns with a gap where a token has no counterpart in the other prompt."""
    alignment, columns = result.provenance.get("alignment"), grid.columns
    if alignment is None or columns["kind"] != "tokens":
        return columns
    base, other = (0, 1) if result.direction.base == "clean" else (1, 0)
    alone = {column[base] for column in alignment if column[other] is None}
    name = ("clean", "corrupted")[other]
    at = [next(iter(key.values())) for key in grid.col_keys]
    gapped = [None if i in alone else text for i, text in zip(at, columns[name], strict=True)]
    return {**columns, name: gapped}


def values_of(result: PatchResult, grid: Grid) -> dict[str, np.ndarray]:
    """Return normalized, effect, patched and status codes of a result's first metric, each [row, column]."""
    nothing = {"status": STATUSES.index("unavailable")}
    # A place without a cell has the index -1, and takes what is appended here.
    return {
        name: np.append(flat, np.array(nothing.get(name, np.nan), dtype=flat.dtype))[grid.raster].reshape(grid.shape)
        for name, flat in cells_of(result).items()
    }


def cells_of(result: PatchResult) -> dict[str, np.ndarray]:
    """Return normalized, effect, patched and status codes of a result's first metric, each [cell]."""
    status = result.data["status"].values.reshape(-1)
    return {
        "normalized": result.normalized.values[0].reshape(-1),
        "effect": result.effect.values[0].reshape(-1),
        "patched": result.data["patched"].values[0].reshape(-1),
        "status": np.select([status == name for name in STATUSES], range(len(STATUSES))).astype(np.uint8),
    }


def traits_of(result: PatchResult, grid: Grid, *, normalized: bool = False) -> dict[str, Any]:
    """Return the grid's keys, the scale and the words of a result's first metric.

    `normalized` keeps to normalized effects also where there are none.
    """
    said = {**words.meaning(result.provenance), "origin": words.origin(result)}
    traits: dict[str, Any] = {"quantity": "normalized", "limit": 1.0, "words": said}
    if words.small_gaps(result) and not normalized:
        effect = result.effect.values[0]
        found = np.abs(effect[np.isfinite(effect)])
        said["unit"] = f"effect ({words.unit(result.metrics[0])})"
        said |= {} if result.is_difference else RAW_WORDS
        traits |= {"quantity": "effect", "limit": float(found.max(initial=0.0)) or 1.0}
    return {
        "row_title": grid.row_title,
        "row_keys": grid.row_keys,
        "col_keys": grid.links,
        "state": "done",
        **traits,
    }
