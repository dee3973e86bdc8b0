"""Layers and positions: typed, refused in words, kept in the settings, and measured as `patch` measures them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.explorer.subsets import SubsetError, read
from patchwidgets.presets import PRESETS
from patchwidgets.spelling import ranges
from tests.explorer.test_prompt_help import press, said

DEMO = PRESETS[0].pair


def fields(explorer):
    return explorer._controls.subsets.fields


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("  ", None),
        ("0-1,", [0, 1]),
        ("3", [3]),
        ("0-3, 8", [0, 1, 2, 3, 8]),
        ("0 - 2,2", [0, 1, 2]),
        ("1:2", [1, 2]),
        ("-1", [-1]),
        ("Mary, 0", [2, 5, 0]),
    ],
)
def test_what_a_text_names(text, found):
    assert read(text, "positions", ["[BOS]", "When", " Mary", " and", " John", " Mary"]) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("3-1", "runs backwards; write 1-3"),
        ("Lucy", "'Lucy' is no token of the prompt that is patched"),
        ("1.5", "'1.5' is no token"),
        ("0-9999999999", "goes beyond any model"),
        ("<b>", "'<b>' is no token"),
        (",", "',' has a comma with nothing on one side; name a comma by its number"),
        ("Mary, ,", "has a comma with nothing on one side"),
        ("Mary, , 2", "has a comma with nothing on one side"),
        ("9" * 11, "goes beyond any model"),
        ("Lucy", "or a token such as drink"),
    ],
)
def test_what_a_text_cannot_name(text, told):
    with pytest.raises(SubsetError, match=told):
        read(text, "positions", ["[BOS]", " a", " drink", " Mary", ","])


@pytest.mark.parametrize("chosen", [[0], [0, 1], [0, 1, 2], [0, 2, 3, 4, 9], list(range(48))])
def test_what_is_spelled_is_read_again(chosen):
    assert read(ranges(chosen), "layers") == chosen


def test_what_is_typed_is_what_patch_measures(explorer, model):
    explorer.run()
    fields(explorer)["layers"].value = "1-2"
    fields(explorer)["positions"].value = "Anna, to"
    shown = explorer.wait()
    assert explorer.settings["layers"] == [1, 2]
    assert explorer.settings["positions"] == [2, 6, 14]
    assert fields(explorer)["positions"].value == "2, 6, 14"
    expected = pw.patch(model, DEMO, "resid_pre", layers=[1, 2], positions=[2, 6, 14]).wait()
    np.testing.assert_allclose(shown.normalized, expected.normalized, atol=1e-5)
    view = explorer._map.view
    assert view.rows == ["1", "2"]
    assert view.columns["clean"] == ["Mary", "to", "to"]
    assert view.columns["corrupted"] == ["Anna", "to", "to"]
    assert view.columns["differs"] == [True, False, False]
    assert view.columns["numbers"] == ["2", "6", "14"]
    np.testing.assert_allclose(view.array("normalized"), expected.normalized.values[0], atol=1e-5)
    assert explorer._aligning.box.layout.display is None  # the map no longer has every token


def test_the_tokens_chosen_are_told_for_every_prompt(explorer):
    told = explorer._controls.subsets.told
    fields(explorer)["positions"].value = "Anna, to"
    kept = "Kept to 2 '{}', 6 'to', 14 'to' of the {} prompt. Other prompts keep these positions."
    assert said(told) == kept.format("Anna", "corrupted")
    explorer._controls.direction.value = "noise"
    assert said(told) == kept.format("Mary", "clean")
    explorer._entry.clean.value = DEMO.clean.replace("Mary", "Lucy")
    explorer.wait()
    assert said(told) == kept.format("Lucy", "clean")
    explorer.settings = {"positions": list(range(10))}
    assert ", 7 'the', 2 more of the clean prompt." in said(told)
    explorer._entry.preset.value = "Capitals"
    explorer.wait()
    assert said(told) == ""  # they do not exist there, which stands beside
    explorer.settings = {"positions": [-1], "dataset": {"name": "IOI, ABA", "n": 4}}
    explorer.wait()
    assert said(told) == ""
    explorer.settings = {"dataset": None}
    explorer.wait()
    assert said(told) == "Kept to -1 'is' of the clean prompt. Other prompts keep these positions."
    explorer.settings = {"positions": None}
    assert said(told) == ""


def test_a_cell_of_a_subset_opens_as_itself(explorer, select):
    explorer.settings = {"layers": [1, 3], "positions": [2, 14]}
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 1, 1)
    explorer.wait()
    row = explorer.selection.iloc[0]
    assert (row["layer"], row["pos"], row["token"]) == (3, 14, "to")
    assert explorer._drilldown.opened.cell == {"layer": 3, "pos": 14}


def test_positions_confine_what_a_cell_without_them_writes(explorer, model, select):
    explorer.settings = {"site": "z", "positions": [14]}
    explorer.run()
    shown = explorer.wait()
    expected = pw.patch(model, DEMO, "z", positions=[14]).wait()
    np.testing.assert_allclose(shown.normalized, expected.normalized, atol=1e-5)
    select(explorer._map.view, 2, 3)
    explorer.wait()
    tables = {table["name"]: table for table in explorer._drilldown.predictions.tables}
    by_token = {entry["token"]: entry["logit"] for entry in tables["patched"]["rows"]}
    alone = pw.patch(model, DEMO, "z", layers=[2], heads=[3], positions=[14], metric="logit").wait()
    anna = pw.patch(
        model, pw.PromptPair(DEMO.clean, DEMO.corrupted, answer=" Anna"), "z", layers=[2], heads=[3], positions=[14],
        metric="logit",
    ).wait()  # fmt: skip
    assert by_token["Anna"] == pytest.approx(float(anna.data["patched"].item()), abs=1e-4)
    if "Mary" in by_token:
        assert by_token["Mary"] == pytest.approx(float(alone.data["patched"].item()), abs=1e-4)
    parts = explorer._drilldown.parts
    z = parts.value(0, parts.columns["labels"].index("z"))["normalized"]
    assert z == pytest.approx(float(expected.normalized.values[0][2, 3]), abs=1e-5)
    pattern = parts.value(0, parts.columns["labels"].index("pattern"))["normalized"]
    rows = pw.patch(model, DEMO, "pattern", by=("layer", "head", "dest"), layers=[2], heads=[3]).wait()
    assert pattern == pytest.approx(float(rows.normalized.values[0][0, 0, 14]), abs=1e-5)


def test_refusals_stand_below_the_fields_and_clear(explorer):
    explorer.run()
    before = explorer.wait()
    subsets = explorer._controls.subsets
    fields(explorer)["layers"].value = "0-9"
    assert "Layer 4 does not exist: there are 4 (0 to 3)." in said(subsets.errors["layers"])
    fields(explorer)["positions"].value = "99"
    assert "Position 99 does not exist: there are 15" in said(subsets.errors["positions"])
    assert explorer.settings["layers"] is None
    assert explorer.wait() is before
    fields(explorer)["layers"].value = "0"
    explorer.wait()
    assert said(subsets.errors["layers"]) == said(subsets.errors["positions"]) == ""


def test_positions_that_a_shorter_prompt_lacks_are_refused_below_the_field(explorer):
    explorer.settings = {"positions": [14]}
    explorer.wait()
    explorer._entry.preset.value = "Capitals"
    explorer.wait()
    assert "Position 14 does not exist: there are 6" in said(explorer._controls.subsets.errors["positions"])
    with pytest.raises(pw.PatchError, match="position 14 does not exist"):
        explorer.run()


def test_a_field_that_does_not_apply_says_why(explorer):
    explorer.settings = {"layers": [1], "positions": [2]}
    explorer._controls.site.value = "pattern"
    explorer.wait()
    positions = fields(explorer)["positions"]
    assert positions.disabled
    assert "has no single position" in positions.tooltip
    assert positions.placeholder == "no tokens here"
    assert said(explorer._controls.subsets.told) == positions.tooltip
    assert explorer.settings["positions"] is None
    assert explorer.settings["layers"] == [1]
    explorer._controls.site.value = "embed"
    explorer.wait()
    layers = fields(explorer)["layers"]
    assert layers.disabled
    assert "exists once and has no layers" in layers.tooltip
    assert explorer._controls.by.disabled
    assert "in this way alone" in explorer._controls.by.tooltip
    explorer._controls.site.value = "resid_pre"
    explorer.wait()
    assert not layers.disabled
    assert said(explorer._controls.subsets.told).startswith("Kept to 2 'Anna' of")
    assert not explorer._controls.by.disabled
    assert (explorer.settings["layers"], explorer.settings["positions"]) == ([1], [2])


@pytest.mark.parametrize(
    ("assigned", "told"),
    [
        ({"layers": [9]}, "layer 9 does not exist: there are 4"),
        ({"layers": "all"}, "layers must be one or more whole numbers"),
        ({"layers": []}, "layers must be one or more whole numbers"),
        ({"positions": [1.5]}, "positions must be one or more whole numbers"),
        ({"site": "embed", "layers": [0]}, "embed exists once and has no layers"),
        ({"site": "pattern", "positions": [0]}, "has no single position"),
    ],
)
def test_settings_that_cannot_be_are_refused(explorer, assigned, told):
    before = explorer.settings
    with pytest.raises(pw.PatchError, match=told):
        explorer.settings = assigned
    assert explorer.settings == before


def test_they_are_in_settings_code_shelf_and_file_names(explorer, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    explorer.run()
    explorer.wait()
    explorer.settings = {"layers": (2, 1), "positions": 14}
    result = explorer.wait()
    assert json.loads(json.dumps(explorer.settings))["layers"] == [1, 2]
    entries = explorer._shelf.view.entries
    assert len(entries) == 2
    assert "layers 1, 2 \u00b7 token 14" in entries[0]["detail"]
    assert "layers" not in entries[1]["detail"]
    with torch.enable_grad():  # The script switches gradients off, for whatever comes after it as well.
        exec(result.code(), {})
    cells = [line.split("\t") for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [cell[:2] for cell in cells] == [["1", "14"], ["2", "14"]]
    np.testing.assert_allclose([float(cell[3]) for cell in cells], result.data["patched"].values.reshape(-1), atol=1e-4)
    assert explorer._saving.write("csv").name == "resid_pre_layer_pos_layers_1_2_token_14_denoise_logit_diff.csv"
    folder = explorer.save_shelf(tmp_path / "shelf")
    other = pw.explore(model)
    other.wait()
    assert other.load_shelf(folder) == 2
    other.settings = explorer.settings
    back = other.wait()
    np.testing.assert_array_equal(back.data["patched"], result.data["patched"])
    press(other._controls.undo)
    other.close()


def test_a_subset_of_a_dataset_is_over_pairs_of_one_length(explorer, model):
    explorer.settings = {"dataset": {"name": "IOI, ABA", "n": 6}, "layers": [0, 2], "positions": [2, 14]}
    explorer.run()
    shown = explorer.wait()
    assert shown.data["layer"].values.tolist() == [0, 2]
    assert shown.data["pos"].values.tolist() == [2, 14]
    assert explorer._map.view.columns["numbers"] == ["2", "14"]
    explorer.settings = {"positions": None}
    whole = explorer.wait()
    np.testing.assert_allclose(shown.data["patched"].values, whole.data["patched"].sel(pos=[2, 14]).values, atol=1e-4)


def test_presets_leave_them_alone(explorer):
    explorer.settings = {"layers": [1]}
    explorer._entry.preset.value = "Capitals"
    explorer.wait()
    assert explorer.settings["layers"] == [1]


def test_what_stands_in_a_field_and_cannot_be_read_is_not_run(explorer):
    subsets = explorer._controls.subsets
    subsets.fields["positions"].value = "Rome"
    assert "is no token" in subsets.errors["positions"].value
    with pytest.raises(pw.PatchError, match="is no token"):
        explorer.run()
    explorer.settings = {"positions": [2]}
    explorer.wait()
    assert subsets.errors["positions"].value == ""
    explorer.run()
    explorer.wait()
    assert explorer.result.data.sizes["pos"] == 1


@pytest.mark.parametrize(("field", "refused"), [("layers", "99"), ("positions", "Rome")])
def test_while_a_field_is_refused_the_map_looks_as_if_it_were_of_other_settings(explorer, field, refused):
    explorer.run()
    result = explorer.wait()
    main, line = explorer._screen._main, explorer._controls.subsets.errors[field]
    for text, stale in ((refused, True), ("", False), (refused, True), ("1", False)):
        fields(explorer)[field].value = text
        explorer.wait()
        assert ("pw-x-stale" in main._dom_classes) == stale
        assert bool(line.value) == stale
        assert explorer._screen.error.value == ""
    assert explorer.result is not result
    fields(explorer)[field].value = refused
    other = fields(explorer)["layers" if field == "positions" else "positions"]
    other.value = "2"
    explorer.wait()
    assert line.value == ""
    assert "pw-x-stale" not in main._dom_classes


def test_positions_from_the_end_are_spelled_so_that_they_are_read_again():
    for chosen in ([-3, -2, -1], [-1, 0, 1], [0, 1, 2, 5]):
        assert sorted(read(ranges(chosen), "positions")) == sorted(chosen)


BY_CLICK_AND_BY_ASSIGNMENT = [
    pytest.param(lambda explorer, site: setattr(explorer._controls.site, "value", site), id="click"),
    pytest.param(lambda explorer, site: setattr(explorer, "settings", {"site": site}), id="assignment"),
]


@pytest.mark.parametrize("back", BY_CLICK_AND_BY_ASSIGNMENT)
@pytest.mark.parametrize("there", BY_CLICK_AND_BY_ASSIGNMENT)
def test_what_a_site_hides_comes_back_with_a_site_that_has_it(explorer, there, back):
    explorer.settings = {"layers": [1], "positions": [2]}
    there(explorer, "pattern")
    assert (explorer.settings["layers"], explorer.settings["positions"]) == ([1], None)
    back(explorer, "resid_pre")
    explorer.wait()
    assert (explorer.settings["layers"], explorer.settings["positions"]) == ([1], [2])
    assert fields(explorer)["positions"].value == "2"
    explorer.run()
    assert explorer.wait().data["pos"].values.tolist() == [2]


def test_none_that_is_assigned_means_all_also_where_the_site_hides_it(explorer):
    for assigned in ({"site": "pattern", "positions": None}, {"positions": None}):
        explorer.settings = {"site": "resid_pre", "positions": [2]}
        explorer.settings = {"site": "pattern"}
        explorer.settings = assigned
        explorer.settings = {"site": "resid_pre"}
        assert explorer.settings["positions"] is None


def test_whole_settings_forget_nothing_that_their_site_hides(explorer):
    """They say None of it because the site has none, not because all are meant."""
    explorer.settings = {"layers": [1], "positions": [2]}
    explorer.settings = {"site": "pattern"}
    explorer.settings = {**explorer.settings, "direction": "noise", "layers": None}
    explorer.settings = {"site": "resid_pre"}
    assert (explorer.settings["layers"], explorer.settings["positions"]) == (None, [2])
    explorer.settings = {**explorer.settings, "positions": None}
    assert explorer.settings["positions"] is None


def test_undo_and_redo_lose_nothing_that_is_hidden(explorer):
    explorer.settings = {"positions": [2]}
    explorer.wait()
    explorer._controls.site.value = "pattern"
    explorer.wait()
    press(explorer._controls.undo)
    explorer.wait()
    assert explorer.settings["positions"] == [2]
    press(explorer._controls.redo)
    explorer.wait()
    assert (explorer.settings["site"], explorer.settings["positions"]) == ("pattern", None)
    explorer._controls.site.value = "resid_pre"
    explorer.wait()
    assert explorer.settings["positions"] == [2]


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_every_picture_says_to_what_the_sweep_was_kept(explorer, tmp_path):
    assert explorer._still._bundle()["text/plain"] == ""
    explorer.settings = {"layers": [1, 2], "positions": [2, 14]}
    explorer.run()
    result = explorer.wait()
    told = "resid_pre by layer and token, clean into corrupted, layers 1, 2 and tokens 2, 14 only"
    assert result.plot().get_title(loc="left").replace("\n", " ").startswith(told)
    assert explorer._map.view.words["title"] == told
    assert result.describe().replace("\n", " ").startswith(f"{told}.")
    kept = explorer._still._bundle()
    assert f"<p>{told}: recovered</p>" in kept["text/html"]
    assert kept["text/plain"].replace("\n", " ").startswith(told)
    assert f"<h1>{told}</h1>" in result.to_html(tmp_path / "page.html").read_text()
    explorer.settings = {"site": "z", "by": ["layer", "head"], "layers": None, "positions": [14]}
    result = explorer.wait()
    assert result.plot().get_title(loc="left").replace("\n", " ").startswith(
        "z by layer and head, clean into corrupted, token 14 only"
    )  # fmt: skip
    explorer.settings = {"positions": None}
    assert " only" not in explorer.wait().plot().get_title(loc="left")
