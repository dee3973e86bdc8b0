"""What a neuron does over both prompts, as a heatmap's traits: its activation at every token of the plain runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.baseline import RUNS
from ..engine.inspect import Inspection, Keep
from ..result import STATUSES
from ..sites import get_site
from .opened import Opened
from .slots import spread_row, token_columns_of


def watch_of(opened: Opened) -> dict[str, Keep]:
    """Return what must be kept of the runs to show the neuron, nothing where none is open."""
    if opened.active is None:
        return {}
    site, place = opened.active
    return {get_site(site).hook_name(place["layer"]): lambda activation, run: activation[:, :, place["neuron"]]}


def activity_of(opened: Opened, seen: Inspection) -> dict[str, Any] | None:
    """Return the neuron's activation in the clean and the corrupted run, under the tokens of both."""
    if opened.active is None:
        return None
    site, place = opened.active
    pair, hook = opened.plan.pair, get_site(site).hook_name(place["layer"])
    found = [kept[hook][0].float().cpu().numpy() for kept in seen.kept[:2]]
    rows = np.stack([spread_row(pair, values, run) for values, run in zip(found, RUNS, strict=True)])
    there = np.isfinite(rows)
    columns = token_columns_of(pair)
    name = f"neuron {place['layer']}.{place['neuron']}"
    value = "input" if site == "mlp_pre" else "activation"
    return {
        "rows": list(RUNS),
        "columns": columns,
        "effect": rows,
        "status": np.where(there, STATUSES.index("measured"), STATUSES.index("unavailable")),
        "row_title": "run",
        "row_keys": [{}, {}],
        "col_keys": [{"pos": i} for i in range(len(columns["clean"]))],
        "quantity": "effect",
        "limit": float(np.abs(rows[there]).max(initial=0.0)) or 1.0,
        "state": "done",
        "words": {"title": f"{value.capitalize()} of {name}", "unit": value, "value": value},
    }
