"""Small multiples: one sweep under every kind of corruption, side by side, and which cells all, some or one found."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets as w
import numpy as np

from ..engine.plan import Plan
from ..engine.run import Run
from ..errors import PatchError
from ..result import IMPLIED, MEASURED, PENDING, UNAVAILABLE, PatchResult
from ..views import Heatmap, label_columns
from ..views.of_result import values_of
from ..words import baselines, small_gaps
from .kinds import WORDS, Kind
from .live import LiveMap
from .slots import plan_grid
from .text import Line

_LOG = logging.getLogger(__name__)
_THRESHOLD = 0.3
_NONE, _ONE, _SOME, _ALL = "none", "one", "some", "all"
_MARK = {_NONE: 8, _ONE: 2, _SOME: 3, _ALL: 1}

Ready = tuple[Plan, Run]


@dataclass
class _Member:
    """One kind's place: its map, and its run once it was started."""

    kind: Kind
    map: LiveMap
    plan: Plan | None = None
    run: Run | None = None

    @property
    def result(self) -> PatchResult | None:
        """What it found in the metric shown, once it is whole."""
        run = self.run
        if run is None or not (run.finished and run.complete):
            return None
        return run.snapshot().select(self.kind.settings["metric"])


class Multiples:
    """The panel and its queue: one sweep after the other, each kept on the shelf.

    `kinds` gives what is to be run and raises PatchError where nothing is; `begin` plans a kind's sweep and starts it;
    `submit` does a task on the Explorer's worker thread, `lock` is the Explorer's.
    """

    def __init__(
        self,
        lock: threading.RLock,
        submit: Callable[[Callable[[], None]], None],
        kinds: Callable[[], list[Kind]],
        begin: Callable[[Kind], Ready],
    ) -> None:
        self._lock, self._submit, self._kinds, self._begin = lock, submit, kinds, begin
        self._members: list[_Member] = []
        self._stopped = True
        self.start = w.Button(description="Run every corruption kind", tooltip="one sweep for each kind, side by side")
        self.stop = w.Button(description="Cancel all", disabled=True)
        self.threshold = w.BoundedFloatText(
            _THRESHOLD, min=0.01, max=100.0, step=0.05, description="found from",
            tooltip="the size of a normalized effect, of either sign, from which a kind has found a cell",
        )  # fmt: skip
        self.threshold.add_class("pw-x-threshold")
        self.stop.add_class("pw-x-cancel")
        self.error, self.told = Line("pw-x-error"), Line("pw-x-dim")
        self.summary = Heatmap(group="", means=False)
        self.maps = w.Box([])
        self.maps.add_class("pw-x-multiples")
        self.start.on_click(lambda _: self.run_all())
        self.stop.on_click(lambda _: self.cancel())
        self.threshold.observe(lambda _: self._sum_up(), "value")
        self.summary.on_select(self._select)
        row = w.Box([self.start, self.stop, self.threshold, self.told])
        row.add_class("pw-x-bar")
        self.box = w.VBox([row, self.error, self.maps, self.summary])
        self.box.add_class("pw-x-kinds")
        self._arrange()

    @property
    def run(self) -> Run | None:
        """The sweep that runs, or ran last."""
        return next((member.run for member in reversed(self._members) if member.run is not None), None)

    def run_all(self) -> None:
        """Run every kind of what is entered now; those that are on the shelf come at once."""
        self.cancel()
        with self._lock:
            self.error.say("")
            try:
                kinds = self._kinds()
            except PatchError as error:
                self.error.say(str(error)[:1].upper() + str(error)[1:])
                return
            self._close()
            group = uuid.uuid4().hex
            self._members = [_Member(kind, LiveMap(group, compact=True, normalized=True)) for kind in kinds]
            for member in self._members:
                member.map.view.on_select(self._select)
            self.summary.group = group
            self.maps.children = [_card(member) for member in self._members]
            self._stopped = False
            self._arrange()
            self._submit(self._next)

    def cancel(self) -> None:
        """Stop the sweep that runs, and start none of those that wait."""
        with self._lock:
            self._stopped = True
            if self.run is not None:
                self.run.cancel()
            self._arrange()

    def close(self) -> None:
        """Cancel, and take the maps away."""
        self.cancel()
        with self._lock:
            self._close()

    def _close(self) -> None:
        for member in self._members:
            member.map.view.close()
        self._members = []

    def _next(self) -> None:
        """Start the first sweep that waits. On the worker thread: plans ask the model."""
        with self._lock:
            member = next((each for each in self._members if each.run is None), None)
            if member is None or self._stopped:
                self._stopped = True
                self._sum_up()
                return
        try:
            plan, run = self._begin(member.kind)
        except Exception as error:
            told = str(error) if isinstance(error, PatchError) else f"{type(error).__name__}: {error}"
            if not isinstance(error, PatchError):
                _LOG.exception("a sweep of a corruption kind could not be begun")
            with self._lock:
                self._stopped = True
                self.error.say(f"{member.kind.name}: {told}")
                self._arrange()
            return
        with self._lock:
            if member not in self._members:
                return
            member.plan, member.run = plan, run
            if self._stopped:
                run.cancel()
            said = {"title": _title(member.kind), "verb": "select"}
            member.map.follow(run, plan_grid(plan), member.kind.settings["metric"], said=said)
            self._sum_up()
        run.subscribe(lambda each, _: self._arrived(member, each))

    def _arrived(self, member: _Member, run: Run) -> None:
        """Go on when a sweep is over. On the sweep's thread."""
        if not run.finished:
            return
        with self._lock:
            if member not in self._members or member.run is not run:
                return
            if run.error is not None:
                self.error.say(f"{member.kind.name}: {run.error}")
            result = member.result
            if result is not None:
                left = "" if member.kind.counted else " Not counted: both prompts call for the same answer."
                note = " ".join([f"{baselines(result)}.", *small_gaps(result)]) + left
                member.map.view.words = {**member.map.view.words, "note": note}
        self._submit(self._next)

    def _arrange(self) -> None:
        running = not self._stopped
        self.start.disabled, self.stop.disabled = running, not running
        shown = bool(self._members)
        for part in (self.stop, self.threshold, self.maps):
            part.layout.display = None if shown else "none"
        if not shown:
            self.told.say("")

    def _sum_up(self) -> None:
        """Count for every cell the kinds that found it, over those that are whole."""
        with self._lock:
            self._arrange()
            whole = [(member, member.result) for member in self._members]
            found = [(m.plan, r) for m, r in whole if m.plan is not None and r is not None and m.kind.counted]
            counted = sum(member.kind.counted for member in self._members)
            done = sum(result is not None for _, result in whole)
            if len(found) < 1:
                self.summary.show([], label_columns("", []))
                self.told.say(f"{done} of {len(whole)} kinds are done." if whole else "")
                return
            shares, status = count(found, self.threshold.value)
            said = Words(len(found), self.threshold.value, found[0][1].direction.moved)
            classes = said.classes(shares)
            plan, _ = found[0]
            grid = plan_grid(plan)
            known = np.isin(status, (MEASURED, IMPLIED))
            marks = np.select([classes == name for name in _MARK], list(_MARK.values()))
            self.summary.show(
                grid.rows, _clean_alone(grid.columns), normalized=np.where(known, shares, np.nan), status=status,
                marks=np.where(status == MEASURED, marks, 0), row_title=grid.row_title, row_keys=grid.row_keys,
                col_keys=grid.links, words=said.words, quantity="normalized", limit=1.0,
                state="done" if self._stopped else "running",
            )  # fmt: skip
            progress = "" if len(found) == counted else f"{done} of {len(whole)} kinds are done. "
            self.told.say(progress + said.summary(classes[known]))

    def _select(self, row: int, col: int) -> None:
        """Mark a cell in every map."""
        with self._lock:
            for view in (self.summary, *(member.map.view for member in self._members)):
                inside = row < view.shape[0] and col < view.shape[1]
                view.selected = [row, col] if inside else []


