"""What is kept of a sweep's cells: found at the positions asked for, counted in bytes, and never beyond its bound."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.lanes import Lane
from patchwidgets.engine.patch import encode, patch
from patchwidgets.engine.replay.finals import _FINALS, Finals
from patchwidgets.engine.replay.items import Item
from patchwidgets.engine.replay.seams import ENTRY
from patchwidgets.sites import get_site
from tests import models


@pytest.fixture(scope="module")
def lane() -> Lane:
    """The pair's text."""
    model = models.bridge()  # A handle does not keep its model alive.
    return Lane(0, encode(handle_of(model), models.PAIR, needs_answer=True, needs_foil=True)[0], 0, 0, "both")


def item(lane: Lane, position: int) -> Item:
    """A run that is patched at a position of the first layer."""
    target = (get_site("resid_pre"), {"layer": 0, "pos": position})
    return Item(lane, 0, {0: {ENTRY: [target]}}, 0, position)


def rows(count: int, of: float = 0.0) -> torch.Tensor:
    """Rows [pos, d] whose entries tell their position."""
    return torch.arange(count, dtype=torch.float64)[:, None].expand(count, 4) + of


@pytest.fixture
def proof(lane: Lane) -> dict[str, bytes]:
    """Digests of the lane's plain runs."""
    return {"base": b"1", get_site("resid_pre").hook_name(0): b"2"}


def test_rows_are_found_at_the_positions_asked_for(lane: Lane, proof: dict[str, bytes]) -> None:
    """Positions 2 to 5 are kept; what reaches beyond them is not known."""
    finals = Finals()
    finals.add(item(lane, 3), "corrupted", 2, rows(4), proof, 10_000)
    for reads, expected in (((2, 5), [0, 1, 2, 3]), ((3, 4), [1, 2]), ((5, 5), [3])):
        found = finals.find(item(lane, 3), "corrupted", reads, proof)
        assert found is not None
        assert found[:, 0].tolist() == expected
    for reads in ((1, 3), (4, 6), (6, 6)):
        assert finals.find(item(lane, 3), "corrupted", reads, proof) is None
    assert finals.find(item(lane, 4), "corrupted", (3, 4), proof) is None
    assert finals.find(item(lane, 3), "clean", (3, 4), proof) is None


def test_other_plain_runs_know_nothing(lane: Lane, proof: dict[str, bytes]) -> None:
    """And what they give takes the place of what was there."""
    finals = Finals()
    finals.add(item(lane, 3), "corrupted", 2, rows(4), proof, 10_000)
    for name in proof:
        assert finals.find(item(lane, 3), "corrupted", (2, 5), {**proof, name: b"other"}) is None
    finals.add(item(lane, 4), "corrupted", 2, rows(4, 7.0), {**proof, "base": b"other"}, 10_000)
    assert len(finals) == 1
    assert finals.bytes == rows(4).nbytes
    assert finals.find(item(lane, 3), "corrupted", (2, 5), proof) is None


def test_bytes_are_counted_and_bounded(lane: Lane, proof: dict[str, bytes]) -> None:
    """Longer rows take the place of shorter ones of the same run, and the bound may just be reached."""
    finals, one = Finals(), rows(1).numel() * 8
    finals.add(item(lane, 3), "corrupted", 5, rows(1), proof, 3 * one)
    assert finals.bytes == one
    finals.add(item(lane, 3), "corrupted", 5, rows(1, 9.0), proof, 3 * one)
    assert finals.bytes == one
    finals.add(item(lane, 3), "corrupted", 4, rows(2), proof, 3 * one)
    assert finals.bytes == 2 * one
    finals.add(item(lane, 4), "corrupted", 4, rows(2), proof, 3 * one)
    assert (len(finals), finals.bytes) == (1, 2 * one)
    finals.add(item(lane, 4), "corrupted", 5, rows(1), proof, 3 * one)
    assert (len(finals), finals.bytes) == (2, 3 * one)
    finals.clear()
    assert (len(finals), finals.bytes) == (0, 0)


def test_all_results_of_a_model_share_one_bound() -> None:
    """An eighth of the memory: what living results keep leaves less for the next."""
    gc.collect()
    model, pairs = models.bridge(), models.five_pairs()
    one, bound = 32 * 8, 1_000_000 // 8
    options: dict[str, Any] = {"by": ("layer", "pos", "head"), "prepend_bos": False, "memory": 1_000_000}
    held = [
        patch(model, pairs, "z", **options, **each).wait()
        for each in ({}, {"direction": "noise"}, {"intervention": "zero"})
    ]
    assert [result.engine for result in held] == ["replay"] * 3
    assert bound - one < sum(finals.bytes for finals in _FINALS[model].values()) <= bound
