"""A dataset in the Explorer: what is swept is said, and every number is that of the pairs swept one by one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets import generators, stats
from patchwidgets.engine.handle import handle_of
from patchwidgets.explorer.sets import Sets
from patchwidgets.views.heatmap import UNSURE

DATA = generators.ioi(10, "ABA", seed=5)
WRONG = pw.PromptPair(DATA[0].clean, DATA[0].corrupted, answer=" key", foil=DATA[0].foil)


@pytest.fixture
def many(model):
    made = pw.explore(model, pw.Dataset([*DATA, WRONG], name="ten and one"))
    made.wait()
    yield made
    made.close()


def told(explorer: Any) -> str:
    return explorer._form.many.told.value


def test_means_and_intervals_are_those_of_single_pairs(model, many, select):
    many.run()
    result = many.wait()
    assert result.n == 10
    assert told(many).startswith("11 pairs, 10 of them answered rightly (the answer first after clean, the foil")
    alone = [pw.patch(model, pair, "resid_pre").wait() for pair in DATA]
    patched = np.stack([one.data["patched"].values[0] for one in alone])
    clean, corrupted = (np.array([getattr(one, run) for one in alone]) for run in ("clean", "corrupted"))
    mean = (patched - corrupted[:, None, None]).mean(0) / (clean - corrupted).mean()
    view = many._screen.map.view
    np.testing.assert_allclose(view.array("normalized"), mean, rtol=0, atol=1e-4)
    low, high = stats.bootstrap_normalized(patched, corrupted, clean)
    implied = view.array("status") == 1
    np.testing.assert_allclose(view.array("low")[~implied], low[~implied], rtol=0, atol=1e-4)
    np.testing.assert_allclose(view.array("high")[~implied], high[~implied], rtol=0, atol=1e-4)
    assert np.isnan(view.array("low")[implied]).all()
    marks = np.frombuffer(view.marks, dtype=np.uint8).reshape(view.shape)
    resolved = 1e-4  # of the gap, in float32
    np.testing.assert_array_equal(marks == UNSURE, (low <= resolved) & (high >= -resolved) & ~implied)
    assert view.words["note"] == "Means over 10 pairs."

    select(view, 2, 10)
    strip = many._screen.pairs.view
    each = (patched[:, 2, 10] - corrupted) / (clean - corrupted).mean()
    assert [pair["value"] for pair in strip.pairs] == pytest.approx(each.tolist(), abs=1e-4)
    assert [pair["clean"] for pair in strip.pairs] == [pair.clean for pair in DATA]
    assert (strip.mean, strip.low, strip.high) == pytest.approx((mean[2, 10], low[2, 10], high[2, 10]), abs=1e-4)
    own = (patched[:, 2, 10] - corrupted) / (clean - corrupted)
    assert [pair["own"] for pair in strip.pairs] == pytest.approx(own.tolist(), abs=1e-4)
    assert (strip.unit, strip.own) == ("recovered, of the mean gap", "recovered, of its own gap")
    assert f"over the mean gap of the pairs, {(clean - corrupted).mean():.2f}, as the cell is" in strip.note
    assert f"Above 0 in {(each > 0).sum()} of 10 pairs." in strip.note
    assert many.selection.iloc[0].ci_low == pytest.approx(low[2, 10], abs=1e-4)


def test_a_pair_counts_as_above_0_where_its_effect_is_resolved(many, select):
    many.run()
    result = many.wait()
    gap = float(result.data["clean"].values[0] - result.data["corrupted"].values[0])
    each = (result.data["patched_pairs"].values[0] - result.data["corrupted_pairs"].values[0][:, None, None]) / gap
    view, strip = many._screen.map.view, many._screen.pairs.view
    rounded = each[:, 0, 11]
    assert (rounded != 0).any()
    assert np.abs(rounded).max() < 1e-4
    select(view, 0, 11)
    assert "Above 0 in 0 of 10 pairs; in 10 its size is at most 0.0001, which is not resolved. " in strip.note
    some = each[:, 3, 12]
    select(view, 3, 12)
    above, unresolved = int((some > 1e-4).sum()), int((np.abs(some) <= 1e-4).sum())
    assert above
    assert unresolved
    told = f"Above 0 in {above} of 10 pairs; in {unresolved} its size is at most 0.0001, which is not resolved. "
    assert told in strip.note
    select(view, 0, 3)
    assert view.array("status")[0, 3] == 1
    assert "Above 0 in 0 of 10 pairs. " in strip.note


def test_a_pair_of_the_strip_opens_the_cell_in_that_pair(many, select):
    many.run()
    many.wait()
    select(many._screen.map.view, 2, 10)
    many.wait()
    assert many._drilldown.opened.plan.pair.given[0] == DATA[0].clean
    many._screen.pairs.view._receive(None, {"type": "select", "pos": 7}, [])
    many.wait()
    assert many._drilldown.opened.plan.pair.given[0] == DATA[7].clean
    assert many._drilldown.opened.cell == {"layer": 2, "pos": 10}
    about = many._drilldown.about.value
    assert about.startswith("Pair 8 of 10: ")
    assert DATA[7].clean[-30:] in about
    assert DATA[7].corrupted[:30] in about
    assert "measured in this pair alone, by its own gap" in about
    own = many._screen.pairs.view.pairs[7]["own"]
    parts = many._drilldown.parts
    at = parts.columns["labels"].index("resid_pre")
    assert parts.value(0, at)["normalized"] == pytest.approx(own, abs=1e-4)
    select(many._screen.map.view, 1, 10)
    assert many._screen.pairs.view.selected == 0
    assert many._screen.pairs.view.title == "layer 1, position 10: its 10 pairs"


def test_another_cell_of_the_same_pair_has_its_plain_runs(many):
    many.run().wait(120)
    kept = []
    for cell in ((1, 3), (2, 4)):
        many._screen.select(*cell)
        many.wait(120)
        kept.append(many._drilldown._inspector[1])
    assert kept[0] is kept[1]


def test_intervals_come_with_the_first_pairs_and_narrow(many):
    view, seen = many._screen.map.view, []

    def look(change: dict[str, Any]) -> None:
        if "low" in view.value(0, 0) and not np.isnan(view.array("normalized")).any():
            seen.append((view.words["note"], np.nanmean(view.array("high") - view.array("low"))))

    view.observe(look, "low")
    many.run()
    many.wait()
    notes = list(dict(seen))
    assert notes == ["Means over 4 pairs.", "Means over 8 pairs.", "Means over 10 pairs."]
    assert dict(seen)[notes[0]] > dict(seen)[notes[-1]]


def test_from_a_dataset_to_one_pair_and_back(explorer, select):
    before = explorer.settings
    explorer.run()
    explorer.wait()
    explorer._form.many.which.value = "Induction"
    explorer._form.many.n.value = 12
    result = explorer.wait()
    assert explorer.settings["dataset"] == {"name": "Induction", "n": 12, "seed": 0}
    assert result.n == 12
    assert explorer._entry.clean.value == before["clean"]
    assert explorer._entry.preset.layout.display == "none"
    assert "mean over 12 pairs of Induction" in explorer._shelf.view.entries[0]["detail"]
    select(explorer._screen.map.view, 1, 3)
    assert len(explorer._screen.pairs.view.pairs) == 12
    assert "Pair 1 of 12: " in explorer._drilldown.about.value
    columns = explorer._screen.map.view.columns
    for run in ("clean", "corrupted"):
        assert [run in runs for runs in columns["varies"]] == [text == "\u2026" for text in columns[run]]
    assert any(columns["varies"])
    explorer._form.many.which.value = ""
    assert explorer.wait().n == 1
    assert explorer._drilldown.about.value == ""
    assert "varies" not in explorer._screen.map.view.columns
    assert explorer.settings == before
    assert explorer._screen.pairs.view.pairs == []
    assert explorer._entry.preset.layout.display is None
    explorer._shelf.step(-1)
    assert explorer.wait().n == 12


def test_settings_take_a_dataset_by_name(explorer):
    explorer.settings = {"dataset": "IOI, BAB"}
    explorer.wait()
    assert explorer.settings["dataset"] == {"name": "IOI, BAB", "n": 32, "seed": 0}
    assert told(explorer) == "32 pairs, 32 of them answered rightly (the answer first after clean)."
    explorer.settings = {"dataset": {"name": "Facts", "n": 8, "seed": 3}, "site": "z"}
    explorer.run()
    result = explorer.wait()
    asked = pw.patch(explorer._model, pw.right(explorer._model, generators.facts(8, seed=3)), "z").wait()
    np.testing.assert_allclose(result.normalized, asked.normalized, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("assigned", "why"),
    [
        ("Inductoin", "unknown dataset 'Inductoin'; did you mean 'Induction'"),
        ({"n": 3}, "dataset must be None or settings such as"),
        ({"name": "Induction", "n": 1}, "n must be"),
        ({"name": "Induction", "n": 2000}, "has at most 1000 pairs here, not 2000"),
        ({"name": "Induction", "size": 3}, "unknown setting of a dataset 'size'"),
        (3, "dataset must be None"),
    ],
)
def test_what_nobody_knows_is_refused(explorer, assigned, why):
    before = explorer.settings
    with pytest.raises(pw.PatchError, match=why):
        explorer.settings = {"dataset": assigned}
    assert explorer.settings == before


def test_what_cannot_be_swept_is_said_above_the_map(explorer):
    explorer.settings = {"dataset": "Addition"}
    explorer.wait()
    assert "the answer &#x27;122&#x27; is 2 tokens" in explorer._screen.error.value
    with pytest.raises(pw.PatchError, match="is 2 tokens"):
        explorer.run()
    explorer.settings = {"dataset": None}
    explorer.wait()
    assert explorer._screen.error.value == ""


def test_pairs_of_other_lengths_are_left_out_where_positions_are_swept(model):
    mixed = pw.Dataset([*DATA[:3], *generators.facts(2)], name="mixed")
    sets = Sets(handle_of(model), mixed)
    drawn = sets.read(sets.asked("mixed"), needs_foil=True)
    assert len(drawn.of(("layer", "pos"), "denoise")) == 3
    assert len(drawn.of(("layer", "head"), "denoise")) == 5
    assert drawn.told(("layer", "pos"), "denoise").endswith(
        "3 of those have 15 tokens, and a position must mean one thing."
    )


def test_cancelled_the_pairs_that_are_done_are_shown(many, brake):
    brake.on()
    run = many.run()
    brake.until_reached()
    many.cancel()
    brake.off()
    many.wait()
    assert run.cancelled
    assert many._screen.map.view.state == "cancelled"
    assert many.shelf == []


def test_a_saved_shelf_brings_a_dataset_back(model, many, tmp_path):
    many.run()
    result = many.wait()
    many.save_shelf(tmp_path / "kept")
    again = pw.explore(model, pw.Dataset([*DATA, WRONG], name="ten and one"))
    assert again.load_shelf(tmp_path / "kept") == 1
    again.wait()
    again._shelf._asked("show", 1)
    assert again.wait().n == 10
    np.testing.assert_array_equal(again.result.data["patched"], result.data["patched"])
    again.close()
    alone = pw.explore(model)
    alone.load_shelf(tmp_path / "kept")
    alone._shelf._asked("show", 1)
    assert "unknown dataset 'ten and one'" in alone._shelf.view.told
    alone.close()


IMPORTS = """
import sys
from importlib.abc import MetaPathFinder
import patchwidgets as pw

class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "scipy.stats":
            print("the page waits:", explorer._lock._is_owned())

explorer = pw.explore()
explorer.wait()
sys.meta_path.insert(0, Watch())
explorer.settings = {"dataset": {"name": "Induction", "n": 2, "seed": 0}}
explorer.run()
assert explorer.wait().n == 2
"""


def test_scipy_is_imported_while_nothing_on_the_page_waits():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "the page waits: False\n"), done.stderr
