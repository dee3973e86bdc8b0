"""Patches looked at closely: next-token logits and a head's attention in the clean, corrupted and patched runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import PatchError
from ..interventions import Intervention, Mask, Mean, Noise, Patch, Resample
from ..metrics import Metric
from ..prompts import EncodedPair
from ..sites import get_site
from .baseline import RUNS, Baseline, Row, forward
from .finite import check_logits
from .gate import Edit, check_control, joined, undisturbed
from .gradients import make_mask
from .handle import ModelHandle
from .hooked import Value, edits_for
from .lanes import Lane
from .places import Place
from .plain_runs import PlainRuns
from .plan import Target, hook_of
from .replay.climb import Watch
from .replay.looking import replayed
from .replay.parts import Stack, stack_of
from .replay.proof import prove
from .replay.seams import NotReplayable
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
    cells: Sequence[tuple[str, Place]],
    head: tuple[int, int] | None = None,
    *,
    watch: Mapping[str, Keep] | None = None,
    intervention: Intervention | None = None,
    metric: Metric | None = None,
    encode: Encode | None = None,
) -> Inspection:
    """Return what an Inspector sees, once."""
    return Inspector(handle, pair, patch, intervention=intervention, metric=metric, encode=encode).look(
        cells, head, watch=watch
    )


class Inspector:
    """Looks at patches of one pair. The plain runs are made once, as long as the model computes as it did.

    A mask follows the gradient of `metric`; `encode` gives the prompts of the dataset a mean or a sample is from, and
    random draws are those of a sweep that starts from `seed`. The plain runs' activations at `sites` are kept from the
    first look on where they are small beside the free memory.
    """

    def __init__(
        self, handle: ModelHandle, pair: EncodedPair, patch: Patch, *, intervention: Intervention | None = None,
        metric: Metric | None = None, encode: Encode | None = None, sites: Sequence[str] = (), seed: int = 0,
    ) -> None:  # fmt: skip
        self._handle, self._base, self._metric, self._seed = handle, patch.base, metric, seed
        self._what = intervention or patch
        self._lanes = [Lane(i, pair, 0, i, "both") for i in range(draws_of(self._what))]
        self._encode = encode or _no_datasets
        spare = [get_site(name).hook_name(layer) for name in sites for layer in range(handle.n_layers)]
        self._plain = PlainRuns(handle, self._lanes[0], patch.base, spare)

    def prepare(self) -> None:
        """Make the plain runs before the first look at a cell of `sites`; nothing where they are too large to keep."""
        undisturbed(self._handle.lock, self._prepared)

    def _prepared(self) -> None:
        hooks = self._plain.ahead()
        with self._plain.certain():
            try:
                stack = self._reaching(hooks)
                if hooks:
                    self._plain.with_hooks(hooks, stack)
            except NotReplayable:
                if hooks:
                    self._plain.with_hooks(hooks)

    def look(
        self, cells: Sequence[tuple[str, Place]], head: tuple[int, int] | None = None, *,
        watch: Mapping[str, Keep] | None = None,
    ) -> Inspection:  # fmt: skip
        """Run both prompts, and the base prompt once with every patch; random patches once in every draw of a sweep.

        Every cell is (site, {axis: index}), one patched run each. `head` is (layer, head), the one whose attention is
        kept; `watch` says what else is kept, by hook.
        """
        targets = self._targets(cells)
        keeps = dict(watch or {})
        if head is not None:
            keeps[pattern_hook(self._handle, head[0])] = lambda activation, run: activation[:, head[1]]
        return undisturbed(self._handle.lock, lambda: self._looked(targets, keeps, head))

    def together(self, cells: Sequence[tuple[str, Place]]) -> Inspection:
        """Run both prompts, and the base prompt with the patches of all cells at once: that is the one patched run."""
        targets = self._targets(cells)
        return undisturbed(self._handle.lock, lambda: self._at_once(targets))

    def _targets(self, cells: Sequence[tuple[str, Place]]) -> list[Target]:
        targets: list[Target] = [(get_site(site), cell) for site, cell in cells]
        if not isinstance(self._what, Patch):
            for site, _ in targets:
                self._handle.shape(site)  # Asked for now: a model cannot be probed in the middle of a pass.
        return targets

    def _at_once(self, targets: Sequence[Target]) -> Inspection:
        written = sorted({hook_of(target) for target in targets})
        with self._plain.certain():
            baseline, _ = self._plain.with_hooks(written)
            value = self._value(written, baseline)
            jobs = [(targets, each) for each in self._lanes]
            logits, _ = _patched(self._handle, self._base, baseline, jobs, value, {}, isinstance(self._what, Patch))
        check_logits(logits, (self._what,), self._handle)
        return Inspection((*self._ends(baseline), torch.stack(logits)))

    def _value(self, written: Sequence[str], baseline: Baseline) -> Value:
        sources = Sources(self._handle, self._lanes, self._base, written, self._seed, self._encode)
        return _values(self._what, sources, baseline, self._metric)

    def _ends(self, baseline: Baseline) -> list[Tensor]:
        """Return the logits of the clean and the corrupted run, [1, vocab] each."""
        return [baseline.read[self._lanes[0], run][:1] for run in RUNS]

    def _looked(self, targets: Sequence[Target], keeps: Mapping[str, Keep], head: tuple[int, int] | None) -> Inspection:
        with self._plain.certain():
            try:
                pattern = pattern_hook(self._handle, head[0]) if head else ""
                return self._measured(targets, keeps, head, self._stack(targets, keeps, pattern))
            except NotReplayable:
                return self._measured(targets, keeps, head, None)

    def _stack(self, targets: Sequence[Target], keeps: Mapping[str, Keep], pattern: str) -> Stack | None:
        """Return the model in parts where the patches can be replayed; of hooks, only the pattern is watched there."""
        if not targets or keeps.keys() - {pattern}:
            return None
        return self._reaching({hook_of(target) for target in targets} | keeps.keys())

    def _reaching(self, hooks: Collection[str]) -> Stack:
        return stack_of(self._handle, prove).reaching(sorted(hooks))

    def _measured(
        self, targets: Sequence[Target], keeps: Mapping[str, Keep], head: tuple[int, int] | None, stack: Stack | None
    ) -> Inspection:
        lane, base, matched = self._lanes[0], self._base, isinstance(self._what, Patch)
        written = sorted({hook_of(target) for target in targets})
        baseline, tapes = self._plain.with_hooks({*written, *keeps}, stack)
        value = self._value(written, baseline)
        found = {
            run: {hook: keep(baseline.activations[hook][lane, run][None], run) for hook, keep in keeps.items()}
            for run in RUNS
        }
        jobs = [(target, each) for target in targets for each in self._lanes]
        if stack is None or tapes is None:
            rows = [([target], each) for target, each in jobs]
            logits, seen = _patched(self._handle, base, baseline, rows, value, keeps, matched)
        else:
            watch = None if head is None else Watch(pattern_hook(self._handle, head[0]), *head)
            logits, above = replayed(self._handle, stack, tapes, base, baseline, jobs, value, matched, watch)
            seen = {} if watch is None else {watch.hook: [_over(found[base][watch.hook][0], each) for each in above]}
        check_logits(logits, (self._what,), self._handle)
        draws = [slice(i, i + len(self._lanes)) for i in range(0, len(jobs), len(self._lanes))]
        kept = [*found.values(), *({hook: torch.stack(rows[some]) for hook, rows in seen.items()} for some in draws)]
        attention = []
        if head is not None:
            pattern = pattern_hook(self._handle, head[0])
            attention = [each[pattern].mean(0).float().cpu().numpy() for each in kept]
        return Inspection(
            (*self._ends(baseline), *(torch.stack(logits[some]) for some in draws)), tuple(attention), tuple(kept)
        )


def _over(plain: Tensor, found: tuple[int, Tensor] | None) -> Tensor:
    """Return the base run's rows with those that were found in their place."""
    if found is None:
        return plain
    first, rows = found
    return torch.cat([plain[:first], rows])


