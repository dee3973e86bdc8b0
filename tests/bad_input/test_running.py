"""What only running can show is raised by `wait`, by a PatchError that names the thing; nothing is harmed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Scale
from tests import models
from tests.bad_input.given import ids, pair


def raises(logits: Tensor, tokens: Tensor) -> Tensor:
    raise KeyError("prob")


def whole(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits


def plain_number(logits: Tensor, tokens: Tensor) -> float:
    return 3.0


def not_a_number(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, -1, 5] * float("nan")


def complex_number(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, -1, 5] * 1j


def takes_nothing() -> Tensor:
    return torch.zeros(1)


def writes(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.zero_()[:, -1, 5]


RUNNING: list[tuple[dict[str, Any], str]] = [
    ({"metric": raises}, r"the metric 'raises' raised KeyError: 'prob'"),
    ({"metric": takes_nothing}, r"the metric 'takes_nothing' raised TypeError: takes_nothing\(\) takes 0 positional"),
    ({"metric": whole}, r"the metric 'whole' must return a tensor of one number per run, \[1\], not \(1, 4, 40\)"),
    ({"metric": plain_number}, r"the metric 'plain_number' must return a tensor of one number per run, \[1\], not 3.0"),
    ({"metric": not_a_number}, r"the metric 'not_a_number' returned nan; it must return finite numbers"),
    ({"metric": complex_number}, r"the metric 'complex_number' returned .*j; it must return finite numbers"),
    (
        {"metric": [writes, "logit"]},
        r"the metric 'writes' changed the logits it was given; let it work on logits.clone",
    ),
    ({"intervention": Scale(1e308)}, r"logits that are not finite: Scale's factor \(1e\+308\) may be"),
]


@pytest.fixture(scope="module")
def model() -> TransformerBridge:
    return models.bridge("gpt2")


@pytest.mark.parametrize(("settings", "message"), RUNNING, ids=ids(RUNNING))
def test_refused_while_running(model: TransformerBridge, settings: dict[str, Any], message: str) -> None:
    before = models.state(model)
    run = pw.patch(model, **{"pair": pair(), "site": "resid_pre", **settings})
    with pytest.raises(PatchError, match=message):
        run.wait()
    assert models.state(model) == before


def test_an_earlier_result_is_untouched_by_all_of_it(model: TransformerBridge) -> None:
    result = pw.patch(model, pair(), "resid_pre").wait()
    table, origin = result.data.copy(deep=True), json.dumps(result.provenance)
    for settings, message in RUNNING:
        with pytest.raises(PatchError, match=message):
            pw.patch(model, **{"pair": pair(), "site": "resid_pre", **settings}).wait()
    assert result.data.identical(table)
    assert json.dumps(result.provenance) == origin
