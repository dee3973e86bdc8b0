"""Sweeps beside the map's, such as of the parts of the model at a cell's token, patched in the way the cell was."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ..engine.handle import ModelHandle
from ..engine.patch import check_plan
from ..engine.plan import Plan, make_plan
from ..engine.run import Run
from ..engine.sweep import start
from ..engine.values import Encode
from ..errors import PatchError
from ..sites import get_site

_LOG = logging.getLogger(__name__)


def plan_behind(
    handle: ModelHandle, plan: Plan, site: str, by: Sequence[str], within: Mapping[str, Sequence[int]], encode: Encode
) -> Plan | Exception:
    """Return the plan of a sweep behind a cell of `plan`, in all its metrics; or what is wrong with it.

    Asks the model: for the worker thread.
    """
    try:
        made = make_plan(
            handle, plan.pair, get_site(site), tuple(by), plan.patch, plan.metrics, within,
            intervention=plan.intervention, seed=plan.seed,
        )  # fmt: skip
        check_plan(handle, made, encode)
    except Exception as error:
        if not isinstance(error, PatchError):
            _LOG.exception("a sweep behind a cell cannot be planned")
        return error
    return made


def begin(handle: ModelHandle, plan: Plan, encode: Encode) -> Run | Exception:
    """Return the run of a plan's sweep, which has begun; or why it could not begin."""
    try:
        return start(handle, plan, encode=encode)
    except Exception as error:
        if not isinstance(error, PatchError):
            _LOG.exception("a sweep beside the map's could not be begun")
        return error
