"""A patch looked at closely is the patch of the table: same logits, and the attention TransformerLens caches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.encoding import encode_pair, encode_prompts
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.inspect import inspect_cells, misfit, score, top_tokens
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Mean, Noise, Patch, Vector
from patchwidgets.metrics import get_metrics
from patchwidgets.prompts import PromptPair
from tests import models

CELLS = [
    ("resid_pre", {"layer": 1, "pos": 3}),
    ("z", {"layer": 2, "head": 1}),
    ("k", {"layer": 0, "pos": 5, "head": 0}),
]


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_logits_are_those_behind_the_tables(family: str, direction: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(family)
    handle = handle_of(model)
    encoded = encode_pair(models.PAIR, handle.tokenizer, needs_foil=True)
    before = models.state(model)
    seen = inspect_cells(handle, encoded, Patch(direction), CELLS)
    assert models.state(model) == before
    assert seen.attention == ()
    assert [logits.shape for logits in seen.logits] == [(1, models.VOCAB)] * (2 + len(CELLS))
    differences = [float(logits[0, encoded.answer] - logits[0, encoded.foil]) for logits in seen.logits]
    for number, (site, cell) in enumerate(CELLS):
        by = tuple(axis for axis in ("layer", "pos", "head") if axis in cell)
        result = patch(model, models.PAIR, site, by=by, direction=direction).wait()
        expected = float(result.data["patched"].isel(metric=0).sel(cell))
        assert differences[2 + number] == pytest.approx(expected, abs=1e-9)
        assert differences[:2] == pytest.approx([result.clean, result.corrupted], abs=1e-9)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_attention_in_the_three_runs(llama: TransformerBridge, direction: str) -> None:
    """Of a query head in a model whose keys are shared, after a patch of the layer below."""
    handle = handle_of(llama)
    encoded = encode_pair(models.PAIR, handle.tokenizer, needs_foil=True)
    cell = {"layer": 1, "pos": 3}
    seen = inspect_cells(handle, encoded, Patch(direction), [("resid_post", cell)], head=(2, 3))
    runs = {name: torch.tensor([getattr(encoded, name)]) for name in ("clean", "corrupted")}
    name, pattern = "blocks.1.hook_resid_post", "blocks.2.attn.hook_pattern"
    expected = []
    with torch.no_grad():
        for tokens in runs.values():
            expected.append(llama.run_with_cache(tokens)[1][pattern][0, 3])
        base, source = (runs[run] for run in (Patch(direction).base, Patch(direction).source))
        taken = llama.run_with_cache(source)[1][name][0, 3]

        def put(activation: torch.Tensor, hook: object) -> torch.Tensor:
            activation = activation.clone()
            activation[0, 3] = taken
            return activation

        with llama.hooks(fwd_hooks=[(name, put)]):
            expected.append(llama.run_with_cache(base)[1][pattern][0, 3])
    attention = np.stack(seen.attention)
    np.testing.assert_allclose(attention, torch.stack(expected).numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(attention.sum(-1), 1.0, rtol=0, atol=1e-6)
    assert not np.allclose(attention[0], attention[2])


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_prompts_of_unequal_length_are_looked_at_side_by_side(llama: TransformerBridge, direction: str) -> None:
    """Each run keeps its own positions; the patched one is the base run with its counterpart's activation."""
    handle = handle_of(llama)
    ids = {"clean": (1, 5, 9, 4, 7), "corrupted": (1, 6, 4, 7)}
    pair = encode_prompts(PromptPair(*ids.values()), handle.tokenizer, align=[(0, 0), (2, 1), (3, 2), (4, 3)])
    way = Patch(direction)
    at = {"clean": 2, "corrupted": 1}
    seen = inspect_cells(handle, pair, way, [("resid_post", {"layer": 1, "pos": at[way.base]})], head=(2, 3))
    name, pattern = "blocks.1.hook_resid_post", "blocks.2.attn.hook_pattern"
    tokens = {run: torch.tensor([values]) for run, values in ids.items()}
    with torch.no_grad():
        plain = {run: llama.run_with_cache(tokens[run]) for run in ids}
        taken = plain[way.source][1][name][0, at[way.source]]

        def put(activation: torch.Tensor, hook: object) -> torch.Tensor:
            activation = activation.clone()
            activation[0, at[way.base]] = taken
            return activation

        with llama.hooks(fwd_hooks=[(name, put)]):
            runs = [plain["clean"], plain["corrupted"], llama.run_with_cache(tokens[way.base])]
    for logits, attention, (expected, cache) in zip(seen.logits, seen.attention, runs, strict=True):
        np.testing.assert_allclose(logits[0].numpy(), expected[0, -1].numpy(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(attention, cache[pattern][0, 3].numpy(), rtol=0, atol=1e-6)
    assert not np.allclose(seen.logits[2].numpy(), seen.logits[0 if way.base == "clean" else 1].numpy(), atol=1e-4)


def test_a_random_patch_is_run_once_in_every_draw(gpt2: TransformerBridge) -> None:
    handle = handle_of(gpt2)
    encoded = encode_pair(models.PAIR, handle.tokenizer, needs_foil=True)
    noise = Noise(1.0, samples=3)
    seen = inspect_cells(handle, encoded, Patch("denoise"), CELLS[:2], head=(2, 1), intervention=noise)
    assert [len(logits) for logits in seen.logits] == [1, 1, 3, 3]
    assert not torch.allclose(seen.logits[2][0], seen.logits[2][1])
    values = score(get_metrics("logit_diff"), seen, encoded)
    for number, (site, cell) in enumerate(CELLS[:2]):
        by = tuple(axis for axis in ("layer", "pos", "head") if axis in cell)
        result = patch(gpt2, models.PAIR, site, by=by, intervention=noise).wait()
        expected = float(result.data["patched"].isel(metric=0).sel(cell))
        assert values[0, 2 + number] == pytest.approx(expected, abs=1e-9)
    means = seen.logits[2].softmax(-1).mean(0)
    assert [p for _, p, _ in top_tokens(seen.logits[2], 4)] == pytest.approx(means.topk(4).values.tolist())


@pytest.mark.parametrize(
    ("what", "cell", "told"),
    [
        (Vector([1.0, 2.0]), ("z", {"layer": 0, "head": 1}), "the vector has 2 entries and z has"),
        (Vector([1.0, 2.0]), ("pattern", {"layer": 0, "head": 1, "dest": 3}), "is one number here"),
        (Vector(0.5), ("pattern", {"layer": 0, "head": 1, "dest": 3}), ""),
        (Mean(per_position=False), ("pattern", {"layer": 0, "head": 1}), "pattern has no mean over positions"),
        (Mean(), ("pattern", {"layer": 0, "head": 1}), ""),
        (Noise(), ("z", {"layer": 0, "head": 1}), ""),
    ],
)
def test_where_an_intervention_does_not_fit_it_is_told(gpt2: TransformerBridge, what, cell, told: str) -> None:
    assert told in misfit(handle_of(gpt2), what, cell)
    assert bool(misfit(handle_of(gpt2), what, cell)) == bool(told)


def test_a_layer_that_is_not_there_has_no_attention(gpt2: TransformerBridge) -> None:
    handle = handle_of(gpt2)
    encoded = encode_pair(models.PAIR, handle.tokenizer)
    with pytest.raises(PatchError, match=r"no attention pattern .*blocks\.7\.attn\.hook_pattern"):
        inspect_cells(handle, encoded, Patch("denoise"), [("resid_pre", {"layer": 0, "pos": 3})], head=(7, 0))


def test_top_tokens_are_sorted_with_their_probabilities() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0]).log()
    found = top_tokens(logits, 3)
    assert [token for token, _, _ in found] == [1, 3, 2]
    assert [probability for _, probability, _ in found] == pytest.approx([0.5, 1 / 3, 1 / 6])
    assert [logit for _, _, logit in found] == pytest.approx([float(logits[i]) for i in (1, 3, 2)])
    assert len(top_tokens(logits, 100)) == 4


