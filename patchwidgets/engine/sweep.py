"""A sweep at work: the plain runs, then every cell of the plan, batch by batch, into a run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import PatchError
from ..interventions import Mask, Patch
from ..metrics import gap_too_small
from ..result import IMPLIED, MEASURED, PENDING, PatchResult, make_data
from .baseline import RUNS, Baseline, Edits, no_edits, record
from .gate import undisturbed
from .gradients import Weight, check_mask, make_mask
from .handle import ModelHandle
from .hooked import Patched, Value, run_patched
from .journal import Journal, open_journal
from .lanes import Lane, lanes_of
from .plan import Plan
from .provenance import make_provenance
from .run import Run
from .scoring import Scorer
from .standing import make_standing
from .values import Encode, Sources, make_value

_CHUNK_SECONDS = 0.3
_CHUNK_ROWS = 8
_CHUNK_TOKENS = 2048


def start(
    handle: ModelHandle,
    plan: Plan,
    batch_size: int | None = None,
    encode: Encode | None = None,
    resume: object = None,
) -> Run:
    """Start measuring the plan's cells in a thread; those in the journal at `resume` are taken from it."""
    sweep = _Sweep(handle, plan, batch_size, encode or _no_datasets)
    if resume is not None:
        sweep.journal = open_journal(resume, handle, plan, sweep.origin, len(sweep.scorer.items))
    patched = np.full([len(plan.metrics), len(sweep.scorer.items), plan.status.size], np.nan)
    return Run(sweep.work, patched, plan.status.reshape(-1).copy(), len(plan.order), sweep.report).start()


def _no_datasets(over: object) -> Any:
    raise PatchError("this sweep was planned without a way to read other datasets.")


