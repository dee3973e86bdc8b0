"""Cancelled at the start: what is not known is not shown, not kept, and measured when Run is pressed again."""

from __future__ import annotations

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets import generators
from patchwidgets.engine import sweep

NOT_MADE = "The run was cancelled before the clean and the corrupted run were made."


@pytest.fixture
def prepared(explorer, monkeypatch):
    """The plans whose first look was prepared."""
    found, prepare = [], explorer._drilldown.prepare
    monkeypatch.setattr(explorer._drilldown, "prepare", lambda plan: (found.append(plan), prepare(plan)))
    return found


def cancelled_at_once(explorer, hold):
    """Run what is entered and cancel it before the runs without a patch are made."""
    held = hold(sweep, "record")
    run = explorer.run()
    held.until_reached()
    explorer.cancel()
    held.let_go()
    run.wait(60)
    explorer.wait(60)
    return run


@pytest.mark.parametrize("positions", [None, [0]], ids=["cells", "implied cells alone"])
def test_cancelled_before_the_two_runs_nothing_is_shown_or_kept(explorer, hold, prepared, positions):
    explorer.settings = {"positions": positions}
    run = cancelled_at_once(explorer, hold)
    assert explorer._run is run
    assert run.cancelled
    assert explorer.result is None
    assert explorer.shelf == []
    assert prepared == []
    assert explorer._screen._baselines.value == NOT_MADE
    assert "cancelled after" in explorer._controls.progress.value
    assert explorer._controls.bar.value == 0
    assert "nan" not in str(explorer._still._bundle())
    assert "had come to its end" in str(explorer._still._bundle())
    with pytest.raises(pw.PatchError, match="no result yet"):
        explorer.to_html("page.html")


@pytest.mark.parametrize("positions", [None, [0]], ids=["cells", "implied cells alone"])
def test_run_pressed_again_measures(explorer, hold, prepared, positions):
    explorer.settings = {"positions": positions}
    run = cancelled_at_once(explorer, hold)
    again = explorer.run()
    result = explorer.wait(60)
    assert again is not run
    assert np.isfinite(result.data["patched"].values).all()
    assert len(prepared) == len(explorer.shelf) == 1
    assert explorer._screen._baselines.value != NOT_MADE
    assert explorer._controls.bar.value == explorer._controls.bar.max
    assert "last whole map" in str(explorer._still._bundle())


def test_a_dataset_cancelled_before_its_runs_is_measured_the_next_time(model, explorer, hold):
    data = generators.ioi(8, "ABA", seed=0)
    over = pw.explore(model, data)
    try:
        over.wait()
        over.settings = {"positions": [0]}
        over.wait()
        run = cancelled_at_once(over, hold)
        assert run.cancelled
        assert over.result is None
        over.run()
        result = over.wait(60)
        assert result.n == 8
        assert np.isfinite(result.clean).all()
    finally:
        over.close()
