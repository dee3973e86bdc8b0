"""Masks by gradient: how strongly the metric depends on every entry of an activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import PatchError
from ..interventions import Mask
from ..metrics import Metric
from ..sites import SITES
from .baseline import RUNS, Baseline, stopping
from .gate import Edit, hooked, joined
from .hooked import Value
from .lanes import Lane
from .masks import kept_closed
from .places import index_in
from .plan import Target, hook_of
from .scoring import reading_of
from .values import Sources

Weight = Callable[[Target, Lane], Tensor]
"""The weights of a place's open entries, each between 0 and 1, as one row."""


def check_mask(metric: Metric, lanes: Sequence[Lane], standing: bool, base: str) -> None:
    """Raise PatchError where no mask can be made."""
    if metric.name == f"kl_{base}":
        raise PatchError(
            f"{metric.name} is at its least in the {base} run, so its gradient there is zero and a mask would follow "
            "rounding; put logit_diff or logprob first."
        )
    if not metric.smooth:
        raise PatchError(
            f"a mask follows the gradient of the first metric, and {metric.name} has none; put logit_diff or logprob "
            "first."
        )
    if standing:
        raise PatchError("a mask cannot be swept on top of a standing intervention; leave one of them out.")
    if any(lane.reads != "both" and lane.tail for lane in lanes):
        raise PatchError(
            "a mask needs an answer and a foil of one token: use their first tokens, or leave out metrics that read a "
            "foil (logit_diff)."
        )


def make_mask(what: Mask, sources: Sources, metric: Metric, baseline: Baseline) -> tuple[Value, Weight]:
    """Return the values of a mask and its weights. Call with the handle's lock held: it runs the model backwards.

    Stopped is raised when the sources' `stop` says so at a layer.
    """
    gradients, where = _gradients(sources, metric, baseline), sources.open()

    def weigh(target: Target, lane: Lane) -> Tensor:
        gradient = gradients[hook_of(target), lane][index_in(*target, lane, sources.base)]
        # Nothing depends on what is closed, whatever would follow if it were not.
        gradient = torch.where(where(target, lane), gradient, 0)
        size = gradient.abs() if what.absolute else gradient
        above = size > what.threshold
        if not what.graded:
            return above.to(gradient.dtype)
        shown = torch.where(above, size.clamp(min=0), torch.zeros_like(size))
        largest = shown.max()
        return shown / largest if largest > 0 else shown

    def value(target: Target, lane: Lane, now: Tensor) -> Tensor:
        return now * weigh(target, lane)

    def weight(target: Target, lane: Lane) -> Tensor:
        weights = weigh(target, lane)
        return weights[where(target, lane).expand_as(weights)]

    return kept_closed(value, where), weight


def _gradients(sources: Sources, metric: Metric, baseline: Baseline) -> dict[tuple[str, Lane], Tensor]:
    """Return the gradient of the metric with respect to every hook's activation in every lane's base run."""
    found: dict[tuple[str, Lane], Tensor] = {}
    for lane in sources.lanes:
        seen: dict[str, Tensor] = {}
        edits: dict[str, Edit] = {name: _nudged(name, seen) for name in sources.hooks}
        tokens = torch.tensor([lane.ids(sources.base)], device=sources.handle.device)
        if sources.stop is not None:
            edits = joined(stopping(sources.handle, sources.stop), edits)
        with hooked(sources.handle.hooks, edits), torch.enable_grad():
            logits = sources.handle.forward(tokens, keep=lane.kept, grad=True)
            read, plain = logits[:, lane.read], tuple(baseline.read[lane, run][0] for run in RUNS)
            value = metric.score(reading_of(lane.pair, read, read, plain))  # type: ignore[arg-type]
        if not value.requires_grad:
            raise PatchError(f"the metric {metric.name} has no gradient; put logit_diff or logprob first.")
        steps = [seen[name] for name in sources.hooks]
        gradients = torch.autograd.grad(value.sum(), steps, allow_unused=True)
        for name, gradient in zip(sources.hooks, gradients, strict=True):
            if gradient is None:  # pyright: ignore[reportUnnecessaryComparison]
                raise PatchError(f"the model shows {name} beside its computation, so it has no gradient there.")
            found[name, lane] = gradient[0].detach()
    return found


_IN_PLACE = {site.hook.rpartition(".")[2] for site in SITES.values() if site.in_place}


def _nudged(name: str, seen: dict[str, Tensor]) -> Edit:
    """Add a step of zero, with respect to which the gradient is taken; frozen weights have no graph of their own."""
    # As patches are written: into the stream's own tensor where a norm is shown it, else for the hook's reader alone.
    in_place = name.rpartition(".")[2] in _IN_PLACE

    def edit(activation: Tensor) -> Tensor:
        seen[name] = torch.zeros_like(activation, requires_grad=True)
        return activation.add_(seen[name]) if in_place else activation + seen[name]

    return edit
