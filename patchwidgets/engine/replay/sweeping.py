"""The replay engine's way through a sweep: a first few cells, their proof through hooks, then wave after wave."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ...metrics import tolerance
from ..baseline import RUNS
from ..gate import Disturbed
from ..measuring import Hooked, Measured, Task, halved
from ..plan import Plan
from ..run import Run
from .climb import Stopped
from .engine import Replay
from .parts import Stack, forget
from .tape import Tapes
from .waves import Waves

_FIRST_SHARE = 0.03


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
        self.replay = Replay(task, stack, tapes)
        self.settled = False

    def measure(self, order: np.ndarray, run: Run) -> Iterator[Measured]:
        """Yield cells with their values, until the run is cancelled: a cheap few, then wave after wave.

        Two cells of the first wave are measured again through hooks; raises WrongCells when they do not agree.
        """
        waves = Waves(self.replay, self.task, order)
        rate = self.task.rate
        early = waves.cheapest(_FIRST_SHARE)
        checked = waves.corners()
        for cells in filter(None, (early, waves.next(rate, checked))):
            yield from self._fitting(cells, waves, run)
        if run.cancelling:
            return
        self._compare(checked, run)
        self.settled = True
        while waves.left and not run.cancelling:
            cells = waves.next(rate)
            began, cost = time.perf_counter(), waves.cost(cells)
            yield from self._fitting(cells, waves, run)
            rate = cost / max(time.perf_counter() - began, 1e-6)

    def _fitting(self, cells: Sequence[int], waves: Waves, run: Run) -> Iterator[Measured]:
        """Yield the cells with their values, in halves where the device does not hold them all; none if cancelled."""
        left = [list(cells)]
        while left:
            some = left.pop()
            try:
                found = self._values(some, run)
            except torch.OutOfMemoryError as error:
                lanes = len(self.task.lanes)
                most = halved(run, len(some) * lanes if len(some) > 1 else 1, error)
                waves.limit(most)
                left += [some[len(some) // 2 :], some[: len(some) // 2]]
                continue
            if found is None:
                return
            yield found

    def _values(self, cells: Sequence[int], run: Run) -> Measured | None:
        if run.cancelling:
            return None
        try:
            with self.task.handle.lock:
                read, whole, worst = self.replay.run(
                    [(cell, lane) for cell in cells for lane in self.task.lanes], lambda: run.cancelling
                )
        except Stopped:
            return None
        except Disturbed as disturbed:
            forget(self.task.handle)
            raise WrongCells("a run without a patch") from disturbed
        check = self.task.check
        check.worst, check.controls = max(check.worst, worst), check.controls + 1
        return np.array(cells), self.task.score(cells, read, whole)

    def _compare(self, cells: Sequence[int], run: Run) -> None:
        """Measure cells again through hooks; raise WrongCells where they differ by more than the precision allows.

        Cells that differ are measured once more beside unpatched runs: it may be the second that was disturbed.
        """
        task = self.task
        first = run.patched[:, :, list(cells)]
        allowed = self._allowed()
        apart = np.zeros_like(first)
        for controls in (False, True):
            again = Hooked(task).values(cells, 8, run, controls=controls)
            if again is None:
                return
            apart = np.abs(first - again)
            if (apart <= allowed).all():
                break
        task.check.remeasured += len(cells)
        task.check.apart = max(task.check.apart, float(apart.max()))
        agrees = np.asarray((apart <= allowed).all((0, 1)))
        wrong = [cell for cell, good in zip(cells, agrees, strict=True) if not good]
        if wrong:
            task.check.wrong += [task.plan.cell(cell) for cell in wrong]  # type: ignore[misc]
            forget(task.handle)
            raise WrongCells(_named(task.plan, wrong))

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
