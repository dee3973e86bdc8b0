"""Shards: a sweep cut into pieces that other processes measure, each an ordinary sweep over some of its cells."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ..errors import PatchError
from ..interventions import Mean, Patch, Resample, Scale, Vector, Zero
from ..metrics import tolerance
from ..prompts import EncodedPair
from ..sites import get_site
from .baseline import RUNS, Baseline
from .handle import handle_of
from .lanes import Lane
from .measuring import Check
from .memory import budget_for
from .plan import Plan
from .recipe import Kitchen, Recipe, changed
from .run import Run
from .sweep import Sweep, as_run
from .values import Encode

_LEAST = 8
"""A shard has at least so many patched runs, unless the sweep has not: each begins with plain runs and a check."""
_STEPS = 4
"""Where the pairs are cut too, cells come in so many steps, coarse to fine."""
_ON_THEIR_OWN = (Patch, Zero, Scale, Vector)
"""Interventions whose values for one pair need no other pair of the dataset."""

KITCHEN = Kitchen()


@dataclass(frozen=True)
class Sent:
    """What all shards of a sweep share.

    Attributes:
        prompts: the other datasets that means and samples are taken from, with their tokens.
        versions: of the packages the numbers depend on.
        beside: how many workers may share a machine's memory, where `memory` does not say what each may take.
    """

    recipe: Recipe
    prompts: tuple[tuple[object, tuple[EncodedPair, ...]], ...]
    versions: dict[str, str]
    batch_size: int | None
    engine: str | None
    memory: int | None
    beside: int


@dataclass(frozen=True, eq=False)
class Shard:
    """A piece of a sweep: `plan` with some of its cells and some of its pairs. Plain data, no model.

    Attributes:
        number: its place among the shards.
        step: the number of its cells' group; a cell is known when all shards of its step are.
        items: first and last (not included) of the sweep's items that it measures; an item is a pair in one sample.
        glance: what `glance_of` says of its plain runs, as the sweep has them.
    """

    number: int
    step: int
    plan: Plan
    items: tuple[int, int]
    glance: np.ndarray
    sent: Sent


@dataclass(frozen=True, eq=False)
class Reply:
    """What a worker gives for a shard: its cells' metrics [metric, item, cell], and how they were measured.

    `error` is what went wrong while measuring; an exception that arrives in any other way is the executor's own.
    """

    worker: str
    values: np.ndarray | None = None
    check: Check = field(default_factory=Check)
    engine: str = ""
    why_hooked: str | None = None
    warning: str | None = None
    error: Exception | None = None


def by_pairs(plan: Plan) -> bool:
    """Return whether the pairs of a sweep may be measured apart: no value of one depends on the others."""
    acting = (plan.intervention, *(stand.intervention for stand in plan.standing))
    return len(plan.pairs) > 1 and all(isinstance(what, _ON_THEIR_OWN) for what in acting)


def glance_of(baseline: Baseline, lanes: Sequence[Lane]) -> np.ndarray:
    """Return two numbers for every lane's plain runs, [lane, run, 2]: a weighed sum of all logits read, and their size.

    Both are in logits: a change that no metric of the sweep can see changes them.
    """
    found = np.empty([len(lanes), len(RUNS), 2])
    for at, lane in enumerate(lanes):
        for run, name in enumerate(RUNS):
            logits = baseline.read[lane, name].reshape(-1).to("cpu", torch.float64)
            turned = torch.arange(len(logits), dtype=torch.float64).cos() * (2 / len(logits)) ** 0.5
            found[at, run] = float(logits @ turned), float(logits.norm() / len(logits) ** 0.5)
    return found


def cut(
    plan: Plan, order: np.ndarray, glance: np.ndarray, lanes: Sequence[Lane], workers: int, sent: Sent
) -> list[Shard]:
    """Return the shards of the cells in `order`, about two for every worker, so that one that is slow holds up little.

    A shard of a dataset repeats the plain runs of its pairs. So the pairs are cut where there are several, and none
    needs another, one piece for every worker; and the cells only into a few steps, for a table that fills in. The cells
    of one pair, or of a dataset whose pairs need each other (means, random draws), are cut into all the shards. Cells
    are dealt in turn: every shard has as many of each layer, and the first to come are spread over the table.
    """
    samples, count = plan.samples, len(plan.pairs)
    most = max(1, min(2 * workers, len(order) * count * samples // _LEAST))
    parts = min(workers, count, most) if by_pairs(plan) else 1
    steps = min(len(order), max(1, -(-most // parts), _STEPS if parts > 1 else 1))
    bounds = [round(part * count / parts) for part in range(parts + 1)]
    found: list[Shard] = []
    for step in range(steps):
        for first, last in pairwise(bounds):
            items = (first * samples, last * samples)
            piece = replace(plan, order=order[step::steps], pairs=plan.pairs[first:last])
            vars(piece)["hooks"] = plan.hooks  # Long to find for a large table, and the same for all.
            own = [first <= lane.number < last for lane in lanes]
            found.append(Shard(len(found), step, piece, items, glance[own], sent))
    return found


def prompts_of(plan: Plan, encode: Encode) -> tuple[tuple[object, tuple[EncodedPair, ...]], ...]:
    """Return the other datasets that the plan's interventions take from, as tokens, so that no tokenizer is asked."""
    acting = (plan.intervention, *(stand.intervention for stand in plan.standing))
    others = [what.over for what in acting if isinstance(what, (Mean, Resample)) and what.over is not None]
    return tuple((over, encode(over)) for over in others)


