"""Patched runs that are run together: those that begin at one position; and how they share a module's call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..plan import Target
from .items import Item

Placed = tuple[int, int, int, Item, Target]
"""A row, the first and last position of the rows that are there, and what is written for which run."""


@dataclass
class Group:
    """Patched runs that are run together.

    Attributes:
        items: the runs, and their rows on the tape in `rows`.
        first: the position of the first row of `stream`.
        stream: [run, pos, d]: the residual stream from there on, in as many positions as it has.
        attended, projected: what the attention gave there, and its queries, keys and values, once they are known.
            Joining forgets them.
    """

    items: list[Item]
    rows: Tensor
    first: int
    stream: Tensor
    attended: Tensor | None = None
    projected: Sequence[Tensor] | None = None

    @property
    def last(self) -> int:
        """The position of the last row."""
        return self.first + self.stream.shape[1] - 1

    def __len__(self) -> int:
        return len(self.items)

    def part(self, first: int, last: int) -> Group:
        """Return the group with the positions first to last only, past its attention."""
        at = slice(first - self.first, last - self.first + 1)
        attended = None if self.attended is None else self.attended[:, at]
        return Group(self.items, self.rows, first, self.stream[:, at], attended)

    def pieces(self, rows: int, runs: int | None = None) -> Iterator[Group]:
        """Yield the group in pieces of at most so many rows and runs, but never less than one run."""
        size = max(1, rows // self.stream.shape[1])
        size = size if runs is None else min(size, runs)
        for at in range(0, len(self), size):
            some = slice(at, at + size)
            attended = None if self.attended is None else self.attended[some]
            yield Group(self.items[some], self.rows[some], self.first, self.stream[some], attended)


def joined(groups: Iterable[Group]) -> list[Group]:
    """Return the groups with those that begin at one position made one."""
    by_first: dict[int, list[Group]] = defaultdict(list)
    for group in groups:
        by_first[group.first].append(group)
    return [
        some[0]
        if len(some) == 1
        else Group(
            [item for group in some for item in group.items],
            torch.cat([group.rows for group in some]),
            first,
            torch.cat([group.stream for group in some]),
        )
        for first, some in by_first.items()
    ]


@dataclass(frozen=True)
class Pack:
    """Pieces whose rows stand side by side, as one text."""

    pieces: list[Group]

    def joined(self, name: str) -> Tensor:
        """Return a tensor of every piece as [1, row, .]."""
        return torch.cat([getattr(piece, name).flatten(0, 1) for piece in self.pieces])[None]

    def apart(self, rows: Tensor) -> list[Tensor]:
        """Return [1, row, .] as a tensor [run, pos, .] for every piece."""
        sizes = [len(piece) * piece.stream.shape[1] for piece in self.pieces]
        parts = rows[0].split(sizes)
        return [part.unflatten(0, piece.stream.shape[:2]) for part, piece in zip(parts, self.pieces, strict=True)]

    def placed(self, layer: int, phase: str) -> list[Placed]:
        """Return what is written in a phase: the row at which a run's own begin, their positions, and the target."""
        found, begin = [], 0
        for piece in self.pieces:
            for item in piece.items:
                found += [(begin, piece.first, piece.last, item, target) for target in item.at(layer, phase)]
                begin += piece.stream.shape[1]
        return found


def packed(pieces: Iterable[Group], rows: int) -> Iterator[Pack]:
    """Yield the pieces in packs of at most so many rows, but never less than one piece."""
    held: list[Group] = []
    size = 0
    for piece in pieces:
        more = len(piece) * piece.stream.shape[1]
        if held and size + more > rows:
            yield Pack(held)
            held, size = [], 0
        held.append(piece)
        size += more
    if held:
        yield Pack(held)


@dataclass(frozen=True)
class Bunch:
    """Pieces that attend in one call, from the first position of any on: what begins later has rows that do not count.

    Attributes:
        pieces: groups with queries, keys and values, in the order of their first positions.
    """

    pieces: list[Group]

    @property
    def first(self) -> int:
        """The first position of any."""
        return self.pieces[0].first

    def rows(self) -> Tensor:
        """Return every run's row on the tape."""
        return torch.cat([piece.rows for piece in self.pieces])

    def late(self) -> Tensor | None:
        """Return [run, pos]: whether a run begins later than there; None when all begin together."""
        if self.pieces[-1].first == self.first:
            return None
        device = self.pieces[0].stream.device
        firsts = torch.tensor([piece.first for piece in self.pieces for _ in piece.items], device=device)
        return torch.arange(self.first, self.pieces[0].last + 1, device=device) < firsts[:, None]

    def padded(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return tensors [run, pos, .] of the pieces as one, with zeros where a run has not begun."""
        short = [piece.first - self.first for piece in self.pieces]
        return torch.cat([F.pad(each, (0, 0, by, 0)) if by else each for each, by in zip(tensors, short, strict=True)])

    def apart(self, rows: Tensor) -> Iterator[Tensor]:
        """Yield [run, pos, .] as a tensor for every piece, from its first position on."""
        for piece, own in zip(self.pieces, rows.split([len(piece) for piece in self.pieces]), strict=True):
            yield own[:, piece.first - self.first :]


def bunched(pieces: Iterable[Group], waste: float, size_of: Callable[[int, int], int], most: int) -> Iterator[Bunch]:
    """Yield the pieces in bunches in which at most `waste` rows do not count, but never less than one piece.

    `size_of(runs, rows)` is what attention takes for them, at most `most` for a bunch of several pieces.
    """
    held: list[Group] = []
    idle = runs = rows = 0
    for piece in sorted(pieces, key=lambda piece: piece.first):
        width = piece.stream.shape[1]
        late = len(piece) * (piece.first - held[0].first) if held else 0
        more = size_of(runs + len(piece), rows + len(piece) * width + late)
        if held and (idle + late > waste or more > most):
            yield Bunch(held)
            held, idle, runs, rows, late = [], 0, 0, 0, 0
        held.append(piece)
        idle, runs, rows = idle + late, runs + len(piece), rows + len(piece) * width + late
    if held:
        yield Bunch(held)
