"""Tiny random models of fourteen decoder families, and where plain PyTorch finds each activation in them.

The addresses name modules of Hugging Face's own models, as they are before TransformerLens wraps them, so that what
TransformerLens hooks can be compared with something that does not know it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from patchwidgets.sites import SITES

LAYERS, HEADS, KV_HEADS, D_MODEL, D_MLP, D_HEAD = 3, 4, 2, 32, 48, 8
VOCAB, CONTEXT = 60, 64
WINDOW = 4
"""The sliding window of Mistral, Gemma2 and Gemma3: prompts of more tokens reach past it."""

_COMMON = {
    "hidden_size": D_MODEL,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": D_MLP,
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
_GROUPED = {**_COMMON, "num_key_value_heads": KV_HEADS}
_LAYER_TYPES = ["sliding_attention", "full_attention", "sliding_attention"]


def _gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(
        GPT2Config(n_layer=LAYERS, n_head=HEADS, n_embd=D_MODEL, n_inner=D_MLP, vocab_size=VOCAB, n_positions=CONTEXT)
    )


def _neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON))


def _gptj() -> PreTrainedModel:
    sizes = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": D_MODEL, "n_inner": D_MLP, "n_positions": CONTEXT}
    return GPTJForCausalLM(GPTJConfig(**sizes, vocab_size=VOCAB, rotary_dim=4))


def _llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_GROUPED))


def _mistral() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**_GROUPED, sliding_window=WINDOW))


def _qwen2() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**_GROUPED))


def _qwen3() -> PreTrainedModel:
    # As in the real models, the heads together are wider than the residual stream.
    return Qwen3ForCausalLM(Qwen3Config(**_GROUPED, head_dim=2 * D_HEAD))


def _gemma2() -> PreTrainedModel:
    softcaps = {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 8.0, "query_pre_attn_scalar": 5}
    return Gemma2ForCausalLM(
        Gemma2Config(**_GROUPED, **softcaps, head_dim=D_HEAD, sliding_window=WINDOW, layer_types=_LAYER_TYPES)
    )


def _gemma3() -> PreTrainedModel:
    return Gemma3ForCausalLM(
        Gemma3TextConfig(**_GROUPED, head_dim=D_HEAD, sliding_window=WINDOW, layer_types=_LAYER_TYPES)
    )


def _phi() -> PreTrainedModel:
    return PhiForCausalLM(PhiConfig(**_COMMON, partial_rotary_factor=0.5))


def _opt() -> PreTrainedModel:
    sizes = {**_COMMON, "ffn_dim": D_MLP, "word_embed_proj_dim": D_MODEL}
    del sizes["intermediate_size"]
    return OPTForCausalLM(OPTConfig(**sizes))


def _bloom() -> PreTrainedModel:
    # BLOOM's MLP is always four times as wide as its residual stream, and its context has no limit of its own.
    return BloomForCausalLM(BloomConfig(n_layer=LAYERS, n_head=HEADS, hidden_size=D_MODEL, vocab_size=VOCAB))


def _mixtral() -> PreTrainedModel:
    return MixtralForCausalLM(MixtralConfig(**_GROUPED, num_local_experts=4, num_experts_per_tok=2))


def _olmo2() -> PreTrainedModel:
    return Olmo2ForCausalLM(Olmo2Config(**_GROUPED))


def _random(build: Callable[[], PreTrainedModel], dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """Weights large enough that patches move the logits well; biases and norms are random too, so none is idle."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.data = 0.3 * noise if parameter.dim() > 1 else parameter.data + 0.1 * noise
    model.set_attn_implementation("eager")
    # Transformers' grouped matrix products of the experts refuse float64.
    model.config._experts_implementation = "eager"
    # As in every saved model; TransformerLens goes by it.
    model.config.architectures = [type(model).__name__]
    return model.to(dtype).eval().requires_grad_(False)


def _maker(build: Callable[[], PreTrainedModel]) -> Callable[..., PreTrainedModel]:
    def make(dtype: torch.dtype = torch.float64, seed: int = 0) -> PreTrainedModel:
        return _random(build, dtype, seed)

    return make


