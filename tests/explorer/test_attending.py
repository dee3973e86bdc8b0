"""The choices of an opened head's attention: differences of what the runs show, and both weighed by the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair
LAYER, HEAD = 2, 1


def arrays(view: Any) -> list[np.ndarray]:
    """The numbers of each choice, [run, dest, src], as the page reads them."""
    count = len(view.columns["clean"])
    every = np.frombuffer(view.patterns, "<f4").reshape(-1, count, count)
    ends = np.cumsum([len(view.runs), *(len(choice["runs"]) for choice in view.more)])
    return np.split(every, ends[:-1])


def opened(explorer: Any, select: Any) -> Any:
    explorer.run()
    explorer.wait()
    select(explorer._map.view, LAYER, 14)
    explorer.wait()
    select(explorer._drilldown.heads.view, LAYER, HEAD)
    explorer.wait()
    return explorer._drilldown.attention


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_differences_are_those_of_what_transformerlens_caches(
    explorer: Any, model: Any, select: Any, direction: str
) -> None:
    explorer._controls.direction.value = direction
    view = opened(explorer, select)
    assert [choice["label"] for choice in view.more] == ["Difference", "Value-weighted", "Its difference"]
    base, source = ("corrupted", "clean") if direction == "denoise" else ("clean", "corrupted")
    labels = [run["label"] for run in view.more[0]["runs"]]
    assert labels == [f"head {LAYER}.{HEAD} \u2212 {base}", f"cell \u2212 {base}", "clean \u2212 corrupted"]
    name, entering = f"blocks.{LAYER}.attn.hook_pattern", f"blocks.{LAYER}.hook_resid_pre"
    with torch.no_grad():
        cached = {run: model.run_with_cache(getattr(DEMO, run))[1] for run in ("clean", "corrupted")}

        def put(activation: torch.Tensor, hook: object) -> torch.Tensor:
            activation[:, 14] = cached[source][entering][:, 14]
            return activation

        with model.hooks(fwd_hooks=[(entering, put)]):
            patched = model.run_with_cache(getattr(DEMO, base))[1][name][0, HEAD].numpy()
    clean, corrupted = (cached[run][name][0, HEAD].numpy() for run in ("clean", "corrupted"))
    found = arrays(view)[1]
    # A patch of the head's own output does not reach its attention.
    np.testing.assert_allclose(found[0], 0.0, atol=1e-6)
    np.testing.assert_allclose(found[1], patched - (corrupted if base == "corrupted" else clean), atol=1e-6)
    np.testing.assert_allclose(found[2], clean - corrupted, atol=1e-6)
    assert view.more[0]["limit"] == pytest.approx(max(np.abs(found[1]).max(), np.abs(found[2]).max()), abs=1e-6)


def test_weighed_by_the_values(explorer: Any, model: Any, select: Any) -> None:
    view = opened(explorer, select)
    weighed, differences = arrays(view)[2:]
    with torch.no_grad():
        for i, text in enumerate((DEMO.clean, DEMO.corrupted)):
            cache = model.run_with_cache(text)[1]
            values = cache[f"blocks.{LAYER}.attn.hook_v"][0, :, HEAD]
            rows = slice(HEAD * values.shape[-1], (HEAD + 1) * values.shape[-1])
            written = values @ model.original_model.transformer.h[LAYER].attn.c_proj.weight[rows]
            carried = cache[f"blocks.{LAYER}.attn.hook_pattern"][0, HEAD] * written.norm(dim=-1)
            np.testing.assert_allclose(weighed[i], carried / carried.sum(-1, keepdim=True), atol=1e-5)
    np.testing.assert_allclose(differences[0], weighed[2] - weighed[1], atol=1e-6)
    np.testing.assert_allclose(differences[2], weighed[0] - weighed[1], atol=1e-6)
    assert "length of the source's value vector through W_O" in view.more[1]["note"]
    assert "2004.10102" in view.more[1]["note"]


def test_the_choice_stays_when_another_head_is_opened(explorer: Any, select: Any) -> None:
    view = opened(explorer, select)
    view._handle({"type": "choose", "choice": 3})
    assert view.chosen == 3
    view._handle({"type": "choose", "choice": 4})
    assert view.chosen == 3
    select(explorer._drilldown.heads.view, 1, 0)
    explorer.wait()
    assert view.chosen == 3


def test_where_a_prompt_has_no_token_there_is_no_difference(model: Any, select: Any) -> None:
    shorter = "When Anna and John went to the store, John gave it to"
    pair = pw.PromptPair(DEMO.clean, shorter, answer=" Mary", foil=" Anna")
    explorer = pw.explore(model, pair)
    try:
        explorer.wait()
        explorer.run()
        explorer.wait()
        last = len(explorer._map.view.columns["clean"]) - 1
        select(explorer._map.view, LAYER, last)
        explorer.wait()
        select(explorer._drilldown.heads.view, LAYER, HEAD)
        explorer.wait()
        view = explorer._drilldown.attention
        gaps = [i for i, text in enumerate(view.columns["corrupted"]) if text is None]
        assert gaps
        plain, difference, weighed, _ = arrays(view)
        assert np.isnan(difference[2][:, gaps]).all()
        assert np.isnan(weighed[1][:, gaps]).all()
        both = [i for i in range(last + 1) if i not in gaps and view.columns["clean"][i] is not None]
        np.testing.assert_array_equal(difference[2][np.ix_(both, both)], (plain[0] - plain[1])[np.ix_(both, both)])
        assert explorer._drilldown.output.tables[1]["rows"]
    finally:
        explorer.close()
