"""What enters the first block of runs whose embedding is patched."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from ..gate import hooked
from ..handle import ModelHandle
from ..hooked import Value, edits_for
from ..lanes import Lane
from ..plan import Target
from .items import Item
from .seams import FRONT, NotReplayable


def fronts(handle: ModelHandle, items: Sequence[Item], base: str, value: Value, matched: bool) -> dict[int, Tensor]:
    """Return the streams [pos, d] that enter the first block, by the numbers of the items whose embedding is patched.

    Call with the handle's lock held.
    """
    some = [(number, item, item.at(0, FRONT)) for number, item in enumerate(items) if item.at(0, FRONT)]
    if not some:
        return {}
    tokens = torch.tensor([item.lane.ids(base) for _, item, _ in some], device=handle.device)
    placed = [(row, item.lane, target) for row, (_, item, targets) in enumerate(some) for target in targets]
    streams = _front(handle, tokens, placed, base, value, matched)
    return {number: stream for (number, _, _), stream in zip(some, streams, strict=True)}


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