FAMILIES: dict[str, Callable[..., PreTrainedModel]] = {
    name: _maker(build)
    for name, build in {
        "gpt2": _gpt2,
        "neox": _neox,
        "gptj": _gptj,
        "llama": _llama,
        "mistral": _mistral,
        "qwen2": _qwen2,
        "qwen3": _qwen3,
        "gemma2": _gemma2,
        "gemma3": _gemma3,
        "phi": _phi,
        "opt": _opt,
        "bloom": _bloom,
        "mixtral": _mixtral,
        "olmo2": _olmo2,
    }.items()
}
"""Family -> (dtype=torch.float64, seed=0) -> a model in eager attention; the same seed gives the same weights again."""


Place = Callable[[PreTrainedModel, int], nn.Module]


@dataclass(frozen=True)
class Address:
    """Where plain PyTorch finds an activation of one layer, for a batch of one prompt.

    Attributes:
        module: (model, layer) -> the Hugging Face module whose input or output holds it.
        side: "in" for the module's first input, the one named hidden_states where all have names; "out" for its output,
            the first one where it is a tuple.
        axes: what the first dimensions of the view mean: ("pos",), ("pos", "head") or ("pos", "neuron").
        view: that tensor -> a view of it without the batch, so that writing into the view patches.
        in_place: whether what is written must reach whoever else reads that tensor.
    """

    module: Place
    side: str
    axes: tuple[str, ...]
    view: Callable[[Tensor], Tensor]
    in_place: bool = False


def _rows(tensor: Tensor) -> Tensor:
    # OPT's MLP has the batch and the positions in one dimension.
    return tensor.view(-1, tensor.shape[-1])


