"""What the model gives a block beside the residual stream, cut to the positions that are run again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .seams import NotReplayable


class Prefix:
    """Looks like a transformers cache to one block: the keys and values of the positions before the rows.

    `late` [run, pos] says which rows of a run do not count, as it begins later; the keys and values that stand there
    are those of `keys` and `values`, which then go on to the end.
    """

    is_compileable = False

    def __init__(self, keys: Tensor, values: Tensor, start: int, late: Tensor | None = None) -> None:
        self.keys, self.values, self.start = keys, values, start
        self.late = None if late is None else late[:, None, :, None]

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the keys and values of all positions."""
        return self._whole(self.keys, keys), self._whole(self.values, values)

    def _whole(self, known: Tensor, new: Tensor) -> Tensor:
        if self.late is not None:
            new = torch.where(self.late, known[:, :, self.start :], new)
        if not self.start:
            return new
        return torch.cat([known[:, :, : self.start].expand(len(new), -1, -1, -1), new], 2)

    def get_seq_length(self, *args: Any) -> int:
        """Return how many positions are before the rows."""
        return self.start


CACHE = object()
"""Stands in a block's arguments where its cache was."""


@dataclass(frozen=True)
class Sides:
    """The other arguments of one block's call, as the model gave them for a batch of texts of one length.

    All texts are unpadded, so that what holds for the first holds for every one.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    batch: int
    length: int

    def cut(self, start: int, rows: int, prefix: Prefix | None) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments for `rows` texts from position `start` on, with `prefix` in the place of the cache."""
        args = [self._cut("", value, start, rows, prefix) for value in self.args]
        return args, {name: self._cut(name, value, start, rows, prefix) for name, value in self.kwargs.items()}

    def _cut(self, name: str, value: Any, start: int, rows: int, prefix: Prefix | None) -> Any:
        if value is CACHE:
            return prefix
        if isinstance(value, tuple):
            return tuple(self._cut(name, each, start, rows, prefix) for each in value)
        if not isinstance(value, Tensor) or value.dim() == 0:
            return value
        length = self.length
        if value.dim() == 4 and value.shape[2:] == (length, length):  # A mask, [text, head, dest, src].
            return value[:1, :, start:]
        if name == "alibi" and value.dim() == 3 and value.shape[-1] == length:  # [text * head, 1, src]
            return value[: len(value) // self.batch].repeat(rows, 1, 1)
        if value.dim() == 3 and value.shape[1] == length:  # Rotations, [text, pos, angle].
            return value[:1, start:]
        if name == "attention_mask" and value.dim() == 2:  # Which tokens are there: all, [text, src].
            return value[:1].expand(rows, -1)
        if value.dim() == 2 and value.shape[1] == length:  # Positions, [text, pos].
            return value[:1, start:].expand(rows, -1)
        if value.dim() == 1 and len(value) == length:
            return value[start:]
        raise NotReplayable(f"blocks are given {name or 'an argument'} of shape {tuple(value.shape)}")
