"""What a head adds to the logits directly: the same from plain weights, and everything a run adds is its logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import patchwidgets as pw
from patchwidgets.engine.baseline import RUNS
from patchwidgets.engine.direct import ENTERING, DirectPath, NotDirect, held
from patchwidgets.engine.handle import ModelHandle, handle_of
from patchwidgets.engine.inspect import Inspection, inspect_cells
from patchwidgets.engine.patch import encode
from patchwidgets.interventions import Noise, Patch
from patchwidgets.metrics import tolerance
from patchwidgets.prompts import EncodedPair, PromptPair
from tests import models
from tests.engine import plain
from tests.engine.plain import ANSWER, CLEAN, CORRUPTED, FOIL, PAIR, Family, Hook, family_of
from tests.families import ADDRESSES, D_MODEL, FAMILIES, HEADS, LAYERS

LAST = len(CLEAN) - 1
EVERYWHERE: dict[str, int | None] = {"clean": LAST, "corrupted": LAST}
CELL = ("z", {"layer": 1, "pos": LAST, "head": 2})

NORMS = {
    "gpt2": "transformer.ln_f",
    "neox": "gpt_neox.final_layer_norm",
    "gptj": "transformer.ln_f",
    "phi": "model.final_layernorm",
    "opt": "model.decoder.final_layer_norm",
    "bloom": "transformer.ln_f",
}
OUTPUTS = {
    "gpt2": "transformer.h.{}.attn.c_proj",
    "neox": "gpt_neox.layers.{}.attention.dense",
    "gptj": "transformer.h.{}.attn.out_proj",
    "phi": "model.layers.{}.self_attn.dense",
    "opt": "model.decoder.layers.{}.self_attn.out_proj",
    "bloom": "transformer.h.{}.self_attention.dense",
}


def encoded(handle: ModelHandle, pair: PromptPair = PAIR) -> EncodedPair:
    return encode(handle, pair, prepend_bos=None)[0]


def looked(family: Family, layer: int, at: dict[str, int | None] = EVERYWHERE) -> tuple[DirectPath, Inspection]:
    """A layer's path and both plain runs, and the run in which CELL is patched, with what the path needs of them."""
    handle = handle_of(family.bridged)
    pair = encoded(handle)
    path = DirectPath(handle, pair, layer, at)
    seen = inspect_cells(handle, pair, Patch("denoise"), [CELL], watch=path.watch)
    for run, logits in zip(seen.kept, seen.logits, strict=True):
        path.check_logits(run, logits)
    for run, name in zip(seen.kept, RUNS, strict=False):
        path.check(run, name)
    return path, seen


def allowed(family: Family, scale: float = 1.0) -> float:
    """How far two computations may be apart; Hugging Face's RMSNorm and some attentions round to float32."""
    return tolerance(family.dtype if family.name == "gpt2" else "float32", scale) / 10


def constant(family: Family) -> Tensor:
    """The logits of nothing: the last norm's bias and the unembedding's."""
    norm: Any = family.bare.get_submodule(NORMS.get(family.name, "model.norm"))
    head: Any = family.bare.get_output_embeddings()
    bias = getattr(norm, "bias", None)
    return head(torch.zeros_like(norm.weight) if bias is None else bias)


@pytest.mark.parametrize("name", FAMILIES)
def test_all_that_is_added_directly_is_the_logits(name: str) -> None:
    """Heads, the biases of W_O, MLPs and the embedding: together the logits of the run, before they are capped."""
    family = family_of(name)
    ids, total = CLEAN, constant(family)
    for layer in range(LAYERS):
        path, seen = looked(family, layer)
        run = seen.kept[0]
        added = torch.stack([path.heads(run, head, "clean")[0] for head in range(HEADS)])
        written = family.bare.get_submodule(OUTPUTS.get(name, "model.layers.{}.self_attn.o_proj").format(layer))
        bias = getattr(written, "bias", None)
        rows = [*added, Hook(family.bare, ADDRESSES[name]["mlp_out"], layer).read(ids)[LAST]]
        rows += [] if bias is None else [bias]
        rows += [Hook(family.bare, ADDRESSES[name]["resid_pre"], 0).read(ids)[LAST]] if layer == 0 else []
        attended = Hook(family.bare, ADDRESSES[name]["attn_out"], layer).read(ids)[LAST]
        whole = added.sum(0) + (0 if bias is None else bias)
        np.testing.assert_allclose(whole, attended, rtol=0, atol=allowed(family))
        for row in rows:
            total = total + path.logits(run, row[None])[0]
    cap = getattr(family.bare.config, "final_logit_softcapping", None)
    found = torch.tanh(total / cap) * cap if cap else total
    with torch.no_grad():
        expected = family.bare(torch.tensor([ids])).logits[0, -1]
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=allowed(family))
    assert float(found[ANSWER] - found[FOIL]) == pytest.approx(plain.difference(family.bare, ids), abs=allowed(family))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_in_float64_it_is_exactly_the_logit_difference(name: str) -> None:
    """With a last norm that computes in float64: Hugging Face's RMSNorm rounds to float32."""
    model: Any = FAMILIES[name]()
    if name == "llama":
        exact = nn.RMSNorm(D_MODEL, eps=model.config.rms_norm_eps, dtype=torch.float64).requires_grad_(False)
        exact.weight.copy_(model.model.norm.weight)
        model.model.norm = exact
    with pytest.warns(UserWarning, match="in place"):
        bridged = pw.load_model(model, tokenizer=models.tokenizer())
    handle = handle_of(bridged)
    pair, parts = encoded(handle), 0.0
    read = inspect_cells(handle, pair, Patch("denoise"), []).logits[0][0]
    for layer in range(LAYERS):
        path = DirectPath(handle, pair, layer, EVERYWHERE)
        hooks = [f"blocks.{layer}.hook_{part}" for part in ("resid_pre", "attn_out", "mlp_out")]
        watch = {**path.watch, **dict.fromkeys(hooks, lambda activation, run: activation[:, [LAST]])}
        seen = inspect_cells(handle, pair, Patch("denoise"), [], watch=watch)
        run = seen.kept[0]
        entered, attended, mlp = (run[hook][:, 0] for hook in hooks)
        heads = [path.heads(run, head, "clean") for head in range(HEADS)]
        bias = attended - sum(heads)
        for row in [*heads, bias, mlp, *([entered] if layer == 0 else [])]:
            logits = path.logits(run, row)[0]
            parts = parts + float(logits[ANSWER] - logits[FOIL])
    if name == "gpt2":
        through: Any = model.lm_head
        bias = through(model.transformer.ln_f.bias)
        parts += float(bias[ANSWER] - bias[FOIL])
    assert parts == pytest.approx(float(read[ANSWER] - read[FOIL]), abs=1e-8)


