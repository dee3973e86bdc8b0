"""The hooked engine: many cells in one batch of full forward passes, for every architecture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import PatchError
from ..sites import Site
from .baseline import RUNS, Baseline
from .gate import Edit, hooked
from .handle import ModelHandle
from .plan import Plan

Placed = tuple[int, Site, dict[str, int]]
"""A row of the batch, the site patched in it, and the cell's axis indices in the model."""


def patched_logits(handle: ModelHandle, plan: Plan, baseline: Baseline, cells: Sequence[int]) -> tuple[Tensor, float]:
    """Return the logits at the last position after each cell's patch, [cell, vocab], and the control's error.

    Call with the handle's lock held. The control is one more row that rides along unpatched; it must give the base
    run's logits again: if it does not, another thread changed what the model computes meanwhile, and Disturbed is
    raised.
    """
    base = plan.patch.base
    ids = plan.pair.clean if base == "clean" else plan.pair.corrupted
    tokens = torch.tensor([ids], device=handle.device).expand(len(cells) + 1, -1)
    placed = [(row, plan.site, plan.cell(flat)) for row, flat in enumerate(cells)]
    edits = edits_for(placed, lambda name: baseline.activation(plan.patch.source, name))
    with hooked(handle.hooks, edits):
        logits = handle.forward(tokens)
    return logits[:-1], _check_control(logits[-1], baseline.logits[RUNS.index(base)])


def edits_for(placed: Sequence[Placed], source: Callable[[str], Tensor]) -> dict[str, Edit]:
    """Return one edit per hook that puts, into the given rows of a batch, the given cells of `source(hook name)`."""
    rows: dict[str, list[Placed]] = defaultdict(list)
    for row, site, cell in placed:
        rows[site.hook_name(cell["layer"])].append((row, site, cell))
    return {name: _edit(at, source(name)) for name, at in rows.items()}


def _edit(at: list[Placed], source: Tensor) -> Edit:
    def edit(activation: Tensor) -> Tensor:
        if activation.shape[1:] != source.shape:
            raise PatchError(
                f"an activation has shape {tuple(activation.shape[1:])}, and {tuple(source.shape)} in the other run."
            )
        patched = activation.clone()
        for row, site, cell in at:
            where = tuple(cell.get(axis, slice(None)) for axis in site.axes)
            patched[(row, *where)] = source[where]
        return patched

    return edit


_SLACK = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}


def _check_control(found: Tensor, expected: Tensor) -> float:
    worst = float((found - expected).abs().max())
    if not worst <= _SLACK[found.dtype] * max(1.0, float(expected.abs().max())):
        raise Disturbed(
            "a row without a patch gave other logits than the base run: the model was changed, or another thread's "
            "hooks acted on it, while the sweep ran. Remove them and run the sweep again."
        )
    return worst


class Disturbed(PatchError):
    """Something else acted on the model during a forward pass of the sweep."""
