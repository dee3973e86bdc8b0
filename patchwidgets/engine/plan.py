"""The plan of a sweep: which cells there are, which are known without computing, and the order of the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import PatchError, quoted
from ..interventions import Patch
from ..metrics import Metric
from ..prompts import EncodedPair
from ..result import IMPLIED, PENDING
from ..sites import Site
from .handle import ModelHandle


@dataclass(frozen=True)
class Plan:
    """A sweep, ready to run.

    Attributes:
        labels: per axis of `by`, the indices in the model that the sweep covers.
        status: status codes of shape [*by] before the first cell is measured.
        order: flat indices of the cells to measure, coarse to fine over the layers.
    """

    site: Site
    by: tuple[str, ...]
    patch: Patch
    metrics: tuple[Metric, ...]
    pair: EncodedPair
    labels: dict[str, list[int]]
    status: np.ndarray
    order: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of cells along each axis."""
        return self.status.shape

    def cell(self, flat: int) -> dict[str, int]:
        """Return the indices of a cell in the model, by axis."""
        where = np.unravel_index(flat, self.shape)
        return {axis: self.labels[axis][int(i)] for axis, i in zip(self.by, where, strict=True)}


def make_plan(
    handle: ModelHandle,
    pair: EncodedPair,
    site: Site,
    by: tuple[str, ...],
    patch: Patch,
    metrics: tuple[Metric, ...],
    subsets: dict[str, object],
) -> Plan:
    """Return the plan of a sweep; `subsets` holds the chosen indices of an axis, None meaning all of them."""
    sizes = {"layer": handle.n_layers, "pos": pair.length, "head": handle.heads(site)}
    labels = {axis: _chosen(axis, subsets.get(axis), sizes[axis]) for axis in by}
    for axis, chosen in subsets.items():
        if chosen is not None and axis not in by:
            raise PatchError(f"{axis} cannot be chosen: the sweep is by {by}. Choose a granularity that has {axis}.")
    for layer in labels["layer"]:
        handle.hook(site, layer)
    status = np.full([len(labels[axis]) for axis in by], PENDING, dtype=np.uint8)
    if "pos" in by:
        before = np.array(labels["pos"]) < pair.first_difference
        np.moveaxis(status, by.index("pos"), -1)[..., before] = IMPLIED
    return Plan(site, by, patch, metrics, pair, labels, status, _coarse_to_fine(status, by))


_NAMES = {"pos": "position"}


def _chosen(axis: str, chosen: object, size: int) -> list[int]:
    """Return the indices chosen along an axis, negative ones counted from the end."""
    if chosen is None:
        return list(range(size))
    axis = _NAMES.get(axis, axis)
    items = [chosen] if isinstance(chosen, int) else list(chosen) if hasattr(chosen, "__iter__") else None  # type: ignore[call-overload]
    if not items or any(isinstance(item, bool) or not isinstance(item, (int, np.integer)) for item in items):
        raise PatchError(f"{axis}s must be one or more whole numbers, not {quoted(chosen)}.")
    outside = [item for item in items if not -size <= item < size]
    if outside:
        raise PatchError(f"{axis} {outside[0]} does not exist: there are {size} (0 to {size - 1}).")
    indices = [int(item) % size for item in items]
    if len(set(indices)) < len(indices):
        raise PatchError(f"{axis}s names an index twice: {quoted(chosen)}.")
    return sorted(indices)


def _coarse_to_fine(status: np.ndarray, by: tuple[str, ...]) -> np.ndarray:
    """Return the pending cells: every fourth layer, then every second, then the rest; within a layer in order."""
    pending = np.flatnonzero(status.reshape(-1) == PENDING)
    layer = np.unravel_index(pending, status.shape)[by.index("layer")]
    stage = np.where(layer % 4 == 0, 0, np.where(layer % 2 == 0, 1, 2))
    return pending[np.lexsort((pending, stage))]
