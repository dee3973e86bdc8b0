"""What is said to be over is there to be used; what goes wrong leaves no button and no line waiting."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.engine import sweep
from patchwidgets.explorer import against, behind, gathering, neurons, saving
from patchwidgets.explorer.multiples import Member
from patchwidgets.views import label_columns


def in_thread(action) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def progress_of(explorer) -> str:
    return explorer._controls.progress.value


def raise_(*_args, **_options):
    raise RuntimeError("nobody foresaw this")


@pytest.mark.parametrize("trait", ["result", "selection", "settings"])
def test_an_observer_that_raises_is_logged_and_the_page_is_whole(explorer, select, caplog, trait):
    explorer.observe(raise_, trait)
    explorer.run()
    explorer.wait()
    explorer._controls.direction.value = "noise"
    explorer.wait()
    select(explorer._map.view, 2, 14)
    explorer.wait()
    assert "nobody foresaw this" in caplog.text
    assert len(explorer._shelf.view.entries) == 2
    assert explorer._map.view.state == "done"
    assert "52 of 52 cells, in " in progress_of(explorer)
    assert explorer._drilldown.opened is not None
    assert explorer._drilldown._seen is not None
    assert explorer.selection.iloc[0]["status"] == "measured"


def test_with_a_result_comes_the_selection_from_it(explorer, select):
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 2, 14)
    seen = []
    explorer.observe(lambda change: seen.append((change["new"], explorer.selection)), "result")
    explorer._controls.metric.value = "prob"
    [(result, selection)] = seen
    assert [result.metrics[0]] == selection["metric"].tolist() == ["prob"]


def test_where_a_result_is_taken_back_no_run_is_said_to_be_over(explorer):
    explorer.run()
    explorer.wait()
    seen = []
    explorer.observe(lambda change: seen.append((change["new"], progress_of(explorer))), "result")
    explorer._controls.direction.value = "noise"
    explorer.wait()
    assert ["cells, in " in told for found, told in seen if found is None] == [False]


def test_a_run_that_ends_while_it_is_being_shown_is_told_over_when_its_result_is_there(explorer, monkeypatch):
    """Another metric is chosen between a sweep's last cell and its end."""
    reached, go, measure_all = threading.Event(), threading.Event(), sweep.Sweep._measure_all

    def measured(self, run):
        measure_all(self, run)
        reached.set()
        assert go.wait(60)

    monkeypatch.setattr(sweep.Sweep, "_measure_all", measured)
    run = explorer.run()
    assert reached.wait(60)
    seen = []
    explorer._controls.progress.observe(lambda change: seen.append((change["new"], explorer.result)), "value")

    def end(change) -> None:
        if change["new"]:
            go.set()
            while not run.finished:
                pass

    explorer._screen._baselines.observe(end, "value")
    explorer._controls.metric.value = "prob"
    result = explorer.wait()
    assert [found for text, found in seen if "cells, in " in text] == [result]


def test_a_list_of_neurons_is_done_with_its_last_neuron(opened, monkeypatch):
    """The sweep ends between the reading of its cells and of its state."""
    behind_it, states, cells_of = opened._drilldown.neurons, [], neurons.cells_of

    def late(result):
        while not behind_it.run.finished:
            pass
        return cells_of(result)

    def note(_change) -> None:
        states.append((behind_it.top.state, behind_it.top.words.get("note", "")))

    monkeypatch.setattr(neurons, "cells_of", late)
    behind_it.top.observe(note, "words")
    behind_it.measure.click()
    opened.wait()
    assert [told[:21] for state, told in states if state == "done"] == ["All 160 were measured"]


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_every_kind_can_be_run_again_once_what_was_found_is_shown(explorer):
    kinds, seen = explorer._multiples, []
    kinds.start.observe(lambda change: seen.append((change["new"], kinds.told.value, kinds.summary.state)), "disabled")
    kinds.start.click()
    explorer.wait()
    ready, told, state = seen[-1]
    assert (ready, state) == (False, "done")
    assert told.startswith("Cells found by 5 kinds")


def test_suggestions_are_there_when_they_are_told_of(explorer):
    panel, seen = explorer._suggesting, []
    panel.told.observe(lambda change: seen.append((change["new"], len(panel.rows.children))), "value")
    panel.ask(2)
    explorer.wait()
    assert [rows > 0 for text, rows in seen if "moves" in text] == [True]


