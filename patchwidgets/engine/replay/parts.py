"""A model taken apart: each block up to its attention's output, the rest of the block, and the head, all its own.

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

from ...errors import PatchError
from ..gate import Edit, foreign_hooks, hooked, slack
from ..handle import ModelHandle
from ..model import HookPoint
from .copies import Copies

FRONT, ENTRY, PROJECT, ATTEND, FINISH, EXIT = "front", "entry", "project", "attend", "finish", "exit"
"""Where a hook is: before all blocks; at a block's input; where queries, keys and values are made; from there to the
attention's output; after that; at the block's output."""


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
        self.before = False
        self._others: int | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is given in the form the attention returns; else stop, `before` the attention or after it."""
        if self.given is not None:
            return self.given if self._others is None else (self.given, *[None] * self._others)
        if self.before:
            raise _Reached(args[0] if args else kwargs["hidden_states"])
        output = self.attention(*args, **kwargs)
        self._others = len(output) - 1 if isinstance(output, tuple) else None
        raise _Reached(first_of(output))


class _Projection(nn.Module):
    """Stands where an attention makes its queries, its keys or its values; answers with those given before."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.given: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is given, once, or what the module makes."""
        if self.given is None:
            return self.module(*args, **kwargs)
        given, self.given = self.given, None
        return given


def first_of(output: Any) -> Tensor:
    """Return a module's output, the first one where it has several."""
    return output[0] if isinstance(output, tuple) else output


class Part:
    """One block in pieces. `index` is its layer; `projects` says whether `project` can be run apart from `attend`."""

    def __init__(self, index: int, block: nn.Module, attention: nn.Module) -> None:
        self.index = index
        self._block = block
        inside: Any = block.original_component
        names = [name for name, child in inside._modules.items() if child is attention]
        if len(names) != 1:
            raise NotReplayable(f"block {index} does not hold its attention as a part of its own")
        self._seam = _Seam(attention)
        inside._modules[names[0]] = self._seam
        self._projections: list[_Projection] = []
        self._enter = attention._modules.get("hook_in")
        self.projects = all(isinstance(attention._modules.get(name), nn.Module) for name in "qkv")
        if self.projects:
            for name in "qkv":
                attention._modules[name] = projection = _Projection(attention._modules[name])  # type: ignore[arg-type]
                self._projections.append(projection)

    def project(self, rows: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
        """Return the queries, keys and values that the attention makes of rows [n, pos, d]."""
        normed = self._stopped(rows, args, kwargs, before=True)
        normed = normed if self._enter is None else self._enter(normed)
        return [projection.module(normed) for projection in self._projections]

    def attend(
        self, rows: Tensor, args: Sequence[Any], kwargs: dict[str, Any], projected: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Return the attention module's output for rows [n, pos, d]; `projected` are what `project` made of them."""
        try:
            for projection, made in zip(self._projections, projected or (), strict=projected is not None):
                projection.given = made
            attended = self._stopped(rows, args, kwargs, before=False)
            if any(projection.given is not None for projection in self._projections):
                raise NotReplayable(f"attention {self.index} does not take its queries, keys and values from its parts")
            return attended
        finally:
            for projection in self._projections:
                projection.given = None

    def _stopped(self, rows: Tensor, args: Sequence[Any], kwargs: dict[str, Any], *, before: bool) -> Tensor:
        self._seam.given, self._seam.before = None, before
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
        phases: hook name -> where it is in a block, for the hooks that fire exactly once in it.
        projects: whether queries, keys and values are made apart from the attention.
        unprojected: the phases when they are not.
    """

    parts: list[Part]
    points: dict[str, HookPoint]
    head: Head
    phases: dict[str, str]
    projects: bool = False
    unprojected: dict[str, str] = field(default_factory=dict)

    def reaching(self, hooks: Sequence[str]) -> Stack:
        """Return the parts in the way in which every hook has its place; NotReplayable names one that has none."""
        missing = [name for name in hooks if name.startswith("blocks.") and name not in self.phases]
        if missing and self.projects:
            return replace(self, projects=False, phases=self.unprojected).reaching(hooks)
        if missing:
            raise NotReplayable(f"{missing[0]} is not in one part of a block alone")
        return self

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
        _fuse(each)
    parts = [Part(i, new, shared[old.attn]) for i, (old, new) in enumerate(zip(blocks, copies, strict=True))]
    points = {name: shared[point] for name, point in handle.hooks.items() if point in shared}
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


def _fuse(block: nn.Module) -> None:
    """Let torch compute in one pass what transformers writes out in eight: the same function, proven like all else."""
    for module in list(block.modules()):
        for name, child in module._modules.items():
            if type(child).__name__ == "NewGELUActivation":
                module._modules[name] = nn.GELU(approximate="tanh")


def _cap(bridge: Any) -> float | None:
    config = getattr(bridge.original_model, "config", None)
    cap = getattr(config, "final_logit_softcapping", None)
    return float(cap) if cap else None


_STACKS: WeakKeyDictionary[Any, tuple[int, Stack | str]] = WeakKeyDictionary()


def _fingerprint(bridge: Any) -> int:
    """Return what changes when the model computes otherwise: its modules, their weights, hooks and plain settings."""
    found: list[object] = [(id(weight), weight.data_ptr()) for weight in (*bridge.parameters(), *bridge.buffers())]
    config = getattr(bridge.original_model, "config", None)
    for settings in (bridge.cfg, config, *bridge.modules()):
        if isinstance(settings, nn.Module) and not isinstance(settings, HookPoint):
            hooks = (*settings._forward_hooks.values(), *settings._forward_pre_hooks.values())
            found += [id(settings), *map(id, hooks), id(settings.__dict__.get("forward"))]
        if not isinstance(settings, HookPoint):
            plain = getattr(settings, "__dict__", {})
            found += [(name, value) for name, value in list(plain.items()) if name[0] != "_" and _is_plain(value)]
    return hash(tuple(found))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


_THEIR_OWN = ("transformer_lens.", "transformers.")
"""Whose hooks belong to the model: transformers leaves some to record outputs once it was asked for any."""


def _hung_on(bridge: Any) -> str | None:
    """Return the name of a module that carries a torch hook of somebody else: it may go by position, or by batch."""
    for name, module in bridge.named_modules():
        if isinstance(module, HookPoint):
            continue
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            if not str(getattr(hook, "__module__", "")).startswith(_THEIR_OWN):
                return name
    return None


def stack_of(handle: ModelHandle, prove: Callable[[ModelHandle, Stack], None]) -> Stack:
    """Return the model in parts, taken apart and proven once for its present weights; NotReplayable says why not."""
    bridge: Any = handle.bridge
    foreign = foreign_hooks(handle.hooks)
    if foreign:
        raise NotReplayable(f"the model has hooks of its own at {foreign[0]}")
    hung = _hung_on(bridge)
    if hung is not None:
        raise NotReplayable(f"the model's module {hung} has a hook of its own")
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


def forget(handle: ModelHandle) -> None:
    """Take the model apart anew the next time."""
    _STACKS.pop(handle.bridge, None)
