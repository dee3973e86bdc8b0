"""How much memory a sweep may take beside the model, and what its pieces take of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..errors import PatchError
from .handle import ModelHandle

_T = TypeVar("_T")
_UNKNOWN = 2 * 10**9
"""The budget where nothing says how much is free, in bytes."""
_HELD = 12
"""About so many vectors of the stream's width a row of a replayed run holds between two modules."""


class Room:
    """How many patched runs the device has held at once: `most` is None until it was full."""

    most: int | None = None

    def cut(self, runs: Sequence[_T]) -> list[Sequence[_T]]:
        """Return the runs in pieces that are not known to be too many."""
        size = len(runs) if self.most is None else self.most
        return [runs[at : at + size] for at in range(0, len(runs), max(1, size))]

    def shrink(self, tried: int) -> None:
        """Note that the device did not hold so many runs, and free what is free; where it was one, raise."""
        if tried <= 1:
            raise PatchError(
                "one patched run does not fit into the device's memory beside the model: free some, or shorten the "
                "prompts."
            )
        self.most = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def budget_for(device: torch.device) -> int:
    """Return half the memory that is free on a device, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)) // 2
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return _UNKNOWN
    return max(0, int(min(free, _group_free()))) // 2


def _group_free() -> float:
    """Return how much memory the process's control group, such as a container, has left."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return int(limit) - int(used)
    except (OSError, ValueError):
        return float("inf")


def tape_bytes(handle: ModelHandle, tokens: int) -> int:
    """Return what base runs of so many tokens take on tape: streams, attention, keys and values of every layer."""
    config: Any = handle.bridge.cfg
    attended = max(config.d_model, handle.n_heads * config.d_head)
    layer = config.d_model + attended + 2 * handle.n_key_value_heads * config.d_head
    return tokens * (handle.n_layers * layer + config.d_model) * element_bytes(handle)


def row_bytes(handle: ModelHandle) -> int:
    """Return what one row of a replayed run takes while it climbs."""
    return _HELD * handle.bridge.cfg.d_model * element_bytes(handle)


def text_bytes(handle: ModelHandle, length: int, kept: int) -> int:
    """Return what one text takes in a whole forward pass: one block's activations, and logits at `kept` positions."""
    config: Any = handle.bridge.cfg
    block = length * (6 * config.d_model + 3 * (config.d_mlp or 4 * config.d_model))
    scores = 3 * handle.n_heads * length**2
    return (block + scores + 2 * kept * handle.tokenizer.vocab_size) * element_bytes(handle)


def element_bytes(handle: ModelHandle) -> int:
    """Return the bytes of one of the model's numbers."""
    return next(handle.bridge.parameters()).element_size()
