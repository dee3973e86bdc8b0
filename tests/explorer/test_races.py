"""Several threads at once: the page's messages, the worker, the sweeps; and runs that give way to one another."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair


def in_thread(action) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def progress_of(explorer) -> str:
    return explorer._controls.progress.value


def test_a_run_that_gave_way_says_nothing_any_more(explorer):
    """A change of direction comes while the sweep's thread is in the midst of telling its progress."""
    inside, changed = threading.Event(), threading.Event()
    origin = explorer._screen._origin

    def hold(change):
        if "engine, " in change["new"] and not inside.is_set():
            inside.set()
            changed.wait(0.5)  # whoever changes the direction must not get through before this is over

    origin.observe(hold, "value")

    def change() -> None:
        inside.wait(30)
        explorer._controls.direction.value = "noise"
        explorer._run.wait()
        changed.set()

    other = in_thread(change)
    first = explorer.run()
    other.join()
    first.wait()
    assert inside.is_set()
    assert "in " in progress_of(explorer)
    assert explorer._controls.cancel.disabled
    assert explorer.result.intervention.direction == explorer.settings["direction"] == "noise"


def test_where_a_run_is_said_to_be_over_its_result_is_there(explorer):
    """Whoever reads the page that says so may ask the kernel for the result at once."""
    seen = []
    explorer._controls.progress.observe(lambda change: seen.append((change["new"], explorer.result)), "value")
    explorer.run()
    result = explorer.wait()
    assert [found for text, found in seen if "cells, in " in text] == [result]


def test_an_observer_that_raises_leaves_the_buttons_right(explorer, caplog):
    def raise_(change):
        if change["new"] is not None:
            raise RuntimeError("the reader's own mistake")

    explorer.observe(raise_, "result")
    explorer.run().wait()
    assert "52 of 52 cells, in " in progress_of(explorer)
    assert explorer._controls.cancel.disabled
    assert "the reader's own mistake" in caplog.text


def test_controls_changed_from_many_threads_end_on_what_they_say(explorer, model, select, caplog):
    controls = explorer._controls
    explorer.run()

    def turn(control, values) -> None:
        for value in values * 6:
            control.value = value

    def click() -> None:
        for i in range(24):
            select(explorer._map.view, i % 4, i % 4)

    threads = [
        in_thread(lambda: turn(controls.site, ["z", "resid_pre", "mlp_out"])),
        in_thread(lambda: turn(controls.direction, ["noise", "denoise"])),
        in_thread(lambda: turn(controls.metric, ["prob", "logit", "logit_diff"])),
        in_thread(click),
    ]
    for thread in threads:
        thread.join()
    result = explorer.wait()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert explorer.settings["site"] == result.provenance["site"] == "mlp_out"
    assert explorer.settings["metric"] == "logit_diff"
    assert result.metrics == ("logit_diff",)
    expected = pw.patch(model, DEMO, "mlp_out", direction=explorer.settings["direction"]).wait()
    np.testing.assert_allclose(explorer._map.view.array("patched"), expected.data["patched"].values[0], atol=1e-4)
    np.testing.assert_allclose(result.data["patched"], expected.data["patched"], atol=1e-4)
    if explorer.selection is not None:
        row, col = explorer._map.view.selected
        assert explorer.selection[["layer", "pos"]].values.tolist() == [[row, col]]


def test_a_pick_is_not_lost_while_another_thread_fills_the_field(explorer):
    choice = explorer._entry.answer
    token = choice.pills.options[1][1]
    inside, picked = threading.Event(), threading.Event()

    def hold(change):
        if change["new"] == " Zed":
            inside.set()
            picked.wait(0.5)  # the pick must wait until the field is filled

    choice.field.observe(hold, "value")

    def pick() -> None:
        inside.wait(30)
        choice.pills.value = token
        picked.set()

    other = in_thread(pick)
    choice.set(" Zed")
    other.join()
    assert choice.value == token
    assert not choice.auto


def test_a_new_run_begins_with_an_empty_map(explorer, brake, select):
    explorer.run()
    explorer.wait()
    select(explorer._map.view, 2, 14)
    explorer.wait()
    brake.on()
    explorer._controls.direction.value = "noise"
    view = explorer._map.view
    assert np.isnan(view.array("patched")).all()
    assert view.state == "running"
    assert view.selected == []
    assert "clean" in view.words["sentence"].split("put into")[1]
    assert explorer.result is None
    assert explorer.selection is None
    assert explorer._drilldown.opened is None


