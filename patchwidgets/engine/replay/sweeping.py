"""The replay engine's way through a sweep: a first few cells, their proof through hooks, then wave after wave."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from ...metrics import tolerance
from ..baseline import RUNS
from ..measuring import Hooked, Measured, Task
from ..plan import Plan
from ..run import Run
from .climb import Stopped
from .engine import Replay
from .items import Item
from .parts import Stack
from .tape import Tapes

_WAVE_SECONDS = 0.4
_FIRST_SHARE = 0.03
_LOGIT_BYTES = 1 << 28


class WrongCells(Exception):
    """Cells that were replayed do not agree with the same cells through hooks. `told` names them."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.told = told


class Replayed:
    """The replay engine. `settled` is false until its first cells have been compared with the hooked engine's."""

    name = "replay"

    def __init__(self, task: Task, stack: Stack, tapes: Tapes) -> None:
        self.task = task
        self.replay = Replay(task.handle, task.plan, stack, tapes, task.value, task.scorer.columns)
        self.settled = False

    def measure(self, order: np.ndarray, run: Run) -> Iterator[Measured]:
        """Yield cells with their values, until the run is cancelled; a cheap few first, then some that are checked.

        Raises WrongCells when those do not agree with what hooks give.
        """
        waves = Waves(self.replay, self.task, order)
        early = waves.cheapest(_FIRST_SHARE)
        checked = waves.spread()
        for cells in (early, checked):
            if not cells:
                continue
            found = self._values(cells, run)
            if found is None:
                return
            yield found
        self._compare(checked, run)
        self.settled = True
        rate = waves.rate
        while waves.left:
            cells = waves.next(rate)
            began, cost = time.perf_counter(), waves.cost(cells)
            found = self._values(cells, run)
            if found is None:
                return
            rate = cost / max(time.perf_counter() - began, 1e-6)
            yield found

    def _values(self, cells: Sequence[int], run: Run) -> Measured | None:
        if run.cancelling:
            return None
        try:
            with self.task.handle.lock:
                read, whole = self.replay.run(
                    [(cell, lane) for cell in cells for lane in self.task.lanes], lambda: run.cancelling
                )
        except Stopped:
            return None
        return np.array(cells), self.task.score(cells, read, whole)

    def _compare(self, cells: Sequence[int], run: Run) -> None:
        """Measure cells again through hooks; raise WrongCells where they differ by more than the precision allows."""
        task, base = self.task, RUNS.index(self.task.plan.patch.base)
        again = Hooked(task).values(cells, 8, run) if cells else None
        if again is None:
            return
        first = run.patched[:, :, list(cells)]
        plain = task.scorer.plain(task.baseline)
        gaps = np.abs(plain[:, :, 1 - base] - plain[:, :, base])
        allowed = np.vectorize(lambda gap: tolerance(task.handle.dtype, gap))(gaps)[..., None]
        apart = np.abs(first - again)
        task.check.remeasured += len(cells)
        task.check.apart = max(task.check.apart, float(apart.max()))
        wrong = [cell for cell, bad in zip(cells, (~(apart <= allowed)).any((0, 1)), strict=True) if bad]
        if wrong:
            task.check.wrong += [task.plan.cell(cell) for cell in wrong]  # type: ignore[misc]
            raise WrongCells(_named(task.plan, wrong))


def _named(plan: Plan, cells: Sequence[int]) -> str:
    return "; ".join(" ".join(f"{axis} {index}" for axis, index in plan.cell(cell).items()) for cell in cells)


class Waves:
    """The cells of a sweep in the order they are best run in: together what begins at one position, coarse to fine."""

    rate = 2000.0

    def __init__(self, replay: Replay, task: Task, order: np.ndarray) -> None:
        self._items: dict[int, list[Item]] = {
            cell: [replay.item((cell, lane)) for lane in task.lanes] for cell in order.tolist()
        }
        self._cost = {cell: sum(map(replay.cost, items)) for cell, items in self._items.items()}
        starts = sorted({self._start(cell) for cell in self._items})
        entries = sorted({self._entry(cell) for cell in self._items}, reverse=True)
        at = {start: (_stage(i), i) for i, start in enumerate(starts)}
        level = {entry: (_stage(i), i) for i, entry in enumerate(entries)}
        self.left = sorted(self._items, key=lambda cell: (at[self._start(cell)], level[self._entry(cell)], cell))
        kept = task.handle.tokenizer.vocab_size * 4 * len(task.lanes) if not task.scorer.narrow else 1
        self._most = max(1, _LOGIT_BYTES // kept)
        if task.batch_size is not None:
            self._most = max(1, task.batch_size // len(task.lanes))

    def _start(self, cell: int) -> int:
        return min(item.start for item in self._items[cell])

    def _entry(self, cell: int) -> int:
        return min(item.entry for item in self._items[cell])

    def cost(self, cells: Sequence[int]) -> int:
        """Return how many rows go through how many blocks for the cells."""
        return sum(self._cost[cell] for cell in cells)

    def cheapest(self, share: float) -> list[int]:
        """Take the cells that enter last, as many as cost no more than a share of all."""
        last = max(map(self._entry, self._items), default=0)
        budget, found = share * self.cost(self.left), []
        for cell in [cell for cell in self.left if self._entry(cell) == last]:
            budget -= self._cost[cell]
            if budget < 0 or len(found) == self._most:
                break
            found.append(cell)
        return self._take(found)

    def spread(self) -> list[int]:
        """Take a few cells that between them enter early and late, at the first position and the last."""
        if not self.left:
            return []
        places = {(self._entry(cell), self._start(cell)): cell for cell in self.left}
        entries, starts = ([place[i] for place in places] for i in (0, 1))
        corners = [(min(entries), min(starts)), (max(entries), min(starts)), (min(entries), max(starts))]
        middle = (sorted(entries)[len(entries) // 2], sorted(starts)[len(starts) // 2])
        near = [min(places, key=lambda at, to=to: abs(at[0] - to[0]) + abs(at[1] - to[1])) for to in (*corners, middle)]
        return self._take(list(dict.fromkeys(places[at] for at in near))[: self._most])

    def next(self, rate: float) -> list[int]:
        """Take the next cells, as many as take a fraction of a second when `rate` rows go through a block a second."""
        budget, found = rate * _WAVE_SECONDS, []
        for cell in self.left:
            if found and (budget < self._cost[cell] or len(found) == self._most):
                break
            budget -= self._cost[cell]
            found.append(cell)
        return self._take(found)

    def _take(self, cells: list[int]) -> list[int]:
        taken = set(cells)
        self.left = [cell for cell in self.left if cell not in taken]
        return cells


def _stage(number: int) -> int:
    return 0 if number % 4 == 0 else 1 if number % 2 == 0 else 2
