"""Where a cell is in an activation: from axes and indices to what a tensor is indexed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..sites import Site
from .lanes import Lane

Place = Mapping[str, int | Sequence[int]]
"""axis -> one index or several; an axis that is left out is taken whole."""

_POSITIONS = ("pos", "dest", "src")
_ROWS = ("pos", "dest")


def index_in(
    site: Site, place: Place, lane: Lane, base: str, *, matched: bool = False, source: bool = False, origin: int = 0
) -> tuple[Any, ...]:
    """Return the index of a place in one run's activation, without the batch dimension.

    `base` is the run that is changed, whose positions `place` counts. With `matched`, positions without a counterpart
    in the other run are left out where an axis is taken whole; with `source` too, and the index is into the other run,
    at the counterparts. `origin` is the position that an activation of later rows only begins with; `place` names its
    positions then.
    """
    side = int(source) if lane.pair.alignment is not None and (matched or source) else None
    chosen = [_along(axis, place, lane, base, side) for axis in site.axes]
    if origin:
        chosen = [
            _back(along, origin) if axis in _ROWS else along for axis, along in zip(site.axes, chosen, strict=True)
        ]
    lists = [i for i, along in enumerate(chosen) if isinstance(along, list)]
    found: list[Any] = []
    for i, along in enumerate(chosen):
        if not isinstance(along, list):
            found.append(along)
            continue
        # Several lists select their outer product, not pairs: give each a dimension of its own.
        shape = [1] * len(lists)
        shape[lists.index(i)] = len(along)
        found.append(torch.tensor(along, dtype=torch.long, device="cpu").reshape(shape))
    return tuple(found)


def _along(axis: str, place: Place, lane: Lane, base: str, side: int | None) -> int | slice | list[int]:
    value = place.get(axis) if axis else None
    if axis not in _POSITIONS or side is None:
        return slice(None) if value is None else value if isinstance(value, int) else list(value)
    matched = lane.positions(base)
    wanted = None if value is None else [value] if isinstance(value, int) else list(value)
    found = [both[side] for both in matched if wanted is None or both[0] in wanted]
    return found[0] if isinstance(value, int) else found


def _back(along: int | slice | list[int], origin: int) -> int | list[int]:
    assert not isinstance(along, slice)
    return along - origin if isinstance(along, int) else [index - origin for index in along]
