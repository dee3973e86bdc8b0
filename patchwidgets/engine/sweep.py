"""`patch`: from two prompts to a running sweep."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import PatchError, quoted
from ..interventions import Patch
from ..metrics import Metric, gap_too_small, get_metrics
from ..prompts import PromptPair, check_pair, encode_pair, warn_unknown_words
from ..result import IMPLIED, MEASURED, PatchResult, make_data
from ..sites import get_site
from .baseline import RUNS, Baseline, record
from .gate import undisturbed
from .handle import ModelHandle, handle_of
from .hooked import patched_logits
from .plan import Plan, make_plan
from .provenance import make_provenance
from .run import Run

_CHUNK_SECONDS = 0.3
_CHUNK_CELLS = 8
_CHUNK_TOKENS = 2048


def patch(
    model: Any,
    pair: PromptPair,
    site: str,
    *,
    by: str | tuple[str, ...] | None = None,
    direction: str = "denoise",
    metric: str | list[str] | tuple[str, ...] = "logit_diff",
    layers: Any = None,
    positions: Any = None,
    heads: Any = None,
    batch_size: int | None = None,
    prepend_bos: bool | None = None,
) -> Run:
    """Start a sweep: put the other run's activation into the base run, one cell at a time, and read the metric.

    `site` is one of `patchwidgets.sites.SITES`, `by` its granularity, e.g. ("layer", "pos"). `direction="denoise"`
    puts clean activations into the corrupted run, "noise" the reverse. `metric` is one name or several. `layers`,
    `positions` and `heads` restrict the sweep; `batch_size` is the number of cells per forward pass (chosen by itself
    when None).

    Returns a Run at once; `run.wait()` gives the PatchResult with `patched[metric, *by]`. Raises PatchError for
    anything that cannot be done as asked, before anything runs. Source: Vig et al., arXiv 2004.12265; Meng et al.,
    arXiv 2202.05262.

    >>> import patchwidgets as pw
    >>> pair = pw.PromptPair("When Mary and John went to the store, John gave a drink to",
    ...                      "When Anna and John went to the store, John gave a drink to", answer=" Mary", foil=" Anna")
    >>> result = pw.patch(pw.load_model(), pair, "resid_pre").wait()
    >>> result.data["patched"].dims
    ('metric', 'layer', 'pos')
    """
    handle = handle_of(model)
    handle.check_ready()
    chosen = get_site(site)
    granularity = chosen.granularity(by)
    metrics = get_metrics(metric)
    intervention = Patch(direction)
    if batch_size is not None and (not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1):
        raise PatchError(f"batch_size must be a whole number of cells, 1 or more, not {quoted(batch_size)}.")
    if prepend_bos not in (None, True, False):
        raise PatchError(f"prepend_bos must be True, False or None, not {quoted(prepend_bos)}.")
    needs_foil = any(m.needs_foil for m in metrics)
    pair = check_pair(pair)
    encoded = encode_pair(pair, handle.tokenizer, prepend_bos=prepend_bos, needs_foil=needs_foil, rate=handle.rate)
    warn_unknown_words(pair, encoded, handle.tokenizer)
    subsets = {"layer": layers, "pos": positions, "head": heads}
    plan = make_plan(handle, encoded, chosen, granularity, intervention, metrics, subsets)
    return start(handle, plan, batch_size)


def start(handle: ModelHandle, plan: Plan, batch_size: int | None = None) -> Run:
    """Start measuring the plan's cells in a thread."""
    sweep = _Sweep(handle, plan, batch_size)
    patched = np.full([len(plan.metrics), plan.status.size], np.nan)
    return Run(sweep.work, patched, plan.status.reshape(-1).copy(), len(plan.order), sweep.report).start()


def score(metrics: tuple[Metric, ...], logits: Tensor, plan: Plan) -> np.ndarray:
    """Return the metrics of logits [row, vocab] as float64 [metric, row]; half precision is scored in float32."""
    answer, foil = plan.pair.answer, plan.pair.foil
    assert answer is not None
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    return np.stack([metric.score(logits, answer, foil).double().cpu().numpy() for metric in metrics])


