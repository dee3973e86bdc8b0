"""What the Explorer remembers: the runs it has made, and the change it waits to act on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from ..engine.plan import Plan
from ..engine.run import Run
from ..interventions import Mask

_MOST = 24


def key_of(plan: Plan) -> Hashable:
    """Return what makes two sweeps the same: every metric is measured, so the one shown is no part of it.

    But for a mask: it follows the gradient of the metric that is shown.
    """
    followed = plan.metrics[0].name if isinstance(plan.intervention, Mask) else None
    return (plan.pair, plan.name, plan.by, plan.patch, plan.intervention, followed)


class Kept:
    """The latest runs by their settings; those that failed or were cancelled are not given back."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Hashable, Run] = OrderedDict()

    def get(self, key: Hashable) -> Run | None:
        """Return the complete or still running run of these settings, or None."""
        run = self._runs.get(key)
        return run if run is not None and run.complete else None

    def put(self, key: Hashable, run: Run) -> None:
        """Keep a run; the oldest goes when there are too many."""
        self._runs[key] = run
        self._runs.move_to_end(key)
        while len(self._runs) > _MOST:
            self._runs.popitem(last=False)


class Pause:
    """One action to do after a pause in which nothing else was asked for; the latest wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
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
            action()

    def drop(self) -> None:
        """Forget the waiting action."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._action = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
