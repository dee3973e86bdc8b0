"""The metrics against numbers worked out by hand, and the contract's table of precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from patchwidgets.errors import PatchError
from patchwidgets.metrics import METRICS, gap_too_small, get_metrics, tolerance

LOGITS = torch.tensor([[math.log(1.0), math.log(3.0), math.log(4.0)], [2.0, 2.0, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "answer", "foil", "expected", "unit"),
    [
        ("logit_diff", 1, 0, [math.log(3.0), 0.0], "logits"),
        ("logit_diff", 0, 1, [-math.log(3.0), 0.0], "logits"),
        ("logit", 2, None, [math.log(4.0), 2.0], "logits"),
        ("logprob", 1, None, [math.log(3 / 8), math.log(1 / 3)], "nats"),
        ("prob", 1, None, [3 / 8, 1 / 3], "probability"),
        ("prob", 2, 0, [1 / 2, 1 / 3], "probability"),
    ],
)
def test_values(name: str, answer: int, foil: int | None, expected: list[float], unit: str) -> None:
    metric = METRICS[name]
    assert metric.score(LOGITS, answer, foil).tolist() == pytest.approx(expected, abs=1e-12)
    assert metric.unit == unit
    assert metric.needs_foil is (name == "logit_diff")


def test_metrics_are_asked_for_by_name_one_or_several() -> None:
    assert [metric.name for metric in get_metrics("prob")] == ["prob"]
    assert [metric.name for metric in get_metrics(["prob", "logit"])] == ["prob", "logit"]
    assert [metric.name for metric in get_metrics(("logit_diff",))] == ["logit_diff"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("logitdif", r"unknown metric 'logitdif'; did you mean 'logit_diff'\? Known: logit_diff, logit, logprob,"),
        (["prob", "log_prob"], r"unknown metric 'log_prob'; did you mean 'logprob'\?"),
        (None, "unknown metric None"),
        ([], "no metric given; choose one or more of logit_diff, logit, logprob, prob"),
        (["prob", "prob"], r"a metric is named twice in \['prob', 'prob'\]; name each once"),
    ],
)
def test_other_names_are_refused(names: Any, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        get_metrics(names)


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
