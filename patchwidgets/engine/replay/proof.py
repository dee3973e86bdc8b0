"""The proof that a model's parts make the model: a run of a few tokens, whole and in parts, compared at every seam."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import torch
from torch import Tensor

from ...sites import SITES
from ..gate import Edit
from ..handle import ModelHandle
from .parts import Stack, Way, same
from .seams import ATTEND, FINISH, PROJECT, NotReplayable
from .tape import Tape, Taping, taping

_LENGTH = 8
_CUTS = (1, 5)


@torch.no_grad()
def prove(handle: ModelHandle, stack: Stack) -> None:
    """Raise NotReplayable where a part gives anything else than the model; note where in a block each hook fires.

    Call with the handle's lock held.
    """
    length, vocabulary = min(_LENGTH, handle.tokenizer.context), handle.tokenizer.vocab_size
    first = [i * (vocabulary - 1) // _LENGTH for i in range(1, length + 1)]
    with taping(handle) as recorder:
        logits = handle.forward(torch.tensor([first, first[::-1]], device=handle.device), cache=recorder.cache)
    _prove_head(stack, recorder.inputs[-1], logits)
    stack.ways = [_proven(handle, stack, recorder, projects=False, mixes=False)]
    if all(part.projects for part in stack.parts):
        with suppress(NotReplayable):
            stack.ways.insert(0, _proven(handle, stack, recorder, projects=True, mixes=False))
            if all(part.mixes for part in stack.parts):
                stack.ways.insert(0, _proven(handle, stack, recorder, projects=True, mixes=True))


def _proven(handle: ModelHandle, stack: Stack, recorder: Taping, *, projects: bool, mixes: bool) -> Way:
    """Return a way of running the blocks in pieces, when every piece gives what the model gave."""
    tape = recorder.tape([0, 1], mixes)
    way = Way(projects, mixes, {})
    fired: dict[str, Counter[str]] = {name: Counter() for name in stack.points}
    try:
        for layer in range(len(stack.parts)):
            for cut in _CUTS:
                _prove_part(stack, way, tape, layer, min(cut, tape.length - 1), fired)
    except NotReplayable:
        raise
    except Exception as error:
        raise NotReplayable(f"its blocks do not run on a part of a prompt: {type(error).__name__}: {error}") from error
    return replace(way, phases=stack.begins | _phases(handle, fired))


def _prove_part(stack: Stack, way: Way, tape: Tape, layer: int, cut: int, fired: dict[str, Counter[str]]) -> None:
    part, device = stack.parts[layer], tape.inputs[0].device
    rows, width = torch.tensor([0, 1], device=device), tape.length - cut
    stream = tape.inputs[layer][rows, cut:]
    flat = stream.reshape(1, 2 * width, -1)
    rowwise, others = tape.sides[layer].cut(0, 1, None)
    projected: list[Tensor] = []
    late = None
    if way.projects:
        with _counted(stack, fired, layer, PROJECT):
            projected = [made.view(2, width, -1) for made in part.project(flat, rowwise, others)]
        # The second text begins one position later, as in a sweep whose runs begin at several.
        late = torch.zeros(2, width, dtype=torch.bool, device=device)
        late[1, : min(1, width - 1)] = True
        projected = [made.masked_fill(late[..., None], 0.0) for made in projected]
    args, kwargs = tape.arguments(layer, rows, cut, late)
    with _counted(stack, fired, layer, ATTEND):
        attended = part.attend(stream, args, kwargs, projected, mixing=way.mixes)
    expected = tape.attended[layer][:, cut:]
    if late is not None:
        attended = torch.where(late[..., None], expected, attended)
    if not same(attended, expected):
        raise NotReplayable(f"attention {layer} gives something else on a part of a prompt")
    with _counted(stack, fired, layer, FINISH):
        out = part.finish(flat, attended.reshape(1, 2 * width, -1), rowwise, others, mixing=way.mixes)
    if not same(out.view(2, width, -1), tape.inputs[layer + 1][:, cut:]):
        raise NotReplayable(f"block {layer} does not treat every token by itself after its attention")


def _prove_head(stack: Stack, final: Tensor, logits: Tensor) -> None:
    columns = torch.arange(0, logits.shape[-1], max(1, logits.shape[-1] // 16), device=final.device)
    if not same(stack.head(final), logits) or not same(stack.head(final, columns), logits[..., columns]):
        raise NotReplayable("the logits are not the unembedded final norm")


def _phases(handle: ModelHandle, fired: dict[str, Counter[str]]) -> dict[str, str]:
    """Return where each hook is: in the piece of a block in which it fires once, when in the others it does not."""
    rounds = len(_CUTS)
    names = {site.hook_name(i) for site in SITES.values() if site.layered for i in range(handle.n_layers)}
    pieces = (PROJECT, ATTEND, FINISH)
    return {name: piece for name in names & fired.keys() for piece in pieces if fired[name] == {piece: rounds}}


@contextmanager
def _counted(stack: Stack, fired: dict[str, Counter[str]], layer: int, piece: str) -> Iterator[None]:
    """Count the hooks of a layer's sites that fire, on activations whose first dimension is the batch."""
    batch = 2 if piece == ATTEND else 1

    def counting(name: str) -> Edit:
        def hook(activation: Tensor, hook: object = None) -> None:
            fired[name][piece if len(activation) == batch else "otherwise"] += 1

        return hook

    names = {site.hook_name(layer) for site in SITES.values() if site.layered} & stack.points.keys()
    for name in names:
        stack.points[name].add_hook(counting(name))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in names:
            stack.points[name].remove_hooks()
