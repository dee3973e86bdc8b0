"""The replay engine's way through a sweep: a first few cells, their proof through hooks, then wave after wave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from ...metrics import tolerance
from ..baseline import RUNS
from ..gate import Disturbed, Stop, Stopped
from ..measuring import Hooked, Measured, Task
from ..plan import Plan
from ..run import Run
from .engine import Cell, Known, Replay
from .parts import Stack, forget
from .tape import Tapes
from .waves import Waves

_T = TypeVar("_T")
_Logits = tuple[dict[Cell, torch.Tensor], dict[Cell, torch.Tensor]]
"""Per cell and lane the logits at the positions read, and where a metric wants them at all."""

_FIRST_SHARE = 0.03
_AT_ONCE = 64
"""Of so many known cells the values are made between two looks at whether the run was cancelled."""


class WrongCells(Exception):
    """Runs that were replayed do not agree with the same runs through hooks. `told` names them."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.told = told


class Replayed:
    """The replay engine. `settled` is false until its first cells have been compared with the hooked engine's."""

    name = "replay"

    def __init__(self, task: Task, stack: Stack, tapes: Tapes) -> None:
        self.task = task
        with task.handle.lock:
            self.replay = Replay(task, stack, tapes)
        self.settled = False

    @property
    def finals(self) -> object:
        """What later sweeps may take cells from, as long as somebody holds it."""
        return self.replay.kept.finals

    def measure(self, order: np.ndarray, run: Run) -> Iterator[Measured]:
        """Yield cells with their values, until the run is cancelled: those known, a cheap few, then wave after wave.

        Two cells are measured again through hooks as soon as they are known; raises WrongCells when they do not agree.
        """
        known = self._known(order, run)
        for some in self._pieces(list(known)):
            recalled = self._recalled([each for cell in some for each in known[cell]], some, run)
            if recalled is None:
                return
            yield recalled
        order = order[[cell not in known for cell in order.tolist()]]
        witnesses = [min(known), max(known)] if known else []
        if not len(order):
            self.settled = self._compare(sorted(set(witnesses)), run)
            return
        waves = Waves(self.replay, self.task, order)
        rate = self.task.rate
        checked = waves.corners()
        cells = waves.cheapest(_FIRST_SHARE) or waves.next(rate, checked)
        while cells:
            began, cost = time.perf_counter(), waves.cost(cells)
            found = self._values(cells, run)
            if found is None:
                return
            yield found
            if self.settled:
                rate = cost / max(time.perf_counter() - began, 1e-6)
            if run.cancelling and waves.left:
                return
            if not self.settled and waves.taken(checked):
                if not self._compare([*checked, *witnesses[:1]], run):
                    return
                self.settled = True
            if self.settled:
                with self.task.handle.lock:
                    self.replay.kept.settle()
            cells = waves.next(rate, checked)

    def _known(self, order: np.ndarray, run: Run) -> dict[int, list[Known]]:
        """Return the cells whose final rows an earlier sweep left; those found so far when the run is cancelled."""
        found: dict[int, list[Known]] = {}
        cells = order.tolist() if self.replay.kept.any else []
        for at in range(0, len(cells), _AT_ONCE):
            if run.cancelling:
                break
            with self.task.handle.lock:
                found |= {cell: known for cell in cells[at : at + _AT_ONCE] if (known := self.replay.known(cell))}
        return found

    def _pieces(self, cells: list[int]) -> list[list[int]]:
        """Return cells in pieces whose logits fit into memory."""
        size = max(1, min(_AT_ONCE, self.task.memory // 2 // max(1, self.task.logit_bytes)))
        return [cells[at : at + size] for at in range(0, len(cells), size)]

    def _recalled(self, known: Sequence[Known], cells: list[int], run: Run) -> Measured | None:
        """Return cells whose final rows are known with their values; None when the run was cancelled meanwhile."""
        found = self._in_pieces(known, run, self.replay.recall)
        if found is None:
            return None
        self.task.check.reused += len(cells)
        return np.array(cells), self.task.score(cells, *found)

    def _values(self, cells: Sequence[int], run: Run) -> Measured | None:
        """Return cells with their values; None when the run was cancelled meanwhile."""

        def climbed(some: Sequence[Cell], stop: Stop) -> _Logits:
            read, whole, worst = self.replay.run(some, stop)
            check = self.task.check
            check.worst, check.controls = max(check.worst, worst), check.controls + 1
            return read, whole

        found = self._in_pieces([(cell, lane) for cell in cells for lane in self.task.lanes], run, climbed)
        return None if found is None else (np.array(cells), self.task.score(cells, *found))

    def _in_pieces(
        self, runs: Sequence[_T], run: Run, measure: Callable[[Sequence[_T], Stop], _Logits]
    ) -> _Logits | None:
        """Return what `measure` gives of patched runs, as many at once as the device holds; None when cancelled."""
        room = self.task.room
        left: list[Sequence[_T]] = [runs]
        read: dict[Cell, torch.Tensor] = {}
        whole: dict[Cell, torch.Tensor] = {}
        while left:
            some = left.pop()
            pieces = room.cut(some)
            try:
                found = self._tried(pieces[0], run, measure)
            except Stopped:
                return None
            if found is None:
                room.shrink(len(pieces[0]))
                left.append(some)
                continue
            left += pieces[:0:-1]
            read |= found[0]
            whole |= found[1]
        return read, whole

    def _tried(self, runs: Sequence[_T], run: Run, measure: Callable[[Sequence[_T], Stop], _Logits]) -> _Logits | None:
        """Return what a batch gave, None when it does not fit into the device's memory; Stopped when cancelled."""
        if run.cancelling:
            raise Stopped
        try:
            with self.task.handle.lock:
                return measure(runs, lambda: run.cancelling)
        except torch.OutOfMemoryError:
            return None
        except Disturbed as disturbed:
            self._forget()
            raise WrongCells("a run without a patch") from disturbed

    def _compare(self, cells: Sequence[int], run: Run) -> bool:
        """Measure cells again through hooks; raise WrongCells where they differ by more than the precision allows.

        Returns False when the run was cancelled before that was known.

        Cells that differ are measured once more beside unpatched runs: it may be the second that was disturbed.
        """
        task = self.task
        first = run.patched[:, :, list(cells)]
        allowed = self._allowed()
        apart = np.zeros_like(first)
        for controls in (False, True):
            # A first answer that differs is settled before anything is kept: the second is not cancelled.
            stop = None if controls else lambda: run.cancelled
            again = Hooked(task).values(cells, 8, None if controls else run, controls=controls, stop=stop)
            if again is None:
                return False
            apart = np.abs(first - again)
            if (apart <= allowed).all():
                break
        task.check.remeasured += len(cells)
        task.check.apart = max(task.check.apart, float(apart.max()))
        agrees = np.asarray((apart <= allowed).all((0, 1)))
        wrong = [cell for cell, good in zip(cells, agrees, strict=True) if not good]
        if wrong:
            task.check.wrong += [task.plan.cell(cell) for cell in wrong]  # type: ignore[misc]
            self._forget()
            raise WrongCells(_named(task.plan, wrong))
        return True

    def _forget(self) -> None:
        """Trust neither the model's parts nor what they gave."""
        with self.task.handle.lock:
            forget(self.task.handle)
            self.replay.kept.drop()

    def _allowed(self) -> np.ndarray:
        """Return how far two computations of a cell's metrics may be apart, [metric, item, 1]."""
        task, base = self.task, RUNS.index(self.task.plan.patch.base)
        plain = task.scorer.plain(task.baseline)
        gaps = np.abs(plain[:, :, 1 - base] - plain[:, :, base])
        allowed = np.vectorize(lambda gap: tolerance(task.handle.dtype, gap))(gaps)[..., None]
        # Two logits that are nearly equal may change places.
        allowed[[metric.unit in ("places", "share") for metric in task.plan.metrics]] = 1.0
        return allowed


def _named(plan: Plan, cells: Sequence[int]) -> str:
    return "; ".join(" ".join(f"{axis} {index}" for axis, index in plan.cell(cell).items()) for cell in cells)
