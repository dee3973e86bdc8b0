"""What tells whether a model still computes what it did."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import nn

from .gate import foreign_hooks
from .handle import ModelHandle
from .model import HookPoint


def fingerprint(bridge: Any) -> int:
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


THEIR_OWN = ("transformer_lens.", "transformers.")
"""Whose hooks belong to the model: transformers leaves some to record outputs once it was asked for any."""


def hung_on(bridge: Any) -> str | None:
    """Return the name of a module that carries a torch hook of somebody else: it may go by position, or by batch."""
    for name, module in bridge.named_modules():
        if isinstance(module, HookPoint):
            continue
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            if not str(getattr(hook, "__module__", "")).startswith(THEIR_OWN):
                return name
    return None


def state_of(bridge: Any) -> Hashable | None:
    """Return what is the same as long as a model's weights, modules and settings are; None where that cannot be told.

    A write to a weight's `data` in place is not seen.
    """
    weights = [*bridge.parameters(), *bridge.buffers()]
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
    weights = {(each.data_ptr(), each.shape): each.detach() for each in (*bridge.parameters(), *bridge.buffers())}
    return tuple(float(each.sum(dtype=torch.promote_types(each.dtype, torch.float32))) for each in weights.values())
