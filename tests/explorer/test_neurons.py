"""The neurons behind a cell: the strongest of all, by an independent sweep, and what an opened one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair
LAYER, END, NAME = 2, 14, 2


@pytest.fixture
def opened(explorer: Any, select: Any) -> Any:
    explorer.run()
    explorer.wait()
    select(explorer._map.view, LAYER, END)
    explorer.wait()
    return explorer


def strongest(model: Any, position: int, metric: str, layer: int = LAYER) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Every neuron's clean activation put alone into the corrupted run, one forward pass each, by TransformerLens."""
    name = f"blocks.{layer}.mlp.hook_post"
    answer, foil = (model.to_single_token(f" {who}") for who in ("Mary", "Anna"))

    def score(logits: torch.Tensor) -> float:
        end = logits[0, -1]
        return float(end[answer] - end[foil] if metric == "logit_diff" else end.softmax(-1)[answer])

    with torch.no_grad():
        clean, cache = model.run_with_cache(DEMO.clean)
        base = score(model(DEMO.corrupted))
        patched = []
        for neuron in range(cache[name].shape[-1]):

            def put(activation: torch.Tensor, hook: object, neuron: int = neuron) -> torch.Tensor:
                activation = activation.clone()
                activation[0, position, neuron] = cache[name][0, position, neuron]
                return activation

            patched.append(score(model.run_with_hooks(DEMO.corrupted, fwd_hooks=[(name, put)])))
    effect = np.array(patched) - base
    order = np.argsort(-np.abs(effect), kind="stable")[:10]
    return order.tolist(), effect[order], (effect / (score(clean) - base))[order]


def measured(explorer: Any) -> Any:
    explorer._drilldown.neurons.measure.click()
    explorer.wait()
    return explorer._drilldown.neurons


def shown(neurons: Any) -> list[int]:
    return [int(row) for row in neurons.top.rows]


def test_they_are_offered_and_measured_when_asked(opened: Any, model: Any) -> None:
    neurons = opened._drilldown.neurons
    assert neurons.run is None
    assert neurons.title.value == "Neurons of layer 2 at &#x27;to&#x27;"
    assert neurons.top.layout.display == "none"
    neurons = measured(opened)
    ids, effect, normalized = strongest(model, END, "logit_diff")
    assert set(shown(neurons)) == set(ids)
    np.testing.assert_allclose(neurons.top.array("effect")[:, 0], effect, atol=2e-4)
    np.testing.assert_allclose(neurons.top.array("normalized")[:, 0], normalized, atol=2e-5)
    assert neurons.top.limit == pytest.approx(np.abs(effect).max(), abs=2e-4)
    assert neurons.top.words["note"].startswith("All 160 were measured")
    assert neurons.measure.layout.display == "none"
    assert neurons.top.state == "done"


def test_another_metric_lists_them_anew_and_runs_nothing(opened: Any, model: Any) -> None:
    run = measured(opened).run
    opened._controls.metric.value = "prob"
    opened.wait()
    neurons = opened._drilldown.neurons
    assert neurons.run is run
    _, effect, _ = strongest(model, END, "prob")
    np.testing.assert_allclose(neurons.top.array("effect")[:, 0], effect, atol=1e-6)


