"""What the engine knows of one model, held against the model's own words; and the look it takes at it first."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from patchwidgets.engine.handle import ModelHandle, handle_of
from patchwidgets.engine.model import first_line
from patchwidgets.engine.patch import patch
from patchwidgets.errors import ModelError, PatchError
from patchwidgets.sites import SITES, get_site
from tests import models

ROWS = torch.tensor([[1, 5, 9, 13, 7], [1, 6, 9, 30, 2]])


@pytest.fixture(params=["gpt2", "llama", "neox"])
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("keeps", [True, False], ids=["by the model", "by us"])
@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_last_positions_are_those_of_all(model: TransformerBridge, keep: int, keeps: bool) -> None:
    """A model that cannot leave out positions itself gives as many."""
    handle = ModelHandle(model)
    handle._keeps_logits = handle._keeps_logits and keeps
    with torch.no_grad():
        expected = model.original_model(input_ids=ROWS, use_cache=False).logits
    whole, last = handle.forward(ROWS), handle.forward(ROWS, keep=keep)
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-9)
    assert last.shape == (2, keep, models.VOCAB)
    torch.testing.assert_close(last, expected[:, -keep:], rtol=0, atol=1e-9)
    assert not last.requires_grad


def test_the_model_is_spared_the_positions_nobody_reads(gpt2: TransformerBridge) -> None:
    seen: list[torch.Size] = []
    head = gpt2.original_model.lm_head  # type: ignore[union-attr]
    hook = head.register_forward_hook(lambda module, args, output: seen.append(output.shape))  # type: ignore[union-attr, operator]
    try:
        handle_of(gpt2).forward(ROWS, keep=2)
    finally:
        hook.remove()
    assert seen == [(2, 2, models.VOCAB)]


def test_sizes_are_those_of_the_configuration(llama: TransformerBridge) -> None:
    handle = handle_of(llama)
    assert (handle.n_layers, handle.n_heads, handle.n_key_value_heads) == (3, 4, 2)
    assert handle.summary == "3 layers, 4 heads (2 kv), float64, cpu"
    asked = [("z", "head"), ("k", "head"), ("v", "head"), ("mlp_post", "neuron"), ("resid_pre", "layer")]
    assert [handle.size(get_site(name), axis) for name, axis in asked] == [4, 2, 2, 48, 3]
    assert handle_of(llama) is handle


def test_the_unit_of_noise_is_the_spread_of_the_token_embeddings(model: TransformerBridge) -> None:
    weight = model.original_model.get_input_embeddings().weight.detach()  # type: ignore[union-attr, operator]
    assert handle_of(model).embedding_std == pytest.approx(float(weight.numpy().std(ddof=1)), rel=1e-12)


def test_a_model_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    handle, passes = ModelHandle(bridge := models.bridge("gpt2")), []
    forward = handle.forward

    def counted(tokens: Tensor, **options: int) -> Tensor:
        passes.append(tokens.tolist())
        return forward(tokens, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(handle, "forward", counted)
    handle.check_ready()
    first, second = passes[0]
    assert first[:2] == second[:2]
    assert first[2] != second[2]
    handle.check_ready()
    assert len(passes) == 1
    site = get_site("z")
    assert handle.shape(site) == handle.shape(site) == (8, 4, 8)
    assert len(passes) == 2
    assert bridge is handle.bridge


def test_a_model_that_is_gone_says_so() -> None:
    model = models.bridge("gpt2")
    handle = ModelHandle(model)
    del model
    gc.collect()
    with pytest.raises(ModelError, match=r"has been deleted; load it again with pw\.load_model\(\)"):
        handle.forward(ROWS)


def one_layer() -> TransformerBridge:
    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, n_inner=16, vocab_size=models.VOCAB, n_positions=models.CONTEXT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = GPT2LMHeadModel(config)
    built.set_attn_implementation("eager")
    return models.bridged(built.double().eval())


def test_a_model_of_one_layer_has_every_site() -> None:
    model = one_layer()
    handle = handle_of(model)
    assert {name for name, site in SITES.items() if handle.has(site)} == set(SITES)
    result = patch(model, models.PAIR, "resid_post", positions=[-1]).wait()
    assert float(result.normalized.item()) == pytest.approx(1.0, abs=1e-9)


def test_layers_of_other_widths_are_refused_by_name() -> None:
    """A Llama whose second layer has a wider MLP, as pruned models have."""
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=models.VOCAB, max_position_embeddings=16))
        wide = LlamaForCausalLM(LlamaConfig(**{**sizes, "intermediate_size": 64}, vocab_size=models.VOCAB))
    built.model.layers[1].mlp = wide.model.layers[1].mlp
    built.set_attn_implementation("eager")
    model = models.bridged(built.double().eval())
    with pytest.raises(PatchError, match=r"has 'mlp_post' of other shapes in other layers; choose another"):
        patch(model, models.PAIR, "mlp_post")
    assert patch(model, models.PAIR, "mlp_out", positions=[3]).wait().data.sizes["layer"] == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a first line\nand more", "a first line."),
        ("\n  it ends well!  \n", "it ends well!"),
        ("x" * 300, "x" * 300 + "."),
    ],
)
def test_an_error_of_a_library_is_told_in_its_first_line(text: str, told: str) -> None:
    assert first_line(RuntimeError(text)) == told


def test_attention_that_is_all_on_one_token_is_found_to_be_used() -> None:
    """Scores hundreds apart leave a softmax of ones and zeros, which a small change of a score does not move."""
    built = models.hugging_face("gpt2")
    for block in built.transformer.h:
        block.attn.c_attn.weight.data[:, : 2 * 32] *= 10_000
    model = models.bridged(built)
    _, kept = model.run_with_cache(models.tokens(model, str(models.PAIR.clean)))
    assert float((kept["blocks.0.attn.hook_pattern"] * (1 - kept["blocks.0.attn.hook_pattern"])).max()) < 1e-9
    result = patch(model, models.PAIR, "attn_scores", positions=None).wait()
    assert float(result.effect.where(result.data["status"] == "measured").max()) > 0.1
