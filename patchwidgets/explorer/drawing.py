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
        self.open = w.ToggleButton(False, description="Draw the experiment", tooltip="the three runs, drawn")
        self.open.layout.align_self = "flex-start"
        self.hint = Line("pw-x-dim")
        self.picture = w.HTML()
        self.open.observe(lambda _: self._draw(), "value")
        self.box = w.VBox([self.open, self.hint, self.picture])
        self.box.add_class("pw-x-drawing")
        self._draw()

    def show(self, result: PatchResult | None, cell: Mapping[str, Any]) -> None:
        """Draw a result's experiment: of the selected cell where there is one, else of the sweep."""
        self._result, self._cell = result, dict(cell)
        self._draw()

    def _draw(self) -> None:
        result = self._result if self.open.value else None
        self.hint.say(_HINT if self.open.value and result is None else "")
        self.picture.value = "" if result is None else result.diagram(**self._cell).svg()
        self.picture.layout.display = "none" if result is None else None
