"""What is on screen: a plan's map, the run that fills it, the open cell, and the lines that tell of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets as w
import numpy as np

from .. import words
from ..engine.handle import ModelHandle
from ..engine.plan import Plan
from ..engine.run import Run
from ..errors import in_words
from ..grid import Grid
from ..result import PatchResult
from ..spelling import signed
from ..stages import ordered_axes
from .aligning import Aligning
from .cell_pairs import CellPairs, named, place_of
from .claims import Claims
from .controls import Controls
from .drilldown import Drilldown
from .gathering import Gathering
from .kept import key_of
from .live import LiveMap
from .opened import meant_by
from .outlining import Outlining
from .prompts import PromptEntry
from .slots import first_status, plan_grid, shows_all_tokens, unavailable_words, why_unavailable
from .text import Line

_NO_CELLS = np.empty(0, dtype=np.int64)
_BESIDE = "a corruption kind is measured as well"


class Screen:
    """The map and the lines about a run.

    `lock` is the Explorer's. `publish(result=..., selection=...)` is called with either or both when they change.
    """

    def __init__(
        self,
        group: str,
        lock: threading.RLock,
        aligning: Aligning,
        controls: Controls,
        drilldown: Drilldown,
        gathering: Gathering,
        claims: Claims,
        publish: Callable[..., None],
    ) -> None:
        self._lock, self._claims, self._publish = lock, claims, publish
        self._aligning, self._controls, self._drilldown = aligning, controls, drilldown
        self.run: Run | None = None
        self.plan: Plan | None = None
        self._metric = ""
        self._grid: Grid | None = None
        self._selected: tuple[int, int] | None = None
        self._pairs = 0  # how many the numbers on screen are over
        self._over = False  # whether the run is over, and what it gave is published
        self.map = LiveMap(group)
        self.error, self.warning = Line("pw-x-error"), Line("pw-x-warning")
        self._baselines, self._origin = Line(), Line("pw-x-dim")
        self.map.view.on_select(self.select)
        self.outlining = Outlining(self.map)
        self.gathering = gathering
        gathering.bind(self.map, self._regathered)
        self.pairs = CellPairs()
        self.pairs.view.on_select(lambda _: self._open())

    def layout(self, entry: PromptEntry) -> list[w.Widget]:
        """Return the Explorer's parts from top to bottom."""
        told = w.Box([self._controls.progress, self._baselines, self._origin])
        told.add_class("pw-x-told")
        self._told = told
        below = [self.outlining.box, self.gathering.box, self.pairs.view]
        main = w.Box([w.VBox([self.map.view, *below]), self._drilldown.box])
        main.add_class("pw-x-main")
        self._main = main
        return [entry.box, self._aligning.box, self._controls.box, self.error, self.warning, told, main]

    def dim(self, stale: bool) -> None:
        """Show that what is on screen does not belong to what is entered, or that it does again."""
        for part in (self._told, self._main):
            (part.add_class if stale else part.remove_class)("pw-x-stale")

    def show(self, plan: Plan, metric: str, run: Run | None) -> None:
        """Show a plan's map, as `run` fills it or blank; another run is let go.

        The open cell stays open as long as the cells are the same: in another metric, or measured again.
        """
        with self._lock:
            self._claims.want("map", run)
            if self.plan is None or key_of(self.plan) != key_of(plan):
                self._selected = None
                self.pairs.clear()
                self._drilldown.close()
            elif metric != self._metric:
                self._drilldown.rescore(metric)
            self.run, self.plan, self._metric, self._over = run, plan, metric, False
            self._grid = plan_grid(plan)
            self.outlining.show(bool(ordered_axes(plan.by)))
            self.gathering.show(plan, self._grid, metric)
            self._aligning.arrange(shows_all_tokens(plan), one=len(plan.pairs) == 1)
            self._clear()
            self.dim(False)
            if run is None:
                self._show_blank(plan, self._grid)
            else:
                self._follow(run, self._grid, metric)

    def cancel(self) -> None:
        """Stop the run, unless the kinds want it as well; what is measured stays."""
        with self._lock:
            self._claims.want("map", None)

    def select(self, row: int, col: int) -> None:
        """Open a cell of the map."""
        with self._lock:
            plan, grid = self.plan, self._grid
            if plan is None or grid is None or row >= grid.shape[0] or col >= grid.shape[1]:
                self.map.select(())
                return
            self._selected = (row, col)
            self.map.select(self._selected)
            self.pairs.clear()
            if self.run is not None:
                self._tell_chosen(self.run.snapshot().select(self._metric))
            unavailable = why_unavailable(plan, grid, row, col)
            if unavailable:
                self._drilldown.refuse(unavailable)
                return
            self._open()

    def _open(self) -> None:
        """Open the selected cell in the drilldown; over a dataset in the chosen pair, or the first."""
        with self._lock:
            plan, grid = self.plan, self._grid
            if plan is None or grid is None or self._selected is None:
                return
            chosen = max(0, self.pairs.view.selected)
            pair = plan.pairs[chosen]
            self.gathering.tokens.choose(chosen)
            one = plan if len(plan.pairs) == 1 else replace(plan, pairs=(pair,))
            cell = {axis: int(i) for axis, i in grid.key(*self._selected).items()}
            self._drilldown.open(one, self._metric, cell, named(plan, chosen) if one is not plan else ())

    def _show_pairs(self, result: PatchResult) -> None:
        """Show the selected cell's pairs, where a dataset is swept."""
        assert self.plan is not None
        assert self._grid is not None
        assert self._selected is not None
        flat = self._flat(self._selected)
        if len(self.plan.pairs) == 1 or flat < 0:
            self.pairs.clear()
        else:
            self.pairs.show(result, self.plan, flat, place_of(self._grid, *self._selected))

    def _clear(self) -> None:
        for line in (self.error, self.warning, self._baselines, self._origin):
            line.say("")

    def _show_blank(self, plan: Plan, grid: Grid) -> None:
        said, status = {**words.meaning(meant_by(plan)), **unavailable_words(plan)}, first_status(plan, grid)
        self.map.blank(grid, said, selected=self._selected or (), status=status)
        self._controls.show(None)
        self._publish(result=None, selection=None)

    def _follow(self, run: Run, grid: Grid, metric: str) -> None:
        if not run.finished:
            self._tell_progress(run)  # First: no other result is there than the one that is said to be.
            self._publish(result=None)
        if not self._chosen:
            self._publish(selection=None)
        said = unavailable_words(self.plan) if self.plan else {}
        self.map.follow(run, grid, metric, said=said, selected=self._selected or ())
        run.subscribe(self._arrived)
        if not run.finished:
            self._arrived(run, _NO_CELLS)
            if self._chosen:
                self._tell_chosen(run.snapshot().select(metric))

    def _arrived(self, run: Run, cells: np.ndarray) -> None:
        """Follow the run's progress. On the run's thread."""
        with self._lock:
            if run is not self.run or self._over:
                return
            # Read first: what the run says of itself after this is whole, and an error it ended with is known.
            self._over = run.finished
            try:
                if run.error is None:
                    self._take(run, self._over, cells)
                else:
                    self.error.say(in_words(run.error))
            finally:  # Last: where the page says that a run is over, what it gave is there to be used.
                self._tell_progress(run)

    def _take(self, run: Run, finished: bool, cells: np.ndarray) -> None:
        """Show and publish what the run has given up to now."""
        result = run.snapshot().select(self._metric)
        known = words.made(result)
        if known:
            self._tell(result)
        elif finished:
            self._baselines.say("The run was cancelled before the clean and the corrupted run were made.")
        grown, self._pairs = result.n > self._pairs, result.n
        if self._chosen and (finished or grown or np.isin(self._chosen, cells).any()):
            self._tell_chosen(result)
        if finished:
            self._publish(result=result if known else None)
            if run.complete and self.plan is not None and len(self.plan.pairs) == 1:
                self._drilldown.prepare(self.plan)

    def _tell_progress(self, run: Run) -> None:
        """Tell how far the run is, and that it shares the model while it does."""
        kind = self._claims.under_way("kinds")
        if kind is None or kind is run:
            self._controls.show(run, over=self._over)
        else:
            self._controls.show(run, _BESIDE, over=self._over)
            kind.subscribe(self._kind_over)

    def _kind_over(self, kind: Run, _cells: object) -> None:
        """Tell no more of a corruption kind that is over. On that kind's thread."""
        with self._lock:
            if kind.finished and self.run is not None:
                self._tell_progress(self.run)

    def _tell(self, result: PatchResult) -> None:
        clean, corrupted = float(result.data["clean"][0]), float(result.data["corrupted"][0])
        name = result.metrics[0].replace("_", " ")
        mean = f", mean of {result.n} pairs" if result.n > 1 else ""
        self._baselines.say(
            f"{name}{mean}: clean ",
            (signed(clean, plus=True), "pw-x-clean"),
            ", corrupted ",
            (signed(corrupted, plus=True), "pw-x-corrupted"),
        )
        self.warning.say(*words.small_gaps(result), *words.reversed_gaps(result))
        masked = " ".join(words.kept(result))
        self._origin.say(masked, " " if masked else "", words.agreement(result))

    def _flat(self, cell: tuple[int, int]) -> int:
        assert self._grid is not None
        return int(self._grid.raster[cell[0] * self._grid.shape[1] + cell[1]])

    @property
    def cell(self) -> dict[str, int]:
        """The selected cell's axes; nothing where no cell is selected."""
        flat = -1 if self._selected is None else self._flat(self._selected)
        return {} if flat < 0 or self.plan is None else self.plan.cell(flat)

    @property
    def others(self) -> int:
        """How many cells are gathered beside the selected one."""
        selected = None if self._selected is None else self._flat(self._selected)
        return sum(flat != selected for flat in self.gathering.cells)

    @property
    def _chosen(self) -> list[int]:
        """The cells that the selection is of: the gathered ones, else the selected one."""
        cells = self.gathering.cells or ([] if self._selected is None else [self._flat(self._selected)])
        return [flat for flat in cells if flat >= 0]

    def _selection(self, result: PatchResult) -> Any:
        """Return the chosen cells' rows of the result's table; None for a place without a cell."""
        return result.to_dataframe().iloc[self._chosen] if self._chosen else None

    def _tell_chosen(self, result: PatchResult) -> None:
        self._publish(selection=self._selection(result))
        if self._selected is not None:
            self._show_pairs(result)

    def _regathered(self) -> None:
        """Publish the rows of what is gathered now."""
        with self._lock:
            run = self.run
            self._publish(selection=None if run is None else self._selection(run.snapshot().select(self._metric)))


def title_of(handle: ModelHandle) -> Line:
    """Return the line with the model's name and sizes."""
    line = Line("pw-x-title")
    line.say((handle.name, "pw-x-name"), "  ", (handle.summary, "pw-x-dim"))
    return line
