"""Patches looked at closely: next-token logits and a head's attention in the clean, corrupted and patched runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..errors import PatchError
from ..interventions import Intervention, Mask, Patch
from ..metrics import Metric
from ..prompts import EncodedPair
from ..sites import get_site
from .baseline import RUNS, Baseline, Row, forward, record
from .gate import Edit, check_control, undisturbed
from .gradients import make_mask
from .handle import ModelHandle
from .hooked import Value, edits_for
from .lanes import Lane
from .plan import Target, hook_of
from .scoring import reading_of, score_rows
from .values import Sources, make_value

Cell = dict[str, int]


@dataclass(frozen=True)
class Inspection:
    """The clean, the corrupted, and one or more patched runs.

    Attributes:
        logits: [2 + patched, vocab] at the position read, in the order clean, corrupted, patched...
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
    *,
    intervention: Intervention | None = None,
    metric: Metric | None = None,
) -> Inspection:
    """Run both prompts and the given patches in one batch.

    Every cell is (site, {axis: index}), one patched run each; another `intervention` than a patch is shown in its first
    draw, and a mask by the gradient of `metric`. `head` is (layer, head), the one whose attention is kept. Prompts of
    unequal length are a PatchError: their attention has no common picture.
    """
    if len(pair.clean) != len(pair.corrupted):
        raise PatchError("prompts of unequal length cannot be looked at side by side yet.")
    lane = Lane(0, pair, 0, 0, "both")
    targets: list[Target] = [(get_site(site), cell) for site, cell in cells]
    if intervention is not None and not isinstance(intervention, Patch):
        for site, _ in targets:
            handle.shape(site)  # Asked for now: a model cannot be probed in the middle of a pass.
    hooks = sorted({hook_of(target) for target in targets})
    placed = [(len(RUNS) + i, lane, target) for i, target in enumerate(targets)]
    rows: list[Row] = [*((lane, run) for run in RUNS), *[(lane, patch.base)] * len(targets)]
    sources = Sources(handle, [lane], patch.base, hooks, 0, lambda over: ())
    seen: list[Tensor] = []

    def measure() -> tuple[Baseline, Tensor]:
        seen.clear()
        baseline = record(handle, [(lane, run) for run in RUNS], hooks)
        value = _values(intervention or patch, sources, baseline, metric)
        matched = intervention is None or isinstance(intervention, Patch)
        edits = edits_for(placed, patch.base, value, matched)
        if head is not None:
            edits[_pattern_hook(handle, head[0])] = _watch(seen, head[1])
        logits = forward(handle, rows, edits, whole=False)[:, lane.read][:, 0]
        for i, run in enumerate(RUNS):
            check_control(logits[i], baseline.read[lane, run][0])
        return baseline, logits

    _, logits = undisturbed(handle.lock, measure)
    return Inspection(logits, seen[0].float().cpu().numpy() if seen else None)


def _values(what: Intervention, sources: Sources, baseline: Baseline, metric: Metric | None) -> Value:
    if not isinstance(what, Mask):
        return make_value(what, sources, baseline)
    if metric is None:
        raise PatchError("a mask needs the metric whose gradient it follows.")
    return make_mask(what, sources, metric, baseline)[0]


def score(metrics: tuple[Metric, ...], logits: Tensor, pair: EncodedPair) -> np.ndarray:
    """Return the metrics of an Inspection's logits [run, vocab] as float64 [metric, run]."""
    steps = logits[:, None]
    return score_rows(metrics, reading_of(pair, steps, steps, (logits[0], logits[1])))


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
