"""Candidate stages on the Explorer's map: at the end of a run, from a threshold that can be typed."""

from __future__ import annotations

import numpy as np

from patchwidgets.grid import grid_of


def numbers(explorer):
    view = explorer._map.view
    return np.frombuffer(view.stages, "<i4").reshape(view.shape) if view.stages else np.zeros(view.shape, int)


def strong(explorer, threshold):
    """The cells of the table that are in a cluster, one by one, as (layer, pos)."""
    table = explorer.result.to_dataframe().set_index(["layer", "pos"])["normalized"]
    there = {cell: np.sign(value) for cell, value in table.items() if abs(value) >= threshold}
    steps = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return {
        (layer, pos) for layer, pos in there
        if any(there.get((layer + i, pos + j)) == there[layer, pos] for i, j in steps)
    }  # fmt: skip


def test_clusters_are_outlined_at_the_end_and_again_from_what_is_typed(explorer):
    explorer.run()
    explorer.wait()
    grid = grid_of(explorer.result)
    for threshold in (0.5, 0.2, 0.9):
        explorer._screen.outlining.threshold.value = threshold
        outlined = {(grid.key(r, c)["layer"], grid.key(r, c)["pos"]) for r, c in np.argwhere(numbers(explorer))}
        assert outlined == strong(explorer, threshold)
        table = explorer.result.stages(threshold)
        assert numbers(explorer).max() == len(table)
        words = explorer._map.view.words["stages"]
        assert f"{threshold:g} of the gap" in words
        assert words.startswith(f"{len(table)} candidate stage" if len(table) else "none")
    assert (numbers(explorer) > 0).any()


def test_nothing_is_outlined_while_cells_arrive(explorer, brake):
    brake.on()
    run = explorer.run()
    brake.step()
    assert explorer._map.view.state == "running"
    assert explorer._map.view.stages == b""
    assert explorer._map.view.words["stages"] == ""
    brake.off()
    run.wait()
    explorer.wait()
    assert explorer._map.view.stages != b""


def test_another_metric_has_its_own_clusters_and_runs_nothing(explorer):
    run = explorer.run()
    explorer.wait()
    explorer.settings = {"metric": "prob"}
    explorer.wait()
    assert explorer._run is run
    assert numbers(explorer).max() == len(explorer.result.stages())
    assert explorer.result.metrics == ("prob",)


def test_heads_have_no_field_and_no_outline(explorer):
    explorer.settings = {"site": "z", "by": ["layer", "head"]}
    explorer.run()
    explorer.wait()
    assert explorer._screen.outlining.box.layout.display == "none"
    assert explorer._map.view.stages == b""
    assert not explorer._map.view.words["stages"]
    explorer.settings = {"site": "resid_pre"}
    explorer.wait()
    assert explorer._screen.outlining.box.layout.display is None
