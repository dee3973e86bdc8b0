"""The hooked engine: many cells in one batch of full forward passes, for every architecture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import PatchError
from ..sites import Site
from .baseline import RUNS, Baseline
from .gate import Edit, check_control, hooked
from .handle import ModelHandle
from .plan import Plan

Placed = tuple[int, Site, dict[str, int]]
"""A row of the batch, the site patched in it, and the cell's axis indices in the model."""


def patched_logits(handle: ModelHandle, plan: Plan, baseline: Baseline, cells: Sequence[int]) -> tuple[Tensor, float]:
    """Return the logits at the last position after each cell's patch, [cell, vocab], and the control's error.

    Call with the handle's lock held. A control row rides along unpatched before and after the cells; both must
    give the base run's logits again: if they do not, another thread changed what the model computes meanwhile, and
    Disturbed is raised.
    """
    base = plan.patch.base
    ids = plan.pair.clean if base == "clean" else plan.pair.corrupted
    tokens = torch.tensor([ids], device=handle.device).expand(len(cells) + 2, -1)
    placed = [(row, plan.site, plan.cell(flat)) for row, flat in enumerate(cells, start=1)]
    edits = edits_for(placed, lambda name: baseline.activation(plan.patch.source, name))
    with hooked(handle.hooks, edits):
        logits = handle.forward(tokens)
    return logits[1:-1], check_control(logits[[0, -1]], baseline.logits[RUNS.index(base)])


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
        # In place, as TransformerLens's own setters: hook_resid_mid is at the norm's input, the stream itself.
        for row, site, cell in at:
            where = tuple(cell.get(axis, slice(None)) for axis in site.axes)
            activation[(row, *where)] = source[where]
        return activation

    return edit
