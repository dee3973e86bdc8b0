"""Lines of text in the Explorer: always text, never markup; and the end of a tree of widgets."""

from __future__ import annotations

from html import escape

import ipywidgets as w
from ipywidgets.widgets.widget_description import DescriptionWidget


class Line(w.HTML):
    """A line of plain text with a style class; hidden while it is empty."""

    def __init__(self, *classes: str, text: str = "") -> None:
        super().__init__()
        for name in ("pw-x-line", *classes):
            self.add_class(name)
        self.say(text)

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Show the parts one after another; a part is a text, or a text with the style class it is shown in."""
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


def shown_token(text: str) -> str:
    """Return a token's text with a leading space and line breaks made visible.

    >>> shown_token(" Mary")
    '·Mary'
    """
    visible = text.replace("\n", "\u21b5").replace("\t", "\u21e5")
    return f"\u00b7{visible[1:]}" if visible.startswith(" ") else visible or "\u2205"


def close_all(widgets: tuple[w.Widget, ...]) -> None:
    """Close widgets and what is in them."""
    for widget in widgets:
        if isinstance(widget, w.Box):
            close_all(widget.children)
        widget.close()
