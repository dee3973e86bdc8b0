"""What stands for a view where no script runs: words and one table, in an output of their own."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..result import STATUSES
from ..spelling import counted, shown_token, signed

MOST_CELLS = 2000
"""A larger table would make a notebook's file too heavy to be kept in it."""

# Hidden while the widget with the class MARK is on the page, and for the first second, in which it may still come.
# Where it does not come, JupyterLab's word for that is hidden instead: an output beside it that holds a text alone.
_STYLE = """
body:has(.MARK) :is(.MARK-still, .jp-OutputArea-child:has(.MARK-still)) { display: none; }
.jp-OutputArea-child:has(.MARK-still) + .jp-OutputArea-child > .jp-OutputArea-output:not(:has(*)) { display: none; }
.MARK-still { overflow-x: auto; animation: pw-still 0s 1s backwards; }
.MARK-still p { margin: 0 0 4px; }
@keyframes pw-still { from { max-height: 0; overflow: hidden; } }
"""
_SHOWN = {"implied": "0", "unavailable": "\u00d7", "pending": ""}
NAMES = ("clean", "corrupted")


def still_page(mark: str, told: str, more: str = "") -> str:
    """Return the HTML of such an output: `told` as text, then `more` as it is.

    JupyterLab saves outputs, and not the state of widgets unless it is told to: of a widget alone it shows an error
    when the notebook is opened again. So this stands in an output before the widget's, whose style class is `mark`.
    """
    style = _STYLE.replace("MARK", mark)
    return f'<div class="{mark}-still"><style>{style}</style><p>{html.escape(told)}</p>{more}</div>'


def still_map(traits: Mapping[str, Any], before: Iterable[str], after: Iterable[str] = ()) -> str:
    """Return a heatmap as HTML: lines of words, its values to two decimals on the map's light colours, and more lines.

    `traits` holds `rows`, `row_title`, `columns`, `status`, `quantity`, `limit` and the quantity's values. A map of
    more than `MOST_CELLS` cells is told in words alone, one without cells not at all. All text is plain text.
    """
    rows, cols = traits["status"].shape
    if not rows * cols:
        return ""
    size = f"{counted(rows, 'row')} and {counted(cols, 'column')}"
    large = f"<p>The map of {size} is too large to be kept here.</p>"
    return f"{_lines(before)}{large if rows * cols > MOST_CELLS else _table(traits)}{_lines(after)}"


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts if text)


def _table(traits: Mapping[str, Any]) -> str:
    values, limit = traits[traits["quantity"]], traits["limit"]
    lines = []
    for name, row, codes in zip(traits["rows"], values, traits["status"], strict=True):
        cells = "".join(_cell(value, STATUSES[code], limit) for value, code in zip(row, codes, strict=True))
        lines.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    head = _head(traits["columns"], traits["row_title"])
    return f"<table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>"


def _head(columns: Mapping[str, Any], title: str) -> str:
    """Return a line of tokens per prompt, or of labels."""
    if columns["kind"] == "labels":
        lines, scope = {title: columns["labels"]}, "col"
    else:
        prompts = NAMES if columns["clean"] != columns["corrupted"] else NAMES[:1]
        lines = {name: ["" if text is None else shown_token(text) for text in columns[name]] for name in prompts}
        scope = "row"
    return "".join(_line(name, scope, texts) for name, texts in lines.items())


def _line(name: str, scope: str, texts: list[str]) -> str:
    """Return a line of heads; the first one names the line, or the column below it."""
    heads = [(scope, name), *(("col", text) for text in texts)]
    cells = "".join(f'<th scope="{each}">{html.escape(text)}</th>' for each, text in heads)
    return f"<tr>{cells}</tr>"


def _cell(value: float, status: str, limit: float) -> str:
    text = _SHOWN.get(status) if not np.isfinite(value) or status == "implied" else signed(value)
    if not np.isfinite(value):
        return f"<td>{text or ''}</td>"
    ground, ink = _colours(float(np.clip(value / limit, -1.0, 1.0)))
    return f'<td style="background-color:{ground};color:{ink}">{text}</td>'


def _colours(share: float) -> tuple[str, str]:
    """Return the colour of a value between the scale's ends, -1 and 1, and what is readable on it."""
    scale = _scale()
    colour = scale[round((share + 1) / 2 * (len(scale) - 1))]
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return colour, "#ffffff" if 0.3 * red + 0.59 * green + 0.11 * blue < 140 else "#1b1f24"


@cache
def _scale() -> list[str]:
    palette = json.loads((Path(__file__).parent.parent / "palette.json").read_text(encoding="utf-8"))
    return palette["diverging"]["light"]
