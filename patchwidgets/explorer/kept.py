"""What the Explorer remembers: the runs it has made, and the change it waits to act on."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..engine.plan import Plan
from ..engine.run import Run
from ..interventions import Mask
from ..result import PatchResult

_MOST = 24


def key_of(plan: Plan) -> Hashable:
    """Return what makes two sweeps the same: every metric is measured, so the one shown is no part of it.

    But for a mask: it follows the gradient of the metric that is shown.
    """
    followed = plan.metrics[0].name if isinstance(plan.intervention, Mask) else None
    chosen = tuple((axis, tuple(some)) for axis, some in (*plan.labels.items(), *plan.within.items()))
    return (plan.pairs, plan.name, plan.by, chosen, plan.patch, plan.intervention, plan.seed, followed)


@dataclass(frozen=True)
class Entry:
    """A run that is kept, with what it was asked by.

    Attributes:
        number: how many were kept before it, plus one.
        settings: those that bring it back; its metric is the one that was shown last.
        plan: None for a run that this Explorer's model does not answer for; `foreign` then says why.
        at: when it was begun, in seconds since 1970.
        kind: the kind of corruption it was run as, "" where it was not run as one.
    """

    number: int
    settings: dict[str, Any]
    plan: Plan | None
    run: Run
    at: float
    foreign: str = ""
    kind: str = ""

    @cached_property
    def whole(self) -> PatchResult:
        """Everything it measured; asked for when it is over."""
        return self.run.snapshot()

    @property
    def result(self) -> PatchResult:
        """The result in the metric that was shown."""
        return self.whole.select(self.settings["metric"])


class Kept:
    """The latest runs by their settings; those that failed or were cancelled are not given back."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Hashable, Entry] = OrderedDict()
        self._removed: dict[Hashable, Entry] = {}
        self._count = 0

    @property
    def entries(self) -> list[Entry]:
        """The complete runs, the newest first."""
        return [entry for entry in reversed(self._runs.values()) if entry.run.finished and entry.run.complete]

    def entry(self, number: int) -> Entry | None:
        """Return the entry of a number, None where it is gone."""
        return next((entry for entry in self._runs.values() if entry.number == number), None)

    def get(self, key: Hashable) -> Run | None:
        """Return the complete or still running run of these settings, or None."""
        entry = self._runs.get(key)
        return entry.run if entry is not None and entry.run.complete else None

    def put(
        self,
        plan: Plan | None,
        settings: dict[str, Any],
        run: Run,
        *,
        at: float | None = None,
        foreign: str = "",
        kind: str = "",
    ) -> None:
        """Keep a run; the oldest goes when there are too many. A run that is kept already gets the new settings."""
        key = ("foreign", self._count) if plan is None else key_of(plan)
        old = self._runs.get(key)
        if old is not None and old.run is run:
            self._runs[key] = replace(old, settings=settings, kind=kind or old.kind)
            return
        self._count += 1
        self._runs[key] = Entry(self._count, settings, plan, run, time.time() if at is None else at, foreign, kind)
        self._runs.move_to_end(key)
        for idle in [each for each, entry in self._runs.items() if entry.run.finished and not entry.run.complete]:
            if idle != key:
                del self._runs[idle]
        while len(self._runs) > _MOST:
            self._runs.popitem(last=False)

    def remove(self, number: int) -> None:
        """Take a run away: it is measured again when it is asked for again, unless it was restored."""
        self._take({key: entry for key, entry in self._runs.items() if entry.number == number})

    def clear(self, spare: Run | None = None) -> None:
        """Take every run away that is over, but for `spare`."""
        self._take({key: entry for key, entry in self._runs.items() if entry.run.finished and entry.run is not spare})

    def _take(self, entries: dict[Hashable, Entry]) -> None:
        for key in entries:
            del self._runs[key]
        self._removed = {key: entry for key, entry in entries.items() if entry.run.complete} or self._removed

    @property
    def removed(self) -> list[Entry]:
        """What was taken away last, the newest first, without what has been measured again since."""
        return [entry for key, entry in reversed(self._removed.items()) if key not in self._runs]

    def restore(self) -> int:
        """Put what was taken away last back in its place, the newest as far as there is room; return how many runs."""
        fit = {id(entry) for entry in self.removed[: self.room]}
        there = [*self._runs.items(), *((key, entry) for key, entry in self._removed.items() if id(entry) in fit)]
        self._runs, self._removed = OrderedDict(sorted(there, key=lambda each: each[1].number)), {}
        return len(fit)

    @property
    def room(self) -> int:
        """How many runs can be added without one that is whole or under way being forgotten."""
        return _MOST - sum(not entry.run.finished or entry.run.complete for entry in self._runs.values())


class Pause:
    """One action to do after a pause in which nothing else was asked for; the latest wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._doing: list[int] = []  # The threads that do an action now.
        self._timer: threading.Timer | None = None
        self._action: Callable[[], None] | None = None

    @property
    def pending(self) -> bool:
        """Whether an action waits for its pause to end."""
        return self._action is not None

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` after `seconds` unless another comes first; at once, on this thread, when `seconds` is 0."""
        with self._lock:
            self._forget()
            self._action = action
            if seconds:
                self._timer = threading.Timer(seconds, self.settle)
                self._timer.daemon = True
                self._timer.start()
        if not seconds:
            self.settle()

    def settle(self) -> None:
        """Do the waiting action now."""
        with self._lock:
            action = self._action
            self._forget()
            if action is not None:
                self._doing.append(threading.get_ident())
        if action is not None:
            try:
                action()
            finally:
                with self._lock:
                    self._doing.remove(threading.get_ident())
                    self._idle.notify_all()

    @property
    def idle(self) -> bool:
        """Whether no action waits for its pause to end, nor is done in another thread."""
        with self._lock:
            return self._action is None and self._done_elsewhere()

    def wait(self, timeout: float | None = None) -> None:
        """Do the waiting action now, and wait for what another thread does; TimeoutError after `timeout` seconds."""
        self.settle()
        with self._lock:
            if not self._idle.wait_for(self._done_elsewhere, timeout):
                raise TimeoutError("what was changed last is not acted on yet.")

    def _done_elsewhere(self) -> bool:
        return all(thread == threading.get_ident() for thread in self._doing)

    def drop(self) -> None:
        """Forget the waiting action."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._action = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