def test_a_neuron_opens(opened: Any, model: Any, select: Any) -> None:
    neurons = measured(opened)
    select(neurons.top, 1, 0)
    opened.wait()
    panel, neuron = opened._drilldown, shown(neurons)[1]
    assert f"neuron {LAYER}.{neuron}" in panel.path.value
    assert panel.back.layout.display is None
    assert panel._attention_card.layout.display == "none"
    with torch.no_grad():
        cached = [model.run_with_cache(text)[1] for text in (DEMO.clean, DEMO.corrupted)]
    expected = [cache[f"blocks.{LAYER}.mlp.hook_post"][0, :, neuron].numpy() for cache in cached]
    assert neurons.activation.rows == ["clean", "corrupted"]
    np.testing.assert_allclose(neurons.activation.array("effect"), expected, atol=1e-6)
    assert neurons.activation.limit == pytest.approx(np.abs(expected).max(), abs=1e-6)
    assert neurons.activation.words["title"] == f"Activation of neuron {LAYER}.{neuron}"
    assert panel.predictions.tables[2]["label"] == f"patched: neuron {LAYER}.{neuron}"
    foil = pw.PromptPair(DEMO.clean, DEMO.corrupted, answer=" Anna")
    chosen = {"layers": [LAYER], "positions": [END], "neurons": [neuron]}
    alone = pw.patch(model, foil, "mlp_post", by=("layer", "pos", "neuron"), metric="logit", **chosen).wait()
    logits = {row["token"]: row["logit"] for row in panel.predictions.tables[2]["rows"]}
    assert logits["Anna"] == pytest.approx(float(alone.data["patched"].item()), abs=1e-4)
    panel.back.click()
    opened.wait()
    assert "neuron" not in panel.path.value
    assert panel.opened.neuron is None
    assert neurons.activation.layout.display == "none"
    assert neurons.top.selected == []
    assert panel.predictions.tables[2]["label"] == "patched: this cell"
    assert shown(neurons)


def test_a_head_and_a_neuron_are_opened_in_each_others_place(opened: Any, select: Any) -> None:
    neurons, panel = measured(opened), opened._drilldown
    select(panel.heads.view, 1, 3)
    opened.wait()
    select(neurons.top, 0, 0)
    opened.wait()
    assert (panel.opened.head, panel.opened.neuron) == (None, shown(neurons)[0])
    assert panel.heads.view.selected == []
    select(panel.heads.view, 1, 3)
    opened.wait()
    assert (panel.opened.head, panel.opened.neuron) == ((1, 3), None)
    assert neurons.top.selected == []
    assert neurons.activation.layout.display == "none"


def test_another_cell_drops_them(opened: Any, select: Any) -> None:
    neurons = measured(opened)
    first = neurons.run
    select(opened._map.view, LAYER, NAME)
    opened.wait()
    assert neurons.run is None
    assert neurons.measure.layout.display is None
    assert measured(opened).run is not first
    opened._drilldown.close()
    assert neurons.box.layout.display == "none"


def test_before_the_prompts_differ_all_are_zero(opened: Any, select: Any) -> None:
    select(opened._map.view, LAYER, 1)
    opened.wait()
    neurons = measured(opened)
    assert shown(neurons) == []
    assert neurons.top.words["note"] == "All 160 are exactly 0, not computed: the prompts do not differ before here."


def test_a_cell_that_is_a_neuron_shows_what_it_does(explorer: Any, model: Any, select: Any) -> None:
    explorer._controls.site.value = "mlp_pre"
    explorer._controls.by.value = ("layer", "neuron")
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 1, 7)
    explorer.wait()
    cell = explorer._drilldown.opened.cell
    neurons = explorer._drilldown.neurons
    with torch.no_grad():
        cached = [model.run_with_cache(text)[1] for text in (DEMO.clean, DEMO.corrupted)]
    expected = [cache[f"blocks.{cell['layer']}.mlp.hook_pre"][0, :, cell["neuron"]].numpy() for cache in cached]
    np.testing.assert_allclose(neurons.activation.array("effect"), expected, atol=1e-6)
    assert neurons.activation.words["title"] == f"Input of neuron {cell['layer']}.{cell['neuron']}"
    assert neurons.box.layout.display is None
    assert neurons.measure.layout.display == "none"


def test_what_fails_is_told_there(opened: Any, broken: Any) -> None:
    broken("patchwidgets-sweep")
    neurons = measured(opened)
    assert neurons.error.value == "RuntimeError: the model broke"
    assert opened._screen.error.value == ""
