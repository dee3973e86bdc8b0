"""The columns of two aligned prompts, and a plan's cells among them."""

from __future__ import annotations

import numpy as np
import pytest

from patchwidgets.encoding import encode_prompts
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.plan import make_plan
from patchwidgets.explorer.slots import column_of, first_status, plan_grid, spread, unavailable_words, why_unavailable
from patchwidgets.interventions import Patch, Zero
from patchwidgets.metrics import get_metrics
from patchwidgets.prompts import PromptPair
from patchwidgets.sites import get_site
from tests import models

CLEAN, CORRUPTED = (1, 5, 9, 4), (1, 6, 4)
MATCHES = [(0, 0), (2, 1), (3, 2)]  # columns: 0/0, 1/-, 2/1, 3/2


@pytest.fixture(scope="module")
def gpt2():
    return models.bridge("gpt2")


@pytest.fixture(scope="module")
def handle(gpt2):
    return handle_of(gpt2)


def plan(handle, site, by, direction="denoise", intervention=None, align=MATCHES):
    pair = encode_prompts(PromptPair(CLEAN, CORRUPTED), handle.tokenizer, align=align)
    metrics = get_metrics("kl_clean")
    return make_plan(handle, pair, get_site(site), by, Patch(direction), metrics, {}, intervention=intervention)


@pytest.mark.parametrize(("direction", "keys"), [("denoise", [0, None, 1, 2]), ("noise", [0, 1, 2, 3])])
def test_the_columns_are_both_prompts_and_the_cells_the_base_runs(handle, direction, keys):
    grid = plan_grid(plan(handle, "resid_pre", ("layer", "pos"), direction))
    assert grid.columns["numbers"] == ["0", "1/\u2013", "2/1", "3/2"]
    assert grid.columns["corrupted"][1] is None
    assert [key.get("pos") for key in grid.col_keys] == keys
    assert grid.links == [{"pos": i} for i in range(4)]
    cells = np.arange(grid.shape[0] * sum(key is not None for key in keys))
    places = grid.places(cells)
    np.testing.assert_array_equal(grid.raster[places], cells)
    assert [i % 4 for i in places[: len(cells) // grid.shape[0]]] == [
        i for i, key in enumerate(keys) if key is not None
    ]


def test_heads_at_positions_lie_row_by_row(handle):
    grid = plan_grid(plan(handle, "z", ("layer", "pos", "head")))
    heads = handle.n_heads
    assert grid.raster.reshape(grid.shape)[1].tolist() == [1, -1, heads + 1, 2 * heads + 1]


def test_a_sweep_without_positions_has_its_own_columns(handle):
    grid = plan_grid(plan(handle, "z", ("layer", "head")))
    assert grid.columns["kind"] == "labels"
    assert (grid.raster >= 0).all()


def test_what_never_will_be_measured_is_known_from_the_start(handle):
    for direction in ("denoise", "noise"):
        made = plan(handle, "resid_pre", ("layer", "pos"), direction)
        assert (first_status(made, plan_grid(made))[0] == 4).tolist() == [False, True, False, False]
    made = plan(handle, "resid_pre", ("layer", "pos"), "noise", Zero())
    assert not (first_status(made, plan_grid(made)) == 4).any()


@pytest.mark.parametrize(
    ("site", "by", "col", "told"),
    [
        ("resid_pre", ("layer", "pos"), 2, ""),
        ("resid_pre", ("layer", "pos"), 1, "stands in the clean prompt alone"),
        ("pattern", ("layer", "head", "dest", "src"), 3, "does not attend to a later one"),
    ],
)
def test_the_reason_is_the_places_own(handle, site, by, col, told):
    made = plan(handle, site, by)
    grid = plan_grid(made)
    found = why_unavailable(made, grid, 0, col)
    assert told in found
    assert bool(found) == bool(told)
    assert "one of the prompts has no token here" in unavailable_words(made)["unavailable"]
    assert ("later one" in unavailable_words(made)["unavailable"]) == ("src" in by)


def test_patterns_are_spread_over_the_columns(handle):
    pair = encode_prompts(PromptPair(CLEAN, CORRUPTED), handle.tokenizer, align=MATCHES)
    clean, corrupted = np.arange(16.0).reshape(4, 4), np.arange(9.0).reshape(3, 3)
    found = spread(pair, [clean, corrupted], ["clean", "corrupted"])
    np.testing.assert_array_equal(found[0], clean)
    np.testing.assert_array_equal(found[1][np.ix_([0, 2, 3], [0, 2, 3])], corrupted)
    assert np.isnan(found[1][1]).all()
    assert np.isnan(found[1][:, 1]).all()
    assert [column_of(pair, "corrupted", p) for p in range(3)] == [0, 2, 3]
