"""Metrics: what is read off the logits, one number per run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .answers import Target
from .errors import PatchError, quoted, unknown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """What metrics read of some runs of one prompt pair.

    Attributes:
        answer_logits: [run, step, vocab]: where each token of the answer is predicted, one step for a single token.
        foil_logits: the same for the foil; None where no metric reads it.
        answers, foils: the token sequences meant.
        clean, corrupted: [vocab] of the two plain runs, at the answer's first step.
        logits, tokens: [run, pos, vocab] and [run, pos] of the prompt alone, where a metric reads all positions.
    """

    answer_logits: Tensor
    foil_logits: Tensor | None
    answers: Target
    foils: Target
    clean: Tensor
    corrupted: Tensor
    logits: Tensor | None = None
    tokens: Tensor | None = None


@dataclass(frozen=True)
class Metric:
    """One way to score runs.

    Attributes:
        name: the field's word for it.
        unit: the unit of its values.
        score: Reading -> [run].
        needs_answer, needs_foil: whether it reads the answer, and compares it with a foil.
        whole: whether it reads the logits of all positions.
        single: whether answer and foil must be one token, or any of several, but not several in a row.
        smooth: whether it has a gradient.
        columns: whether, of answers and foils of one token each, it reads no logits but theirs.
    """

    name: str
    unit: str
    score: Callable[[Reading], Tensor]
    needs_answer: bool = True
    needs_foil: bool = False
    whole: bool = False
    single: bool = False
    smooth: bool = True
    columns: bool = False


def _first(target: Target) -> list[int]:
    return [sequence[0] for sequence in target]


def _logprob_of(logits: Tensor, target: Target) -> Tensor:
    """Return the log-probability of a target: of any of its tokens, or of all of them one after another."""
    spread = logits.log_softmax(-1)
    if len(target) > 1:
        return spread[:, 0, _first(target)].logsumexp(-1)
    return sum(spread[:, step, token] for step, token in enumerate(target[0]))  # type: ignore[return-value]


def _long(reading: Reading) -> bool:
    return any(len(sequence) > 1 for sequence in (*reading.answers, *reading.foils))


def _logit_diff(reading: Reading) -> Tensor:
    """The difference of two logits; for sets the difference of their means; for several tokens of log-probabilities.

    With one token each the normalizer cancels, so the last is what the first generalizes to.
    """
    assert reading.foil_logits is not None
    if _long(reading):
        return _logprob_of(reading.answer_logits, reading.answers) - _logprob_of(reading.foil_logits, reading.foils)
    answer, foil = (
        logits[:, 0, _first(target)].mean(-1)
        for logits, target in (
            (reading.answer_logits, reading.answers),
            (reading.foil_logits, reading.foils),
        )
    )
    return answer - foil


def _logit(reading: Reading) -> Tensor:
    return reading.answer_logits[:, 0, _first(reading.answers)].mean(-1)


def _logprob(reading: Reading) -> Tensor:
    return _logprob_of(reading.answer_logits, reading.answers)


def _prob(reading: Reading) -> Tensor:
    return _logprob(reading).exp()


def _cross_entropy(reading: Reading) -> Tensor:
    return -_logprob(reading)


def _rank(reading: Reading) -> Tensor:
    logits = reading.answer_logits[:, 0]
    best = logits[:, _first(reading.answers)].amax(-1, keepdim=True)
    return (logits > best).sum(-1).to(logits.dtype) + 1


def _accuracy(reading: Reading) -> Tensor:
    """1 where the likeliest token is the answer (any of them; each of several in a row), else 0."""
    import torch

    said = reading.answer_logits.argmax(-1)
    if len(reading.answers) > 1:
        hit = torch.isin(said[:, 0], torch.tensor(_first(reading.answers), device=said.device))
    else:
        answer = next(iter(reading.answers))
        hit = (said == torch.tensor(answer, device=said.device)).all(-1)
    return hit.to(reading.answer_logits.dtype)


def _divergence(plain: Tensor, logits: Tensor) -> Tensor:
    before, after = plain.log_softmax(-1), logits.log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1)


def _kl_clean(reading: Reading) -> Tensor:
    return _divergence(reading.clean, reading.answer_logits[:, 0])


def _kl_corrupted(reading: Reading) -> Tensor:
    return _divergence(reading.corrupted, reading.answer_logits[:, 0])


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("logit_diff", "logits", _logit_diff, needs_foil=True, columns=True),
        Metric("logit", "logits", _logit, single=True, columns=True),
        Metric("logprob", "nats", _logprob),
        Metric("prob", "probability", _prob),
        Metric("rank", "places", _rank, single=True, smooth=False),
        Metric("accuracy", "share", _accuracy, smooth=False),
        Metric("cross_entropy", "nats", _cross_entropy),
        Metric("kl_clean", "nats", _kl_clean, needs_answer=False),
        Metric("kl_corrupted", "nats", _kl_corrupted, needs_answer=False),
    )
}
"""`kl_clean` is KL(clean || run): 0 for a run that answers as the clean one does. `kl_corrupted` likewise. Ranks begin
at 1. An answer that is a set means any of its tokens: probabilities add up, logits are averaged."""

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
    """Return the metrics meant by `names`: a name, a callable `(logits, tokens) -> [pair]`, or a list of those."""
    wanted: Sequence[object] = names if isinstance(names, (list, tuple)) else [names]
    if not wanted:
        raise PatchError(f"no metric given; choose one or more of {', '.join(METRICS)}.")
    found = [_metric(name) for name in wanted]
    if len({metric.name for metric in found}) < len(found):
        raise PatchError(
            f"a metric is named twice in {[metric.name for metric in found]}; name each once, and give functions "
            "different names (def, not lambda)."
        )
    return tuple(found)


def _metric(value: object) -> Metric:
    if isinstance(value, Metric):
        if METRICS.get(value.name, value) != value:
            raise PatchError(f"a Metric called {value.name!r} has the name of a metric that exists; rename it.")
        return value
    if isinstance(value, str) and value in METRICS:
        return METRICS[value]
    if callable(value) and not isinstance(value, type):
        return _custom(value)
    raise unknown("metric", value, METRICS)


def _custom(function: Callable[..., Any]) -> Metric:
    """Return a metric that calls `function(logits [run, pos, vocab], tokens [run, pos])` and checks what it gives."""
    name = getattr(function, "__name__", type(function).__name__)
    if name in METRICS:
        raise PatchError(f"a function called {name!r} has the name of a metric that exists; rename it.")

    return Metric(name, "", _Own(name, function), needs_answer=False, whole=True, smooth=False)


@dataclass(frozen=True)
class _Own:
    """The score of a function metric: an object, as what is made inside a function cannot be sent to a worker."""

    name: str
    function: Callable[..., Any]

    def __call__(self, reading: Reading) -> Tensor:
        import torch

        name = self.name
        assert reading.logits is not None
        before = reading.logits._version
        try:
            values = self.function(reading.logits, reading.tokens)
        except Exception as error:
            raise PatchError(f"the metric {name!r} raised {type(error).__name__}: {error}") from error
        if not isinstance(values, torch.Tensor) or values.shape != reading.logits.shape[:1]:
            shape = tuple(values.shape) if isinstance(values, torch.Tensor) else quoted(values)
            raise PatchError(
                f"the metric {name!r} must return a tensor of one number per run, [{len(reading.logits)}], not {shape}."
            )
        bad = values if values.is_complex() else values[~torch.isfinite(values)]
        if len(bad):
            raise PatchError(f"the metric {name!r} returned {bad[0].item()}; it must return finite numbers.")
        if reading.logits._version != before:
            raise PatchError(f"the metric {name!r} changed the logits it was given; let it work on logits.clone().")
        return values.detach()
