"""The Explorer without a browser: what is typed, picked and pressed, and what it then shows."""

from __future__ import annotations

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

import patchwidgets as pw
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair


def test_it_opens_on_the_default_demo_with_an_empty_map(explorer):
    assert explorer.wait() is None
    assert explorer.settings["clean"] == DEMO.clean
    assert explorer.settings["site"] == "resid_pre"
    view = explorer._map.view
    assert view.columns["clean"][2:4] == ["Mary", "and"]
    assert view.columns["corrupted"][2] == "Anna"
    assert np.isnan(view.array("normalized")).all()


def test_a_run_shows_what_patch_returns(explorer, model):
    explorer.run()
    shown = explorer.wait()
    expected = pw.patch(model, DEMO, "resid_pre").wait()
    np.testing.assert_allclose(shown.normalized, expected.normalized, atol=1e-5)
    np.testing.assert_allclose(explorer._map.view.array("normalized"), expected.normalized.values[0], atol=1e-5)
    np.testing.assert_allclose(explorer._map.view.array("patched"), expected.data["patched"].values[0], atol=1e-4)


def test_of_one_cell_the_progress_is_in_the_singular(explorer):
    explorer.settings = {"layers": [2], "positions": [14]}
    explorer.run()
    explorer.wait()
    assert explorer._controls.progress.value.startswith("1 of 1 cell, in ")
    assert "\u00b7 1 cell in " in explorer._shelf.view.entries[0]["detail"]


def test_switching_the_metric_runs_nothing(explorer, model):
    explorer.run()
    explorer.wait()
    run = explorer._run
    explorer._controls.metric.value = "prob"
    assert explorer.wait().metrics == ("prob",)
    assert explorer._run is run
    expected = pw.patch(model, DEMO, "resid_pre", metric="prob").wait()
    np.testing.assert_allclose(explorer._map.view.array("patched"), expected.data["patched"].values[0], atol=1e-6)


def test_a_change_of_a_control_runs_again_and_what_was_measured_comes_back_at_once(explorer):
    explorer.run()
    first = explorer.wait()
    explorer._controls.direction.value = "noise"
    assert explorer.wait().intervention.direction == "noise"
    explorer._controls.direction.value = "denoise"
    back = explorer.wait()
    assert back.intervention.direction == "denoise"
    np.testing.assert_array_equal(back.data["patched"], first.data["patched"])


def test_every_control_of_every_site_runs(explorer):
    explorer.run()
    for site in [value for _, value in explorer._controls.site._options_full]:
        explorer._controls.site.value = site
        for by in [value for _, value in explorer._controls.by._options_full]:
            explorer._controls.by.value = by
            result = explorer.wait()
            assert (result.provenance["site"], result.by) == (site, by)


def test_errors_are_shown_beside_their_field_and_clear(explorer):
    explorer._entry.clean.value = ""
    explorer.wait()
    assert "the clean prompt is empty" in explorer._entry.errors["clean"].value
    with pytest.raises(pw.PatchError, match="is empty"):
        explorer.run()
    explorer._entry.clean.value = DEMO.clean
    explorer.wait()
    assert explorer._entry.errors["clean"].value == ""
    explorer._entry.answer.field.value = "Mary John"
    explorer.wait()
    assert "not one" in explorer._entry.errors["answer"].value
    assert "Did you mean" in explorer._entry.errors["answer"].value


def test_an_unknown_word_is_told(explorer):
    explorer._entry.clean.value = DEMO.clean.replace("Mary", "Zebulon")
    explorer.wait()
    assert "clean prompt has a word this model does not know" in explorer._entry.warning.value


def test_text_from_prompts_is_text(explorer):
    explorer._entry.answer.field.value = "<img src=x onerror=alert(1)>"
    explorer.wait()
    shown = explorer._entry.errors["answer"].value
    assert "<img" not in shown
    assert "&lt;" in shown


def test_new_prompts_bring_the_models_own_answers_unless_one_was_chosen(explorer):
    explorer._entry.clean.value = "When Tom and Lucy went to the park, Lucy gave a drink to"
    explorer._entry.corrupted.value = "When Paul and Lucy went to the park, Lucy gave a drink to"
    explorer.wait()
    assert [explorer._entry.answer.field.value.strip(), explorer._entry.foil.field.value.strip()] == ["Tom", "Paul"]
    explorer._entry.answer.field.value = " Lucy"
    explorer._entry.corrupted.value = "When Dan and Lucy went to the park, Lucy gave a drink to"
    explorer.wait()
    assert explorer._entry.answer.field.value == " Lucy"
    assert explorer._entry.foil.field.value.strip() == "Dan"


def test_every_preset_can_be_run(explorer):
    for preset in PRESETS:
        explorer._entry.preset.value = preset.name
        explorer.run()
        result = explorer.wait()
        assert result.provenance["texts"]["clean"], preset.name
        assert explorer._entry.note.value


