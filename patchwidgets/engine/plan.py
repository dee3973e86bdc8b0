"""The plan of a sweep: which cells there are, what each patches, which are known or impossible, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..answers import as_id
from ..errors import PatchError, quoted
from ..interventions import Intervention, Noise, Patch, Resample, Standing
from ..joint import Joint
from ..metrics import Metric
from ..prompts import EncodedPair
from ..result import IMPLIED, PENDING, UNAVAILABLE
from ..sites import Site, get_site, layers_around
from .handle import ModelHandle
from .places import Place

Target = tuple[Site, Place]
"""What is written: a site, and the place in it; the place names the layer where the site has layers."""


@dataclass(frozen=True)
class Plan:
    """A sweep, ready to run.

    Attributes:
        site: the site swept, or the Joint whose sets are.
        by: the axes of a cell.
        patch: the direction: which run is changed.
        intervention: what a cell's activation becomes.
        pairs: the prompt pairs.
        labels: per axis of `by`, the indices in the model that the sweep covers; a Joint's sets by name.
        status: status codes of shape [*by] before the first cell is measured.
        order: flat indices of the cells to measure, coarse to fine over the layers.
        within: axes that are not swept -> the indices to which every patch is confined.
        window: how many layers around its own a cell patches together.
        standing: interventions that stay in place during all runs.
        samples, seed: how many random draws, and what they start from.
    """

    site: Site | Joint
    by: tuple[str, ...]
    patch: Patch
    metrics: tuple[Metric, ...]
    pairs: tuple[EncodedPair, ...]
    labels: Mapping[str, list[int] | list[str]]
    status: np.ndarray
    order: np.ndarray
    intervention: Intervention = field(default_factory=Patch)
    within: dict[str, list[int]] = field(default_factory=dict)
    window: int = 1
    standing: tuple[Standing, ...] = ()
    samples: int = 1
    seed: int = 0
    n_layers: int = 0

    @property
    def name(self) -> str:
        """The name of the site swept, "joint" for a Joint."""
        return "joint" if isinstance(self.site, Joint) else self.site.name

    @property
    def sites(self) -> list[Site]:
        """The sites that are swept, each once."""
        if not isinstance(self.site, Joint):
            return [self.site]
        return list({site.name: site for cells in self.site.cells for site, _ in cells}.values())

    @property
    def pair(self) -> EncodedPair:
        """The pair, the first one of a dataset."""
        return self.pairs[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of cells along each axis."""
        return self.status.shape

    @property
    def whole(self) -> bool:
        """Whether a metric reads the logits of all positions."""
        return any(metric.whole for metric in self.metrics)

    def cell(self, flat: int) -> dict[str, int]:
        """Return the indices of a cell in the model, by axis."""
        where = np.unravel_index(flat, self.shape)
        return {axis: self.labels[axis][int(i)] for axis, i in zip(self.by, where, strict=True)}  # type: ignore[misc]

    def targets(self, flat: int) -> list[Target]:
        """Return what a cell writes."""
        if isinstance(self.site, Joint):
            return [(site, {**self.within, **place}) for site, place in self.site.cells[flat]]
        place = {**self.within, **self.cell(flat)}
        if not self.site.layered:
            return [(self.site, place)]
        around = layers_around(place["layer"], self.window, self.n_layers)
        return [(self.site, {**place, "layer": layer}) for layer in around]

    @cached_property
    def hooks(self) -> list[str]:
        """The names of all hooks the sweep writes to."""
        flats = range(self.status.size)
        return sorted({hook_of(target) for flat in flats for target in self.targets(flat)})


def hook_of(target: Target) -> str:
    """Return the name of the hook a target is at."""
    site, place = target
    return site.hook_name(place.get("layer"))  # type: ignore[arg-type]


