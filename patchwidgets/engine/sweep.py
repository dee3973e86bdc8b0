"""A sweep at work: the plain runs, then every cell of the plan, batch by batch, into a run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from ..errors import PatchError
from ..interventions import Mask, Patch
from ..metrics import gap_too_small
from ..result import IMPLIED, MEASURED, PENDING, PatchResult
from .baseline import RUNS, Baseline, Edits, Row, no_edits, record
from .gate import Stop, Stopped, undisturbed
from .gradients import Weight, check_mask, make_mask
from .handle import ModelHandle
from .hooked import Value
from .journal import Journal, open_journal
from .lanes import lanes_of
from .measuring import Check, Hooked, Measured, Task
from .memory import budget_for
from .plan import Plan
from .provenance import make_provenance
from .replay.engine import replayable
from .replay.parts import Stack
from .replay.seams import NotReplayable
from .replay.sweeping import Replayed, WrongCells
from .replay.tape import Tapes
from .reported import reported, told
from .run import Run
from .scoring import Scorer
from .standing import make_standing
from .values import Encode, Sources, make_value

ENGINES = (Replayed.name, Hooked.name)


def start(
    handle: ModelHandle,
    plan: Plan,
    batch_size: int | None = None,
    encode: Encode | None = None,
    resume: object = None,
    engine: str | None = None,
    memory: int | None = None,
) -> Run:
    """Start measuring the plan's cells in a thread; those in the journal at `resume` are taken from it.

    `engine` is "replay" or "hooked"; None means the first where it can, else the second. `memory` is how many bytes the
    sweep may take beside the model; None means half of what is free.
    """
    return launch(Sweep(handle, plan, batch_size, encode or _no_datasets, engine, memory), resume)


def launch(sweep: Sweep, resume: object = None) -> Run:
    """Start the sweep in a thread of its own."""
    if resume is not None:
        sweep.journal = open_journal(resume, sweep.handle, sweep.plan, sweep.origin, len(sweep.scorer.items))
    try:
        return as_run(sweep).start()
    except BaseException:
        if sweep.journal is not None:
            sweep.journal.close()
        raise


def as_run(sweep: Sweep) -> Run:
    """Return what the sweep measures into, with nothing measured."""
    plan = sweep.plan
    patched = np.full([len(plan.metrics), len(sweep.scorer.items), plan.status.size], np.nan)
    return Run(sweep.work, patched, plan.status.reshape(-1).copy(), len(plan.order), sweep.report)


def _no_datasets(over: object) -> Any:
    raise PatchError("this sweep was planned without a way to read other datasets.")


class Sweep:
    """The work of one sweep's thread. `plain` holds the metrics of the plain runs, [metric, item, run]."""

    keeps = True

    def __init__(
        self, handle: ModelHandle, plan: Plan, batch_size: int | None, encode: Encode, engine: str | None,
        memory: int | None,
    ) -> None:  # fmt: skip
        self.handle, self.plan, self.batch_size, self.encode = handle, plan, batch_size, encode
        self.wanted = engine
        self.memory = budget_for(handle.device) if memory is None else memory
        self.rate = 1.0
        self.lanes = lanes_of(plan.pairs, plan.samples, plan.metrics)
        if isinstance(plan.intervention, Mask):
            check_mask(plan.metrics[0], self.lanes, bool(plan.standing), plan.patch.base)
        self.scorer = Scorer(plan.metrics, self.lanes, handle.device)
        self.plain = np.full([len(plan.metrics), len(self.scorer.items), len(RUNS)], np.nan)
        self.kept: np.ndarray | None = None
        self.check = Check()
        self.engine = Hooked.name
        self.why_hooked: str | None = None
        self.stack: Stack | None = None
        self.tapes: Tapes | None = None
        self.origin = make_provenance(handle, plan, self.encode)
        self.model: Any = handle.bridge  # Held while the sweep runs: a handle alone does not keep its model.
        self.baseline = Baseline()
        self.standing: Edits = no_edits
        self.value: Value | None = None
        self.weight: Weight | None = None
        self.journal: Journal | None = None
        self.finals: object = None
        self.stop: Stop | None = None

    def work(self, run: Run) -> None:
        """Record the plain runs, then measure every cell of the plan, chunk by chunk.

        A sweep that is cancelled in the plain runs knows nothing, not even those.
        """
        self.stop = lambda: run.cancelling
        try:
            self._begin(run)
            self._measure_all(run)
        except Stopped:
            run.stopped = True
        finally:
            if self.journal is not None:
                self.journal.close()
            self.model = self.value = self.weight = self.stack = self.tapes = self.stop = None
            self.baseline, self.standing = Baseline(), no_edits

    def _begin(self, run: Run) -> None:
        plan, base = self.plan, self.plan.patch.base
        self.standing = undisturbed(
            self.handle.lock, lambda: make_standing(self.handle, plan, self.lanes, self.encode, self.stop)
        )
        self._choose_engine()
        began = time.perf_counter()
        try:
            self.baseline = undisturbed(self.handle.lock, self._record)
        except NotReplayable as reason:
            if self.wanted == Replayed.name:
                raise
            self.stack, self.why_hooked, self.engine = None, str(reason), Hooked.name
            self.baseline = undisturbed(self.handle.lock, self._record)
        rows = sum((1 + self._run_twice((lane, run))) * len(lane.ids(run)) for lane in self.lanes for run in RUNS)
        self.rate = rows * self.handle.n_layers / max(time.perf_counter() - began, 1e-6)
        self.plain = self.scorer.plain(self.baseline)
        if self.journal is not None:
            self.plain = self.journal.begin(self.plain, self.handle.dtype)
        self._make_values()
        run.warning = self.gap_warning()
        implied = np.flatnonzero(plan.status.reshape(-1) == IMPLIED)
        known = self.plain[:, :, [RUNS.index(base)]]
        run.add(implied, np.broadcast_to(known, (*known.shape[:2], len(implied))), IMPLIED)
        if self.journal is not None and len(self.journal.cells):
            self.check.worst, self.check.controls = self.journal.worst, self.journal.controls
            self._note_kept(self.journal.cells)
            run.add(self.journal.cells, self.journal.values, MEASURED)

    def _choose_engine(self) -> None:
        if self.wanted == Hooked.name:
            self.why_hooked = "it was asked for"
            return
        try:
            self.stack = undisturbed(
                self.handle.lock, lambda: replayable(self.handle, self.plan, self.lanes, self.memory)
            )
            self.engine = Replayed.name
        except NotReplayable as reason:
            self.why_hooked = str(reason)
            if self.wanted == Replayed.name:
                raise PatchError(f"this sweep cannot be replayed: {reason}. Leave out engine.") from reason

    def _record(self) -> Baseline:
        plan = self.plan
        stack = self.stack
        self.tapes = None if stack is None else Tapes(self.handle, plan.patch.base, stack.way.mixes)
        hooks = plan.hooks if isinstance(plan.intervention, Patch) else ()
        return record(
            self.handle,
            [(lane, run) for lane in self.lanes for run in RUNS],
            hooks,
            keep=lambda row: row[1] == plan.patch.source,
            whole=plan.whole,
            standing=self.standing,
            recorder=self.tapes,
            twice=self._run_twice,
            stop=self.stop,
        )

    def _run_twice(self, row: Row) -> bool:
        """Return whether a plain run is made twice: not where replayed cells are yet to prove it.

        An unpatched run climbs with them, and two cells are measured again. Of several texts only one climbs.
        """
        pending = bool((self.plan.status == PENDING).any())
        return self.stack is None or not pending or len(self.lanes) > 1 or row[1] == self.plan.patch.source

    def _make_values(self) -> None:
        plan = self.plan
        what = plan.intervention
        sources = Sources(self.handle, self.lanes, plan.patch.base, plan.hooks, plan.seed, self.encode, stop=self.stop)
        if not isinstance(what, Mask):
            self.value = undisturbed(self.handle.lock, lambda: make_value(what, sources, self.baseline))
            return
        metric = plan.metrics[0]
        self.value, self.weight = undisturbed(self.handle.lock, lambda: make_mask(what, sources, metric, self.baseline))
        self.kept = np.full(plan.status.size, np.nan)

    def gap_warning(self) -> str | None:
        small = [
            f"{metric.name} is {clean:.6g} clean and {corrupted:.6g} corrupted"
            for metric, (clean, corrupted) in zip(self.plan.metrics, self.plain.mean(1), strict=True)
            if gap_too_small(clean, corrupted)
        ]
        if not small:
            return None
        return (
            f"the two runs hardly differ: {'; '.join(small)}. Raw effects are given; the normalized effect is NaN. "
            "Choose an answer and a foil, or prompts, that tell the runs apart."
        )

    def _measure_all(self, run: Run) -> None:
        """Measure what is pending; where replayed cells do not agree with hooks, measure all through hooks instead."""
        order = self.plan.order[run.status[self.plan.order] == PENDING]
        assert self.value is not None
        task = Task(
            self.handle, self.plan, self.lanes, self.scorer, self.baseline, self.standing, self.value, self.check,
            self.rate, self.memory, self.batch_size, keeps=self.keeps,
        )  # fmt: skip
        try:
            if len(order):
                self._measure_with(task, order, run)
        finally:
            if task.room.most is not None:
                runs = "one patched run" if task.room.most == 1 else f"{task.room.most} patched runs"
                run.warn(f"the device's memory was full: the sweep went on with {runs} at once.")

    def _measure_with(self, task: Task, order: np.ndarray, run: Run) -> None:
        hooked = Hooked(task)
        if self.stack is None:
            return self._measure(hooked, order, run)
        assert self.tapes is not None
        try:
            replayed = Replayed(task, self.stack, self.tapes)
            self.finals = replayed.finals
            self._measure(replayed, order, run)
        except NotReplayable as reason:
            if self.wanted == Replayed.name:
                raise
            self.why_hooked = str(reason)
            self._measure(hooked, order, run)
        except WrongCells as wrong:
            self.why_hooked = f"replayed runs did not agree with the same runs through hooks ({wrong.told})"
            run.forget(order)
            self.check.reused, self.finals = 0, None
            run.warn(
                f"{self.why_hooked}, so that all were measured through hooks. If the model was not changed "
                "meanwhile, please report this, with its name."
            )  # fmt: skip
            self._measure(hooked, order, run)

    def _measure(self, engine: Hooked | Replayed, order: np.ndarray, run: Run) -> None:
        self.engine = engine.name
        unwritten: list[Measured] = []
        for cells, values in engine.measure(order, run):
            self._note_kept(cells)
            run.add(cells, values, MEASURED)
            unwritten.append((cells, values))
            if engine.settled:
                self._write_down(unwritten, run)
        if engine.settled:  # Its first cells may have been all there were.
            self._write_down(unwritten, run)

    def _write_down(self, unwritten: list[Measured], run: Run) -> None:
        for cells, values in unwritten:
            if self.journal is None or self.journal.trouble is not None:
                break
            self.journal.add(cells, values, self.check.controls, self.check.worst)
            if self.journal.trouble is not None:
                run.warn(self.journal.trouble)
        unwritten.clear()

    def _note_kept(self, cells: np.ndarray) -> None:
        if self.weight is None or self.kept is None:
            return
        for cell in cells.tolist():
            weights = [self.weight(target, lane) for lane in self.lanes for target in self.plan.targets(cell)]
            self.kept[cell] = float(torch.cat(weights).mean())

    def report(self, run: Run) -> PatchResult:
        """Return what is measured so far as a result."""
        engine = {"engine": self.engine, "why_hooked": self.why_hooked, "check": told(self.check)}
        return reported(self.plan, run, self.plain, self.kept, {**self.origin, **engine}, self.finals)
