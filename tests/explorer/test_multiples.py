"""Every corruption kind side by side: the prompts that are made, what is counted, and that cancelling ends them all."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets import generators
from patchwidgets.engine import sweep
from patchwidgets.engine.handle import handle_of
from patchwidgets.explorer import corrupting, form
from patchwidgets.explorer.ioi_kinds import pairs_of
from patchwidgets.explorer.worker import Deadline
from patchwidgets.generators import IOI_KINDS
from tests.explorer.conftest import end_meanwhile

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

CLEAN = "When Mary and John went to the store, John gave a drink to"


def names(text: str) -> str:
    """Return the three names of a prompt as letters."""
    letters = {"Mary": "A", "John": "B", "Tom": "C", "James": "D"}
    return "".join(letters.get(word.strip(",."), "") for word in text.split())


def test_the_kinds_read_as_the_literature_has_them(model):
    made = pairs_of(handle_of(model), CLEAN, " Mary")
    assert {kind: names(str(pair.corrupted)) for kind, pair in made.items()} == IOI_KINDS
    assert set(made) == set(IOI_KINDS)
    for kind, pair in made.items():
        assert (pair.clean, pair.answer) == (CLEAN, " Mary")
        assert pair.foil == (" Tom" if kind == "replace" else " John")


def test_the_slots_are_kept_when_the_repeated_name_comes_first(model):
    made = pairs_of(handle_of(model), "John and Mary went to the store. John gave a drink to", " Mary")
    assert made["ABA"].corrupted == "John and Mary went to the store. Mary gave a drink to"
    assert made["BAB"].corrupted == "Mary and John went to the store. John gave a drink to"
    assert made["BAA"].corrupted == "Mary and John went to the store. Mary gave a drink to"


@pytest.mark.parametrize("preset", ["Leaders", "Induction", "Surnames", "Docstring", "Pronoun"])
def test_other_prompts_have_no_kinds_of_names(model, preset):
    pair = pw.preset(preset).pair
    assert pairs_of(handle_of(model), pair.clean, pair.answer) == {}


def test_every_kind_is_swept_and_counted(model, explorer):
    panel = explorer._multiples
    panel.start.click()
    explorer.wait()
    made = pairs_of(handle_of(model), CLEAN, " Mary")
    alone = {kind: pw.patch(model, pair, "resid_pre").wait().normalized.values[0] for kind, pair in made.items()}
    assert [member.kind.name for member in panel._members] == list(alone)
    for member in panel._members:
        view = member.map.view
        np.testing.assert_allclose(view.array("normalized"), alone[member.kind.name], rtol=0, atol=1e-4)
        assert (view.quantity, view.limit, view.rows) == ("normalized", 1.0, panel.summary.rows)
    assert "Not counted: both prompts call for the same answer." in panel._members[3].map.view.words["note"]
    assert panel.chosen.value == ""
    assert "resid_pre, denoise, logit difference: " in panel.about.value
    assert CLEAN in panel.about.value
    assert len(explorer.shelf) == 6
    notes = [member.map.view.words["note"] for member in panel._members]
    one, two = "Tom is drawn, whatever the corrupted prompt", "Tom and James are drawn, whatever the corrupted prompt"
    assert [next((told for told in (one, two) if note.startswith(told)), "") for note in notes] == [
        one, two, "", "", two, "",
    ]  # fmt: skip
    tokens = {run: model.to_tokens(run)[0] for run in (CLEAN, *(pair.corrupted for pair in made.values()))}
    first = {kind: int((tokens[CLEAN] != tokens[pair.corrupted]).int().argmax()) for kind, pair in made.items()}
    assert set(first.values()) == {2, 10}
    at = np.arange(alone["ABA"].shape[1])
    reached = sum((at >= first[kind]) * np.ones_like(alone[kind]) for kind in made if kind != "BAB")

    def check(threshold: float) -> None:
        hits = sum((np.abs(values) >= threshold).astype(int) for kind, values in alone.items() if kind != "BAB")
        np.testing.assert_allclose(panel.summary.array("normalized"), hits / np.maximum(reached, 1), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(panel.summary.array("effect"), hits)
        np.testing.assert_array_equal(panel.summary.array("patched"), reached)
        marks = np.frombuffer(panel.summary.marks, dtype=np.uint8).reshape(hits.shape)
        expected = np.select([hits == 0, hits == reached, hits == 1], [8, 1, 2], 3)
        np.testing.assert_array_equal(marks, np.where(reached > 0, expected, 0))
        told = ", ".join(f"{(marks == mark).sum()} by {name}" for mark, name in ((1, "all"), (3, "some"), (2, "one")))
        none = int(((hits == 0) & (reached > 0)).sum())
        assert f"{told}, {none} by none, of those that reach the cell." in panel.told.value

    check(0.3)
    panel.threshold.value = 0.75
    check(0.75)


def test_kinds_that_are_on_the_shelf_are_not_run_again(explorer, broken):
    explorer._multiples.start.click()
    explorer.wait()
    broken("patchwidgets")
    explorer._multiples.start.click()
    explorer.wait()
    assert "5 kinds" in explorer._multiples.told.value
    assert len(explorer.shelf) == 6


def test_a_dataset_has_its_kinds_too(model, explorer):
    explorer.settings = {"dataset": {"name": "IOI, ABA", "n": 6, "seed": 1}, "site": "z"}
    explorer.wait()
    explorer._multiples.start.click()
    explorer.wait()
    found = {member.kind.name: member.result for member in explorer._multiples._members}
    assert list(found) == list(IOI_KINDS)
    for kind in ("ABA", "CDD"):
        asked = pw.patch(model, generators.ioi(6, kind, seed=1), "z").wait()
        np.testing.assert_allclose(found[kind].normalized, asked.normalized, rtol=0, atol=1e-4)


def test_cancel_ends_all(explorer, brake):
    brake.on()
    explorer._multiples.start.click()
    brake.until_reached()
    explorer._multiples.stop.click()
    brake.off()
    explorer.wait()
    (member,) = explorer._multiples._members
    assert member.run is not None
    assert len(explorer._multiples.maps.children) == 1
    assert "Cancelled: 0 of 6 kinds are done." in explorer._multiples.told.value
    assert explorer.shelf == []
    assert not explorer._multiples.start.disabled
    explorer._multiples.start.click()
    explorer.wait()
    assert len(explorer.shelf) == 6


@pytest.fixture
def gate(monkeypatch):
    """An event that sweeps wait for before they measure anything."""
    opened, measure = threading.Event(), sweep.Sweep._measure_all

    def wait(self, run):
        assert opened.wait(60)
        return measure(self, run)

    monkeypatch.setattr(sweep.Sweep, "_measure_all", wait)
    yield opened
    opened.set()


@pytest.fixture
def shared(model, explorer, gate):
    """An Explorer whose map and whose first kind wait for one run."""
    pair = pairs_of(handle_of(model), CLEAN, " Mary")["replace"]
    explorer.settings = {"corrupted": pair.corrupted, "answer": pair.answer, "foil": pair.foil}
    explorer.wait()
    explorer._multiples.start.click()
    explorer._worker.wait(Deadline(None))
    explorer.run()
    assert explorer._multiples.run is explorer._run
    return explorer


def other_site(explorer):
    explorer._controls.site.value = "mlp_out"


def refused_answer(explorer):
    explorer._entry.answer.field.value = " no token"


def refused_layer(explorer):
    explorer._controls.subsets.fields["layers"].value = "99"
    explorer._run_pressed()


@pytest.mark.parametrize("leave", [other_site, refused_answer, refused_layer])
def test_a_run_that_the_map_leaves_goes_on_for_the_kinds(shared, gate, leave):
    run = shared._run
    leave(shared)
    shared._pause.settle()
    assert not run.cancelling
    gate.set()
    shared.wait()
    assert [member.whole for member in shared._multiples._members] == [True] * 6
    assert run.complete


def test_cancel_all_spares_the_run_on_screen_and_cancel_ends_it(shared, gate):
    run = shared._run
    shared._multiples.stop.click()
    assert not run.cancelling
    shared._controls.cancel.click()
    assert run.cancelling
    gate.set()
    shared.wait()
    assert [member.run for member in shared._multiples._members] == [run]


def test_a_run_that_neither_wants_any_more_is_cancelled(shared):
    run = shared._run
    other_site(shared)
    shared._multiples.stop.click()
    assert run.cancelling


@pytest.mark.parametrize("answer", [None, " Mary"])
def test_kinds_are_of_what_was_entered_when_they_were_asked_for(model, answer):
    """What is asked for in the midst of typing has the model's own answer to it, and nothing that is typed after."""
    clean, corrupted = "The capital of France is", "The capital of Italy is"
    explorer = pw.explore(model, pw.PromptPair(CLEAN, CLEAN.replace("Mary", "Anna"), answer=answer))
    explorer.wait()
    busy = threading.Event()
    explorer._worker.submit(lambda: busy.wait(60))
    explorer._entry.clean.value, explorer._entry.corrupted.value = clean, corrupted
    explorer._multiples.start.click()
    other_site(explorer)
    explorer._entry.clean.value = "The capital of Spain is"
    busy.set()
    explorer.wait()
    settings = [member.kind.settings for member in explorer._multiples._members]
    assert {(each["clean"], each["site"]) for each in settings} == {(clean, "resid_pre")}
    if answer is None:
        paris, rome = (model.to_single_token(text) for text in (" Paris", " Rome"))
        assert {each["answer"] for each in settings} == {paris}
        assert (settings[0]["corrupted"], settings[0]["foil"]) == (corrupted, rome)
    else:
        assert {each["answer"] for each in settings} == {" Mary"}
    explorer.close()


