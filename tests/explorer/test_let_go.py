"""A closed Explorer that nobody holds is gone, with its thread, its results and what they keep of the model's runs."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

import patchwidgets as pw
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.replay.finals import _FINALS
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair


@pytest.fixture
def finals(model):
    """What the model's results keep of its runs: the tables that are alive."""

    def alive():
        gc.collect()
        return list(_FINALS.get(handle_of(model).bridge, {}).values())

    before = alive()
    return lambda: [each for each in alive() if not any(each is other for other in before)]


def gone(*references: weakref.ref) -> bool:
    gc.collect()
    return all(reference() is None for reference in references)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("patchwidgets")}


def end(explorer) -> None:
    """Close an Explorer and wait for its thread, which ends by itself."""
    pool = explorer._worker._pool
    explorer.close()
    pool.shutdown(wait=True)


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_a_closed_explorer_is_gone_with_all_it_showed(model, select, finals):
    others = threads()
    explorer = pw.explore(model, against=pw.load_model())
    explorer.run()
    explorer.wait()
    assert finals()
    select(explorer._map.view, 2, 14)
    explorer.wait()
    select(explorer._drilldown.heads.view, 1, 1)
    explorer._multiples.start.click()
    explorer.settings = {"direction": "noise"}
    explorer.wait()
    held = [weakref.ref(each) for each in (explorer, explorer.result, explorer.against, explorer._map.view)]
    end(explorer)
    assert threads() <= others
    del explorer
    assert gone(*held)
    assert finals() == []


def test_an_explorer_that_is_closed_while_it_runs_is_gone_too(model, explorer, brake, finals):
    other = pw.explore(model)
    other.wait()
    brake.on()
    run = other.run()
    brake.until_reached()
    held = weakref.ref(other)
    pool = other._worker._pool
    other.close()
    brake.off()
    run.wait()
    pool.shutdown(wait=True)
    del other, run
    assert gone(held)
    assert finals() == []


def test_its_result_outlives_it_where_somebody_holds_it(model, finals):
    explorer = pw.explore(model)
    explorer.run()
    result, held = explorer.wait(), weakref.ref(explorer)
    end(explorer)
    del explorer
    assert gone(held)
    assert finals()
    reused = pw.patch(model, DEMO, "resid_pre", metric="prob").wait()
    assert reused.check["reused"] > 0
    del reused, result
    assert finals() == []
