"""Alignments cover both prompts in order; the proposed one is the cheapest, checked against every other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchwidgets.alignment import Alignment, Column, propose
from patchwidgets.errors import PatchError

fixed = settings(derandomize=True, deadline=None, database=None)

prompts = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@cache
def every(n: int, m: int) -> tuple[tuple[Column, ...], ...]:
    """All alignments of n and m positions, as columns."""

    def grow(i: int, j: int) -> Iterator[tuple[Column, ...]]:
        if (i, j) == (n, m):
            yield ()
        steps: list[tuple[bool, Column, int, int]] = [
            (i < n, (i, None), i + 1, j),
            (j < m, (None, j), i, j + 1),
            (i < n and j < m, (i, j), i + 1, j + 1),
        ]
        for possible, column, i_next, j_next in steps:
            if possible:
                yield from ((column, *rest) for rest in grow(i_next, j_next))

    return tuple(grow(0, 0))


def edits(columns: tuple[Column, ...], clean: list[int], corrupted: list[int]) -> int:
    return sum(i is None or j is None or clean[i] != corrupted[j] for i, j in columns)


def gaps(columns: tuple[Column, ...]) -> list[int]:
    return [at for at, column in enumerate(columns) if None in column]


@fixed
@given(prompts, prompts)
def test_the_proposal_is_the_cheapest_then_has_fewest_then_leftmost_gaps(
    clean: list[int], corrupted: list[int]
) -> None:
    found = propose(clean, corrupted).columns
    if len(clean) == len(corrupted):
        assert found == tuple((i, i) for i in range(len(clean)))
        return
    others = [other for other in every(len(clean), len(corrupted)) if _keeps_the_ends(other, clean, corrupted)]
    best = min((edits(other, clean, corrupted), len(gaps(other)), gaps(other)) for other in others)
    assert (edits(found, clean, corrupted), len(gaps(found)), gaps(found)) == best
    # Keeping prefix and suffix together costs nothing.
    assert best[0] == min(edits(other, clean, corrupted) for other in every(len(clean), len(corrupted)))


def _keeps_the_ends(columns: tuple[Column, ...], clean: list[int], corrupted: list[int]) -> bool:
    short = min(len(clean), len(corrupted))
    start = next((i for i in range(short) if clean[i] != corrupted[i]), short)
    end = next((i for i in range(short - start) if clean[-1 - i] != corrupted[-1 - i]), short - start)
    kept = [(i, i) for i in range(start)] + [(len(clean) - i, len(corrupted) - i) for i in range(1, end + 1)]
    return set(kept) <= set(columns)


@fixed
@given(prompts, prompts)
def test_a_proposal_covers_both_prompts_and_survives_its_journeys(clean: list[int], corrupted: list[int]) -> None:
    found = propose(clean, corrupted)
    assert (found.n_clean, found.n_corrupted) == (len(clean), len(corrupted))
    assert [i for i, _ in found.columns if i is not None] == list(range(len(clean)))
    assert [j for _, j in found.columns if j is not None] == list(range(len(corrupted)))
    assert Alignment.from_pairs(len(clean), len(corrupted), found.matches) == found
    assert Alignment.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.identity == (len(clean) == len(corrupted))


@fixed
@given(prompts, prompts)
def test_counterparts_are_mutual(clean: list[int], corrupted: list[int]) -> None:
    found = propose(clean, corrupted)
    for i in range(len(clean)):
        j = found.counterpart("clean", i)
        assert (j is None) == ((i, None) in found.columns)
        assert j is None or found.counterpart("corrupted", j) == i


@fixed
@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_an_edited_alignment_has_the_matches_asked_for(n: int, m: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, min(n, m)))
    sides = [sorted(data.draw(st.permutations(range(length)))[:size]) for length in (n, m)]
    matches = list(zip(*sides, strict=True))
    edited = Alignment.from_pairs(n, m, data.draw(st.permutations(matches)))
    assert edited.matches == tuple(matches)
    assert (edited.n_clean, edited.n_corrupted) == (n, m)


@fixed
@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), max_size=4))
def test_matches_are_taken_if_and_only_if_some_alignment_has_them(
    n: int, m: int, matches: list[tuple[int, int]]
) -> None:
    possible = len(set(matches)) == len(matches) and any(set(matches) <= set(columns) for columns in every(n, m))
    if possible:
        assert set(Alignment.from_pairs(n, m, matches).matches) == set(matches)
    else:
        with pytest.raises(PatchError):
            Alignment.from_pairs(n, m, matches)


@pytest.mark.parametrize(
    ("clean", "corrupted", "columns"),
    [
        # A name of one token against one of two: the gap comes first, the last token of the name is matched.
        ("When Mary went", "When Anna Lee went", [(0, 0), (None, 1), (1, 2), (2, 3)]),
        # A repeated word belongs to the shared prefix, so the gap follows it.
        ("a a b", "a b", [(0, 0), (1, None), (2, 1)]),
        ("x y", "x y z", [(0, 0), (1, 1), (None, 2)]),
        # Shifting by a gap on each side is cheaper than replacing four words.
        ("p a b c d q", "a b c d r q s", [(0, None), (1, 0), (2, 1), (3, 2), (4, 3), (None, 4), (5, 5), (None, 6)]),
    ],
)
def test_proposals_one_would_make_by_hand(clean: str, corrupted: str, columns: list[Column]) -> None:
    words = sorted({*clean.split(), *corrupted.split()})
    ids = [[words.index(word) for word in text.split()] for text in (clean, corrupted)]
    assert propose(*ids).columns == tuple(columns)


def test_numbers_of_any_library_are_positions() -> None:
    edited = Alignment.from_pairs(np.int64(2), 1, [(np.int64(1), np.int64(0))])
    assert json.dumps(edited.to_json()) == "[[0, null], [1, 0]]"


THREE = Alignment.one_to_one(3)
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "crossing": (lambda: Alignment.from_pairs(3, 3, [(0, 2), (2, 1)]), "matches (0, 2) and (2, 1) cross; keep one,"),
    "clean twice": (
        lambda: Alignment.from_pairs(3, 3, [(1, 2), (1, 1)]),
        "matches (1, 1) and (1, 2) both use clean position 1; keep",
    ),
    "corrupted twice": (
        lambda: Alignment.from_pairs(3, 3, [(0, 1), (1, 1)]),
        "matches (0, 1) and (1, 1) both use corrupted position 1",
    ),
    "out of range": (
        lambda: Alignment.from_pairs(3, 2, [(0, 2)]),
        "match (0, 2): the corrupted prompt has positions 0 to 1, no 2.",
    ),
    "negative": (
        lambda: Alignment.from_pairs(3, 2, [(-1, 0)]),
        "match (-1, 0): the clean prompt has positions 0 to 2, no -1.",
    ),
    "no pair": (
        lambda: Alignment.from_pairs(3, 2, [(0, 1, 2)]),
        "match (0, 1, 2) is not a pair; write (clean position,",
    ),
    "no number": (
        lambda: Alignment.from_pairs(3, 2, [(0, "1")]),
        "match (0, '1'): '1' is not a position; positions are whole",
    ),
    "a bool": (lambda: Alignment.from_pairs(3, 2, [(0, True)]), "True is not a position;"),
    "no list": (lambda: Alignment.from_pairs(3, 2, 5), "pairs must be a list of pairs of positions, not 5."),
    "no tokens": (lambda: Alignment.from_pairs(0, 2, []), "n_clean is 0; a prompt has at least one token."),
    "a hole": (
        lambda: Alignment(((0, 0), (2, 1))),
        "alignment: clean position 2 stands where 1 is due; name every position",
    ),
    "disorder": (lambda: Alignment(((0, 1), (1, 0))), "alignment: corrupted position 1 stands where 0 is due;"),
    "twice": (lambda: Alignment.from_json([[0, 0], [0, None]]), "alignment: clean position 0 stands where 1 is due;"),
    "two gaps": (
        lambda: Alignment.from_json([[None, None]]),
        "alignment column 0 is [None, None]; write (clean, corrupted),",
    ),
    "a text": (
        lambda: Alignment.from_json("[[0, 0]]"),
        "columns must be a list of pairs of positions, not '[[0, 0]]'.",
    ),
    "a flat list": (lambda: Alignment.from_json([0, 1]), "alignment column 0 is 0; write (clean, corrupted),"),
    "a float": (lambda: Alignment.from_json([[0.0, 0]]), "alignment column 0: 0.0 is not a position;"),
    "another run": (lambda: THREE.counterpart("corupted", 0), "unknown run 'corupted'; did you mean 'corrupted'?"),
    "beyond the end": (
        lambda: THREE.counterpart("clean", 3),
        "the clean prompt has no position 3; it has 3, counted from 0.",
    ),
    "before the start": (
        lambda: THREE.counterpart("corrupted", -1),
        "the corrupted prompt has no position -1; it has 3,",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_no_alignment_is_refused_in_words(wrong: str) -> None:
    make, told = REFUSED[wrong]
    with pytest.raises(PatchError, match=re.escape(told)):
        make()