def z_of(family: Family, ids: list[int], at: int, head: int) -> Tensor:
    return Hook(family.bare, ADDRESSES[family.name]["z"], 1).read(ids)[at, head].double()


def entering(family: Family, module: str, ids: list[int], at: int) -> Tensor:
    """A module's input at a position, from a plain forward pass."""
    seen: list[Tensor] = []
    hook = family.bare.get_submodule(module).register_forward_pre_hook(
        lambda _, args: seen.append(args[0][0, at].double())
    )
    with torch.no_grad():
        family.bare(torch.tensor([ids]))
    hook.remove()
    return seen[0]


def by_hand(family: Family, ids: list[int], at: int, head: int) -> Tensor:
    """A head's direct contribution from Hugging Face's own weights: formulas written out, with no norm called."""
    model: Any = family.bare
    z = z_of(family, ids, at, head)
    own = slice(head * len(z), (head + 1) * len(z))
    if family.name == "gpt2":
        added = z @ model.transformer.h[1].attn.c_proj.weight[own].double()
        row, norm = entering(family, "transformer.ln_f", ids, at), model.transformer.ln_f
        scaled = (added - added.mean()) / torch.sqrt(row.var(correction=0) + norm.eps) * norm.weight.double()
        return model.lm_head.weight.double() @ scaled
    layer, offset = model.model.layers[1], 1.0 if family.name == "gemma2" else 0.0
    added = layer.self_attn.o_proj.weight[:, own].double() @ z
    if family.name in ("gemma2", "olmo2"):
        norm = layer.post_attention_layernorm
        row = entering(family, "model.layers.1.post_attention_layernorm", ids, at)
        added = added / torch.sqrt(row.pow(2).mean() + _eps(norm)) * (offset + norm.weight.double())
    norm, row = model.model.norm, entering(family, "model.norm", ids, at)
    scaled = added / torch.sqrt(row.pow(2).mean() + _eps(norm)) * (offset + norm.weight.double())
    return model.lm_head.weight.double() @ scaled


def _eps(norm: Any) -> float:
    return norm.eps if hasattr(norm, "eps") else norm.variance_epsilon


@pytest.mark.parametrize("at", [3, LAST])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "olmo2"])
def test_a_head_by_hand(name: str, dtype: torch.dtype, at: int) -> None:
    """From plain weights, at the position read and at another, in both plain runs."""
    family = family_of(name, dtype)
    path, seen = looked(family, 1, {"clean": at, "corrupted": at})
    for run, ids in zip(seen.kept, (CLEAN, CORRUPTED), strict=False):
        for head in range(HEADS):
            found = path.logits(run, path.heads(run, head, "clean"))
            expected = by_hand(family, ids, at, head).detach()
            np.testing.assert_allclose(
                found[0].double(), expected, rtol=0, atol=allowed(family, float(expected.abs().max()))
            )


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_patched_head_has_the_source_runs_output_and_its_own_runs_scale(name: str) -> None:
    """What a patched head adds is the clean run's output, seen through the norm of the patched run."""
    family = family_of(name)
    path, seen = looked(family, 1)
    clean, _, patched = seen.kept
    head = CELL[1]["head"]
    np.testing.assert_allclose(
        path.heads(patched, head, "corrupted"), path.heads(clean, head, "clean"), rtol=0, atol=1e-10
    )
    mixed = {**clean, ENTERING: patched[ENTERING]}
    np.testing.assert_allclose(
        path.logits(patched, path.heads(patched, head, "corrupted")),
        path.logits(mixed, path.heads(clean, head, "clean")),
        rtol=0,
        atol=1e-10,
    )
    assert not np.allclose(
        path.logits(patched, path.heads(patched, head, "corrupted")),
        path.logits(clean, path.heads(clean, head, "clean")),
    )


