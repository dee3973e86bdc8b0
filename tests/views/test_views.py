"""The Python half of the views: what they hold, what they send, what they take from the page."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from patchwidgets.errors import PatchError
from patchwidgets.views import (
    STATUSES,
    AttentionView,
    CopyButton,
    Heatmap,
    Predictions,
    ShelfView,
    TokenStrip,
    label_columns,
    token_columns,
)

HEADS = label_columns("head", ["0", "1", "2"])


def heatmap(**more: Any) -> Heatmap:
    values = np.arange(6.0).reshape(2, 3) / 10
    return Heatmap(
        ["0", "1"], HEADS, normalized=values, effect=5 * values, patched=5 * values - 2, status=np.zeros((2, 3)), **more
    )


def floats(data: bytes) -> list[float]:
    return np.frombuffer(data, "<f4").tolist()


def test_a_terminal_prints_a_view_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bundles: list[dict[str, str]] = []
    monkeypatch.setattr("patchwidgets.views.base.display", lambda data, **_: bundles.append(data))
    heatmap()._ipython_display_()
    kept, live = bundles
    assert "A Heatmap was here." in kept["text/html"]
    assert kept["text/plain"] == ""
    assert "Heatmap" in live["text/plain"]
    assert "was here" not in live["text/plain"]


def test_a_closed_view_is_gone() -> None:
    view = heatmap()
    held = weakref.ref(view)
    view.close()
    del view
    gc.collect()
    assert held() is None


def test_token_columns_mark_where_texts_differ() -> None:
    columns = token_columns([" When", " Mary"], [" When", " Anna"], bos=0)
    assert columns["differs"] == [False, True]
    assert columns["bos"] == 0
    assert token_columns(["a", "a"], ["a", "a"], differs=[False, True])["differs"] == [False, True]


def test_token_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(PatchError, match="3 clean tokens and 2 corrupted ones: align the prompts first"):
        token_columns(["a", "b", "c"], ["a", "b"])
    with pytest.raises(PatchError, match="differs has 1 entries for 2 tokens"):
        token_columns(["a", "b"], differs=[True])
    with pytest.raises(PatchError, match="numbers has 1 entries for 2 tokens"):
        token_columns(["a", "b"], numbers=["0"])


def test_a_gap_differs_and_columns_may_be_numbered() -> None:
    columns = token_columns(["a", None, "c"], ["a", "b", "c"], numbers=["0", "-/1", "1/2"])
    assert columns["clean"] == ["a", None, "c"]
    assert columns["differs"] == [False, True, False]
    assert columns["numbers"] == ["0", "-/1", "1/2"]
    assert "numbers" not in token_columns(["a"])


def test_the_strip_tells_of_edits_while_it_is_edited() -> None:
    strip, seen = TokenStrip(token_columns(["a", "b"], ["a", None])), []
    end = strip.on_edit(lambda *edit: seen.append(edit))
    pair = {"type": "pair", "clean": 1, "corrupted": 0}
    strip._handle(pair)
    assert seen == []
    strip.editing = "proposed"
    for message in (
        pair,
        {"type": "pair", "clean": 1, "corrupted": 1},  # a gap is no token
        {"type": "pair", "clean": 2, "corrupted": 0},
        {"type": "unpair", "clean": -1, "corrupted": 0},
        {"type": "unpair", "clean": -1, "corrupted": -1},
        {"type": "reset"},
    ):
        strip._handle(message)
    assert seen == [("pair", 1, 0), ("unpair", None, 0), ("reset", None, None)]
    end()
    strip._handle(pair)
    assert len(seen) == 3


def test_binary_traits_are_little_endian_and_row_major() -> None:
    state = heatmap().get_state()
    assert floats(state["normalized"]) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert floats(state["effect"]) == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])
    assert list(state["status"]) == [0] * 6
    assert state["kind"] == "heatmap"


def test_what_is_not_given_is_pending_and_has_no_value() -> None:
    empty = Heatmap(["0", "1"], HEADS)
    assert empty.value(1, 2)["status"] == "pending"
    assert np.isnan(empty.array("normalized")).all()
    assert Heatmap().shape == (0, 0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"normalized": np.zeros((3, 2))}, r"normalized has shape \(3, 2\); its rows and columns ask for \(2, 3\)"),
        ({"status": np.zeros(6)}, r"status has shape \(6,\)"),
        ({"status": np.full((2, 3), 5)}, "status holds codes outside 0..4 "),
    ],
)
def test_arrays_of_another_shape_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchError, match=message):
        Heatmap(["0", "1"], HEADS, **arrays)


def test_update_cells_sends_these_cells_and_merges_them() -> None:
    view = heatmap()
    view.update_cells([4, 0], [0.75, -0.5], [3.0, -2.0], [1.0, -4.0], [2, 0])
    [(content, buffers)] = view.comm.messages()
    assert content == {"type": "cells"}
    assert np.frombuffer(buffers[0], "<i4").tolist() == [4, 0]
    assert [floats(buffer) for buffer in buffers[1:4]] == [[0.75, -0.5], [3.0, -2.0], [1.0, -4.0]]
    assert list(buffers[4]) == [2, 0]
    assert view.value(1, 1) == {"normalized": 0.75, "effect": 3.0, "patched": 1.0, "status": "estimated"}
    # A page that loads now gets what the message brought.
    assert floats(view.get_state()["normalized"]) == pytest.approx([-0.5, 0.1, 0.2, 0.3, 0.75, 0.5])


@pytest.mark.parametrize(
    ("indices", "values", "message"),
    [
        ([6], [0.0], "an index outside the 6 cells"),
        ([-1], [0.0], "an index outside the 6 cells"),
        ([0, 1], [0.0], "2 indices and 1 values of normalized"),
    ],
)
def test_update_cells_refuses_what_fits_no_cell(indices: list[int], values: list[float], message: str) -> None:
    view = heatmap()
    with pytest.raises(PatchError, match=message):
        view.update_cells(indices, values, values, values, [0] * len(indices))
    assert view.comm.messages() == []
    assert view.value(0, 0)["normalized"] == 0


def test_flush_sends_the_data_traits_whole() -> None:
    view = heatmap()
    view.update_cells([5], [1.0], [5.0], [3.0], [0])
    view.flush()
    [state] = view.comm.states()
    assert set(state) == {"normalized", "effect", "patched", "status", "low", "high", "row_means", "col_means"}
    assert floats(state["normalized"])[5] == 1.0


def test_show_replaces_grid_and_values_in_one_message_even_when_equal_to_the_first() -> None:
    view = Heatmap(["0", "1"], HEADS)
    view.update_cells([0], [1.0], [5.0], [3.0], [0])
    view.selected = [0, 0]
    before = len(view.comm.states())
    view.show(["0", "1"], HEADS, state="running")
    [state] = view.comm.states()[before:]
    assert np.isnan(floats(state["normalized"])).all()
    assert list(state["status"]) == [STATUSES.index("pending")] * 6
    assert state["state"] == "running"
    assert state["selected"] == []


def test_updates_from_many_threads_are_all_kept() -> None:
    view = Heatmap([str(i) for i in range(8)], label_columns("head", [str(i) for i in range(50)]))

    def fill(row: int) -> None:
        for col in range(50):
            view.update_cells([50 * row + col], [row], [row], [row], [0])

    threads = [threading.Thread(target=fill, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (view.array("normalized") == np.arange(8.0)[:, None]).all()
    assert len(view.comm.messages()) == 400


def test_a_selection_sets_the_trait_and_calls_the_listeners() -> None:
    view, seen = heatmap(), []
    end = view.on_select(lambda row, col: seen.append((row, col, list(view.selected))))
    view.comm.receive({"type": "select", "row": 1, "col": 2})
    assert seen == [(1, 2, [1, 2])]
    end()
    end()
    view.comm.receive({"type": "select", "row": 0, "col": 0})
    assert len(seen) == 1
    assert view.selected == [0, 0]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "select", "row": 2, "col": 0},
        {"type": "select", "row": -1, "col": 0},
        {"type": "select", "row": "0", "col": 0},
        {"type": "select", "row": True, "col": 0},
        {"type": "select", "row": 0},
        {"type": "run", "row": 0, "col": 0},
        {},
    ],
)
def test_a_message_that_names_no_cell_does_nothing(message: dict[str, Any]) -> None:
    view, seen = heatmap(), []
    view.on_select(lambda row, col: seen.append((row, col)))
    view.comm.receive(message)
    assert seen == []
    assert view.selected == []


def test_a_listener_that_fails_is_logged_and_keeps_no_other_from_being_called(caplog: pytest.LogCaptureFixture) -> None:
    view, seen = heatmap(), []
    view.on_select(lambda row, col: [][row])
    view.on_select(lambda row, col: seen.append((row, col)))
    view.comm.receive({"type": "select", "row": 1, "col": 0})
    assert seen == [(1, 0)]
    assert "A listener of Heatmap failed" in caplog.text


def test_a_token_strip_takes_a_position() -> None:
    strip, seen = TokenStrip(token_columns(["a", "b"])), []
    strip.on_select(seen.append)
    strip.comm.receive({"type": "select", "pos": 1})
    strip.comm.receive({"type": "select", "pos": 2})
    assert (strip.selected, seen) == (1, [1])


def test_an_attention_view_takes_a_destination() -> None:
    patterns = np.tril(np.full((2, 3, 3), 0.25))
    view = AttentionView(token_columns(["a", "b", "c"]), {"clean": "clean", "patched": "patched"}, patterns)
    assert view.dest == 2
    assert floats(view.get_state()["patterns"]) == patterns.ravel().tolist()
    seen: list[int] = []
    view.on_dest(seen.append)
    view.comm.receive({"type": "dest", "pos": 0})
    assert (view.dest, seen) == (0, [0])


def test_an_attention_view_shows_another_head_in_one_message() -> None:
    view = AttentionView(token_columns(["a"]), {"clean": "clean"}, [[[1.0]]])
    view.show(token_columns(["a", "b"]), {"corrupted": "corrupted"}, np.ones((1, 2, 2)), title="head 1.1")
    [state] = view.comm.states()
    assert (state["title"], state["dest"], len(state["patterns"])) == ("head 1.1", 1, 16)


def test_attention_of_another_shape_or_run_is_refused() -> None:
    with pytest.raises(PatchError, match=r"patterns has shape \(1, 2, 3\)"):
        AttentionView(token_columns(["a", "b"]), {"clean": "clean"}, np.zeros((1, 2, 3)))
    with pytest.raises(PatchError, match="unknown run 'base'; known: clean, corrupted, patched"):
        AttentionView(token_columns(["a"]), {"base": "base"}, [[[1.0]]])


def test_attention_has_other_choices() -> None:
    weights, difference = np.eye(2)[None], np.array([[[0.0, 0.0], [-0.5, 0.5]]])
    more = [{"label": "Difference", "runs": {"difference": "clean - corrupted"}, "patterns": difference, "limit": 0.5}]
    view = AttentionView(token_columns(["a", "b"]), {"clean": "clean"}, weights, more=more)
    assert view.more == [
        {
            "label": "Difference",
            "note": "",
            "runs": [{"name": "difference", "label": "clean - corrupted"}],
            "limit": 0.5,
        }
    ]
    np.testing.assert_array_equal(np.frombuffer(view.patterns, "<f4").reshape(2, 2, 2), [weights[0], difference[0]])
    view._handle({"type": "choose", "choice": 1})
    assert view.chosen == 1
    for wrong in (2, -1, True, "1", None):
        view._handle({"type": "choose", "choice": wrong})
        assert view.chosen == 1
    with pytest.raises(PatchError, match="unknown run 'difference'"):
        view.show(view.columns, {"clean": "clean"}, weights, more=[{**more[0], "limit": 0.0}])
    with pytest.raises(PatchError, match="patterns has shape"):
        view.show(view.columns, {"clean": "clean"}, weights, more=[{**more[0], "patterns": weights[0]}])


def test_predictions_are_checked() -> None:
    row = {"token": " Mary", "prob": np.float32(0.5), "logit": 3}
    view = Predictions([{"name": "clean", "label": "clean", "rows": [row]}])
    assert view.tables[0]["rows"] == [{"token": " Mary", "prob": 0.5, "logit": 3.0, "mark": ""}]
    with pytest.raises(PatchError, match="a prediction row lacks logit, prob"):
        view.show([{"name": "clean", "label": "clean", "rows": [{"token": "a"}]}])
    view.show([{"name": "clean", "label": "clean", "rows": [{"token": "a", "logit": 2}]}], quantity="logit")
    assert view.tables[0]["rows"] == [{"token": "a", "logit": 2.0, "mark": ""}]
    with pytest.raises(PatchError, match="a prediction row lacks prob"):
        view.show(view.tables, quantity="prob")
    with pytest.raises(PatchError, match="unknown mark 'best'"):
        view.show([{"name": "clean", "label": "clean", "rows": [{**row, "mark": "best"}]}])
    with pytest.raises(PatchError, match="unknown run 'x'"):
        view.show([{"name": "x", "label": "x", "rows": []}])


def test_marks_ring_cells_and_go_with_the_grid() -> None:
    view = heatmap(marks=[[0, 1, 2], [0, 0, 0]])
    assert list(view.marks) == [0, 1, 2, 0, 0, 0]
    view.show(["0"], HEADS, normalized=[[0.0, 0.1, 0.2]])
    assert view.marks == b""
    for wrong in ([[0, 1]], [[0, 0, 7], [0, 0, 0]]):
        with pytest.raises(
            PatchError, match=r"marks must hold 0, 1 or 2, each with or without 4, or 3 or 8, in the shape \(2, 3\)"
        ):
            heatmap(marks=wrong)


def test_the_shelf_tells_of_what_it_lists() -> None:
    view = ShelfView([{"id": 3, "name": "z", "detail": "16 cells"}])
    heard: list[tuple[str, int]] = []
    view.on_action(lambda action, entry: heard.append((action, entry)))
    for message in (
        {"type": "show", "id": 3}, {"type": "a", "id": 3}, {"type": "clear", "id": -1}, {"type": "undo"},
        {"type": "show", "id": 4}, {"type": "show", "id": True}, {"type": "show", "id": "3"}, {"type": "eval", "id": 3},
    ):  # fmt: skip
        view._receive(view, message, [])
    assert heard == [("show", 3), ("a", 3), ("clear", -1), ("undo", -1)]
    with pytest.raises(PatchError, match="an entry of the shelf lacks detail, id"):
        view.show([{"name": "z"}])


def test_a_copy_button_is_given_the_text_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    view = CopyButton("Copy code")
    sent: list[object] = []
    monkeypatch.setattr(view, "send", sent.append)
    view._receive(view, {"type": "copy"}, [])
    view.on_ask(lambda: "print(1)")
    view._receive(view, {"type": "copy"}, [])
    view._receive(view, {"type": "other"}, [])
    assert sent == [{"type": "text", "text": None}, {"type": "text", "text": "print(1)"}]


def test_means_are_of_absolute_values_of_the_cells_that_have_one() -> None:
    values = [[1.0, -1.0, np.nan], [0.0, np.nan, np.nan]]
    view = Heatmap(["0", "1"], HEADS, normalized=values, effect=[[2, 4, 6], [1, 1, 1]], status=[[0, 0, 3], [1, 4, 3]])
    assert np.isnan(view.mean_sizes("row")).all()  # The last cell of either is pending.
    columns = view.mean_sizes("col").tolist()
    assert columns[:2] == [0.5, 1.0]
    assert np.isnan(columns[2])
    view.quantity = "effect"
    assert view.mean_sizes("row").tolist() == [4.0, 1.0]
    assert floats(view.get_state(["col_means"])["col_means"]) == [1.5, 2.5, 3.5]


def test_a_row_of_which_a_cell_is_pending_has_no_mean() -> None:
    view = Heatmap(["0", "1"], HEADS, normalized=[[0, np.nan, np.nan], [0, 0.5, np.nan]], status=[[1, 3, 3], [1, 0, 4]])
    assert np.isnan(view.mean_sizes("row")[0])
    assert view.mean_sizes("row")[1] == 0.25
    assert view.mean_sizes("col")[0] == 0
    assert np.isnan(view.mean_sizes("col")[1:]).all()
    view.update_cells([1, 2], [-1.0, 0.5], [0, 0], [0, 0], [0, 0])
    np.testing.assert_allclose(view.mean_sizes("row"), [0.5, 0.25])


def test_means_go_out_with_cells_with_a_grid_and_with_another_quantity() -> None:
    view = heatmap()
    view.comm.sent.clear()
    view.update_cells([0], [0.6], [0.0], [0.0], [0])
    [(_, buffers)] = view.comm.messages()
    assert floats(buffers[5]) == pytest.approx([np.mean([0.6, 0.1, 0.2]), np.mean([0.3, 0.4, 0.5])])
    assert floats(buffers[6]) == pytest.approx([0.45, 0.25, 0.35])
    view.quantity = "effect"
    assert [floats(state["row_means"]) for state in view.comm.states() if "row_means" in state] == [[0.5, 2.0]]
    view.comm.sent.clear()
    view.show(["0"], HEADS, effect=[[1.0, 2.0, 3.0]], status=[[0, 0, 0]])
    assert [floats(state["row_means"]) for state in view.comm.states()] == [[2.0]]


def test_a_typed_limit_stays_while_the_unit_does() -> None:
    view = heatmap(words={"unit": "recovered"})
    for value in (0.5, True, "2", -1.0, float("nan"), float("inf"), 1e10, None):
        view._handle({"type": "limit", "value": value})
        assert view.fixed_limit == 0.5
    cells = np.zeros((2, 3))
    view.show(["0", "1"], HEADS, normalized=cells, effect=cells, words={"unit": "destroyed"})
    assert view.fixed_limit == 0.5
    view.show(["0", "1"], HEADS, effect=cells, quantity="effect", words={"unit": "effect (logits)"})
    assert view.fixed_limit == 0.0
    view._handle({"type": "limit", "value": 3})
    view.show(["0", "1"], HEADS, effect=cells, quantity="effect", words={"unit": "effect (nats)"})
    assert view.fixed_limit == 0.0
