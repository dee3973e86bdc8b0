"""Figures for papers: matplotlib and seaborn drawings of a result, in the Explorer's own scale."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.patches import Rectangle

from . import words
from .errors import PatchError, quoted
from .grid import Grid, grid_of
from .result import PatchResult, check_result

_HATCHES = {"implied": ("////", "#00000022"), "unavailable": ("xxxx", "#00000088")}


def heatmap(
    result: PatchResult,
    *,
    annot: bool | None = None,
    fmt: str = ".2f",
    cmap: str | Colormap | None = None,
    ax: Axes | None = None,
    metric: str | None = None,
    limit: float | None = None,
) -> Axes:
    """Draw a result as a seaborn heatmap centred on 0 and return its Axes.

    Normalized effects are drawn where there are any, raw effects (in the metric's unit) where the gap is too small.
    `annot` writes the numbers, by default when there are at most 250 cells; `cmap` is any matplotlib colormap;
    `limit` the value of the strongest colour, by default 1, or the largest effect when raw. Cells known without
    computing are hatched lightly, unavailable ones strongly, pending ones are blank.
    """
    check_result(result)
    name = metric or result.metrics[0]
    if name not in result.metrics:
        raise PatchError(f"the result has no metric {quoted(name)}; it has {', '.join(result.metrics)}.")
    grid = grid_of(result)
    values, unit = _values(result, name, grid)
    strongest = limit if limit is not None else 1.0 if unit == result.intervention.moved else _largest(values)
    rows, cols = grid.shape
    if ax is None:
        _, ax = plt.subplots(figsize=(max(4.0, 0.62 * cols + 2.2), max(2.4, 0.30 * rows + 1.8)), layout="constrained")
    sns.heatmap(
        values, ax=ax, cmap=scale() if cmap is None else cmap, center=0.0, vmin=-strongest, vmax=strongest,
        annot=annot if annot is not None else values.size <= 250, fmt=fmt, linewidths=0.5, linecolor="white",
        annot_kws={"size": 7}, cbar_kws={"label": f"{name}: {unit}"}, xticklabels=_column_labels(grid),
        yticklabels=grid.rows,
    )  # fmt: skip
    _hatch(ax, result, grid)
    said = words.meaning(result.provenance)
    ax.set_title(f"{said['title']}\n{result.provenance['model']}, {words.baselines(result)}", fontsize=9, loc="left")
    ax.set_xlabel(grid.columns["title"])
    ax.set_ylabel(grid.row_title)
    ax.tick_params(axis="y", rotation=0)
    return ax


@cache
def scale() -> LinearSegmentedColormap:
    """Return the Explorer's diverging scale (light theme, positive blue) as a matplotlib colormap."""
    palette = json.loads((Path(__file__).parent / "palette.json").read_text(encoding="utf-8"))
    return LinearSegmentedColormap.from_list("patchwidgets", palette["diverging"]["light"])


def _values(result: PatchResult, metric: str, grid: Grid) -> tuple[np.ndarray, str]:
    normalized = result.normalized.sel(metric=metric).values
    small = any(line.startswith(f"{metric}:") for line in words.small_gaps(result))
    flat = (result.effect.sel(metric=metric).values if small else normalized).reshape(-1)
    unit = f"effect ({words.unit(metric)})" if small else result.intervention.moved
    return flat[grid.raster].reshape(grid.shape), unit


def _largest(values: np.ndarray) -> float:
    found = np.abs(values[np.isfinite(values)])
    return float(found.max()) if found.size and found.max() > 0 else 1.0


def _column_labels(grid: Grid) -> list[str]:
    columns = grid.columns
    if columns["kind"] == "labels":
        return columns["labels"]
    pairs = zip(columns["clean"], columns["corrupted"], strict=True)
    return [_plain(clean) if clean == other else f"{_plain(clean)} / {_plain(other)}" for clean, other in pairs]


_SIGNS = {"\n": "\u21b5", "\t": "\u2192"}


def _plain(text: str) -> str:
    """Show spaces and newlines, and keep matplotlib from reading a dollar sign as mathematics."""
    shown = "".join(_SIGNS.get(sign, sign if sign.isprintable() else "\ufffd") for sign in text)
    shown = f"\u00b7{shown[1:]}" if shown.startswith(" ") else shown
    return shown.replace("$", r"\$")


def _hatch(ax: Axes, result: PatchResult, grid: Grid) -> None:
    status = result.data["status"].values.reshape(-1)[grid.raster].reshape(grid.shape)
    for name, (hatch, colour) in _HATCHES.items():
        style: dict[str, Any] = {"fill": False, "hatch": hatch, "edgecolor": colour, "linewidth": 0.0}
        for row, col in np.argwhere(status == name):
            ax.add_patch(Rectangle((col, row), 1, 1, **style))
