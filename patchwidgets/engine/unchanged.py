"""What tells whether a model still computes what it did."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .gate import foreign_hooks
from .handle import ModelHandle
from .model import HookPoint


def modules_of(bridge: Any) -> list[nn.Module]:
    """Return every module of a model once. `nn.Module.modules` hands each up through all that it is in."""
    found: dict[int, nn.Module] = {}
    left: list[nn.Module] = [bridge]
    while left:
        module = left.pop()
        if id(module) not in found:
            found[id(module)] = module
            left += [each for each in module._modules.values() if each is not None]
    return list(found.values())


def _weights(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return every parameter and buffer once."""
    held = (each for module in modules for each in (*module._parameters.values(), *module._buffers.values()))
    return list({id(each): each for each in held if each is not None}.values())


def fingerprint(bridge: Any) -> int:
    """Return what changes when the model computes otherwise: its modules, their weights, hooks and plain settings."""
    modules = [module for module in modules_of(bridge) if not isinstance(module, HookPoint)]
    found: list[object] = [(id(weight), weight.data_ptr()) for weight in _weights(modules)]
    for module in modules:
        found += [id(module), *map(id, _hooks(module)), id(module.__dict__.get("forward"))]
    for settings in (bridge.cfg, getattr(bridge.original_model, "config", None), *modules):
        plain = getattr(settings, "__dict__", {})
        found += [(name, value) for name, value in list(plain.items()) if name[0] != "_" and _is_plain(value)]
    return hash(tuple(found))


def _hooks(module: nn.Module) -> list[Callable[..., Any]]:
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


THEIR_OWN = ("transformer_lens.", "transformers.")
"""Whose hooks belong to the model: transformers leaves some to record outputs once it was asked for any."""


def hung_on(bridge: Any) -> str | None:
    """Return the name of a module that carries a torch hook of somebody else: it may go by position, or by batch."""
    hung = {id(module) for module in modules_of(bridge) if not isinstance(module, HookPoint) and _is_hung(module)}
    return next((name for name, module in bridge.named_modules() if id(module) in hung), None) if hung else None


def _is_hung(module: nn.Module) -> bool:
    return any(not str(getattr(hook, "__module__", "")).startswith(THEIR_OWN) for hook in _hooks(module))


def state_of(bridge: Any) -> Hashable | None:
    """Return what is the same as long as a model's weights, modules and settings are; None where that cannot be told.

    A write to a weight's `data` in place is not seen.
    """
    weights = _weights(modules_of(bridge))
    # A write in place raises a tensor's version; those of inference mode have none, and are not to be trusted.
    if any(weight.is_inference() for weight in weights):
        return None
    return tuple((weight.data_ptr(), weight._version) for weight in weights), fingerprint(bridge)


def untouched_state_of(handle: ModelHandle) -> Hashable | None:
    """Return `state_of` a model that carries nobody else's hooks, None of another."""
    bridge = handle.bridge
    return None if foreign_hooks(handle.hooks) or hung_on(bridge) else state_of(bridge)


def sums_of(bridge: Any) -> tuple[float, ...]:
    """Return every weight's sum: what a write to its `data` in place changes too. It reads the whole model."""
    weights = {(each.data_ptr(), each.shape): each.detach() for each in _weights(modules_of(bridge))}
    return tuple(float(each.sum(dtype=torch.promote_types(each.dtype, torch.float32))) for each in weights.values())
