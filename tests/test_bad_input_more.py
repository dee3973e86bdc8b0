"""The rest of the table of wrong inputs: interventions, datasets, joints, alignments, metrics, and models.

Each is answered by a PatchError that names the thing and the remedy, by the call that was given it; what only running
can show, by `wait`. The model and an earlier result stay as they were.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2Model,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

import patchwidgets as pw
from patchwidgets.alignment import Alignment
from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.errors import ModelError, PatchError
from patchwidgets.interventions import (
    Intervention,
    Mask,
    Mean,
    Noise,
    Patch,
    Resample,
    Scale,
    Standing,
    Vector,
    Zero,
)
from patchwidgets.joint import Joint
from patchwidgets.prompts import PromptPair
from tests import models

CLEAN, CORRUPTED = "w1 w2 w3", "w1 w4 w3"


def pair(clean: Any = CLEAN, corrupted: Any = CORRUPTED, answer: Any = "w5", foil: Any = "w6", at: Any = -1) -> Any:
    return PromptPair(clean, corrupted, answer=answer, foil=foil, at=at)


SHORT = pair("w1 w2", "w1 w4")
UNEQUAL = Dataset([pair(), SHORT])
LONG = Continuation("w5 w7")


def cell(site: str = "z", **place: Any) -> tuple[str, dict[str, Any]]:
    return site, place


def first_metric(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, -1, 5]


MAKING: list[tuple[Callable[[], object], str]] = [
    (lambda: Vector([1.0, float("nan")]), r"Vector: values must be a list of finite numbers, not \[1.0, nan\]"),
    (lambda: Vector([[1.0, 2.0]]), r"Vector: values must be a list of finite numbers, not \[\[1.0, 2.0\]\]"),
    (lambda: Vector([]), r"Vector: values must be a list of finite numbers, not \[\]"),
    (lambda: Vector(["a"]), r"Vector: values must be numbers, not \['a'\]"),
    (lambda: Vector(None), r"Vector: values must be a list of finite numbers, not None"),
    (lambda: Vector([1.0], add="yes"), r"Vector: add must be True or False, not 'yes'"),
    (lambda: Scale("half"), r"Scale: factor must be a finite number, not 'half'"),
    (lambda: Scale(float("inf")), r"Scale: factor must be a finite number, not inf"),
    (lambda: Noise(-1.0), r"Noise: sigma must be 0 or more, not -1.0"),
    (lambda: Noise(samples=0), r"samples must be a whole number, 1 or more, not 0"),
    (lambda: Resample(samples=1.5), r"samples must be a whole number, 1 or more, not 1.5"),
    (lambda: Resample(run="both"), r"unknown run 'both'\. Known: clean, corrupted"),
    (lambda: Mean(run="clena"), r"unknown run 'clena'; did you mean 'clean'\?"),
    (lambda: Mean(per_position="no"), r"Mean: per_position must be True or False, not 'no'"),
    (lambda: Mask(absolute=1), r"Mask: absolute must be True or False, not 1"),
    (lambda: Mask(graded=None), r"Mask: graded must be True or False, not None"),
    (lambda: Mask("x"), r"Mask: threshold must be a finite number, not 'x'"),
    (lambda: Standing("z", "zero"), r"Standing: 'zero' is not an intervention such as Zero\(\)"),
    (lambda: Standing("z", Zero), r"Standing: <class .*Zero'> is not an intervention"),
    (lambda: Standing("z", Zero(), runs="base"), r"unknown runs 'base'\. Known: clean, corrupted, both"),
    (lambda: Standing("z", Mask()), r"a mask cannot stand; sweep it, or stand Mean, Vector, Zero or Scale"),
    (lambda: Standing("z", Patch()), r"a patch cannot stand; sweep it"),
    (lambda: Joint({}), r"a Joint needs at least one named set of cells, not \{\}"),
    (lambda: Joint([cell(layer=1)]), r"a Joint needs at least one named set of cells, not \["),
    (lambda: Joint({"top": []}), r"the set 'top' must be a list of cells such as \(\"z\""),
    (lambda: Joint({"top": cell(layer=1)}), r"the set 'top' has the cell 'z'; write \(\"z\""),
    (lambda: Joint({1: [cell(layer=1)]}), r"a set of a Joint needs a name in letters, not 1"),
    (lambda: Joint({"top": [cell("zz", layer=1)]}), r"unknown site 'zz'; did you mean 'z'\?"),
    (lambda: Joint({"top": [cell(layer=1, neuron=1)]}), r"the set 'top': z has no axis 'neuron'; it has layer, pos"),
    (lambda: Joint({"top": [cell(head=1)]}), r"the set 'top': the cell of z names no layer; add \"layer\""),
    (lambda: Joint({"top": [cell(layer=1.5)]}), r"the set 'top': layer must be a whole number, not 1.5"),
    (lambda: Joint({"top": [cell(layer=1, head=2)] * 2}), r"the set 'top' has the cell .* twice; name each once"),
    (
        lambda: Joint({"top": [cell(layer=1, head=2), cell(layer=1)]}),
        r"the set 'top': \('z', \{'layer': 1, 'head': 2\}\) and \('z', \{'layer': 1\}\) overlap; leave one out",
    ),
    (
        lambda: Joint({"top": [cell("pattern", layer=1, dest=0, src=2)]}),
        r"the set 'top': position 0 never attends to 2, which comes after it; leave that cell out",
    ),
    (lambda: Alignment(((0, 0), (2, 1))), r"alignment: clean position 2 stands where 1 is due; name every position"),
    (lambda: Continuation(None), r"a Continuation is a text or a list of token ids, not None"),
    (lambda: Dataset([]), r"the dataset 'dataset' is empty; give at least one pair"),
    (lambda: Dataset(pair()), r"expected several pairs, got one PromptPair; put it in a list"),
    (lambda: Dataset([pair(), "w1"]), r"row 1 of 'dataset' is 'w1', not a PromptPair; write pw.PromptPair\("),
    (lambda: pair(answer=[]), r"answer is an empty list; give one token or more"),
    (lambda: pair(answer=[["w5"]]), r"answer must be a text, a token id, a list of those .*, not \[\['w5'\]\]"),
    (lambda: pair(foil=1.5), r"foil must be a text, a token id.*, not 1.5"),
    (lambda: pair(answer=True), r"answer must be a text, a token id.*, not True"),
    (lambda: pair(at="last"), r"at must be a position \(a whole number, -1 the last\), not 'last'"),
    (lambda: pair(clean=b"w1"), r"clean must be a text or a list of token ids, not b'w1'"),
    (lambda: pair([1.0, 2], [1, 3]), r"clean must be a text or a list of token ids, not \[1.0, 2\]"),
    (lambda: pair([[1, 2]], [[1, 3]]), r"clean must be a text or a list of token ids, not \[\[1, 2\]\]"),
]

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
    ({"metric": {"a": 1}}, r"unknown metric \{'a': 1\}\. Known: logit_diff, "),
    ({"metric": [lambda a, b: a, lambda a, b: b]}, r"a metric is named twice .* give functions different names"),
]


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
    ({"intervention": Scale(1e308)}, r"a patched run gave logits that are not finite; check the model's dtype"),
]


def _ids(table: list[tuple[Any, str]]) -> list[str]:
    return [message[:48] for _, message in table]


@pytest.fixture(scope="module")
def model() -> TransformerBridge:
    return models.bridge("gpt2")


@pytest.mark.parametrize(("make", "message"), MAKING, ids=_ids(MAKING))
def test_refused_when_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(PatchError, match=message):
        make()


@pytest.mark.parametrize(("settings", "message"), ASKING, ids=_ids(ASKING))
def test_refused_when_asked(model: TransformerBridge, settings: dict[str, Any], message: str) -> None:
    before = models.state(model)
    with pytest.raises(PatchError, match=message):
        pw.patch(model, **{"pair": pair(), "site": "resid_pre", **settings})
    assert models.state(model) == before


@pytest.mark.parametrize(("settings", "message"), RUNNING, ids=_ids(RUNNING))
def test_refused_while_running(model: TransformerBridge, settings: dict[str, Any], message: str) -> None:
    before = models.state(model)
    run = pw.patch(model, **{"pair": pair(), "site": "resid_pre", **settings})
    with pytest.raises(PatchError, match=message):
        run.wait()
    assert models.state(model) == before


def test_an_earlier_result_is_untouched_by_all_of_it(model: TransformerBridge) -> None:
    result = pw.patch(model, pair(), "resid_pre").wait()
    table, origin = result.data.copy(deep=True), json.dumps(result.provenance)
    for settings, message in [*ASKING, *RUNNING]:
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


# Models.


def _tiny(kind: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    config._attn_implementation = "eager"
    config.architectures = [kind.__name__]
    return kind(config).eval()


_GPT2 = {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": models.VOCAB, "n_positions": 8}


def mamba() -> PreTrainedModel:
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "intermediate_size": 32, "time_step_rank": 2}
    return _tiny(MambaForCausalLM, MambaConfig(vocab_size=models.VOCAB, **sizes))


def t5() -> PreTrainedModel:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return _tiny(T5ForConditionalGeneration, T5Config(vocab_size=models.VOCAB, decoder_start_token_id=0, **sizes))


HELD: list[tuple[Callable[[], Any], dict[str, Any], str]] = [
    (mamba, {}, r"layer 0 of this model has no attention: it is a state-space model, or a hybrid; only decoder-only"),
    (t5, {}, r"this is an encoder-decoder model; only decoder-only language models can be patched"),
    (lambda: _tiny(GPT2Model, GPT2Config(**_GPT2)), {}, r"GPT2Model has no output over the vocabulary, so it predicts"),
    (
        lambda: _tiny(GPT2ForSequenceClassification, GPT2Config(**_GPT2)),
        {},
        r"GPT2ForSequenceClassification has no output over the vocabulary.*load it with AutoModelForCausalLM",
    ),
    (
        models.hugging_face,
        {"tokenizer": "gpt2"},
        r"tokenizer must be a transformers tokenizer, not 'gpt2'; make one with",
    ),
    (
        models.hugging_face,
        {"tokenizer": models.tokenizer().backend_tokenizer},
        r"tokenizer must be a transformers tokenizer, not Tokenizer\(",
    ),
    (lambda: models.hugging_face().state_dict(), {}, r"expected a model from pw.load_model\(\), got 'OrderedDict'"),
    (lambda: GPT2Config(**_GPT2), {}, r"expected a model from pw.load_model\(\), got 'GPT2Config'"),
    (lambda: torch.nn.DataParallel(models.hugging_face()), {}, r"DataParallel is not a Hugging Face language model"),
]


@pytest.mark.filterwarnings("ignore:the Hugging Face model is bridged in place")
@pytest.mark.parametrize(("make", "options", "message"), HELD, ids=[message[:48] for *_, message in HELD])
def test_models_that_cannot_be_patched(make: Callable[[], Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pw.load_model(make(), **{"tokenizer": models.tokenizer(), **options})


@pytest.mark.filterwarnings("ignore:the Hugging Face model is bridged in place")
def test_a_model_that_reads_both_ways_is_refused_by_patch() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    bert = _tiny(BertForMaskedLM, BertConfig(vocab_size=models.VOCAB, **sizes))
    bert.cls.predictions.decoder.weight.data.normal_(0, 1.0)
    model = pw.load_model(bert, tokenizer=models.tokenizer())
    with pytest.raises(ModelError, match=r"it is not a causal language model\. Only decoder-only, left-to-right"):
        pw.patch(model, pair(), "z")


@pytest.mark.filterwarnings("ignore:the Hugging Face model is bridged in place")
def test_a_model_of_two_dtypes_is_refused_by_patch() -> None:
    mixed = models.hugging_face("llama", torch.float32)
    mixed.lm_head.double()
    model = pw.load_model(mixed, tokenizer=models.tokenizer())
    with pytest.raises(ModelError, match=r"does not run on three tokens: .* Check that all its weights have one dtype"):
        pw.patch(model, pair(), "z")


@pytest.mark.filterwarnings("ignore:the Hugging Face model is bridged in place")
def test_another_models_tokenizer_is_noticed_when_it_names_a_token_too_many() -> None:
    tokenizer = models.tokenizer()
    tokenizer.add_tokens([f"x{i}" for i in range(20)])
    model = pw.load_model(models.hugging_face(), tokenizer=tokenizer)
    told = r"the tokenizer reads 'x7' as token id 47, and this model's vocabulary ends at 39; .* load the model's own"
    wrong = {"clean": pair(clean="w1 w2 x7"), "answer": pair(answer="x7"), "foil": pair(foil=Continuation("w5 x7"))}
    for field, given in wrong.items():
        with pytest.raises(PatchError, match=f"{field}: {told}"):
            pw.patch(model, given, "z", metric="logit_diff")
    assert pw.patch(model, pair(), "z").wait().data["patched"].notnull().all()


@pytest.mark.filterwarnings("ignore:the Hugging Face model is bridged in place")
def test_weights_that_are_not_numbers_are_told_by_wait() -> None:
    broken = models.hugging_face("llama")
    broken.model.layers[1].mlp.up_proj.weight.data[0] = float("nan")
    model = pw.load_model(broken, tokenizer=models.tokenizer())
    with pytest.raises(ModelError, match=r"logits are not finite on these prompts; check its weights and its dtype"):
        pw.patch(model, pair(), "embed").wait()


# Folders and files.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama with a tokenizer, saved as Hugging Face saves them."""
    where = tmp_path / "llama"
    models.hugging_face("llama", torch.float32).save_pretrained(where)
    models.tokenizer().save_pretrained(where)
    return where


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def _fewer_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

    return change


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


