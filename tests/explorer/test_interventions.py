"""Means and samples of a dataset, vectors and other objects given in Python, and random draws told as what they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair
HOOK = "blocks.{}.hook_resid_pre"


@pytest.fixture(scope="module")
def dataset():
    """Prompts of the demo's length."""
    names = ["Mary", "Anna", "Tom", "Lucy", "Paul"]
    texts = [DEMO.clean.replace("Mary", name) for name in names]
    return pw.Dataset(
        [pw.PromptPair(a, b, answer=" Mary") for a, b in zip(texts, texts[1:] + texts[:1], strict=True)], name="names"
    )


@pytest.fixture
def on_dataset(model, dataset):
    made = pw.explore(model, dataset=dataset)
    made.wait()
    yield made
    made.close()


def measured(explorer):
    explorer.run()
    return explorer.wait()


def labels_of(explorer) -> dict[str, str]:
    return {value: label for label, value in explorer._controls.intervention.options}


def values_of(explorer) -> dict[str, object]:
    return {name: field.value for name, field in explorer._controls.parameters.fields.items()}


def logit_diff(model, hook, put) -> float:
    """The corrupted run's logit difference with a hook of TransformerLens's own."""
    tokens = [model.tokenizer.encode(text.strip(), add_special_tokens=False)[0] for text in (DEMO.answer, DEMO.foil)]
    with torch.no_grad():
        last = model.run_with_hooks(model.to_tokens(DEMO.corrupted), fwd_hooks=[(hook, put)])[0, -1]
    return float(last[tokens[0]] - last[tokens[1]])


def test_the_mean_at_a_position_is_the_datasets_own(on_dataset, model, dataset):
    on_dataset._controls.intervention.value = "mean"
    result = measured(on_dataset)
    assert on_dataset.settings["intervention"] == "mean"
    layer, pos = 1, 4
    runs = [model.run_with_cache(model.to_tokens(pair.corrupted))[1][HOOK.format(layer)][0] for pair in dataset]
    mean = torch.stack(runs).mean(0)[pos]

    def put(activation, hook):
        activation[0, pos] = mean
        return activation

    found = float(result.data["patched"].sel(metric="logit_diff", layer=layer, pos=pos))
    assert found == pytest.approx(logit_diff(model, HOOK.format(layer), put), abs=1e-4)


def test_the_overall_mean_takes_prompts_of_any_length(model):
    facts = ("The Eiffel Tower is in", "The famous Galata Tower is in")
    other = pw.Dataset([DEMO, pw.PromptPair(*facts, answer=" Paris")], name="mixed")
    explorer = pw.explore(model, dataset=other)
    explorer._controls.intervention.value = "mean overall"
    result = measured(explorer)
    rows = [model.run_with_cache(model.to_tokens(pair.corrupted))[1][HOOK.format(2)][0] for pair in other]
    mean = torch.cat(rows).mean(0)

    def put(activation, hook):
        activation[0, 14] = mean
        return activation

    found = float(result.data["patched"].sel(metric="logit_diff", layer=2, pos=14))
    assert found == pytest.approx(logit_diff(model, HOOK.format(2), put), abs=1e-4)
    explorer._controls.intervention.value = "mean"
    assert "a mean at each position needs prompts of one length" in explorer._screen.error.value
    explorer._controls.intervention.value = "mean overall"
    explorer._controls.site.value = "pattern"
    explorer.wait()
    assert "pattern has no mean over positions" in explorer._screen.error.value
    explorer.close()