def make_plan(
    handle: ModelHandle,
    pairs: EncodedPair | Sequence[EncodedPair],
    site: Site | Joint,
    by: tuple[str, ...],
    patch: Patch,
    metrics: tuple[Metric, ...],
    subsets: Mapping[str, object] | None = None,
    *,
    intervention: Intervention | None = None,
    window: int = 1,
    standing: Sequence[Standing] = (),
    seed: int = 0,
) -> Plan:
    """Return the plan of a sweep.

    `subsets` holds the chosen indices of an axis, None meaning all. On a swept axis they choose the cells; on any other
    axis of the site they confine where a cell writes.
    """
    pairs = (pairs,) if isinstance(pairs, EncodedPair) else tuple(pairs)
    chosen = {axis: value for axis, value in (subsets or {}).items() if value is not None}
    what = intervention or patch
    settings: dict[str, Any] = {"intervention": what, "window": window, "standing": tuple(standing), "seed": seed}
    settings["samples"] = _samples(what, standing)
    for stand in standing:
        handle.shape(get_site(stand.site))
    if isinstance(site, Joint):
        return _joint_plan(handle, pairs, site, patch, metrics, chosen, settings)
    handle.shape(site)
    sizes = {axis: _size(handle, site, axis, pairs, patch.base) for axis in (*by, *chosen) if _has(site, axis)}
    for axis in chosen:
        if axis not in sizes:
            raise PatchError(f"{site.name!r} has no {_NAMES.get(axis, axis)} to choose from; it has {_axes(site)}.")
    if window > 1 and "layer" not in by:
        raise PatchError(f"a window is of layers, and this sweep is by {by}; choose a granularity with layers.")
    labels = {axis: choose(axis, chosen.get(axis), sizes[axis]) for axis in by}
    within = {axis: choose(axis, value, sizes[axis]) for axis, value in chosen.items() if axis not in by}
    if "layer" in within:
        raise PatchError(f"layers cannot be chosen: the sweep is by {by}.")
    status = np.full([len(labels[axis]) for axis in by], PENDING, dtype=np.uint8)
    if isinstance(what, Patch):
        _check_counterparts(within, pairs, patch)
        _mark(status, by, labels, pairs, patch, known=not standing)
    _forbid_acausal(status, by, labels)
    return Plan(
        site, by, patch, metrics, pairs, labels, status, _coarse_to_fine(status, by), within=within,
        n_layers=handle.n_layers, **settings,
    )  # fmt: skip


def _joint_plan(
    handle: ModelHandle,
    pairs: tuple[EncodedPair, ...],
    joint: Joint,
    patch: Patch,
    metrics: tuple[Metric, ...],
    chosen: dict[str, object],
    settings: dict[str, Any],
) -> Plan:
    if chosen or settings["window"] != 1:
        raise PatchError("a Joint names its cells; layers, positions, heads, neurons and window do not apply to it.")
    for site, _ in (cell for cells in joint.cells for cell in cells):
        handle.shape(site)

    def from_zero(site: Site, place: Place) -> dict[str, int]:
        sizes = {axis: _size(handle, site, axis, pairs, patch.base) for axis in place}
        return {axis: choose(axis, index, sizes[axis])[0] for axis, index in place.items()}

    names = list(joint.names)
    sets = [[(site.name, from_zero(site, place)) for site, place in cells] for cells in joint.cells]
    joint = Joint(dict(zip(names, sets, strict=True)))
    status = np.full(len(names), PENDING, dtype=np.uint8)
    if isinstance(settings["intervention"], Patch):
        status[[not _has_counterparts(cells, pairs, patch.base) for cells in joint.cells]] = UNAVAILABLE
    return Plan(
        joint, ("set",), patch, metrics, pairs, {"set": names}, status, np.flatnonzero(status == PENDING),
        n_layers=handle.n_layers, **settings,
    )  # fmt: skip


def _has_counterparts(cells: Sequence[Target], pairs: Sequence[EncodedPair], base: str) -> bool:
    at = [index for _, place in cells for axis, index in place.items() if axis in ("pos", "dest", "src")]
    return all(pair.counterpart(base, index) is not None for pair in pairs for index in at)  # type: ignore[arg-type]


def _check_counterparts(within: Mapping[str, Sequence[int]], pairs: Sequence[EncodedPair], patch: Patch) -> None:
    """Raise PatchError for a position to write at that has nothing to be written: the effect would be a silent 0."""
    for position in within.get("pos", ()):
        if any(pair.counterpart(patch.base, position) is None for pair in pairs):
            raise PatchError(
                f"position {position} of the {patch.base} prompt has no counterpart in the {patch.source} one; leave "
                "it out of positions, or align the prompts otherwise."
            )


