"""Interventions that stay in place during all runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import PatchError
from ..interventions import Standing
from ..prompts import EncodedPair
from ..sites import get_site
from .baseline import RUNS, Baseline, Edits, Row, no_edits
from .finite import check_size
from .gate import Edit, Stop, joined
from .handle import ModelHandle
from .hooked import Value, edits_for
from .lanes import Lane
from .plan import Plan, Target, choose
from .values import Encode, Sources, check_vector, make_value


def make_standing(
    handle: ModelHandle, plan: Plan, lanes: Sequence[Lane], encode: Encode, stop: Stop | None = None
) -> Edits:
    """Return the edits of everything that stands, per batch of rows. Call with the handle's lock held.

    Where the model is run for them, Stopped is raised when `stop` says so at a layer.
    """
    if not plan.standing:
        return no_edits
    made = [(stand, _of(handle, plan, i, lanes, encode, stop)) for i, stand in enumerate(plan.standing, start=1)]

    def edits(rows: Sequence[Row]) -> dict[str, Edit]:
        found: dict[str, Edit] = {}
        for stand, values in made:
            for run in RUNS:
                if stand.runs not in (run, "both"):
                    continue
                placed = [
                    (i, lane, target)
                    for i, (lane, of) in enumerate(rows)
                    if of == run
                    for target in targets_of(handle, stand, lane, run)
                ]
                found = joined(found, edits_for(placed, run, values[run], matched=False))
        return found

    return edits


def _of(
    handle: ModelHandle, plan: Plan, number: int, lanes: Sequence[Lane], encode: Encode, stop: Stop | None
) -> dict[str, Value]:
    """Return the values of what stands for either run; its draws go by its number, counted from 1."""
    stand = plan.standing[number - 1]
    site = get_site(stand.site)
    hooks = [site.hook_name(layer) for layer in _layers(handle, stand)]
    sources = {
        run: Sources(handle, lanes, run, hooks, plan.seed, encode, number, stop)
        for run in RUNS
        if stand.runs in (run, "both")
    }
    return {run: make_value(stand.intervention, each, Baseline()) for run, each in sources.items()}


def check_standing(handle: ModelHandle, stand: Standing, pairs: Sequence[EncodedPair]) -> None:
    """Raise PatchError where something cannot stand: no such site or index, or a size that does not fit."""
    site = get_site(stand.site)
    handle.shape(site)
    axes = ("layer", *site.axes) if site.layered else site.axes
    for axis, plural in (("layer", "layers"), ("pos", "positions"), ("head", "heads"), ("neuron", "neurons")):
        if getattr(stand, plural) is not None and axis not in axes:
            raise PatchError(f"Standing: {site.name} has no {plural} to choose; leave out {plural}=.")
    check_size(stand.intervention, handle)
    neurons = None if stand.neurons is None else choose("neuron", stand.neurons, handle.size(site, "neuron"))
    check_vector(stand.intervention, site, handle.shape(site), neurons=neurons)
    runs = RUNS if stand.runs == "both" else (stand.runs,)
    for pair in pairs:
        for run in runs:
            targets_of(handle, stand, Lane(0, pair, 0, 0, "both"), run)


def _layers(handle: ModelHandle, stand: Standing) -> list[int | None]:
    if not get_site(stand.site).layered:
        return [None]
    return list(choose("layer", stand.layers, handle.n_layers))


def targets_of(handle: ModelHandle, stand: Standing, lane: Lane, run: str) -> list[Target]:
    """Return what stands in a run of a lane."""
    site = get_site(stand.site)
    place: dict[str, list[int]] = {}
    for axis, chosen in (("pos", stand.positions), ("head", stand.heads), ("neuron", stand.neurons)):
        if chosen is not None:
            size = len(lane.pair.ids(run)) if axis == "pos" else handle.size(site, axis)
            place[axis] = choose(axis, chosen, size)
    return [(site, place if layer is None else {**place, "layer": layer}) for layer in _layers(handle, stand)]