def check_sendable(plan: Plan, sent: Sent) -> None:
    """Raise PatchError for what cannot be sent to another process."""
    for metric in plan.metrics:
        if not _pickles(metric):
            raise PatchError(
                f"executor=: the metric {metric.name!r} cannot be sent to the workers, as it is a lambda or was made "
                "inside a function. Define it with def in a module that the workers can import."
            )
    if not _pickles(sent.recipe):
        raise PatchError("executor=: the tokenizer given to load_model cannot be sent to the workers; leave it out.")
    if not _pickles((plan, sent)):
        raise PatchError("executor=: something in this sweep cannot be pickled, so that no worker can get it.")


def _pickles(thing: object) -> bool:
    try:
        pickle.dumps(thing)
    except Exception:  # Whatever an object's own pickling raises.
        return False
    return True


def measure(shard: Shard, ticket: str) -> Reply:
    """Measure a shard, in a worker. Several at once in one process are safe: the model's lock is theirs too.

    The ticket makes every call another one: dask takes calls that look alike for one, and remembers that it failed.
    """
    worker = f"{socket.gethostname()}:{os.getpid()}"
    try:
        _stay_single()
        return _measured(shard, worker)
    except Exception as error:
        return Reply(worker, error=_sendable(error))


def _stay_single() -> None:
    """Use one thread in a process that was forked: the parent's threads for matrix products do not exist in it."""
    process: Any = multiprocessing.current_process()
    if getattr(process, "_start_method", None) == "fork" and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def _measured(shard: Shard, worker: str) -> Reply:
    model = KITCHEN.model(shard.sent.recipe)
    handle = handle_of(model)
    handle.check_ready()
    for site in (*shard.plan.sites, *(get_site(stand.site) for stand in shard.plan.standing)):
        handle.shape(site)  # Asked for now: a model cannot be probed in the middle of a pass.
    part = _Part(shard, model)
    run = as_run(part)
    part.work(run)
    values = run.patched[..., shard.plan.order]
    return Reply(worker, values, part.check, part.engine, part.why_hooked, run.warning)


def _sendable(error: Exception) -> Exception:
    """Return an error that can be sent, with its story."""
    if isinstance(error, PatchError):
        return error
    told = "".join(traceback.format_exception(error))
    found = error if _pickles(error) else RuntimeError(f"{type(error).__name__}: {error}")
    found.add_note(f"On the worker:\n{told}")
    return found


class _Part(Sweep):
    """A shard's sweep. Before anything is patched, its plain runs must be those of the whole sweep."""

    keeps = False

    def __init__(self, shard: Shard, model: Any) -> None:
        sent, handle = shard.sent, handle_of(model)
        others = {id(over): found for over, found in sent.prompts}
        memory = sent.memory or budget_for(handle.device) // sent.beside
        super().__init__(handle, shard.plan, sent.batch_size, lambda over: others[id(over)], sent.engine, memory)
        self.shard = shard
        there = self.origin["versions"]
        differ = [f"{name} {there[name]} (here {here})" for name, here in sent.versions.items() if there[name] != here]
        if differ:
            raise PatchError(f"executor=: a worker has {', '.join(differ)}; install the same versions everywhere.")

    def _begin(self, run: Run) -> None:
        super()._begin(run)
        expected = self.shard.glance
        allowed = tolerance(self.handle.dtype, float(np.abs(expected).max(initial=0.0)))
        if not (np.abs(glance_of(self.baseline, self.lanes) - expected) <= allowed).all():
            raise changed(self.shard.sent.recipe)

    def gap_warning(self) -> None:
        """Say nothing: whether the two runs differ is told of all pairs together."""
