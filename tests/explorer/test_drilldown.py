"""What a cell opens: whose patch is shown, what stays while it is computed, and errors that stay in their place."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.engine import plain_runs
from patchwidgets.explorer import drilldown
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair


@pytest.fixture
def measured(explorer):
    explorer.run()
    explorer.wait()
    return explorer


def labels_of(view) -> list[str]:
    return [run["label"] for run in view.runs]


def test_the_plain_runs_behind_a_cell_are_made_when_the_sweep_ends(measured, model, select):
    """The Explorer's own thread looks into cells; the heads are another sweep, in another."""
    threads = []

    def passed(_module: object, _args: object) -> None:
        threads.append(threading.current_thread().name)

    hook = model.original_model.register_forward_pre_hook(passed)
    try:
        select(measured._map.view, 2, 14)
        measured.wait()
    finally:
        hook.remove()
    assert measured._drilldown._seen is not None
    assert not [name for name in threads if name.startswith("patchwidgets-explorer")]


def test_opening_another_cell_hides_nothing_that_it_shows_again(measured, select):
    """Hidden and shown again, a part flickers, and the page is laid out twice."""
    panel = measured._drilldown
    select(measured._map.view, 2, 14)
    measured.wait()
    changed = []
    for part in (*panel.box.children, *panel.neurons.box.children):
        part.layout.observe(lambda change: changed.append(change["new"]), "display")
    select(measured._map.view, 1, 10)
    measured.wait()
    assert panel.opened.cell == {"layer": 1, "pos": 10}
    assert panel.run.finished
    assert changed == []


def test_another_head_opened_from_a_head_cell_is_that_heads_patch(explorer, model, select):
    explorer._controls.site.value = "z"
    explorer._controls.by.value = ("layer", "pos", "head")
    explorer.run()
    explorer.wait()
    heads = explorer.result.data.sizes["head"]
    select(explorer._map.view, 2 * heads + 1, 14)
    explorer.wait()
    panel = explorer._drilldown
    assert panel.opened.cell == {"layer": 2, "pos": 14, "head": 1}
    assert labels_of(panel.attention)[2:] == ["patched: this cell"]
    select(panel.heads.view, 1, 3)
    explorer.wait()
    assert labels_of(panel.attention)[2:] == ["patched: head 1.3", "patched: this cell"]
    assert panel.predictions.tables[2]["label"] == "patched: head 1.3"
    logits = {row["token"]: row["logit"] for row in panel.predictions.tables[2]["rows"]}
    alone = pw.patch(
        model, DEMO, "z", by=("layer", "pos", "head"), layers=[1], positions=[14], heads=[3], metric="logit"
    ).wait()
    assert logits["Mary"] == pytest.approx(float(alone.data["patched"].item()), abs=1e-4)
    assert panel.back.layout.display is None
    assert "head 1.3" in panel.path.value
    panel.back.click()
    explorer.wait()
    assert labels_of(panel.attention)[2:] == ["patched: this cell"]
    assert panel.opened.head == (2, 1)
    assert panel.back.layout.display == "none"


def test_the_head_that_the_cell_is_opens_as_the_cell(explorer, select):
    explorer._controls.site.value = "z"
    explorer._controls.by.value = ("layer", "pos", "head")
    explorer.run()
    explorer.wait()
    heads = explorer.result.data.sizes["head"]
    select(explorer._map.view, 2 * heads + 1, 14)
    select(explorer._drilldown.heads.view, 2, 1)
    explorer.wait()
    assert labels_of(explorer._drilldown.attention)[2:] == ["patched: this cell"]


def test_a_cell_opens_empty(measured, brake, select):
    panel = measured._drilldown
    select(measured._map.view, 2, 14)
    measured.wait()
    select(panel.heads.view, 1, 3)
    measured.wait()
    brake.on()
    select(measured._map.view, 3, 14)
    assert "layer 3" in panel.path.value
    assert [table["label"] for table in panel.predictions.tables] == ["clean", "corrupted", "patched: this cell"]
    assert [table["rows"] for table in panel.predictions.tables] == [[], [], []]
    assert panel.attention.runs == []
    assert np.isnan(panel.parts.array("patched")).all()
    assert panel.parts.words["title"].startswith("Layer 3")
    assert np.isnan(panel.heads.view.array("patched")).all()


def test_what_fails_while_looking_into_a_cell_is_told_there(explorer, brake, broken, select, caplog):
    brake.on()
    run = explorer.run()
    brake.until_reached()
    broken("patchwidgets-explorer")
    select(explorer._map.view, 2, 14)
    brake.off()
    result = explorer.wait()
    assert explorer._drilldown.error.value == "RuntimeError: the model broke"
    assert explorer._screen.error.value == ""
    assert not run.cancelling
    assert not (result.data["status"] == "pending").any()
    assert "looking into a cell failed" in caplog.text
    explorer._drilldown.close()
    assert explorer._drilldown.error.value == ""


def test_heads_that_fail_are_told_beside_them(measured, broken, select):
    broken("patchwidgets-sweep")
    select(measured._map.view, 2, 14)
    assert measured.wait() is measured.result
    assert measured._drilldown.error.value == "RuntimeError: the model broke"
    assert measured._drilldown.heads.view.state == "error"
    assert measured._screen.error.value == ""
    assert measured._drilldown.predictions.tables[2]["rows"]


