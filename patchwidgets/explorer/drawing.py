"""The panel with the experiment drawn: the selected cell's, or the whole sweep's; folded until it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as w

from ..result import PatchResult
from .text import Line

_HINT = "The experiment is drawn when its run is over."


class Drawing:
    """A button that unfolds the drawing. `show` is called with what is on screen whenever that changes."""

    def __init__(self) -> None:
        self._result: PatchResult | None = None
        self._cell: dict[str, Any] = {}
        self._gathered = 0
        self.open = w.ToggleButton(False, description="Draw the experiment", tooltip="the three runs, drawn")
        self.open.layout.align_self = "flex-start"
        self.hint = Line("pw-x-dim")
        self.picture = w.HTML()
        self.open.observe(lambda _: self._draw(), "value")
        self.box = w.VBox([self.open, self.hint, self.picture])
        self.box.add_class("pw-x-drawing")
        self._draw()

    def show(self, result: PatchResult | None, cell: Mapping[str, Any], gathered: int = 0) -> None:
        """Draw a result's experiment: of the open cell where there is one, else of the sweep.

        `gathered` is how many others are gathered: they are not drawn, which is said.
        """
        self._result, self._cell, self._gathered = result, dict(cell), gathered
        self._draw()

    def close(self) -> None:
        """Hold no result any more."""
        self._result = None

    def _draw(self) -> None:
        result = self._result if self.open.value else None
        self.hint.say(self._told(result) if self.open.value else "")
        self.picture.value = "" if result is None else result.diagram(**self._cell).svg()
        self.picture.layout.display = "none" if result is None else None

    def _told(self, result: PatchResult | None) -> str:
        if result is None:
            return _HINT
        if not self._gathered:
            return ""
        named = ", ".join(f"{axis} {index}" for axis, index in self._cell.items())
        drawn = f"the open cell, {named}" if self._cell else "the sweep, as no cell is open"
        others = "other " if self._cell else ""
        many = (
            f"the {others}cell gathered is"
            if self._gathered == 1
            else f"the {self._gathered} {others}cells gathered are"
        )
        return f"Drawn is {drawn}; {many} not."
