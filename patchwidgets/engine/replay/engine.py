"""The replay engine at work: batches of cells in, logits at the positions read out."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...interventions import Patch
from ..gate import hooked
from ..handle import ModelHandle
from ..hooked import Value, edits_for
from ..lanes import Lane
from ..plan import Plan, Target
from .climb import Climb
from .items import Item, make_item
from .parts import FRONT, NotReplayable, Stack, stack_of
from .proof import prove
from .tape import Tape, Tapes

Cell = tuple[int, Lane]
_LOGITS = 1 << 24
"""The most logits that are made at once."""


def replayable(handle: ModelHandle, plan: Plan) -> Stack:
    """Return the model in parts, proven; NotReplayable says why a sweep cannot be replayed.

    Call with the handle's lock held.
    """
    if plan.standing:
        raise NotReplayable("something stands in place during all runs")
    stack = stack_of(handle, prove)
    missing = [name for name in plan.hooks if name.startswith("blocks.") and name not in stack.phases]
    if missing:
        raise NotReplayable(f"{missing[0]} is not in one half of a block alone")
    return stack


class Replay:
    """A sweep's base runs on tape, and the model in parts. Call everything with the handle's lock held.

    `columns` gives the vocabulary's entries that a lane's metrics read, None meaning all.
    """

    def __init__(
        self, handle: ModelHandle, plan: Plan, stack: Stack, tapes: Tapes, value: Value,
        columns: Callable[[Lane], Tensor | None],
    ) -> None:  # fmt: skip
        self.handle, self.plan, self.stack, self.tapes, self.value = handle, plan, stack, tapes, value
        self.base, self.columns = plan.patch.base, columns
        self.matched = isinstance(plan.intervention, Patch)

    def item(self, cell: Cell) -> Item:
        """Return a cell of one lane as a run to be patched."""
        number, lane = cell
        known = _known(lane, self.base) if self.matched else 0
        return make_item(lane, self.tapes.rows[lane], self.base, self.plan.targets(number), self.stack.phases, known)

    def cost(self, item: Item) -> int:
        """Return how many rows go through how many blocks for one patched run."""
        return (len(item.lane.ids(self.base)) - item.start) * (self.handle.n_layers - item.entry)

    @torch.no_grad()
    def run(
        self, cells: Sequence[Cell], stop: Callable[[], bool] = lambda: False
    ) -> tuple[dict[Cell, Tensor], dict[Cell, Tensor]]:
        """Return per cell the logits at the positions read, [step, entry], and where a metric wants them at all.

        Raises Stopped when `stop` says so meanwhile.
        """
        groups: dict[tuple[int, int, int], list[Cell]] = defaultdict(list)
        for cell in cells:
            lane = cell[1]
            groups[len(lane.ids(self.base)), lane.kept, lane.steps].append(cell)
        read: dict[Cell, Tensor] = {}
        whole: dict[Cell, Tensor] = {}
        for (length, _, _), some in groups.items():
            self._run(self.tapes[length], some, stop, read, whole)
        return read, whole

    def _run(
        self, tape: Tape, cells: Sequence[Cell], stop: Callable[[], bool], read: dict[Cell, Tensor],
        whole: dict[Cell, Tensor],
    ) -> None:  # fmt: skip
        items = [self.item(cell) for cell in cells]
        of = {id(item): cell for item, cell in zip(items, cells, strict=True)}
        at = range(tape.length)[cells[0][1].read]
        reads = (0, tape.length - 1) if self.plan.whole else (at[0], at[-1])
        climb = Climb(self.stack, tape, self.base, self.value, self.matched, reads, stop)
        for group, final in climb.run(items, self._fronts(items)):
            for item, logits in zip(group.items, self._logits(final, group.items), strict=True):
                cell = of[id(item)]
                if self.plan.whole:
                    whole[cell], logits = logits, logits[cell[1].read]
                    columns = self.columns(cell[1])
                    logits = logits if columns is None else logits[:, columns]
                read[cell] = logits

    def _logits(self, final: Tensor, items: Sequence[Item]) -> list[Tensor]:
        """Return per item the logits of its final rows."""
        if not self.plan.whole and self.columns(items[0].lane) is not None:
            by_row: dict[int, list[int]] = defaultdict(list)
            for at, item in enumerate(items):
                by_row[item.row].append(at)
            found: dict[int, Tensor] = {}
            for some in by_row.values():
                found |= dict(zip(some, self.stack.head(final[some], self.columns(items[some[0]].lane)), strict=True))
            return [found[at] for at in range(len(items))]
        size = max(1, _LOGITS // (self.handle.tokenizer.vocab_size * final.shape[1]))
        return [logits for some in final.split(size) for logits in self.stack.head(some)]

    def _fronts(self, items: Sequence[Item]) -> dict[int, Tensor]:
        """Return the streams entering the first block, [pos, d], of the runs whose embedding is patched."""
        some = [(number, item, item.at(0, FRONT)) for number, item in enumerate(items) if item.at(0, FRONT)]
        if not some:
            return {}
        tokens = torch.tensor([item.lane.ids(self.base) for _, item, _ in some], device=self.handle.device)
        placed = [(row, item.lane, target) for row, (_, item, targets) in enumerate(some) for target in targets]
        streams = _front(self.handle, tokens, placed, self.base, self.value, self.matched)
        return {number: stream for (number, _, _), stream in zip(some, streams, strict=True)}


def _known(lane: Lane, base: str) -> int:
    """Return the first position at which a patch from the other run can change anything."""
    pair = lane.pair
    return next(p for p in range(len(lane.ids(base)) + 1) if p >= pair.first_difference or pair.counterpart(base, p) != p)


class _Entered(Exception):
    def __init__(self, stream: Tensor) -> None:
        super().__init__()
        self.stream = stream


def _front(
    handle: ModelHandle, tokens: Tensor, placed: Sequence[tuple[int, Lane, Target]], base: str, value: Value,
    matched: bool,
) -> Tensor:  # fmt: skip
    """Run the model up to its first block with edits of what comes before it; return what enters the block."""
    thread = threading.get_ident()

    def entering(module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        if threading.get_ident() == thread:
            raise _Entered((args[0] if args else kwargs["hidden_states"]).clone())

    first = handle.bridge.blocks[0]
    stopper = first.register_forward_pre_hook(entering, with_kwargs=True)
    try:
        with hooked(handle.hooks, edits_for(placed, base, value, matched)):
            handle.forward(tokens)
    except _Entered as entered:
        return entered.stream
    finally:
        stopper.remove()
    raise NotReplayable("the first block was not called")