class _Sweep:
    """The work of one sweep's thread. `plain` holds the metrics of the plain runs, [metric, item, run]."""

    def __init__(self, handle: ModelHandle, plan: Plan, batch_size: int | None, encode: Encode) -> None:
        self.handle, self.plan, self.batch_size, self.encode = handle, plan, batch_size, encode
        self.lanes = lanes_of(plan.pairs, plan.samples, plan.metrics)
        if isinstance(plan.intervention, Mask):
            check_mask(plan.metrics[0], self.lanes, bool(plan.standing), plan.patch.base)
        self.scorer = Scorer(plan.metrics, self.lanes, handle.device)
        self.plain = np.full([len(plan.metrics), len(self.scorer.items), len(RUNS)], np.nan)
        self.kept: np.ndarray | None = None
        self.worst, self.controls = 0.0, 0
        self.origin = make_provenance(handle, plan, self.encode)
        self.model: Any = handle.bridge  # Held while the sweep runs: a handle alone does not keep its model.
        self.baseline = Baseline()
        self.standing: Edits = no_edits
        self.value: Value | None = None
        self.weight: Weight | None = None
        self.journal: Journal | None = None

    def work(self, run: Run) -> None:
        """Record the plain runs, then measure every cell of the plan in chunks that take a fraction of a second."""
        try:
            self._begin(run)
            self._measure_all(run)
        finally:
            if self.journal is not None:
                self.journal.close()
            self.model = self.value = self.weight = None
            self.baseline, self.standing = Baseline(), no_edits

    def _begin(self, run: Run) -> None:
        plan, base = self.plan, self.plan.patch.base
        self.standing = undisturbed(self.handle.lock, lambda: make_standing(self.handle, plan, self.lanes, self.encode))
        self.baseline = undisturbed(self.handle.lock, self._record)
        self.plain = self.scorer.plain(self.baseline)
        if self.journal is not None:
            self.plain = self.journal.begin(self.plain, self.handle.dtype)
        self._make_values()
        run.warning = self._gap_warning()
        implied = np.flatnonzero(plan.status.reshape(-1) == IMPLIED)
        known = self.plain[:, :, [RUNS.index(base)]]
        run.add(implied, np.broadcast_to(known, (*known.shape[:2], len(implied))), IMPLIED)
        if self.journal is not None and len(self.journal.cells):
            self.worst, self.controls = self.journal.worst, self.journal.controls
            self._note_kept(self.journal.cells)
            run.add(self.journal.cells, self.journal.values, MEASURED)

    def _record(self) -> Baseline:
        plan = self.plan
        hooks = plan.hooks if isinstance(plan.intervention, Patch) else ()
        return record(
            self.handle,
            [(lane, run) for lane in self.lanes for run in RUNS],
            hooks,
            keep=lambda row: row[1] == plan.patch.source,
            whole=plan.whole,
            standing=self.standing,
        )

    def _make_values(self) -> None:
        plan = self.plan
        what = plan.intervention
        sources = Sources(self.handle, self.lanes, plan.patch.base, plan.hooks, plan.seed, self.encode)
        if not isinstance(what, Mask):
            self.value = undisturbed(self.handle.lock, lambda: make_value(what, sources, self.baseline))
            return
        metric = plan.metrics[0]
        self.value, self.weight = undisturbed(self.handle.lock, lambda: make_mask(what, sources, metric, self.baseline))
        self.kept = np.full(plan.status.size, np.nan)

    def _gap_warning(self) -> str | None:
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
        order = self.plan.order[run.status[self.plan.order] == PENDING]
        cap = max(1, _CHUNK_TOKENS // max(len(lane.ids(self.plan.patch.base)) for lane in self.lanes))
        floor = min(_CHUNK_ROWS, cap)
        rows, at = self.batch_size or floor, 0
        while at < len(order) and not run.cancelling:
            cells = order[at : at + max(1, rows // len(self.lanes))]
            started = time.perf_counter()
            values = self._measure(cells, rows, run)
            if values is None:
                return
            if self.batch_size is None:
                seconds = max(time.perf_counter() - started, 1e-6)
                rows = max(floor, min(cap, 2 * rows, round(len(cells) * len(self.lanes) * _CHUNK_SECONDS / seconds)))
            at += len(cells)
            self._write_down(cells, values, run)
            run.add(cells, values, MEASURED)

    def _write_down(self, cells: np.ndarray, values: np.ndarray, run: Run) -> None:
        if self.journal is None or self.journal.trouble is not None:
            return
        self.journal.add(cells, values, self.controls, self.worst)
        if self.journal.trouble is not None:
            run.warning = f"{run.warning} {self.journal.trouble}" if run.warning else self.journal.trouble

    def _measure(self, cells: np.ndarray, rows: int, run: Run) -> np.ndarray | None:
        """Return the metrics of the cells, [metric, item, cell]; None when cancelled between two batches."""
        read: dict[Lane, list[torch.Tensor]] = defaultdict(list)
        whole: dict[Lane, list[torch.Tensor]] = defaultdict(list)
        for batch in _batches(self.lanes, cells.tolist(), rows, self.plan.patch.base):
            if read and run.cancelling:
                return None
            found = undisturbed(self.handle.lock, lambda batch=batch: self._run(batch))
            self.worst, self.controls = max(self.worst, found.worst), self.controls + 1
            for (_, lane), logits in found.read.items():
                read[lane].append(logits)
            for (_, lane), logits in found.whole.items():
                whole[lane].append(logits)
        if not all(torch.isfinite(logits).all() for kept in read.values() for logits in kept):
            raise PatchError("a patched run gave logits that are not finite; check the model's dtype.")
        self._note_kept(cells)
        return self.scorer.patched(read, whole, self.baseline, self.plan.patch.base)

    def _run(self, batch: Sequence[tuple[int, Lane]]) -> Patched:
        assert self.value is not None
        plan = self.plan
        return run_patched(
            self.handle, plan.patch.base, self.baseline, batch, plan.targets, self.value, whole=plan.whole,
            standing=self.standing, matched=isinstance(plan.intervention, Patch),
        )  # fmt: skip

    def _note_kept(self, cells: np.ndarray) -> None:
        if self.weight is None or self.kept is None:
            return
        for cell in cells.tolist():
            weights = [self.weight(target, lane) for lane in self.lanes for target in self.plan.targets(cell)]
            self.kept[cell] = float(torch.cat([weight.reshape(-1) for weight in weights]).mean())

    def report(self, run: Run) -> PatchResult:
        """Return what is measured so far as a result."""
        plan = self.plan
        texts = self.origin["texts"]
        items = (len(plan.metrics), len(plan.pairs), plan.samples)
        patched = run.patched.reshape(*items, -1).mean(2)
        plain = self.plain.reshape(*items, -1).mean(2)
        means, base = patched.mean(1), plain[:, :, RUNS.index(plan.patch.base)]
        # Exactly the base run's numbers, whatever order a mean is summed in.
        implied = run.status == IMPLIED
        patched[:, :, implied] = base[:, :, None]
        means[:, implied] = base.mean(1)[:, None]
        data = make_data(
            plan.by,
            dict(zip(plan.by, plan.shape, strict=True)),
            tuple(metric.name for metric in plan.metrics),
            means,
            run.status.copy(),
            plain[:, :, 0].mean(1).tolist(),
            plain[:, :, 1].mean(1).tolist(),
            list(zip(texts["clean"], texts["corrupted"], strict=True)),
            plan.labels,
            kept=None if self.kept is None else self.kept.copy(),
            pairs=(patched, plain) if len(plan.pairs) > 1 else None,
        )
        check = {"controls": self.controls, "worst_logit_difference": self.worst}
        return PatchResult(data, {**self.origin, "check": check})


def _batches(lanes: Sequence[Lane], cells: Sequence[int], rows: int, base: str) -> Iterator[list[tuple[int, Lane]]]:
    """Yield (cell, lane) batches of at most `rows`, each of one prompt length; per lane the cells come in order."""
    groups: dict[tuple[int, int], list[Lane]] = defaultdict(list)
    for lane in lanes:
        groups[len(lane.ids(base)), lane.kept].append(lane)
    for group in groups.values():
        both = [(cell, lane) for cell in cells for lane in group]
        for begin in range(0, len(both), rows):
            yield both[begin : begin + rows]