def test_selecting_a_cell_opens_heads_parts_and_next_tokens(explorer, model, select):
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 2, 14)
    explorer.wait()
    row = explorer.selection.iloc[0]
    assert (row["layer"], row["pos"], row["token"]) == (2, 14, "to")
    heads = pw.patch(model, DEMO, "z", by=("layer", "pos", "head"), positions=[14]).wait()
    np.testing.assert_allclose(
        explorer._drilldown.heads.view.array("normalized"), heads.normalized.values[0][:, 0], atol=1e-5
    )
    parts = explorer._drilldown.parts
    for i, site in enumerate(parts.columns["labels"]):
        alone = pw.patch(model, DEMO, site, layers=[2], positions=[14]).wait()
        assert parts.value(0, i)["normalized"] == pytest.approx(float(alone.normalized.values.item()), abs=1e-5)
    tables = {table["name"]: table for table in explorer._drilldown.predictions.tables}
    assert tables["clean"]["rows"][0]["token"] == "Mary"
    assert tables["corrupted"]["rows"][0]["token"] == "Anna"
    by_token = {entry["token"]: entry["logit"] for entry in tables["patched"]["rows"]}
    alone = pw.patch(model, DEMO, "resid_pre", layers=[2], positions=[14], metric="logit").wait()
    assert by_token["Mary"] == pytest.approx(float(alone.data["patched"].item()), abs=1e-4)


def test_opening_a_head_shows_its_attention_in_three_runs(explorer, model, select):
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 2, 14)
    explorer.wait()
    select(explorer._drilldown.heads.view, 1, 3)
    explorer.wait()
    attention = explorer._drilldown.attention
    assert [run["label"] for run in attention.runs] == ["clean", "corrupted", "patched: head 1.3", "patched: this cell"]
    shown = np.frombuffer(attention.patterns, dtype="<f4").reshape(-1, 15, 15)[:4]
    for run, text in enumerate((DEMO.clean, DEMO.corrupted)):
        _, cache = model.run_with_cache(model.to_tokens(text))
        np.testing.assert_allclose(shown[run], cache["blocks.1.attn.hook_pattern"][0, 3].numpy(), atol=1e-5)
    np.testing.assert_allclose(shown.sum(-1), 1.0, atol=1e-5)
    labels = explorer._drilldown.parts.columns["labels"]
    assert labels == ["q", "k", "v", "pattern", "z"]
    alone = pw.patch(model, DEMO, "z", by=("layer", "pos", "head"), layers=[1], positions=[14], heads=[3]).wait()
    z = explorer._drilldown.parts.value(0, labels.index("z"))["normalized"]
    assert z == pytest.approx(float(alone.normalized.values.item()), abs=1e-5)


def test_a_head_cell_opens_as_that_head(explorer, select):
    explorer._controls.site.value = "z"
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 3, 2)
    explorer.wait()
    assert explorer._drilldown.opened.head == (3, 2)
    assert [run["label"] for run in explorer._drilldown.attention.runs][2:] == ["patched: this cell"]


def test_settings_reopen_the_same_explorer(explorer, model):
    explorer._entry.preset.value = PRESETS[1].name
    explorer._controls.site.value = "attn_out"
    explorer._controls.direction.value = "noise"
    explorer.run()
    expected = explorer.wait()
    other = pw.explore(model)
    other.settings = explorer.settings
    other.run()
    np.testing.assert_allclose(other.wait().data["patched"], expected.data["patched"], rtol=0, atol=1e-4)
    assert other.settings == explorer.settings


def test_two_explorers_do_not_know_of_each_other(explorer, model, select):
    other = pw.explore(model, PRESETS[1].pair)
    explorer.run(), other.run()
    assert explorer.wait().provenance["tokens"] != other.wait().provenance["tokens"]
    select(other._map.view, 1, 10)
    other.wait()
    assert explorer.selection is None
    assert explorer._map.view.group != other._map.view.group


def test_a_page_needs_a_result(explorer, tmp_path):
    with pytest.raises(pw.PatchError, match="no result yet"):
        explorer.to_html(tmp_path / "page.html")
    explorer.run()
    explorer.wait()
    assert "resid_pre" in explorer.to_html(tmp_path / "page.html").read_text()


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_a_closed_explorer_leaves_no_widget_open(model, select):
    before = set(_instances)
    explorer = pw.explore(model)
    explorer.wait()
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 2, 14)
    explorer._multiples.start.click()
    explorer.wait()
    result = explorer.result
    explorer.close()
    assert set(_instances) <= before
    assert explorer.result is result
    held = [explorer._drawing._result, explorer._still._result]
    assert held == [None, None]
