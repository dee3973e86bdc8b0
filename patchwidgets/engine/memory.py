"""How much memory a sweep may take beside the model, and what its pieces take of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .handle import ModelHandle

_UNKNOWN = 2 * 10**9
"""The budget where nothing says how much is free, in bytes."""
_HELD = 12
"""About so many vectors of the stream's width a row of a replayed run holds between two modules."""


def budget_for(device: torch.device) -> int:
    """Return half the memory that is free on a device, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)) // 2
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")) // 2
    except (OSError, StopIteration):
        return _UNKNOWN


def tape_bytes(handle: ModelHandle, tokens: int) -> int:
    """Return what base runs of so many tokens take on tape: streams, attention, keys and values of every layer."""
    config: Any = handle.bridge.cfg
    row = (2 * handle.n_layers + 1) * config.d_model + 2 * handle.n_layers * handle.n_key_value_heads * config.d_head
    return tokens * row * _size(handle)


def row_bytes(handle: ModelHandle) -> int:
    """Return what one row of a replayed run takes while it climbs."""
    return _HELD * handle.bridge.cfg.d_model * _size(handle)


def text_bytes(handle: ModelHandle, length: int, kept: int) -> int:
    """Return what one text takes in a whole forward pass: one block's activations, and logits at `kept` positions."""
    config: Any = handle.bridge.cfg
    block = length * (6 * config.d_model + 3 * (config.d_mlp or 4 * config.d_model))
    scores = 3 * handle.n_heads * length**2
    return (block + scores + 2 * kept * handle.tokenizer.vocab_size) * _size(handle)


def _size(handle: ModelHandle) -> int:
    return next(handle.bridge.parameters()).element_size()
