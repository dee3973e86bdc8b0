"""A diagram as SVG: boxes and arrows in the runs' colours, on a ground of its own, in both themes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from ..spelling import shown_text
from . import RUNS, Diagram
from .palette import run_colours, surface
from .text import lines_of, shown

_WIDTH, _ROW, _TOP, _LINE = 780, 104, 34, 16
_HEIGHT = _TOP + 3 * _ROW - 6
_BOX = 72
_PROMPT, _PART, _METRIC, _END = (16, 214), (258, 214), (500, 96), (634, 130)
"""Left edge and width of the four columns."""
_LETTER = 7.2
"""The width of a letter of middling width, a little more than it has in most fonts."""
_COLUMNS, _TITLE_COLUMNS = 100, 88
"""How many letters of middling width a line across the drawing holds, and how many of the title's."""


def svg(diagram: Diagram) -> str:
    """Return the drawing. Whole texts are in the titles of their boxes, which a pointer brings up."""
    title = lines_of(shown_text(diagram.title), _TITLE_COLUMNS, 3)
    stand = [line for told in diagram.standing for line in lines_of(shown_text(told), _COLUMNS, 2)]
    down = _LINE * (len(title) - 1)
    height = _HEIGHT + down + (_LINE * len(stand) + 8 if stand else 0)
    size = {"viewBox": f"0 0 {_WIDTH} {height}", "width": str(_WIDTH), "height": str(height)}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "class": "pw-diagram", "role": "img"})
    root.set("aria-label", shown_text(diagram.alt))
    ET.SubElement(root, "style").text = _style()
    ET.SubElement(root, "rect", {"class": "pw-d-ground", "width": str(_WIDTH), "height": str(height), "rx": "8"})
    _text(root, _PROMPT[0], 22, title, "pw-d-title", whole=diagram.title)
    below = ET.SubElement(root, "g", {"transform": f"translate(0 {down})"}) if down else root
    for row, run in enumerate(RUNS):
        _run(below, diagram, run, _TOP + row * _ROW)
    _put_in(below, diagram)
    _compare(below, diagram)
    _text(below, _PROMPT[0], _HEIGHT + 10, stand, "pw-d-body", whole=" ".join(diagram.standing))
    return ET.tostring(root, encoding="unicode")


def _run(root: ET.Element, diagram: Diagram, run: str, top: int) -> None:
    """Draw one run: its prompt, the component in it, and the metric it ends in."""
    group = ET.SubElement(root, "g", {"class": f"pw-d-{run}"})
    patched = run == "patched"
    _text(group, _PROMPT[0], top + 13, [f"{run} run"], "pw-d-run")
    y = top + 20
    if patched:
        _box(group, _PROMPT, y, "the same prompt, and all else", f"as in the {diagram.base} run", dashed=True)
        _box(group, _PART, y, diagram.part, diagram.change, strong=True)
    else:
        _box(group, _PROMPT, y, diagram.prompts[run])
        _box(group, _PART, y, diagram.part, "" if run == diagram.base or not diagram.taken else "is recorded")
    known = diagram.numbers.get(run)
    _box(group, _METRIC, y, diagram.metric, "" if known is None else shown(known), strong=patched)
    middle = y + _BOX // 2
    for left, right in ((_PROMPT, _PART), (_PART, _METRIC)):
        _arrow(group, [(left[0] + left[1], middle), (right[0], middle)])


