"""The order in which a sweep's cells are replayed: together what begins at one position, coarse to fine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ...joint import Joint
from ..lanes import Lane
from ..measuring import Task
from ..memory import row_bytes
from .engine import Replay

_SECONDS = 1.0
_LAST_SECONDS = 3.0
"""What is left is taken at once when it takes no longer."""


class Waves:
    """The cells that are left. `entries` and `starts` say at which layer and position each begins to differ."""

    def __init__(self, replay: Replay, task: Task, order: np.ndarray) -> None:
        self._replay, self._task = replay, task
        self._at = dict(zip(order.tolist(), self._places(order), strict=True))
        self._lengths = [len(lane.ids(replay.base)) for lane in task.lanes]
        self._rows = {start: self._rows_from(start) for start in {start for _, start in self._at.values()}}
        starts, entries = sorted(self._rows), sorted({entry for entry, _ in self._at.values()}, reverse=True)
        position = {start: (_stage(i), i) for i, start in enumerate(starts)}
        level = {entry: (_stage(i), i) for i, entry in enumerate(entries)}
        self._queue = sorted(self._at, key=lambda cell: (position[self._at[cell][1]], level[self._at[cell][0]], cell))
        self._taken: set[int] = set()
        self._from = 0
        self._whole, self._spent = self.cost(self._queue), 0
        self._budget = task.memory // 2
        self._row_bytes, self._logit_bytes = row_bytes(task.handle), task.logit_bytes
        self._most = len(self._at)
        if task.batch_size is not None:
            self._most = max(1, task.batch_size // len(task.lanes))

    def _bytes(self, cell: int) -> int:
        return self._rows[self._at[cell][1]] * self._row_bytes + self._logit_bytes

    def _places(self, order: np.ndarray) -> list[tuple[int, int]]:
        """Return the layer and the position at which each cell enters, the first one of any lane."""
        plan, lanes = self._task.plan, self._task.lanes
        if isinstance(plan.site, Joint):
            items = {cell: [self._replay.item((cell, lane)) for lane in lanes] for cell in order.tolist()}
            return [(min(i.entry for i in some), min(i.start for i in some)) for some in items.values()]
        where = dict(zip(plan.by, np.unravel_index(order, plan.shape), strict=True))
        index = {axis: np.array(plan.labels[axis])[at] for axis, at in where.items()}
        none = np.zeros(len(order), dtype=int)
        entry = np.maximum(index.get("layer", none) - plan.window // 2, 0)
        axis = "dest" if "dest" in plan.site.axes else "pos"
        first = min(self._first(lane) for lane in lanes)
        return list(zip(entry.tolist(), index.get(axis, none + first).tolist(), strict=True))

    def _first(self, lane: Lane) -> int:
        """Return the first position written to in a lane by cells that are not of a position."""
        plan = self._task.plan
        within = plan.within.get("pos", plan.within.get("dest"))
        return min(within) if within else self._replay.first[lane]

    def _rows_from(self, start: int) -> int:
        return sum(max(1, length - start) for length in self._lengths)

    @property
    def left(self) -> bool:
        """Whether there are cells that have not been taken."""
        return len(self._taken) < len(self._at)

    def cost(self, cells: Sequence[int]) -> int:
        """Return about how many rows go through how many blocks for the cells."""
        layers = self._task.handle.n_layers
        return sum((layers - entry) * self._rows[start] for entry, start in map(self._at.__getitem__, cells))

    def cheapest(self, share: float) -> list[int]:
        """Take the cells that enter last, as many as cost no more than a share of all."""
        last = max(entry for entry, _ in self._at.values())
        budget, room, found = share * self._whole, self._budget, []
        for cell in self._queue:
            if self._at[cell][0] != last:
                continue
            budget -= self.cost([cell])
            room -= self._bytes(cell)
            if budget < 0 or (found and room < 0) or len(found) == self._most:
                break
            found.append(cell)
        self._taken.update(found)
        self._spent += self.cost(found)
        return found

    def corners(self) -> list[int]:
        """Return a cell that enters early at the first position, and so climbs all layers, and one late at the last."""
        places = {place: cell for cell, place in self._at.items()}
        entries, starts = ([place[i] for place in places] for i in (0, 1))
        wanted = [(min(entries), min(starts)), (max(entries), max(starts))]
        near = [min(places, key=lambda at, to=to: abs(at[0] - to[0]) + abs(at[1] - to[1])) for to in wanted]
        return list(dict.fromkeys(places[at] for at in near))

    def taken(self, cells: Sequence[int]) -> bool:
        """Return whether all the cells have been taken."""
        return self._taken.issuperset(cells)

    def next(self, rate: float, first: Sequence[int] = ()) -> list[int]:
        """Take cells for about a second, when `rate` rows go through a block a second; what is left of `first` leads.

        Returns none when there are none left.
        """
        left = self._whole - self._spent
        budget = rate * (_LAST_SECONDS if left <= rate * _LAST_SECONDS else _SECONDS)
        room, found = self._budget, []
        for cell in itertools.chain(first, itertools.islice(self._queue, self._from, None)):
            if cell not in self._taken:
                cost, size = self.cost([cell]), self._bytes(cell)
                if found and (budget < cost or room < size or len(found) >= self._most):
                    break
                budget, room = budget - cost, room - size
                found.append(cell)
                self._taken.add(cell)
        while self._from < len(self._queue) and self._queue[self._from] in self._taken:
            self._from += 1
        self._spent += self.cost(found)
        return found


def _stage(number: int) -> int:
    return 0 if number % 4 == 0 else 1 if number % 2 == 0 else 2
