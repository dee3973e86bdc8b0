"""One kind's place among the small multiples: its map, its run, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import ipywidgets as w

from ..engine.plan import Plan
from ..engine.run import Run
from ..result import PatchResult
from ..words import baselines, small_gaps
from .kinds import Kind
from .live import LiveMap


@dataclass(eq=False)
class Member:
    """One kind's place: its map, and its run once it was started."""

    kind: Kind
    map: LiveMap
    plan: Plan | None = None
    run: Run | None = None

    @property
    def whole(self) -> bool:
        """Whether every cell is measured."""
        return self.run is not None and self.run.finished and self.run.complete

    @property
    def result(self) -> PatchResult | None:
        """What it found in the metric shown, once it is whole."""
        if self.run is None or not self.whole:
            return None
        return self.run.snapshot().select(self.kind.settings["metric"])

    @property
    def counted(self) -> PatchResult | None:
        """The same where its cells are counted with those of the others."""
        result = self.result
        return None if result is None or self.kind.uncounted or small_gaps(result) else result

    @property
    def note(self) -> str:
        """What stands below its map once it is whole."""
        result = self.result
        if result is None:
            return ""
        why = self.kind.uncounted or ("there is no normalized effect" if small_gaps(result) else "")
        left = [f"Not counted: {why}."] if why else []
        return " ".join(filter(None, [self.kind.note, f"{baselines(result)}.", *small_gaps(result), *left]))

    def card(self) -> w.VBox:
        """Return its map in a frame."""
        card = w.VBox([self.map.view])
        card.add_class("pw-x-card")
        return card
