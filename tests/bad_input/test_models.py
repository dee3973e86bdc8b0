"""Models that cannot be patched are refused by `load_model`, those that only a run can show by `patch` or `wait`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
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
from patchwidgets.answers import Continuation
from patchwidgets.errors import ModelError, PatchError
from tests import models
from tests.bad_input.given import pair


def _tiny(kind: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    config._attn_implementation = "eager"
    config.architectures = [kind.__name__]
    config.initializer_range = 0.3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config).eval()


_GPT2 = {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": models.VOCAB, "n_positions": 8}


def mamba() -> PreTrainedModel:
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "intermediate_size": 32, "time_step_rank": 2}
    return _tiny(MambaForCausalLM, MambaConfig(vocab_size=models.VOCAB, **sizes))


def _bert(kind: type[PreTrainedModel], **options: Any) -> PreTrainedModel:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return _tiny(kind, BertConfig(vocab_size=models.VOCAB, **sizes, **options))


def bert() -> PreTrainedModel:
    return _bert(BertForMaskedLM)


def t5() -> PreTrainedModel:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return _tiny(T5ForConditionalGeneration, T5Config(vocab_size=models.VOCAB, decoder_start_token_id=0, **sizes))


HELD: list[tuple[Callable[[], Any], dict[str, Any], str]] = [
    (mamba, {}, r"layer 0 of this model has no attention: it is a state-space model, or a hybrid; only decoder-only"),
    (bert, {}, r"this is a model of the kind 'bert', which reads both ways: a later token changes what it says"),
    (lambda: _bert(BertLMHeadModel), {}, r"reads both ways.*Only decoder-only, left-to-right language models"),
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


@pytest.mark.parametrize("make", [mamba, bert, t5])
def test_a_model_that_is_refused_is_left_as_it_was(make: Callable[[], PreTrainedModel]) -> None:
    """Bridging wraps a model's modules; what cannot be patched must not be wrapped first."""
    model = make()
    before = [(name, type(module)) for name, module in model.named_modules()]
    with pytest.raises(ModelError):
        pw.load_model(model, tokenizer=models.tokenizer())
    assert [(name, type(module)) for name, module in model.named_modules()] == before


@pytest.mark.filterwarnings("ignore:the Hugging Face model is bridged in place")
def test_a_bert_that_reads_from_left_to_right_may_be_patched() -> None:
    model = pw.load_model(_bert(BertLMHeadModel, is_decoder=True), tokenizer=models.tokenizer())
    assert pw.patch(model, pair(), "z").wait().data["patched"].notnull().all()


@pytest.mark.filterwarnings("ignore:the Hugging Face model is bridged in place")
def test_a_model_that_looks_ahead_is_refused_by_patch() -> None:
    ahead = models.hugging_face("llama")
    ahead.model.embed_tokens.register_forward_hook(lambda module, given, found: found + found.mean(1, keepdim=True))
    model = pw.load_model(ahead, tokenizer=models.tokenizer())
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
