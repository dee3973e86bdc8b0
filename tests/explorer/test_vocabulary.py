"""Every site, granularity and intervention the controls offer: the map fills, its cells open, the numbers are right."""

from __future__ import annotations

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.presets import PRESETS
from patchwidgets.sites import SITES

DEMO = PRESETS[0].pair
NEW = ("embed", "pattern", "attn_scores", "mlp_pre", "mlp_post")
# The cells of a neuron's map and of a whole pattern are too many to draw in a test; their maps are drawn all the same.
ALONE = ("patch", "zero", "scale", "noise", "mask")  # those that need nothing but the two prompts
SMALL = [(site.name, by) for site in SITES.values() for by in site.by if site.name in NEW and "src" not in by]


@pytest.mark.parametrize(("site", "by"), SMALL)
def test_sites_beyond_the_residual_stream_fill_and_open(explorer, select, site, by):
    explorer.settings = {"site": site, "by": list(by)}
    explorer.run()
    result = explorer.wait()
    assert result.by == by
    assert set(np.unique(result.data["status"].values)) <= {"measured", "implied"}
    rows, cols = explorer._map.view.shape
    select(explorer._map.view, rows - 1, cols - 1)
    explorer.wait()
    assert explorer._drilldown.error.value == ""
    assert len(explorer._drilldown.predictions.tables[2]["rows"]) > 0
    assert len(explorer.selection) == 1


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_interventions_are_one_word_and_the_numbers_are_patchs(explorer, model, select, name, direction):
    explorer._controls.intervention.value = name
    explorer._controls.direction.value = direction
    explorer.run()
    shown = explorer.wait()
    expected = pw.patch(model, DEMO, "resid_pre", intervention=name, direction=direction).wait()
    np.testing.assert_allclose(shown.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    assert shown.provenance["intervention"] == name
    select(explorer._map.view, 2, 14)
    explorer.wait()
    assert explorer._drilldown.error.value == ""
    if name in ALONE:
        said = explorer._drilldown.predictions.tables[2]["rows"][0]
        pair = pw.PromptPair(DEMO.clean, DEMO.corrupted, answer=said["token"])
        # A mask follows the gradient of the first metric, which is the Explorer's own answer's.
        place = {"intervention": name, "direction": direction, "layers": [2], "positions": [14]}
        alone = pw.patch(
            model,
            pair if name != "mask" else DEMO,
            "resid_pre",
            metric=["logit"] if name != "mask" else ["logit_diff", "logit"],
            **place,
        )
        if said["token"] in (" Mary", "Mary") or name != "mask":
            found = alone.wait().data["patched"].sel(metric="logit").item()
            assert said["logit"] == pytest.approx(float(found), abs=1e-4)


def test_another_intervention_is_another_run(explorer):
    explorer.run()
    first = explorer.wait()
    explorer._controls.intervention.value = "zero"
    second = explorer.wait()
    assert not np.array_equal(first.normalized.values, second.normalized.values)
    explorer._controls.intervention.value = "patch"
    np.testing.assert_array_equal(explorer.wait().normalized.values, first.normalized.values)


@pytest.mark.parametrize(
    ("site", "layer", "last"),
    [("resid_pre", 2, 1), ("resid_mid", 2, 2), ("resid_post", 2, 2), ("attn_out", 2, 2), ("mlp_out", 2, 2), ("q", 2, 1),
     ("z", 2, 2), ("mlp_post", 0, 0), ("resid_pre", 0, -1)],
)  # fmt: skip
def test_the_line_among_the_heads_is_where_the_cell_is_made(model, site, layer, last):
    from patchwidgets.engine.handle import handle_of
    from patchwidgets.explorer.lines import last_maker, note_of

    assert last_maker(handle_of(model), site, {"layer": layer, "pos": 3}) == last
    assert ("Above the line" in note_of(last, 4)) == (0 <= last < 3)


def test_an_answer_that_is_a_set_is_kept_until_it_is_edited(model):
    pair = pw.PromptPair(DEMO.clean, DEMO.corrupted, answer=[" Mary", " Ben"], foil=" Anna")
    explorer = pw.explore(model, pair)
    explorer.run()
    expected = pw.patch(model, pair, "resid_pre").wait()
    np.testing.assert_allclose(explorer.wait().normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    assert explorer._entry.answer.field.value == " Mary or  Ben"
    explorer._entry.answer.field.value = " Mary"
    explorer.wait()
    assert explorer.settings["answer"] == " Mary"
    explorer.close()


def test_an_error_in_the_prompts_is_beside_the_one_edited_and_dims_the_map(explorer):
    explorer.run()
    explorer.wait()
    explorer._entry.clean.value = DEMO.corrupted
    explorer.wait()
    assert "the two prompts are the same tokens" in explorer._entry.errors["clean"].value
    assert explorer._entry.errors["corrupted"].value == ""
    assert "pw-x-stale" in explorer._screen._main._dom_classes
    explorer._entry.clean.value = DEMO.clean
    explorer.wait()
    assert "pw-x-stale" not in explorer._screen._main._dom_classes


def test_a_gap_the_wrong_way_round_is_told(model):
    explorer = pw.explore(model, pw.PromptPair(DEMO.clean, DEMO.corrupted, answer=" Anna", foil=" Mary"))
    explorer.run()
    explorer.wait()
    assert "the corrupted run favours the answer more" in explorer._screen.warning.value
    explorer.close()


def test_a_mask_follows_the_metric_that_is_shown(explorer, model):
    explorer.settings = {"intervention": "mask", "metric": "prob"}
    explorer.run()
    shown = explorer.wait()
    expected = pw.patch(model, DEMO, "resid_pre", intervention="mask", metric="prob").wait()
    np.testing.assert_allclose(shown.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    explorer.settings = {"metric": "logit_diff"}
    other = explorer.wait()
    expected = pw.patch(model, DEMO, "resid_pre", intervention="mask").wait()
    np.testing.assert_allclose(other.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)


def test_what_the_controls_do_not_offer_is_refused(explorer):
    for assigned in ({"metric": "accuracy"}, {"intervention": "average"}):
        with pytest.raises(pw.PatchError, match="unknown"):
            explorer.settings = assigned
    explorer.settings = {"answer": pw.Continuation(" Mary Anna")}
    explorer.wait()
    assert "for several in a row use pw.patch" in explorer._entry.errors["answer"].value


@pytest.mark.parametrize(
    ("metric", "told"), [("rank", "rank has none"), ("kl_corrupted", "at its least in the corrupted run")]
)
def test_a_mask_that_no_gradient_can_make_is_told_above_the_map(explorer, metric, told):
    explorer.settings = {"intervention": "mask", "metric": metric}
    with pytest.raises(pw.PatchError, match=told):
        explorer.run()
    assert told in explorer._screen.error.value
    explorer.settings = {"metric": "logit_diff"}
    explorer.run()
    assert explorer.wait() is not None
    explorer._controls.metric.value = metric
    assert told in explorer._screen.error.value