def test_kinds_are_not_run_while_a_field_is_refused(explorer):
    explorer._controls.subsets.fields["layers"].value = "99"
    explorer._multiples.start.click()
    explorer.wait()
    assert explorer._multiples.error.value == "Layer 99 does not exist: there are 4 (0 to 3)."
    assert explorer._multiples._members == []
    assert not explorer._multiples.start.disabled


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_kind_that_is_being_planned_is_not_begun_after_the_end(explorer, hold, end):
    planning = hold(form, "plan_of")
    members = explorer._multiples
    members.start.click()
    planning.until_reached()
    planning.until_reached()
    made = members._members
    assert made
    end_meanwhile(explorer, end, planning)
    assert end == "close" or not members.start.disabled
    assert [member.run for member in made] == [None] * len(made)
    assert not explorer._shelf._kept._runs


def test_a_dataset_without_kinds_is_said(explorer):
    explorer.settings = {"dataset": "Induction"}
    explorer.wait()
    explorer._multiples.start.click()
    explorer.wait()
    assert "has one kind of corruption" in explorer._multiples.error.value
    assert not explorer._multiples.start.disabled


def test_a_cell_is_marked_in_every_map(explorer, select):
    explorer._multiples.start.click()
    explorer.wait()
    select(explorer._multiples.summary, 2, 14)
    assert [member.map.view.selected for member in explorer._multiples._members] == [[2, 14]] * 6


