"""The strip of a cell's pairs, from the kernel's side."""

from __future__ import annotations

from patchwidgets.views import PairStrip

PAIRS = [{"value": 0.5, "clean": "a", "corrupted": "b"}, {"value": -1.0, "clean": "<i>", "corrupted": "d"}]


def test_a_pair_that_is_there_can_be_chosen() -> None:
    view, chosen = PairStrip(PAIRS, mean=-0.25, low=None, high=None), []
    view.on_select(chosen.append)
    view._receive(view, {"type": "select", "pos": 1}, [])
    for message in ({"type": "select", "pos": 2}, {"type": "select", "pos": True}, {"type": "open", "pos": 0}, "x"):
        view._receive(view, message, [])
    assert chosen == [1]
    assert view.selected == 1


def test_what_is_shown_is_replaced_together() -> None:
    view = PairStrip(PAIRS, mean=1.0, selected=1)
    view.show(PAIRS[:1], mean=0.5, low=0.1, high=0.9, selected=-1, title="layer 1")
    assert (view.pairs, view.mean, view.low, view.high, view.selected) == (PAIRS[:1], 0.5, 0.1, 0.9, -1)