@pytest.mark.parametrize("name", ["mean", "mean overall", "resample"])
def test_their_cells_and_heads_open(on_dataset, model, dataset, select, name):
    on_dataset._controls.intervention.value = name
    measured(on_dataset)
    select(on_dataset._map.view, 2, 14)
    on_dataset.wait()
    panel = on_dataset._drilldown
    assert panel.error.value == ""
    what = on_dataset.intervention
    heads = pw.patch(model, DEMO, "z", by=("layer", "pos", "head"), positions=[14], intervention=what).wait()
    np.testing.assert_allclose(panel.heads.view.array("normalized"), heads.normalized.values[0][:, 0], atol=1e-5)
    shown = {row["token"]: row["logit"] for row in panel.predictions.tables[2]["rows"]}
    token = next(iter(shown))
    alone = pw.patch(
        model, pw.PromptPair(DEMO.clean, DEMO.corrupted, answer=token), "resid_pre", layers=[2], positions=[14],
        intervention=what, metric="logit",
    ).wait()  # fmt: skip
    assert shown[token] == pytest.approx(alone.data["patched"].item(), abs=1e-4)
    assert panel.predictions.title == f"Next token{', patched: one random draw' if name == 'resample' else ''}"
    select(panel.heads.view, 1, 3)
    on_dataset.wait()
    labels, note = panel.parts.columns["labels"], panel.parts.words.get("note", "")
    if name == "mean overall":
        assert labels == ["q", "k", "v", "z"]
        assert note == "Left out: pattern has no mean over positions."
    else:
        assert (labels, note) == (["q", "k", "v", "pattern", "z"], "")


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("mean", "mean needs a dataset: pw.explore(model, dataset=...)."),
        ("mean overall", "mean overall needs a dataset"),
        ("resample", "resample needs a dataset"),
        ("vector", "vector needs its values: explorer.intervention = pw.Vector([...])."),
    ],
)
def test_an_entry_that_lacks_something_is_not_taken_and_says_what(explorer, name, needs):
    control = explorer._controls.intervention
    assert "needs" in labels_of(explorer)[name]
    before = measured(explorer)
    control.value = name
    assert control.value == "patch"
    assert needs in explorer._controls.told.value
    assert explorer.wait() is before
    with pytest.raises(pw.PatchError, match="needs"):
        explorer.settings = {"intervention": name}
    control.value = "zero"
    assert explorer._controls.told.value == ""


def test_a_vector_is_an_entry_under_its_own_word(explorer, model, select):
    given = pw.Vector(np.linspace(-1, 1, model.cfg.d_model).tolist(), add=True)
    explorer.intervention = given
    assert explorer.intervention == given
    assert labels_of(explorer)["vector"] == f"vector of {model.cfg.d_model} numbers"
    assert explorer._controls.parameters.fields["add"].value is True
    result = measured(explorer)
    expected = pw.patch(model, DEMO, "resid_pre", intervention=given).wait()
    np.testing.assert_allclose(result.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    select(explorer._map.view, 2, 14)
    explorer.wait()
    panel = explorer._drilldown
    assert "Heads: the vector has" in panel.error.value
    assert panel.parts.columns["labels"] == ["resid_pre", "attn_out", "mlp_out", "resid_post"]
    explorer._controls.site.value = "z"
    explorer.wait()
    assert f"the vector has {model.cfg.d_model} entries and z has {model.cfg.d_head}" in explorer._screen.error.value


def test_settings_are_plain_and_reopen_a_vector(explorer, model):
    explorer.settings = {"site": "z", "by": ["layer", "head"]}
    explorer.intervention = pw.Vector([0.5] * model.cfg.d_head)
    plain = explorer.settings
    assert plain["intervention"] == {"name": "vector", "values": [0.5] * model.cfg.d_head, "add": False}
    expected = measured(explorer)
    other = pw.explore(model)
    other.settings = plain
    np.testing.assert_allclose(measured(other).data["patched"], expected.data["patched"], rtol=0, atol=1e-4)
    assert other.settings == plain
    other.settings = {"intervention": "patch"}
    assert other.settings["intervention"] == "patch"
    other.settings = {"intervention": "vector"}
    assert other.settings == plain
    other.close()


def test_an_object_stands_in_place_of_its_words_default(model):
    explorer = pw.explore(model, intervention=pw.Scale(0.0))
    assert values_of(explorer) == {"factor": "0"}
    assert explorer.settings["intervention"] == {"name": "scale", "factor": 0.0}
    zeroed = measured(explorer)
    explorer._controls.intervention.value = "zero"
    np.testing.assert_allclose(zeroed.normalized.values, explorer.wait().normalized.values, rtol=0, atol=1e-6)
    explorer.settings = {"intervention": pw.Scale()}
    assert explorer.settings["intervention"] == "scale"
    assert explorer.intervention == pw.Scale(0.5)
    explorer.close()


def test_a_mean_of_another_dataset_is_given_as_an_object(explorer, model, dataset):
    explorer.intervention = pw.Mean(dataset, run="clean")
    assert explorer.settings["intervention"] == {"name": "mean", "run": "clean", "per_position": True}
    expected = pw.patch(model, DEMO, "resid_pre", intervention=pw.Mean(dataset, run="clean")).wait()
    np.testing.assert_allclose(measured(explorer).normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    with pytest.raises(pw.PatchError, match=r"cannot hold a dataset; assign explorer\.intervention"):
        explorer.settings = {"intervention": pw.Mean(dataset)}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "scale", "sigma": 2}, "scale cannot be made with 'sigma'"),
        ({"name": "scales"}, "unknown intervention 'scales'; did you mean 'scale'"),
        ({"factor": 2}, "unknown intervention None"),
        ({"name": "mean"}, "mean needs a dataset"),
        ({"name": "noise", "samples": 0}, "samples must be a whole number"),
        (pw.Scale, "is a class"),
        (3.5, "unknown intervention"),
    ],
)
def test_what_is_no_intervention_is_refused_and_the_present_one_stays(explorer, given, why):
    with pytest.raises(pw.PatchError, match=why):
        explorer.settings = {"intervention": given}
    with pytest.raises(pw.PatchError, match=why):
        explorer.intervention = given
    assert explorer.settings["intervention"] == "patch"


