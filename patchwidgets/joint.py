"""Places patched together: chosen sets of cells, each one patch."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

from .errors import PatchError, quoted
from .sites import Site, get_site
from .tokens import half_character

Place = dict[str, int]
"""A cell of a site: axis -> index. An axis that is left out is patched whole."""


@dataclass(frozen=True)
class Joint:
    """Named sets of cells; a sweep over a Joint patches each set at once and gives one number per set.

    `sets` maps a name to cells (site name, {axis: index}), for instance the strongest heads together:

    >>> heads = [("z", {"layer": 9, "head": 9}), ("z", {"layer": 9, "head": 6})]
    >>> Joint({"9.9": heads[:1], "9.9 and 9.6": heads}).names
    ('9.9', '9.9 and 9.6')
    """

    sets: Mapping[str, Sequence[tuple[str, Mapping[str, int]]]]

    def __post_init__(self) -> None:
        if not isinstance(self.sets, Mapping) or not self.sets:
            raise PatchError(f"a Joint needs at least one named set of cells, not {quoted(self.sets)}.")
        checked = {_name(name): tuple(_cell(cell, name) for cell in _cells(cells, name)) for name, cells in
                   self.sets.items()}  # fmt: skip
        for name, cells in checked.items():
            _check_apart(name, cells)
        object.__setattr__(self, "sets", checked)

    @property
    def names(self) -> tuple[str, ...]:
        """The sets' names, in order."""
        return tuple(self.sets)

    @property
    def cells(self) -> tuple[tuple[tuple[Site, Place], ...], ...]:
        """The sets' cells, in order."""
        return tuple(tuple((get_site(site), dict(place)) for site, place in cells) for cells in self.sets.values())

    def __hash__(self) -> int:
        return hash(repr(self.sets))


def _check_apart(name: str, cells: Sequence[tuple[str, Place]]) -> None:
    """Raise PatchError where two cells of a set share something; an axis that a cell does not name is patched whole."""
    groups: dict[tuple[str, frozenset[str]], list[Place]] = {}
    for site, place in cells:
        groups.setdefault((site, frozenset(place)), []).append(place)
    for ((site, axes), places), ((other, more), others) in combinations_with_replacement(groups.items(), 2):
        shared = sorted(axes & more)
        first: dict[tuple[int, ...], Place] = {}
        for place in [*places, *(others if others is not places else ())] if site == other else ():
            met = first.setdefault(tuple(place[axis] for axis in shared), place)
            if met is place or (others is not places and met.keys() == place.keys()):
                continue
            if met == place:
                raise PatchError(f"the set {name!r} has the cell {(site, place)} twice; name each once.")
            raise PatchError(f"the set {name!r}: {(site, met)} and {(site, place)} overlap; leave one out.")


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise PatchError(f"a set of a Joint needs a name in letters, not {quoted(name)}.")
    half = half_character(name)
    if half is not None:
        raise PatchError(
            f"the name {quoted(name)} of a Joint's set has {quoted(name[half])}, half of a character; leave it out."
        )
    return name


def _cells(cells: Any, name: str) -> Sequence[Any]:
    if isinstance(cells, (str, Mapping)) or not isinstance(cells, Sequence) or not cells:
        raise PatchError(
            f'the set {name!r} must be a list of cells such as ("z", {{"layer": 9, "head": 9}}), not {quoted(cells)}.'
        )
    return cells


def _cell(cell: Any, name: str) -> tuple[str, Place]:
    if not isinstance(cell, (tuple, list)) or len(cell) != 2 or not isinstance(cell[1], Mapping):
        raise PatchError(f'the set {name!r} has the cell {quoted(cell)}; write ("z", {{"layer": 9, "head": 9}}).')
    site = get_site(cell[0])
    allowed = (*(["layer"] if site.layered else []), *(axis for axis in site.axes if axis))
    place: Place = {}
    for axis, index in cell[1].items():
        if axis not in allowed:
            raise PatchError(f"the set {name!r}: {site.name} has no axis {quoted(axis)}; it has {', '.join(allowed)}.")
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise PatchError(f"the set {name!r}: {axis} must be a whole number, not {quoted(index)}.")
        place[axis] = operator.index(index)
    if site.layered and "layer" not in place:
        raise PatchError(f'the set {name!r}: the cell of {site.name} names no layer; add "layer".')
    if place.get("src", 0) > place.get("dest", 0) >= 0 and "dest" in place:
        raise PatchError(
            f"the set {name!r}: position {place['dest']} never attends to {place['src']}, which comes after it; leave "
            "that cell out."
        )
    return site.name, place
