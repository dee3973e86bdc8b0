"""The metrics against numbers worked out by hand, and the contract's table of precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwidgets.answers import Target
from patchwidgets.errors import PatchError
from patchwidgets.metrics import METRICS, Reading, gap_too_small, get_metrics, tolerance


def logs(*rows: list[float]) -> Tensor:
    """Return logits whose softmax is in proportion to the numbers of each row."""
    return torch.tensor(rows, dtype=torch.float64).log()


ONE = logs([1, 3, 4], [2, 2, 2])[:, None]
"""Two runs, one step, three tokens: probabilities 1/8, 3/8, 1/2 and a third each."""
TWO = torch.stack([logs([1, 3, 4], [5, 3, 2]), logs([2, 2, 2], [1, 1, 8])])
"""The same two runs at a first step, and at a second one."""


def read(answers: Target, foils: Target = (), logits: Tensor = ONE, foil_logits: Tensor | None = None) -> Reading:
    clean, corrupted = logs([1, 1, 2], [4, 3, 1])
    return Reading(logits, logits if foil_logits is None else foil_logits, answers, foils, clean, corrupted)


def single(*tokens: int) -> Target:
    return tuple((token,) for token in tokens)


LOG = math.log
CASES: list[tuple[str, Reading, list[float]]] = [
    ("logit_diff", read(single(1), single(0)), [LOG(3), 0]),
    ("logit_diff", read(single(0), single(1)), [-LOG(3), 0]),
    ("logit_diff", read(single(1, 2), single(0)), [(LOG(3) + LOG(4)) / 2, 0]),
    ("logit_diff", read(single(0), single(1, 2)), [-(LOG(3) + LOG(4)) / 2, 0]),
    ("logit", read(single(2)), [LOG(4), LOG(2)]),
    ("logit", read(single(1, 2)), [(LOG(3) + LOG(4)) / 2, LOG(2)]),
    ("logprob", read(single(1)), [LOG(3 / 8), LOG(1 / 3)]),
    ("logprob", read(single(0, 1)), [LOG(1 / 2), LOG(2 / 3)]),
    ("logprob", read(((1, 0),), logits=TWO), [LOG(3 / 8) + LOG(1 / 2), LOG(1 / 3) + LOG(1 / 10)]),
    ("prob", read(single(1)), [3 / 8, 1 / 3]),
    ("prob", read(single(2), single(0)), [1 / 2, 1 / 3]),
    ("prob", read(single(1, 2)), [7 / 8, 2 / 3]),
    ("prob", read(((1, 0),), logits=TWO), [3 / 16, 1 / 30]),
    ("cross_entropy", read(single(1)), [LOG(8 / 3), LOG(3)]),
    ("cross_entropy", read(((2, 2),), logits=TWO), [LOG(2) + LOG(5), LOG(3) + LOG(10 / 8)]),
    ("rank", read(single(2)), [1, 1]),
    ("rank", read(single(0)), [3, 1]),
    ("rank", read(single(0, 1)), [2, 1]),
    ("accuracy", read(single(2)), [1, 0]),
    ("accuracy", read(single(0, 2)), [1, 1]),
    ("accuracy", read(((2, 0),), logits=TWO), [1, 0]),
    ("accuracy", read(((2, 2),), logits=TWO), [0, 0]),
    ("kl_clean", read(()), [LOG(1 / 4 * 8) / 4 + LOG(1 / 4 * 8 / 3) / 4, LOG(3 / 4) / 2 + LOG(3 / 2) / 2]),
    ("kl_corrupted", read(()), [LOG(4) / 2 + LOG(1) * 3 / 8 + LOG(1 / 4) / 8,
                                LOG(3 / 2) / 2 + LOG(9 / 8) * 3 / 8 + LOG(3 / 8) / 8]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reading", "expected"), CASES)
def test_values(name: str, reading: Reading, expected: list[float]) -> None:
    assert METRICS[name].score(reading).tolist() == pytest.approx(expected, abs=1e-12)


def test_every_metric_has_a_number_worked_out_by_hand() -> None:
    assert {name for name, _, _ in CASES} == set(METRICS)


def test_answer_and_foil_of_unequal_length_are_each_read_where_they_stand() -> None:
    """The foil has two tokens and is read in a text of its own; the answer has one."""
    found = METRICS["logit_diff"].score(read(single(1), ((2, 0),), logits=ONE, foil_logits=TWO))
    expected = [LOG(3 / 8) - (LOG(1 / 2) + LOG(1 / 2)), LOG(1 / 3) - (LOG(1 / 3) + LOG(1 / 10))]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_for_one_token_each_the_difference_of_logits_is_that_of_log_probabilities() -> None:
    pair = read(single(2), single(1))
    other = METRICS["logprob"].score(pair) - METRICS["logprob"].score(read(single(1)))
    torch.testing.assert_close(METRICS["logit_diff"].score(pair), other)


def test_what_a_metric_says_of_itself() -> None:
    assert {name for name, metric in METRICS.items() if metric.needs_foil} == {"logit_diff"}
    assert {name for name, metric in METRICS.items() if not metric.needs_answer} == {"kl_clean", "kl_corrupted"}
    assert {name for name, metric in METRICS.items() if metric.single} == {"logit", "rank"}
    assert {name for name, metric in METRICS.items() if not metric.smooth} == {"rank", "accuracy"}
    assert not any(metric.whole for metric in METRICS.values())
    assert {metric.unit for metric in METRICS.values()} == {"logits", "nats", "probability", "places", "share"}


def test_metrics_are_asked_for_by_name_one_or_several() -> None:
    assert [metric.name for metric in get_metrics("prob")] == ["prob"]
    assert [metric.name for metric in get_metrics(["prob", "logit"])] == ["prob", "logit"]
    assert [metric.name for metric in get_metrics(("logit_diff",))] == ["logit_diff"]
    assert get_metrics(METRICS["rank"]) == (METRICS["rank"],)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("logitdif", r"unknown metric 'logitdif'; did you mean 'logit_diff'\? Known: logit_diff, logit, logprob,"),
        (["prob", "log_prob"], r"unknown metric 'log_prob'; did you mean 'logprob'\?"),
        (None, "unknown metric None"),
        (Reading, "unknown metric <class"),
        ([], "no metric given; choose one or more of logit_diff, logit, logprob, prob"),
        (["prob", "prob"], r"a metric is named twice in \['prob', 'prob'\]; name each once"),
    ],
)
def test_other_names_are_refused(names: Any, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        get_metrics(names)


def whole(runs: int = 2) -> Reading:
    logits = torch.arange(runs * 3 * 4, dtype=torch.float64).reshape(runs, 3, 4)
    tokens = torch.tensor([[3, 1, 2]]).expand(runs, -1)
    return Reading(logits[:, -1:], None, (), (), logits[0, -1], logits[0, -1], logits, tokens)


def named(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, 0, 1] + tokens[:, -1]


class Weighed:
    """A callable object has no name of its own but that of its class."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return 2 * named(logits, tokens)


