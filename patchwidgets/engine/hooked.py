"""The hooked engine: many cells in one batch of full forward passes, for every architecture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .baseline import Baseline, Edits, Row, forward, no_edits
from .gate import Edit, Stop, check_control, joined
from .handle import ModelHandle
from .lanes import Lane
from .places import index_in
from .plan import Target, hook_of

Value = Callable[[Target, Lane, Tensor], Tensor]
"""(what is written, for whom, the activation that is there now) -> what is to be there, closed attention as it is."""


@dataclass(frozen=True)
class Patched:
    """What a batch of patched runs gave.

    Attributes:
        read: per (cell, lane) the logits at the positions read, [step, vocab].
        whole: the same at all positions, where a metric reads them.
        worst: how far the unpatched rows were from the plain runs.
    """

    read: dict[tuple[int, Lane], Tensor]
    whole: dict[tuple[int, Lane], Tensor]
    worst: float


def run_patched(
    handle: ModelHandle,
    base: str,
    baseline: Baseline,
    cells: Sequence[tuple[int, Lane]],
    targets: Callable[[int], Sequence[Target]],
    value: Value,
    *,
    whole: bool = False,
    standing: Edits = no_edits,
    matched: bool = True,
    controls: bool = True,
    stop: Stop | None = None,
) -> Patched:
    """Run one batch: every row is the base run of a lane with one cell's targets written. All lanes have one length.

    `matched` leaves positions without a counterpart in the other run as they are.

    Call with the handle's lock held. A control row rides along unpatched before and after the cells; both must give
    their plain run's logits again: if they do not, another thread changed what the model computes meanwhile, and
    Disturbed is raised. Without `controls` nothing rides along. When `stop` says so at a layer, Stopped is raised.
    """
    lanes = [lane for _, lane in cells]
    lanes = [lanes[0], *lanes, lanes[-1]] if controls else lanes
    first = 1 if controls else 0
    rows: list[Row] = [(lane, base) for lane in lanes]
    placed = [(i, lane, target) for i, (cell, lane) in enumerate(cells, start=first) for target in targets(cell)]
    edits = joined(standing(rows), edits_for(placed, base, value, matched))
    logits = forward(handle, rows, edits, whole, stop=stop)
    alone = (0, len(rows) - 1) if controls else ()
    worst = max((check_control(logits[i, lanes[i].read], baseline.read[lanes[i], base]) for i in alone), default=0.0)
    read = {key: logits[i, key[1].read] for i, key in enumerate(cells, start=first)}
    return Patched(read, {key: logits[i] for i, key in enumerate(cells, start=first)} if whole else {}, worst)


def edits_for(
    placed: Sequence[tuple[int, Lane, Target]], base: str, value: Value, matched: bool = True
) -> dict[str, Edit]:
    """Return one edit per hook that writes `value` into the given rows of a batch of `base` runs."""
    by_hook: dict[str, list[tuple[int, Lane, Target]]] = defaultdict(list)
    for row, lane, target in placed:
        by_hook[hook_of(target)].append((row, lane, target))
    return {name: _edit(at, base, value, matched) for name, at in by_hook.items()}


def _edit(at: list[tuple[int, Lane, Target]], base: str, value: Value, matched: bool) -> Edit:
    def edit(activation: Tensor) -> Tensor:
        if not all(site.in_place for _, _, (site, _) in at):
            activation = activation.clone()
        for row, lane, (site, place) in at:
            run = activation[row]
            where = index_in(site, place, lane, base, matched=matched)
            run[where] = value((site, place), lane, run[where])
        return activation

    return edit
