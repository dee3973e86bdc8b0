"""The writing on a figure: labels turned, thinned out and wrapped until nothing overlaps or is cut."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox

from .grid import Grid

NUMBER_SIZE = 7.0
LABEL_SIZE = 8.0
_TITLE_SIZES = (9.0, 8.0, 7.0, 6.0)
_LEAST_NUMBER, _LEAST_LABEL = 5.0, 3.5
_LINE = 1.2  # height of a line of text in units of its size
_STEPS = (1, 2, 5, 10, 20, 50, 100)


def settle(ax: Axes, grid: Grid, title: str, *, drop_numbers: bool) -> None:
    """Label a drawn heatmap's rows and columns and give it its title, all in the room there is.

    Numbers that do not fit their cells are set smaller, and left out when `drop_numbers` allows it. In a figure that
    nothing lays out, the heatmap gives way to its labels and its title.
    """
    _label_columns(ax, [_label(grid.columns, i, "\n") for i in range(len(grid.col_keys))], grid.columns, 0)
    _label_rows(ax, grid, 1)
    width, height = _cell(ax, grid)
    _turn_columns(ax, grid, width)
    _label_rows(ax, grid, next((step for step in _STEPS if step * height >= LABEL_SIZE), _STEPS[-1]))
    _pull_in(ax)
    _wrap_title(ax, title)
    _pull_in(ax)
    _fit_numbers(ax, *_cell(ax, grid), drop_numbers)


def literal(text: str) -> str:
    """Keep matplotlib from reading a dollar sign as mathematics, and from drawing marks of direction."""
    return text.replace("$", r"\$").replace("\u2068", "").replace("\u2069", "")


_GAP = "$\\mathrm{\u2b1a}$"
"""A dotted square where a prompt has no token; mathematics, as which no token's text is set."""

_SIGNS = {"\n": "\u21b5", "\t": "\u2192"}


def _plain(text: str) -> str:
    """Show spaces and newlines, and every other character that has no sign as a replacement."""
    shown = "".join(_SIGNS.get(sign, sign if sign.isprintable() else "\ufffd") for sign in text)
    return literal(f"\u00b7{shown[1:]}" if shown.startswith(" ") else shown)


def _label(columns: dict[str, Any], i: int, between: str) -> str:
    """Return a column's label: its token, or the clean and the corrupted one."""
    if columns["kind"] == "labels":
        return columns["labels"][i]
    clean, corrupted = (
        _GAP if text is None else _plain(text) for text in (columns["clean"][i], columns["corrupted"][i])
    )
    if columns["differs"][i]:
        return f"{clean}{between}{corrupted}"
    return "BOS" if columns["bos"] == i else clean


def _label_columns(ax: Axes, texts: list[str], columns: dict[str, Any], angle: int, size: float = LABEL_SIZE) -> None:
    ax.set_xticks([i + 0.5 for i in range(len(texts))], texts, rotation=angle, fontsize=size)
    for label, changed in zip(ax.get_xticklabels(), columns.get("differs", ()), strict=False):
        label.set_fontweight("bold" if changed else "normal")


def _label_rows(ax: Axes, grid: Grid, step: int) -> None:
    rows = range(0, len(grid.rows), step)
    ax.set_yticks([i + 0.5 for i in rows], [grid.rows[i] for i in rows], rotation=0, fontsize=LABEL_SIZE)


def _cell(ax: Axes, grid: Grid) -> tuple[float, float]:
    """Return a cell's width and height in points, as the figure is laid out now."""
    root = ax.figure.canvas.figure
    root.draw_without_rendering()
    rows, cols = grid.shape
    return ax.bbox.width * 72 / root.dpi / cols, ax.bbox.height * 72 / root.dpi / rows


def _turn_columns(ax: Axes, grid: Grid, width: float) -> None:
    """Turn the column labels where they are wider than their columns, and set them as small as these ask for."""
    dots = ax.figure.canvas.figure.dpi / 72
    if all(label.get_window_extent().width / dots <= width - 1 for label in ax.get_xticklabels()):
        return
    columns, count = grid.columns, len(grid.col_keys)
    pairs = any(columns.get("differs", ()))
    beside = width >= 2 * _LINE * 5
    size = min(LABEL_SIZE, max(_LEAST_LABEL, width / _LINE / (2 if pairs and beside else 1)))
    texts = [_label(columns, i, "\n" if beside else " / ") for i in range(count)]
    _label_columns(ax, texts, columns, 90, size)


def _fit_numbers(ax: Axes, width: float, height: float, drop: bool) -> None:
    longest = max((len(text.get_text()) for text in ax.texts), default=1)
    size = min(NUMBER_SIZE, width / (0.66 * longest), 0.9 * height)
    for text in list(ax.texts):
        if size < _LEAST_NUMBER and drop:
            text.remove()
        else:
            text.set_fontsize(max(size, 1.0))


def _wrap_title(ax: Axes, title: str) -> None:
    """Break the title's lines where the colour bar's label ends, and set it smaller when it has a word too long."""
    root = ax.figure.canvas.figure
    root.draw_without_rendering()
    width = (_extent(ax).x1 - ax.bbox.x0) * 72 / root.dpi
    lines, size = title.split("\n"), _TITLE_SIZES[0]
    for size in _TITLE_SIZES:
        lines = [part for line in title.split("\n") for part in _wrapped(line, width, size)]
        if max(_width(line, size) for line in lines) <= width:
            break
    ax.set_title("\n".join(lines), fontsize=size, loc="left")


def _wrapped(text: str, width: float, size: float) -> list[str]:
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _width(text: str, size: float) -> float:
    """Return a line's width in points; letters drawn on whole pixels take a little more than their outlines."""
    return 1.06 * TextPath((0, 0), text, prop=FontProperties(size=size)).get_extents().width if text.strip() else 0.0


def _parts(ax: Axes) -> tuple[Axes, Axes]:
    bar = ax.collections[0].colorbar
    assert bar is not None
    return ax, bar.ax


def _extent(ax: Axes) -> Bbox:
    """Return the box around the heatmap, its colour bar and everything written about them, in pixels."""
    return Bbox.union([box for part in _parts(ax) if (box := part.get_tightbbox()) is not None])


def _pull_in(ax: Axes) -> None:
    """Make the heatmap smaller where what is written about it would be cut, unless the figure lays itself out."""
    root = ax.figure.canvas.figure
    root.draw_without_rendering()
    page, found = root.bbox, _extent(ax)
    margin = 2 * root.dpi / 72
    left, low = (max(0.0, margin - edge) for edge in (found.x0, found.y0))
    right, high = (max(0.0, edge + margin - end) for edge, end in ((found.x1, page.x1), (found.y1, page.y1)))
    if root.get_layout_engine() is not None or left + low + right + high == 0.0:
        return
    places = [part.get_position() for part in _parts(ax)]
    whole = Bbox.union(places)
    left, right, low, high = left / page.width, right / page.width, low / page.height, high / page.height
    across, up = (whole.width - left - right) / whole.width, (whole.height - low - high) / whole.height
    for part, place in zip(_parts(ax), places, strict=True):
        x, y = whole.x0 + left + (place.x0 - whole.x0) * across, whole.y0 + low + (place.y0 - whole.y0) * up
        part.set_position((x, y, max(0.02, place.width * across), max(0.02, place.height * up)))
        part.set_in_layout(True)
