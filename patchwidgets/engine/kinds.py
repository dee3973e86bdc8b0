"""Kinds of models that cannot be patched, refused by what they are before anything is done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import ModelError


def refuse_other_kinds(config: Any) -> None:
    """Raise ModelError for a model that does not read from left to right alone, by its config."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    if getattr(config, "is_encoder_decoder", False):
        raise ModelError("this is an encoder-decoder model; only decoder-only language models can be patched.")
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise ModelError(
            f"this is a model of the kind {config.model_type!r}, which reads both ways: a later token changes what it "
            "says earlier. Only decoder-only, left-to-right language models can be patched."
        )


def have_attention(model: torch.nn.Module, config: Any) -> list[bool]:
    """Return for every layer of a Hugging Face model whether it has attention, by the names of its parts."""
    layers = getattr(config, "num_hidden_layers", None)
    found = next(
        (each for each in model.modules() if isinstance(each, torch.nn.ModuleList) and len(each) == layers), ()
    )
    parts = ([name + type(part).__name__ for name, part in block.named_modules()] for block in found)
    return [any("attn" in name.lower() or "attention" in name.lower() for name in names) for names in parts]


def refuse_without_attention(there: Sequence[bool]) -> None:
    """Raise ModelError when a layer is without attention; `there` says for every layer whether it has it."""
    if not all(there):
        raise ModelError(
            f"layer {list(there).index(False)} of this model has no attention: it is a state-space model, or a hybrid; "
            "only decoder-only transformers can be patched."
        )


def refuse_headless(model: Any) -> None:
    """Raise ModelError for a model that predicts no tokens."""
    if hasattr(model, "get_output_embeddings") and model.get_output_embeddings() is None:
        raise ModelError(
            f"{type(model).__name__} has no output over the vocabulary, so it predicts no token; load it with "
            "AutoModelForCausalLM."
        )


def refuse_missing(told: Mapping[str, Any], model: torch.nn.Module, where: str, remedy: str) -> None:
    """Raise ModelError when transformers told that weights are missing `where` the model was loaded from."""
    if told["missing_keys"]:
        raise ModelError(
            f"{where} lacks weights of {type(model).__name__}, such as {min(told['missing_keys'])}; they would be "
            f"random numbers. {remedy}"
        )


def refuse_hooked_transformer(model: Any) -> None:
    """Raise ModelError for the model class of TransformerLens before 4."""
    if any(cls.__name__ == "HookedTransformer" for cls in type(model).__mro__):
        raise ModelError(
            "HookedTransformer is the model class of TransformerLens before 4; load the same weights with "
            "pw.load_model(name), which gives a TransformerBridge."
        )
