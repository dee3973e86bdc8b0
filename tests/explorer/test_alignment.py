"""Prompts of unequal length: the alignment proposed, edited by hand, run, opened, and told in words."""

from __future__ import annotations

import numpy as np
import pytest

import patchwidgets as pw

PAIR = pw.PromptPair("The famous Eiffel Tower is in", "The Leaning Tower is in", answer=" Paris", foil=" Pisa")
GAP, LAST = 2, 6  # columns: "famous" stands alone, the BOS is 0


@pytest.fixture
def unequal(model):
    made = pw.explore(model, PAIR)
    made.wait()
    yield made
    made.close()


def edit(explorer, what, clean=-1, corrupted=-1):
    """Do what the strip's editor does: one message."""
    explorer._aligning.strip._handle({"type": what, "clean": clean, "corrupted": corrupted})
    explorer.wait()


def told(explorer) -> str:
    return explorer._aligning.told.value


def test_the_strip_shows_the_proposal_with_its_gaps_and_says_where_it_is_from(unequal):
    strip = unequal._aligning.strip
    assert strip.editing == "proposed"
    assert strip.columns["clean"] == ["[BOS]", "The", "famous", "Eiffel", "Tower", "is", "in"]
    assert strip.columns["corrupted"] == ["[BOS]", "The", None, "Leaning", "Tower", "is", "in"]
    assert strip.columns["differs"] == [False, False, True, True, False, False, False]
    assert strip.columns["numbers"] == ["0", "1", "2/\u2013", "3/2", "4/3", "5/4", "6/5"]
    assert told(unequal) == (
        "Proposed: 2 shared at the start, 3 at the end, 1 paired between; 1 clean token without a counterpart."
    )
    assert unequal.settings["alignment"] is None
    assert unequal._map.view.columns == strip.columns
    assert (unequal._map.view.array("status")[:, GAP] == 4).all()
    assert unequal._map.view.words["unavailable"] == "one of the prompts has no token here"


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_map_is_patchs_over_the_columns_of_both_prompts(unequal, model, direction):
    unequal.settings = {"direction": direction}
    unequal.run()
    result = unequal.wait()
    expected = pw.patch(model, PAIR, "resid_pre", align="auto", direction=direction).wait()
    np.testing.assert_allclose(result.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    drawn = unequal._map.view.array("normalized")
    assert np.isnan(drawn[:, GAP]).all()
    values = expected.normalized.values[0]
    kept = values if direction == "denoise" else np.delete(values, GAP, axis=1)
    np.testing.assert_allclose(np.delete(drawn, GAP, axis=1), kept, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("direction", "why"),
    [("denoise", "stands in the clean prompt alone"), ("noise", "has no counterpart in the corrupted prompt")],
)
def test_a_gap_opens_with_the_reason_and_nothing_else(unequal, select, direction, why):
    unequal.settings = {"direction": direction}
    unequal.run()
    unequal.wait()
    select(unequal._map.view, 2, LAST)
    select(unequal._map.view, 2, GAP)
    unequal.wait()
    panel = unequal._drilldown
    assert panel.opened is None
    assert why in panel.hint.value
    assert panel.error.value == ""
    assert panel._predictions_card.layout.display == "none"
    select(unequal._map.view, 2, LAST)
    unequal.wait()
    assert panel.opened.cell["layer"] == 2


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_cell_and_a_head_open(unequal, model, select, direction):
    unequal.settings = {"direction": direction}
    unequal.run()
    unequal.wait()
    select(unequal._map.view, 1, 5)
    unequal.wait()
    panel, position = unequal._drilldown, 4 if direction == "denoise" else 5
    assert panel.opened.cell == {"layer": 1, "pos": position}
    assert "layer 1, is" in panel.path.value
    heads = pw.patch(
        model, PAIR, "z", by=("layer", "pos", "head"), positions=[position], align="auto", direction=direction
    ).wait()
    np.testing.assert_allclose(panel.heads.view.array("normalized"), heads.normalized.values[0][:, 0], atol=1e-5)
    place = {"layers": [1], "positions": [position], "align": "auto", "direction": direction}
    row = panel.predictions.tables[2]["rows"][0]
    said = pw.PromptPair(PAIR.clean, PAIR.corrupted, answer=row["token"])
    logits = pw.patch(model, said, "resid_pre", metric="logit", **place).wait().data["patched"].item()
    assert row["logit"] == pytest.approx(logits, abs=1e-4)
    select(panel.heads.view, 1, 3)
    unequal.wait()
    attention = panel.attention
    assert (attention.columns, attention.dest) == (unequal._aligning.strip.columns, 5)
    weights = np.frombuffer(attention.patterns, dtype="<f4").reshape(-1, 7, 7)[:4]
    there = [i for i in range(7) if i != GAP]
    name = "blocks.1.attn.hook_pattern"
    for run, text, at in ((0, PAIR.clean, list(range(7))), (1, PAIR.corrupted, there)):
        expected = model.run_with_cache(model.to_tokens(text))[1][name][0, 3].numpy()
        np.testing.assert_allclose(weights[run][np.ix_(at, at)], expected, rtol=0, atol=1e-5)
        assert np.isnan(np.delete(weights[run], at, axis=0)).all()
    labels = panel.parts.columns["labels"]
    assert labels == ["q", "k", "v", "pattern", "z"]
    for i, site in enumerate(labels):
        by = ("layer", "head", "dest") if site == "pattern" else ("layer", "pos", "head")
        alone = pw.patch(model, PAIR, site, by=by, align="auto", direction=direction).wait().normalized
        axis = {"dest" if site == "pattern" else "pos": position}
        found = float(alone.sel(metric="logit_diff", layer=1, head=3, **axis))
        assert panel.parts.value(0, i)["normalized"] == pytest.approx(found, abs=1e-5)
    assert "may no longer sum to 1" in panel.parts.words["note"]


def test_a_pair_is_edited_and_the_edit_is_in_the_result_and_the_settings(unequal, model):
    unequal.run()
    unequal.wait()
    edit(unequal, "unpair", clean=3)
    assert unequal._aligning.strip.columns["clean"][2:5] == ["famous", "Eiffel", None]
    assert unequal._aligning.strip.columns["corrupted"][2:5] == [None, None, "Leaning"]
    edit(unequal, "pair", clean=2, corrupted=4)
    matches = [[0, 0], [1, 1], [2, 2], [4, 3], [5, 4], [6, 5]]
    assert unequal.settings["alignment"] == matches
    assert unequal._aligning.strip.editing == "edited"
    assert told(unequal).startswith("Edited by hand: 2 shared at the start, 3 at the end, 1 paired between")
    result = unequal.wait()
    assert result.provenance["alignment"] == [[0, 0], [1, 1], [2, 2], [3, None], [4, 3], [5, 4], [6, 5]]
    expected = pw.patch(model, PAIR, "resid_pre", align=matches).wait()
    np.testing.assert_allclose(result.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    edit(unequal, "reset")
    assert unequal.settings["alignment"] is None
    assert unequal._aligning.strip.editing == "proposed"


def test_an_edit_before_a_run_blanks_the_map(unequal):
    edit(unequal, "unpair", corrupted=3)
    view = unequal._map.view
    assert view.state == "empty"
    assert view.columns == unequal._aligning.strip.columns
    assert np.isnan(view.array("patched")).all()
    assert unequal.result is None
    assert (view.array("status") == 4).any(axis=0).tolist() == [False, False, True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("what", "clean", "corrupted", "why"),
    [
        ("pair", 5, 1, "'is' with 'The' would cross 'Eiffel' with 'Leaning': the order must be the same in both"),
        ("unpair", 2, -1, "'famous' already stands alone"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(unequal, what, clean, corrupted, why):
    before = unequal._aligning.strip.columns
    edit(unequal, what, clean, corrupted)
    assert why in unequal._aligning.error.value.replace("&#x27;", "'")
    assert unequal._aligning.strip.columns == before
    assert unequal.settings["alignment"] is None
    edit(unequal, "pair", 2, 3)
    assert unequal._aligning.error.value == ""
    assert unequal.settings["alignment"] is not None


def test_the_last_pair_stays(unequal):
    unequal.settings = {"alignment": [[6, 5]]}
    unequal.wait()
    edit(unequal, "unpair", clean=11)
    assert "This is the last pair" in unequal._aligning.error.value
    assert unequal.settings["alignment"] == [[6, 5]]


def test_messages_that_fit_no_column_change_nothing(unequal):
    for clean, corrupted in ((99, 1), (2, GAP), (True, "1")):
        edit(unequal, "pair", clean, corrupted)
    assert unequal.settings["alignment"] is None


def test_a_new_answer_keeps_the_edit_and_a_new_prompt_drops_it(unequal):
    edit(unequal, "unpair", clean=3)
    unequal._entry.answer.field.value = " Tokyo"
    unequal.wait()
    assert unequal._aligning.strip.editing == "edited"
    unequal._entry.corrupted.value = "The Galata Tower is in"
    unequal.wait()
    assert unequal.settings["alignment"] is None
    assert unequal._aligning.strip.editing == "proposed"
    unequal._entry.corrupted.value = PAIR.corrupted
    unequal.wait()
    assert unequal.settings["alignment"] is None
    unequal._entry.corrupted.value = "The famous Leaning Tower is in"
    unequal.wait()
    assert unequal._aligning.strip.editing == "off"
    assert told(unequal) == ""
    assert unequal._aligning.box.layout.display == "none"


def test_settings_reopen_the_alignment(unequal, model):
    edit(unequal, "unpair", clean=3)
    other = pw.explore(model)
    other.settings = unequal.settings
    other.wait()
    assert other.settings == unequal.settings
    assert other._aligning.strip.columns == unequal._aligning.strip.columns
    other.settings = {"alignment": None}
    other.wait()
    assert other.settings["alignment"] is None
    assert other._aligning.strip.editing == "proposed"
    matches = [[i, i - 1] for i in range(1, 7)]
    other.settings = {"alignment": pw.Alignment.from_pairs(7, 6, matches)}
    other.wait()
    assert other.settings["alignment"] == matches
    other.close()


@pytest.mark.parametrize(
    ("alignment", "why"),
    [
        ("auto", "must be None or a list"),
        ([[0, 9]], "the corrupted prompt has positions 0 to 5"),
        ([[0, 1], [1, 0]], "cross"),
        ([], "names no position"),
    ],
)
def test_an_alignment_that_does_not_fit_is_refused(unequal, alignment, why):
    with pytest.raises(pw.PatchError, match=why):
        unequal.settings = {"alignment": alignment}
    assert unequal.settings["alignment"] is None


def test_the_strip_stays_to_be_edited_where_the_map_has_no_tokens(unequal):
    assert unequal._aligning.box.layout.display is None
    unequal.settings = {"by": ["layer"]}
    assert unequal._aligning.box.layout.display is None


def test_zero_has_cells_where_a_patch_has_none(unequal, model, select):
    unequal.settings = {"direction": "noise", "intervention": "zero"}
    unequal.run()
    result = unequal.wait()
    expected = pw.patch(model, PAIR, "resid_pre", align="auto", direction="noise", intervention="zero").wait()
    np.testing.assert_allclose(result.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    select(unequal._map.view, 0, GAP)
    unequal.wait()
    assert unequal._drilldown.opened.cell == {"layer": 0, "pos": 2}
    assert "layer 0, famous" in unequal._drilldown.path.value


def test_a_later_token_is_not_attended_to(explorer, select):
    explorer.settings = {"site": "pattern", "by": ["layer", "head", "dest", "src"]}
    explorer.wait()
    select(explorer._map.view, 0, 5)
    assert "does not attend to a later one" in explorer._drilldown.hint.value
