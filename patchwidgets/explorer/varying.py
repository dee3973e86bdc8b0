"""What a pair varies, what it holds fixed, and so what its map cannot find; read off its tokens."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from ..alignment import Column
from ..prompts import EncodedPair
from ..spelling import joined_text, shown_token
from .slots import columns_of
from .text import Part

_MOST = 3
"""How many changes are spelled out."""


def stated(pair: EncodedPair) -> list[Part]:
    """Return a line per sentence: what varies and where, what is the same, what a map of the pair cannot show."""
    columns = columns_of(pair)
    changes = [list(group) for changed, group in groupby(columns, lambda each: _changed(pair, each)) if changed]
    told = [_change(pair, each) for each in changes[:_MOST]]
    if len(changes) > _MOST:
        told.append([f"{len(changes) - _MOST} more {'places' if len(changes) > _MOST + 1 else 'place'}"])
    fixed = sum(not _changed(pair, each) for each in columns)
    others = f"the other {fixed} token{'s are' if fixed != 1 else ' is'} the same in both prompts"
    held = others if fixed else "no token is the same in both prompts"
    varied = [part for i, change in enumerate(told) for part in [", " if i else " ", *change]]
    first: list[Part] = [("This pair varies", "pw-x-strong"), *varied, f"; {held}."]
    return [*first, *(part for line in _unseen(pair, columns, bool(fixed)) for part in ["\n", *line])]


def _unseen(pair: EncodedPair, columns: tuple[Column, ...], fixed: bool) -> list[list[Part]]:
    """Return what a patch between these two runs cannot show."""
    said: list[list[Part]] = []
    if pair.first_difference > (pair.bos_at is not None):
        first = _token(pair, "clean", pair.first_difference)
        same = f" at {pair.first_difference} the runs are the same, so patching one into the other moves nothing there."
        said.append(["Before ", first, same])
    if Counter(pair.clean) == Counter(pair.corrupted):
        said.append(["Both have the same tokens in another order: what only tells which tokens there are cannot show."])
    elif fixed:
        said.append(
            [
                "Patched from one run into the other, a part that does the same in both cannot show, however much the "
                "answer rests on it: what is read off the shared tokens alone."
            ]
        )
    if any(None in column for column in columns):
        said.append(["Tokens without a counterpart cannot be compared."])
    return said


def _changed(pair: EncodedPair, column: Column) -> bool:
    clean, corrupted = column
    return clean is None or corrupted is None or pair.clean[clean] != pair.corrupted[corrupted]


def _change(pair: EncodedPair, columns: list[Column]) -> list[Part]:
    """Return one stretch of changed columns: "'Mary' to 'Anna' at 2"."""
    sides = [[at for at in side if at is not None] for side in zip(*columns, strict=True)]
    texts = [
        joined_text([pair.texts(run)[at] for at in side], (*pair.clean_text, *pair.corrupted_text))
        for run, side in zip(("clean", "corrupted"), sides, strict=True)
    ]
    clean, corrupted = (_name(text) for text in texts)
    at = sides[0] or sides[1]
    where = f"{at[0]}" if len(at) == 1 else f"{at[0]} to {at[-1]}"
    if all(sides):
        return [clean, " to ", corrupted, f" at {where}"]
    name, run = (clean, "clean") if sides[0] else (corrupted, "corrupted")
    return [name, f", in the {run} prompt alone, at {where}"]


def _token(pair: EncodedPair, run: str, position: int) -> Part:
    texts = pair.texts(run)
    return _name(texts[position]) if position < len(texts) else "the end of the prompt"


def _name(text: str) -> Part:
    return f"'{shown_token(text)}'", "pw-x-token"
