"""What a sweep has measured so far, as a result of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..result import IMPLIED, PatchResult, make_data
from .baseline import RUNS
from .measuring import Check
from .plan import Plan
from .run import Run


def reported(
    plan: Plan, run: Run, plain: np.ndarray, kept: np.ndarray | None, origin: dict[str, Any], finals: object
) -> PatchResult:
    """Return what a run knows of its plan as a result.

    `plain` holds the metrics of the plain runs, [metric, item, run]; `kept` the share of each cell that a mask keeps;
    `origin` the provenance; `finals` what a later sweep may take from this one.
    """
    texts = origin["texts"]
    items = (len(plan.metrics), len(plan.pairs), plan.samples)
    patched = run.patched.reshape(*items, -1).mean(2)
    plain = plain.reshape(*items, -1).mean(2)
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
        kept=None if kept is None else kept.copy(),
        pairs=(patched, plain) if len(plan.pairs) > 1 else None,
    )
    return PatchResult(data, origin, finals)


def told(check: Check) -> dict[str, Any]:
    """Return a check as a result's provenance has it."""
    return {
        "controls": check.controls,
        "worst_logit_difference": check.worst,
        "remeasured": check.remeasured,
        "worst_difference": check.apart,
        "wrong": list(check.wrong),
        "reused": check.reused,
    }
