"""Two kept runs held against each other: side by side on one scale, or one minus the other."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import ipywidgets as w
import numpy as np
import traitlets as t

from .. import difference, words
from ..engine.run import Run
from ..errors import PatchError
from ..grid import grid_of
from ..result import PatchResult
from ..spelling import counted
from ..views import Heatmap
from ..views.of_result import RAW_WORDS, heatmap_traits
from .controls import METRIC_LABELS
from .kept import Entry
from .text import Line, named

_THRESHOLD = 0.5
_SHORT = {1: "sufficient only", 2: "necessary only"}


class Comparison:
    """The panel below the shelf; hidden until two runs are chosen.

    `left`, `right` and `single` are its maps. The metric is one that both runs measured; changing it runs nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._chosen: tuple[PatchResult, PatchResult] | None = None
        self._runs: tuple[Run, ...] = ()
        group = uuid.uuid4().hex
        self.mode = w.ToggleButtons(
            options=[("Side by side", "beside"), ("A \u2212 B", "minus")],
            tooltips=["both maps on one scale", "A minus B, cell by cell"],
        )
        self.mode.add_class("pw-x-segmented")
        self.metric = w.Dropdown(options=[], layout=w.Layout(width="auto"), tooltip="the metric of both maps")
        self.metric.add_class("pw-x-select")
        named(self.metric, "metric")
        self.threshold = w.BoundedFloatText(
            _THRESHOLD, min=0.01, max=1.0, step=0.05, description="ring from",
            tooltip="the share of the gap from which a cell counts as sufficient, or as necessary",
        )  # fmt: skip
        self.threshold.add_class("pw-x-threshold")
        self.error, self.told = Line("pw-x-error"), Line("pw-x-dim")
        self.left, self.right, self.single = (Heatmap(group=group) for _ in range(3))
        t.link((self.left, "fixed_limit"), (self.right, "fixed_limit"))  # they have one scale
        self.maps = w.Box([self.left, self.right, self.single])
        self.maps.add_class("pw-x-maps")
        self.left.on_select(lambda row, col: self._select(self.right, row, col))
        self.right.on_select(lambda row, col: self._select(self.left, row, col))
        for control in (self.mode, self.metric, self.threshold):
            control.observe(lambda _: self._draw(), "value")
        row = w.Box([self.mode, self.metric, self.threshold])
        row.add_class("pw-x-bar")
        self.box = w.VBox([row, self.error, self.told, self.maps])
        self.box.add_class("pw-x-compare")
        self.box.layout.display = "none"

    def show(self, a: Entry | None, b: Entry | None) -> None:
        """Compare two runs; nothing is shown until both are there."""
        with self._lock:
            if a is None or b is None:
                self._chosen, self._runs = None, ()
                self.box.layout.display = "none"
                return
            if self._runs != (a.run, b.run):
                chosen, self._chosen, self._runs = (a.whole, b.whole), None, (a.run, b.run)
                self._offer([name for name in chosen[0].metrics if name in chosen[1].metrics], a.settings["metric"])
                self._chosen = chosen
                self._draw()
            self.box.layout.display = None

    def _offer(self, metrics: list[str], shown: str) -> None:
        """Offer the metrics both runs have; the one chosen before stays, else it is the one A was shown in."""
        before = self.metric.value
        self.metric.options = [(METRIC_LABELS.get(name, name.replace("_", " ")), name) for name in metrics]
        self.metric.value = next((name for name in (before, shown, *metrics) if name in metrics), None)

    def _draw(self) -> None:
        with self._lock:
            if self._chosen is None:
                return
            self.error.say("")
            self.told.say("")
            self.threshold.layout.display = "none"
            metric = self.metric.value
            if metric is None:
                a, b = (", ".join(result.metrics) for result in self._chosen)
                self._refuse(f"No metric was measured in both: A has {a}, B {b}.")
            elif self.mode.value == "minus":
                self._draw_difference(*(result.select(metric) for result in self._chosen))
            else:
                self._draw_beside(*(result.select(metric) for result in self._chosen))

    def _refuse(self, why: str) -> None:
        self.error.say(why)
        self._arrange()

    def _select(self, other: Heatmap, row: int, col: int) -> None:
        """Mark in the other map the cell that was selected in one, where both have the same cells."""
        with self._lock:
            same = self.left.rows == self.right.rows and self.left.col_keys == self.right.col_keys
            other.selected = [row, col] if same else []

    def _arrange(self, *shown: Heatmap) -> None:
        (self.maps.add_class if self.single in shown else self.maps.remove_class)("pw-x-single")
        for view in (self.left, self.right, self.single):
            view.layout.display = None if view in shown else "none"

    def _draw_difference(self, a: PatchResult, b: PatchResult) -> None:
        try:
            made = a.minus(b)
        except PatchError as error:
            self._refuse(_sentence(str(error)))
            return
        traits = heatmap_traits(made)
        self.single.show(**{**traits, "words": {**traits["words"], "verb": "select"}})
        self._arrange(self.single)

    def _draw_beside(self, a: PatchResult, b: PatchResult) -> None:
        traits = [heatmap_traits(result) for result in (a, b)]
        _share_scale(traits)
        apart = difference.told_apart(a.provenance, b.provenance)
        for letter, other, one, result in zip("AB", apart, traits, (a, b), strict=True):
            title = ", ".join(filter(None, [one["words"]["title"], other]))
            said = {"title": f"{letter}: {title}", "note": words.baselines(result), "verb": "select"}
            one["words"] = {**one["words"], **said}
        if not difference.misfit_two_ways(a, b):
            self._ring(traits, a, b)
        for view, one in zip((self.left, self.right), traits, strict=True):
            view.show(**one)
        self._arrange(self.left, self.right)

    def _ring(self, traits: list[dict[str, Any]], a: PatchResult, b: PatchResult) -> None:
        """Ring the cells that are sufficient but not necessary, and the reverse."""
        threshold = self.threshold.value
        codes = difference.one_way(a, b, a.metrics[0], threshold).reshape(-1)
        said = difference.one_way_words(threshold)
        for one, result in zip(traits, (a, b), strict=True):
            grid = grid_of(result)
            one["marks"] = np.append(codes, 0)[grid.raster].reshape(grid.shape) + one.get("marks", 0)
            one["words"] |= {f"mark_{code}": text for code, text in said.items()}
            one["words"] |= {f"mark_{code}_short": text for code, text in _SHORT.items()}
        counts = [int((codes == code).sum()) for code in _SHORT]
        self.threshold.layout.display = None
        self.told.say(
            f"Ringed from {threshold:g} of the gap: {counted(counts[0], 'cell')} sufficient but not necessary, "
            f"{counts[1]} necessary but not sufficient."
        )


def _share_scale(traits: list[dict[str, Any]]) -> None:
    """Give both maps one quantity and one limit: raw effects where either has no normalized ones."""
    if any(one["quantity"] == "effect" for one in traits):
        found = np.concatenate([np.abs(one["effect"][np.isfinite(one["effect"])]) for one in traits])
        limit = float(found.max(initial=0.0)) or 1.0
        unit = next(one["words"]["unit"] for one in traits if one["quantity"] == "effect")
        for one in traits:
            one["words"] = {**one["words"], "unit": unit, **RAW_WORDS}
            one |= {"quantity": "effect", "limit": limit}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