def test_what_was_measured_before_is_there_at_once(explorer, brake):
    explorer.run()
    first = explorer.wait()
    brake.on()
    explorer._controls.direction.value = "noise"
    explorer._controls.direction.value = "denoise"
    np.testing.assert_array_equal(explorer.result.data["patched"], first.data["patched"])
    assert explorer._map.view.state == "done"
    assert not np.isnan(explorer._map.view.array("patched")).any()


def test_cells_arrive_while_the_run_goes_on(explorer, brake):
    explorer._controls.site.value = "z"
    explorer._controls.by.value = ("layer", "pos", "head")
    brake.on()
    explorer.run()
    view = explorer._map.view
    brake.until_reached()
    while np.isnan(view.array("patched")).all():
        brake.step()
        brake.until_reached()
    assert np.isnan(view.array("patched")).any()
    assert view.state == "running"
    assert "nan" not in view.words.get("origin", "")
    brake.off()
    explorer.wait()
    assert not np.isnan(view.array("patched")).any()
    assert view.words["origin"]


def test_a_half_typed_answer_cancels_nothing_before_the_pause_ends(explorer, brake, monkeypatch):
    monkeypatch.setattr("patchwidgets.explorer.explorer._PAUSE", 600.0)
    brake.on()
    run = explorer.run()
    brake.until_reached()
    explorer._entry.answer.field.value = " Mar"
    assert not run.cancelling
    assert explorer._entry.errors["answer"].value == ""
    brake.off()
    explorer.wait()
    assert "not in this model" in explorer._entry.errors["answer"].value


def test_offers_that_come_while_an_answer_is_typed_leave_it_alone(explorer, brake, monkeypatch):
    monkeypatch.setattr("patchwidgets.explorer.explorer._PAUSE", 600.0)
    brake.on()
    run = explorer.run()
    brake.until_reached()
    explorer._entry.corrupted.value = DEMO.corrupted.replace("Anna", "Jane")
    explorer._pause.settle()
    explorer._entry.answer.field.value = " Mar"
    offered = threading.Event()
    explorer._worker.submit(offered.set)
    while not offered.is_set():
        brake.step()
    assert explorer._entry.answer.field.value == " Mar"
    assert explorer._entry.errors["answer"].value == ""
    assert not run.cancelling


def test_an_edited_prompt_is_not_forgotten_when_a_control_changes_before_the_pause_ends(explorer, monkeypatch):
    monkeypatch.setattr("patchwidgets.explorer.explorer._PAUSE", 600.0)
    explorer._entry.corrupted.value = DEMO.corrupted.replace("Anna", "Jane")
    explorer._controls.direction.value = "noise"
    explorer.wait()
    assert "Jane" in explorer._map.view.columns["corrupted"]
    assert "Jane" in explorer._entry.foil.pills.options[0][0]


def test_waiting_has_one_deadline_and_does_no_harm(explorer, brake, select):
    brake.on()
    explorer.run()
    brake.until_reached()
    select(explorer._map.view, 2, 14)
    with pytest.raises(TimeoutError, match="goes on"):
        explorer.wait(0.05)
    brake.off()
    assert explorer.wait(60).metrics == ("logit_diff",)
    assert explorer.selection.iloc[0]["status"] == "measured"


def test_waiting_covers_what_a_pending_change_starts(explorer, monkeypatch):
    monkeypatch.setattr("patchwidgets.explorer.explorer._PAUSE", 600.0)
    explorer.run()
    explorer._entry.corrupted.value = DEMO.corrupted.replace("Anna", "Jane")
    result = explorer.wait()
    assert "Jane" in [text.strip() for text in result.provenance["texts"]["corrupted"]]
    assert not (result.data["status"] == "pending").any()


def test_closing_ends_the_run_and_the_thread(model, explorer, brake):
    other = pw.explore(model)
    other.wait()
    brake.on()
    run = other.run()
    brake.until_reached()
    worker = next(iter(other._worker._pool._threads))
    other.close()
    assert run.cancelling
    brake.off()
    worker.join(30)
    assert not worker.is_alive()
    with pytest.raises(pw.PatchError, match="closed"):
        other.run()
    other._controls.direction.value = "noise"
    other.close()


def test_an_explorer_that_could_not_be_made_can_be_thrown_away(model):
    with pytest.raises(pw.PatchError, match="PromptPair"):
        pw.explore(model, "no pair")