@pytest.mark.parametrize(
    ("function", "name", "expected"),
    [
        (named, "named", [3.0, 15.0]),
        (lambda logits, tokens: logits.sum((1, 2)), "<lambda>", [66.0, 210.0]),
        (Weighed(), "Weighed", [6.0, 30.0]),
    ],
)
def test_a_function_of_logits_and_tokens_is_a_metric(
    function: Callable[..., Tensor], name: str, expected: list[float]
) -> None:
    (metric,) = get_metrics(function)
    assert (metric.name, metric.unit, metric.needs_answer, metric.needs_foil) == (name, "", False, False)
    assert (metric.whole, metric.smooth) == (True, False)
    assert metric.score(whole()).tolist() == expected


def test_functions_and_names_go_together() -> None:
    assert [metric.name for metric in get_metrics([named, "prob"])] == ["named", "prob"]


def raising(logits: Tensor, tokens: Tensor) -> Tensor:
    raise KeyError("no such token")


def floating(logits: Tensor, tokens: Tensor) -> float:
    return 1.0


def wide(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, -1]


def scalar(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.sum()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raising, r"the metric 'raising' raised KeyError: 'no such token'"),
        (floating, r"the metric 'floating' must return a tensor of one number per run, \[2\], not 1\.0\."),
        (wide, r"the metric 'wide' must return a tensor of one number per run, \[2\], not \(2, 4\)\."),
        (scalar, r"the metric 'scalar' must return a tensor of one number per run, \[2\], not \(\)\."),
        (lambda logits: logits, r"the metric '<lambda>' raised TypeError: .* takes 1 positional argument"),
        (lambda logits, tokens: None, r"the metric '<lambda>' must return a tensor .* not None\."),
    ],
)
def test_what_a_function_does_wrong_is_said_with_its_name(function: Callable[..., Any], message: str) -> None:
    (metric,) = get_metrics(function)
    with pytest.raises(PatchError, match=message):
        metric.score(whole())


def test_a_function_may_not_take_the_name_of_a_metric() -> None:
    def prob(logits: Tensor, tokens: Tensor) -> Tensor:
        return logits[:, -1, 0]

    with pytest.raises(PatchError, match="a function called 'prob' has the name of a metric that exists; rename it"):
        get_metrics(prob)


@pytest.mark.parametrize(
    ("dtype", "gap", "expected"),
    [
        ("float64", 0.5, 1e-8),
        ("float64", -20.0, 2e-7),
        ("float32", 0.0, 1e-4),
        ("float32", 11.6, 1.16e-3),
        ("bfloat16", 1.0, 5e-2),
        ("float16", -3.0, 0.15),
    ],
)
def test_tolerance_is_the_contracts_table(dtype: str, gap: float, expected: float) -> None:
    assert tolerance(dtype, gap) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("base", "source", "small"),
    [
        (0.0, 0.0, True),
        (0.0, 0.99e-4, True),
        (0.0, 1.01e-4, False),
        (100.0, 100.0099, True),
        (100.0, 100.02, False),
        (-100.0, -100.0099, True),
        (-5.0, 5.0, False),
    ],
)
def test_a_gap_is_small_beside_the_larger_of_the_two(base: float, source: float, small: bool) -> None:
    assert gap_too_small(base, source) is small
    assert gap_too_small(source, base) is small
