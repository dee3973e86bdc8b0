"""Cells gathered from the map, and what they do when they are patched together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from html import escape

import ipywidgets as w
import numpy as np

from .. import words
from ..engine.handle import ModelHandle
from ..engine.patch import check_plan
from ..engine.plan import Plan
from ..engine.run import Run
from ..engine.values import Encode
from ..errors import PatchError, in_words
from ..grid import Grid
from ..result import UNAVAILABLE, PatchResult
from ..spelling import counted, signed
from ..views import CopyButton
from .behind import begin
from .cell_pairs import place_of
from .failing import why
from .joint_tokens import JointTokens
from .kept import key_of
from .live import LiveMap
from .slots import first_status, why_unavailable
from .text import Line
from .together import Together, joint_plan, overwritten, spelled, together_of, told

_MOST = 32


class Gathering:
    """The card below the map that lists gathered cells and patches them together.

    `lock` is the Explorer's; `submit` runs a function on its worker thread. `cells` are flat indices into the plan.
    Gathered cells stay as long as the cells are the same ones: in another metric, or measured again.
    """

    def __init__(
        self, handle: ModelHandle, lock: threading.RLock, submit: Callable[[Callable[[], None]], None], encode: Encode
    ) -> None:
        self._handle, self._lock, self._submit, self._encode = handle, lock, submit, encode
        self._map: LiveMap | None = None
        self._changed: Callable[[], None] = lambda: None
        self._plan: Plan | None = None
        self._joint: Plan | None = None
        self._grid: Grid | None = None
        self._metric = ""
        self._wanted: object | None = None  # What was asked for last; nothing once that is given up.
        self.places: list[int] = []
        self.run: Run | None = None
        self.title, self.listed, self.notes = Line("pw-x-card-title"), Line(), Line("pw-x-dim")
        self.error, self.said, self.table = Line("pw-x-error"), Line(), w.HTML()
        self.tokens = JointTokens(handle, lock, submit, encode)
        self.patch = w.Button(description="Patch together", tooltip="measure each gathered cell alone, and all at once")
        self.clear_button = w.Button(description="Clear", tooltip="let go of all gathered cells")
        self.copy = CopyButton("Copy code", hint="copy a TransformerLens script that measures this again")
        self.patch.on_click(lambda _: self._pressed())
        self.clear_button.on_click(lambda _: self._gathered([]))
        self.copy.on_ask(self._code)
        bar = w.Box([self.patch, self.clear_button, self.copy])
        bar.add_class("pw-x-bar")
        self.box = w.VBox(
            [self.title, self.listed, self.notes, bar, self.error, self.table, self.said, self.tokens.box]
        )
        self.box.add_class("pw-x-card")
        self.box.add_class("pw-x-gathering")
        self._arrange()

    @property
    def cells(self) -> list[int]:
        """The gathered cells, in the order they were gathered."""
        return [] if self._grid is None else [int(self._grid.raster[place]) for place in self.places]

    @property
    def result(self) -> PatchResult | None:
        """What was measured of the cells together, in every metric; None before that."""
        run = self.run
        return run.snapshot() if run is not None and run.finished and run.complete else None

    def bind(self, map: LiveMap, changed: Callable[[], None]) -> None:
        """Follow what is gathered on a map; `changed()` is called after it changes."""
        self._map, self._changed = map, changed
        map.view.gathers = True
        map.view.on_gather(self._gathered, lock=self._lock)

    def show(self, plan: Plan, grid: Grid, metric: str) -> None:
        """Belong to a plan's map, in a metric; cells of other maps are let go."""
        with self._lock:
            same = self._plan is not None and key_of(self._plan) == key_of(plan)
            self._plan, self._grid, self._metric = plan, grid, metric
            if not same:
                self._take([])
            else:
                self._tell()

    def cancel(self) -> None:
        """Stop measuring them together, and begin nothing that was asked for."""
        with self._lock:
            self._wanted = None
            self.tokens.cancel()
            if self.run is not None:
                self.run.cancel()
            self._arrange()

    def _gathered(self, places: list[int]) -> None:
        """Take what was gathered on the page."""
        with self._lock:
            plan, grid = self._plan, self._grid
            if plan is None or grid is None:
                return
            cells = (first_status(plan, grid) != UNAVAILABLE).reshape(-1)
            kept = [place for place in places if cells[place]]
            none = next((place for place in places if not cells[place]), None)
            many = len(kept) > _MOST
            left = [f"At most {_MOST} cells are patched together; the others are left out."] if many else []
            if none is not None:
                left.append(f"Not gathered: {why_unavailable(plan, grid, *divmod(none, grid.shape[1]))}")
            self._take(kept[:_MOST])
            if left:
                self.error.say(" ".join(left))
                self._arrange()
            self._changed()

    def _take(self, places: list[int]) -> None:
        """Hold these places; what was measured of others is dropped."""
        self.cancel()
        self.places, self.run = places, None
        self.tokens.show(None)
        if self._map is not None:
            self._map.gather(places)
        self.error.say("")
        self._tell()

    def _tell(self) -> None:
        plan, grid, cells = self._plan, self._grid, self.cells
        many = len(cells)
        self.title.say(f"{counted(many, 'cell')} gathered" if many else "")
        self.listed.say("; ".join(self._names()))
        self.notes.say(" ".join(overwritten(plan, cells)) if plan is not None and grid is not None else "")
        self.said.say("")
        self.table.value = ""
        self._show()
        self._arrange()

    def _names(self) -> list[str]:
        grid = self._grid
        return [] if grid is None else [place_of(grid, *divmod(place, grid.shape[1])) for place in self.places]

    def _arrange(self) -> None:
        waiting = self._wanted is not None or (self.run is not None and not self.run.finished)
        self.patch.disabled = len(self.places) < 2 or waiting or self.run is not None
        self.patch.description = "Patching together" if waiting else "Patch together"
        self.copy.layout.display = None if self.result is not None else "none"
        self.table.layout.display = None if self.table.value else "none"
        self.box.layout.display = None if self.places or self.error.value else "none"

    def _pressed(self) -> None:
        with self._lock:
            plan, cells = self._plan, self.cells
            if plan is None or len(cells) < 2 or self._wanted is not None or self.run is not None:
                return
            wanted = self._wanted = object()
            self.error.say("")
            self._arrange()
            self._submit(lambda: self._measure(wanted, plan, cells))

    def _measure(self, wanted: object, plan: Plan, cells: list[int]) -> None:
        """Start the joint sweep, if it is still wanted. On the worker thread: plans ask the model."""
        if wanted is not self._wanted:
            return
        joint = self._planned(plan, cells)
        with self._lock:
            if wanted is not self._wanted:
                return
            self._wanted = None
            run = joint if isinstance(joint, str) else begin(self._handle, joint, self._encode)
            if isinstance(joint, Plan) and isinstance(run, Run):
                self._joint, self.run = joint, run
                self._arrange()
                run.subscribe(self._arrived)
            elif isinstance(run, str):
                self.error.say(run)
                self._arrange()

    def _planned(self, plan: Plan, cells: list[int]) -> Plan | str:
        """Return the joint sweep's plan, or why there is none."""
        try:
            joint = joint_plan(self._handle, plan, cells)
            check_plan(self._handle, joint, self._encode)
        except Exception as error:
            return why(error, "the gathered cells could not be patched together")
        return joint

    def _arrived(self, run: Run, _cells: np.ndarray) -> None:
        """Show what was measured when it is whole. On the sweep's thread."""
        with self._lock:
            if run is not self.run or not run.finished:
                return
            if run.error is not None:
                self.error.say(in_words(run.error))
            if run.complete:
                self.tokens.show(self._joint)
            else:
                self.run = None
            self._show()
            self._arrange()

    def _show(self) -> None:
        result, plan = self.result, self._plan
        if result is None or plan is None:
            return
        try:
            result = result.select(self._metric)
            found = together_of(result)
            unit = f"effect ({words.unit(self._metric)})" if found.raw else result.direction.moved
            self.table.value = _table(self._names(), found, unit)
            self.said.say(" ".join(told(found, plan, self._metric)))
        except Exception as error:
            self.error.say(why(error, "what gathered cells do together could not be told"))

    def _code(self) -> str | None:
        result = self.result
        try:
            return None if result is None else result.code()
        except PatchError as error:
            self.error.say(str(error))
            return None


def _table(names: list[str], found: Together, unit: str) -> str:
    """Return the effects as a table; every text is text."""
    rows = [(f"{name} alone", signed(value)) for name, value in zip(names, found.alone, strict=True)]
    excess = spelled(found.excess) if found.resolves else signed(0.0)
    sums = [("sum of each alone", signed(found.total)), ("all together", signed(found.joint))]
    cells = "".join(
        f'<tr class="{style}"><th scope="row">{escape(name)}</th><td>{value}</td></tr>'
        for style, group in (("", rows), ("pw-x-sum", [*sums, ("together \u2212 sum", excess)]))
        for name, value in group
    )
    head = f'<tr><th scope="col">patched</th><th scope="col">{escape(unit)}</th></tr>'
    return f'<table class="pw-x-table"><thead>{head}</thead><tbody>{cells}</tbody></table>'
