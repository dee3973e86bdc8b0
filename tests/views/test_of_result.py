"""What of a result a heatmap and a page show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.errors import FileError
from patchwidgets.result import PatchResult, make_data
from patchwidgets.views.of_result import heatmap_of


def result(clean: list[float], corrupted: list[float], **more: Any) -> PatchResult:
    """Two metrics over two layers and three heads; `patched` is 0, 1, 2, ... halves. `more` goes to the provenance."""
    patched = np.arange(12.0).reshape(2, 2, 3) / 2
    sizes = {"layer": 2, "head": 3}
    data = make_data(("layer", "head"), sizes, ("logit", "prob"), patched, np.zeros((2, 3), int), clean, corrupted, [])
    return PatchResult(data, {
        "site": "z", "direction": "denoise", "by": ["layer", "head"], "metrics": ["logit", "prob"], "bos_at": None,
        "model": "tiny", "weights": "raw", "dtype": "float32", "device": "cpu", "engine": "hooked",
        "location": "native", "check": {"controls": 1, "worst_logit_difference": 0.0},
        "versions": {"transformer-lens": "4.3.0"},
        "tokens": {"clean": [1, 2], "corrupted": [1, 3]}, "texts": {"clean": ["a", "b"], "corrupted": ["a", "c"]},
        "answer": {"token": 1, "text": "a"}, "foil": None, "revision": None, **more,
    })  # fmt: skip


def test_the_first_metric_alone_decides_what_is_coloured() -> None:
    """A small gap of another metric does not turn this one's map into raw effects."""
    view = heatmap_of(result(clean=[5.0, 0.5], corrupted=[0.0, 0.5]))
    assert (view.quantity, view.limit, view.words["unit"]) == ("normalized", 1.0, "recovered")
    assert view.array("normalized").ravel().tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert "effects below 0.0005 " in view.words["origin"]


def test_its_own_small_gap_does() -> None:
    view = heatmap_of(result(clean=[0.5, 5.0], corrupted=[0.5, 0.0]))
    assert (view.quantity, view.limit, view.words["unit"]) == ("effect", 2.0, "effect (logits)")
    assert view.array("effect").ravel().tolist() == pytest.approx([-0.5, 0.0, 0.5, 1.0, 1.5, 2.0])
    assert np.isnan(view.array("normalized")).all()


@pytest.mark.parametrize("direction", ["noise", "denoise"])
def test_an_aligned_result_has_a_gap_where_a_token_has_no_counterpart(direction: str) -> None:
    texts = {"base": ["a", "b", "c"], "other": ["a", "", "d"]}
    base, other = ("clean", "corrupted") if direction == "noise" else ("corrupted", "clean")
    alignment = [[0, 0], [1, None], [2, 1]] if direction == "noise" else [[0, 0], [None, 1], [1, 2]]
    tokens = list(zip(texts["base"], texts["other"], strict=True))
    sizes = {"layer": 1, "pos": 3}
    data = make_data(("layer", "pos"), sizes, ("logit",), np.zeros((1, 1, 3)), np.zeros((1, 3), int), [1], [0], tokens)
    given = result([1.0, 1.0], [0.0, 0.0]).provenance | {
        "site": "resid_pre", "direction": direction, "by": ["layer", "pos"], "metrics": ["logit"],
        "texts": {base: texts["base"], other: texts["other"]}, "alignment": alignment,
    }  # fmt: skip
    columns = heatmap_of(PatchResult(data, given)).columns
    assert (columns[base], columns[other]) == (["a", "b", "c"], ["a", None, "d"])
    assert columns["differs"] == [False, True, True]


def test_the_page_shows_the_first_metric_and_is_written_whole(tmp_path: Path) -> None:
    page = result(clean=[5.0, 0.5], corrupted=[0.0, 0.5]).to_html(tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert '"quantity":"normalized"' in text
    assert "prob: the two runs hardly differ" in " ".join(text.split())
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"prompts": {"clean": "a b", "corrupted": "a c"}, "n": 1}, "Clean: a b"),
        ({"prompts": {"clean": [1, 2], "corrupted": [1, 3]}, "n": 1}, "Clean: a\u2009b"),
        ({"prompts": {"clean": "a b", "corrupted": "a c"}, "n": 2}, "Clean: a\u2009b"),
        ({}, "Clean: a\u2009b"),
    ],
    ids=["as given", "ids", "several pairs", "not kept"],
)
def test_the_page_tells_the_prompts(tmp_path: Path, more: dict[str, Any], shown: str) -> None:
    page = result(clean=[5.0, 0.5], corrupted=[0.0, 0.5], **more).to_html(tmp_path / "page.html")
    assert f"<p>{shown}</p>" in page.read_text(encoding="utf-8")


def test_the_page_s_heatmap_leaves_its_title_to_the_page(tmp_path: Path) -> None:
    text = result(clean=[5.0, 0.5], corrupted=[0.0, 0.5]).to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count('<div data-pw-view="0" class="pw-page-titled"></div>') == 1


def test_a_view_takes_a_result() -> None:
    one, other = result([5.0, 0.5], [0.0, 0.5]), result([1.0, 0.5], [0.0, 0.5])
    view = pw.Heatmap(one, selected=[1, 2])
    assert view.array("normalized").ravel().tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert (view.selected, view.words) == ([1, 2], heatmap_of(one).words)
    view.show(other)
    assert view.array("normalized").ravel().tolist() == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert view.selected == []
    with pytest.raises(pw.PatchError, match="a result brings its own rows, columns and values"):
        pw.Heatmap(one, effect=[[1.0]])
    with pytest.raises(pw.PatchError, match="a result brings its own rows, columns and values"):
        view.show(one, pw.token_columns(["a"]))
    strip = pw.TokenStrip(one)
    assert (strip.columns["clean"], strip.columns["corrupted"]) == (["a", "b"], ["a", "c"])
    assert strip.columns["differs"] == [False, True]


def test_a_strip_of_an_aligned_result_has_its_gaps() -> None:
    texts = {"corrupted": ["a", "b", "c"], "clean": ["a", "", "d"]}
    given = result([1.0, 1.0], [0.0, 0.0], texts=texts, alignment=[[0, 0], [None, 1], [1, 2]])
    columns = pw.TokenStrip(given).columns
    assert (columns["corrupted"], columns["clean"]) == (["a", "b", "c"], ["a", None, "d"])


@pytest.mark.parametrize(
    ("where", "told"), [("nowhere/page.html", "there is no folder '.*nowhere'"), (".", "is a folder")]
)
def test_a_page_that_cannot_be_written_is_told_by_its_name(tmp_path, where, told):
    with pytest.raises(FileError, match=told):
        result(clean=[5.0, 0.5], corrupted=[0.0, 0.5]).to_html(tmp_path / where)
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_a_cancelled_sweep_says_what_it_lacks(tmp_path):
    whole = result(clean=[5.0, 0.5], corrupted=[0.0, 0.5])
    status = whole.data["status"].copy()
    status.values.flat[0] = "pending"
    path = tmp_path / "page.html"
    told = f"Cancelled: 1 of {status.size} cells were not measured."
    assert told in PatchResult(whole.data.assign(status=status), whole.provenance).to_html(path).read_text("utf-8")
    assert "Cancelled" not in whole.to_html(path).read_text("utf-8")
