"""Every table agrees with `transformer_lens.patching`, cell by cell, within the contract's precision."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.metrics import METRICS, tolerance
from patchwidgets.result import PatchResult
from tests import models
from tests.engine import oracle

DIRECTIONS = ("denoise", "noise")
EVERY_METRIC = tuple(name for name in METRICS if not name.startswith("kl"))

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")


def base_and_source(model: TransformerBridge, direction: str) -> tuple[Tensor, Tensor]:
    clean, corrupted = (models.tokens(model, text) for text in (models.PAIR.clean, models.PAIR.corrupted))
    return (corrupted, clean) if direction == "denoise" else (clean, corrupted)


@cache
def measured(
    model: TransformerBridge, site: str, by: tuple[str, ...], direction: str
) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Return TransformerLens's table of every metric, and the two plain runs."""
    base, source = base_and_source(model, direction)
    metrics = oracle.scores(*models.answer_ids())
    return oracle.table(model, site, by, base, source, metrics), oracle.runs(model, base, source, metrics)


def assert_agrees(
    model: TransformerBridge, site: str, by: tuple[str, ...], direction: str, dtype: str, engine: str
) -> PatchResult:
    expected, plain = measured(model, site, by, direction)
    result = patch(model, models.PAIR, site, by=by, direction=direction, metric=EVERY_METRIC).wait()
    assert result.engine == engine
    for name in EVERY_METRIC:
        at_base, at_source = plain[name]
        allowed = tolerance(dtype, at_source - at_base)
        found = result.data["patched"].sel(metric=name).values
        assert found.shape == expected[name].shape
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=allowed, err_msg=name)
        chosen = result.data[["clean", "corrupted"]].sel(metric=name)
        told = [float(chosen["corrupted"]), float(chosen["clean"])]
        np.testing.assert_allclose(
            told if direction == "denoise" else told[::-1], [at_base, at_source], rtol=0, atol=allowed
        )
    return result


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("site", "by"), oracle.ALL_SWEEPS)
def test_gpt2_every_table_in_float64(
    gpt2: TransformerBridge, site: str, by: tuple[str, ...], direction: str, engine: str
) -> None:
    assert_agrees(gpt2, site, by, direction, "float64", engine)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("site", "by"),
    [
        ("resid_pre", oracle.LAYER_POS),
        ("attn_out", oracle.LAYER_POS),
        ("mlp_out", oracle.LAYER_POS),
        ("resid_mid", oracle.LAYER_POS),
        ("z", oracle.LAYER_POS_HEAD),
        ("q", oracle.LAYER_HEAD),
        ("k", oracle.LAYER_HEAD),
        ("v", oracle.LAYER_HEAD),
        ("k", oracle.LAYER_POS_HEAD),
        ("v", oracle.LAYER_POS_HEAD),
    ],
)
def test_llama_with_shared_key_value_heads_in_float64(
    llama: TransformerBridge, site: str, by: tuple[str, ...], direction: str, engine: str
) -> None:
    result = assert_agrees(llama, site, by, direction, "float64", engine)
    if site in ("k", "v"):
        assert result.data.sizes["head"] == models.KV_HEADS


@pytest.mark.parametrize(
    ("site", "by"),
    [(site, by) for site, by in oracle.ALL_SWEEPS if site in ("resid_pre", "attn_out", "z", "k") and len(by) == 2],
)
def test_neox_with_parallel_attention_in_float64(
    neox: TransformerBridge, site: str, by: tuple[str, ...], engine: str
) -> None:
    assert_agrees(neox, site, by, "denoise", "float64", engine)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("site", "by"), [("resid_pre", oracle.LAYER_POS), ("z", oracle.LAYER_POS_HEAD)])
def test_gpt2_in_float32(
    gpt2_float32: TransformerBridge, site: str, by: tuple[str, ...], direction: str, engine: str
) -> None:
    assert_agrees(gpt2_float32, site, by, direction, "float32", engine)


@pytest.mark.parametrize("site", ["resid_pre", "attn_out", "mlp_out"])
def test_plain_torch_hooks_on_a_model_transformerlens_never_touched(site: str) -> None:
    """The same weights as a bare Hugging Face model, patched by torch's own hooks on its modules."""
    bare = models.hugging_face("llama")
    clean, corrupted = (torch.tensor([[1, *(2 + int(word[1:]) for word in str(text).split())]])
                        for text in (models.PAIR.clean, models.PAIR.corrupted))  # fmt: skip
    answer, foil = models.answer_ids()
    assert foil is not None
    wheres = {
        "resid_pre": lambda layer: (layer, True),
        "attn_out": lambda layer: (layer.self_attn, False),
        "mlp_out": lambda layer: (layer.mlp, False),
    }
    expected = np.zeros((models.LAYERS, clean.shape[1]))
    for number, layer in enumerate(bare.model.layers):
        module, is_input = wheres[site](layer)
        for pos in range(clean.shape[1]):
            expected[number, pos] = _torch_hooked(bare, module, is_input, clean, corrupted, pos, answer, foil)
    model = models.bridge("llama")
    found = patch(model, models.PAIR, site).wait().data["patched"].values[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def _torch_hooked(
    bare: torch.nn.Module,
    module: torch.nn.Module,
    is_input: bool,
    source: Tensor,
    base: Tensor,
    pos: int,
    answer: int,
    foil: int,
) -> float:
    """Run `source`, keeping the module's input or output; run `base` with row `pos` of it; return the difference."""
    kept: list[Tensor] = []

    def swap(value: Tensor) -> Tensor:
        if not kept:
            kept.append(value.detach().clone())
            return value
        patched = value.clone()
        patched[:, pos] = kept[0][:, pos]
        return patched

    def before(_: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (swap(args[0]), *args[1:])

    def after(_: object, args: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return (swap(output[0]), *output[1:]) if isinstance(output, tuple) else swap(output)

    handle = module.register_forward_pre_hook(before) if is_input else module.register_forward_hook(after)
    with torch.no_grad():
        bare(source)
        last = bare(base).logits[0, -1]
    handle.remove()
    return float(last[answer] - last[foil])