@dataclass
class _Sweep:
    """The work of one sweep's thread. `runs` holds the metrics of the two plain runs, [metric, run]."""

    handle: ModelHandle
    plan: Plan
    batch_size: int | None
    baseline: Baseline | None = None
    worst: float = 0.0
    controls: int = 0
    runs: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.runs = np.full([len(self.plan.metrics), len(RUNS)], np.nan)
        self.origin = make_provenance(self.handle, self.plan, {})
        self.model: Any = self.handle.bridge

    def work(self, run: Run) -> None:
        """Record the two runs, then measure every cell of the plan in chunks that take a fraction of a second."""
        try:
            self._sweep(run)
        finally:
            self.model = self.baseline = None

    def _sweep(self, run: Run) -> None:
        self._begin(run)
        order = self.plan.order
        cap = max(1, _CHUNK_TOKENS // self.plan.pair.length)
        floor = min(_CHUNK_CELLS, cap)
        size, at = self.batch_size or floor, 0
        while at < len(order) and not run.cancelling:
            cells = order[at : at + size]
            started = time.perf_counter()
            values = self._measure(cells)
            if self.batch_size is None:
                seconds = max(time.perf_counter() - started, 1e-6)
                size = max(floor, min(cap, 2 * size, round(len(cells) * _CHUNK_SECONDS / seconds)))
            at += len(cells)
            run.add(cells, values, MEASURED)

    def _begin(self, run: Run) -> None:
        plan = self.plan
        hooks = [plan.site.hook_name(layer) for layer in plan.labels["layer"]]
        self.baseline = undisturbed(self.handle.lock, lambda: record(self.handle, plan.pair, hooks))
        self.runs = score(plan.metrics, self.baseline.logits, plan)
        run.warning = self._gap_warning()
        implied = np.flatnonzero(plan.status.reshape(-1) == IMPLIED)
        base = self.runs[:, [RUNS.index(plan.patch.base)]]
        run.add(implied, np.broadcast_to(base, (len(base), len(implied))), IMPLIED)

    def _gap_warning(self) -> str | None:
        small = [
            f"{metric.name} is {clean:.6g} clean and {corrupted:.6g} corrupted"
            for metric, (clean, corrupted) in zip(self.plan.metrics, self.runs, strict=True)
            if gap_too_small(clean, corrupted)
        ]
        if not small:
            return None
        return (
            f"the two runs hardly differ: {'; '.join(small)}. Raw effects are given; the normalized effect is NaN. "
            "Choose an answer and a foil, or prompts, that tell the runs apart."
        )

    def _measure(self, cells: np.ndarray) -> np.ndarray:
        """Return the metrics of the cells, [metric, cell]; a disturbed pass is made again before giving up."""
        assert self.baseline is not None
        baseline = self.baseline
        logits, worst = undisturbed(
            self.handle.lock, lambda: patched_logits(self.handle, self.plan, baseline, cells.tolist())
        )
        if not torch.isfinite(logits).all():
            raise PatchError("a patched run gave logits that are not finite; check the model's dtype.")
        self.worst, self.controls = max(self.worst, worst), self.controls + 1
        return score(self.plan.metrics, logits, self.plan)

    def report(self, run: Run) -> PatchResult:
        """Return what is measured so far as a result."""
        plan = self.plan
        clean, corrupted = self.runs[:, 0].tolist(), self.runs[:, 1].tolist()
        names = tuple(metric.name for metric in plan.metrics)
        data = make_data(
            plan.by,
            dict(zip(plan.by, plan.shape, strict=True)),
            names,
            run.patched.copy(),
            run.status.copy(),
            clean,
            corrupted,
            list(zip(plan.pair.clean_text, plan.pair.corrupted_text, strict=True)),
            plan.labels,
        )
        check = {"controls": self.controls, "worst_logit_difference": self.worst}
        return PatchResult(data, {**self.origin, "check": check})
