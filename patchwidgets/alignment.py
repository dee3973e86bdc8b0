"""Alignments: which position of the clean prompt stands for which of the corrupted one when their lengths differ."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .errors import PatchError, quoted, unknown

Column = tuple[int | None, int | None]
RUNS = ("clean", "corrupted")


@dataclass(frozen=True)
class Alignment:
    """The positions of two prompts side by side: columns of (clean position or None, corrupted position or None).

    Each position of each prompt stands in exactly one column, in order; None is a gap. Raises PatchError otherwise.

    >>> alignment = propose([7, 1, 9], [7, 2, 3, 9])
    >>> alignment.columns
    ((0, 0), (None, 1), (1, 2), (2, 3))
    >>> alignment.counterpart("corrupted", 1) is None, alignment.counterpart("clean", 2)
    (True, 3)
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        columns = tuple(_column(column, i) for i, column in enumerate(_listed(self.columns, "columns")))
        object.__setattr__(self, "columns", columns)
        for side, run in enumerate(RUNS):
            positions = [column[side] for column in columns if column[side] is not None]
            wrong = next(((at, position) for at, position in enumerate(positions) if at != position), None)
            if wrong:
                raise PatchError(
                    f"alignment: {run} position {wrong[1]} stands where {wrong[0]} is due; "
                    "name every position of both prompts once and in order."
                )

    @classmethod
    def one_to_one(cls, length: int) -> Alignment:
        """Return the alignment of two prompts of one length, position by position."""
        return cls(tuple((i, i) for i in range(length)))

    @classmethod
    def from_pairs(cls, n_clean: int, n_corrupted: int, pairs: Iterable[Sequence[int]]) -> Alignment:
        """Return the alignment with these matches (clean position, corrupted position) and gaps everywhere else.

        The matches may come in any order. Between two matches the clean prompt's unmatched positions come first. Raises
        PatchError for a match out of range, a position matched twice, and matches that cross.

        >>> Alignment.from_pairs(3, 2, [(0, 0), (2, 1)]).columns
        ((0, 0), (1, None), (2, 1))
        """
        sizes = (_length(n_clean, "n_clean"), _length(n_corrupted, "n_corrupted"))
        matches = sorted(_match(pair, sizes) for pair in _listed(pairs, "pairs"))
        for before, after in pairwise(matches):
            for side, run in enumerate(RUNS):
                if before[side] == after[side]:
                    raise PatchError(f"matches {before} and {after} both use {run} position {after[side]}; keep one.")
            if before[1] > after[1]:
                raise PatchError(
                    f"matches {before} and {after} cross; keep one, order must be the same in both prompts."
                )
        return cls(tuple(_filled(matches, sizes)))

    @property
    def n_clean(self) -> int:
        """The number of positions of the clean prompt."""
        return sum(clean is not None for clean, _ in self.columns)

    @property
    def n_corrupted(self) -> int:
        """The number of positions of the corrupted prompt."""
        return sum(corrupted is not None for _, corrupted in self.columns)

    @property
    def matches(self) -> tuple[tuple[int, int], ...]:
        """The columns without a gap: (clean position, corrupted position), equal tokens or not."""
        return tuple((i, j) for i, j in self.columns if i is not None and j is not None)

    @property
    def identity(self) -> bool:
        """Whether both prompts have one length and every position stands for itself."""
        return all(clean == corrupted for clean, corrupted in self.columns)

    def counterpart(self, run: str, position: int) -> int | None:
        """Return the other prompt's position beside this `run`'s ("clean" or "corrupted"), None at a gap."""
        if run not in RUNS:
            raise unknown("run", run, RUNS)
        side = RUNS.index(run)
        for column in self.columns:
            if column[side] is not None and column[side] == position:
                return column[1 - side]
        size = self.n_corrupted if side else self.n_clean
        raise PatchError(f"the {run} prompt has no position {quoted(position)}; it has {size}, counted from 0.")

    def to_json(self) -> list[list[int | None]]:
        """Return the columns as plain lists for JSON."""
        return [list(column) for column in self.columns]

    @classmethod
    def from_json(cls, columns: Iterable[Sequence[int | None]]) -> Alignment:
        """Return the alignment whose `to_json` this is; raises PatchError for anything else."""
        return cls(_listed(columns, "columns"))  # type: ignore[arg-type]


