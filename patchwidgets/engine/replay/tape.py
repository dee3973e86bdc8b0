"""The base runs on tape: what every block got, what its attention gave, and its keys and values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ..handle import ModelHandle
from ..lanes import Lane
from .seams import NotReplayable, first_of
from .sides import CACHE, Prefix, Sides


@dataclass(frozen=True)
class Tape:
    """Runs of texts of one length, a text a row.

    Attributes:
        length: how many tokens every text has.
        inputs: [layer + 1] of [row, pos, d]: the residual stream entering each layer; the last, leaving them all.
        attended: [layer] of [row, pos, .]: what each attention module returned, or what its heads did.
        keys, values: [layer] of [row, head, pos, .].
        sides: [layer]: the blocks' other arguments.
    """

    length: int
    inputs: list[Tensor]
    attended: list[Tensor]
    keys: list[Tensor]
    values: list[Tensor]
    sides: list[Sides]

    def arguments(
        self, layer: int, rows: Tensor, start: int, late: Tensor | None = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a block beside its input, for texts given by their rows, from `start` on.

        `late` [run, pos] says where a text begins later still.
        """
        one = bool((rows == rows[0]).all())
        which = rows[:1] if one else rows
        prefix = Prefix(self.keys[layer][which], self.values[layer][which], start, late)
        return self.sides[layer].cut(start, len(rows), prefix)


class Tapes:
    """Tapes of base runs, one for each length of text; `rows` says where a lane's text is on the tape of its length.

    With `mixes` they hold what the heads of each attention returned, not the attention.
    """

    def __init__(self, handle: ModelHandle, base: str, mixes: bool) -> None:
        self._handle, self._base, self._mixes = handle, base, mixes
        self._pieces: dict[int, list[Tape]] = {}
        self._texts: dict[int, dict[tuple[int, ...], int]] = {}
        self._whole: dict[int, Tape] = {}
        self.rows: dict[Lane, int] = {}

    @contextmanager
    def recording(self, batch: Sequence[tuple[Lane, str]]) -> Iterator[object]:
        """Tape a forward pass of the batch, which must be given the cache that is yielded."""
        with taping(self._handle) as recorder:
            yield recorder.cache
        new: list[int] = []
        for i, (lane, run) in enumerate(batch):
            text = lane.ids(run)
            known = self._texts.setdefault(len(text), {})
            if run != self._base:
                continue
            if text not in known:
                known[text] = len(known)
                new.append(i)
            self.rows[lane] = known[text]
        if new:
            tape = recorder.tape(new, self._mixes)
            self._pieces.setdefault(tape.length, []).append(tape)

    def __getitem__(self, length: int) -> Tape:
        if length not in self._whole:
            self._whole[length] = _joined(self._pieces.pop(length))
        return self._whole[length]


class Taping:
    """What one forward pass left."""

    def __init__(self) -> None:
        self.cache = DynamicCache()
        self.inputs: list[Tensor] = []
        self.attended: list[Tensor] = []
        self.mixed: list[Tensor] = []
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def tape(self, rows: Sequence[int], mixes: bool) -> Tape:
        """Return the tape of some rows of the batch; NotReplayable where the blocks did not run one after another."""
        layers, attended = len(self.calls), self.mixed if mixes else self.attended
        if len(self.inputs) != layers + 1 or len(attended) != layers or len(self.cache.layers) != layers:
            raise NotReplayable("its blocks are not called one after another, once each, with keys and values")
        keys, values = ([getattr(layer, name) for layer in self.cache.layers] for name in ("keys", "values"))
        batch, length = self.inputs[0].shape[:2]
        if any(not isinstance(each, Tensor) or each.shape[2] != length for each in (*keys, *values)):
            raise NotReplayable("not every block keeps keys and values of all positions")
        which = torch.tensor(list(rows), device=self.inputs[0].device)
        inputs, attended, keys, values = (
            [each[which] for each in listed] for listed in (self.inputs, attended, keys, values)
        )
        # The calls without the cache, which would keep every run of the batch alive.
        sides = [
            Sides(self._uncached(args), {name: self._uncached(value) for name, value in kwargs.items()}, batch, length)
            for args, kwargs in self.calls
        ]
        return Tape(length, inputs, attended, keys, values, sides)

    def _uncached(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._uncached, value))
        return CACHE if value is self.cache else value


@contextmanager
def taping(handle: ModelHandle) -> Iterator[Taping]:
    """Tape the forward pass that this thread makes meanwhile with the cache of what is yielded."""
    bridge: Any = handle.bridge
    found = Taping()

    def entering(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        others = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        found.inputs.append((args[0] if args else kwargs["hidden_states"]).clone())
        found.calls.append((args[1:], others))

    def leaving(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.inputs.append((args[0] if args else kwargs["hidden_states"]).clone())

    def attending(module: Any, args: tuple[Any, ...], output: Any) -> None:
        found.attended.append(first_of(output).clone())

    def mixing(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.mixed.append((args[0] if args else next(iter(kwargs.values()))).clone())

    before = [(block, entering) for block in bridge.blocks]
    before += [
        (block.attn.o, mixing) for block in bridge.blocks if isinstance(getattr(block.attn, "o", None), nn.Module)
    ]
    after = [(block.attn, attending) for block in bridge.blocks]
    with listening([*before, (bridge.ln_final, leaving)], after):
        yield found


def _joined(pieces: Sequence[Tape]) -> Tape:
    if len(pieces) == 1:
        return pieces[0]
    joined = {
        name: [torch.cat(parts) for parts in zip(*(getattr(piece, name) for piece in pieces), strict=True)]
        for name in ("inputs", "attended", "keys", "values")
    }
    return Tape(pieces[0].length, **joined, sides=pieces[0].sides)


@contextmanager
def listening(
    before: Sequence[tuple[Any, Callable[..., None]]], after: Sequence[tuple[Any, Callable[..., None]]]
) -> Iterator[None]:
    """Tell of the calls of modules by this thread: `before` of their arguments, `after` of their output."""
    thread = threading.get_ident()

    def gated(tell: Callable[..., None]) -> Callable[..., None]:
        def hook(*told: Any) -> None:
            if threading.get_ident() == thread:
                tell(*told)

        return hook

    handles = [module.register_forward_pre_hook(gated(tell), with_kwargs=True) for module, tell in before]
    handles += [module.register_forward_hook(gated(tell)) for module, tell in after]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
