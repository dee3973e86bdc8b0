"""The Explorer's own thread, and waiting for all that computes, by one deadline."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from ..engine.run import Run
from .kept import Pause

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deadline:
    """A moment by which several waits together must be over; `at` None means never."""

    at: float | None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    @property
    def left(self) -> float | None:
        """The seconds left, 0 when it has passed; None without an end."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())


class Running(Protocol):
    """A place on the page that a run fills."""

    @property
    def run(self) -> Run | None: ...


class Worker:
    """One thread that does tasks in the order they come; a task tells its own errors, what is left is logged."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patchwidgets-explorer")
        self._lock = threading.Lock()
        self._tasks: list[Future[None]] = []
        self._closed = False

    def submit(self, task: Callable[[], None]) -> None:
        """Do `task` after those before it; a closed worker does nothing."""
        with self._lock:
            if not self._closed:
                self._tasks = [*self._undone(), self._pool.submit(_logged, task)]

    @property
    def idle(self) -> bool:
        """Whether every task is done."""
        with self._lock:
            return not self._undone()

    def wait(self, deadline: Deadline) -> None:
        """Wait for the tasks that are there now; TimeoutError when the deadline passes."""
        with self._lock:
            tasks = self._undone()
        if wait(tasks, deadline.left).not_done:
            raise TimeoutError("the Explorer's tasks are not done yet.")

    def close(self) -> None:
        """Do nothing more; the task being done now ends by itself."""
        with self._lock:
            self._closed, tasks = True, self._undone()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for task in tasks:
            if task.cancelled():
                task.set_running_or_notify_cancel()  # The pool leaves it to be told: who waits would wait for ever.

    def _undone(self) -> list[Future[None]]:
        return [task for task in self._tasks if not task.done()]


def _logged(task: Callable[[], None]) -> None:
    try:
        task()
    except Exception:
        _LOG.exception("a task of an Explorer failed")


def wait_until_idle(pause: Pause, worker: Worker, places: Sequence[Running], deadline: Deadline) -> None:
    """Wait until no change is pending, no task undone and the run of every place over, however it ended.

    What one of them starts is waited for as well. TimeoutError when the deadline passes.
    """
    runs: list[Run | None] = []
    while not pause.idle or not worker.idle or runs != [place.run for place in places]:
        pause.wait(deadline.left)
        worker.wait(deadline)
        runs = [place.run for place in places]
        for run in runs:
            if run is not None:
                _wait_for(run, deadline)


def _wait_for(run: Run, deadline: Deadline) -> None:
    try:
        run.wait(deadline.left)
    except BaseException as error:
        if error is not run.error:
            raise
