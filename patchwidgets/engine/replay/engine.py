"""The replay engine at work: batches of cells in, logits at the positions read out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...interventions import Patch
from ..gate import Stopped, check_control
from ..handle import ModelHandle
from ..lanes import Lane
from ..measuring import Task
from ..memory import tape_bytes
from ..plan import Plan
from .climb import Climb
from .finals import Kept
from .fronts import fronts
from .items import Item, first_changed, make_item
from .parts import Stack, stack_of
from .proof import prove
from .seams import NotReplayable
from .tape import Tape, Tapes

Cell = tuple[int, Lane]
_LOGITS = 1 << 24
"""The most logits that are made at once."""


def replayable(handle: ModelHandle, plan: Plan, lanes: Sequence[Lane], memory: int) -> Stack:
    """Return the model in parts, proven; NotReplayable says why a sweep cannot be replayed in so many bytes.

    Call with the handle's lock held.
    """
    needed = tape_bytes(handle, sum(map(len, {lane.ids(plan.patch.base) for lane in lanes})))
    if 2 * needed > memory:
        raise NotReplayable(
            f"its base runs would take {needed / 1e9:.2g} GB, more than half of the {memory / 1e9:.2g} GB of memory "
            "that the sweep may take: give it more, or sweep fewer pairs at a time"
        )
    if plan.standing:
        raise NotReplayable("something stands in place during all runs")
    return stack_of(handle, prove).reaching(plan.hooks)


class Known(NamedTuple):
    """A cell in one lane that need not be run: its final rows [pos, d] at the positions read are there."""

    cell: Cell
    item: Item
    rows: Tensor


class Replay:
    """A sweep's base runs on tape, and the model in parts. Call everything with the handle's lock held."""

    def __init__(self, task: Task, stack: Stack, tapes: Tapes) -> None:
        self.task, self.plan, self.stack, self.tapes = task, task.plan, stack, tapes
        self.handle, self.value = task.handle, task.value
        self.base, self.columns = task.plan.patch.base, task.scorer.columns
        self.matched = isinstance(task.plan.intervention, Patch)
        self.first = {lane: first_changed(lane, self.base, self.matched) for lane in task.lanes}
        self.kept = Kept(task, tapes)

    def item(self, cell: Cell) -> Item:
        """Return a cell of one lane as a run to be patched."""
        number, lane = cell
        return make_item(
            lane, self.tapes.rows[lane], self.base, self.plan.targets(number), self.stack.way.phases, self.first[lane],
            self.handle.n_layers,
        )  # fmt: skip

    @torch.no_grad()
    def run(
        self, cells: Sequence[Cell], stop: Callable[[], bool] = lambda: False
    ) -> tuple[dict[Cell, Tensor], dict[Cell, Tensor], float]:
        """Return per cell the logits at the positions read, [step, entry], and where a metric wants them at all.

        An unpatched run climbs along in every batch. Returns how far its logits were from the plain run's too, and
        raises Disturbed where that is more than the precision allows; Stopped when `stop` says so meanwhile.
        """
        groups: dict[tuple[int, int, int], list[Cell]] = defaultdict(list)
        for cell in cells:
            lane = cell[1]
            groups[len(lane.ids(self.base)), lane.kept, lane.steps].append(cell)
        read: dict[Cell, Tensor] = {}
        whole: dict[Cell, Tensor] = {}
        worst = 0.0
        for (length, _, _), some in groups.items():
            worst = max(worst, self._run(self.tapes[length], some, stop, read, whole))
        return read, whole, worst

    def _run(
        self, tape: Tape, cells: Sequence[Cell], stop: Callable[[], bool], read: dict[Cell, Tensor],
        whole: dict[Cell, Tensor],
    ) -> float:  # fmt: skip
        items = [self.item(cell) for cell in cells]
        of = {id(item): cell for item, cell in zip(items, cells, strict=True)}
        lane, reads = cells[0][1], self._reads(tape.length, cells[0][1])
        control = Item(
            lane, self.tapes.rows[lane], {}, min(item.entry for item in items), min(item.start for item in items)
        )
        climb = Climb(self.stack, tape, self.base, self.value, self.matched, reads, stop)
        worst = 0.0
        for group, final in climb.run(
            [*items, control], fronts(self.handle, items, self.base, self.value, self.matched)
        ):
            for item, rows, logits in zip(group.items, final, self._logits(final, group.items, stop), strict=True):
                if item is control:
                    plain = self.task.scorer.narrowed(lane, self.task.baseline.read[lane, self.base])
                    worst = check_control(self._read_of(item, logits), plain)
                    continue
                self.kept.hold(item, reads[0], rows)
                read[of[id(item)]] = self._read_of(item, logits)
                if self.plan.whole:
                    whole[of[id(item)]] = logits
        return worst

    @torch.no_grad()
    def recall(self, known: Sequence[Known], stop: Callable[[], bool]) -> tuple[dict[Cell, Tensor], dict[Cell, Tensor]]:
        """Return what `run` does, of cells whose final rows are known: only the model's head is run."""
        read: dict[Cell, Tensor] = {}
        whole: dict[Cell, Tensor] = {}
        groups: dict[int, list[Known]] = defaultdict(list)
        for each in known:
            groups[len(each.rows)].append(each)
        for some in groups.values():
            items, final = [each.item for each in some], torch.stack([each.rows for each in some])
            for each, logits in zip(some, self._logits(final, items, stop), strict=True):
                read[each.cell] = self._read_of(each.item, logits)
                if self.plan.whole:
                    whole[each.cell] = logits
        return read, whole

    def known(self, number: int) -> list[Known]:
        """Return a cell's final rows in every lane when all are kept, else nothing."""
        found: list[Known] = []
        for lane in self.task.lanes:
            item = self.item((number, lane))
            rows = self.kept.find(item, self._reads(len(lane.ids(self.base)), lane))
            if rows is None:
                return []
            found.append(Known((number, lane), item, rows))
        return found

    def _reads(self, length: int, lane: Lane) -> tuple[int, int]:
        """Return the first and the last position whose final rows are wanted."""
        at = range(length)[lane.read]
        return (0, length - 1) if self.plan.whole else (at[0], at[-1])

    def _read_of(self, item: Item, logits: Tensor) -> Tensor:
        """Return the logits at the positions read, from those that were made."""
        if not self.plan.whole:
            return logits
        logits, columns = logits[item.lane.read], self.columns(item.lane)
        return logits if columns is None else logits[:, columns]

    def _logits(self, final: Tensor, items: Sequence[Item], stop: Callable[[], bool]) -> list[Tensor]:
        """Return per item the logits of its final rows; Stopped when `stop` says so between two pieces."""
        if not self.plan.whole and self.task.scorer.narrow:
            groups: dict[object, list[int]] = defaultdict(list)
            for at, item in enumerate(items):
                groups[self.task.scorer.entries(item.lane)].append(at)
            found: dict[int, Tensor] = {}
            for some in groups.values():
                if stop():
                    raise Stopped
                logits = self.stack.head(final[some], self.columns(items[some[0]].lane))
                found |= dict(zip(some, logits, strict=True))
            return [found[at] for at in range(len(items))]
        size = max(1, _LOGITS // (self.handle.tokenizer.vocab_size * final.shape[1]))
        read: list[Tensor] = []
        for some in final.split(size):
            if stop():
                raise Stopped
            read += self.stack.head(some)
        return read
