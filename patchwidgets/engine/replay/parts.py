"""A model taken apart: each block in pieces before, in and after its attention, and the head, all its own.

The parts are copies of the model's modules that share its weights and have hook points of their own, so that nothing
another thread does to the model's hooks reaches them, and nothing done here reaches the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..gate import Edit, foreign_hooks, hooked, slack
from ..handle import ModelHandle
from ..model import HookPoint
from ..unchanged import fingerprint, hung_on
from .copies import Copies
from .fused import fuse
from .seams import ENTRY, NotReplayable, Part


@dataclass(frozen=True)
class Head:
    """From the last block's output to logits. `cap` is the bound of a model that squashes its logits."""

    norm: Callable[[Tensor], Tensor]
    unembed: Callable[[Tensor], Tensor]
    weight: Tensor | None
    bias: Tensor | None
    cap: float | None

    def __call__(self, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return the logits of rows [..., d], of all tokens or of those in `columns`."""
        normed = self.norm(rows)
        if columns is None or self.weight is None:
            logits = self.unembed(normed)
            logits = logits if columns is None else logits[..., columns]
        else:
            # Row by row, so that a row has the same logits to the last bit whatever stands beside it.
            wide = torch.promote_types(normed.dtype, torch.float32)
            logits = (normed[..., None, :].to(wide) * self.weight[columns].to(wide)).sum(-1).to(normed.dtype)
            logits = logits if self.bias is None else logits + self.bias[columns]
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


@dataclass(frozen=True)
class Way:
    """How blocks are run in pieces.

    Attributes:
        projects: whether queries, keys and values are made apart from the attention.
        mixes: whether the attention stops at its heads' outputs.
        phases: hook name -> where it is in a block, for the hooks that fire exactly once in it.
    """

    projects: bool
    mixes: bool
    phases: dict[str, str]


@dataclass
class Stack:
    """A model in parts.

    Attributes:
        parts: its blocks.
        points: the model's hook names -> the parts' own hook points.
        head: what follows the last block.
        heads: how many heads an attention has.
        begins: hook name -> ENTRY, for the hooks at which a block begins.
        ways: how the blocks can be run in pieces, the fastest first; proven.
    """

    parts: list[Part]
    points: dict[str, HookPoint]
    head: Head
    heads: int
    begins: dict[str, str]
    ways: list[Way] = field(default_factory=list)

    @property
    def way(self) -> Way:
        """The way in which the blocks are run."""
        return self.ways[0]

    def reaching(self, hooks: Sequence[str]) -> Stack:
        """Return the parts in the fastest way in which every hook has its place; NotReplayable names one of none."""
        layered = [name for name in hooks if name.startswith("blocks.")]
        ways = [way for way in self.ways if way.phases.keys() >= set(layered)]
        if not ways:
            missing = next(name for name in layered if name not in self.ways[-1].phases)
            raise NotReplayable(f"{missing} is not in one part of a block alone")
        return replace(self, ways=ways)

    def editing(self, edits: dict[str, Edit]) -> Any:
        """Return a context in which the parts' activations are edited."""
        return hooked(self.points, edits)


def take_apart(handle: ModelHandle) -> Stack:
    """Return the model in parts, not proven yet; NotReplayable says why it cannot be."""
    bridge: Any = handle.bridge
    for name in ("blocks", "ln_final", "unembed"):
        if not hasattr(bridge, name):
            raise NotReplayable(f"the model has no {name}")
    if any(hasattr(module, "_hf_hook") for module in bridge.original_model.modules()):
        raise NotReplayable("the model's modules are spread over devices")
    if not handle.caches:
        raise NotReplayable("the model keeps no keys and values")
    blocks = list(bridge.blocks)
    if not all(hasattr(block, "attn") for block in blocks):
        raise NotReplayable("not every block has an attention")
    shared = Copies([*blocks, bridge.ln_final, bridge.unembed])
    copies, norm, unembed = [shared[block] for block in blocks], shared[bridge.ln_final], shared[bridge.unembed]
    for each in copies:
        fuse(each)
    parts = [Part(i, new, shared[old.attn]) for i, (old, new) in enumerate(zip(blocks, copies, strict=True))]
    points = {name: shared[point] for name, point in handle.hooks.items() if point in shared}
    entries = {id(new.hook_in) for new in copies}
    begins = {name: ENTRY for name, point in points.items() if id(point) in entries}
    last = unembed.original_component
    plain = isinstance(last, nn.Linear)
    head = Head(norm, unembed, last.weight if plain else None, last.bias if plain else None, cap_of(bridge))
    return Stack(parts, points, head, handle.n_heads, begins)


def cap_of(bridge: Any) -> float | None:
    """Return the bound of a model that squashes its logits (Gemma2), None of any other."""
    config = getattr(bridge.original_model, "config", None)
    cap = getattr(config, "final_logit_softcapping", None)
    return float(cap) if cap else None


_STACKS: WeakKeyDictionary[Any, tuple[int, Stack | str]] = WeakKeyDictionary()


def stack_of(handle: ModelHandle, prove: Callable[[ModelHandle, Stack], None]) -> Stack:
    """Return the model in parts, taken apart and proven once for its present weights; NotReplayable says why not."""
    bridge: Any = handle.bridge
    foreign = foreign_hooks(handle.hooks)
    if foreign:
        raise NotReplayable(f"the model has hooks of its own at {foreign[0]}")
    hung = hung_on(bridge)
    if hung is not None:
        raise NotReplayable(f"the model's module {hung} has a hook of its own")
    weights = fingerprint(bridge)
    kept = _STACKS.get(bridge)
    if kept is None or kept[0] != weights:
        found: Stack | str
        try:
            found = take_apart(handle)
            prove(handle, found)
        except NotReplayable as reason:
            found = str(reason)
        kept = _STACKS[bridge] = (weights, found)
    if isinstance(kept[1], str):
        raise NotReplayable(kept[1])
    return kept[1]


def same(found: Tensor, expected: Tensor) -> bool:
    """Return whether two computations of one activation agree as far as its precision goes."""
    return found.shape == expected.shape and float((found - expected).abs().max()) <= slack(expected)


def forget(handle: ModelHandle) -> None:
    """Take the model apart anew the next time."""
    _STACKS.pop(handle.bridge, None)
