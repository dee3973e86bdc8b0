"""SmolLM2-135M does IOI: its figures, and a sample of cells against TransformerLens one run per cell."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.model import load_model
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.metrics import tolerance
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests.engine import oracle

pytestmark = pytest.mark.smollm2

PAIR = PromptPair(
    "When Mary and John went to the store, John gave a drink to",
    "When Mary and John went to the store, Mary gave a drink to",
    answer=" Mary",
    foil=" John",
)
S2, END = 9, 13
"""Without a BOS: the second name, which differs, and the last token."""


@pytest.fixture(scope="module")
def model(smollm2_folder: Path) -> TransformerBridge:
    return load_model(smollm2_folder)


def sweep(model: TransformerBridge, site: str, **options: Any) -> PatchResult:
    return patch(model, PAIR, site, **{"prepend_bos": False, **options}).wait()


def test_the_tokens_are_those_of_the_figures(model: TransformerBridge) -> None:
    result = sweep(model, "resid_pre", layers=0, positions=[S2, END])
    assert list(result.data["token"].values) == [" John", " to"]
    assert list(result.data["token_corrupted"].values) == [" Mary", " to"]
    assert len(result.provenance["tokens"]["clean"]) == 14


def test_logit_differences(model: TransformerBridge) -> None:
    without = sweep(model, "resid_pre", layers=0, positions=0)
    assert (without.clean, without.corrupted) == (pytest.approx(6.12, abs=0.03), pytest.approx(-5.49, abs=0.03))
    with_bos = sweep(model, "resid_pre", layers=0, positions=0, prepend_bos=None)
    assert with_bos.provenance["prepend_bos"] is True
    assert (with_bos.clean, with_bos.corrupted) == (pytest.approx(5.30, abs=0.03), pytest.approx(-5.07, abs=0.03))


def test_where_the_name_is_kept_and_where_it_goes(model: TransformerBridge) -> None:
    normalized = sweep(model, "resid_pre", layers=[0, 9, 18, 21, 24], positions=[S2, END]).normalized.isel(metric=0)
    at_s2, at_end = (normalized.sel(pos=pos).values for pos in (S2, END))
    np.testing.assert_allclose(at_s2, [1.0, 1.0, 1.0, 0.61, -0.03], rtol=0, atol=0.02)
    np.testing.assert_allclose(at_end, [0.0, 0.0, 0.0, 0.33, 0.92], rtol=0, atol=0.02)


HEADS = {(23, 3): 0.58, (29, 1): 0.26, (24, 4): -0.25, (20, 0): 0.22, (29, 0): -0.20, (17, 4): 0.18, (19, 2): 0.16}


def test_heads(model: TransformerBridge) -> None:
    layers = sorted({layer for layer, _ in HEADS})
    normalized = sweep(model, "z", layers=layers).normalized.isel(metric=0)
    found = {(layer, head): float(normalized.sel(layer=layer, head=head)) for layer, head in HEADS}
    assert found == pytest.approx(HEADS, abs=0.02)
    others = [
        abs(float(normalized.sel(layer=layer, head=head)))
        for layer in layers
        for head in range(9)
        if (layer, head) not in HEADS
    ]
    assert max(others) < 0.14


SAMPLE: dict[str, list[dict[str, int]]] = {
    "resid_pre": [
        {"layer": 3, "pos": S2},
        {"layer": 22, "pos": S2},
        {"layer": 25, "pos": END},
        {"layer": 9, "pos": 11},
    ],
    "attn_out": [{"layer": 18, "pos": END}, {"layer": 23, "pos": END}],
    "z": [{"layer": 23, "head": 3}, {"layer": 29, "head": 0}],
    "k": [{"layer": 10, "head": 2}, {"layer": 23, "head": 1}],
}


@cache
def measured(
    model: TransformerBridge, direction: str, prepend_bos: bool | None
) -> tuple[tuple[float, float], dict[str, np.ndarray]]:
    """Return the logit difference of the base run and of the source run, and after each patch of the sample."""
    clean, corrupted = (model.to_tokens(str(text), prepend_bos=prepend_bos) for text in (PAIR.clean, PAIR.corrupted))
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    answer, foil = (model.to_single_token(str(text)) for text in (PAIR.answer, PAIR.foil))
    score = oracle.scores(answer, foil)["logit_diff"]
    cells = {site: oracle.cells(model, site, base, source, score, where) for site, where in SAMPLE.items()}
    return oracle.runs(model, base, source, {"logit_diff": score})["logit_diff"], cells


@pytest.mark.parametrize("prepend_bos", [False, None])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_cells_against_transformerlens(
    model: TransformerBridge, direction: str, prepend_bos: bool | None, engine: str
) -> None:
    (at_base, at_source), expected = measured(model, direction, prepend_bos)
    allowed = tolerance("float32", at_source - at_base)
    for site, where in SAMPLE.items():
        chosen = {f"{axis}s": sorted({cell[axis] for cell in where}) for axis in where[0] if axis != "pos"}
        if "pos" in where[0]:
            chosen["positions"] = sorted({cell["pos"] for cell in where})
        result = sweep(model, site, direction=direction, prepend_bos=prepend_bos, **chosen)
        assert result.engine == engine, result.provenance["why_hooked"]
        found = [float(result.data["patched"].isel(metric=0).sel(cell)) for cell in where]
        np.testing.assert_allclose(found, expected[site], rtol=0, atol=allowed, err_msg=site)


def test_keys_and_values_have_three_heads(model: TransformerBridge) -> None:
    result = sweep(model, "v", layers=29)
    assert result.data["patched"].shape == (1, 1, 3)
    with pytest.raises(PatchError, match=r"head 3 does not exist: there are 3 \(0 to 2\)"):
        sweep(model, "k", heads=3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (" Mary John", r"the answer ' Mary John' is 2 tokens, ' Mary\| John', not one\. Did you mean ' Mary'\?"),
        ("maryjohn", r"the answer 'maryjohn' is \d tokens, .*, not one\. Did you mean '.+'\?"),
        ("  Mary", r"the answer '  Mary' is 2 tokens, .*not one\. Did you mean ' Mary'\?"),
    ],
)
def test_a_multi_token_answer_suggests_what_the_model_itself_expects(
    model: TransformerBridge, answer: str, message: str
) -> None:
    pair = PromptPair(PAIR.clean, PAIR.corrupted, answer=answer, foil=" John")
    with pytest.raises(PatchError, match=message):
        patch(model, pair, "z")


def test_a_typed_bos_is_doubled_only_when_another_is_prepended(model: TransformerBridge) -> None:
    bos = model.tokenizer.bos_token
    pair = PromptPair(f"{bos}{PAIR.clean}", f"{bos}{PAIR.corrupted}", answer=" Mary", foil=" John")
    with pytest.raises(PatchError, match=r"contains the BOS token .* leave it out of the text, or use prep"):
        patch(model, pair, "z")
    typed = patch(model, pair, "resid_pre", layers=0, positions=0, prepend_bos=False).wait()
    prepended = sweep(model, "resid_pre", layers=0, positions=0, prepend_bos=True)
    assert typed.provenance["tokens"] == prepended.provenance["tokens"]
    assert typed.clean == pytest.approx(prepended.clean, abs=1e-4)
    assert typed.provenance["bos_at"] == 0