FOLDERS: list[tuple[Callable[[Path], object], str]] = [
    (_no_weights, r"the folder '.*llama' could not be loaded: Error no file named model.safetensors"),
    (_cut_weights, r"the folder '.*llama' could not be loaded: .*incomplete metadata"),
    (
        _fewer_weights,
        r"lacks weights of LlamaForCausalLM, such as model.layers.1.mlp.up_proj.weight; they would be random numbers",
    ),
    (lambda folder: (folder / "config.json").unlink(), r"has no config.json; it does not hold a Hugging Face model"),
    (lambda folder: (folder / "config.json").write_text("{"), r"could not be loaded: .* is not a valid JSON file"),
    (_config(model_type="nosuch"), r"could not be loaded: .*model type `nosuch`"),
    (_config(is_encoder_decoder=True), r"this is an encoder-decoder model; only decoder-only"),
    (_no_tokenizer, r"the folder '.*llama' has no tokenizer that can be read .*; give one with tokenizer="),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), r"no tokenizer that can be read .*; give one with"),
]


@pytest.mark.parametrize(("spoil", "message"), FOLDERS, ids=_ids(FOLDERS))
def test_folders_that_hold_no_whole_model(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        pw.load_model(folder)


WHERE: list[tuple[dict[str, Any], str]] = [
    ({"dtype": torch.int8}, r"unknown dtype torch.int8; use one of float64, float32, bfloat16, float16"),
    ({"dtype": torch.complex64}, r"unknown dtype torch.complex64; use one of"),
    ({"dtype": ["float32"]}, r"unknown dtype \['float32'\]; use one of"),
    ({"dtype": "Float32"}, r"unknown dtype 'Float32'; use one of"),
    ({"device": "cuda:99"}, r"there is no device 'cuda:99' on this machine; use for instance 'cpu' or 'cuda'"),
    ({"device": "gpu"}, r"there is no device 'gpu' on this machine"),
    ({"device": 3.5}, r"there is no device 3.5 on this machine"),
    ({"device": "meta"}, r"device 'meta' holds no numbers; use for instance 'cpu' or 'cuda'"),
    ({"revision": "main"}, r"revision= names a version on the Hub; it does not apply to a folder or a file"),
    ({"tokenizer": {"a": 1}}, r"tokenizer must be a transformers tokenizer, not \{'a': 1\}"),
]


@pytest.mark.parametrize(("options", "message"), WHERE, ids=_ids(WHERE))
def test_settings_of_loading(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pw.load_model(**options)


def test_files_that_hold_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    (tmp_path / "model.safetensors").write_bytes(b"")
    table = [
        (tmp_path / "empty.gguf", r"the file 'empty.gguf' could not be read: "),
        (tmp_path / "broken.gguf", r"the file 'broken.gguf' could not be read: "),
        (tmp_path / "missing.gguf", r"there is no file '.*missing.gguf'"),
        (tmp_path / "model.safetensors", r"model.safetensors' is a file; give the folder it is in, with config.json"),
        (" ", r"the model's name is empty; give a Hub name, a folder or a .gguf file, or nothing at all"),
        ("model.pt", r"'model.pt' could not be loaded from the Hugging Face Hub: .* Check the name and the network"),
        (b"gpt2", r"expected a model from pw.load_model\(\), got 'bytes'"),
    ]
    for what, message in table:
        with warnings.catch_warnings(), pytest.raises(ModelError, match=message):
            pw.load_model(what)