def test_a_run_that_fails_says_so_and_can_be_made_again(explorer, broken, model):
    broken("patchwidgets-sweep")
    explorer.run()
    with pytest.raises(RuntimeError, match="the model broke"):
        explorer.wait()
    assert explorer._map.view.state == "error"
    assert explorer._screen.error.value == "RuntimeError: the model broke"
    assert explorer.result is None


def test_the_selection_follows_the_run(explorer, brake, select):
    brake.on()
    explorer.run()
    brake.step()
    brake.until_reached()
    select(explorer._map.view, 3, 14)
    assert explorer.selection.iloc[0]["status"] == "pending"
    brake.off()
    explorer.wait()
    assert explorer.selection.iloc[0]["status"] == "measured"
    assert np.isfinite(explorer.selection.iloc[0]["normalized"])
    assert explorer._map.view.selected == [3, 14]


@pytest.mark.parametrize("running", [False, True])
def test_another_metric_keeps_what_is_open(explorer, brake, select, model, running):
    if running:
        brake.on()
        explorer.run()
        brake.step()
        brake.until_reached()
        select(explorer._map.view, 3, 14)
        explorer._controls.metric.value = "prob"
        brake.off()
        explorer.wait()
    else:
        explorer.run()
        explorer.wait()
        select(explorer._map.view, 3, 14)
        explorer.wait()
        select(explorer._drilldown.heads.view, 1, 3)
        explorer.wait()
        explorer._controls.metric.value = "prob"
        assert explorer._drilldown.opened.head == (1, 3)
        explorer._drilldown.back.click()
        explorer.wait()
    panel = explorer._drilldown
    assert panel.opened.cell == {"layer": 3, "pos": 14}
    assert explorer._map.view.selected == [3, 14]
    assert explorer.selection.iloc[0]["metric"] == "prob"
    alone = pw.patch(model, DEMO, "resid_pre", layers=[3], positions=[14], metric="prob").wait()
    assert explorer.selection.iloc[0]["patched"] == pytest.approx(float(alone.data["patched"].item()), abs=1e-6)
    assert panel.parts.value(0, 0)["patched"] == pytest.approx(float(alone.data["patched"].item()), abs=1e-6)
    heads = pw.patch(model, DEMO, "z", by=("layer", "pos", "head"), positions=[14], metric="prob").wait()
    np.testing.assert_allclose(panel.heads.view.array("patched"), heads.data["patched"].values[0][:, 0], atol=1e-6)


def test_another_metric_runs_no_head_again(measured, select):
    select(measured._map.view, 3, 14)
    measured.wait()
    run = measured._drilldown.run
    measured._controls.metric.value = "logprob"
    measured.wait()
    assert measured._drilldown.run is run


def test_a_cell_stays_open_when_it_is_measured_again(explorer, select):
    select(explorer._map.view, 3, 14)
    assert explorer.selection is None
    explorer.run()
    explorer.wait()
    assert explorer._drilldown.opened.cell == {"layer": 3, "pos": 14}
    assert explorer.selection.iloc[0]["status"] == "measured"


def test_nothing_is_kept_of_what_is_being_prepared_when_the_explorer_is_closed(explorer, hold):
    preparing = hold(drilldown, "Inspector")
    explorer.run()
    preparing.until_reached()
    worker = next(iter(explorer._worker._pool._threads))
    explorer.close()
    preparing.let_go()
    worker.join(60)
    assert explorer._drilldown._inspector is None


def test_nothing_is_prepared_for_a_map_that_has_gone(explorer, brake, monkeypatch):
    """The first map's cells were to be prepared when the Explorer's thread had time; by then there is another map."""
    made, busy = [], threading.Event()
    inspector = drilldown.Inspector

    def counted(handle, pair, patch, **more):
        made.append(patch.direction)
        return inspector(handle, pair, patch, **more)

    monkeypatch.setattr(drilldown, "Inspector", counted)
    brake.on()
    run = explorer.run()
    brake.until_reached()
    explorer._worker.submit(lambda: None if busy.wait(60) else pytest.fail("not let go"))
    brake.off()
    run.wait()
    explorer._controls.direction.value = "noise"
    explorer._run.wait()
    busy.set()
    explorer.wait()
    assert made == ["noise"]


def test_another_metric_of_the_same_run_prepares_nothing_again(explorer, monkeypatch):
    explorer.run()
    explorer.wait()
    read = []
    monkeypatch.setattr(plain_runs, "sums_of", lambda bridge: read.append(bridge))
    for metric in ("prob", "logit", "logit_diff"):
        explorer.settings = {"metric": metric}
        explorer.wait()
    assert read == []


@pytest.mark.parametrize("error", [RuntimeError("the model broke"), pw.PatchError("no such hook")])
def test_what_fails_while_preparing_is_logged_unless_it_is_told_when_a_cell_opens(explorer, monkeypatch, caplog, error):
    def fail(_inspector):
        raise error

    monkeypatch.setattr(drilldown.Inspector, "prepare", fail)
    explorer.run()
    explorer.wait()
    told = [record.exc_info[1] for record in caplog.records if "could not be prepared" in record.message]
    assert told == ([] if isinstance(error, pw.PatchError) else [error])
