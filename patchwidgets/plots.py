"""Figures for papers: matplotlib and seaborn drawings of a result, in the Explorer's own scale."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from . import words
from .errors import PatchError, quoted
from .grid import Grid, gapped_columns, grid_of
from .lettering import LABEL_SIZE, NUMBER_SIZE, literal, settle
from .result import PatchResult, check_result
from .spelling import minus

_MOST_NUMBERS = 250
_HATCHES = {"implied": ("////", "#00000022"), "unavailable": ("xxxx", "#00000088"), "pending": ("..", "#00000055")}


def heatmap(
    result: PatchResult,
    *,
    annot: bool | None = None,
    fmt: str = ".2f",
    cmap: str | Colormap | None = None,
    ax: Axes | None = None,
    metric: str | None = None,
    limit: float | None = None,
    pyplot: bool = True,
) -> Axes:
    """Draw a result as a seaborn heatmap centred on 0 and return its Axes.

    Normalized effects are drawn where there are any, raw effects (in the metric's unit) where the gap is too small.
    `annot` writes the numbers, by default when there are at most 250 cells and they fit; `cmap` is any matplotlib
    colormap; `limit` the value of the strongest colour, by default 1, or the largest effect when raw. Cells known
    without computing are hatched lightly and have no number, unavailable ones are hatched strongly, pending ones are
    dotted. A column whose tokens differ is labelled with both, the clean one above (left of, where labels are turned)
    the corrupted one. Without `ax`, `pyplot=False` draws on a figure that pyplot does not know of: nothing shows it,
    and any thread may.
    """
    check_result(result)
    name = metric or result.metrics[0]
    if name not in result.metrics:
        raise PatchError(f"the result has no metric {quoted(name)}; it has {', '.join(result.metrics)}.")
    grid = grid_of(result)
    grid = replace(grid, columns=gapped_columns(grid, result))
    values, unit = _values(result, name, grid)
    strongest = limit if limit is not None else 1.0 if unit == _normal(result) else _largest(values)
    status = result.data["status"].values.reshape(-1)[grid.raster].reshape(grid.shape)
    numbers = None
    if annot or (annot is None and values.size <= _MOST_NUMBERS):
        numbers = np.where(status == "implied", "", _numbers(values, fmt))
    if ax is None:
        size: dict[str, Any] = {"figsize": _figure_size(grid, numbers), "layout": "constrained"}
        ax = plt.subplots(**size)[1] if pyplot else Figure(**size).subplots()
    inches = ax.bbox.width / ax.figure.canvas.figure.dpi
    bar = {"extend": _beyond(values, strongest), "ticks": [-strongest, -strongest / 2, 0.0, strongest / 2, strongest]}
    bar |= {"fraction": min(0.15, 0.3 / inches), "pad": min(0.05, 0.15 / inches)}
    sns.heatmap(
        values, ax=ax, cmap=scale() if cmap is None else cmap, center=0.0, vmin=-strongest, vmax=strongest,
        annot=False if numbers is None else numbers, fmt="", linewidths=0.5, linecolor="white",
        annot_kws={"size": NUMBER_SIZE}, cbar_kws=bar, xticklabels=False, yticklabels=False,
    )  # fmt: skip
    _hatch(ax, status)
    ax.set_xlabel(grid.columns["title"], fontsize=LABEL_SIZE)
    ax.set_ylabel(grid.row_title, fontsize=LABEL_SIZE)
    colour_bar = ax.collections[0].colorbar
    assert colour_bar is not None
    colour_bar.set_label(f"{name}: {unit}", fontsize=LABEL_SIZE)
    colour_bar.ax.tick_params(labelsize=LABEL_SIZE)
    shown = result.select(name)
    told = [result.provenance["model"], words.targets(shown), words.baselines(shown)]
    title = f"{words.title(result)}\n{'; '.join(filter(None, told))}"
    settle(ax, grid, literal(title), drop_numbers=annot is None)
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
    unit = f"effect ({words.unit(metric)})" if small else _normal(result)
    return flat[grid.raster].reshape(grid.shape), unit


def _normal(result: PatchResult) -> str:
    """Return what a normalized 1 is called."""
    return words.meaning(result.provenance)["unit"]


def _largest(values: np.ndarray) -> float:
    found = np.abs(values[np.isfinite(values)])
    return float(found.max()) if found.size and found.max() > 0 else 1.0


def _numbers(values: np.ndarray, fmt: str) -> np.ndarray:
    """Return the values as text; what rounds to zero has no sign."""
    try:
        texts = [format(float(value), fmt) for value in values.flat]
    except ValueError as error:
        raise PatchError(f"fmt={quoted(fmt)} is no format of a number; use for instance '.2f'.") from error
    plain = [text.replace("-", "") if not set(text) & set("123456789") else text for text in texts]
    return np.array([minus(text) for text in plain], dtype=object).reshape(values.shape)


def _beyond(values: np.ndarray, strongest: float) -> str:
    """Return at which ends of the scale there are values stronger than its strongest colour."""
    found = values[np.isfinite(values)]
    over, under = bool((found > 1.005 * strongest).any()), bool((found < -1.005 * strongest).any())
    return "both" if over and under else "max" if over else "min" if under else "neither"


def _figure_size(grid: Grid, numbers: np.ndarray | None) -> tuple[float, float]:
    """Return width and height in inches: cells as large as their numbers and labels need, and no larger."""
    rows, cols = grid.shape
    longest = 0 if numbers is None else max(len(text) for text in numbers.flat)
    width = max(longest * 0.065 + 0.08, min(0.6, 9 / cols), 0.22)
    height = max(0.2 if longest else 0.11, min(0.3, 7 / rows))
    return max(3.6, width * cols + 1.7), max(2.4, height * rows + 1.5)


def _hatch(ax: Axes, status: np.ndarray) -> None:
    for name, (hatch, colour) in _HATCHES.items():
        style: dict[str, Any] = {"fill": False, "hatch": hatch, "edgecolor": colour, "linewidth": 0.0}
        for row, col in np.argwhere(status == name):
            ax.add_patch(Rectangle((col, row), 1, 1, **style))
