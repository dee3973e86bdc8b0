"""The field below the map that says from which effect on neighbouring cells are outlined as candidate stages."""

from __future__ import annotations

import ipywidgets as w

from ..stages import THRESHOLD
from .live import LiveMap
from .text import Line


class Outlining:
    """A number beside the map's words: the share of the gap from which cells count as strong."""

    def __init__(self, map: LiveMap) -> None:
        self._map = map
        self.threshold = w.BoundedFloatText(
            THRESHOLD, min=0.01, max=10.0, step=0.05, description="outline from",
            tooltip="the share of the gap, of either sign, from which neighbouring cells are outlined",
        )  # fmt: skip
        self.threshold.add_class("pw-x-threshold")
        self.threshold.observe(lambda change: map.outline(change["new"]), "value")
        map.outline(self.threshold.value)
        self.box = w.Box([self.threshold, Line("pw-x-dim", text="of the gap")])
        self.box.add_class("pw-x-under")
        self.show(False)

    def show(self, some: bool) -> None:
        """Show the field where the map can have clusters, hide it elsewhere."""
        self.box.layout.display = None if some else "none"
