"""What is written in which layer, from which position on: how little of the model a patched run needs."""

from __future__ import annotations

from typing import Any

import pytest

from patchwidgets.engine.plan import Target
from patchwidgets.engine.replay.items import Item, between, make_item, positions_of, rows_axis
from patchwidgets.engine.replay.seams import ATTEND, ENTRY, FINISH, FRONT, PROJECT
from tests.engine.replaying import LANE, item, target

LAYERS, LENGTH, KNOWN = 5, 6, 2
PHASES = {
    f"blocks.{layer}.{hook}": phase
    for layer in range(LAYERS)
    for hook, phase in {
        "hook_resid_pre": ENTRY, "hook_resid_post": FINISH, "attn.hook_q": PROJECT, "attn.hook_k": PROJECT,
        "attn.hook_z": ATTEND, "attn.hook_pattern": ATTEND, "hook_mlp_out": FINISH,
    }.items()
}  # fmt: skip


def made(*targets: Target, known: int = KNOWN) -> Item:
    return make_item(LANE, 7, "clean", targets, PHASES, known, LAYERS)


def test_a_run_enters_where_something_is_first_written() -> None:
    late, early = target("z", layer=3, head=1, pos=2), target("mlp_out", layer=1, pos=4)
    found = made(late, early)
    assert (found.lane, found.row, found.entry, found.start) == (LANE, 7, 1, 2)
    assert found.targets == {3: {ATTEND: [late]}, 1: {FINISH: [early]}}
    assert found.at(3, ATTEND) == [late]
    assert list(found.at(3, FINISH)) == list(found.at(2, ATTEND)) == []


def test_what_names_no_position_is_written_from_the_first_that_can_differ() -> None:
    whole, pattern = target("z", layer=2, head=0), target("pattern", layer=2, head=1)
    found = made(whole, pattern)
    assert found.start == KNOWN
    assert [place for _, place in found.at(2, ATTEND)] == [
        {"layer": 2, "head": 0, "pos": [2, 3, 4, 5]}, {"layer": 2, "head": 1, "dest": [2, 3, 4, 5]},
    ]  # fmt: skip
    assert made(target("z", layer=2, pos=[4, 3]), target("pattern", layer=2, dest=[5])).start == 3


def test_what_comes_before_the_blocks_is_written_before_the_first() -> None:
    found = made(target("embed", pos=3), target("resid_post", layer=0, pos=4))
    assert (found.entry, found.start) == (0, 3)
    assert list(found.targets[0]) == [FRONT, FINISH]


def test_a_run_in_which_nothing_is_written_is_the_base_run() -> None:
    for found in (made(), made(target("z", layer=1), known=LENGTH)):
        assert (dict(found.targets), found.entry, found.start) == ({}, LAYERS - 1, LENGTH - 1)
        assert found.attends(LAYERS - 1)
        assert found.narrow(LAYERS - 1) is None
    both = made(target("z", layer=1), target("mlp_out", layer=3, pos=4), known=LENGTH)
    assert (both.entry, both.start, list(both.targets)) == (3, 4, [3])


@pytest.mark.parametrize(
    ("phase", "site", "narrow", "attends"),
    [
        (FRONT, "embed", None, True), (ENTRY, "resid_pre", None, True), (PROJECT, "q", (2, 4), True),
        (PROJECT, "k", None, True), (ATTEND, "z", (2, 4), True), (ATTEND, "attn_out", None, True),
        (FINISH, "attn_out", (2, 4), False), (FINISH, "mlp_out", (2, 4), False), (FINISH, "resid_post", (2, 4), False),
    ],
)  # fmt: skip
def test_a_layers_output_differs_only_where_what_is_written_reaches(
    phase: str, site: str, narrow: tuple[int, int] | None, attends: bool
) -> None:
    run = item(0, {1: {phase: [target(site, pos=4), target(site, pos=[3, 2])]}}, entry=1, start=2)
    assert run.narrow(1) == narrow
    assert run.narrow(2) is None
    assert run.attends(1) == attends


def test_one_place_that_spreads_is_enough() -> None:
    own, spreading = target("q", pos=3), target("k", pos=4)
    assert item(0, {1: {PROJECT: [own], ATTEND: [target("z", pos=5)]}}, 1, 3).narrow(1) == (3, 5)
    assert item(0, {1: {PROJECT: [own, spreading]}}, 1, 3).narrow(1) is None
    assert (
        item(0, {1: {FINISH: [target("mlp_out", pos=3)], ENTRY: [target("resid_pre", pos=4)]}}, 1, 3).narrow(1) is None
    )
    assert item(0, {2: {FINISH: [own]}}, entry=1, start=3).narrow(1) is None


@pytest.mark.parametrize("axis", ["pos", "dest"])
@pytest.mark.parametrize(
    ("at", "inside"),
    [(2, 2), (4, 4), (1, None), (5, None), ([1, 2, 3, 4, 5], [2, 3, 4]), ([3], [3]), ([0, 5], None), ([], None)],
)
def test_the_part_between_two_positions(axis: str, at: Any, inside: Any) -> None:
    site = "pattern" if axis == "dest" else "z"
    whole = target(site, head=1, **{axis: at})
    assert between(whole, 2, 4) == (None if inside is None else target(site, head=1, **{axis: inside}))
    assert positions_of(whole) == ([at] if isinstance(at, int) else at)


def test_the_rows_of_attention_are_its_destinations() -> None:
    assert rows_axis(target("pattern")) == rows_axis(target("attn_scores")) == "dest"
    assert rows_axis(target("z")) == rows_axis(target("resid_pre")) == "pos"
