"""Patches looked at closely: next-token logits and a head's attention in the clean, corrupted and patched runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import PatchError
from ..interventions import Patch
from ..prompts import EncodedPair
from ..sites import get_site
from .baseline import RUNS, record
from .gate import Edit, check_control, hooked, undisturbed
from .handle import ModelHandle
from .hooked import edits_for

Cell = dict[str, int]


@dataclass(frozen=True)
class Inspection:
    """The clean, the corrupted, and one or more patched runs.

    Attributes:
        logits: [2 + patched, vocab] at the last position, in the order clean, corrupted, patched...
        attention: [2 + patched, dest, src] of the head asked for, or None.
    """

    logits: Tensor
    attention: np.ndarray | None


def inspect_cells(
    handle: ModelHandle,
    pair: EncodedPair,
    patch: Patch,
    cells: list[tuple[str, Cell]],
    head: tuple[int, int] | None = None,
) -> Inspection:
    """Run both prompts and the given patches in one batch.

    Every cell is (site, {axis: index}), one patched run each. `head` is (layer, head), the one whose attention is kept.
    """
    base = pair.clean if patch.base == "clean" else pair.corrupted
    placed = [(len(RUNS) + i, get_site(site), cell) for i, (site, cell) in enumerate(cells)]
    hooks = sorted({site.hook_name(cell["layer"]) for _, site, cell in placed})
    seen: list[Tensor] = []

    def measure() -> Tensor:
        seen.clear()
        baseline = record(handle, pair, hooks)
        edits = edits_for(placed, lambda name: baseline.activation(patch.source, name))
        if head is not None:
            edits[_pattern_hook(handle, head[0])] = _watch(seen, head[1])
        rows = torch.tensor([pair.clean, pair.corrupted, *[base] * len(cells)], device=handle.device)
        with hooked(handle.hooks, edits):
            logits = handle.forward(rows)
        check_control(logits[: len(RUNS)], baseline.logits)
        return logits

    logits = undisturbed(handle.lock, measure)
    return Inspection(logits, seen[0].float().cpu().numpy() if seen else None)


def _watch(seen: list[Tensor], head: int) -> Edit:
    def edit(pattern: Tensor) -> None:
        seen.append(pattern[:, head].detach().clone())

    return edit


def _pattern_hook(handle: ModelHandle, layer: int) -> str:
    name = f"blocks.{layer}.attn.hook_pattern"
    if name not in handle.hooks:
        raise PatchError(f"the model {handle.name!r} shows no attention pattern (it has no hook {name}).")
    return name


def top_tokens(logits: Tensor, k: int) -> list[tuple[int, float, float]]:
    """Return the k likeliest next tokens of logits [vocab]: (token id, probability, logit), the likeliest first."""
    best = logits.topk(min(k, logits.shape[-1]))
    probabilities = logits.softmax(-1)
    return [(int(i), float(probabilities[i]), float(value)) for value, i in zip(*best, strict=True)]
