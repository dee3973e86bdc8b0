"""A block's other arguments on a part of a prompt: the same as on the whole prompt, from the first row on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchwidgets.engine.replay.seams import NotReplayable
from patchwidgets.engine.replay.sides import CACHE, Prefix, Sides

BATCH, HEADS, LENGTH, WIDTH = 2, 3, 5, 4
START, ROWS = 2, 6


def counted(*shape: int) -> Tensor:
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


MASK, ROTATION, POSITIONS = counted(BATCH, 1, LENGTH, LENGTH), counted(BATCH, LENGTH, 7), counted(BATCH, LENGTH)
ALIBI, THERE, ONE, BARE = counted(BATCH * HEADS, 1, LENGTH), counted(BATCH, 9), counted(1, LENGTH), counted(LENGTH)
PREFIX = Prefix(counted(1, HEADS, LENGTH, WIDTH), counted(1, HEADS, LENGTH, WIDTH), START)

EXPECTED: dict[str, tuple[Any, Any]] = {
    "mask": (MASK, MASK[:1, :, START:]),
    "attention_mask": (THERE, THERE[:1].expand(ROWS, 9)),
    "attention_mask of the length": (POSITIONS, POSITIONS[:1].expand(ROWS, LENGTH)),
    "alibi": (ALIBI, torch.cat([ALIBI[:HEADS]] * ROWS)),
    "position_embeddings": (ROTATION, ROTATION[:1, START:]),
    "rotations of one text": (ROTATION[:1], ROTATION[:1, START:]),
    "position_ids": (POSITIONS, POSITIONS[:1, START:].expand(ROWS, LENGTH - START)),
    "positions of one text": (ONE, ONE[:, START:].expand(ROWS, LENGTH - START)),
    "cache_position": (BARE, BARE[START:]),
    "a number": (torch.tensor(3.0), torch.tensor(3.0)),
}


def name_of(kind: str) -> str:
    return kind.partition(" ")[0]


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_kind_of_argument_is_cut_to_the_rows(kind: str) -> None:
    given, expected = EXPECTED[kind]
    name = name_of(kind)
    args, kwargs = Sides((), {name: given}, BATCH, LENGTH).cut(START, ROWS, PREFIX)
    assert (args, list(kwargs)) == ([], [name])
    assert kwargs[name].shape == expected.shape
    torch.testing.assert_close(kwargs[name], expected)


def test_what_goes_by_place_is_cut_like_what_goes_by_name() -> None:
    args, kwargs = Sides((MASK, None, CACHE, True), {}, BATCH, LENGTH).cut(START, ROWS, PREFIX)
    torch.testing.assert_close(args[0], MASK[:1, :, START:])
    assert args[1:] == [None, PREFIX, True]
    assert kwargs == {}


def test_pairs_of_arguments_are_cut_one_by_one() -> None:
    given = (ROTATION, (ROTATION + 1, CACHE))
    _, kwargs = Sides((), {"position_embeddings": given, "past": CACHE}, BATCH, LENGTH).cut(START, ROWS, PREFIX)
    cos, (sin, cache) = kwargs["position_embeddings"]
    torch.testing.assert_close((cos, sin), (ROTATION[:1, START:], ROTATION[:1, START:] + 1))
    assert cache is kwargs["past"] is PREFIX


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("bias", (BATCH, 1, LENGTH, LENGTH + 1), r"bias of shape \(2, 1, 5, 6\)"),
        ("bias", (BATCH, LENGTH + 1, 7), r"bias of shape \(2, 6, 7\)"),
        ("alibi", (BATCH * HEADS, 1, LENGTH + 1), r"alibi of shape \(6, 1, 6\)"),
        ("slopes", (BATCH * HEADS, 1, LENGTH), r"slopes of shape \(6, 1, 5\)"),
        ("position_ids", (BATCH, LENGTH + 1), r"position_ids of shape \(2, 6\)"),
        ("ids", (LENGTH + 1,), r"ids of shape \(6,\)"),
        ("", (LENGTH + 1,), r"an argument of shape \(6,\)"),
        ("bias", (1, BATCH, 1, LENGTH, LENGTH), r"bias of shape \(1, 2, 1, 5, 5\)"),
    ],
)
def test_what_is_not_understood_is_not_replayed(name: str, shape: tuple[int, ...], told: str) -> None:
    sides = Sides(() if name else (counted(*shape),), {name: counted(*shape)} if name else {}, BATCH, LENGTH)
    with pytest.raises(NotReplayable, match=f"^blocks are given {told}$"):
        sides.cut(START, ROWS, PREFIX)


def test_keys_and_values_before_the_rows_are_the_base_runs() -> None:
    known, values = counted(1, HEADS, LENGTH, WIDTH), -counted(1, HEADS, LENGTH, WIDTH)
    new = counted(ROWS, HEADS, LENGTH - START, WIDTH) + 1000
    prefix = Prefix(known, values, START)
    assert prefix.get_seq_length() == prefix.get_seq_length(1) == START
    keys, vals = prefix.update(new, new + 1, 0, cache_position=None)
    assert keys.shape == (ROWS, HEADS, LENGTH, WIDTH)
    for run in range(ROWS):
        torch.testing.assert_close(keys[run], torch.cat([known[0, :, :START], new[run]], 1))
        torch.testing.assert_close(vals[run], torch.cat([values[0, :, :START], new[run] + 1], 1))


def test_runs_of_several_texts_have_each_its_own_before() -> None:
    known = counted(ROWS, HEADS, LENGTH, WIDTH)
    keys, _ = Prefix(known, known, START).update(known[:, :, START:] + 0, known[:, :, START:])
    torch.testing.assert_close(keys, known)


def test_from_the_first_position_on_nothing_is_before() -> None:
    known, new = counted(1, HEADS, LENGTH, WIDTH), counted(ROWS, HEADS, LENGTH, WIDTH) + 1000
    keys, values = Prefix(known, known, 0).update(new, new + 1)
    torch.testing.assert_close((keys, values), (new, new + 1))


def test_rows_in_which_a_run_has_not_begun_have_the_base_runs_keys() -> None:
    known = counted(1, HEADS, LENGTH, WIDTH)
    new = counted(2, HEADS, LENGTH - START, WIDTH) + 1000
    late = torch.tensor([[False] * 3, [True, True, False]])
    keys, values = Prefix(known, -known, START, late).update(new, -new)
    torch.testing.assert_close(keys[0], torch.cat([known[0, :, :START], new[0]], 1))
    torch.testing.assert_close(keys[1], torch.cat([known[0, :, :4], new[1, :, 2:]], 1))
    torch.testing.assert_close(values, -keys)
