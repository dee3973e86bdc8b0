"""Metrics: what is read off the logits at the last position, one number per prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import PatchError, unknown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """One way to score logits.

    Attributes:
        name: the field's word for it.
        unit: the unit of its values.
        needs_foil: whether it compares the answer with a foil.
        score: (logits [pair, vocab], answer id, foil id or None) -> [pair].
    """

    name: str
    unit: str
    needs_foil: bool
    score: Callable[[Tensor, int, int | None], Tensor]


def _logit_diff(logits: Tensor, answer: int, foil: int | None) -> Tensor:
    return logits[:, answer] - logits[:, foil]


def _logit(logits: Tensor, answer: int, foil: int | None) -> Tensor:
    return logits[:, answer]


def _logprob(logits: Tensor, answer: int, foil: int | None) -> Tensor:
    return logits.log_softmax(-1)[:, answer]


def _prob(logits: Tensor, answer: int, foil: int | None) -> Tensor:
    return logits.softmax(-1)[:, answer]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("logit_diff", "logits", True, _logit_diff),
        Metric("logit", "logits", False, _logit),
        Metric("logprob", "nats", False, _logprob),
        Metric("prob", "probability", False, _prob),
    )
}

_EPSILON = {"float64": 1e-8, "float32": 1e-4, "bfloat16": 5e-2, "float16": 5e-2}


def tolerance(dtype: str, gap: float) -> float:
    """Return how far two computations of one number may differ: the table of precision, in the metric's unit.

    `dtype` is the model's ("float32"), `gap` the difference of the metric between the two runs.

    >>> tolerance("float32", 5.0)
    0.0005
    """
    return _EPSILON[dtype] * max(abs(gap), 1.0)


def gap_too_small(base: float, source: float) -> bool:
    """Return whether the two runs are too close for a normalized effect to mean anything."""
    return abs(source - base) < 1e-4 * max(1.0, abs(source), abs(base))


def get_metrics(names: object) -> tuple[Metric, ...]:
    """Return the metrics called `names` (one name, or several in a list or tuple)."""
    wanted: Sequence[object] = names if isinstance(names, (list, tuple)) else [names]
    if not wanted:
        raise PatchError(f"no metric given; choose one or more of {', '.join(METRICS)}.")
    for name in wanted:
        if not isinstance(name, str) or name not in METRICS:
            raise unknown("metric", name, METRICS)
    if len(set(wanted)) < len(wanted):
        raise PatchError(f"a metric is named twice in {list(wanted)}; name each once.")
    return tuple(METRICS[str(name)] for name in wanted)
