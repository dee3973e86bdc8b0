"""The unit of noise is the spread of the token embeddings where they enter the residual stream, in every family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel

import patchwidgets as pw
from patchwidgets.engine.handle import handle_of
from tests import models
from tests.engine.plain import CORRUPTED, PAIR, Hook, difference, family_of
from tests.engine.test_interventions import draw
from tests.families import ADDRESSES, D_MLP, D_MODEL, FAMILIES, HEADS, LAYERS, VOCAB


def entering(name: str, model: PreTrainedModel) -> Tensor:
    """Return every token's embedding as it enters the stream, worked out from the weights."""
    matrix = model.get_input_embeddings().weight.detach()
    if name.startswith("gemma"):
        return matrix * float(torch.tensor(D_MODEL**0.5))  # Hugging Face keeps the factor in float32.
    if name == "bloom":
        return model.transformer.word_embeddings_layernorm(matrix)
    return matrix


@pytest.mark.parametrize("name", FAMILIES)
def test_the_unit_is_the_spread_of_what_enters_the_stream(name: str) -> None:
    family = family_of(name)
    expected = float(entering(name, family.bare).std())
    assert handle_of(family.bridged).embedding_std == pytest.approx(expected, rel=1e-9)


def test_a_projected_embedding_counts_after_its_projection() -> None:
    """OPT-350m's tokens are embedded in fewer dimensions than the stream has."""
    config = OPTConfig(
        hidden_size=D_MODEL, word_embed_proj_dim=16, ffn_dim=D_MLP, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        vocab_size=VOCAB, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    config._attn_implementation, config.architectures = "eager", ["OPTForCausalLM"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bare = OPTForCausalLM(config).double().eval().requires_grad_(False)
    decoder = bare.model.decoder
    expected = float((decoder.embed_tokens.weight @ decoder.project_in.weight.T).std())
    with pytest.warns(UserWarning, match="in place"):
        model = pw.load_model(bare, tokenizer=models.tokenizer())
    handle = handle_of(model)
    assert handle.embedding_std == pytest.approx(expected, rel=1e-9)
    assert abs(handle.embedding_std / float(decoder.embed_tokens.weight.std()) - 1) > 0.1


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "opt", "bloom"])
def test_noise_is_that_unit_times_its_draw(name: str) -> None:
    family = family_of(name)
    what = pw.Noise(1.0, samples=1)
    result = pw.patch(family.bridged, PAIR, "embed", intervention=what, positions=[2, 7]).wait()
    hook = Hook(family.bare, ADDRESSES[name]["embed"], 0)
    generator = torch.Generator().manual_seed(draw(0, 0, 0, "hook_embed"))
    drawn = torch.randn(len(CORRUPTED), D_MODEL, generator=generator, dtype=torch.float64)
    noise = entering(name, family.bare).std() * drawn
    for position in (2, 7):
        expected = hook.change(CORRUPTED, {"pos": position}, lambda now, at=position: now + noise[at])
        assert result.data["patched"].sel(pos=position).item() == pytest.approx(expected, abs=1e-8)
        assert abs(expected - difference(family.bare, CORRUPTED)) > 1e-3


def test_measuring_the_unit_leaves_no_trace() -> None:
    model = models.bridge("gpt2")
    before = models.state(model)
    assert handle_of(model).embedding_std == pytest.approx(float(entering("gpt2", model.original_model).std()))
    assert models.state(model) == before
