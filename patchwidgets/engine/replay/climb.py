"""Patched runs climb the layers together: those that begin at one position share a batch, and rows share a matmul."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..gate import Edit, Stopped
from ..gate import joined as edits_joined
from ..hooked import Value
from ..places import index_in
from ..plan import Target, hook_of
from .groups import Bunch, Group, Placed, bunched, joined, packed
from .items import Item, between
from .parts import Stack
from .seams import ATTEND, ENTRY, FINISH, PROJECT
from .tape import Tape

_ROWS = 512
"""The most rows of the residual stream that go through a module at once."""
_NUMBERS = 1 << 23
"""The most numbers that attention works on at once."""
_IDLE = 1 << 18
"""As many numbers may be computed in vain to save a call."""


@dataclass
class Watch:
    """Keeps what a hook of attention has for one head: by run the rows [dest, src] from a first position on.

    A run that does not attend in the hook's layer has the base run's.
    """

    hook: str
    layer: int
    head: int
    seen: dict[int, tuple[int, Tensor]] = field(default_factory=dict)

    def edit(self, runs: Sequence[tuple[Item, int]], origin: int) -> Edit:
        """Return the edit that looks at a batch of runs with their first positions, whose rows begin at `origin`."""

        def edit(activation: Tensor) -> Tensor:
            for row, (item, first) in enumerate(runs):
                self.seen[id(item)] = (first, activation[row, self.head, first - origin :].clone())
            return activation

        return edit


class Climb:
    """One batch of patched runs on one tape.

    `reads` are the positions whose final rows are wanted, (first, last). `stop` is asked between two modules. `watch`
    looks on.
    """

    def __init__(
        self, stack: Stack, tape: Tape, base: str, value: Value, matched: bool, reads: tuple[int, int],
        stop: Callable[[], bool] = lambda: False, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self.stack, self.way, self.tape, self.base = stack, stack.way, tape, base
        self.value, self.matched = value, matched
        self.reads, self.stop, self.watch = reads, stop, watch
        self.end = tape.length - 1
        self.device = tape.inputs[0].device
        # What attention computes for one row, its scores and what it is given; and for one run, all keys and values.
        self._per_row = tape.length * stack.heads + 3 * tape.inputs[0].shape[-1]
        self._per_run = 2 * tape.length * stack.heads * tape.keys[0].shape[-1]

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
            groups = joined([*live, *self._begun(items, attending, layer, fronts)])
            for group in groups:
                self._write(group, layer)
            pieces = [piece for group in groups for piece in group.pieces(_ROWS, self._runs)]
            self._project(pieces, layer)
            waste = _IDLE / self._per_row if self.way.projects else -1
            for bunch in bunched(pieces, waste, self._size, _NUMBERS):
                self._attend(bunch, layer)
            groups = [part for piece in pieces for part in self._narrowed(piece, layer)]
            groups += self._local(items, [number for number in some if not items[number].attends(layer)], layer)
            live = list(self._finish(groups, layer))
            if layer + 1 < layers:
                live = joined(self._widened(group, layer) for group in live)
        for group in live:
            self._ask()
            yield group, self._read(group)

    @property
    def _runs(self) -> int:
        """How many runs attend at once, however few rows they have."""
        return max(1, _NUMBERS // (self._per_run + self._per_row))

    def _size(self, runs: int, rows: int) -> int:
        return runs * self._per_run + rows * self._per_row

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
        for pack in packed(pieces, _ROWS) if self.way.projects else ():
            self._ask()
            args, kwargs = self.tape.sides[layer].cut(0, 1, None)
            with self.stack.editing(self._edits(pack.placed(layer, PROJECT))):
                made = part.project(pack.joined("stream"), args, kwargs)
            for piece, *own in zip(pack.pieces, *map(pack.apart, made), strict=True):
                piece.projected = own

    def _attend(self, bunch: Bunch, layer: int) -> None:
        """Give every piece what the attention makes of it; runs that begin later have the base run's keys before."""
        self._ask()
        args, kwargs = self.tape.arguments(layer, bunch.rows(), bunch.first, bunch.late())
        placed, row = [], 0
        for piece in bunch.pieces:
            for item in piece.items:
                placed += [(row, piece.first, piece.last, item, target) for target in item.at(layer, ATTEND)]
                row += 1
        projected = (
            [bunch.padded(some) for some in zip(*(p.projected for p in bunch.pieces), strict=True)]
            if self.way.projects
            else []
        )
        stream = bunch.padded([piece.stream for piece in bunch.pieces])
        edits = self._edits(placed, origin=bunch.first)
        if self.watch is not None and self.watch.layer == layer:
            runs = [(item, piece.first) for piece in bunch.pieces for item in piece.items]
            edits = edits_joined(edits, {self.watch.hook: self.watch.edit(runs, bunch.first)})
        with self.stack.editing(edits):
            made = self.stack.parts[layer].attend(stream, args, kwargs, projected, mixing=self.way.mixes)
        for piece, attended in zip(bunch.pieces, bunch.apart(made), strict=True):
            piece.attended = attended

    def _finish(self, groups: Sequence[Group], layer: int) -> Iterator[Group]:
        """Yield the groups after the layer. Rows need not know of each other: they go through side by side."""
        pieces = [piece for group in groups if group.stream.shape[1] for piece in group.pieces(_ROWS)]
        for pack in packed(pieces, _ROWS):
            self._ask()
            args, kwargs = self.tape.sides[layer].cut(0, 1, None)
            with self.stack.editing(self._edits(pack.placed(layer, FINISH))):
                out = self.stack.parts[layer].finish(
                    pack.joined("stream"), pack.joined("attended"), args, kwargs, mixing=self.way.mixes
                )
            for piece, stream in zip(pack.pieces, pack.apart(out), strict=True):
                yield Group(piece.items, piece.rows, piece.first, stream)
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
        final[:, group.first - first : group.last - first + 1] = group.stream
        return final

    def _write(self, group: Group, layer: int) -> None:
        """Write into the stream itself, where a block begins."""
        for at, item in enumerate(group.items):
            for target in item.at(layer, ENTRY):
                self._put(group.stream[at], target, item, group.first, group.last, group.first)

    def _edits(self, placed: Sequence[Placed], origin: int | None = None) -> dict[str, Edit]:
        """Return the edits of activations: of one text with all rows side by side, or of a batch from `origin` on."""
        by_hook: dict[str, list[Placed]] = defaultdict(list)
        for each in placed:
            by_hook[hook_of(each[4])].append(each)

        def edit_of(at: Sequence[Placed]) -> Edit:
            def edit(activation: Tensor) -> Tensor:
                for row, first, last, item, target in at:
                    run = activation[0] if origin is None else activation[row]
                    self._put(run, target, item, first, last, first - row if origin is None else origin)
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
