"""How patched runs share a module's call: every row kept, in order, and no more at once than may be."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from patchwidgets.engine.replay.groups import Bunch, Group, Pack, bunched, joined, packed
from patchwidgets.engine.replay.items import Item
from patchwidgets.engine.replay.seams import ATTEND, FINISH
from tests.engine.replaying import group, item, target

END = 6
"""The last position of every run that still attends."""


def numbers(items: Sequence[Item]) -> list[int]:
    return [each.row for each in items]


def assert_whole(found: Group) -> None:
    """What a group holds of every run is that run's own, at its own positions."""
    own = torch.tensor(numbers(found.items))
    torch.testing.assert_close(found.rows, own)
    expected = own[:, None] * 100 + torch.arange(found.first, found.last + 1)
    torch.testing.assert_close(found.stream, expected.double()[:, :, None].repeat(1, 1, 2))
    if found.attended is not None:
        torch.testing.assert_close(found.attended, -found.stream)


@pytest.mark.parametrize(
    ("rows", "runs", "sizes"),
    [
        (6, None, [2, 2, 1]), (8, None, [2, 2, 1]), (9, None, [3, 2]), (3, None, [1] * 5), (1, None, [1] * 5),
        (15, None, [5]), (100, 2, [2, 2, 1]), (6, 3, [2, 2, 1]), (100, 5, [5]), (100, 1, [1] * 5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("attended", [False, True])
def test_pieces_have_no_more_rows_or_runs_than_may_be(
    rows: int, runs: int | None, sizes: list[int], attended: bool
) -> None:
    whole = group(4, 5, 3)
    whole.attended = -whole.stream if attended else None
    pieces = list(whole.pieces(rows, runs))
    assert [len(piece) for piece in pieces] == sizes
    assert [number for piece in pieces for number in numbers(piece.items)] == [0, 1, 2, 3, 4]
    assert all((piece.first, piece.last) == (4, 6) for piece in pieces)
    assert all((piece.attended is not None) == attended for piece in pieces)
    for piece in pieces:
        assert_whole(piece)


@pytest.mark.parametrize(("first", "last"), [(2, 6), (3, 4), (2, 2), (6, 6)])
@pytest.mark.parametrize("attended", [False, True])
def test_a_part_has_the_positions_asked_for(first: int, last: int, attended: bool) -> None:
    whole = group(2, 3, 5)
    whole.attended = -whole.stream if attended else None
    part = whole.part(first, last)
    assert (part.first, part.last, numbers(part.items)) == (first, last, [0, 1, 2])
    assert (part.attended is not None) == attended
    assert_whole(part)


def test_a_part_may_be_empty() -> None:
    part = group(2, 3, 5).part(4, 3)
    assert part.stream.shape == (3, 0, 2)


def test_those_that_begin_at_one_position_are_joined_and_keep_their_order() -> None:
    groups = [group(3, 2, 4, 0), group(1, 1, 6, 10), group(3, 1, 4, 20), group(5, 1, 2, 30), group(1, 2, 6, 40)]
    found = joined(groups)
    assert [each.first for each in found] == [3, 1, 5]
    assert [numbers(each.items) for each in found] == [[0, 1, 20], [10, 40, 41], [30]]
    for each in found:
        assert_whole(each)
    assert found[2] is groups[3]


def test_what_stands_side_by_side_comes_apart_again() -> None:
    pieces = [group(2, 2, 3, 0), group(4, 1, 2, 10), group(0, 3, 1, 20)]
    pack = Pack(pieces)
    rows = pack.joined("stream")
    assert rows.shape == (1, 2 * 3 + 1 * 2 + 3 * 1, 2)
    assert rows[0, :, 0].tolist() == [2, 3, 4, 102, 103, 104, 1004, 1005, 2000, 2100, 2200]
    apart = pack.apart(rows)
    for piece, own in zip(pieces, apart, strict=True):
        torch.testing.assert_close(own, piece.stream)
    wider = pack.apart(torch.cat([rows, rows], -1))
    assert [own.shape for own in wider] == [(2, 3, 4), (1, 2, 4), (3, 1, 4)]


def test_a_pack_says_where_each_runs_rows_begin() -> None:
    mlp, late = target("mlp_out", pos=4), target("mlp_out", pos=5)
    first = group(3, 2, 3, items=[item(0, {1: {FINISH: [mlp]}}), item(1, {1: {FINISH: [late, mlp]}})])
    second = group(4, 2, 2, items=[item(2, {0: {FINISH: [mlp]}, 1: {ATTEND: [mlp]}}), item(3, {1: {FINISH: [late]}})])
    placed = Pack([first, second]).placed(1, FINISH)
    assert [(begin, low, high, each.row, what) for begin, low, high, each, what in placed] == [
        (0, 3, 5, 0, mlp), (3, 3, 5, 1, late), (3, 3, 5, 1, mlp), (8, 4, 5, 3, late),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "sizes"), [(6, [1, 2, 1]), (5, [1, 1, 1, 1]), (1, [1, 1, 1, 1]), (12, [2, 2]), (14, [3, 1]), (100, [4])]
)
def test_packs_have_no_more_rows_than_may_be(rows: int, sizes: list[int]) -> None:
    pieces = [group(0, 4, 2), group(2, 2, 2), group(5, 2, 1), group(3, 2, 3)]  # Of 8, 4, 2 and 6 rows.
    packs = list(packed(pieces, rows))
    assert [len(pack.pieces) for pack in packs] == sizes
    assert [id(piece) for pack in packs for piece in pack.pieces] == [id(piece) for piece in pieces]


def test_nothing_is_packed_or_bunched_to_nothing() -> None:
    assert list(packed([], 5)) == []
    assert list(bunched([], 5, lambda runs, rows: 0, 5)) == []


BUNCH = Bunch([group(2, 2, 5, 0), group(2, 1, 5, 10), group(4, 1, 3, 20), group(5, 2, 2, 30)])
FIRSTS = [2, 2, 2, 4, 5, 5]
"""Where its runs begin."""


def test_what_attends_together_is_padded_at_the_front_and_comes_apart_again() -> None:
    assert BUNCH.first == 2
    assert BUNCH.rows().tolist() == [0, 1, 10, 20, 30, 31]
    whole = BUNCH.padded([piece.stream for piece in BUNCH.pieces])
    assert whole.shape == (6, 5, 2)
    for row, (number, first) in enumerate(zip(BUNCH.rows().tolist(), FIRSTS, strict=True)):
        expected = [number * 100 + p if p >= first else 0 for p in range(2, END + 1)]
        assert whole[row, :, 1].tolist() == expected
    for piece, own in zip(BUNCH.pieces, BUNCH.apart(whole), strict=True):
        torch.testing.assert_close(own, piece.stream)


def test_the_rows_before_a_run_begins_do_not_count() -> None:
    late = BUNCH.late()
    assert late is not None
    assert late.tolist() == [[p < first for p in range(2, END + 1)] for first in FIRSTS]
    assert Bunch(BUNCH.pieces[:2]).late() is None
    assert Bunch(BUNCH.pieces[3:]).late() is None


def idle(pieces: Sequence[Group]) -> int:
    return sum(len(piece) * (piece.first - pieces[0].first) for piece in pieces)


def taken(pieces: Sequence[Group]) -> int:
    runs = sum(map(len, pieces))
    return size_of(runs, runs * (END + 1 - pieces[0].first))


def size_of(runs: int, rows: int) -> int:
    return 5 * runs + rows


def drawn(generator: torch.Generator) -> list[Group]:
    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    return [group(first := draw(0, END + 1), draw(1, 4), END + 1 - first, 10 * i) for i in range(draw(1, 8))]


@pytest.mark.parametrize("waste", [-1, 0, 3, 8, 100])
@pytest.mark.parametrize("most", [1, 30, 60, 1000])
def test_bunches_are_as_large_as_may_be_and_no_larger(waste: int, most: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        pieces = drawn(generator)
        bunches = [bunch.pieces for bunch in bunched(pieces, waste, size_of, most)]
        assert [id(piece) for bunch in bunches for piece in bunch] == [
            id(piece) for piece in sorted(pieces, key=lambda piece: piece.first)
        ]
        for bunch in bunches:
            assert len(bunch) == 1 or (idle(bunch) <= waste and taken(bunch) <= most)
        for bunch, after in itertools.pairwise(bunches):
            more = [*bunch, after[0]]
            assert idle(more) > waste or taken(more) > most


def test_a_bunch_may_waste_and_take_exactly_what_is_allowed() -> None:
    # The second piece idles in 2 * 2 rows; both take 5 * 5 + 5 * 7 numbers.
    pieces = [group(0, 3, 7), group(2, 2, 5, 10)]
    assert (idle(pieces), taken(pieces)) == (4, 60)

    def sizes(waste: int, most: int) -> list[int]:
        return [len(bunch.pieces) for bunch in bunched(pieces, waste, size_of, most)]

    assert sizes(4, 60) == [2]
    assert sizes(3, 60) == sizes(4, 59) == [1, 1]


def test_a_new_bunch_counts_from_its_own_beginning() -> None:
    pieces = [group(0, 1, 7), group(3, 1, 4, 10), group(4, 1, 3, 20), group(6, 1, 1, 30)]
    told: list[tuple[int, int]] = []

    def asked(runs: int, rows: int) -> int:
        told.append((runs, rows))
        return 0

    bunches = [numbers([i for piece in bunch.pieces for i in piece.items]) for bunch in bunched(pieces, 1, asked, 9)]
    assert bunches == [[0], [10, 20], [30]]
    assert told[0] == (1, 7)
    # The third piece beside the second: two runs from position 3 on.
    assert told[2] == (2, 8)


def test_attention_that_is_apart_is_that_of_its_own_runs() -> None:
    made: Tensor = torch.arange(6 * 5 * 3).double().reshape(6, 5, 3)
    parts = list(BUNCH.apart(made))
    assert [part.shape for part in parts] == [(2, 5, 3), (1, 5, 3), (1, 3, 3), (2, 2, 3)]
    torch.testing.assert_close(parts[2], made[3:4, 2:])
    torch.testing.assert_close(parts[3], made[4:, 3:])