def _samples(what: Intervention, standing: Sequence[Standing]) -> int:
    """Return the number of random draws; interventions that draw must agree on it."""
    drawing = [each for each in (what, *(s.intervention for s in standing)) if isinstance(each, (Noise, Resample))]
    counts = {each.samples for each in drawing}
    if len(counts) > 1:
        raise PatchError(f"the interventions ask for {' and '.join(map(str, sorted(counts)))} samples; give all one.")
    return counts.pop() if counts else 1


def _has(site: Site, axis: str) -> bool:
    return (axis == "layer" and site.layered) or axis in site.axes


def _axes(site: Site) -> str:
    return ", ".join([*(["layer"] if site.layered else []), *(axis for axis in site.axes if axis)])


def _size(handle: ModelHandle, site: Site, axis: str, pairs: Sequence[EncodedPair], base: str) -> int:
    if axis not in ("pos", "dest", "src"):
        return handle.size(site, axis)
    lengths = sorted({len(pair.ids(base)) for pair in pairs})
    if len(lengths) > 1:
        raise PatchError(
            f"the {base} prompts have {', '.join(map(str, lengths))} tokens, so a position does not mean one thing; "
            "sweep pw.by_length(model, dataset) one length at a time, or a granularity without positions."
        )
    return lengths[0]


_NAMES = {"pos": "position"}


def choose(axis: str, chosen: object, size: int) -> list[int]:
    """Return the indices chosen along an axis, negative ones counted from the end."""
    if chosen is None:
        return list(range(size))
    axis = _NAMES.get(axis, axis)
    one = as_id(chosen)
    items = [one] if one is not None else list(chosen) if hasattr(chosen, "__iter__") else None  # type: ignore[call-overload]
    indices = [as_id(item) for item in items or ()]
    if not indices or None in indices:
        raise PatchError(f"{axis}s must be one or more whole numbers, not {quoted(chosen)}.")
    found = [index for index in indices if index is not None]
    outside = [item for item in found if not -size <= item < size]
    if outside:
        raise PatchError(f"{axis} {outside[0]} does not exist: there are {size} (0 to {size - 1}).")
    found = [item % size for item in found]
    if len(set(found)) < len(found):
        raise PatchError(f"{axis}s names an index twice: {quoted(chosen)}.")
    return sorted(found)


def _mark(
    status: np.ndarray,
    by: tuple[str, ...],
    labels: Mapping[str, Sequence[int]],
    pairs: Sequence[EncodedPair],
    patch: Patch,
    *,
    known: bool,
) -> None:
    """Mark the cells of a patch that have no counterpart and, when `known`, those before the first differing token.

    There a patch writes what is there already, unless something else stands in one of the runs.
    """
    for axis in ("pos", "dest", "src"):
        if axis not in by:
            continue
        along = np.moveaxis(status, by.index(axis), -1)
        for i, position in enumerate(labels[axis]):
            others = [pair.counterpart(patch.base, position) for pair in pairs]
            if None in others:
                along[..., i] = UNAVAILABLE
            elif known and axis != "src" and all(
                other == position < pair.first_difference for other, pair in zip(others, pairs, strict=True)
            ):  # fmt: skip
                along[..., i][along[..., i] == PENDING] = IMPLIED


def _forbid_acausal(status: np.ndarray, by: tuple[str, ...], labels: Mapping[str, Sequence[int]]) -> None:
    """Mark the cells whose source is after their destination."""
    if "dest" in by and "src" in by:
        dest, src = (
            np.array(labels[axis]).reshape([-1 if name == axis else 1 for name in by]) for axis in ("dest", "src")
        )
        status[np.broadcast_to(src > dest, status.shape)] = UNAVAILABLE


def _coarse_to_fine(status: np.ndarray, by: tuple[str, ...]) -> np.ndarray:
    """Return the pending cells: every fourth layer, then every second, then the rest; within a layer in order."""
    pending = np.flatnonzero(status.reshape(-1) == PENDING)
    if "layer" not in by:
        return pending
    layer = np.unravel_index(pending, status.shape)[by.index("layer")]
    stage = np.where(layer % 4 == 0, 0, np.where(layer % 2 == 0, 1, 2))
    return pending[np.lexsort((pending, stage))]
