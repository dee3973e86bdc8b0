"""The hooked engine: many cells in one batch of full forward passes, for every architecture; the judge of faster ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import PatchError
from ..sites import Site
from .baseline import RUNS, Baseline
from .gate import Edit, hooked
from .handle import ModelHandle
from .plan import Plan


def patched_logits(handle: ModelHandle, plan: Plan, baseline: Baseline, cells: Sequence[int]) -> tuple[Tensor, float]:
    """Return the logits at the last position after each cell's patch, [cell, vocab], and the control's largest error.

    Call with the handle's lock held. The control is one more row that rides along unpatched; it must give the base run's
    logits again: if it does not, another thread changed what the model computes meanwhile, and Disturbed is raised.
    """
    base = plan.patch.base
    ids = plan.pair.clean if base == "clean" else plan.pair.corrupted
    tokens = torch.tensor([ids], device=handle.device).expand(len(cells) + 1, -1)
    edits = edits_for(plan, baseline, cells)
    with hooked(handle.hooks, edits):
        logits = handle.forward(tokens)
    return logits[:-1], _check_control(logits[-1], baseline.logits[RUNS.index(base)])


def edits_for(plan: Plan, baseline: Baseline, cells: Sequence[int]) -> dict[str, Edit]:
    """Return one edit per hook: row i of the batch gets the patch of cell i."""
    rows: dict[int, list[tuple[int, dict[str, int]]]] = defaultdict(list)
    for row, flat in enumerate(cells):
        cell = plan.cell(flat)
        rows[cell["layer"]].append((row, cell))
    edits = {}
    for layer, at in rows.items():
        name = plan.site.hook_name(layer)
        source = baseline.activation(plan.patch.source, name)
        edits[name] = _edit(plan.site, at, source)
    return edits


def _edit(site: Site, at: list[tuple[int, dict[str, int]]], source: Tensor) -> Edit:
    def edit(activation: Tensor) -> Tensor:
        if activation.shape[1:] != source.shape:
            raise PatchError(
                f"{site.name} has shape {tuple(activation.shape[1:])} in this run and {tuple(source.shape)} in the other."
            )
        patched = activation.clone()
        for row, cell in at:
            where = tuple(cell.get(axis, slice(None)) for axis in site.axes)
            patched[(row, *where)] = source[where]
        return patched

    return edit


_SLACK = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}


def _check_control(found: Tensor, expected: Tensor) -> float:
    worst = float((found - expected).abs().max())
    if not worst <= _SLACK[found.dtype] * max(1.0, float(expected.abs().max())):
        raise Disturbed(
            "a row without a patch gave other logits than the base run: the model was changed, or another thread's hooks "
            "acted on it, while the sweep ran. Remove them and run the sweep again."
        )
    return worst


class Disturbed(PatchError):
    """Something else acted on the model during a forward pass of the sweep."""