def test_rate_is_the_models_own_next_token(gpt2: TransformerBridge) -> None:
    prompt = [1, 5, 9, 2]
    with torch.no_grad():
        expected = gpt2(torch.tensor([prompt]))[0, -1].log_softmax(0)[[3, 30, 7]]
    assert handle_of(gpt2).rate(prompt, [3, 30, 7]) == pytest.approx(expected.tolist(), abs=1e-9)


def test_processed_weights_are_recorded_and_agree() -> None:
    """TransformerLens's compatibility mode folds norms and centres: logit differences stay, and the result says so."""
    raw_model, model = models.bridge("gpt2"), models.bridge("gpt2")
    raw = patch(raw_model, models.PAIR, "z").wait()
    model.enable_compatibility_mode()
    processed = patch(model, models.PAIR, "z").wait()
    assert (raw.provenance["weights"], processed.provenance["weights"]) == ("raw", "processed")
    np.testing.assert_allclose(processed.data["patched"].values, raw.data["patched"].values, rtol=0, atol=1e-5)
    with torch.no_grad():
        last = model(models.tokens(model, str(models.PAIR.clean)))[0, -1]
    answer, foil = models.answer_ids()
    assert foil is not None
    assert processed.clean == pytest.approx(float(last[answer] - last[foil]), abs=1e-9)