def count(found: list[tuple[Plan, PatchResult]], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return for every place of the table the share of results that found it, and its status, each [row, column].

    A result has found a cell when its normalized effect is at least `threshold`, of either sign.
    """
    values = [values_of(result, plan_grid(plan)) for plan, result in found]
    if len({each["status"].shape for each in values}) > 1:
        raise PatchError("the kinds have tables of different sizes, which cannot be counted together.")
    hits = np.stack([np.abs(each["normalized"]) >= threshold for each in values])
    statuses = np.stack([each["status"] for each in values])
    status = np.select(
        [(statuses == UNAVAILABLE).any(0), (statuses == PENDING).any(0), (statuses == IMPLIED).all(0)],
        [UNAVAILABLE, PENDING, IMPLIED],
        MEASURED,
    )
    return hits.mean(0), status


@dataclass(frozen=True)
class Words:
    """What the summary says: over how many kinds, from which size of effect."""

    kinds: int
    threshold: float
    moved: str

    def classes(self, shares: np.ndarray) -> np.ndarray:
        """Return which cells none, one, some or all of the kinds found; one kind alone is all."""
        hits = np.rint(shares * self.kinds)
        return np.select([hits == 0, hits == self.kinds, hits == 1], [_NONE, _ALL, _ONE], _SOME)

    @property
    def words(self) -> dict[str, str]:
        """The words of the map."""
        least = f"|{self.moved}| at least {self.threshold:g}"
        return {
            "title": f"Found by how many of {self.kinds} kinds: {least}",
            "unit": "share of kinds",
            "alone": "yes",
            "verb": "select",
            "implied": "exactly 0 under every kind: the prompts do not differ before here",
            "mark_1": f"found by all {self.kinds} kinds",
            "mark_1_short": _ALL,
            "mark_2": "found by one kind",
            "mark_2_short": _ONE,
            "mark_3": "found by some kinds",
            "mark_3_short": _SOME,
            "mark_8": "found by no kind",
            "mark_8_short": _NONE,
        }

    def summary(self, classes: np.ndarray) -> str:
        """Return in one sentence how many cells each number of kinds found."""
        told = ", ".join(f"{int((classes == name).sum())} by {name}" for name in (_ALL, _SOME, _ONE, _NONE))
        return f"Cells found by {self.kinds} kinds at |{self.moved}| \u2265 {self.threshold:g}: {told}."


def _title(kind: Kind) -> str:
    return f"{kind.name}: {WORDS[kind.name]}"


def _card(member: _Member) -> w.VBox:
    card = w.VBox([member.map.view])
    card.add_class("pw-x-card")
    return card


def _clean_alone(columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns under the clean prompt's tokens: the corrupted ones are different in every kind."""
    if columns["kind"] != "tokens":
        return columns
    return {**columns, "corrupted": columns["clean"], "differs": [False] * len(columns["clean"])}
