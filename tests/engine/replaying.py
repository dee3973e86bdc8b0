"""What the tests of the replay engine's pieces build: runs and groups by hand, and a sweep stopped before its cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import patchwidgets as pw
from patchwidgets.engine.baseline import RUNS, record
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.lanes import Lane, lanes_of
from patchwidgets.engine.measuring import Check, Task
from patchwidgets.engine.patch import encode
from patchwidgets.engine.plan import Target, make_plan
from patchwidgets.engine.replay.engine import Cell, Replay, replayable
from patchwidgets.engine.replay.groups import Group
from patchwidgets.engine.replay.items import Item
from patchwidgets.engine.replay.parts import Stack
from patchwidgets.engine.replay.tape import Tapes
from patchwidgets.engine.run import Run
from patchwidgets.engine.scoring import Scorer
from patchwidgets.engine.values import Sources, make_value
from patchwidgets.interventions import Intervention, Patch
from patchwidgets.metrics import get_metrics
from patchwidgets.prompts import EncodedPair
from patchwidgets.sites import get_site

TEXTS = tuple("abcdef")
LANE = Lane(0, EncodedPair((1, 2, 3, 4, 5, 6), (1, 2, 9, 4, 8, 6), TEXTS, TEXTS, False), 0, 0, "both")
"""Six tokens; the two texts differ at 2 and 4."""


def target(site: str, **place: int | list[int]) -> Target:
    """Return what is written at a place."""
    return get_site(site), place


def item(
    number: int, targets: Mapping[int, Mapping[str, Sequence[Target]]] | None = None, entry: int = 0, start: int = 0
) -> Item:
    """Return a run that is told by its row."""
    return Item(LANE, number, targets or {}, entry, start)


def group(first: int, runs: int, width: int, number: int = 0, items: Sequence[Item] | None = None) -> Group:
    """Return runs with a stream that says where each number belongs: run * 100 + position."""
    items = [item(number + i) for i in range(runs)] if items is None else list(items)
    rows = torch.tensor([each.row for each in items])
    stream = (rows[:, None] * 100 + torch.arange(first, first + width)).double()[:, :, None].repeat(1, 1, 2)
    return Group(items, rows, first, stream)


@dataclass(frozen=True)
class Sweep:
    """A sweep whose plain runs are on tape."""

    task: Task
    stack: Stack
    tapes: Tapes

    @property
    def replay(self) -> Replay:
        """The engine that has measured nothing yet."""
        return Replay(self.task, self.stack, self.tapes)

    @property
    def cells(self) -> list[Cell]:
        """All that is to be measured."""
        return [(cell, lane) for cell in self.task.plan.order.tolist() for lane in self.task.lanes]

    def given(self, **settings: Any) -> Sweep:
        """Return the same with other settings of its task, whatever its tapes take."""
        return replace(self, task=replace(self.task, **settings))

    def cell(self, **where: int) -> int:
        """Return the number of the cell with these indices."""
        return next(flat for flat in range(self.task.plan.status.size) if self.task.plan.cell(flat) == where)


def sweep(
    model: Any, pairs: Any, site: Any, by: object = None, *, direction: str = "denoise",
    metric: str | Callable[..., Any] | list[Any] = "logit_diff", intervention: Intervention | None = None,
    window: int = 1, memory: int = 10**9, batch_size: int | None = None, align: object = None, rate: float = 1e6,
    **subsets: object,
) -> Sweep:  # fmt: skip
    """Return a sweep as `pw.patch` makes it, ready for its first cell."""
    handle, way = handle_of(model), Patch(direction)
    metrics = get_metrics(metric)
    found = site if isinstance(site, pw.Joint) else get_site(site)
    axes = ("set",) if isinstance(found, pw.Joint) else found.granularity(by)
    encoded = encode(handle, pairs, align=align)
    plan = make_plan(handle, encoded, found, axes, way, metrics, subsets, intervention=intervention, window=window)
    lanes = lanes_of(plan.pairs, plan.samples, metrics)
    stack = replayable(handle, plan, lanes, memory)
    tapes = Tapes(handle, plan.patch.base, stack.way.mixes)
    rows = [(lane, run) for lane in lanes for run in RUNS]
    baseline = record(handle, rows, plan.hooks, whole=plan.whole, recorder=tapes)
    sources = Sources(handle, lanes, plan.patch.base, plan.hooks, plan.seed, lambda over: ())
    task = Task(
        handle, plan, lanes, Scorer(metrics, lanes, handle.device), baseline, lambda rows: {},
        make_value(plan.intervention, sources, baseline), Check(), rate, memory, batch_size,
    )  # fmt: skip
    return Sweep(task, stack, tapes)


def run_of(made: Sweep) -> Run:
    """Return the run of a sweep that has not begun."""
    plan, items = made.task.plan, len(made.task.scorer.items)
    patched = np.full([len(plan.metrics), items, plan.status.size], np.nan)
    return Run(lambda run: None, patched, plan.status.reshape(-1).copy(), len(plan.order), lambda run: None)  # type: ignore[arg-type, return-value]
