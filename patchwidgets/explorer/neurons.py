"""The neurons behind a cell: those of its layer and token that alone move the metric the most, and what one does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import numpy as np

from .. import words
from ..engine.handle import ModelHandle
from ..engine.run import Run
from ..engine.values import Encode
from ..errors import in_words
from ..sites import get_site
from ..views import Heatmap, label_columns
from ..views.of_result import cells_of
from .behind import begin, plan_behind
from .opened import Opened
from .text import Line

_SITE = "mlp_post"
_TOP = 10


class Neurons:
    """A card that offers to measure a cell's neurons, each patched alone, and lists the strongest; one can be opened.

    `lock` is the Explorer's; `submit` runs a function on its worker thread; `choose` is told which neuron was clicked.
    """

    def __init__(
        self,
        handle: ModelHandle,
        group: str,
        lock: threading.RLock,
        submit: Callable[[Callable[[], None]], None],
        encode: Encode,
        choose: Callable[[int], None],
    ) -> None:
        self._handle, self._lock, self._submit, self._encode, self._choose = handle, lock, submit, encode, choose
        self._opened: Opened | None = None
        self._shown: list[int] = []
        self.run: Run | None = None
        self.measure = w.Button(
            description="Measure each", tooltip="patch every neuron of this layer at this token alone"
        )
        self.measure.add_class("pw-x-back")
        self.measure.on_click(lambda _: self._pressed())
        self.title, self.error = Line("pw-x-card-title"), Line("pw-x-error")
        self.top = Heatmap([], None, group=group, compact=True)
        self.activation = Heatmap([], None, group=group, compact=True)
        self.activation.add_class("pw-x-below")
        self.top.on_select(lambda row, _col: self._selected(row))
        self.box = w.VBox([self.title, self.measure, self.error, self.top, self.activation])
        self.box.add_class("pw-x-card")
        self._arrange()

    def open(self, opened: Opened) -> None:
        """Offer the neurons of a cell; what is measured of another is dropped."""
        with self._lock:
            self._drop()
            cell = opened.cell
            if "layer" in cell and opened.position is not None and self._handle.has(get_site(_SITE)):
                self._opened = opened
                self.title.say(f"Neurons of layer {cell['layer']} at '{opened.token(opened.position)}'")
            self._arrange()

    def close(self) -> None:
        """Show nothing; what is computing is dropped."""
        with self._lock:
            self._drop()
            self._arrange()

    def _drop(self) -> None:
        if self.run is not None:
            self.run.cancel()
        self._opened, self.run, self._shown = None, None, []
        self.error.say("")
        self.activation.layout.display = "none"

    def rescore(self, metric: str) -> None:
        """List the strongest in another metric; nothing is run again."""
        with self._lock:
            if self._opened is not None:
                self._opened = self._opened.in_metric(metric)
                if self.run is not None:
                    self._list(self.run)

    def mark(self, neuron: int | None) -> None:
        """Mark the opened neuron in the list, None for none."""
        with self._lock:
            self.top.selected = [self._shown.index(neuron), 0] if neuron in self._shown else []

    def show_activation(self, traits: dict[str, Any] | None) -> None:
        """Show what a neuron does over both prompts, or nothing."""
        with self._lock:
            self.activation.layout.display = "none" if traits is None else None
            if traits is not None:
                self.activation.show(**traits)
            self._arrange()

    def _arrange(self) -> None:
        offered = self._opened is not None
        self.measure.layout.display = None if offered and self.run is None else "none"
        self.title.layout.display = None if offered and self.run is None else "none"
        self.top.layout.display = None if self.run is not None else "none"
        alone = self.activation.layout.display is None
        self.box.layout.display = None if offered or alone else "none"

    def _pressed(self) -> None:
        with self._lock:
            opened = self._opened
            if opened is not None and self.run is None and not self.measure.disabled:
                self.measure.disabled = True
                self._submit(lambda: self._sweep(opened))

    def _sweep(self, opened: Opened) -> None:
        """Measure every neuron in every metric. On the worker thread."""
        plan, cell, by = opened.plan, opened.cell, ("layer", "pos", "neuron")
        within = {"layer": [cell["layer"]], "pos": [opened.position]}
        made = plan_behind(self._handle, plan, _SITE, by, within, self._encode)
        with self._lock:
            self.measure.disabled = False
            now = self._opened
            if now is None or now.plan is not plan or now.cell != cell:
                return
            run = made if isinstance(made, str) else begin(self._handle, made, self._encode)
            if isinstance(run, str):
                self.error.say(run)
                return
            self.error.say("")
            self.run = run
            self._list(self.run)
            self._arrange()
            self.run.subscribe(self._arrived)

    def _arrived(self, run: Run, _cells: np.ndarray) -> None:
        with self._lock:
            if run is self.run:
                self._list(run)
                if run.error is not None:
                    self.error.say(in_words(run.error))

    def _selected(self, row: int) -> None:
        with self._lock:
            if row < len(self._shown):
                self._choose(self._shown[row])

    def _list(self, run: Run) -> None:
        """Show the neurons measured so far whose patch alone moves the metric the most."""
        opened = self._opened
        if opened is None or opened.position is None:
            return
        chosen = self._shown[self.top.selected[0]] if self.top.selected else None
        over, result = run.finished, run.snapshot().select(opened.metric)
        cells, neurons = cells_of(result), result.data["neuron"].values
        measured = np.flatnonzero(result.data["status"].values.reshape(-1) == "measured")
        known = measured[np.isfinite(cells["effect"][measured])]
        best = known[np.argsort(-np.abs(cells["effect"][known]), kind="stable")][:_TOP]
        self._shown = [int(neurons[i]) for i in best]
        layer, place = opened.cell["layer"], opened.token(opened.position)
        self.top.show(
            [str(i) for i in self._shown], label_columns("", ["effect"]),
            **{name: array[best][:, None] for name, array in cells.items()},
            row_title="neuron", row_keys=[{"layer": layer, "neuron": i} for i in self._shown], col_keys=[{}],
            # Small beside the gap between the runs: on a scale of their own, in the metric's unit.
            quantity="effect", limit=float(np.abs(cells["effect"][best]).max(initial=0.0)) or 1.0,
            state="done" if over else "running",
            words={
                "title": f"Top neurons of layer {layer} at '{place}', each patched alone",
                "unit": f"effect ({words.unit(result.metrics[0])})",
                "note": self._told(run, len(measured), len(neurons)),
            },
        )  # fmt: skip
        self.mark(chosen)

    def _told(self, run: Run, measured: int, count: int) -> str:
        if not run.total:
            return f"All {count:,} are exactly 0, not computed: the prompts do not differ before here."
        if run.finished and measured == count:
            return f"All {count:,} were measured; these move the metric the most."
        return f"{measured:,} of {count:,} measured; of those, these move the metric the most."
