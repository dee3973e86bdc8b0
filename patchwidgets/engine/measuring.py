"""From cells to values: what every engine needs of a sweep, and the hooked engine's way through the cells."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..interventions import Patch
from .baseline import Baseline, Edits
from .finite import check_logits
from .gate import Stop, Stopped, undisturbed
from .handle import ModelHandle
from .hooked import Patched, Value, run_patched
from .lanes import Lane
from .memory import Room, element_bytes, text_bytes
from .plan import Plan
from .run import Run
from .scoring import Scorer

_CHUNK_SECONDS = 1.0
_CHUNK_ROWS = 8
_CHUNK_TOKENS = (256, 2048)
"""Rows of fewer tokens cost more each; more at once gain nothing."""

Measured = tuple[np.ndarray, np.ndarray]
"""Cells, and their metrics [metric, item, cell]."""


@dataclass
class Check:
    """How often and how well a sweep's numbers agreed with a second computation of them.

    Attributes:
        controls, worst: batches with rows that were not patched, and the largest difference of their logits.
        remeasured: cells of another engine that were measured again through hooks; `apart` is the largest difference.
        wrong: the cells among them that did not agree.
        reused: cells taken from an earlier sweep that ran them.
    """

    controls: int = 0
    worst: float = 0.0
    remeasured: int = 0
    apart: float = 0.0
    wrong: list[dict[str, object]] = field(default_factory=list)
    reused: int = 0


@dataclass(frozen=True)
class Task:
    """A sweep whose plain runs are known.

    Attributes:
        rate: how many rows went through a block a second in those.
        memory: how many bytes the sweep may take beside the model.
        room: what the device has turned out to hold.
        keeps: whether later sweeps may take its cells, and it theirs.
    """

    handle: ModelHandle
    plan: Plan
    lanes: Sequence[Lane]
    scorer: Scorer
    baseline: Baseline
    standing: Edits
    value: Value
    check: Check
    rate: float
    memory: int
    batch_size: int | None = None
    room: Room = field(default_factory=Room)
    keeps: bool = True

    @property
    def logit_bytes(self) -> int:
        """The bytes of the logits that are kept of a cell until it is scored."""
        if self.scorer.narrow:
            return 0
        kept = [len(lane.ids(self.plan.patch.base)) if self.plan.whole else lane.steps for lane in self.lanes]
        return sum(kept) * self.handle.tokenizer.vocab_size * element_bytes(self.handle)

    def score(
        self, cells: Sequence[int], read: Mapping[tuple[int, Lane], torch.Tensor],
        whole: Mapping[tuple[int, Lane], torch.Tensor],
    ) -> np.ndarray:  # fmt: skip
        """Return the metrics of cells, [metric, item, cell], from the logits of each in every lane."""
        written = (self.plan.intervention, *(stand.intervention for stand in self.plan.standing))
        check_logits(read.values(), written, self.handle)
        by_lane = {lane: [read[cell, lane] for cell in cells] for lane in self.lanes}
        wholes = {lane: [whole[cell, lane] for cell in cells] for lane in self.lanes} if whole else {}
        return self.scorer.patched(by_lane, wholes, self.baseline, self.plan.patch.base)


class Hooked:
    """The hooked engine: batches of full forward passes, of a size that takes about a second where that is not set."""

    name = "hooked"
    settled = True

    def __init__(self, task: Task) -> None:
        self.task = task

    def measure(self, order: np.ndarray, run: Run) -> Iterator[Measured]:
        """Yield the cells in their order with their values, until the run is cancelled."""
        task = self.task
        cap = self._most_rows()
        floor = min(max(_CHUNK_ROWS, _CHUNK_TOKENS[0] // self._longest), cap)
        rows, at = task.batch_size or floor, 0
        while at < len(order) and not run.cancelling:
            cells = order[at : at + max(1, rows // len(task.lanes))]
            started = time.perf_counter()
            values = self.values(cells.tolist(), rows, run, stop=lambda: run.cancelling)
            if values is None:
                return
            if task.batch_size is None:
                seconds = max(time.perf_counter() - started, 1e-6)
                rows = max(floor, min(cap, 2 * rows, round(len(cells) * len(task.lanes) * _CHUNK_SECONDS / seconds)))
            at += len(cells)
            yield cells, values

    def _most_rows(self) -> int:
        """Return how many patched runs may go through the model at once."""
        task = self.task
        length = self._longest
        kept = length if task.plan.whole else max(lane.kept for lane in task.lanes)
        fit = task.memory // 2 // text_bytes(task.handle, length, kept) - 2
        return max(1, min(_CHUNK_TOKENS[1] // length, fit))

    @property
    def _longest(self) -> int:
        """How many tokens the longest base run has."""
        return max(len(lane.ids(self.task.plan.patch.base)) for lane in self.task.lanes)

    def values(
        self, cells: Sequence[int], rows: int, run: Run | None = None, *, controls: bool = True,
        stop: Stop | None = None,
    ) -> np.ndarray | None:  # fmt: skip
        """Return the metrics of the cells, [metric, item, cell].

        None when `run` was cancelled between two batches, or when `stop` says so at a layer of one.

        Without `controls` no unpatched rows ride along: something else that acts on the model goes unnoticed.
        """
        task = self.task
        read: dict[tuple[int, Lane], torch.Tensor] = {}
        whole: dict[tuple[int, Lane], torch.Tensor] = {}
        left = list(_batches(task.lanes, cells, min(rows, self._most_rows()), task.plan.patch.base))[::-1]
        while left:
            batch = left.pop()
            if read and run is not None and run.cancelling:
                return None
            pieces = task.room.cut(batch)
            try:
                found = self._tried(pieces[0], controls, stop)
            except Stopped:
                return None
            if found is None:
                task.room.shrink(len(pieces[0]))
                left.append(batch)
                continue
            left += [list(piece) for piece in pieces[:0:-1]]
            task.check.worst = max(task.check.worst, found.worst)
            task.check.controls += controls
            read |= {key: task.scorer.narrowed(key[1], logits) for key, logits in found.read.items()}
            whole |= found.whole
        return task.score(cells, read, whole)

    def _tried(self, batch: Sequence[tuple[int, Lane]], controls: bool, stop: Stop | None) -> Patched | None:
        """Return what a batch gave, None when it does not fit into the device's memory; Stopped when `stop` says so."""
        try:
            return undisturbed(self.task.handle.lock, lambda: self._run(batch, controls, stop))
        except torch.OutOfMemoryError:
            return None

    def _run(self, batch: Sequence[tuple[int, Lane]], controls: bool, stop: Stop | None) -> Patched:
        task, plan = self.task, self.task.plan
        return run_patched(
            task.handle, plan.patch.base, task.baseline, batch, plan.targets, task.value, whole=plan.whole,
            standing=task.standing, matched=isinstance(plan.intervention, Patch), controls=controls,
            stop=stop,
        )  # fmt: skip


def _batches(lanes: Sequence[Lane], cells: Sequence[int], rows: int, base: str) -> Iterator[list[tuple[int, Lane]]]:
    """Yield (cell, lane) batches of at most `rows`, each of one prompt length; per lane the cells come in order."""
    groups: dict[tuple[int, int], list[Lane]] = defaultdict(list)
    for lane in lanes:
        groups[len(lane.ids(base)), lane.kept].append(lane)
    for group in groups.values():
        both = [(cell, lane) for cell in cells for lane in group]
        for begin in range(0, len(both), rows):
            yield both[begin : begin + rows]
