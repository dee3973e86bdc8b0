"""Tiny models with random weights, a tokenizer of forty words, and the state that a sweep must not change."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from patchwidgets.datasets import Dataset
from patchwidgets.prompts import PromptPair

torch.set_num_threads(1)

WORDS = ["[UNK]", "[BOS]", *(f"w{i}" for i in range(38))]
VOCAB = len(WORDS)
CONTEXT = 16
LAYERS, HEADS, KV_HEADS = 3, 4, 2

PAIR = PromptPair("w1 w2 w3 w4 w5 w6", "w1 w2 w9 w4 w8 w6", answer="w20", foil="w21")
"""With a BOS before it the two prompts differ at positions 3 and 5 of 7; without one at 2 and 4 of 6."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word; [UNK] for any other. TransformerLens reads `add_bos_token` and keeps this very object."""
    built = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.add_special_tokens(["[UNK]", "[BOS]"])
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        unk_token="[UNK]",
        bos_token="[BOS]",
        pad_token="[BOS]",
        name_or_path="words",
        add_bos_token=True,
    )


def _gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(n_layer=LAYERS, n_head=HEADS, n_embd=32, n_inner=48, vocab_size=VOCAB, n_positions=CONTEXT)
    )


_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
}


def _llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_SIZES, num_key_value_heads=KV_HEADS))


def _neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_SIZES))


FAMILIES = {"gpt2": _gpt2, "llama": _llama, "neox": _neox}


def five_pairs() -> Dataset:
    """Five pairs of six tokens that differ in the third."""
    texts = [([1, 3, 4, n, 6, 7], [1, 3, 5, n, 6, 7]) for n in range(9, 14)]
    return Dataset([PromptPair(clean, corrupted, answer=22, foil=23) for clean, corrupted in texts])


def hugging_face(family: str = "gpt2", dtype: torch.dtype = torch.float64, seed: int = 0) -> PreTrainedModel:
    """A model of the family with weights large enough that every patch moves the logits well."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FAMILIES[family]()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.3)
    model.set_attn_implementation("eager")
    return model.to(dtype).eval()


def bridge(family: str = "gpt2", dtype: torch.dtype = torch.float64, seed: int = 0) -> TransformerBridge:
    """The same as a TransformerBridge, booted by TransformerLens alone."""
    return bridged(hugging_face(family, dtype, seed))


def bridged(model: PreTrainedModel) -> TransformerBridge:
    """Wrap a Hugging Face model in place and run it once: TransformerLens wires some hooks of its own at first use."""
    kind = next(model.parameters()).dtype
    wrapped = TransformerBridge.boot_transformers(
        model.config.model_type, hf_model=model, tokenizer=tokenizer(), device="cpu", dtype=kind
    )
    wrapped(torch.tensor([[1, 2]]))
    return wrapped


def state(model: TransformerBridge) -> dict[str, Any]:
    """What of a model, and of the calling thread, a sweep must leave as it was: compare two of these with ==."""
    points = [module for module in model.modules() if isinstance(module, HookPoint)]
    return {
        "hooks": {id(point): list(point.fwd_hooks) for point in points},
        "torch hooks": {id(module): list(module._forward_hooks) for module in model.modules()},
        "torch pre-hooks": {id(module): list(module._forward_pre_hooks) for module in model.modules()},
        "training": [module.training for module in model.modules()],
        "forward": [vars(module).get("forward") for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "parameters": [(parameter.data_ptr(), parameter._version) for parameter in model.parameters()],
        "grad mode": torch.is_grad_enabled(),
    }


def tokens(model: TransformerBridge, text: str) -> torch.Tensor:
    """The ids TransformerLens runs for a text, [1, pos]."""
    return model.to_tokens(text)


def answer_ids(pair: PromptPair = PAIR) -> tuple[int, int | None]:
    """The ids of the pair's answer and foil in WORDS."""
    assert isinstance(pair.answer, str)
    return WORDS.index(pair.answer.strip()), WORDS.index(pair.foil.strip()) if isinstance(pair.foil, str) else None