def test_a_dataset_is_a_dataset(model):
    with pytest.raises(pw.PatchError, match=r"dataset must be a Dataset"):
        pw.explore(model, dataset=[DEMO])


def test_a_prompt_of_the_dataset_that_cannot_be_read_is_told_beside_the_control(model):
    explorer = pw.explore(model, dataset=pw.Dataset([pw.PromptPair("a", "", answer=" Mary")], name="broken"))
    explorer._controls.intervention.value = "mean"
    assert "the corrupted prompt is empty" in explorer._screen.error.value
    assert explorer._entry.errors["corrupted"].value == ""
    explorer.close()


@pytest.mark.parametrize("seed", [0, 3])
def test_noise_shows_the_mean_of_its_draws_and_says_so(explorer, model, select, seed):
    what = pw.Noise(1.0, samples=4)
    explorer.intervention = what
    explorer.settings = {"seed": seed}
    measured(explorer)
    select(explorer._map.view, 2, 14)
    explorer.wait()
    panel = explorer._drilldown
    assert panel.predictions.title == "Next token, patched: mean of 4 draws"
    row = panel.predictions.tables[2]["rows"][0]
    alone = pw.patch(
        model, pw.PromptPair(DEMO.clean, DEMO.corrupted, answer=row["token"]), "resid_pre", layers=[2], positions=[14],
        intervention=what, metric=["prob", "logit"], seed=seed,
    ).wait()  # fmt: skip
    np.testing.assert_allclose([row["prob"], row["logit"]], alone.data["patched"].values.ravel(), rtol=0, atol=1e-4)
    here = explorer._map.view.value(2, 14)
    assert panel.parts.value(0, 0)["patched"] == pytest.approx(here["patched"], abs=1e-4)
    heads = pw.patch(
        model,
        DEMO,
        "z",
        by=("layer", "pos", "head"),
        layers=[1],
        positions=[14],
        heads=[3],
        intervention=what,
        seed=seed,
    ).wait()
    found = panel.heads.view.value(1, 3)["patched"]
    assert found == pytest.approx(heads.data["patched"].item(), abs=1e-4)
    select(panel.heads.view, 1, 3)
    explorer.wait()
    assert panel.attention.title == "Attention of head 1.3, patched: mean of 4 draws"
    weights = np.frombuffer(panel.attention.patterns, dtype="<f4").reshape(-1, 15, 15)[:4]
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=0, atol=1e-5)


def test_a_pattern_cell_opens_with_its_own_pattern(explorer, model, select):
    """What is watched and what is written are one activation: the patched run shows what was put in."""
    explorer.settings = {"site": "pattern", "by": ["layer", "head"]}
    measured(explorer)
    select(explorer._map.view, 2, 1)
    explorer.wait()
    panel = explorer._drilldown
    weights = np.frombuffer(panel.attention.patterns, dtype="<f4").reshape(-1, 15, 15)[:3]
    np.testing.assert_allclose(weights[2], weights[0], rtol=0, atol=1e-6)
    assert not np.allclose(weights[2], weights[1], atol=1e-3)
    parts = {name: panel.parts.value(0, i)["patched"] for i, name in enumerate(panel.parts.columns["labels"])}
    assert parts["pattern"] == pytest.approx(explorer._map.view.value(2, 1)["patched"], abs=1e-4)
