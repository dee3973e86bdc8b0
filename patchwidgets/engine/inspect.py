"""Patches looked at closely: next-token logits and a head's attention in the clean, corrupted and patched runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import PatchError
from ..interventions import Intervention, Mask, Mean, Noise, Patch, Resample
from ..metrics import Metric
from ..prompts import EncodedPair
from ..sites import get_site
from .baseline import RUNS, Baseline, Row, forward, record
from .gate import Edit, check_control, undisturbed
from .gradients import make_mask
from .handle import ModelHandle
from .hooked import Value, edits_for, joined
from .lanes import Lane
from .plan import Target, hook_of
from .scoring import reading_of, score_rows
from .values import Encode, Sources, check_vector, make_value

Cell = dict[str, int]
Keep = Callable[[Tensor, str], Tensor]
"""(an activation [row, ...], the run that its rows are of) -> what is kept of it, [row, ...]."""
_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Inspection:
    """The clean run, the corrupted run, then one or more patched ones.

    Attributes:
        logits: per run [draw, vocab] at the position read; one draw, but for patches that are drawn at random.
        attention: per run [dest, src] of the head asked for, over the run's own positions; the mean over the draws of
            a patched run. Empty when no head was asked for.
        kept: per run what was kept of the hooks that were watched, [draw, ...] by hook.
    """

    logits: tuple[Tensor, ...]
    attention: tuple[np.ndarray, ...] = ()
    kept: tuple[dict[str, Tensor], ...] = ()


def inspect_cells(
    handle: ModelHandle,
    pair: EncodedPair,
    patch: Patch,
    cells: Sequence[tuple[str, Cell]],
    head: tuple[int, int] | None = None,
    *,
    watch: Mapping[str, Keep] | None = None,
    intervention: Intervention | None = None,
    metric: Metric | None = None,
    encode: Encode | None = None,
) -> Inspection:
    """Run both prompts, and the base prompt once with every patch; random patches once in every draw of a sweep.

    Every cell is (site, {axis: index}), one patched run each. `head` is (layer, head), the one whose attention is kept;
    `watch` says what else is kept, by hook. A mask follows the gradient of `metric`; `encode` gives the prompts of the
    dataset a mean or a sample is from.
    """
    what = intervention or patch
    lanes = [Lane(i, pair, 0, i, "both") for i in range(draws_of(what))]
    targets: list[Target] = [(get_site(site), cell) for site, cell in cells]
    if not isinstance(what, Patch):
        for site, _ in targets:
            handle.shape(site)  # Asked for now: a model cannot be probed in the middle of a pass.
    written = sorted({hook_of(target) for target in targets})
    keeps = dict(watch or {})
    pattern = pattern_hook(handle, head[0]) if head else ""
    if head is not None:
        keeps[pattern] = lambda activation, run: activation[:, head[1]]
    sources = Sources(handle, lanes, patch.base, written, 0, encode or _no_datasets)

    def measure() -> Inspection:
        baseline = record(handle, [(lanes[0], run) for run in RUNS], {*written, *keeps})
        value = _values(what, sources, baseline, metric)
        logits, kept = _patched(handle, lanes, patch.base, baseline, targets, value, keeps, isinstance(what, Patch))
        plain = [baseline.read[lanes[0], run][:1] for run in RUNS]
        kept = [*({h: keep(_row(baseline, h, lanes[0], run), run) for h, keep in keeps.items()} for run in RUNS), *kept]
        seen = [each[pattern].mean(0).float().cpu().numpy() for each in kept] if head else []
        return Inspection((*plain, *logits), tuple(seen), tuple(kept))

    return undisturbed(handle.lock, measure)


def _row(baseline: Baseline, hook: str, lane: Lane, run: str) -> Tensor:
    return baseline.activations[hook][lane, run][None]


def _patched(
    handle: ModelHandle,
    lanes: Sequence[Lane],
    base: str,
    baseline: Baseline,
    targets: Sequence[Target],
    value: Value,
    keeps: Mapping[str, Keep],
    matched: bool,
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return per target the logits [draw, vocab] and what was kept of each hook, [draw, ...].

    An unpatched row rides along in every batch, and must give the base run's logits again.
    """
    jobs = [(target, lane) for target in targets for lane in lanes]
    size = max(1, _BATCH_TOKENS // len(lanes[0].ids(base)))
    logits: list[Tensor] = []
    seen: dict[str, list[Tensor]] = defaultdict(list)
    for start in range(0, len(jobs), size):
        chunk = jobs[start : start + size]
        rows: list[Row] = [(lanes[0], base), *((lane, base) for _, lane in chunk)]
        placed = [(i, lane, target) for i, (target, lane) in enumerate(chunk, start=1)]
        edits = edits_for(placed, base, value, matched)
        edits = joined(edits, {hook: _watch(seen[hook], keep, base) for hook, keep in keeps.items()})
        found = forward(handle, rows, edits, whole=False)[:, lanes[0].read][:, 0]
        check_control(found[0], baseline.read[lanes[0], base][0])
        logits += found[1:]
    draws = [slice(i, i + len(lanes)) for i in range(0, len(jobs), len(lanes))]
    kept = [{hook: torch.stack(found[some]) for hook, found in seen.items()} for some in draws]
    return [torch.stack(logits[some]) for some in draws], kept


def _watch(seen: list[Tensor], keep: Keep, base: str) -> Edit:
    """Keep something of the patched rows; what is written there stays."""

    def edit(activation: Tensor) -> Tensor:
        seen.extend(keep(activation[1:], base).detach().clone())
        return activation

    return edit


def _values(what: Intervention, sources: Sources, baseline: Baseline, metric: Metric | None) -> Value:
    if not isinstance(what, Mask):
        return make_value(what, sources, baseline)
    if metric is None:
        raise PatchError("a mask needs the metric whose gradient it follows.")
    return make_mask(what, sources, metric, baseline)[0]


def _no_datasets(over: object) -> tuple[EncodedPair, ...]:
    raise PatchError("no way to read the dataset was given; pass encode=.")


def draws_of(what: Intervention) -> int:
    """Return how many random draws an intervention's effect is the mean of, 1 where nothing is drawn."""
    return what.samples if isinstance(what, (Noise, Resample)) else 1


def misfit(handle: ModelHandle, what: Intervention, cell: tuple[str, Cell]) -> str:
    """Return why an intervention cannot be made at a cell of another site, "" where it can. May run the model."""
    site = get_site(cell[0])
    if isinstance(what, Mean) and not what.per_position and "dest" in site.axes:
        return f"{site.name} has no mean over positions."
    try:
        check_vector(what, site, handle.shape(site), tuple(cell[1]))
    except PatchError as error:
        return str(error)
    return ""


def score(metrics: tuple[Metric, ...], seen: Inspection, pair: EncodedPair) -> np.ndarray:
    """Return the metrics of an Inspection's runs as float64 [metric, run], means over the draws."""
    steps = torch.cat(seen.logits)[:, None]
    values = score_rows(metrics, reading_of(pair, steps, steps, (seen.logits[0][0], seen.logits[1][0])))
    ends = np.cumsum([len(logits) for logits in seen.logits])[:-1]
    return np.stack([part.mean(axis=1) for part in np.split(values, ends, axis=1)], axis=1)


def pattern_hook(handle: ModelHandle, layer: int) -> str:
    """Return the name of the hook that shows a layer's attention; PatchError where there is none."""
    name = f"blocks.{layer}.attn.hook_pattern"
    if name not in handle.hooks:
        raise PatchError(f"the model {handle.name!r} shows no attention pattern (it has no hook {name}).")
    return name


def top_tokens(logits: Tensor, k: int) -> list[tuple[int, float, float]]:
    """Return the k likeliest next tokens of logits [vocab] or [draw, vocab], the likeliest first.

    Each is (token id, probability, logit), both of them means over the draws.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    probabilities, means = rows.softmax(-1).mean(0), rows.mean(0)
    best = probabilities.topk(min(k, rows.shape[-1]))
    return [(int(i), float(p), float(means[i])) for p, i in zip(*best, strict=True)]
