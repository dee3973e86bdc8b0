"""The proof that a model's parts make the model: a run of a few tokens, whole and in parts, compared at every seam."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...sites import SITES
from ..gate import Edit
from ..handle import ModelHandle
from .parts import ATTEND, FINISH, NotReplayable, Stack, same
from .tape import Tape, taping

_LENGTH = 8
_CUTS = (0, 1, 5)


@torch.no_grad()
def prove(handle: ModelHandle, stack: Stack) -> None:
    """Raise NotReplayable where a part gives anything else than the model; note in which half each hook fires.

    Call with the handle's lock held.
    """
    length, vocabulary = min(_LENGTH, handle.tokenizer.context), handle.tokenizer.vocab_size
    first = [i * (vocabulary - 1) // _LENGTH for i in range(1, length + 1)]
    with taping(handle) as recorder:
        logits = handle.forward(torch.tensor([first, first[::-1]], device=handle.device), cache=recorder.cache)
    tape = recorder.tape([0, 1])
    halves: dict[str, Counter[str]] = {name: Counter() for name in stack.points}
    try:
        for layer in range(len(stack.parts)):
            for cut in _CUTS:
                _prove_part(stack, tape, layer, min(cut, length - 1), halves)
    except NotReplayable:
        raise
    except Exception as error:
        raise NotReplayable(f"its blocks do not run on a part of a prompt: {type(error).__name__}: {error}") from error
    _prove_head(stack, tape, logits)
    _note_phases(handle, stack, halves)


def _prove_part(stack: Stack, tape: Tape, layer: int, cut: int, halves: dict[str, Counter[str]]) -> None:
    part, rows = stack.parts[layer], torch.tensor([0, 1], device=tape.inputs[0].device)
    args, kwargs = tape.arguments(layer, rows, cut)
    with _counted(stack, halves, ATTEND):
        attended = part.attend(tape.inputs[layer][rows, cut:], args, kwargs)
    if not same(attended, tape.attended[layer][:, cut:]):
        raise NotReplayable(f"attention {layer} gives something else on a part of a prompt")
    width = tape.length - cut
    flat = tape.inputs[layer][:, cut:].reshape(1, 2 * width, -1)
    args, kwargs = tape.sides[layer].cut(0, 1, None)
    with _counted(stack, halves, FINISH):
        out = part.finish(flat, attended.reshape(1, 2 * width, -1), args, kwargs)
    if not same(out.view(2, width, -1), tape.inputs[layer + 1][:, cut:]):
        raise NotReplayable(f"block {layer} does not treat every token by itself after its attention")


def _prove_head(stack: Stack, tape: Tape, logits: Tensor) -> None:
    final = tape.inputs[-1]
    columns = torch.arange(0, logits.shape[-1], max(1, logits.shape[-1] // 16), device=final.device)
    if not same(stack.head(final), logits) or not same(stack.head(final, columns), logits[..., columns]):
        raise NotReplayable("the logits are not the unembedded final norm")


def _note_phases(handle: ModelHandle, stack: Stack, halves: dict[str, Counter[str]]) -> None:
    """A hook belongs to a half of a block when it fires there once, and in the other half not at all."""
    rounds = len(_CUTS)
    names = {site.hook_name(i) for site in SITES.values() if site.layered for i in range(handle.n_layers)}
    for name in names & halves.keys() - stack.phases.keys():
        for half in (ATTEND, FINISH):
            if halves[name] == {half: rounds}:
                stack.phases[name] = half


@contextmanager
def _counted(stack: Stack, halves: dict[str, Counter[str]], half: str) -> Iterator[None]:
    """Count the hooks that fire, on activations whose first dimension is the batch."""
    batch = 2 if half == ATTEND else 1

    def counting(name: str) -> Edit:
        def hook(activation: Tensor, hook: object = None) -> None:
            halves[name][half if len(activation) == batch else "otherwise"] += 1

        return hook

    for name, point in stack.points.items():
        point.add_hook(counting(name))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for point in stack.points.values():
            point.remove_hooks()
