"""The shelf under the map: what was run, to bring back, compare, save and remove; and the way the settings came."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as w

from ..engine.blocks import start_in_blocks
from ..engine.handle import ModelHandle
from ..engine.plan import Plan
from ..engine.run import Run
from ..errors import FileError, PatchError
from ..result import PatchResult
from ..views import ShelfView
from .comparing import Comparison
from .entry_words import detail_of, name_of
from .form import Form
from .history import History
from .kept import Entry, Kept, key_of
from .saved import FinishedRun, Saved, planned, read_shelf, write_shelf


class Shelf:
    """The runs of an Explorer, kept in memory and shown on the page, and its settings for undo and redo.

    `lock` is the Explorer's. `assign` gives the Explorer the settings of what is brought back.
    """

    def __init__(
        self, handle: ModelHandle, form: Form, lock: threading.RLock, assign: Callable[[dict[str, Any]], None]
    ) -> None:
        self._handle, self._form, self._lock, self._assign = handle, form, lock, assign
        self._kept, self._history = Kept(), History()
        self._current: Run | None = None
        self._waits = False  # The run on screen is over, and its result is not published yet.
        self.view = ShelfView()
        self.comparison = Comparison()
        self.view.on_action(self._asked)
        form.controls.on_step(self.step)
        self.box = w.VBox([self.view, self.comparison.box])
        self.box.add_class("pw-x-shelf")

    @property
    def entries(self) -> list[Entry]:
        """The complete runs, the newest first."""
        with self._lock:
            return self._kept.entries

    def holds(self, plan: Plan) -> bool:
        """Whether there is a run of a plan, complete or on its way."""
        return self._kept.get(key_of(plan)) is not None

    def run_of(self, plan: Plan, settings: dict[str, Any], kind: str = "") -> Run:
        """Return the run of a plan: the one that is kept, or one that is started now; `kind` is a corruption's name."""
        run = self._kept.get(key_of(plan))
        if run is None:
            run = start_in_blocks(self._handle, plan, self._form.prompts_of)
            run.subscribe(self._ended)
        self._kept.put(plan, settings, run, kind=kind)
        return run

    def shown(self, settings: dict[str, Any], run: Run | None) -> None:
        """Remember settings that are on screen, for undo, and mark their run."""
        self._current = run
        self._history.record(settings)
        self._may_step()
        self.refresh()

    def step(self, by: int) -> None:
        """Go back to the settings before these (-1), or forth again (1)."""
        with self._lock:
            settings = self._history.step(by, self._form.settings)
            if settings is not None:
                self._may_step()
                try:
                    self._assign(settings)
                except PatchError as error:
                    self.say(f"Those settings cannot be brought back: {error}")

    def _may_step(self) -> None:
        undo, redo = self._history.can_undo, self._history.can_redo
        self._form.controls.may_step(undo, redo)
        self.view.undo, self.view.redo = undo, redo

    def _ended(self, run: Run, _cells: object) -> None:
        """Put a run that is over on the page; the one on screen once its result is published. On the run's thread."""
        with self._lock:
            if run.finished and run is self._current:
                self._waits = True
            elif run.finished:
                self.refresh()

    def published(self) -> None:
        """List the run on screen: its result is there now, so that what is listed can be saved."""
        if self._waits:
            self.refresh()

    def refresh(self) -> None:
        """Show what is kept now."""
        with self._lock:
            self._waits = False
            entries = self._kept.entries
            numbers = {entry.number for entry in entries}
            shown = [{"id": entry.number, "name": name_of(entry), "detail": detail_of(entry)} for entry in entries]
            self.view.show(
                shown,
                current=next((entry.number for entry in entries if entry.run is self._current), -1),
                a=self.view.a if self.view.a in numbers else -1,
                b=self.view.b if self.view.b in numbers else -1,
                removed=len(self._kept.removed),
            )
            self._compare()

    def say(self, text: str) -> None:
        """Show a line below the list."""
        self.view.told = text

    def _asked(self, action: str, number: int) -> None:
        """Do what was asked for on the page."""
        with self._lock:
            self.say("")
            entry = self._kept.entry(number)
            if action in ("undo", "redo"):
                self.step(-1 if action == "undo" else 1)
            elif action == "clear":
                self._kept.clear(spare=self._current)
                self.refresh()
            elif action == "restore":
                self._restore()
            elif entry is None:
                return
            elif action == "show":
                self._show(entry)
            elif action == "remove":
                self._kept.remove(number)
                self.refresh()
            else:
                setattr(self.view, action, -1 if getattr(self.view, action) == number else number)
                self._compare()

    def _restore(self) -> None:
        many = len(self._kept.removed)
        fit = self._kept.restore()
        self.refresh()
        if fit < many:
            are = "is" if fit == 1 else "are"
            self.say(f"The newest {fit} of the {many} runs removed {are} back; the shelf holds no more.")

    def _show(self, entry: Entry) -> None:
        if entry.plan is None:
            self.say(f"Run {entry.number} cannot be brought back here: {entry.foreign} It can be compared.")
            return
        try:
            self._form.choices.add(entry.plan.intervention)
            self._assign(entry.settings)
        except PatchError as error:
            self.say(f"Run {entry.number} cannot be brought back: {error}")

    def _compare(self) -> None:
        chosen = [self._kept.entry(number) for number in (self.view.a, self.view.b)]
        if chosen.count(None) == 1:
            self.say(f"Choose {'B' if chosen[1] is None else 'A'} to compare.")
        elif self.view.told.startswith("Choose "):
            self.say("")
        self.comparison.show(*chosen)

    def load(self, folder: Path) -> int:
        """Put what a folder holds on the shelf and return how many of it are there; FileError changes nothing."""
        made = [self._entry_of(folder, saved) for saved in read_shelf(folder)]
        with self._lock:
            new = [entry for entry in made if not self._has(entry)]
            fit = new[: self._kept.room]
            for entry in reversed(fit):
                told = {"at": entry.at, "foreign": entry.foreign, "kind": entry.kind}
                self._kept.put(entry.plan, entry.settings, entry.run, **told)
            self.refresh()
            if len(fit) < len(new):
                are = "is" if len(fit) == 1 else "are"
                self.say(f"The newest {len(fit)} of {len(new)} saved runs {are} here; the shelf holds no more.")
        return len(made) - len(new) + len(fit)

    def _entry_of(self, folder: Path, saved: Saved) -> Entry:
        """Return what is saved as an entry that can be told in words; FileError where it is of another make."""
        try:
            plan, why = planned(saved.settings, saved.result, self._handle, self._form)
            run = FinishedRun(saved.result, saved.seconds)
            entry = Entry(0, saved.settings, plan, run, saved.at, why, saved.kind)
            _ = name_of(entry), detail_of(entry)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise FileError(
                f"a result in {str(folder)!r} cannot be told: {type(error).__name__}: {error}. It may be of a newer "
                "version of patchwidgets."
            ) from error
        return entry

    def _has(self, entry: Entry) -> bool:
        """Return whether a saved run is here already."""
        if entry.plan is not None:
            return self.holds(entry.plan)
        return any((each.at, each.settings) == (entry.at, entry.settings) for each in self._kept.entries)


class HasShelf:
    """What a widget with a shelf can do with it."""

    _shelf: Shelf

    @property
    def shelf(self) -> list[PatchResult]:
        """The runs on the shelf, the newest first, each in the metric it was shown in."""
        return [entry.result for entry in self._shelf.entries]

    def save_shelf(self, folder: str | os.PathLike[str]) -> Path:
        """Write the shelf into a new folder, every metric of every run with its settings, and return the folder.

        Raises PatchError where the shelf is empty, and FileError where the folder is there already and not empty.
        """
        return write_shelf(self._shelf.entries, Path(folder))

    def load_shelf(self, folder: str | os.PathLike[str]) -> int:
        """Put the runs of a saved shelf on this one, as many as it has room for, and return how many of them it has.

        Runs of another model can be compared and not brought back. Raises FileError, naming the file, for a folder or a
        file in it that `save_shelf` did not write; the shelf is then as it was.
        """
        return self._shelf.load(Path(folder))
