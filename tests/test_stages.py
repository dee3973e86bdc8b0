"""Candidate stages: clusters of strong cells, held against a flood fill of another making."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import patchwidgets as pw
from patchwidgets.errors import PatchError
from patchwidgets.grid import grid_of
from patchwidgets.result import PENDING, PatchResult, make_data
from patchwidgets.stages import find_stages, ordered_axes
from patchwidgets.views.of_result import heatmap_of
from tests import models

GRANULARITIES = [
    ("layer", "pos"), ("layer",), ("pos",), ("layer", "pos", "head"), ("layer", "head", "dest", "src"),
]  # fmt: skip
TEXTS = [" When", " Mary", " and", " John", " gave", " to", " a", " b"]


def made(
    by: tuple[str, ...], values: Any, *, labels: dict[str, list[int]] | None = None, gap: float = 1.0, **more: Any
) -> PatchResult:
    """A result whose normalized effects are `values`: the base run's metric is 0, the source run's `gap`."""
    values = np.asarray(values, dtype=float)
    sizes = dict(zip(by, values.shape, strict=True))
    status = np.where(np.isnan(values), PENDING, 0)
    data = make_data(by, sizes, ("logit_diff",), values[None] * gap, status, [gap], [0.0], [], labels)
    return PatchResult(data, {
        "site": "resid_pre", "direction": "denoise", "by": list(by), "metrics": ["logit_diff"], "bos_at": None,
        "model": "tiny", "weights": "raw", "dtype": "float32", "device": "cpu", "engine": "hooked",
        "check": {"controls": 1, "worst_logit_difference": 0.0}, "versions": {"transformer-lens": "4.3.0"},
        "revision": None, "tokens": {"clean": [1] * 8, "corrupted": [2] * 8},
        "texts": {"clean": TEXTS, "corrupted": TEXTS}, **more,
    })  # fmt: skip


def flooded(values: np.ndarray, by: tuple[str, ...], labels: dict[str, list[int]], threshold: float) -> set[frozenset]:
    """The clusters by walking from cell to cell, each a set of cells named by their indices in the model."""
    along = {
        ("layer", "pos"): ("layer", "pos"), ("layer",): ("layer",), ("layer", "pos", "head"): ("pos",),
        ("layer", "head", "dest", "src"): ("dest", "src"), ("pos",): ("pos",), ("layer", "head"): (),
    }[by]  # fmt: skip
    cells = {}
    for where in np.ndindex(values.shape):
        name = tuple(labels[axis][i] for axis, i in zip(by, where, strict=True))
        if abs(values[where]) >= threshold:
            cells[name] = math.copysign(1, values[where])
    found, left = set(), set(cells)
    while left:
        reached, edge = set(), {left.pop()}
        while edge:
            cell = edge.pop()
            reached.add(cell)
            for axis, step in product(along, (-1, 1)):
                i = by.index(axis)
                beside = (*cell[:i], cell[i] + step, *cell[i + 1 :])
                if beside in left and cells[beside] == cells[cell]:
                    left.discard(beside)
                    edge.add(beside)
        if len(reached) > 1:
            found.add(frozenset(reached))
    return found


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_clusters_are_those_of_a_flood_fill(data: st.DataObject) -> None:
    by = data.draw(st.sampled_from(GRANULARITIES))
    labels = {axis: sorted(data.draw(st.sets(st.integers(0, 7), min_size=1, max_size=4), label=axis)) for axis in by}
    shape = tuple(len(labels[axis]) for axis in by)
    levels = st.sampled_from([np.nan, 0.0, 0.3, 0.5, 1.0, -0.5, -2.0])
    values = data.draw(arrays(float, shape, elements=levels))
    threshold = data.draw(st.sampled_from([0.1, 0.5, 0.75]))
    result = made(by, values, labels=labels)
    found = find_stages(result, threshold)
    named = {
        frozenset(
            tuple(labels[axis][i] for axis, i in zip(by, np.unravel_index(cell, shape), strict=True))
            for cell in stage.cells
        )
        for stage in found.found
    }
    assert named == (flooded(values, by, labels, threshold) if np.isfinite(values).any() else set())
    for number, stage in enumerate(found.found, 1):
        assert np.flatnonzero(found.labels == number).tolist() == stage.cells.tolist()
        own = values.reshape(-1)[stage.cells]
        assert stage.mean == pytest.approx(sum(own) / len(own))
        assert stage.strongest == max(own, key=abs)
        assert abs(stage.strongest) >= threshold
    assert [stage.cells[0] for stage in found.found] == sorted(stage.cells[0] for stage in found.found)


def test_a_large_map_of_thousands_of_clusters_has_those_of_a_flood_fill() -> None:
    values = np.random.default_rng(8).choice([0.0, 1.0, -1.0], size=(48, 500), p=[0.6, 0.2, 0.2])
    labels = {"layer": list(range(48)), "pos": list(range(500))}
    found = find_stages(made(("layer", "pos"), values), 0.5)
    named = {frozenset((int(cell) // 500, int(cell) % 500) for cell in stage.cells) for stage in found.found}
    assert named == flooded(values, ("layer", "pos"), labels, 0.5)
    assert len(named) > 1500
    for number, stage in enumerate(found.found, 1):
        layers, tokens = np.nonzero(found.labels.reshape(48, 500) == number)
        assert stage.bounds == {"layer": (layers.min(), layers.max()), "pos": (tokens.min(), tokens.max())}


def test_a_lower_threshold_only_joins_and_grows() -> None:
    values = np.random.default_rng(3).normal(size=(6, 8))
    low, high = (find_stages(made(("layer", "pos"), values), threshold) for threshold in (0.3, 0.8))
    for stage in high.found:
        assert len(set(low.labels[stage.cells])) == 1
        assert low.labels[stage.cells[0]] > 0


def test_heads_have_no_neighbours_and_layers_of_heads_have_none_either() -> None:
    strong = np.ones((3, 4))
    assert find_stages(made(("layer", "head"), strong, site="z")).found == ()
    assert "heads and neurons have no order" in find_stages(made(("layer", "head"), strong, site="z")).words
    by_token = find_stages(made(("layer", "pos", "head"), np.ones((2, 3, 2)), site="z"))
    assert [len(stage.cells) for stage in by_token.found] == [3, 3, 3, 3]
    assert ordered_axes(("layer", "pos", "neuron")) == ("pos",)


def test_what_is_not_one_step_apart_in_the_model_does_not_hang_together() -> None:
    every_other = made(("layer", "pos"), np.ones((3, 1)), labels={"layer": [0, 2, 4], "pos": [5]})
    assert find_stages(every_other).found == ()
    assert len(find_stages(made(("layer", "pos"), np.ones((3, 1)), labels={"layer": [0, 1, 4], "pos": [5]})).found) == 1


def test_signs_are_kept_apart_and_one_cell_is_none() -> None:
    found = find_stages(made(("layer", "pos"), [[1.0, 0.9, -0.9, -1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.7, 0.0, 0.0]]))
    assert found.labels.reshape(3, 4).tolist() == [[1, 1, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert [stage.strongest for stage in found.found] == [1.0, -1.0]


def test_the_words_name_the_threshold_the_places_and_the_strongest() -> None:
    values = np.zeros((4, 8))
    values[0:2, 1], values[1:4, 5:7] = [1.0, 0.8], 0.75
    assert find_stages(made(("layer", "pos"), values), 0.6).words == (
        "2 candidate stages, neighbouring cells of 0.6 of the gap or more: layers 0–1 at ' Mary', position 1 (2 cells, "
        "strongest 1.00); layers 1–3 at ' to'–' a', positions 5–6 (6 cells, strongest 0.75)"
    )
    assert find_stages(made(("layer", "pos"), values), 2).words == (
        "none: no two neighbouring cells are 2 of the gap or more"
    )


def test_many_are_counted_and_the_first_are_listed() -> None:
    values = np.zeros((2, 8))
    values[:, ::2] = 1.0
    values[:, 7] = -1.0
    words = find_stages(made(("layer", "pos"), values)).words
    assert words.startswith("5 candidate stages")
    assert words.endswith("; and 1 more")
    assert words.count("layers 0–1") == 4


def test_raw_effects_have_none() -> None:
    assert find_stages(made(("layer", "pos"), np.ones((2, 2)) * 1e6, gap=1e-9)).words == (
        "there is no normalized effect to measure strength by"
    )
    for dtype, gap, many in (("float32", 0.03, 1), ("bfloat16", 0.03, 0), ("bfloat16", -0.03, 0), ("bfloat16", 0.2, 1)):
        found = find_stages(made(("layer", "pos"), np.ones((2, 2)), gap=gap, dtype=dtype))
        assert len(found.found) == many
        assert many or found.words == "the two runs are 0.03 apart, which is not resolved at this precision"
    same = made(("layer", "pos"), np.ones((2, 2)))
    assert find_stages(same - same).found == ()


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "half", None, True])
def test_a_threshold_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(PatchError, match="threshold must be a share of the gap above 0"):
        made(("layer",), [1.0, 1.0]).stages(wrong)


def test_the_table_of_a_sweep_tells_what_its_cells_hold() -> None:
    """On a real sweep: bounds, counts, means and strongest are those of the table's own cells."""
    result = pw.patch(models.bridge("gpt2"), models.PAIR, "resid_pre", metric=["logit_diff", "logit"]).wait()
    table, cells = result.stages(0.25), result.to_dataframe()
    assert list(table.columns) == [
        "metric", "stage", "cells", "layer_first", "layer_last", "pos_first", "pos_last", "token_first", "token_last",
        "strongest", "mean",
    ]  # fmt: skip
    assert set(table["metric"]) == {"logit_diff", "logit"}
    for row in table.itertuples():
        inside = cells[
            (cells["metric"] == row.metric)
            & cells["layer"].between(row.layer_first, row.layer_last)
            & cells["pos"].between(row.pos_first, row.pos_last)
            & (cells["normalized"].abs() >= 0.25)
            & (np.sign(cells["normalized"]) == np.sign(row.strongest))
        ]
        assert len(inside) >= row.cells >= 2
        assert row.strongest in inside["normalized"].to_numpy()
        assert row.token_first.split("/")[0] == result.provenance["texts"]["clean"][row.pos_first]
    assert len(made(("layer", "head"), np.ones((2, 2)), site="z").stages()) == 0


def test_a_map_of_a_result_has_its_clusters_where_the_cells_are_drawn() -> None:
    values = np.zeros((2, 3, 2))
    values[1, 1:, 0] = 1.0
    result = made(("layer", "pos", "head"), values, site="z")
    view, grid = heatmap_of(result), grid_of(result)
    numbers = np.frombuffer(view.stages, "<i4").reshape(view.shape)
    for row, col in np.ndindex(grid.shape):
        key = grid.key(row, col)
        assert (numbers[row, col] == 1) == (key["layer"] == 1 and key["head"] == 0 and key["pos"] >= 1)
    assert view.words["stages"].startswith("1 candidate stage, ")
    assert "head 1.0 at ' Mary'–' and', positions 1–2" in view.words["stages"]
    assert heatmap_of(result, outline=None).stages == b""
    none = heatmap_of(made(("layer", "head"), np.ones((2, 2)), site="z"))
    assert (none.stages, none.words.get("stages")) == (b"", None)


def test_stages_of_another_shape_are_refused() -> None:
    with pytest.raises(PatchError, match="stages has shape"):
        heatmap_of(made(("layer", "pos"), np.ones((2, 2)))).outline(np.ones((3, 2)), "")