def _heads(heads: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.view(tensor.shape[1], heads, -1)


def _one_of_three_blocks(index: int) -> Callable[[Tensor], Tensor]:
    """All heads' queries, then all keys, then all values."""
    return lambda tensor: tensor.view(tensor.shape[1], 3, HEADS, D_HEAD)[:, index]


def _one_of_three_per_head(index: int) -> Callable[[Tensor], Tensor]:
    """Each head's query, key and value side by side."""
    return lambda tensor: tensor.view(tensor.shape[1], HEADS, 3, D_HEAD)[:, :, index]


def _addresses(
    embed: str,
    blocks: str,
    paths: dict[str, str],
    key_value_heads: int = HEADS,
    fused: Callable[[int], Callable[[Tensor], Tensor]] | None = None,
) -> dict[str, Address]:
    """Return one family's table from "module:side" strings, the modules below a block; q, k and v may share one."""

    def below(path: str) -> Place:
        return lambda model, layer: model.get_submodule(f"{blocks}.{layer}.{path}".rstrip("."))

    found = {"embed": Address(lambda model, layer: model.get_submodule(embed), "out", ("pos",), _rows)}
    for site, where in {"resid_pre": ":in", "resid_post": ":out", **paths}.items():
        path, side = where.split(":")
        axes, view = ("pos",), _rows
        if site in ("q", "k", "v", "z"):
            heads = key_value_heads if site in ("k", "v") else HEADS
            axes = ("pos", "head")
            view = fused("qkv".index(site)) if fused and site != "z" else _heads(heads)
        elif site in ("mlp_pre", "mlp_post"):
            axes = ("pos", "neuron")
        found[site] = Address(below(path), side, axes, view, SITES[site].in_place)
    return found


_SEPARATE = {"q": "self_attn.q_proj:out", "k": "self_attn.k_proj:out", "v": "self_attn.v_proj:out"}
_GATED = {
    **_SEPARATE,
    "z": "self_attn.o_proj:in",
    "mlp_pre": "mlp.gate_proj:out",
    "mlp_post": "mlp.down_proj:in",
}
_PRE_NORM = {**_GATED, "resid_mid": "post_attention_layernorm:in", "attn_out": "self_attn:out", "mlp_out": "mlp:out"}
_POST_NORMS = {**_GATED, "attn_out": "post_attention_layernorm:out", "mlp_out": "post_feedforward_layernorm:out"}


def _like_llama(paths: dict[str, str]) -> dict[str, Address]:
    return _addresses("model.embed_tokens", "model.layers", paths, KV_HEADS)


def _fused(qkv: str) -> dict[str, str]:
    return dict.fromkeys(("q", "k", "v"), f"{qkv}:out")


ADDRESSES: dict[str, dict[str, Address]] = {
    "gpt2": _addresses(
        "transformer.wte",
        "transformer.h",
        {
            **_fused("attn.c_attn"),
            "z": "attn.c_proj:in",
            "attn_out": "attn:out",
            "resid_mid": "ln_2:in",
            "mlp_pre": "mlp.c_fc:out",
            "mlp_post": "mlp.c_proj:in",
            "mlp_out": "mlp:out",
        },
        fused=_one_of_three_blocks,
    ),
    "neox": _addresses(
        "gpt_neox.embed_in",
        "gpt_neox.layers",
        {
            **_fused("attention.query_key_value"),
            "z": "attention.dense:in",
            "attn_out": "attention:out",
            "mlp_pre": "mlp.dense_h_to_4h:out",
            "mlp_post": "mlp.dense_4h_to_h:in",
            "mlp_out": "mlp:out",
        },
        fused=_one_of_three_per_head,
    ),
    "gptj": _addresses(
        "transformer.wte",
        "transformer.h",
        {
            **{site: where.replace("self_attn", "attn") for site, where in _SEPARATE.items()},
            "z": "attn.out_proj:in",
            "attn_out": "attn:out",
            "mlp_pre": "mlp.fc_in:out",
            "mlp_post": "mlp.fc_out:in",
            "mlp_out": "mlp:out",
        },
    ),
    "llama": _like_llama(_PRE_NORM),
    "mistral": _like_llama(_PRE_NORM),
    "qwen2": _like_llama(_PRE_NORM),
    "qwen3": _like_llama(_PRE_NORM),
    "gemma2": _like_llama({**_POST_NORMS, "resid_mid": "pre_feedforward_layernorm:in"}),
    "gemma3": _like_llama({**_POST_NORMS, "resid_mid": "pre_feedforward_layernorm:in"}),
    "phi": _addresses(
        "model.embed_tokens",
        "model.layers",
        {
            **_SEPARATE,
            "z": "self_attn.dense:in",
            "attn_out": "self_attn:out",
            "mlp_pre": "mlp.fc1:out",
            "mlp_post": "mlp.fc2:in",
            "mlp_out": "mlp:out",
        },
    ),
    "opt": _addresses(
        "model.decoder.embed_tokens",
        "model.decoder.layers",
        {
            **_SEPARATE,
            "z": "self_attn.out_proj:in",
            "attn_out": "self_attn:out",
            "resid_mid": "final_layer_norm:in",
            "mlp_pre": "fc1:out",
            "mlp_post": "fc2:in",
            "mlp_out": "fc2:out",
        },
    ),
    # BLOOM's attention and MLP add the residual stream themselves: what they add to it is their last projection. Its
    # stream begins with a norm of the embedding; that is TransformerLens's hook_embed.
    "bloom": _addresses(
        "transformer.word_embeddings_layernorm",
        "transformer.h",
        {
            **_fused("self_attention.query_key_value"),
            "z": "self_attention.dense:in",
            "attn_out": "self_attention.dense:out",
            "resid_mid": "post_attention_layernorm:in",
            "mlp_pre": "mlp.dense_h_to_4h:out",
            "mlp_post": "mlp.dense_4h_to_h:in",
            "mlp_out": "mlp.dense_4h_to_h:out",
        },
        fused=_one_of_three_per_head,
    ),
    "mixtral": _like_llama({site: where for site, where in _PRE_NORM.items() if site not in ("mlp_pre", "mlp_post")}),
    "olmo2": _like_llama({**_POST_NORMS, "resid_mid": "mlp:in"}),
}
"""Family -> site -> address. A site that is not there is one that the architecture does not have."""