def test_closing_ends_it(explorer, brake):
    brake.on()
    explorer._multiples.start.click()
    brake.until_reached()
    explorer.close()
    brake.off()
    assert explorer._multiples._members == []


def dimmed(panel) -> list[bool]:
    return ["pw-x-stale" in part._dom_classes for part in (panel.maps, panel.counted, panel.told)]


def refused_field(explorer):
    explorer._controls.subsets.fields["layers"].value = "99"


CHANGES = [
    {"site": "mlp_out"},
    {"direction": "noise"},
    {"metric": "prob"},
    {"intervention": "zero"},
    {"layers": [1, 2]},
    {"answer": " John"},
    {"clean": CLEAN.replace("store", "park"), "corrupted": CLEAN.replace("Mary", "Anna").replace("store", "park")},
    {"dataset": {"name": "IOI, ABA", "n": 4, "seed": 0}},
]


def test_kinds_are_dimmed_while_they_are_not_of_what_is_entered(explorer):
    panel, asked = explorer._multiples, explorer.settings
    panel.start.click()
    explorer.wait()
    assert dimmed(panel) == [False] * 3
    about = panel.about.value
    for change in CHANGES:
        explorer.settings = change
        explorer.wait()
        assert dimmed(panel) == [True] * 3, change
        assert panel.about.value == f"Not of what is entered now: {about}"
        explorer.settings = asked
        explorer.wait()
        assert dimmed(panel) == [False] * 3, change
        assert panel.about.value == about
    refused_field(explorer)
    assert dimmed(panel) == [True] * 3
    explorer._controls.subsets.fields["layers"].value = ""
    assert dimmed(panel) == [False] * 3
    other_site(explorer)
    panel.start.click()
    explorer.wait()
    assert dimmed(panel) == [False] * 3


def test_what_a_kind_does_not_read_dims_nothing(explorer):
    """The kinds of two names make their corrupted prompts themselves; those of a dataset have no one pair."""
    panel = explorer._multiples
    panel.start.click()
    explorer.wait()
    explorer.settings = {"corrupted": CLEAN.replace("Mary", "Kate"), "foil": " Kate"}
    explorer.wait()
    assert dimmed(panel) == [False] * 3
    explorer.settings = {"seed": 5}  # A patch draws nothing.
    assert dimmed(panel) == [False] * 3
    explorer.settings = {"dataset": {"name": "IOI, ABA", "n": 4, "seed": 0}}
    explorer.wait()
    panel.start.click()
    explorer.wait()
    explorer.settings = {"dataset": {"name": "IOI, CDD", "n": 4, "seed": 0}}
    explorer.wait()
    assert dimmed(panel) == [False] * 3
    explorer.settings = {"dataset": {"name": "IOI, CDD", "n": 5, "seed": 0}}
    explorer.wait()
    assert dimmed(panel) == [True] * 3


