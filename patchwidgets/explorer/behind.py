"""Sweeps beside the map's, such as of the parts of the model at a cell's token, patched in the way the cell was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..engine.handle import ModelHandle
from ..engine.patch import check_plan
from ..engine.plan import Plan, make_plan
from ..engine.run import Run
from ..engine.sweep import start
from ..engine.values import Encode
from ..sites import get_site
from .failing import why


def plan_behind(
    handle: ModelHandle, plan: Plan, site: str, by: Sequence[str], within: Mapping[str, Sequence[int]], encode: Encode
) -> Plan | str:
    """Return the plan of a sweep behind a cell of `plan`, in all its metrics; or why there is none.

    Asks the model: for the worker thread.
    """
    try:
        made = make_plan(
            handle, plan.pair, get_site(site), tuple(by), plan.patch, plan.metrics, within,
            intervention=plan.intervention, seed=plan.seed,
        )  # fmt: skip
        check_plan(handle, made, encode)
    except Exception as error:
        return why(error, "a sweep behind a cell cannot be planned")
    return made


def begin(handle: ModelHandle, plan: Plan, encode: Encode) -> Run | str:
    """Return the run of a plan's sweep, which has begun; or why it could not begin."""
    try:
        return start(handle, plan, encode=encode)
    except Exception as error:
        return why(error, "a sweep beside the map's could not be begun")
