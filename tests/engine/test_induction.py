"""An induction circuit written by hand: every number of its maps is known before anything is measured.

Two layers of four heads, attention only, no normalization. The residual stream is five blocks of coordinates that
nothing mixes: TOKEN (one per token), POSITION (one per position), PREVIOUS (the token before, written by head 0.2), OUT
(what the unembedding reads, written by head 1.1 alone) and JUNK (written by the six other heads,
read by their like at most).

Head 0.2 looks from position i at position i - 1 and copies TOKEN to PREVIOUS. Head 1.1 looks from a token to the
position whose PREVIOUS is that token, and copies TOKEN there to OUT. Clean `red dog key sun red` thus continues with
dog; corrupted `key dog red sun red` with sun. Scores differ by 60, so attention is one-hot, or even over equals.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.prompts import PromptPair

BOS, RED, DOG, KEY, SUN = range(5)
PAIR = PromptPair([BOS, RED, DOG, KEY, SUN, RED], [BOS, KEY, DOG, RED, SUN, RED], answer=DOG, foil=SUN)
DIRECTIONS = ("denoise", "noise")

TOKENS, POSITIONS, HEAD, HEADS = 5, 6, 8, 4
TOKEN = slice(0, 5)
POSITION = slice(5, 11)
PREVIOUS = slice(11, 16)
OUT = slice(16, 21)
JUNK = slice(21, 29)
WIDTH = 29
SHARP = 60.0 * HEAD**0.5


def head_of(weight: torch.Tensor, head: int) -> torch.Tensor:
    """The rows of a projection that belong to one head: [d_head, d_model]."""
    return weight[head * HEAD : (head + 1) * HEAD]


def circuit() -> TransformerBridge:
    model = TransformerBridge.boot_native(
        {
            "n_layers": 2,
            "n_heads": HEADS,
            "d_model": WIDTH,
            "d_head": HEAD,
            "n_ctx": POSITIONS,
            "d_vocab": TOKENS,
            "attn_only": True,
            "normalization_type": None,
            "seed": 0,
        },
        dtype=torch.float64,
    ).eval()
    native = model.original_model
    with torch.no_grad():
        for parameter in native.parameters():
            parameter.zero_()
        native.tok_embed.weight[:, TOKEN] = torch.eye(TOKENS)
        native.pos.weight[:, POSITION] = torch.eye(POSITIONS)
        native.head.weight[:, OUT] = torch.eye(TOKENS)
        write_decoys(native)
        write_previous_token_head(native.layers[0].attn, 2)
        write_induction_head(native.layers[1].attn, 1)
    return model


def write_decoys(native: torch.nn.Module) -> None:
    """Random queries, keys and values from everything in the stream; outputs into JUNK only."""
    random = torch.Generator().manual_seed(1)
    for layer in native.layers:
        attention = layer.attn
        for projection in (attention.q, attention.k, attention.v):
            projection.weight.copy_(torch.randn(projection.weight.shape, generator=random, dtype=torch.float64))
        attention.o.weight[JUNK] = torch.randn(HEAD, HEADS * HEAD, generator=random, dtype=torch.float64)


def write_previous_token_head(attention: torch.nn.Module, head: int) -> None:
    for projection in (attention.q, attention.k, attention.v):
        head_of(projection.weight, head).zero_()
    for position in range(1, POSITIONS):
        head_of(attention.q.weight, head)[position - 1, POSITION.start + position] = SHARP
    head_of(attention.k.weight, head)[:POSITIONS, POSITION] = torch.eye(POSITIONS)
    copy_token(attention, head, PREVIOUS)


def write_induction_head(attention: torch.nn.Module, head: int) -> None:
    for projection in (attention.q, attention.k, attention.v):
        head_of(projection.weight, head).zero_()
    head_of(attention.q.weight, head)[:TOKENS, TOKEN] = SHARP * torch.eye(TOKENS)
    head_of(attention.k.weight, head)[:TOKENS, PREVIOUS] = torch.eye(TOKENS)
    copy_token(attention, head, OUT)


def copy_token(attention: torch.nn.Module, head: int, to: slice) -> None:
    columns = slice(head * HEAD, (head + 1) * HEAD)
    attention.o.weight[:, columns] = 0.0
    head_of(attention.v.weight, head)[:TOKENS, TOKEN] = torch.eye(TOKENS)
    attention.o.weight[to, columns][:, :TOKENS] = torch.eye(TOKENS)


@pytest.fixture(scope="module")
def model() -> TransformerBridge:
    return circuit()


def normalized(model: TransformerBridge, site: str, direction: str, **options: object) -> np.ndarray:
    return patch(model, PAIR, site, direction=direction, **options).wait().normalized.values[0]  # type: ignore[arg-type]


def test_the_circuit_does_what_it_was_built_for(model: TransformerBridge) -> None:
    with torch.no_grad():
        clean, clean_cache = model.run_with_cache(torch.tensor([PAIR.clean]))
        corrupted, corrupted_cache = model.run_with_cache(torch.tensor([PAIR.corrupted]))
    assert clean[0, -1].argmax() == DOG
    assert corrupted[0, -1].argmax() == SUN
    previous = clean_cache["blocks.0.attn.hook_pattern"][0, 2]
    torch.testing.assert_close(previous[1:, :-1].diagonal(), torch.ones(5, dtype=torch.float64))
    for cache, at in ((clean_cache, 2), (corrupted_cache, 4)):
        assert cache["blocks.1.attn.hook_pattern"][0, 1, -1, at] == pytest.approx(1.0)


def test_the_decoys_differ_between_the_runs(model: TransformerBridge) -> None:
    """Else their zeros below would prove nothing."""
    with torch.no_grad():
        _, clean = model.run_with_cache(torch.tensor([PAIR.clean]))
        _, corrupted = model.run_with_cache(torch.tensor([PAIR.corrupted]))
    for layer in (0, 1):
        moved = (clean[f"blocks.{layer}.attn.hook_z"] - corrupted[f"blocks.{layer}.attn.hook_z"])[0, -1].norm(dim=-1)
        assert (moved[[0, 3]] > 0.1).all()
        out = (clean[f"blocks.{layer}.hook_attn_out"] - corrupted[f"blocks.{layer}.hook_attn_out"])[0, -1]
        assert out[JUNK].norm() > 0.1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_z_finds_the_two_heads_and_no_other(model: TransformerBridge, direction: str) -> None:
    expected = np.zeros((2, 4))
    expected[0, 2] = expected[1, 1] = 1.0
    np.testing.assert_allclose(normalized(model, "z", direction), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_resid_pre_shows_the_token_move_to_the_place_after_it(model: TransformerBridge, direction: str) -> None:
    expected = [[0, 0.5, 0, 0.5, 0, 0], [0, 0, 0.5, 0, 0.5, 0]]
    np.testing.assert_allclose(normalized(model, "resid_pre", direction), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_only_the_keys_move_the_induction_head(model: TransformerBridge, direction: str) -> None:
    for site, expected in (("q", 0.0), ("k", 1.0), ("v", 0.0)):
        found = normalized(model, site, direction, layers=1, heads=1)
        assert found.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_heads_write_where_the_circuit_says(model: TransformerBridge, direction: str) -> None:
    by = ("layer", "pos", "head")
    z = normalized(model, "z", direction, by=by)
    expected = np.zeros((2, 6, 4))
    expected[0, [2, 4], 2] = 0.5
    expected[1, 5, 1] = 1.0
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-4)
    k = normalized(model, "k", direction, by=by)[1, :, 1]
    np.testing.assert_allclose(k, [0, 0, 0.5, 0, 0.5, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_attention_output_is_the_sum_of_its_heads(model: TransformerBridge, direction: str) -> None:
    expected = [[0, 0, 0.5, 0, 0.5, 0], [0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(normalized(model, "attn_out", direction), expected, rtol=0, atol=1e-4)
