"""Settings that cannot be swept are refused by `patch` itself, by a PatchError that names the thing and the remedy.

The model and an earlier result stay as they were.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.alignment import Alignment
from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Intervention, Mean, Noise, Patch, Resample, Scale, Standing, Vector, Zero
from patchwidgets.joint import Joint
from patchwidgets.metrics import METRICS, Metric
from tests import models
from tests.bad_input.given import LONG, SHORT, UNEQUAL, cell, ids, pair


def first_metric(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, -1, 5]


_ONE_SET = Joint({"top": [cell(layer=1, head=1)]})

ASKING: list[tuple[dict[str, Any], str]] = [
    ({"intervention": "zeros"}, r"unknown intervention 'zeros'; did you mean 'zero'\? Known: patch, zero, "),
    ({"intervention": np.zeros(3)}, r"unknown intervention array\(\[0., 0., 0.\]\)\. Known: "),
    ({"intervention": Intervention()}, r"unknown intervention <.*Intervention.*>\. Known: "),
    ({"intervention": "vector"}, r"a vector has no default; give intervention=Vector\(values\)"),
    ({"intervention": Vector}, r"Vector is a class; write intervention=Vector\(values\)"),
    ({"intervention": Scale}, r"Scale is a class; write intervention=Scale\(\)"),
    ({"intervention": Patch("noise")}, r"Patch\('noise'\) and direction='denoise' disagree; leave out intervention="),
    ({"intervention": Vector([1.0, 2.0])}, r"the vector has 2 entries and resid_pre has 32; give as many"),
    ({"site": "z", "intervention": Vector([1.0] * 32)}, r"the vector has 32 entries and z has 8; give as many"),
    ({"site": "pattern", "intervention": Vector([1.0] * 4)}, r"a cell of pattern is one number here.*give one number"),
    ({"site": "mlp_post", "intervention": Vector([1.0] * 48)}, r"a cell of mlp_post is one number here and the vector"),
    ({"site": _ONE_SET, "intervention": Vector([1.0])}, r"the vector has 1 entries and z has 8"),
    ({"intervention": "mean"}, r"mean needs other prompts and a single pair has none; give Mean\(over=dataset\)"),
    ({"intervention": "resample"}, r"resample needs other prompts and a single pair has none"),
    ({"intervention": Mean(over=[pair()])}, r"mean: over must be a Dataset, not \[PromptPair"),
    ({"intervention": Mean(over=Dataset([SHORT]))}, r"the corrupted prompts have 4 tokens, those of the mean 3"),
    ({"intervention": Mean(over=UNEQUAL)}, r"those of the mean 3 or 4\. Use Mean\(per_position=False\)"),
    (
        {"site": "pattern", "intervention": Mean(over=UNEQUAL, per_position=False)},
        r"pattern has no mean over positions; use Mean\(per_position=True\)",
    ),
    (
        {"intervention": Mean(over=Dataset([pair([1, 99], [1, 98], 5, 6)]))},
        r"pair 0 of the dataset 'dataset': clean: token id 99 is not in the vocabulary of 40 tokens",
    ),
    (
        {"intervention": Resample(over=Dataset([SHORT]))},
        r"no other corrupted prompt of 4 tokens to resample from; give",
    ),
    ({"pair": UNEQUAL, "site": "z", "intervention": "resample"}, r"no other corrupted prompt of 4 tokens to resample"),
    ({"pair": UNEQUAL}, r"the corrupted prompts have 3, 4 tokens, so a position does not mean one thing; sweep"),
    ({"pair": UNEQUAL, "site": "z", "positions": [0]}, r"a position does not mean one thing"),
    ({"pair": Dataset([pair(), pair(answer="Zebra")])}, r"pair 1 of the dataset: the answer 'Zebra' is not in this"),
    ({"pair": [pair(), SHORT]}, r"expected a PromptPair or a Dataset, got a list of pairs; write pw.Dataset\(pairs\)"),
    (
        {"intervention": "mask", "metric": "accuracy"},
        r"a mask follows the gradient .* accuracy has none; put logit_diff",
    ),
    ({"intervention": "mask", "metric": "rank"}, r"and rank has none; put logit_diff or logprob first"),
    ({"intervention": "mask", "metric": first_metric}, r"and first_metric has none; put logit_diff or logprob first"),
    ({"intervention": "mask", "standing": Standing("z", Zero())}, r"a mask cannot be swept on top of a standing"),
    ({"standing": "zero"}, r"standing must be a Standing or a list of them, not 'zero'"),
    ({"standing": [("z", Zero())]}, r"standing must hold Standing\(\"z\", Zero\(\), \.\.\.\), not \('z', Zero\(\)\)"),
    ({"standing": Standing("resid_midd", Zero())}, r"unknown site 'resid_midd'; did you mean 'resid_mid'\?"),
    ({"standing": Standing("z", Zero(), layers=[9])}, r"layer 9 does not exist: there are 3 \(0 to 2\)"),
    ({"standing": Standing("z", Zero(), positions=[99])}, r"position 99 does not exist: there are 4 \(0 to 3\)"),
    ({"standing": Standing("z", Zero(), heads=[4])}, r"head 4 does not exist: there are 4 \(0 to 3\)"),
    ({"standing": Standing("resid_pre", Zero(), heads=[0])}, r"resid_pre has no heads to choose; leave out heads="),
    ({"standing": Standing("z", Zero(), neurons=[0])}, r"Standing: z has no neurons to choose; leave out neurons="),
    ({"standing": Standing("embed", Zero(), layers=[0])}, r"embed has no layers to choose; leave out layers="),
    ({"standing": Standing("pattern", Zero(), positions=[0])}, r"pattern has no positions to choose"),
    ({"standing": Standing("z", Vector([1.0]))}, r"the vector has 1 entries and z has 8; give as many"),
    ({"standing": Standing("z", Mean())}, r"mean needs other prompts and a single pair has none"),
    ({"standing": Standing("z", Mean(over=Dataset([SHORT])))}, r"a mean at each position needs prompts of one length"),
    (
        {"intervention": Noise(samples=2), "standing": Standing("embed", Noise(samples=3))},
        r"the interventions ask for 2 and 3 samples; give all one",
    ),
    ({"site": Joint({"top": [cell(layer=9)]})}, r"layer 9 does not exist: there are 3"),
    ({"site": Joint({"top": [cell(layer=1, head=4)]})}, r"head 4 does not exist: there are 4"),
    ({"site": Joint({"top": [cell(layer=1, pos=99)]})}, r"position 99 does not exist: there are 4"),
    ({"site": Joint({"top": [cell(layer=1), cell(layer=-2)]})}, r"the set 'top' has the cell .* twice; name each once"),
    ({"site": _ONE_SET, "by": "layer"}, r"a Joint is swept by its sets; leave out by='layer'"),
    (
        {"site": _ONE_SET, "layers": [0]},
        r"a Joint names its cells; layers, positions, heads, neurons and window do not",
    ),
    ({"site": _ONE_SET, "window": 3}, r"a Joint names its cells"),
    ({"window": 0}, r"window must be a whole number, 1 or more, not 0"),
    ({"window": 2.0}, r"window must be a whole number, 1 or more, not 2.0"),
    ({"site": "embed", "window": 3}, r"a window is of layers, and this sweep is by \('pos',\); choose a granularity"),
    ({"site": "embed", "layers": [0]}, r"'embed' has no layer to choose from; it has pos"),
    ({"site": "mlp_post", "neurons": [48]}, r"neuron 48 does not exist: there are 48 \(0 to 47\)"),
    ({"site": "z", "neurons": [0]}, r"'z' has no neuron to choose from; it has layer, pos, head"),
    ({"layers": np.array([True, False])}, r"layers must be one or more whole numbers, not array\(\[ True, False\]\)"),
    ({"layers": torch.tensor([0.5])}, r"layers must be one or more whole numbers, not tensor\(\[0.5000\]\)"),
    ({"seed": 1.5}, r"seed must be a whole number, not 1.5"),
    ({"prepend_bos": 1}, r"prepend_bos must be True, False or None, not 1"),
    ({"align": "auot"}, r"align must be None, \"auto\", an Alignment or a list of .* positions, not 'auot'"),
    ({"align": [(0, 1), (1, 0)]}, r"matches \(0, 1\) and \(1, 0\) cross; keep one"),
    ({"align": [(0, 9)]}, r"match \(0, 9\): the corrupted prompt has positions 0 to 3, no 9"),
    ({"align": [(0, 0), (0, 1)]}, r"matches \(0, 0\) and \(0, 1\) both use clean position 0; keep one"),
    ({"align": [1, 2]}, r"match 1 is not a pair; write \(clean position, corrupted position\)"),
    ({"align": []}, r"align names no position of one prompt that stands for one of the other; name at least one"),
    ({"align": Alignment.one_to_one(9)}, r"match \(4, 4\): the clean prompt has positions 0 to 3, no 4"),
    ({"pair": pair(corrupted="w1 w4 w3 w8", at=1), "align": "auto"}, r"at=1 counts from the start, .* 4 and 5 tokens"),
    ({"pair": pair(at=9)}, r"position at=9 does not exist: the prompts have 4 tokens"),
    ({"pair": pair(at=-9)}, r"position at=-9 does not exist: the prompts have 4 tokens"),
    ({"pair": pair(answer=["w5", 7])}, r"answer names the token 'w5' twice; name each once"),
    ({"pair": pair(answer=["w5", "w7"], foil=["w6", "w7"])}, r"answer and foil share the token 'w7'; leave it out"),
    ({"pair": pair(answer=LONG), "metric": "logit"}, r"several tokens in a row have no single logit; use .* logprob"),
    ({"pair": pair(answer=LONG), "metric": "rank"}, r"several tokens in a row have no single rank; use the metric"),
    ({"pair": pair(answer=LONG, at=-2), "metric": "logprob"}, r"answer: several tokens in a row are read at the end"),
    (
        {"pair": pair(answer=Continuation("w5 zebra")), "metric": "prob"},
        r"has a word this model does not know; it reads",
    ),
    (
        {"pair": pair(answer=Continuation("w5 " * 20)), "metric": "logprob"},
        r"prompt and answer have 23 tokens and .* 16",
    ),
    ({"pair": pair(clean="w1 " * 100_000)}, r"the clean prompt has 100001 tokens and the model's context holds 16"),
    ({"pair": pair(clean="w1 w2 \ud800")}, r"the clean prompt has '\\ud800' at character 6, half of a character"),
    ({"pair": pair(clean=[1, 2, 3, 4])}, r"one prompt is a text and the other a list of token ids; give both as"),
    ({"pair": pair(answer="w5\ud800")}, r"the answer has '\\ud800' at character 2, half of a character; leave it out"),
    ({"pair": pair(foil=["w6", "\ud800"])}, r"the foil has '\\ud800' at character 0, half of a character"),
    (
        {"pair": pair(answer=Continuation("w5 \udfff")), "metric": "logprob"},
        r"the answer has '\\udfff' at character 3, half of a character",
    ),
    (
        {"pair": pair(answer=LONG), "metric": ["logprob", "logit_diff"], "intervention": "mask"},
        r"use their first tokens, or leave out metrics that read a foil \(logit_diff\)",
    ),
    (
        {"site": "mlp_post", "by": ("layer", "pos"), "neurons": [0, 1], "intervention": Vector([1.0] * 48)},
        r"the vector has 48 entries and neurons= names 2 of mlp_post; give 2, or one number",
    ),
    (
        {"metric": replace(METRICS["logit"], name="logit_diff")},
        r"a Metric called 'logit_diff' has the name",
    ),
    ({"metric": ["prob", Metric("prob", "", METRICS["logit"].score)]}, r"a Metric called 'prob' .* exists; rename it"),
    ({"metric": {"a": 1}}, r"unknown metric \{'a': 1\}\. Known: logit_diff, "),
    ({"metric": [lambda a, b: a, lambda a, b: b]}, r"a metric is named twice .* give functions different names"),
]


@pytest.fixture(scope="module")
def model() -> TransformerBridge:
    return models.bridge("gpt2")


@pytest.mark.parametrize(("settings", "message"), ASKING, ids=ids(ASKING))
def test_refused_when_asked(model: TransformerBridge, settings: dict[str, Any], message: str) -> None:
    before = models.state(model)
    with pytest.raises(PatchError, match=message):
        pw.patch(model, **{"pair": pair(), "site": "resid_pre", **settings})
    assert models.state(model) == before


def test_an_earlier_result_is_untouched_by_all_of_it(model: TransformerBridge) -> None:
    result = pw.patch(model, pair(), "resid_pre").wait()
    table, origin = result.data.copy(deep=True), json.dumps(result.provenance)
    for settings, message in ASKING:
        with pytest.raises(PatchError, match=message):
            pw.patch(model, **{"pair": pair(), "site": "resid_pre", **settings}).wait()
    assert result.data.identical(table)
    assert json.dumps(result.provenance) == origin
    np.testing.assert_array_equal(pw.patch(model, pair(), "resid_pre").wait().data["patched"], table["patched"])


def test_numbers_of_other_libraries_are_numbers(model: TransformerBridge) -> None:
    """What has a plain meaning is taken, and recorded as a plain number."""
    result = pw.patch(
        model, pair(), "z", layers=np.arange(2), window=np.int64(1), seed=np.int32(3), batch_size=np.int64(4),
        intervention=Scale(np.float32(0.5)),
    ).wait()  # fmt: skip
    assert result.provenance["settings"] == {"factor": 0.5}
    json.dumps(result.provenance)
    assert Noise(samples=np.int64(2)).samples == 2