def _put_in(root: ET.Element, diagram: Diagram) -> None:
    """Draw where the patched run's parts come from: the component, and all else."""
    row = {run: _TOP + i * _ROW + 20 for i, run in enumerate(RUNS)}
    for run, column in ((diagram.source, _PART), (diagram.base, _PROMPT)):
        if run == diagram.source and not diagram.taken:
            continue
        x = column[0] + column[1] // 2
        down = row[run] < row["patched"]
        ends = (row[run] + _BOX, row["patched"]) if down else (row[run], row["patched"] + _BOX)
        group = ET.SubElement(root, "g", {"class": f"pw-d-{run}"})
        _arrow(group, [(x, ends[0]), (x, ends[1])], strong=run == diagram.source)
        told = "put in" if run == diagram.source else "all else"
        _text(group, x + 8, (ends[0] + ends[1]) // 2 + 4, [told], "pw-d-note")


def _compare(root: ET.Element, diagram: Diagram) -> None:
    """Draw the comparison of the three runs' metrics."""
    top, middle = _TOP + 20, _TOP + _ROW + 20 + _BOX // 2
    group = ET.SubElement(root, "g", {"class": "pw-d-comparison"})
    x, bend = _METRIC[0] + _METRIC[1], _END[0] - 19
    for row in range(3):
        y = top + row * _ROW + _BOX // 2
        _arrow(group, [(x, y), (bend, y), (bend, middle), (_END[0], middle)] if row != 1 else [(x, y), (_END[0], y)])
    height = 2 * _ROW + _BOX - 40
    ET.SubElement(group, "rect", _rect(_END, top + 20, height, "pw-d-box"))
    columns = (_END[1] - 14) / _LETTER
    lines = [line for part in diagram.compared for line in (*lines_of(shown_text(part), columns, 6), "")]
    start = top + 20 + (height - _LINE * (len(lines) - 1)) // 2 + 12
    _text(group, _END[0] + 9, start, lines[:-1], "pw-d-body", whole=diagram.said)


def _box(
    parent: ET.Element, column: tuple[int, int], top: int, text: str, more: str = "", *, strong: bool = False,
    dashed: bool = False,
) -> None:  # fmt: skip
    """Draw a box with a text, and below it more in bold; all of both is in its title."""
    group = ET.SubElement(parent, "g")
    ET.SubElement(group, "title").text = shown_text(f"{text} {more}".strip())
    style = f"pw-d-box{' pw-d-strong' if strong else ''}{' pw-d-dashed' if dashed else ''}"
    ET.SubElement(group, "rect", _rect(column, top, _BOX, style))
    columns = (column[1] - 14) / _LETTER
    below = lines_of(shown_text(more), columns, 2) if more else []
    lines = lines_of(shown_text(text), columns, 4 - len(below))
    start = top + (_BOX - _LINE * (len(lines) + len(below))) // 2 + 12
    _text(group, column[0] + 9, start, lines, "pw-d-body")
    _text(group, column[0] + 9, start + _LINE * len(lines), below, "pw-d-more")


def _rect(column: tuple[int, int], top: int, height: int, style: str) -> dict[str, str]:
    size = {"x": column[0], "y": top, "width": column[1], "height": height, "rx": 6}
    return {**{name: str(value) for name, value in size.items()}, "class": style}


def _text(parent: ET.Element, x: int, y: int, lines: Sequence[str], style: str, *, whole: str = "") -> None:
    """Draw lines in which nothing is unseen, each an element of its own: what is written from right to left stays."""
    for i, line in enumerate(lines):
        if not line:
            continue
        element = ET.SubElement(parent, "text", {"x": str(x), "y": str(y + i * _LINE), "class": style})
        element.text = line
        if whole:
            ET.SubElement(element, "title").text = shown_text(whole)


def _arrow(parent: ET.Element, points: Sequence[tuple[int, int]], *, strong: bool = False) -> None:
    """Draw a line through points with a head at its end."""
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    style = "pw-d-arrow pw-d-strong" if strong else "pw-d-arrow"
    end = (x - 6 * dx, y - 6 * dy)
    path = " ".join(f"{px},{py}" for px, py in (*points[:-1], end))
    ET.SubElement(parent, "polyline", {"points": path, "class": style})
    head = [(x, y), (x - 8 * dx + 4 * dy, y - 8 * dy + 4 * dx), (x - 8 * dx - 4 * dy, y - 8 * dy - 4 * dx)]
    ET.SubElement(parent, "polygon", {"points": " ".join(f"{px},{py}" for px, py in head), "class": "pw-d-head"})


def _style() -> str:
    """Return the style: dark where the page says so, and where the drawing is a page of its own and the reader does."""
    dark = _variables("dark")
    return "\n".join([
        f".pw-diagram{{{_variables('light')};max-width:100%;height:auto;font:12px/1.3 system-ui,sans-serif}}",
        f"@media (prefers-color-scheme:dark){{svg.pw-diagram:root{{{dark}}}}}",
        f"[data-jp-theme-light=false] .pw-diagram,.vscode-dark .pw-diagram{{{dark}}}",
        ".pw-d-ground{fill:var(--d-page);stroke:var(--d-line)}",
        ".pw-diagram text{fill:var(--d-ink);unicode-bidi:isolate;white-space:pre}",
        ".pw-d-title{font-weight:600;font-size:13px}",
        ".pw-diagram .pw-d-run{fill:var(--d-run);font-weight:600}",
        ".pw-diagram .pw-d-note{fill:var(--d-run)}",
        ".pw-d-more{font-weight:600}",
        ".pw-d-box{fill:var(--d-panel);stroke:var(--d-run,var(--d-line));stroke-width:1}",
        ".pw-d-box.pw-d-strong{stroke-width:2.5}",
        ".pw-d-box.pw-d-dashed{stroke-dasharray:4 3}",
        ".pw-d-arrow{fill:none;stroke:var(--d-run,var(--d-dim));stroke-width:1.2}",
        ".pw-d-arrow.pw-d-strong{stroke-width:2.5}",
        ".pw-d-head{fill:var(--d-run,var(--d-dim))}",
        *(f".pw-d-{run}{{--d-run:var(--d-{run})}}" for run in RUNS),
    ])  # fmt: skip


def _variables(theme: str) -> str:
    colours = {**{name: surface(theme)[name] for name in ("page", "panel", "line", "ink", "dim")}, **run_colours(theme)}
    return ";".join(f"--d-{name}:{colour}" for name, colour in colours.items())
