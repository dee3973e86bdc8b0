"""Where a sweep's cells lie on a page."""

from __future__ import annotations

import numpy as np
import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.grid import Tokens, grid_of, make_grid
from tests import models

NO_TOKENS = Tokens([], [])


@pytest.fixture(scope="module")
def gpt2() -> TransformerBridge:
    return models.bridge("gpt2")


def test_layers_down_positions_across() -> None:
    tokens = Tokens(["<s>", "a", "b"], ["<s>", "a", "c"], bos=0)
    grid = make_grid(("layer", "pos"), {"layer": [0, 1], "pos": [0, 1, 2]}, tokens)
    assert grid.shape == (2, 3)
    assert (grid.rows, grid.row_title) == (["0", "1"], "layer")
    assert grid.raster.tolist() == [0, 1, 2, 3, 4, 5]
    assert grid.columns["kind"] == "tokens"
    assert grid.columns["clean"] == ["<s>", "a", "b"]
    assert grid.columns["corrupted"] == ["<s>", "a", "c"]
    assert grid.columns["differs"] == [False, False, True]
    assert grid.columns["bos"] == 0
    assert grid.key(1, 2) == {"layer": 1, "pos": 2}


def test_layers_and_heads_down_positions_across() -> None:
    """Cells are kept layer, pos, head; the page shows layer.head by pos."""
    tokens = Tokens(["a", "b", "c"], ["a", "x", "c"])
    labels = {"layer": [0, 4], "pos": [0, 1, 2], "head": [1, 3]}
    grid = make_grid(("layer", "pos", "head"), labels, tokens)
    assert grid.shape == (4, 3)
    assert (grid.rows, grid.row_title) == (["0.1", "0.3", "4.1", "4.3"], "layer.head")
    cells = np.arange(12).reshape(2, 3, 2)
    for row in range(4):
        for col in range(3):
            assert grid.raster[row * 3 + col] == cells[row // 2, col, row % 2]
    assert grid.key(3, 1) == {"layer": 4, "head": 3, "pos": 1}
    assert grid.columns["bos"] is None


def test_heads_across_when_there_is_no_position() -> None:
    grid = make_grid(("layer", "head"), {"layer": [0, 1, 2], "head": [0, 3]}, NO_TOKENS)
    assert grid.shape == (3, 2)
    assert grid.columns == {"kind": "labels", "title": "head", "labels": ["h0", "h3"]}
    assert grid.key(2, 1) == {"layer": 2, "head": 3}


def test_one_column_when_there_are_only_layers() -> None:
    grid = make_grid(("layer",), {"layer": [2, 3]}, NO_TOKENS)
    assert grid.shape == (2, 1)
    assert grid.columns["labels"] == ["all tokens"]
    assert grid.key(1, 0) == {"layer": 3}


def test_some_positions_keep_their_own_tokens() -> None:
    tokens = Tokens(["<s>", "a", "b", "c"], ["<s>", "a", "x", "c"], bos=0)
    columns = tokens.columns([2, 3])
    assert (columns["clean"], columns["corrupted"]) == (["b", "c"], ["x", "c"])
    assert (columns["differs"], columns["bos"]) == ([True, False], None)
    assert tokens.columns([1, 0])["bos"] == 1


@pytest.mark.parametrize("by", [("layer", "pos"), ("layer", "head"), ("layer", "pos", "head"), ("layer",)])
def test_places_is_the_inverse_of_the_raster(by: tuple[str, ...]) -> None:
    labels = {"layer": [0, 1, 2], "pos": [0, 1], "head": [0, 1, 2, 3]}
    grid = make_grid(by, labels, Tokens(["a", "b"], ["a", "c"]))
    places = np.arange(grid.raster.size)
    np.testing.assert_array_equal(grid.places(grid.raster[places]), places)
    np.testing.assert_array_equal(grid.raster[grid.places(places)], places)


def test_the_grid_of_a_result_shows_each_cell_where_its_name_is(gpt2: TransformerBridge) -> None:
    result = patch(gpt2, models.PAIR, "z", by=("layer", "pos", "head"), layers=[0, 2], heads=[1, 3]).wait()
    grid = grid_of(result)
    patched = result.data["patched"].isel(metric=0)
    on_page = patched.values.reshape(-1)[grid.raster].reshape(grid.shape)
    for row in range(grid.shape[0]):
        for col in range(grid.shape[1]):
            assert on_page[row, col] == float(patched.sel(grid.key(row, col)))
    assert grid.columns["clean"] == ["[BOS]", "w1", "w2", "w3", "w4", "w5", "w6"]
    assert grid.columns["corrupted"] == ["[BOS]", "w1", "w2", "w9", "w4", "w8", "w6"]
    assert grid.columns["bos"] == 0


def test_equal_texts_of_different_tokens_are_still_a_difference(gpt2: TransformerBridge) -> None:
    """Two ids may be spelled alike; the strip marks what the model was given, as the measured cells do."""
    assert Tokens(["a", "b"], ["a", "b"]).columns([0, 1])["differs"] == [False, False]
    assert Tokens(["a", "b"], ["a", "b"], differs=[False, True]).columns([1, 0])["differs"] == [True, False]
    result = patch(gpt2, models.PAIR, "resid_pre").wait()
    for run in ("clean", "corrupted"):
        result.provenance["texts"][run][3] = "a"
    columns = grid_of(result).columns
    assert columns["differs"] == [False, False, False, True, False, True, False]
    assert columns["clean"][3] == columns["corrupted"][3] == "a"


def test_a_token_that_is_an_ellipsis_is_no_column_at_which_the_pairs_differ(gpt2: TransformerBridge) -> None:
    result = patch(gpt2, models.five_pairs(), "resid_pre").wait()
    assert result.provenance["texts"]["clean"] == ["[BOS]", "w1", "w2", "\u2026", "w4", "w5"]
    result.provenance["texts"]["clean"][4] = result.provenance["texts"]["corrupted"][4] = "\u2026"
    both = ["clean", "corrupted"]
    assert grid_of(result).columns["varies"] == [[], [], [], both, [], []]
    # A result that was saved before it held where the pairs vary tells of it by its texts.
    del result.provenance["varied"]
    assert grid_of(result).columns["varies"] == [[], [], [], both, both, []]


def test_columns_tell_per_run_where_pairs_differ() -> None:
    tokens = Tokens(["a", "\u2026", "\u2026"], ["a", "\u2026", "b"], varied={"clean": [1], "corrupted": []})
    assert tokens.columns([0, 1, 2])["varies"] == [[], ["clean"], []]
    assert tokens.columns([2, 1])["varies"] == [[], ["clean"]]
    assert "varies" not in Tokens(["a"], ["a"]).columns([0])