def _patched(
    handle: ModelHandle,
    base: str,
    baseline: Baseline,
    jobs: Sequence[tuple[Sequence[Target], Lane]],
    value: Value,
    keeps: Mapping[str, Keep],
    matched: bool,
) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    """Return per run, with some targets written in one lane, the logits [vocab], and what was kept of each hook.

    An unpatched row rides along in every batch, and must give the base run's logits again.
    """
    logits: list[Tensor] = []
    seen: dict[str, list[Tensor]] = defaultdict(list)
    if not jobs:
        return logits, seen
    lane = jobs[0][1]
    size = max(1, _BATCH_TOKENS // len(lane.ids(base)))
    for start in range(0, len(jobs), size):
        chunk = jobs[start : start + size]
        placed = [(i, each, target) for i, (targets, each) in enumerate(chunk, start=1) for target in targets]
        edits = edits_for(placed, base, value, matched)
        edits = joined(edits, {hook: _watch(seen[hook], keep, base) for hook, keep in keeps.items()})
        rows: list[Row] = [(lane, base), *((each, base) for _, each in chunk)]
        found = forward(handle, rows, edits, whole=False)[:, lane.read][:, 0]
        check_control(found[0], baseline.read[lane, base][0])
        logits += found[1:]
    return logits, seen


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


def misfit(handle: ModelHandle, what: Intervention, cell: tuple[str, Place]) -> str:
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
