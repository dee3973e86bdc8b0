"""Patched runs as the replay engine sees them: what is written in which layer, from which position on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...prompts import EncodedPair
from ..lanes import Lane
from ..plan import Target, hook_of
from .seams import ATTEND, ENTRY, FRONT, PROJECT


@dataclass(frozen=True)
class Item:
    """One patched run.

    Attributes:
        lane, row: the text that is run, and its row on the tape.
        targets: layer -> phase -> what is written there; every place names its positions.
        entry: the first layer that differs from the base run.
        start: the first position that does.
    """

    lane: Lane
    row: int
    targets: Mapping[int, Mapping[str, Sequence[Target]]]
    entry: int
    start: int

    def at(self, layer: int, phase: str) -> Sequence[Target]:
        """Return what is written in a layer's phase."""
        return self.targets.get(layer, {}).get(phase, ())

    def narrow(self, layer: int) -> tuple[int, int] | None:
        """Return the first and last position at which a layer's output can differ, in the layer the run enters.

        None stands for all from `start` on.
        """
        here = self.targets.get(layer, {})
        spreads = any(
            phase in (FRONT, ENTRY) or (phase in (PROJECT, ATTEND) and not site.own_row)
            for phase, targets in here.items()
            for site, _ in targets
        )
        if layer != self.entry or spreads or not here:
            return None
        at = [p for targets in here.values() for target in targets for p in positions_of(target)]
        return min(at), max(at)

    def attends(self, layer: int) -> bool:
        """Return whether the attention must be run in the layer that is entered, as when nothing is written at all."""
        return not self.targets or any(self.at(layer, phase) for phase in (FRONT, ENTRY, PROJECT, ATTEND))


def positions_of(target: Target) -> list[int]:
    """Return the positions a target writes at."""
    value: Any = target[1][rows_axis(target)]
    return [value] if isinstance(value, int) else list(value)


def rows_axis(target: Target) -> str:
    """Return the axis of a site that counts the rows of the residual stream."""
    return "dest" if "dest" in target[0].axes else "pos"


def make_item(
    lane: Lane,
    row: int,
    base: str,
    targets: Sequence[Target],
    phases: Mapping[str, str],
    known: int,
    layers: int,
) -> Item:
    """Return a patched run. `phases` has every target's hook.

    `known` is the first position a target without positions can change. A run in which nothing is written is the base
    run; it enters the last of the `layers` at the last position.
    """
    length = len(lane.ids(base))
    found: dict[int, dict[str, list[Target]]] = defaultdict(lambda: defaultdict(list))
    for target in targets:
        phase = phases[hook_of(target)] if target[0].layered else FRONT
        full = _with_positions(target, length, known)
        if not positions_of(full):
            continue
        found[full[1].get("layer", 0)][phase].append(full)  # type: ignore[index]
    each = [target for phases_of in found.values() for listed in phases_of.values() for target in listed]
    if not each:
        return Item(lane, row, {}, layers - 1, length - 1)
    start = min(p for target in each for p in positions_of(target))
    return Item(lane, row, {layer: dict(phases_of) for layer, phases_of in found.items()}, min(found), start)


def first_changed(lane: Lane, base: str, matched: bool) -> int:
    """Return the first position at which what is not confined to positions can change anything.

    `matched` says whether what is written is the other run's.
    """
    if not matched:
        return 0
    pair, length = lane.pair, len(lane.ids(base))
    return next(p for p in range(length + 1) if p >= pair.first_difference or _moved(pair, base, p))


def _moved(pair: EncodedPair, base: str, position: int) -> bool:
    return position < len(pair.ids(base)) and pair.counterpart(base, position) != position


def _with_positions(target: Target, length: int, known: int) -> Target:
    site, place = target
    axis = rows_axis(target)
    if axis in place:
        return target
    return site, {**place, axis: list(range(known, length))}


def between(target: Target, first: int, last: int) -> Target | None:
    """Return the part of a target at positions first to last, None where there is nothing."""
    site, place = target
    axis = rows_axis(target)
    value: Any = place[axis]
    if isinstance(value, int):
        return target if first <= value <= last else None
    inside = [p for p in value if first <= p <= last]
    return (site, {**place, axis: inside}) if inside else None