def test_what_is_asked_twice_is_shown_once(explorer):
    panel, shown = explorer._suggesting, []
    panel.rows.observe(lambda change: shown.append(len(change["new"])), "children")
    held = threading.Event()
    explorer._worker.submit(lambda: held.wait(60) and None)
    panel.ask(2)
    panel.ask()
    held.set()
    explorer.wait()
    assert len([count for count in shown if count]) == 1


def test_what_cannot_be_written_is_told(explorer, monkeypatch, tmp_path, caplog):
    explorer.run()
    explorer.wait()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(saving.KINDS, "csv", replace(saving.KINDS["csv"], write=raise_))
    explorer._saving.buttons["csv"].click()
    assert explorer._saving.told.value == ""
    assert "nobody foresaw this" in explorer._saving.error.value
    assert "nobody foresaw this" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def opened(explorer, select):
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 2, 14)
    explorer.wait()
    return explorer


def test_neurons_asked_for_twice_are_measured_once(opened, monkeypatch):
    made, start = [], behind.start
    monkeypatch.setattr(behind, "start", lambda *args, **options: made.append(1) or start(*args, **options))
    opened._drilldown.neurons.measure.click()
    opened._drilldown.neurons.measure.click()
    opened.wait()
    assert made == [1]


def test_sweeps_that_cannot_be_begun_are_told_and_asked_for_again(opened, monkeypatch, select, caplog):
    gathered, behind_it = opened._gathering, opened._drilldown
    gathered._gathered([40, 55])
    monkeypatch.setattr(behind, "start", raise_)
    gathered.patch.click()
    behind_it.neurons.measure.click()
    opened.wait()
    assert "nobody foresaw this" in gathered.error.value
    assert not gathered.patch.disabled
    assert gathered.patch.description == "Patch together"
    assert "nobody foresaw this" in behind_it.neurons.error.value
    assert not behind_it.neurons.measure.disabled
    select(opened._map.view, 1, 10)
    opened.wait()
    assert "nobody foresaw this" in behind_it.error.value
    assert behind_it._heads_card.layout.display == "none"
    assert len(caplog.records) == 3


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_another_models_sweep_that_cannot_be_begun_is_told(model, monkeypatch, caplog):
    monkeypatch.setattr(against, "start_in_blocks", raise_)
    explorer = pw.explore(model, against=pw.load_model())
    try:
        explorer.run()
        explorer.wait()
        assert "nobody foresaw this" in explorer._against.error.value
        assert "nobody foresaw this" in caplog.text
    finally:
        explorer.close()


def test_joint_effects_that_cannot_be_told_leave_the_button_right(opened, monkeypatch):
    opened._gathering._gathered([40, 55])
    monkeypatch.setattr(gathering, "together_of", raise_)
    opened._gathering.patch.click()
    opened.wait()
    assert opened._gathering.patch.description == "Patch together"
    assert "nobody foresaw this" in opened._gathering.error.value


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_the_kinds_go_on_where_one_cannot_be_told_of(explorer, monkeypatch):
    monkeypatch.setattr(Member, "note", property(raise_))
    explorer._multiples.start.click()
    explorer.wait()
    assert not explorer._multiples.start.disabled
    assert explorer._multiples.told.value.startswith("Cells found by 5 kinds")


def test_what_goes_wrong_with_a_plan_is_told_on_the_page(explorer, monkeypatch, caplog):
    monkeypatch.setattr(explorer._form, "plan", raise_)
    explorer._controls.run.click()
    assert "nobody foresaw this" in explorer._screen.error.value
    explorer._screen.error.say("")
    explorer._controls.site.value = "z"
    assert "nobody foresaw this" in explorer._screen.error.value
    assert "nobody foresaw this" in caplog.text


def test_a_listener_that_exits_harms_no_run(model):
    run, found = pw.patch(model, pw.PRESETS[0].pair, "embed"), []
    run.subscribe(lambda *_: sys.exit(3))
    in_thread(lambda: found.append(run.wait())).join(60)
    assert np.isfinite(found[0].data["patched"]).all()


def test_a_gatherer_that_raises_leaves_the_page_with_what_is_gathered(monkeypatch, caplog):
    view, sent = pw.Heatmap(["0", "1"], label_columns("head", ["0", "1"]), gathers=True), []
    view.on_gather(raise_)
    view.on_gather(lambda places: setattr(view, "gathered", places[:1]))
    view.on_gather(raise_)
    monkeypatch.setattr(view, "send_state", lambda key: sent.append(key))
    view._handle({"type": "gather", "row": 0, "col": 0})
    view._handle({"type": "gather", "row": 1, "col": 1})
    assert view.gathered == [0]
    assert sent[-1] == "gathered"
    assert len(caplog.records) == 4
