"""How many sweeps found a cell, of those that reach it: against a count by hand."""

from __future__ import annotations

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.encoding import encode_pair
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.plan import make_plan
from patchwidgets.explorer.counting import count
from patchwidgets.interventions import Patch
from patchwidgets.metrics import get_metrics
from patchwidgets.sites import get_site

CLEAN = "The capital of France is"
CORRUPTED = ("The language of France is", "The capital of Italy is")


def swept(model, corrupted: str, by: tuple[str, ...] = ("layer", "pos")):
    """Return a plan and its result, as the Explorer has them."""
    handle = handle_of(model)
    pair = pw.PromptPair(CLEAN, corrupted, answer=" Paris", foil=" Rome")
    encoded = encode_pair(pair, handle.tokenizer)
    plan = make_plan(handle, encoded, get_site("resid_pre"), by, Patch("denoise"), get_metrics("logit_diff"))
    return plan, pw.patch(model, pair, "resid_pre", by=by).wait()


def by_hand(found, threshold: float):
    """Return for every cell how many found it, and how many reach it, in plain loops over the data frames."""
    frames = [result.to_dataframe() for _, result in found]
    hits, reached = [], []
    for i in range(len(frames[0])):
        rows = [frame.iloc[i] for frame in frames]
        measured = [row for row in rows if row["status"] == "measured"]
        reached.append(len(measured))
        hits.append(sum(abs(row["normalized"]) >= threshold for row in measured))
    return np.array(hits), np.array(reached)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.9])
def test_a_cell_is_found_by_those_that_reach_it(model, threshold):
    found = [swept(model, corrupted) for corrupted in CORRUPTED]
    counted = count(found, threshold)
    hits, reached = by_hand(found, threshold)
    shape = counted.hits.shape
    np.testing.assert_array_equal(counted.hits, hits.reshape(shape))
    np.testing.assert_array_equal(counted.reached, reached.reshape(shape))
    assert set(np.unique(reached)) == {0, 1, 2}
    with np.errstate(invalid="ignore"):
        share = np.where(reached > 0, hits / reached, 0.0)
    np.testing.assert_allclose(counted.shares, share.reshape(shape))
    assert counted.uneven
    classes = counted.classes.reshape(-1)
    for name, of, n in zip(classes, reached, hits, strict=True):
        assert name == ("none" if n == 0 else "all" if n == of == 2 else "one" if n == 1 else "some")
    np.testing.assert_array_equal(counted.marks.reshape(-1) > 0, reached > 0)
    told = {name: int(((classes == name) & (reached > 0)).sum()) for name in ("all", "some", "one", "none")}
    assert counted.summary(threshold, "recovered") == (
        f"Cells found by 2 kinds at |recovered| \u2265 {threshold:g}: {told['all']} by all, {told['some']} by some, "
        f"{told['one']} by one, {told['none']} by none, of those that reach the cell."
    )
    assert "two at least" in counted.words(threshold, "recovered")["mark_1"]


def test_without_positions_every_kind_reaches_every_cell(model):
    found = [swept(model, corrupted, ("layer",)) for corrupted in CORRUPTED]
    counted = count(found, 0.3)
    assert not counted.uneven
    assert (counted.reached == 2).all()
    assert counted.words(0.3, "recovered")["mark_1"] == "found by all 2 kinds"
    assert "sentence" not in counted.words(0.3, "recovered")
    assert counted.summary(0.3, "recovered").endswith("0 by none.")


def test_one_kind_alone_is_all(model):
    counted = count([swept(model, CORRUPTED[1])], 0.3)
    assert set(counted.classes[counted.hits == 1]) == {"all"}


def test_tables_of_other_sizes_are_refused(model):
    plan, result = swept(model, CORRUPTED[1])
    other = swept(model, CORRUPTED[1], ("layer",))
    with pytest.raises(pw.PatchError, match="different sizes"):
        count([(plan, result), other], 0.3)


def test_of_one_kind_the_words_are_in_the_singular(model):
    counted = count([swept(model, CORRUPTED[0])], 0.3)
    assert counted.words(0.3, "recovered")["mark_1"] == "found by the one kind there is"
    assert counted.summary(0.3, "recovered").startswith("Cells found by 1 kind at ")
