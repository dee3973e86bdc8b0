"""A heatmap that follows a running sweep."""

from __future__ import annotations

import threading

import numpy as np

from ..engine.run import Run
from ..grid import Grid
from ..result import PatchResult
from ..views import Heatmap
from ..views.of_result import cells_of, traits_of, values_of


class LiveMap:
    """A Heatmap view bound to the latest run it was told to follow; cells of earlier runs are dropped."""

    def __init__(self, group: str, *, compact: bool = False) -> None:
        self.view = Heatmap([], None, group=group, compact=compact)
        self._lock = threading.RLock()
        self._run: Run | None = None
        self._grid: Grid | None = None
        self._metric = ""
        self._line = -1
        self._title: str | None = None
        self._fresh = True

    def blank(self, grid: Grid, said: dict[str, str], *, line: int = -1) -> None:
        """Show a grid in which nothing is measured yet."""
        with self._lock:
            self._run, self._grid = None, grid
            self.view.show(
                grid.rows, grid.columns, row_title=grid.row_title, row_keys=grid.row_keys, col_keys=grid.col_keys,
                line=line, state="empty", words=said, quantity="normalized", limit=1.0,
            )  # fmt: skip

    def follow(self, run: Run, grid: Grid, metric: str, *, line: int = -1, title: str | None = None) -> None:
        """Show the cells of `run` as they arrive, under a title of its own where one is given."""
        with self._lock:
            self._run, self._grid, self._metric, self._line, self._title = run, grid, metric, line, title
            self._fresh = True
        run.subscribe(self._arrived)

    def _arrived(self, run: Run, cells: np.ndarray) -> None:
        with self._lock:
            if run is not self._run or (run.finished and run.error is not None):
                return
            result = run.snapshot().select(self._metric)
            if self._fresh or run.finished:
                self._show(result, "running" if not run.finished else "cancelled" if run.cancelled else "done")
            elif len(cells):
                self._update(result, cells)

    def _update(self, result: PatchResult, cells: np.ndarray) -> None:
        assert self._grid is not None
        new = {name: values[cells] for name, values in cells_of(result).items()}
        self.view.update_cells(self._grid.places(cells), **new)

    def _show(self, result: PatchResult, state: str) -> None:
        grid = self._grid
        assert grid is not None
        traits = traits_of(result, grid)
        if self._title is not None:
            traits["words"] = {**traits["words"], "title": self._title}
        if not self._fresh:
            traits["selected"] = list(self.view.selected)
        self.view.show(
            grid.rows, grid.columns, **values_of(result, grid), **{**traits, "line": self._line, "state": state}
        )
        self._fresh = False
