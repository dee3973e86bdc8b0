"""Where an opened head points: the numbers on screen are those of the embedded model's own weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchwidgets.engine import direct
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair
LAYER, HEAD = 2, 1


def by_hand(model: Any, cache: dict[str, Tensor], logits: Tensor, position: int) -> Tensor:
    """The head's direct contribution to the logits, above their mean, from GPT-2's own weights and formulas."""
    gpt2 = model.original_model
    written, norm = gpt2.transformer.h[LAYER].attn.c_proj.weight, gpt2.transformer.ln_f
    z = cache[f"blocks.{LAYER}.attn.hook_z"][0, position, HEAD]
    added = z @ written[HEAD * len(z) : (HEAD + 1) * len(z)]
    row = cache["ln_final.hook_in"][0, position]
    unembed = gpt2.lm_head.weight
    scale = torch.sqrt(row.var(correction=0) + 1e-5)
    assert torch.allclose(
        unembed @ ((row - row.mean()) / scale * norm.weight + norm.bias), logits[0, position], atol=1e-3
    )
    found = unembed @ ((added - added.mean()) / scale * norm.weight)
    return found - found.mean()


def runs_by_hand(model: Any, position: int) -> list[Tensor]:
    """The clean and the corrupted run's, and the run's in which the clean head's output is put."""
    name = f"blocks.{LAYER}.attn.hook_z"
    with torch.no_grad():
        plain = [model.run_with_cache(text) for text in (DEMO.clean, DEMO.corrupted)]
        taken = plain[0][1][name]

        def put(activation: Tensor, hook: object) -> Tensor:
            activation = activation.clone()
            activation[:, position, HEAD] = taken[:, position, HEAD]
            return activation

        with model.hooks(fwd_hooks=[(name, put)]):
            plain.append(model.run_with_cache(DEMO.corrupted))
        return [by_hand(model, cache, logits, position) for logits, cache in plain]


def opened_at(explorer: Any, select: Any, position: int) -> Any:
    explorer.run()
    explorer.wait()
    select(explorer._map.view, LAYER, position)
    explorer.wait()
    select(explorer._drilldown.heads.view, LAYER, HEAD)
    explorer.wait()
    return explorer._drilldown.output


@pytest.mark.parametrize("position", [14, 10])
def test_the_tokens_a_head_points_at(explorer: Any, model: Any, select: Any, position: int) -> None:
    view = opened_at(explorer, select, position)
    text = explorer._handle.tokenizer.text
    assert [table["label"] for table in view.tables] == ["clean", "corrupted", f"patched: head {LAYER}.{HEAD}"]
    for table, expected in zip(view.tables, runs_by_hand(model, position), strict=True):
        rows = {row["token"]: row for row in table["rows"]}
        answer, foil = (model.to_single_token(f" {name}") for name in ("Mary", "Anna"))
        best = expected.topk(6).indices.tolist()
        unmarked = [token for token in best if token not in (answer, foil)]
        assert [token for token, row in rows.items() if not row["mark"]] == [text(token) for token in unmarked[:4]]
        assert len(rows) == 6
        values = [row["logit"] for row in table["rows"]]
        assert values == sorted(values, reverse=True)
        for token, value in enumerate(expected.tolist()):
            if text(token) in rows:
                assert rows[text(token)]["logit"] == pytest.approx(value, abs=1e-4)
        assert (rows[text(answer)]["mark"], rows[text(foil)]["mark"]) == ("answer", "foil")
        assert table["difference"] == pytest.approx(float(expected[answer] - expected[foil]), abs=1e-4)
    elsewhere = "the logits of what follows" in view.note
    assert elsewhere == (position != 14)


def test_a_cell_of_all_positions_is_read_where_the_answer_is(explorer: Any, model: Any, select: Any) -> None:
    explorer._controls.site.value = "z"
    explorer.run()
    explorer.wait()
    select(explorer._map.view, LAYER, HEAD)
    explorer.wait()
    view = explorer._drilldown.output
    assert view.title == f"Where head {LAYER}.{HEAD} points at 'to'"
    expected = runs_by_hand(model, 14)[0]
    assert view.tables[0]["rows"][0]["logit"] == pytest.approx(float(expected.max()), abs=1e-4)


def test_a_model_without_such_a_path_says_so(explorer: Any, select: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "cap_of", lambda bridge: 1.0)
    view = opened_at(explorer, select, 14)
    assert view.tables == []
    assert view.note == "Not shown: the model does something of its own between its unembedding and its logits."
    assert explorer._drilldown.error.value == ""
    assert explorer._drilldown.predictions.tables[2]["rows"]


def test_no_head_no_card(explorer: Any, select: Any) -> None:
    explorer.run()
    explorer.wait()
    select(explorer._map.view, LAYER, 14)
    explorer.wait()
    assert explorer._drilldown._output_card.layout.display == "none"
    select(explorer._drilldown.heads.view, LAYER, HEAD)
    explorer.wait()
    assert explorer._drilldown._output_card.layout.display is None
