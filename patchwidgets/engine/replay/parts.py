"""A model taken apart: each block up to its attention's output, the rest of the block, and the head, all its own.

The parts are copies of the model's modules that share its weights and have hook points of their own, so that nothing
another thread does to the model's hooks reaches them, and nothing done here reaches the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ...errors import PatchError
from ..gate import Edit, foreign_hooks, hooked, slack
from ..handle import ModelHandle
from ..model import HookPoint

FRONT, ENTRY, ATTEND, FINISH, EXIT = "front", "entry", "attend", "finish", "exit"
"""Where a hook is: before all blocks; at a block's input, before its attention's output, after that, at its output."""


class NotReplayable(PatchError):
    """The model's blocks, or what is asked of them, have no form that runs on a few rows; the text says why."""


class _Reached(Exception):
    """Carries the attention's output out of a block that need not go on."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class _Seam(nn.Module):
    """Stands where a block's attention is: stops the block there, or answers with an output given before."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.given: Tensor | None = None
        self._others: int | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is given in the form the attention returns; run the attention when nothing is."""
        if self.given is not None:
            return self.given if self._others is None else (self.given, *[None] * self._others)
        output = self.attention(*args, **kwargs)
        self._others = len(output) - 1 if isinstance(output, tuple) else None
        raise _Reached(first_of(output))


def first_of(output: Any) -> Tensor:
    """Return a module's output, the first one where it has several."""
    return output[0] if isinstance(output, tuple) else output


class Part:
    """One block in two halves. `index` is its layer."""

    def __init__(self, index: int, block: nn.Module, attention: nn.Module) -> None:
        self.index = index
        self._block = block
        inside: Any = block.original_component
        names = [name for name, child in inside._modules.items() if child is attention]
        if len(names) != 1:
            raise NotReplayable(f"block {index} does not hold its attention as a part of its own")
        self._seam = _Seam(attention)
        inside._modules[names[0]] = self._seam

    def attend(self, rows: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Return the attention module's output for rows [n, pos, d]."""
        self._seam.given = None
        try:
            self._block(rows, *args, **kwargs)
        except _Reached as reached:
            return reached.output
        raise NotReplayable(f"block {self.index} does not call its attention")

    def finish(self, rows: Tensor, attended: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """Return the block's output for rows whose attention output is known."""
        self._seam.given = attended
        try:
            return first_of(self._block(rows, *args, **kwargs))
        finally:
            self._seam.given = None


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
            logits = normed @ self.weight[columns].T
            logits = logits if self.bias is None else logits + self.bias[columns]
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


@dataclass
class Stack:
    """A model in parts.

    Attributes:
        parts: its blocks.
        points: the model's hook names -> the parts' own hook points.
        head: what follows the last block.
        phases: hook name -> ENTRY, ATTEND, FINISH or EXIT, for the hooks that fire exactly once in a block.
    """

    parts: list[Part]
    points: dict[str, HookPoint]
    head: Head
    phases: dict[str, str]

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
    shared = _shared([*blocks, bridge.ln_final, bridge.unembed])
    try:
        copies = [copy.deepcopy(block, shared) for block in blocks]
        norm, unembed = copy.deepcopy(bridge.ln_final, shared), copy.deepcopy(bridge.unembed, shared)
    except Exception as error:
        raise NotReplayable(f"its modules cannot be copied: {error}") from error
    parts = [Part(i, new, shared[id(old.attn)]) for i, (old, new) in enumerate(zip(blocks, copies, strict=True))]
    points = {name: shared[id(point)] for name, point in handle.hooks.items() if id(point) in shared}
    phases = {}
    for name, point in points.items():
        for new in copies:
            if point is new.hook_in:
                phases[name] = ENTRY
            elif point is new.hook_out:
                phases[name] = EXIT
    last = unembed.original_component
    plain = isinstance(last, nn.Linear)
    head = Head(norm, unembed, last.weight if plain else None, last.bias if plain else None, _cap(bridge))
    return Stack(parts, points, head, phases)


def _shared(modules: Sequence[nn.Module]) -> dict[int, Any]:
    """Return the memo of a copy that keeps the weights and the settings instead of copying them."""
    memo: dict[int, Any] = {}
    for module in (child for each in modules for child in each.modules()):
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                memo[id(tensor)] = tensor
        for name, value in module.__dict__.items():
            if isinstance(value, Tensor) or (name in ("config", "cfg") and value is not None):
                memo[id(value)] = value
    return memo


def _cap(bridge: Any) -> float | None:
    config = getattr(bridge.original_model, "config", None)
    cap = getattr(config, "final_logit_softcapping", None)
    return float(cap) if cap else None


_STACKS: WeakKeyDictionary[Any, tuple[tuple[int, ...], Stack | str]] = WeakKeyDictionary()


def _fingerprint(model: nn.Module) -> tuple[int, ...]:
    """Return what is another when the model computes otherwise: its weights, and what has been hung on its modules."""
    found = [id(weight) for weight in (*model.parameters(), *model.buffers())]
    for module in model.modules():
        if not isinstance(module, HookPoint):
            found += [id(hook) for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())]
            found.append(id(module.__dict__.get("forward")))
    return tuple(found)


def stack_of(handle: ModelHandle, prove: Callable[[ModelHandle, Stack], None]) -> Stack:
    """Return the model in parts, taken apart and proven once for its present weights; NotReplayable says why not."""
    bridge: Any = handle.bridge
    foreign = foreign_hooks(handle.hooks)
    if foreign:
        raise NotReplayable(f"the model has hooks of its own at {foreign[0]}")
    weights = _fingerprint(bridge)
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