def test_kinds_of_replaced_tokens_are_of_the_pair_as_well(model):
    explorer = pw.explore(model, pw.preset("Capitals").pair)
    explorer.wait()
    panel = explorer._multiples
    panel.start.click()
    explorer.wait()
    assert dimmed(panel) == [False] * 3
    explorer.settings = {"corrupted": "The capital of Spain is", "foil": " Madrid"}
    explorer.wait()
    assert dimmed(panel) == [True] * 3
    explorer._shelf.step(-1)
    explorer.wait()
    assert dimmed(panel) == [False] * 3
    explorer.close()


def test_kinds_that_are_found_after_a_change_are_dimmed_at_once(explorer, hold):
    looking = hold(corrupting, "pairs_of")
    explorer._multiples.start.click()
    looking.until_reached()
    other_site(explorer)
    looking.let_go()
    explorer.wait()
    assert dimmed(explorer._multiples) == [True] * 3
    assert [member.whole for member in explorer._multiples._members] == [True] * 6


def test_the_map_says_that_a_kind_is_measured_as_well_and_goes_before_the_next(explorer, gate):
    explorer._live = True
    panel, progress = explorer._multiples, explorer._controls.progress
    panel.start.click()
    explorer._worker.wait(Deadline(None))
    other_site(explorer)
    assert progress.value == "0 of 52 cells, starting; a corruption kind is measured as well"
    kind, run = panel.run, explorer._run
    held = threading.Event()
    run.subscribe(lambda *_: held.wait(60))
    gate.set()
    kind.wait()
    explorer._worker.wait(Deadline(None))
    assert "as well" not in progress.value
    assert panel.run is kind
    assert "1 of 6 kinds is done; the map goes first." in panel.told.value
    held.set()
    explorer.wait()
    assert "Cells found by 5 kinds" in panel.told.value
    assert [member.whole for member in panel._members] == [True] * 6


def test_kinds_that_wait_for_the_map_can_be_cancelled(explorer, gate):
    explorer.run()
    panel = explorer._multiples
    panel.start.click()
    explorer._worker.wait(Deadline(None))
    assert panel.run is None
    assert panel.told.value == "0 of 6 kinds are done; the map goes first."
    panel.stop.click()
    assert panel.told.value == "Cancelled: 0 of 6 kinds are done."
    gate.set()
    explorer.wait()
    assert panel._members == []
    assert len(explorer.shelf) == 1


def begun(explorer):
    """Return what the shelf's lines begin with, the oldest first."""
    return [entry["detail"].split(" \u00b7 ")[0] for entry in reversed(explorer._shelf.view.entries)]


def test_the_shelf_names_the_kinds(model, explorer, tmp_path):
    explorer._multiples.start.click()
    explorer.wait()
    kinds = [f"kind: {kind}" for kind in IOI_KINDS]
    assert begun(explorer) == kinds
    explorer.run()
    explorer.wait()
    assert begun(explorer) == [*kinds, "denoise"]
    explorer._shelf.view._handle({"type": "show", "id": 2})
    explorer.wait()
    assert begun(explorer) == [*kinds, "denoise"]
    folder = explorer.save_shelf(tmp_path / "shelf")
    other = pw.explore(model)
    other.wait()
    other.load_shelf(folder)
    assert begun(other) == [*kinds, "denoise"]
    other.close()


def test_a_run_of_the_map_that_is_a_kind_too_gets_its_name(model):
    explorer = pw.explore(model, pw.preset("Capitals").pair)
    explorer.run()
    explorer.wait()
    assert begun(explorer) == ["denoise"]
    explorer._multiples.start.click()
    explorer.wait()
    assert begun(explorer)[0] == "kind: as entered"
    assert len(set(begun(explorer))) == len(explorer.shelf) == 3
    explorer.close()


def test_kinds_of_means_over_another_dataset_are_dimmed(explorer):
    """Settings, which are plain, call both of them a mean."""
    panel = explorer._multiples
    mean, other = (pw.Mean(pw.Dataset([pw.PRESETS[0].pair], name=name)) for name in ("one", "two"))
    explorer.settings = {"by": ["layer"]}
    explorer.intervention = mean
    panel.start.click()
    explorer.wait()
    assert dimmed(panel) == [False] * 3
    explorer.intervention = other
    assert dimmed(panel) == [True] * 3
    explorer.intervention = mean
    assert dimmed(panel) == [False] * 3