def test_every_draw_has_its_own() -> None:
    """Of noise on a head, one contribution per draw, each the draw's z through the draw's own scale."""
    handle = handle_of(family_of("gpt2").bridged)
    pair = encoded(handle)
    path = DirectPath(handle, pair, 1, EVERYWHERE)
    seen = inspect_cells(handle, pair, Patch("denoise"), [CELL], watch=path.watch, intervention=Noise(1.0, samples=3))
    run = seen.kept[2]
    found = path.logits(run, path.heads(run, 2, "clean"))
    assert found.shape[0] == 3
    for draw in range(3):
        alone = {hook: kept[draw : draw + 1] for hook, kept in run.items()}
        np.testing.assert_allclose(
            found[draw], path.logits(alone, path.heads(alone, 2, "clean"))[0], rtol=0, atol=1e-10
        )
    assert not np.allclose(found[0], found[1])


@pytest.mark.parametrize("width", [7, 8])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_the_scale_of_the_row_is_held(norm: type[nn.Module], width: int) -> None:
    """Parts of a row add up to what the norm makes of the row: with its own scale each would not."""
    made: Any = norm(width).double()
    with torch.no_grad():
        made.weight.copy_(torch.randn(width).double())
        if norm is nn.LayerNorm:
            made.bias.copy_(torch.randn(width).double())
    parts = torch.randn(3, 4, width).double()
    rows = parts.sum(0)
    with torch.no_grad():
        found = sum(held(made, rows, part) for part in parts)
        expected = made(rows) - made(torch.zeros(width).double())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("spike", [0.0, 300.0])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_in_bfloat16_a_norm_is_known_for_what_it_is(norm: type[nn.Module], spike: float) -> None:
    """Also at a token with one large entry, beside which a shift of the row hardly shows."""
    made: Any = norm(64).bfloat16()
    with torch.no_grad():
        made.weight.copy_(torch.rand(64) + 0.5)
    rows, added = torch.randn(2, 64), torch.randn(2, 64) + 3.0
    rows[:, 7] += spike
    rows, added = rows.bfloat16(), added.bfloat16()
    with torch.no_grad():
        found = held(made, rows, added).double()
    row, vector, centred = rows.double(), added.double(), norm is nn.LayerNorm
    row, vector = (each - centred * each.mean(-1, keepdim=True) for each in (row, vector))
    expected = made.weight.detach().double() * vector / row.pow(2).mean(-1, keepdim=True).sqrt()
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_model_in_bfloat16_is_not_refused(name: str) -> None:
    shown = []
    for dtype in (torch.float32, torch.bfloat16):
        model = models.bridge(name, dtype=dtype)
        handle = handle_of(model)
        pair = encoded(handle, models.PAIR)
        path = DirectPath(handle, pair, 1, {"clean": 3, "corrupted": 3})
        seen = inspect_cells(handle, pair, Patch("denoise"), [], watch=path.watch)
        for run, logits, side in zip(seen.kept, seen.logits, RUNS, strict=True):
            path.check(run, side)
            path.check_logits(run, logits)
        shown.append(path.logits(seen.kept[0], path.heads(seen.kept[0], 2, "clean"))[0].float())
    np.testing.assert_allclose(shown[1], shown[0], rtol=0, atol=0.05 * float(shown[0].abs().max()))


def test_what_is_no_such_norm_is_refused() -> None:
    rows = torch.randn(2, 8).double()
    with pytest.raises(NotDirect, match="neither a LayerNorm nor an RMSNorm"):
        held(torch.tanh, rows, rows)


def test_a_run_that_is_not_what_its_parts_make_is_refused() -> None:
    handle = handle_of(family_of("gpt2").bridged)
    pair = encoded(handle)
    path = DirectPath(handle, pair, 1, EVERYWHERE)
    seen = inspect_cells(handle, pair, Patch("denoise"), [], watch=path.watch)
    attended, middle = "blocks.1.hook_attn_out", "blocks.1.hook_resid_mid"
    path.check(seen.kept[0], "clean")
    with pytest.raises(NotDirect, match="between W_O of layer 1 and the residual stream"):
        path.check({**seen.kept[0], attended: 0.9 * seen.kept[0][attended]}, "clean")
    with pytest.raises(NotDirect, match="layer 1 does not add its attention"):
        path.check({**seen.kept[0], middle: 0.9 * seen.kept[0][middle]}, "clean")
    with pytest.raises(NotDirect, match="between its unembedding and its logits"):
        path.check_logits(seen.kept[0], 0.9 * seen.logits[0])