def propose(clean_ids: Sequence[int], corrupted_ids: Sequence[int]) -> Alignment:
    """Return the alignment to begin with: shared prefix, shared suffix, smallest edit distance between.

    Prompts of one length stay position by position. A replaced and a skipped token cost the same; of the cheapest
    alignments the one with the fewest gaps is taken, and of those the one whose gaps stand leftmost, since a name of
    several tokens is known at its last. Time and memory grow as the product of the lengths between prefix and suffix.

    >>> propose([5, 6], [5, 6]).identity
    True
    """
    clean, corrupted = list(clean_ids), list(corrupted_ids)
    if len(clean) == len(corrupted):
        return Alignment.one_to_one(len(clean))
    short = min(len(clean), len(corrupted))
    start = next((i for i in range(short) if clean[i] != corrupted[i]), short)
    end = next((i for i in range(short - start) if clean[-1 - i] != corrupted[-1 - i]), short - start)
    middle = _edit(clean[start : len(clean) - end], corrupted[start : len(corrupted) - end])
    columns: list[Column] = [(i, i) for i in range(start)]
    columns += [(None if i is None else i + start, None if j is None else j + start) for i, j in middle]
    columns += [(len(clean) - i, len(corrupted) - i) for i in range(end, 0, -1)]
    return Alignment(tuple(columns))


def _edit(clean: Sequence[int], corrupted: Sequence[int]) -> list[Column]:
    """Return the cheapest columns for two sequences, by (edit distance, number of gaps), leftmost gaps first."""
    n, m = len(clean), len(corrupted)
    # best[i][j]: the cost of what is left from clean position i and corrupted position j on.
    best = [[(n - i + m - j, n - i + m - j) for j in range(m + 1)] for i in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            together = _plus(best[i + 1][j + 1], int(clean[i] != corrupted[j]), 0)
            best[i][j] = min(together, _plus(min(best[i + 1][j], best[i][j + 1]), 1, 1))
    columns: list[Column] = []
    i = j = 0
    while i < n or j < m:
        if i < n and best[i][j] == _plus(best[i + 1][j], 1, 1):
            columns.append((i, None))
            i += 1
        elif j < m and best[i][j] == _plus(best[i][j + 1], 1, 1):
            columns.append((None, j))
            j += 1
        else:
            columns.append((i, j))
            i, j = i + 1, j + 1
    return columns


def _plus(cost: tuple[int, int], edits: int, gaps: int) -> tuple[int, int]:
    return cost[0] + edits, cost[1] + gaps


def _filled(matches: Sequence[tuple[int, int]], sizes: tuple[int, int]) -> list[Column]:
    columns: list[Column] = []
    i = j = 0
    for clean, corrupted in [*matches, sizes]:
        columns += [(k, None) for k in range(i, clean)]
        columns += [(None, k) for k in range(j, corrupted)]
        columns.append((clean, corrupted))
        i, j = clean + 1, corrupted + 1
    return columns[:-1]


def _column(value: Any, at: int) -> Column:
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(items) != 2 or items == [None, None]:
        raise PatchError(
            f"alignment column {at} is {quoted(value)}; write (clean, corrupted), one of them None at a gap."
        )
    clean, corrupted = (None if item is None else _index(item, f"alignment column {at}") for item in items)
    return clean, corrupted


def _match(pair: Any, sizes: tuple[int, int]) -> tuple[int, int]:
    items = list(pair) if isinstance(pair, Sequence) and not isinstance(pair, str) else []
    if len(items) != 2:
        raise PatchError(f"match {quoted(pair)} is not a pair; write (clean position, corrupted position).")
    clean, corrupted = (_index(item, f"match {quoted(pair)}") for item in items)
    for position, size, run in zip((clean, corrupted), sizes, RUNS, strict=True):
        if not 0 <= position < size:
            raise PatchError(
                f"match {(clean, corrupted)}: the {run} prompt has positions 0 to {size - 1}, no {position}."
            )
    return clean, corrupted


def _length(value: Any, what: str) -> int:
    size = _index(value, what)
    if size < 1:
        raise PatchError(f"{what} is {size}; a prompt has at least one token.")
    return size


def _index(value: Any, what: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise PatchError(f"{what}: {quoted(value)} is not a position; positions are whole numbers from 0.")
    return operator.index(value)


def _listed(values: Any, what: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise PatchError(f"{what} must be a list of pairs of positions, not {quoted(values)}.")
    return list(values)
