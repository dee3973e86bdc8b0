"""A PatchResult as the heatmap's values and words."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import words
from ..grid import Grid, gapped_columns, grid_of, tokens_of, with_gaps
from ..result import STATUSES, PatchResult
from ..spread import Spread, spread_of
from ..stages import THRESHOLD, find_stages, why_none
from .heatmap import UNSURE, Heatmap

RAW_WORDS = {
    "high": "above 0: the patch raises the metric",
    "near_zero": "near 0: the patch moves nothing here",
    "negative": "below 0: the patch lowers the metric",
}


def heatmap_of(result: PatchResult, *, outline: float | None = THRESHOLD, **traits: Any) -> Heatmap:
    """Return `Heatmap(result)` with clusters outlined from another share of the gap, None for none.

    Other traits are passed on.
    """
    return Heatmap(**{**result_traits(result, outline), **traits})


def result_traits(result: PatchResult, outline: float | None = THRESHOLD) -> dict[str, Any]:
    """Return `heatmap_traits` with clusters of cells of `outline` of the gap or more outlined, None for none.

    Normalized effects are coloured on a scale of -1 to 1, raw effects where the first metric's gap is too small.
    """
    found = heatmap_traits(result)
    if outline is None:
        return found
    drawn, told = outlined(result, grid_of(result), outline)
    return {**found, "stages": drawn, "words": {**found["words"], "stages": told} if told else found["words"]}


def strip_columns(result: PatchResult) -> dict[str, Any]:
    """Return a result's tokens, the clean over the corrupted, as the columns of a strip."""
    tokens = tokens_of(result)
    positions = range(len(tokens.clean))
    return with_gaps(tokens.columns(positions), positions, result)


def outlined(result: PatchResult, grid: Grid, threshold: float) -> tuple[np.ndarray | None, str]:
    """Return the candidate stages of a result's first metric as a map's numbers [row, column], and in words.

    None and no words where there can be none.
    """
    if why_none(result):
        return None, ""
    found = find_stages(result, threshold)
    return np.append(found.labels, 0)[grid.raster].reshape(grid.shape), found.words


def heatmap_traits(result: PatchResult) -> dict[str, Any]:
    """Return what `Heatmap` and its `show` take to show a result's first metric."""
    result = result.select(result.metrics[0])
    grid = grid_of(result)
    shown = {"rows": grid.rows, "columns": gapped_columns(grid, result)}
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
    said = {**words.meaning(result.provenance), "title": words.title(result), "origin": words.origin(result)}
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
