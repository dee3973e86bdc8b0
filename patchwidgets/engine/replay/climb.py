"""Patched runs climb the layers together: those that begin at one position share a batch, and rows share a matmul."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..gate import Edit
from ..hooked import Value
from ..places import index_in
from ..plan import Target, hook_of
from .items import Item, between
from .parts import ATTEND, ENTRY, EXIT, FINISH, PROJECT, Stack
from .tape import Tape

Placed = tuple[int, int, int, Item, Target]
"""A row, the first and last position of the rows that are there, and what is written for which run."""

_ROWS = 256
"""The most rows of the residual stream that go through a module at once."""


class Stopped(Exception):
    """The climb was asked to stop."""


@dataclass
class Group:
    """Patched runs that are run together.

    Attributes:
        items: the runs, and their rows on the tape in `rows`.
        first: the position of the first row of `stream`.
        stream: [run, pos, d]: the residual stream from there on, in as many positions as it has.
        attended, projected: what the attention gave there, and its queries, keys and values, once they are known.
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

    def pieces(self, rows: int) -> Iterator[Group]:
        """Yield the group in pieces of at most so many rows, but never less than one run."""
        size = max(1, rows // self.stream.shape[1])
        for at in range(0, len(self), size):
            some = slice(at, at + size)
            attended = None if self.attended is None else self.attended[some]
            yield Group(self.items[some], self.rows[some], self.first, self.stream[some], attended)


class Climb:
    """One batch of patched runs on one tape.

    `reads` are the positions whose final rows are wanted, (first, last). `stop` is asked between two modules.
    """

    def __init__(
        self, stack: Stack, tape: Tape, base: str, value: Value, matched: bool, reads: tuple[int, int],
        stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.stack, self.tape, self.base = stack, tape, base
        self.value, self.matched = value, matched
        self.reads, self.stop = reads, stop
        self.end = tape.length - 1
        self.device = tape.inputs[0].device

    def run(self, items: Sequence[Item], fronts: dict[int, Tensor]) -> Iterator[tuple[Group, Tensor]]:
        """Run the items; yield groups of them and what leaves the last block at `reads`, [run, pos, d].

        `fronts` holds the stream [pos, d] that enters the first block, for the numbers of items that change it.
        """
        entering: dict[int, list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            entering[item.entry].append(number)
        live: list[Group] = []
        layers = len(self.stack.parts)
        for layer in range(min(entering), layers):
            some = entering.get(layer, ())
            attending = [number for number in some if items[number].attends(layer)]
            groups = _joined([*live, *self._begun(items, attending, layer, fronts)])
            for group in groups:
                self._write(group, layer, ENTRY)
            pieces = [piece for group in groups for piece in group.pieces(_ROWS)]
            self._project(pieces, layer)
            for piece in pieces:
                piece.attended = self._attend(piece, layer)
            groups = [part for piece in pieces for part in self._narrowed(piece, layer)]
            groups += self._local(items, [number for number in some if not items[number].attends(layer)], layer)
            live = list(self._finish(groups, layer))
            if layer + 1 < layers:
                live = _joined(self._widened(group, layer) for group in live)
        for group in live:
            yield group, self._read(group)

    def _begun(
        self, items: Sequence[Item], numbers: Sequence[int], layer: int, fronts: dict[int, Tensor]
    ) -> Iterator[Group]:
        """Yield the runs that enter before the layer's attention: the base run from their start on."""
        by_start: dict[int, list[int]] = defaultdict(list)
        for number in numbers:
            by_start[items[number].start].append(number)
        for start, some in by_start.items():
            rows = self._rows(items[number] for number in some)
            stream = self.tape.inputs[layer][rows, start:]
            for at, number in enumerate(some):
                if number in fronts:
                    stream[at] = fronts[number][start:]
            yield Group([items[number] for number in some], rows, start, stream)

    def _local(self, items: Sequence[Item], numbers: Sequence[int], layer: int) -> Iterator[Group]:
        """Yield the runs that enter after the layer's attention: the base run at the positions that they change."""
        by_range: dict[tuple[int, int, int], list[Item]] = defaultdict(list)
        for item in (items[number] for number in numbers):
            found = item.narrow(layer)
            assert found is not None
            by_range[item.start, *self._needed(layer, *found)].append(item)
        for (_, first, last), some in by_range.items():
            rows, at = self._rows(some), slice(first, last + 1)
            yield Group(some, rows, first, self.tape.inputs[layer][rows, at], self.tape.attended[layer][rows, at])

    def _narrowed(self, group: Group, layer: int) -> Iterator[Group]:
        """Yield the group's runs with the positions only at which the layer's output can differ and is needed."""
        ranges: dict[tuple[int, int], list[int]] = defaultdict(list)
        for at, item in enumerate(group.items):
            found = item.narrow(layer)
            ranges[self._needed(layer, *(found or (group.first, self.end)))].append(at)
        for (first, last), some in ranges.items():
            if len(some) == len(group):
                yield group.part(first, last)
                continue
            which = torch.tensor(some, device=self.device)
            assert group.attended is not None
            picked = Group(
                [group.items[at] for at in some], group.rows[which], group.first, group.stream[which],
                group.attended[which],
            )  # fmt: skip
            yield picked.part(first, last)

    def _needed(self, layer: int, first: int, last: int) -> tuple[int, int]:
        """Return the positions that must be finished: after the last layer none but those read."""
        if layer + 1 < len(self.stack.parts):
            return first, last
        first, last = max(first, self.reads[0]), min(last, self.reads[1])
        return (first, last) if first <= last else (first, first - 1)

    def _project(self, pieces: Sequence[Group], layer: int) -> None:
        """Make queries, keys and values, all pieces side by side, where they can be made apart from the attention."""
        part = self.stack.parts[layer]
        for pack in _packed(pieces, _ROWS) if self.stack.projects else ():
            self._ask()
            args, kwargs = self.tape.sides[layer].cut(0, 1, None)
            with self.stack.editing(self._edits(pack.placed(layer, PROJECT), flat=True)):
                made = part.project(pack.joined("stream"), args, kwargs)
            for piece, *own in zip(pack.pieces, *map(pack.apart, made), strict=True):
                piece.projected = own

    def _attend(self, piece: Group, layer: int) -> Tensor:
        self._ask()
        args, kwargs = self.tape.arguments(layer, piece.rows, piece.first)
        placed = [(at, piece.first, piece.last, item, target) for at, item in enumerate(piece.items)
                  for target in item.at(layer, ATTEND)]  # fmt: skip
        with self.stack.editing(self._edits(placed, flat=False)):
            return self.stack.parts[layer].attend(piece.stream, args, kwargs, piece.projected)

    def _finish(self, groups: Sequence[Group], layer: int) -> Iterator[Group]:
        """Yield the groups after the layer. Rows need not know of each other: they go through side by side."""
        pieces = [piece for group in groups if group.stream.shape[1] for piece in group.pieces(_ROWS)]
        for pack in _packed(pieces, _ROWS):
            self._ask()
            args, kwargs = self.tape.sides[layer].cut(0, 1, None)
            with self.stack.editing(self._edits(pack.placed(layer, FINISH), flat=True)):
                out = self.stack.parts[layer].finish(pack.joined("stream"), pack.joined("attended"), args, kwargs)
            for piece, stream in zip(pack.pieces, pack.apart(out), strict=True):
                done = Group(piece.items, piece.rows, piece.first, stream)
                self._write(done, layer, EXIT)
                yield done
        for group in groups:
            if not group.stream.shape[1]:
                yield group

    def _widened(self, group: Group, layer: int) -> Group:
        """Return a group that has come out of a layer with all positions from its start on, the same for all of it."""
        start = group.items[0].start
        if group.first == start and group.last == self.end:
            return group
        stream = self.tape.inputs[layer + 1][group.rows, start:]
        stream[:, group.first - start : group.last - start + 1] = group.stream
        return Group(group.items, group.rows, start, stream)

    def _read(self, group: Group) -> Tensor:
        first, last = self.reads
        final = self.tape.inputs[-1][group.rows, first : last + 1]
        low, high = max(first, group.first), min(last, group.last)
        if low <= high:
            final[:, low - first : high - first + 1] = group.stream[:, low - group.first : high - group.first + 1]
        return final

    def _write(self, group: Group, layer: int, phase: str) -> None:
        """Write into the stream itself, where a block begins or ends."""
        for at, item in enumerate(group.items):
            for target in item.at(layer, phase):
                self._put(group.stream[at], target, item, group.first, group.last, group.first)

    def _edits(self, placed: Sequence[Placed], *, flat: bool) -> dict[str, Edit]:
        """Return the edits of a module's activations: a batch, or with `flat` one text of all rows side by side."""
        by_hook: dict[str, list[Placed]] = defaultdict(list)
        for each in placed:
            by_hook[hook_of(each[4])].append(each)

        def edit_of(at: Sequence[Placed]) -> Edit:
            def edit(activation: Tensor) -> Tensor:
                for row, first, last, item, target in at:
                    run = activation[0] if flat else activation[row]
                    self._put(run, target, item, first, last, first - row if flat else first)
                return activation

            return edit

        return {name: edit_of(at) for name, at in by_hook.items()}

    def _put(self, run: Tensor, target: Target, item: Item, first: int, last: int, origin: int) -> None:
        inside = between(target, first, last)
        if inside is None:
            return
        where = index_in(*inside, item.lane, self.base, matched=self.matched, origin=origin)
        run[where] = self.value(inside, item.lane, run[where])

    def _rows(self, items: Iterable[Item]) -> Tensor:
        return torch.tensor([item.row for item in items], device=self.device)

    def _ask(self) -> None:
        if self.stop():
            raise Stopped


def _joined(groups: Iterable[Group]) -> list[Group]:
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


def _packed(pieces: Iterable[Group], rows: int) -> Iterator[Pack]:
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
