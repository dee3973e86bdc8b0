"""A heatmap that follows a running sweep."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from .. import words
from ..engine.run import Run
from ..grid import Grid
from ..result import PatchResult
from ..spread import spread_of
from ..views import Heatmap
from ..views.of_result import cells_of, outlined, traits_of, values_of, with_spread


class LiveMap:
    """A Heatmap view bound to the latest run it was told to follow; cells of earlier runs are dropped.

    `normalized` keeps it to normalized effects, so that several maps have one scale.
    """

    def __init__(self, group: str, *, compact: bool = False, normalized: bool = False) -> None:
        self._normalized = normalized
        self.view = Heatmap([], None, group=group, compact=compact)
        self._lock = threading.RLock()
        self._run: Run | None = None
        self._grid: Grid | None = None
        self._metric = ""
        self._line = -1
        self._said: dict[str, str] = {}
        self._selected: list[int] = []
        self._whole = True
        self._pairs = 1  # Over how many pairs every cell is shown.
        self._outline: float | None = None
        self._gathered: list[int] = []

    def blank(
        self,
        grid: Grid,
        said: dict[str, str],
        *,
        line: int = -1,
        selected: Sequence[int] = (),
        status: np.ndarray | None = None,
    ) -> None:
        """Show a grid in which nothing is measured yet; `status` [row, column] says what never will be."""
        with self._lock:
            self._run, self._grid, self._selected = None, grid, list(selected)
            self.view.show(
                grid.rows, grid.columns, row_title=grid.row_title, row_keys=grid.row_keys, col_keys=grid.links,
                status=status, line=line, state="empty", words=said, quantity="normalized", limit=1.0,
                selected=self._selected, gathered=self._gathered,
            )  # fmt: skip

    def follow(
        self,
        run: Run,
        grid: Grid,
        metric: str,
        *,
        line: int = -1,
        said: dict[str, str] | None = None,
        selected: Sequence[int] = (),
    ) -> None:
        """Show what `run` has measured and its cells as they arrive; `said` replaces words such as the title."""
        with self._lock:
            self._run, self._grid, self._metric, self._line, self._said = run, grid, metric, line, said or {}
            self._selected, self._whole = list(selected), True
            # First to hear of new cells, then to show what is there: no cell falls between the two.
            run.subscribe(self._arrived)
            if not run.finished:
                self._show(run)

    def select(self, cell: Sequence[int]) -> None:
        """Mark a cell (row, column), or none when empty; it stays marked while the run goes on."""
        with self._lock:
            self._selected = list(cell)
            self.view.selected = self._selected

    def gather(self, places: Sequence[int]) -> None:
        """Mark places as gathered; they stay marked while the run goes on."""
        with self._lock:
            self._gathered = list(places)
            self.view.gathered = self._gathered

    def outline(self, threshold: float | None) -> None:
        """Outline clusters of cells of `threshold` of the gap or more once a run is over; None for none."""
        with self._lock:
            self._outline = threshold
            if self._run is not None and self._run.finished:
                self.view.outline(*self._outlined(self._run.snapshot().select(self._metric), self._run))

    def _outlined(self, result: PatchResult, run: Run) -> tuple[np.ndarray | None, str]:
        """Return the clusters and their words; none before the end, as two of them may turn out to be one."""
        if self._outline is None or self._grid is None or not run.finished:
            return None, ""
        return outlined(result, self._grid, self._outline)

    def _arrived(self, run: Run, cells: np.ndarray) -> None:
        with self._lock:
            if run is not self._run:
                return
            result = run.snapshot().select(self._metric)
            if self._whole or run.finished or self._grown(result):
                self._show(run)
            elif len(cells):
                self._update(result, cells)

    def _grown(self, result: PatchResult) -> bool:
        """Return whether every cell is known now over more pairs than are shown."""
        return result.n > self._pairs and not (result.data["status"] == "pending").any()

    def _update(self, result: PatchResult, cells: np.ndarray) -> None:
        assert self._grid is not None
        new = {name: values[cells] for name, values in cells_of(result).items()}
        self.view.update_cells(self._grid.places(cells), **new)

    def _show(self, run: Run) -> None:
        grid = self._grid
        assert grid is not None
        result = run.snapshot().select(self._metric)
        traits = traits_of(result, grid, normalized=self._normalized)
        traits = with_spread(traits, spread_of(result, traits["quantity"]), grid)
        self._pairs = 1 if (result.data["status"] == "pending").any() else result.n
        traits["words"] = {**traits["words"], **self._said}
        known = words.made(result)
        if not known:
            traits["words"].pop("origin")
        # Until the two runs are known there are no words for them, and the scale of raw effects grows with the cells.
        self._whole = not known or traits["quantity"] == "effect"
        told = {
            **traits,
            "line": self._line,
            "state": _state(run),
            "selected": self._selected,
            "gathered": self._gathered,
        }
        drawn, traits["words"]["stages"] = self._outlined(result, run)
        self.view.show(grid.rows, grid.columns, **values_of(result, grid), **told, stages=drawn)


def _state(run: Run) -> str:
    if not run.finished:
        return "running"
    return "error" if run.error is not None else "cancelled" if run.cancelled else "done"
