"""The two plain runs of a pair: their logits, and the activations a sweep takes its patches from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ModelError
from ..prompts import EncodedPair
from .gate import Edit, check_control, hooked
from .handle import ModelHandle

RUNS = ("clean", "corrupted")


@dataclass(frozen=True)
class Baseline:
    """Both runs of a pair, in the order of RUNS.

    Attributes:
        logits: [2, vocab] at the last position.
        activations: hook name -> [2, ...], the hooks that were asked for and nothing else.
    """

    logits: Tensor
    activations: dict[str, Tensor]

    def activation(self, run: str, hook: str) -> Tensor:
        """Return one run's activation at a hook, without the batch dimension."""
        return self.activations[hook][RUNS.index(run)]


def record(handle: ModelHandle, pair: EncodedPair, hooks: Iterable[str] = ()) -> Baseline:
    """Run both prompts in one batch of two and keep the named activations. Call with the handle's lock held."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Edit:
        def edit(activation: Tensor) -> None:
            kept[name] = activation.detach().clone()

        return edit

    rows = [pair.clean, pair.corrupted]
    tokens = torch.tensor([*rows, *reversed(rows)], device=handle.device)
    with hooked(handle.hooks, {name: keep(name) for name in hooks}):
        logits = handle.forward(tokens)
    if not torch.isfinite(logits).all():
        raise ModelError("the model's logits are not finite on these prompts; check its weights and its dtype.")
    for found in (logits, *kept.values()):
        check_control(found[2:].flip(0), found[:2])
    return Baseline(logits[:2], {name: found[:2] for name, found in kept.items()})
