"""What leaves the last block of replayed cells: every metric of them is made of it, so that another runs nothing again.

It lives as long as a result of its sweep does. A later sweep of the same model takes a cell from it when the cell
writes the same values at the same places of the same prompts: the weights must be untouched, and the plain runs, which
are always made anew, must be those of before to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor

from ...interventions import Patch, Scale, Vector, Zero
from ..handle import ModelHandle
from ..lanes import Lane
from ..measuring import Task
from ..plan import Plan, hook_of
from ..unchanged import state_of
from .items import Item
from .tape import Tapes

_CERTAIN = (Patch, Scale, Vector, Zero)
"""The interventions whose values follow from the two runs of a pair alone."""
_BASE = "base"


@dataclass
class _Lane:
    """What is known of one text: digests of its base run's end and, hook by hook, of its source; and its cells."""

    proof: dict[str, bytes]
    rows: dict[Hashable, tuple[int, Tensor]] = field(default_factory=dict)


class Finals:
    """The final rows of one model's cells under one intervention, by text and by what is written where."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return sum(len(lane.rows) for lane in self._lanes.values())

    def find(self, item: Item, base: str, reads: tuple[int, int], proof: dict[str, bytes]) -> Tensor | None:
        """Return the rows [pos, d] of a run at the positions `reads`, first to last, when they are known."""
        lane = self._lanes.get(_text(item.lane, base))
        if lane is None or any(lane.proof.get(name) != proof[name] for name in proof.keys() & {_BASE, *_hooks(item)}):
            return None
        first, rows = lane.rows.get(_writes(item), (0, None))
        if rows is None or not first <= reads[0] <= reads[1] < first + len(rows):
            return None
        return rows[reads[0] - first : reads[1] - first + 1]

    def add(self, item: Item, base: str, first: int, rows: Tensor, proof: dict[str, bytes], most: int) -> None:
        """Keep the rows [pos, d] of a run from position `first` on, unless all would take more than `most` bytes."""
        text = _text(item.lane, base)
        lane = self._lanes.get(text)
        if lane is None or any(lane.proof.get(name, proof[name]) != proof[name] for name in proof):
            lane = self._lanes[text] = _Lane({})
            self.bytes = sum(kept.nbytes for each in self._lanes.values() for _, kept in each.rows.values())
        lane.proof |= proof
        before = lane.rows.get(_writes(item))
        more = rows.nbytes - (before[1].nbytes if before else 0)
        if more > 0 and self.bytes + more <= most:
            lane.rows[_writes(item)] = (first, rows.clone())
            self.bytes += more

    def clear(self) -> None:
        """Forget everything: it turned out not to be certain."""
        self._lanes.clear()
        self.bytes = 0


_FINALS: WeakKeyDictionary[Any, WeakValueDictionary[Hashable, Finals]] = WeakKeyDictionary()


def finals_of(handle: ModelHandle, plan: Plan) -> Finals | None:
    """Return where a plan's cells are kept, shared with earlier sweeps as long as a result of theirs is alive.

    None where a cell's value does not follow from its pair alone. Call with the handle's lock held.
    """
    if not isinstance(plan.intervention, _CERTAIN):
        return None
    bridge: Any = handle.bridge
    state = state_of(bridge)
    if state is None:
        return None
    key = (plan.patch, plan.intervention, state)
    kept = _FINALS.setdefault(bridge, WeakValueDictionary())
    found = kept.get(key)
    if found is None:
        found = kept[key] = Finals()
    return found


def forget_finals(handle: ModelHandle) -> None:
    """Forget what is kept of a model. Call with the handle's lock held."""
    for finals in list(_FINALS.get(handle.bridge, {}).values()):
        finals.clear()


def proof_of(lane: Lane, plan: Plan, final: Tensor, activation: Callable[[str], Tensor]) -> dict[str, bytes]:
    """Return digests of a lane's plain runs: what leaves its base run, and what its source run has at every hook.

    `activation` gives the source run's at a hook; only a patch has any.
    """
    hooks = plan.hooks if isinstance(plan.intervention, Patch) else []
    return {_BASE: _digest(final), **{name: _digest(activation(name)) for name in hooks}}


def _digest(tensor: Tensor) -> bytes:
    numbers = tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy()
    return hashlib.blake2b(numbers.data, digest_size=16).digest()


def _text(lane: Lane, base: str) -> Hashable:
    other = "clean" if base == "corrupted" else "corrupted"
    return lane.ids(base), lane.ids(other), tuple(lane.positions(base))


def _hooks(item: Item) -> set[str]:
    return {hook_of(target) for phases in item.targets.values() for some in phases.values() for target in some}


def _writes(item: Item) -> Hashable:
    """Return what a run writes where, however the sweep that asks for it came to it."""
    targets = [target for phases in item.targets.values() for some in phases.values() for target in some]
    return frozenset(
        (hook_of(target), tuple(sorted((axis, _indices(at)) for axis, at in target[1].items()))) for target in targets
    )


def _indices(at: Any) -> tuple[int, ...]:
    return (at,) if isinstance(at, int) else tuple(at)


class Kept:
    """A sweep's side of it: what it may take, and what it gives once its numbers are proven.

    Call everything with the handle's lock held.
    """

    def __init__(self, task: Task, tapes: Tapes) -> None:
        self._task, self._base = task, task.plan.patch.base
        self._tapes = tapes
        self.finals = finals_of(task.handle, task.plan) if task.keeps else None
        self._proofs: dict[Lane, dict[str, bytes]] = {}
        self._held: list[tuple[Item, int, Tensor]] = []
        self._room = task.memory // 8

    @property
    def any(self) -> bool:
        """Whether there is anything to take."""
        return self.finals is not None and len(self.finals) > 0

    def find(self, item: Item, reads: tuple[int, int]) -> Tensor | None:
        """Return a run's rows [pos, d] at the positions `reads` when an earlier sweep left them."""
        if self.finals is None:
            return None
        return self.finals.find(item, self._base, reads, self._proof(item.lane))

    def hold(self, item: Item, first: int, rows: Tensor) -> None:
        """Take down a run's rows [pos, d] from position `first` on; they are kept once the sweep says `settle`.

        They are a view of their batch, all of whose rows are taken down but an unpatched one.
        """
        if self.finals is not None and rows.nbytes <= self._room:
            self._room -= rows.nbytes
            self._held.append((item, first, rows))

    def settle(self) -> None:
        """Keep what is held: it is proven."""
        if self.finals is not None and self._held:
            others = sum(each.bytes for each in _FINALS[self._task.handle.bridge].values()) - self.finals.bytes
            most = self._task.memory // 8 - others
            for item, first, rows in self._held:
                self.finals.add(item, self._base, first, rows, self._proof(item.lane), most)
        self._held.clear()

    def drop(self) -> None:
        """Forget all of the model: something was wrong."""
        self._held.clear()
        forget_finals(self._task.handle)

    def _proof(self, lane: Lane) -> dict[str, bytes]:
        if lane not in self._proofs:
            plan, activations = self._task.plan, self._task.baseline.activations
            final = self._tapes[len(lane.ids(self._base))].inputs[-1][self._tapes.rows[lane]]
            self._proofs[lane] = proof_of(lane, plan, final, lambda hook: activations[hook][lane, plan.patch.source])
        return self._proofs[lane]
