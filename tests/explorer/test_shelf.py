"""The shelf: past runs brought back without the model, compared, subtracted, saved and loaded."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.errors import FileError
from patchwidgets.explorer import kept
from patchwidgets.explorer.entry_words import clock
from patchwidgets.presets import PRESETS
from tests import models

DEMO = PRESETS[0].pair


@pytest.fixture
def ask(explorer):
    """Do what a click on the shelf does: the page sends one message."""
    view = explorer._shelf.view

    def ask(action, number=-1):
        view._handle({"type": action, "id": number})
        explorer.wait()

    return ask


@pytest.fixture
def two(explorer):
    """An Explorer that has run the demo denoised, then noised."""
    explorer.run()
    explorer.wait()
    explorer.settings = {"direction": "noise"}
    explorer.wait()
    return explorer


def listed(explorer):
    return [entry["id"] for entry in explorer._shelf.view.entries]


def test_runs_are_listed_newest_first_in_words(two):
    view = two._shelf.view
    assert listed(two) == [2, 1]
    assert view.current == 2
    assert view.entries[0]["name"] == "resid_pre by layer and token, corrupted into clean"
    first = view.entries[1]
    assert first["name"] == "resid_pre by layer and token, clean into corrupted"
    for part in ("denoise", "logit difference", "Mary over Anna", "52 cells in ", DEMO.clean, DEMO.corrupted):
        assert part in first["detail"]


def test_the_shelf_is_a_plain_list_of_results(two, model):
    results = two.shelf
    assert type(results) is list
    assert [result.direction.direction for result in results] == ["noise", "denoise"]
    assert [result.metrics for result in results] == [("logit_diff",)] * 2
    np.testing.assert_array_equal(results[0].data["patched"], two.result.data["patched"])
    two.settings = {"metric": "prob"}
    two.wait()
    assert [result.metrics for result in two.shelf] == [("prob",), ("logit_diff",)]


def test_nothing_is_listed_that_is_not_whole(explorer, brake, broken):
    brake.on()
    explorer.run()
    brake.until_reached()
    assert listed(explorer) == []
    explorer.cancel()
    brake.off()
    explorer.wait()
    assert listed(explorer) == []
    broken("patchwidgets-sweep")
    explorer.run()
    with pytest.raises(RuntimeError, match="the model broke"):
        explorer.wait()
    assert listed(explorer) == []


def test_a_run_comes_back_with_its_settings_and_the_model_is_not_asked(two, ask, broken):
    before = two.shelf
    settings = two.settings
    two.settings = {"clean": PRESETS[1].pair.clean, "corrupted": PRESETS[1].pair.corrupted, "site": "z"}
    two.wait()
    assert listed(two) == [3, 2, 1]
    broken("patchwidgets")
    ask("show", 1)
    assert two.settings == {**settings, "direction": "denoise"}
    assert two._entry.clean.value == DEMO.clean
    assert two._controls.site.value == "resid_pre"
    assert two._shelf.view.current == 1
    np.testing.assert_array_equal(two.result.data["patched"], before[1].data["patched"])
    np.testing.assert_allclose(two._map.view.array("normalized"), before[1].normalized.values[0], atol=1e-6)
    ask("show", 2)
    assert two.settings == settings
    assert listed(two) == [3, 2, 1]


def test_a_run_comes_back_in_the_metric_it_was_shown_in(two, ask):
    two.settings = {"metric": "prob"}
    two.wait()
    ask("show", 1)
    assert two.settings["metric"] == "logit_diff"
    ask("show", 2)
    assert two.settings["metric"] == "prob"


def test_a_vector_comes_back_as_it_was(explorer, ask, model):
    one, other = (pw.Vector([float(i == at) for i in range(model.cfg.d_model)]) for at in (0, 1))
    explorer.intervention = one
    explorer.run()
    first = explorer.wait()
    explorer.intervention = other
    second = explorer.wait()
    assert not np.allclose(first.data["patched"], second.data["patched"])
    ask("show", 1)
    assert explorer.intervention == one
    np.testing.assert_array_equal(explorer.result.data["patched"], first.data["patched"])
    assert listed(explorer) == [2, 1]


def test_removing_and_clearing_forget_the_run(two, ask):
    two._shelf.view._handle({"type": "a", "id": 1})
    ask("remove", 1)
    assert listed(two) == [2]
    assert two._shelf.view.a == -1
    run = two._run
    two.settings = {"direction": "denoise"}
    two.wait()
    assert listed(two) == [3, 2]
    assert two._run is not run
    ask("clear")
    assert listed(two) == [3]
    assert two._shelf.view.current == 3
    assert two._run is two._shelf.entries[0].run
    two._shelf.view._handle({"type": "show", "id": 99})


def test_what_was_removed_last_is_brought_back_in_its_place(two, ask, broken):
    two.settings = {"site": "z"}
    two.wait()
    view, results = two._shelf.view, two.shelf
    assert view.removed == 0
    ask("remove", 1)
    assert (listed(two), view.removed) == ([3, 2], 1)
    ask("clear")
    assert (listed(two), view.removed) == ([3], 1)
    ask("clear")  # removes nothing, and leaves what was removed before
    assert view.removed == 1
    broken("patchwidgets")
    ask("restore")
    assert (listed(two), view.removed) == ([3, 2], 0)
    assert [result.provenance for result in two.shelf] == [result.provenance for result in results[:2]]
    ask("restore")
    assert listed(two) == [3, 2]
    ask("show", 2)
    assert two.settings["site"] == "resid_pre"
    np.testing.assert_array_equal(two.result.data["patched"], results[1].data["patched"])


def test_what_was_measured_again_meanwhile_is_not_brought_back_twice(two, ask):
    ask("remove", 1)
    two.settings = {"direction": "denoise"}
    two.wait()
    assert (listed(two), two._shelf.view.removed) == ([3, 2], 0)
    ask("restore")
    assert listed(two) == [3, 2]


def test_no_more_is_brought_back_than_the_shelf_holds(two, ask, monkeypatch):
    two.settings = {"site": "z"}
    two.wait()
    ask("clear")
    monkeypatch.setattr(kept, "_MOST", 2)
    ask("restore")
    assert listed(two) == [3, 2]
    assert two._shelf.view.told == "The newest 1 of the 2 runs removed is back; the shelf holds no more."


def test_what_the_shelf_lists_is_on_screen_and_can_be_saved(explorer):
    """The line of a run comes after its result: a button pressed at once finds it."""
    found = []
    explorer._shelf.view.observe(lambda change: found.append((len(change["new"]), explorer.result)), "entries")
    for direction in ("denoise", "noise"):
        explorer.settings = {"direction": direction}
        explorer.run()
        explorer.wait()
    assert [many for many, _ in found if many] == [1, 2]
    assert all(result.direction.direction == way for (_, result), way in zip(found, ("denoise", "noise"), strict=True))


def compared(explorer):
    return explorer._shelf.comparison


def test_two_runs_stand_side_by_side_on_one_scale(two, ask):
    panel = compared(two)
    ask("a", 1)
    assert two._shelf.view.told == "Choose B to compare."
    assert panel.box.layout.display == "none"
    ask("b", 2)
    assert two._shelf.view.told == ""
    assert panel.box.layout.display is None
    noise, denoise = two.shelf
    np.testing.assert_allclose(panel.left.array("normalized"), denoise.normalized.values[0], atol=1e-6)
    np.testing.assert_allclose(panel.right.array("normalized"), noise.normalized.values[0], atol=1e-6)
    assert (panel.left.limit, panel.left.quantity) == (panel.right.limit, panel.right.quantity) == (1.0, "normalized")
    assert panel.left.words["verb"] == panel.right.words["verb"] == "select"
    assert panel.left.words["title"] == "A: resid_pre by layer and token, clean into corrupted"
    assert panel.right.words["title"] == "B: resid_pre by layer and token, corrupted into clean"
    ask("b", 2)
    assert two._shelf.view.b == -1
    assert panel.box.layout.display == "none"


def test_another_metric_of_both_runs_nothing(two, ask, broken):
    broken("patchwidgets")
    ask("a", 1), ask("b", 2)
    panel = compared(two)
    panel.metric.value = "prob"
    denoise = two._shelf.entries[1].whole.select("prob")
    np.testing.assert_allclose(panel.left.array("patched"), denoise.data["patched"].values[0], atol=1e-6)
    assert panel.left.words["note"].startswith("prob ")


def test_a_gap_too_small_in_one_gives_both_raw_effects_on_one_scale(explorer, ask):
    explorer.run()
    explorer.wait()
    explorer.settings = {"clean": DEMO.clean, "corrupted": DEMO.clean.replace("store", "park"), "metric": "rank"}
    explorer.run()
    with pytest.warns(UserWarning, match="the two runs hardly differ: rank"):
        second = explorer.wait()
    assert np.isnan(second.normalized.values).all()
    ask("a", 1), ask("b", 2)
    panel = compared(explorer)
    panel.metric.value = "rank"
    assert panel.left.quantity == panel.right.quantity == "effect"
    assert panel.left.limit == panel.right.limit
    largest = max(np.nanmax(np.abs(view.array("effect"))) for view in (panel.left, panel.right))
    assert panel.left.limit == pytest.approx(largest or 1.0)
    assert panel.left.words["unit"] == panel.right.words["unit"]


def test_cells_that_are_sufficient_but_not_necessary_are_ringed(two, ask):
    ask("a", 1), ask("b", 2)
    panel = compared(two)
    noise, denoise = two.shelf
    recovered, destroyed = denoise.normalized.values[0], noise.normalized.values[0]
    assert panel.threshold.layout.display is None
    for threshold in (0.5, 0.9):
        panel.threshold.value = threshold
        marks = np.frombuffer(panel.left.marks, dtype="u1").reshape(recovered.shape)
        np.testing.assert_array_equal(marks == 1, (recovered >= threshold) & (destroyed < threshold))
        np.testing.assert_array_equal(marks == 2, (destroyed >= threshold) & (recovered < threshold))
        assert panel.right.marks == panel.left.marks
        assert f"Ringed from {threshold:g} of the gap: {(marks == 1).sum()} cell" in panel.told.value
        said = panel.left.words["mark_1"]
        assert said.startswith("sufficient here, given the rest of the corrupted run")
        assert f"at least {threshold:g} recovered" in said
        assert f"not necessary on these prompts (less than {threshold:g} destroyed)" in said


def test_a_cell_selected_in_one_map_is_marked_in_the_other(two, ask, select):
    ask("a", 1), ask("b", 2)
    panel = compared(two)
    select(panel.left, 1, 4)
    assert panel.right.selected == panel.left.selected == [1, 4]
    select(panel.right, 2, 3)
    assert panel.left.selected == [2, 3]


def test_maps_of_other_prompts_are_told_apart(two, ask):
    pair = PRESETS[1].pair
    two.settings = {"clean": pair.clean, "corrupted": pair.corrupted, "answer": pair.answer, "foil": pair.foil}
    two.wait()
    ask("a", 2), ask("b", 3)
    titles = [view.words["title"] for view in (compared(two).left, compared(two).right)]
    assert titles[0].endswith(f"corrupted into clean, '{DEMO.answer.strip()}' over '{DEMO.foil.strip()}'")
    assert titles[1].endswith(f"corrupted into clean, '{pair.answer.strip()}' over '{pair.foil.strip()}'")


def test_one_run_is_subtracted_from_the_other(two, ask):
    ask("a", 1), ask("b", 2)
    panel = compared(two)
    panel.mode.value = "minus"
    noise, denoise = two.shelf
    expected = denoise.minus(noise)
    np.testing.assert_allclose(panel.single.array("normalized"), expected.normalized.values[0], atol=1e-6)
    assert panel.single.words["title"] == (
        "resid_pre by layer and token: clean into corrupted minus corrupted into clean"
    )
    assert [view.layout.display for view in (panel.left, panel.right, panel.single)] == ["none", "none", None]


def test_what_cannot_be_subtracted_says_why_and_stands_side_by_side(two, ask):
    two.settings = {"site": "z"}
    two.wait()
    ask("a", 3), ask("b", 1)
    panel = compared(two)
    assert panel.threshold.layout.display == "none"
    assert panel.left.columns["title"] == "head"
    panel.mode.value = "minus"
    assert "A is by layer, head, B by layer, pos" in panel.error.value
    assert panel.single.layout.display == "none"
    panel.mode.value = "beside"
    assert panel.error.value == ""
    assert panel.left.layout.display is None


def test_a_shelf_is_saved_and_brought_back(two, model, tmp_path, broken):
    folder = two.save_shelf(tmp_path / "shelf")
    assert folder == tmp_path / "shelf"
    assert sorted(path.name for path in folder.iterdir()) == [
        "001-resid_pre-denoise.nc", "002-resid_pre-noise.nc", "shelf.json",
    ]  # fmt: skip
    whole = pw.PatchResult.load(folder / "001-resid_pre-denoise.nc")
    assert {"logit_diff", "prob", "kl_clean"} <= set(whole.metrics)
    other = pw.explore(model)
    other.wait()
    assert other.load_shelf(folder) == 2
    assert [result.direction.direction for result in other.shelf] == ["noise", "denoise"]
    broken("patchwidgets")
    other._shelf.view._handle({"type": "show", "id": 2})
    other.wait()
    assert other.settings == two.settings
    np.testing.assert_array_equal(other.result.data["patched"], two.result.data["patched"])
    assert other._controls.progress.value.startswith("52 of 52 cells, in ")
    other._controls.metric.value = "prob"
    other.wait()
    assert other.result.metrics == ("prob",)
    assert other.load_shelf(folder) == 2
    assert len(other.shelf) == 2
    other.close()


def test_a_brought_back_shelf_starts_no_run_by_itself(two, model, tmp_path):
    folder = two.save_shelf(tmp_path / "shelf")
    other = pw.explore(model)
    other.wait()
    other.load_shelf(folder)
    other._shelf.view._handle({"type": "show", "id": 1})
    assert other.wait() is not None
    other.settings = {"site": "z"}
    assert other.wait() is None
    other.close()


@pytest.mark.parametrize("field", ["layers", "samples"])
def test_what_is_refused_in_a_field_is_nothing_to_a_shelf_that_is_loaded(two, model, tmp_path, field):
    folder = two.save_shelf(tmp_path / "shelf")
    other = pw.explore(model, intervention=pw.Noise())
    other.wait()
    controls = other._controls
    (controls.subsets if field == "layers" else controls.parameters).fields[field].value = "-99"
    assert other.load_shelf(folder) == 2
    assert [entry.foreign for entry in other._shelf.entries] == ["", ""]
    other._shelf.view._handle({"type": "show", "id": 1})
    np.testing.assert_array_equal(other.wait().data["patched"], two.shelf[1].data["patched"])
    other.close()


def test_the_run_whose_settings_are_there_already_is_shown(explorer, model, tmp_path):
    """Nothing of the settings changes, and yet there is a result now."""
    explorer.run()
    expected = explorer.wait()
    folder = explorer.save_shelf(tmp_path / "shelf")
    other = pw.explore(model)
    other.wait()
    other.load_shelf(folder)
    assert other.settings == explorer.settings
    other._shelf.view._handle({"type": "show", "id": 1})
    np.testing.assert_array_equal(other.wait().data["patched"], expected.data["patched"])
    other.close()


def test_bringing_back_undoes_what_is_half_typed(two, ask):
    """The pause after typing has not ended, so the settings do not have it yet."""
    asked = two.settings
    two._entry.clean.value = "When Rose"
    ask("show", 2)
    two.wait()
    assert two._entry.clean.value == asked["clean"]
    assert two.settings == asked


def test_runs_that_were_cancelled_take_no_place(explorer, brake):
    """Flipping through settings cancels one run after the other; the whole ones stay."""
    explorer.run()
    explorer.wait()
    brake.on()
    explorer.settings = {"direction": "noise"}
    brake.until_reached()
    explorer.cancel()
    brake.off()
    explorer.wait()
    explorer.settings = {"site": "z"}
    explorer.wait()
    assert listed(explorer) == [3, 1]
    assert len(explorer._shelf._kept._runs) == 2


def test_clear_leaves_the_run_that_is_under_way(explorer, brake):
    """It is on the shelf when it is over."""
    brake.on()
    explorer.run()
    brake.until_reached()
    explorer._shelf.view._handle({"type": "clear", "id": -1})
    brake.off()
    explorer.wait()
    assert listed(explorer) == [1]


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_a_saved_shelf_puts_nothing_off_the_shelf_and_comes_once(two, tmp_path):
    """What is loaded gives way to what was run here."""
    folder = two.save_shelf(tmp_path / "shelf")
    other = pw.explore(models.bridge("gpt2"), models.PAIR)
    other.wait()
    assert [other.load_shelf(folder), other.load_shelf(folder)] == [2, 2]
    assert len(other.shelf) == 2
    other._shelf._kept._runs.clear()
    other.run()
    other.wait()
    run = next(iter(other._shelf._kept._runs.values()))
    for number in range(22):
        other._shelf._kept._runs["foreign", "filler", number] = run
    assert other.load_shelf(folder) == 1
    assert "newest 1 of 2" in other._shelf.view.told
    other.close()


def test_a_shelf_from_before_seeds_were_settings_comes_back(two, tmp_path):
    folder = two.save_shelf(tmp_path / "shelf")
    index = json.loads((folder / "shelf.json").read_text())
    for entry in index["entries"]:
        del entry["settings"]["seed"]
    (folder / "shelf.json").write_text(json.dumps(index))
    assert two.load_shelf(folder) == 2
    two.settings = {"direction": "denoise"}
    assert two.settings["seed"] == 0


@pytest.mark.parametrize(("name", "value"), [("at", 1e20), ("at", -1.0), ("seconds", float("nan")), ("seconds", -5)])
def test_times_that_cannot_be_are_refused(two, tmp_path, name, value):
    """Before anything is on the shelf."""
    folder = two.save_shelf(tmp_path / "shelf")
    index = json.loads((folder / "shelf.json").read_text())
    index["entries"][0][name] = value
    (folder / "shelf.json").write_text(json.dumps(index))
    with pytest.raises(FileError, match="times"):
        two.load_shelf(folder)
    assert listed(two) == [2, 1]


@pytest.mark.parametrize(("name", "value"), [("intervention", "future"), ("answer", "text"), ("model", None)])
def test_results_of_another_make_are_refused(two, tmp_path, name, value):
    """A newer version may know more words; the shelf stays as it was."""
    folder = two.save_shelf(tmp_path / "shelf")
    index = json.loads((folder / "shelf.json").read_text())
    file = folder / index["entries"][1]["file"]
    result = pw.PatchResult.load(file)
    result.provenance[name] = value
    file.unlink()
    result.save(file)
    if name == "intervention":
        index["entries"][1]["settings"]["intervention"] = value
        (folder / "shelf.json").write_text(json.dumps(index))
    before = listed(two)
    try:
        two.load_shelf(folder)
    except FileError:
        assert listed(two) == before
    two.run()
    assert two.wait() is not None


def test_runs_of_another_model_are_compared_and_not_brought_back(two, tmp_path):
    folder = two.save_shelf(tmp_path / "shelf")
    other = pw.explore(models.bridge("gpt2"), models.PAIR)
    other.wait()
    assert other.load_shelf(folder) == 2
    view = other._shelf.view
    assert "embedded" in view.entries[0]["detail"]
    settings = other.settings
    view._handle({"type": "show", "id": 1})
    assert "Run 1 cannot be brought back here" in view.told
    assert "It can be compared." in view.told
    assert other.settings == settings
    view._handle({"type": "a", "id": 1}), view._handle({"type": "b", "id": 2})
    assert other._shelf.comparison.box.layout.display is None
    other.close()


def test_an_edited_origin_does_not_stand_in_for_a_measurement(two, model, tmp_path):
    folder = two.save_shelf(tmp_path / "shelf")
    path = folder / "001-resid_pre-denoise.nc"
    result = pw.PatchResult.load(path)
    pw.PatchResult(result.data, {**result.provenance, "seed": 7}).save(path)
    other = pw.explore(model)
    other.wait()
    other.load_shelf(folder)
    other._shelf.view._handle({"type": "show", "id": 1})
    assert "it was measured with another seed." in other._shelf.view.told
    other.close()


def test_a_folder_is_never_overwritten(two, explorer, tmp_path):
    folder = two.save_shelf(tmp_path / "shelf")
    with pytest.raises(pw.PatchError, match="is there already; give the name of a new folder"):
        two.save_shelf(folder)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(pw.PatchError, match="is there already"):
        two.save_shelf(tmp_path / "file")
    with pytest.raises(pw.PatchError, match="there is no folder"):
        two.save_shelf(tmp_path / "none" / "shelf")
    (tmp_path / "empty").mkdir()
    two.save_shelf(tmp_path / "empty")
    for number in listed(two):
        two._shelf.view._handle({"type": "remove", "id": number})
    with pytest.raises(pw.PatchError, match="the shelf is empty"):
        two.save_shelf(tmp_path / "more")


def _index(folder, change):
    path = folder / "shelf.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


def _damage(folder):
    path = folder / "002-resid_pre-noise.nc"
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: (f / "shelf.json").unlink(), "is no saved shelf: it has no shelf.json"),
        (lambda f: (f / "shelf.json").write_text("{"), "cannot be read"),
        (lambda f: _index(f, lambda i: i.update(format="other")), "is in the format 'other'"),
        (lambda f: _index(f, lambda i: i.update(entries={})), "lists no entries"),
        (lambda f: _index(f, lambda i: i["entries"][0].update(file="../x.nc")), "is no name of a result"),
        (lambda f: _index(f, lambda i: i["entries"][0]["settings"].update(more=1)), "are not the Explorer's"),
        (lambda f: _index(f, lambda i: i["entries"][0].update(seconds="1")), "are no numbers"),
        (lambda f: _index(f, lambda i: i["entries"][0].update(kind=1)), "is no text"),
        (
            lambda f: _index(f, lambda i: i["entries"][0]["settings"].update(site="z")),
            "has another site than by itself",
        ),
        (lambda f: _index(f, lambda i: i["entries"][0]["settings"].update(clean="x")), "has another clean"),
        (lambda f: _index(f, lambda i: i["entries"][0]["settings"].update(metric="x")), "has another metric"),
        (lambda f: (f / "002-resid_pre-noise.nc").unlink(), "there is no file"),
        (_damage, "is damaged"),
    ],
)
def test_foreign_and_damaged_folders_are_refused_whole(two, tmp_path, spoil, told):
    folder = two.save_shelf(tmp_path / "shelf")
    spoil(folder)
    before = listed(two)
    with pytest.raises(pw.PatchError) as caught:
        two.load_shelf(folder)
    assert told in str(caught.value)
    assert listed(two) == before
    shutil.rmtree(folder)


def test_undo_and_redo_go_along_what_was_shown(two):
    back, forth = two._controls.undo, two._controls.redo
    two.settings = {"metric": "prob"}
    two.wait()
    assert (back.disabled, forth.disabled) == (False, True)
    back.click()
    two.wait()
    assert (two.settings["metric"], two.settings["direction"]) == ("logit_diff", "noise")
    two._shelf.view._handle({"type": "undo", "id": -1})
    assert two.wait().direction.direction == "denoise"
    assert (back.disabled, forth.disabled) == (True, False)
    two._shelf.view._handle({"type": "redo", "id": -1})
    two.wait()
    forth.click()
    assert two.wait().metrics == ("prob",)
    assert forth.disabled
    back.click()
    two.wait()
    two.settings = {"metric": "logit"}
    two.wait()
    assert forth.disabled
    assert listed(two) == [2, 1]


def test_undo_brings_prompts_back_and_leaves_an_unfinished_one(explorer):
    explorer.settings = {"clean": PRESETS[1].pair.clean, "corrupted": PRESETS[1].pair.corrupted}
    explorer.wait()
    entered = explorer.settings
    explorer._entry.clean.value = ""
    explorer.wait()
    explorer._controls.undo.click()
    explorer.wait()
    assert explorer.settings == entered
    explorer._controls.undo.click()
    explorer.wait()
    assert explorer.settings["clean"] == DEMO.clean
    explorer._controls.redo.click()
    explorer.wait()
    assert explorer.settings == entered


def test_a_time_of_another_day_has_its_date():
    assert clock(0.0).startswith(("1970-01-01", "1969-12-31"))


def test_text_of_prompts_is_kept_as_it_is(explorer):
    clean, corrupted = (f"<b>{name}</b> gave a drink to" for name in ("Mary", "Anna"))
    explorer.settings = {"clean": clean, "corrupted": corrupted, "answer": " Mary", "foil": " Anna"}
    explorer.run()
    explorer.wait()
    assert f"{clean} / {corrupted}" in explorer._shelf.view.entries[0]["detail"]


def test_two_alignments_of_one_pair_are_subtracted(model, tmp_path):
    """The difference has no alignment of its own, and is drawn all the same."""
    shorter = DEMO.clean.replace("the store", "store")
    pair = pw.PromptPair(DEMO.clean, shorter, answer=" Mary", foil=" John")
    first = pw.patch(model, pair, "resid_pre", align="auto").wait()
    matched = [column for column in first.provenance["alignment"] if None not in column]
    second = pw.patch(model, pair, "resid_pre", align=[*matched[:-3], *matched[-2:]]).wait()
    minus = first - second
    assert "aligned" in minus.describe()
    assert minus.to_html(tmp_path / "minus.html").is_file()
