"""A running sweep: a handle to wait for, iterate over, await or cancel."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import PatchError
from ..result import MEASURED, PENDING, PatchResult

Listener = Callable[["Run", np.ndarray], None]
Work = Callable[["Run"], None]

_LOG = logging.getLogger(__name__)
_NO_CELLS = np.empty(0, dtype=np.int64)
_RUNNING: weakref.WeakSet[Run] = weakref.WeakSet()


class Run:
    """A sweep under way in a thread of its own.

    `done` of `total` cells are measured so far. `wait()` returns the result; iterating yields partial results as cells
    arrive, the whole one last; `await run` works in a notebook cell. What fails while running is raised by all three.
    KeyboardInterrupt while waiting or iterating cancels the sweep.

    Attributes:
        total: how many cells the sweep measures; cells known without computing are not among them.
        patched: the metric after each cell's patch, [..., cell], NaN where not measured yet.
        status: a status code per cell, [cell].
        warning: what a reader of the numbers must know, or None; `wait` warns of it once.
        counts: what `done` and `total` count.
        stopped: whether the sweep left off because it was asked to, with something still to measure or to know.
    """

    counts = "cells"

    def __init__(
        self, work: Work, patched: np.ndarray, status: np.ndarray, total: int, report: Callable[[Run], PatchResult]
    ):
        self.total = total
        self.warning: str | None = None
        self.stopped = False
        self._warned = False
        self.patched = patched
        self.status = status
        self._done = 0
        self._news = 0
        self._report = report
        self._error: BaseException | None = None
        self._cancel = threading.Event()
        self._began = time.perf_counter()
        self._seconds: float | None = None
        self._over = False
        self._settled = threading.Event()
        self._changed = threading.Condition()
        self._listeners: list[Listener] = []
        self._thread = threading.Thread(target=self._work, args=(work,), name="patchwidgets-sweep", daemon=True)

    def start(self) -> Run:
        """Start the thread and return the run."""
        self._thread.start()
        _RUNNING.add(self)
        return self

    @property
    def done(self) -> int:
        """How many cells are measured."""
        return self._done

    @property
    def seconds(self) -> float:
        """How long the sweep has been running, or ran."""
        return time.perf_counter() - self._began if self._seconds is None else self._seconds

    @property
    def complete(self) -> bool:
        """Whether every cell is measured, or will be: neither failed nor asked to stop early."""
        return self._error is None and not self.cancelled

    @property
    def finished(self) -> bool:
        """Whether nothing more will come: complete, cancelled or failed."""
        return self._over

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called before the last cell was measured; where none is, before the plain runs ended."""
        left = self._done < self.total or not (self.total or self._over)
        return self.stopped or (self._cancel.is_set() and left)

    @property
    def error(self) -> BaseException | None:
        """What went wrong, or None."""
        return self._error

    def cancel(self) -> None:
        """Stop between two modules, or two batches; what is measured stays, what is half done is dropped."""
        self._cancel.set()

    @property
    def cancelling(self) -> bool:
        """Whether the sweep was asked to stop."""
        return self._cancel.is_set()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener(run, flat indices of new cells)` from the sweep's thread; once more, with none, at the end."""
        with self._changed:
            if listener not in self._listeners:
                self._listeners.append(listener)
            over = self._over
        if over:
            self._tell([listener], _NO_CELLS)

    def add(self, cells: np.ndarray, values: np.ndarray, status: int) -> None:
        """Record cells: `values` is [..., cell]. Called by the sweep's own thread."""
        with self._changed:
            if status == MEASURED:
                self._done += int((self.status[cells] != MEASURED).sum())
            self.patched[..., cells] = values
            self.status[cells] = status
            self._news += 1
            self._changed.notify_all()
            listeners = list(self._listeners)
        self._tell(listeners, cells)

    def forget(self, cells: np.ndarray) -> None:
        """Take back what was measured of cells, which turned out to be wrong. Called by the sweep's own thread."""
        with self._changed:
            known = cells[self.status[cells] == MEASURED]
            self._done -= len(known)
            self.patched[..., known] = np.nan
            self.status[known] = PENDING
            self._news += 1
            self._changed.notify_all()
            listeners = list(self._listeners)
        self._tell(listeners, known)

    def snapshot(self) -> PatchResult:
        """Return what is known so far as a result of its own."""
        with self._changed:
            return self._report(self)

    def warn(self, text: str) -> None:
        """Add to what a reader of the numbers must know."""
        self.warning = f"{self.warning} {text}" if self.warning else text

    def wait(self, timeout: float | None = None) -> PatchResult:
        """Return the result when the sweep ends; after `cancel`, the partial one.

        Raises what went wrong while running, and TimeoutError after `timeout` seconds. KeyboardInterrupt cancels the
        sweep and is raised again. At a terminal a progress bar is shown. A listener that waits has the result once the
        run is finished; before that it would wait for itself, which is a PatchError.
        """
        try:
            if not self._is_listening():
                self._wait_for_the_end(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        if self._error is not None:
            raise self._error
        if self.warning and not self._warned:
            self._warned = True
            warnings.warn(self.warning, UserWarning, stacklevel=2)
        return self.snapshot()

    def __iter__(self) -> Iterator[PatchResult]:
        seen = 0
        self._is_listening()
        while True:
            try:
                with self._changed:
                    while self._news == seen and not self._over:
                        self._changed.wait()
                    last, seen = self._over, self._news
                result = None if last else self.snapshot()
            except KeyboardInterrupt:
                self.cancel()
                raise
            if result is None:
                break
            yield result
        yield self.wait()

    def __await__(self) -> Generator[Any, None, PatchResult]:
        async def result() -> PatchResult:
            try:
                return await asyncio.to_thread(self._quiet_wait)
            except asyncio.CancelledError:
                self.cancel()
                raise

        return result().__await__()

    def __repr__(self) -> str:
        state = "running"
        if self.finished:
            state = "failed" if self._error else "cancelled" if self.cancelled else "done"
        return f"Run({state}, {self._told})"

    @property
    def _told(self) -> str:
        return f"{self._done} of {self.total} {self.counts}"

    def _is_listening(self) -> bool:
        """Return whether a listener asks, told by the sweep's thread; PatchError while that has more to measure."""
        if threading.current_thread() is not self._thread:
            return False
        if not self._over:
            raise PatchError("a listener cannot wait for the sweep that calls it; take run.snapshot().")
        return True

    def _quiet_wait(self) -> PatchResult:
        self._settled.wait()
        return self.wait()

    def _wait_for_the_end(self, timeout: float | None) -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            self._wait_with_bar(timeout)
        elif not self._settled.wait(timeout):
            raise TimeoutError(f"the sweep has measured {self._told} and goes on.")

    def _wait_with_bar(self, timeout: float | None) -> None:
        with tqdm(total=self.total, unit="cell", initial=self._done) as bar:
            waited = 0.0
            while not self._settled.wait(0.1):
                bar.update(self._done - bar.n)
                waited += 0.1
                if timeout is not None and waited >= timeout:
                    raise TimeoutError(f"the sweep has measured {self._told} and goes on.")
            bar.update(self._done - bar.n)

    def _work(self, work: Work) -> None:
        try:
            work(self)
        except BaseException as error:
            self._error = error
        with self._changed:
            self._over, self._seconds = True, self.seconds
            self._changed.notify_all()
            listeners = list(self._listeners)
        self._tell(listeners, _NO_CELLS)
        self._settled.set()

    def _tell(self, listeners: list[Listener], cells: np.ndarray) -> None:
        """Call the listeners; one that raises is logged and harms neither the sweep nor the others.

        In the sweep's thread that goes for SystemExit and the like too: nobody would hear of it there.
        """
        for listener in listeners:
            try:
                listener(self, cells)
            except BaseException as error:
                if not isinstance(error, Exception) and threading.current_thread() is not self._thread:
                    raise
                _LOG.exception("a listener of %r failed", self)


@atexit.register
def _stop_all() -> None:
    """Let no sweep outlive the interpreter: a thread inside torch while Python tears down can crash the process."""
    running = [run for run in _RUNNING if not run.finished]
    for run in running:
        run.cancel()
    for run in running:
        run._thread.join(timeout=10)
