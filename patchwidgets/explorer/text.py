"""Lines of text in the Explorer: always text, never markup; texts in fields; and the end of a tree of widgets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

import ipywidgets as w
from ipywidgets.widgets.widget_description import DescriptionWidget

from ..spelling import SYMBOLS

Part = str | tuple[str, str]
"""A text, or a text with the style class it is shown in."""


class Line(w.HTML):
    """A line of plain text with a style class; hidden while it is empty."""

    def __init__(self, *classes: str, text: str = "") -> None:
        super().__init__()
        for name in ("pw-x-line", *classes):
            self.add_class(name)
        self.say(text)

    def say(self, *parts: Part) -> None:
        """Show the parts one after another."""
        pieces = [part if isinstance(part, tuple) else (part, "") for part in parts]
        shown = "".join(
            f'<span class="{style}">{escape(text)}</span>' if style else escape(text) for text, style in pieces
        )
        if shown != self.value:
            self.value = shown
        self.layout.display = None if shown else "none"


def named(widget: DescriptionWidget, name: str) -> None:
    """Give a control a name that is read aloud and not shown: what it is stands beside it, or is plain to see."""
    widget.description = name
    widget.add_class("pw-x-named")


def in_one_line(text: str) -> str:
    """Return a text as a field of one line can hold it: the browser would drop its line breaks.

    A sign stands for a line break; the sign itself has a backslash before it, and backslashes before either are
    doubled, so that `with_line_breaks` gives every text back.

    >>> in_one_line("a\\nb"), in_one_line("press \u21b5")
    ('a\u21b5b', 'press \\\\\u21b5')
    """
    return _BREAK_OR_SIGN.sub(_as_sign, text)


def with_line_breaks(text: str) -> str:
    """Return what the text of such a field stands for."""
    return _SIGN.sub(_as_break, text)


_SIGNS = {c: SYMBOLS[c] for c in "\n\r"}
_BREAKS = {sign: c for c, sign in _SIGNS.items()}
_SIGN = re.compile(rf"(\\*)([{''.join(_BREAKS)}])")
_BREAK_OR_SIGN = re.compile(rf"(\\*)([\n\r{''.join(_BREAKS)}])")


def _as_sign(found: re.Match[str]) -> str:
    escapes, c = 2 * found[1], found[2]
    return escapes + _SIGNS[c] if c in _SIGNS else f"{escapes}\\{c}"


def _as_break(found: re.Match[str]) -> str:
    half, itself = divmod(len(found[1]), 2)
    return "\\" * half + (found[2] if itself else _BREAKS[found[2]])


def close_all(widgets: Iterable[w.Widget]) -> None:
    """Close widgets and what is in them, with their layouts and styles: ipywidgets keeps whatever is open."""
    for widget in widgets:
        if isinstance(widget, w.Box):
            close_all(widget.children)
        close_looks(widget)
        widget.close()


def close_looks(widget: w.Widget) -> None:
    """Close the layout and the style of a widget; the widget itself does not."""
    for name in ("layout", "style"):
        looks = getattr(widget, name, None)
        if isinstance(looks, w.Widget):
            looks.close()
