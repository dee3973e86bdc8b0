"""A dataset's sweep in blocks of pairs: every cell over the first pairs, then over more, so that intervals narrow."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from ..metrics import tolerance
from ..prompts import EncodedPair
from .baseline import RUNS, record
from .gate import Disturbed, Stop, Stopped, undisturbed
from .handle import ModelHandle
from .measuring import Check
from .plan import Plan
from .run import Run
from .shards import by_pairs, glance_of
from .sweep import Sweep, as_run, start
from .unchanged import sums_of, untouched_state_of
from .values import Encode

_FIRST = 4
"""How many pairs the first block has; every further one as many as those before it."""
_AT_ONCE = 32
"""Of so many texts the plain runs are made again at once."""


def start_in_blocks(handle: ModelHandle, plan: Plan, encode: Encode) -> Run:
    """Start measuring a plan's cells in a thread, over its first pairs and then over more.

    The values are those of `start`. Until the first block is done its cells come one by one; after that a snapshot is
    whole, over the pairs of the blocks that are done, `result.n`. Where the values of one pair need others, such as a
    mean over them, or count them, as random draws do, all pairs go in one block.
    """
    ends = block_ends(len(plan.pairs)) if by_pairs(plan) and not plan.standing else [len(plan.pairs)]
    return start(handle, plan, encode=encode) if len(ends) == 1 else BlockRun(handle, plan, encode, ends).start()


def block_ends(pairs: int) -> list[int]:
    """Return after how many pairs each block ends.

    >>> block_ends(30)
    [4, 8, 16, 30]
    """
    ends = [_FIRST]
    while 2 * ends[-1] < pairs:
        ends.append(2 * ends[-1])
    return [pairs] if pairs <= _FIRST else [*ends, pairs]


class _Block(Sweep):
    """The sweep of some of the pairs. `glance` is what `glance_of` says of its plain runs."""

    glance: np.ndarray

    def _begin(self, run: Run) -> None:
        super()._begin(run)
        self.glance = glance_of(self.baseline, self.lanes)

    def check_unchanged(self, stop: Stop) -> None:
        """Make the plain runs again; Disturbed where they are others, Stopped when `stop` says so meanwhile."""
        for at in range(0, len(self.lanes), _AT_ONCE):
            undisturbed(self.handle.lock, lambda some=slice(at, at + _AT_ONCE): self._compare(some, stop))

    def _compare(self, some: slice, stop: Stop) -> None:
        lanes, expected = self.lanes[some], self.glance[some]
        rows = [(lane, run) for lane in lanes for run in RUNS]
        found = glance_of(record(self.handle, rows, twice=lambda row: False, stop=stop), lanes)
        if not (np.abs(found - expected) <= tolerance(self.handle.dtype, float(np.abs(expected).max()))).all():
            raise Disturbed(
                "the model was changed between the pairs of the dataset: those measured first give other logits now. "
                "Run the sweep again."
            )


class BlockRun(Run):
    """The run of a sweep in blocks; `total` counts every cell once for every pair."""

    counts = "cells in single pairs"

    def __init__(self, handle: ModelHandle, plan: Plan, encode: Encode, ends: Sequence[int]) -> None:
        self._handle, self._plan, self._encode, self._ends = handle, plan, encode, ends
        self._shown = self._now = self._part(plan.pairs[: ends[0]])[1]
        super().__init__(
            lambda _: self._measure(), self._shown.patched, self._shown.status, len(plan.order) * len(plan.pairs),
            lambda _: self._shown.snapshot(),
        )  # fmt: skip

    def cancel(self) -> None:
        """Stop the block being measured; those that are done stay."""
        super().cancel()
        self._now.cancel()

    def _part(self, pairs: tuple[EncodedPair, ...]) -> tuple[_Block, Run]:
        """Return the sweep of some of the pairs, and what it measures into."""
        sweep = _Block(self._handle, replace(self._plan, pairs=pairs), None, self._encode, None, None)
        return sweep, as_run(sweep)

    def _seen(self) -> Hashable | None:
        """Return what differs once the model may compute otherwise, without running it; None where nothing tells."""
        with self._handle.lock:
            state = untouched_state_of(self._handle)
            return None if state is None else (state, sums_of(self._handle.bridge))

    def _measure(self) -> None:
        known: tuple[_Block, Run] | None = None
        seen = self._seen()
        for begin, end in zip([0, *self._ends], self._ends, strict=False):
            sweep, part = self._part(self._plan.pairs[begin:end])
            self._now = part
            if self.cancelling:
                self.stopped = True
                return
            if known is None:
                self._show(part)
            part.subscribe(lambda each, cells, since=(begin, end): self._arrived(each, cells, *since))
            sweep.work(part)
            if known is None:
                self._show(part)  # With what there is to warn of.
            if part.stopped or part.done < part.total:
                self.stopped = True
                return
            if known is not None and (seen is None or seen != self._seen()):
                seen = None
                try:
                    known[0].check_unchanged(lambda: self.cancelled)
                except Stopped:
                    self.stopped = True
                    return
            known = (sweep, part) if known is None else self._together(known, (sweep, part), end)
            self._show(known[1])
            self._advance(np.empty(0, dtype=np.int64), end * len(self._plan.order))

    def _arrived(self, part: Run, cells: np.ndarray, begin: int, end: int) -> None:
        """Pass on what a block has measured; its cells are on show only in the first."""
        done = begin * len(self._plan.order) + (end - begin) * part.done
        self._advance(cells if begin == 0 else np.empty(0, dtype=np.int64), done)

    def _advance(self, cells: np.ndarray, done: int) -> None:
        with self._changed:
            self._done = done
            self._news += 1
            self._changed.notify_all()
            listeners = list(self._listeners)
        self._tell(listeners, cells)

    def _show(self, run: Run) -> None:
        with self._changed:
            self._shown, self.patched, self.status, self.warning = run, run.patched, run.status, run.warning

    def _together(self, first: tuple[_Block, Run], second: tuple[_Block, Run], end: int) -> tuple[_Block, Run]:
        """Return two blocks that are done as one over the pairs of both."""
        sweep, run = self._part(self._plan.pairs[:end])
        (one, before), (other, after) = first, second
        sweep.plain = np.concatenate([one.plain, other.plain], 1)
        sweep.glance = np.concatenate([one.glance, other.glance])
        hooked = one if one.why_hooked else other
        sweep.check = both_checks(one.check, other.check)
        sweep.engine, sweep.why_hooked = hooked.engine, hooked.why_hooked
        sweep.finals = None if one.finals is None else other.finals  # Of both: they are kept in one place.
        run.patched[:] = np.concatenate([before.patched, after.patched], 1)
        run.status[:] = after.status
        run.warning = sweep.gap_warning()
        for block, part in (first, second):
            told = (part.warning or "").removeprefix(block.gap_warning() or "").strip()
            if told and told not in (run.warning or ""):
                run.warn(told)
        return sweep, run


def both_checks(one: Check, other: Check) -> Check:
    """Return the checks of two blocks of pairs as one; a cell counts when it was checked, or reused, in both."""
    return Check(
        one.controls + other.controls, max(one.worst, other.worst), min(one.remeasured, other.remeasured),
        max(one.apart, other.apart), [*one.wrong, *other.wrong], min(one.reused, other.reused),
    )  # fmt: skip
