"""Small multiples: one sweep under every kind of corruption, side by side, and which cells all, some or one found."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from ..engine.plan import Plan
from ..engine.run import Run
from ..errors import PatchError, in_words
from ..spelling import counted
from ..views import Heatmap, label_columns
from .claims import Claims
from .counting import clean_alone, count
from .entry_words import asked_of
from .failing import why
from .kinds import Kind, Kinds, Look
from .live import LiveMap
from .members import Member
from .slots import plan_grid
from .text import Line, close_all

_THRESHOLD = 0.3
_NARROWEST, _BESIDE, _CELL = 340, 90, 15
"""How wide a map is at least, in pixels, so that a prompt of some length need not be scrolled."""


class Multiples:
    """The panel and its queue: one sweep after the other, each kept on the shelf; none is begun while the map's runs.

    `entered` gives the settings entered now, None where they cannot be read. `asked` reads them and returns what looks
    for their kinds, `plan` plans a kind's sweep and `begin` starts it. Looking, `plan` and `begin` ask the model:
    `submit` does a task on the Explorer's worker thread, `lock` is the Explorer's. A sweep that the map shows as well
    goes on when it is cancelled here.
    """

    def __init__(
        self,
        lock: threading.RLock,
        submit: Callable[[Callable[[], None]], None],
        claims: Claims,
        entered: Callable[[], dict[str, Any] | None],
        asked: Callable[[], Look],
        plan: Callable[[Kind], Plan],
        begin: Callable[[Plan, Kind], Run],
    ) -> None:
        self._lock, self._submit, self._claims = lock, submit, claims
        self._entered, self._look, self._plan, self._begin = entered, asked, plan, begin
        self._kinds = Kinds([])
        self._members: list[Member] = []
        self._asked: object | None = None  # The request whose kinds are looked for.
        self._refused: dict[str, list[str]] = {}
        self._stopped = True
        self._left = 0  # How many kinds were not begun when the rest was cancelled.
        self.start = w.Button(description="Run every corruption kind", tooltip="one sweep for each kind, side by side")
        self.stop = w.Button(description="Cancel all", disabled=True)
        self.threshold = w.BoundedFloatText(
            _THRESHOLD, min=0.01, max=100.0, step=0.05, description="found from",
            tooltip="the size of a normalized effect, of either sign, from which a kind has found a cell",
        )  # fmt: skip
        self.threshold.add_class("pw-x-threshold")
        self.stop.add_class("pw-x-cancel")
        self.error, self.told, self.chosen = Line("pw-x-error"), Line("pw-x-dim"), Line("pw-x-dim")
        self.about = Line("pw-x-dim")
        self.summary = Heatmap(group="", means=False)
        self.maps = w.Box([])
        self.maps.add_class("pw-x-multiples")
        self.start.on_click(lambda _: self.run_all())
        self.stop.on_click(lambda _: self.cancel())
        self.threshold.observe(lambda _: self._sum_up(), "value")
        self.summary.on_select(self._select)
        row = w.Box([self.start, self.stop, self.threshold, self.told])
        row.add_class("pw-x-bar")
        self.counted = w.VBox([self.summary])  # A view takes no style class on the page, its box does.
        self.box = w.VBox([row, self.error, self.about, self.chosen, self.maps, self.counted])
        self.box.add_class("pw-x-kinds")
        self._arrange()

    @property
    def run(self) -> Run | None:
        """The sweep that runs, or ran last."""
        return next((member.run for member in reversed(self._members) if member.run is not None), None)

    def run_all(self) -> None:
        """Run every kind of what is entered now; those that are on the shelf come at once."""
        self.cancel()
        try:
            look = self._look()
        except PatchError as error:
            with self._lock:
                self._close()
                self._sum_up()
                self._say(str(error))
            return
        with self._lock:
            self._close()
            self._stopped, asked = False, object()
            self._asked = asked
            self._sum_up()
        self._submit(lambda: self._find(asked, look))

    def cancel(self) -> None:
        """Stop the sweep that runs, and start none of those that wait."""
        with self._lock:
            looking, self._asked = self._asked is not None, None
            self._stopped = True
            self._claims.want("kinds", None)
            begun = [member for member in self._members if member.run is not None]
            if len(begun) < len(self._members):
                self._left += len(self._members) - len(begun)
                self._members = begun
                self._place()
            elif looking:
                self._sum_up()
            self._arrange()

    def compare(self) -> None:
        """Dim what is of other settings than those entered now, and say so; or show it as ever again."""
        with self._lock:
            kinds = self._kinds
            entered = self._entered() if kinds.found else None
            stale = bool(kinds.found) and (entered is None or not kinds.are_of(entered))
            for part in (self.told, self.maps, self.counted):
                (part.add_class if stale else part.remove_class)("pw-x-stale")
            of = asked_of(kinds.found[0].settings) if kinds.found else ""
            self.about.say(f"Not of what is entered now: {of}" if stale else of)

    def close(self) -> None:
        """Cancel, and take the maps away."""
        self.cancel()
        with self._lock:
            self._close()

    def _close(self) -> None:
        close_all(self.maps.children)
        self._kinds, self._members, self._refused, self.maps.children, self._left = Kinds([]), [], {}, (), 0
        for line in (self.error, self.chosen):
            line.say("")
        self.compare()

    def _find(self, asked: object, look: Look) -> None:
        """Look for the kinds and start the first. On the worker thread."""
        kinds, told = Kinds([]), ""
        try:
            kinds = look(lambda: self._asked is not asked)
        except Exception as error:
            told = why(error, "the corruption kinds could not be found")
        with self._lock:
            if self._asked is not asked:
                return
            self._asked, self._stopped = None, not kinds.found
            self._say(told)
            self._kinds = kinds
            self.compare()
            self.chosen.say(kinds.told)
            group = uuid.uuid4().hex
            self._members = [Member(kind, LiveMap(group, compact=True, normalized=True)) for kind in kinds.found]
            for member in self._members:
                member.map.view.on_select(self._select)
            self.summary.group = group
            self._place()
        self._next()

    def _say(self, error: str) -> None:
        self.error.say(error[:1].upper() + error[1:])

    def _place(self) -> None:
        """Put the members' maps on the page, and take away those of members that are gone."""
        placed = {card.children[0]: card for card in self.maps.children}
        cards = [placed.pop(member.map.view, None) or member.card() for member in self._members]
        self.maps.children = cards
        close_all(placed.values())
        self._sum_up()

    def _next(self) -> None:
        """Start the first sweep that waits. On the worker thread: plans ask the model."""
        with self._lock:
            runs = [each.run for each in self._members]
            if any(run is not None and not run.finished for run in runs):
                return
            map_run = self._claims.under_way("map")
            member = next((each for each in self._members if each.run is None), None)
            if member is None or self._stopped:
                self._stopped = self._asked is None
                self._sum_up()
                return
            if map_run is not None:
                self._sum_up()
                map_run.subscribe(self._map_over)
                return
        try:
            plan = self._plan(member.kind)
            with self._lock:
                if member not in self._members or self._stopped:
                    return
                run = self._begin(plan, member.kind)
                self._claims.want("kinds", run)
                member.plan, member.run = plan, run
        except Exception as error:
            self._left_out(member, error)
            return
        with self._lock:
            if member not in self._members:
                return
            said, grid = {"title": member.kind.title, "verb": "select"}, plan_grid(plan)
            width = max(_NARROWEST, _BESIDE + _CELL * grid.shape[1])
            self.maps.layout.grid_template_columns = f"repeat(auto-fill, minmax(min(100%, {width}px), 1fr))"
            member.map.follow(run, grid, member.kind.settings["metric"], said=said)
            self._sum_up()
        run.subscribe(lambda each, _: self._arrived(member, each))

    def _map_over(self, run: Run, _cells: object) -> None:
        """Go on when the map's sweep is over. On that sweep's thread."""
        if run.finished:
            self._submit(self._next)

    def _left_out(self, member: Member, error: Exception) -> None:
        """Say why a kind cannot be run, take its map away, and go on. On the worker thread."""
        told = why(error, "a sweep of a corruption kind could not be begun")
        with self._lock:
            if member not in self._members:
                return
            self._refuse(member, told)
            self._members.remove(member)
            self._place()
        self._submit(self._next)

    def _refuse(self, member: Member, told: str) -> None:
        """Say what is wrong with a kind; what is wrong with several is said once."""
        self._refused.setdefault(told, []).append(member.kind.name)
        self.error.say(" ".join(f"{', '.join(names)}: {why}" for why, names in self._refused.items()))

    def _arrived(self, member: Member, run: Run) -> None:
        """Go on when a sweep is over. On the sweep's thread."""
        if not run.finished:
            return
        with self._lock:
            if member not in self._members or member.run is not run:
                return
            try:
                if run.error is not None:
                    self._refuse(member, in_words(run.error))
                if member.note:
                    member.map.view.words = {**member.map.view.words, "note": member.note}
            finally:
                self._submit(self._next)

    def _arrange(self) -> None:
        running = not self._stopped
        self.start.disabled, self.stop.disabled = running, not running
        shown = bool(self._members)
        self.stop.layout.display = None if shown or running else "none"
        for part in (self.threshold, self.maps):
            part.layout.display = None if shown else "none"

    def _sum_up(self) -> None:
        """Count for every cell the kinds that found it, over those that are whole; then arrange the buttons."""
        with self._lock:
            try:
                self._count()
            finally:
                self._arrange()

    def _count(self) -> None:
        kinds = [(member.plan, member.counted) for member in self._members]
        found = [(plan, result) for plan, result in kinds if plan is not None and result is not None]
        progress = self._progress()
        if not found:
            looking = "Measuring \u2026" if self._asked is not None else ""
            none = "None of the kinds can be counted." if kinds and not progress else ""
            self.summary.show([], label_columns("", []))
            self.told.say(looking or progress or none)
            return
        least, moved = self.threshold.value, found[0][1].direction.moved
        tally, grid = count(found, least), plan_grid(found[0][0])
        self.summary.show(
            grid.rows, clean_alone(grid.columns), normalized=tally.shares, effect=tally.hits,
            patched=tally.reached, status=tally.status, marks=tally.marks, row_title=grid.row_title,
            row_keys=grid.row_keys, col_keys=grid.links, words=tally.words(least, moved), quantity="normalized",
            limit=1.0, state="done" if self._stopped else "running",
        )  # fmt: skip
        self.told.say(" ".join(filter(None, [progress, tally.summary(least, moved)])))

    def _progress(self) -> str:
        """Return how many kinds are done and whether the next waits; "" once all are done."""
        done, asked = sum(member.whole for member in self._members), len(self._members) + self._left
        if done == asked:
            return ""
        running = any(member.run is not None and not member.run.finished for member in self._members)
        waits = not (self._stopped or running) and self._claims.under_way("map") is not None
        told = f"{done} of {counted(asked, 'kind')} {'is' if done == 1 else 'are'} done"
        return f"{'Cancelled: ' if self._left else ''}{told}{'; the map goes first' if waits else ''}."

    def _select(self, row: int, col: int) -> None:
        """Mark a cell in every map."""
        with self._lock:
            for view in (self.summary, *(member.map.view for member in self._members)):
                inside = row < view.shape[0] and col < view.shape[1]
                view.selected = [row, col] if inside else []
