"""Two prompts side by side: a column per aligned pair of positions, with a gap where a token has no counterpart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..alignment import Alignment, Column
from ..engine.plan import Plan
from ..engine.provenance import shared_tokens, texts_of, varied_at
from ..grid import Grid, Tokens, make_grid
from ..interventions import Patch
from ..prompts import EncodedPair
from ..result import PENDING, UNAVAILABLE
from ..spelling import shown_token
from ..views import token_columns

_POSITIONS = ("pos", "src", "dest")
_GAP = "\u2013"


def columns_of(pair: EncodedPair) -> tuple[Column, ...]:
    """Return the columns (clean position, corrupted position), None at a gap."""
    return (pair.alignment or Alignment.one_to_one(pair.length)).columns


def column_of(pair: EncodedPair, run: str, position: int) -> int:
    """Return the column a position of a run stands in."""
    return [column[_side(run)] for column in columns_of(pair)].index(position)


def token_columns_of(pair: EncodedPair) -> dict[str, Any]:
    """Return the prompts' columns as views draw them; a column's number is its position, or both when they differ."""
    columns = columns_of(pair)
    differs = [i is None or j is None or pair.clean[i] != pair.corrupted[j] for i, j in columns]
    return token_columns(
        [None if i is None else pair.clean_text[i] for i, _ in columns],
        [None if j is None else pair.corrupted_text[j] for _, j in columns],
        differs=differs,
        bos=None if pair.bos_at is None else column_of(pair, "clean", pair.bos_at),
        numbers=None if pair.alignment is None else [_number(column) for column in columns],
    )


def plan_grid(plan: Plan) -> Grid:
    """Return the table of a plan's cells; where its columns are tokens, they are the columns of both prompts.

    A column in which the base run has no token holds no cells. Where positions were chosen, the columns are those. Over
    a dataset a column is a position of the base run, under the token that all pairs have there, or an ellipsis.
    """
    if len(plan.pairs) > 1:
        return make_grid(plan.by, plan.labels, _shared(plan))
    texts = plan.pair.texts(plan.patch.base)
    grid = make_grid(plan.by, plan.labels, Tokens(texts, texts))
    across = next((axis for axis in _POSITIONS if axis in grid.col_keys[0]), None)
    if across is None:
        return grid
    at = {key[across]: i for i, key in enumerate(grid.col_keys)}
    bases = [column[_side(plan.patch.base)] for column in columns_of(plan.pair)]
    columns = {**token_columns_of(plan.pair), "title": grid.columns["title"]}
    chosen = [i for i, base in enumerate(bases) if base in at]
    if len(at) < sum(base is not None for base in bases):
        bases, columns = [bases[i] for i in chosen], _some(columns, chosen)
    else:
        chosen = list(range(len(bases)))
    cells = grid.raster.reshape(grid.shape)
    raster = np.full((len(cells), len(bases)), -1, dtype=cells.dtype)
    for i, base in enumerate(bases):
        if base in at:
            raster[:, i] = cells[:, at[base]]
    return replace(
        grid,
        columns=columns,
        col_keys=[{} if base is None else {across: base} for base in bases],
        raster=raster.reshape(-1),
        linked=[{across: i} for i in chosen],
    )


def shows_all_tokens(plan: Plan) -> bool:
    """Return whether the columns of a plan's table are the tokens of its prompts, every one of them."""
    across = next((axis for axis in ("pos", "src", "dest") if axis in plan.by), None)
    return across is not None and len(plan.labels[across]) == len(plan.pair.ids(plan.patch.base))


def _some(columns: dict[str, Any], chosen: Sequence[int]) -> dict[str, Any]:
    """Return some of the columns, each with the number of its position."""
    there = [name for name in ("clean", "corrupted", "differs", "varies") if name in columns]
    lists = {name: [columns[name][i] for i in chosen] for name in there}
    bos = chosen.index(columns["bos"]) if columns["bos"] in chosen else None
    numbers = [columns["numbers"][i] if "numbers" in columns else str(i) for i in chosen]
    return {**columns, **lists, "bos": bos, "numbers": numbers}


def _shared(plan: Plan) -> Tokens:
    """Return what the pairs of a dataset have at every position of the base run."""
    base, pairs = plan.patch.base, plan.pairs
    shared = shared_tokens(pairs, base)
    texts = texts_of(shared)
    differs = [any(_differs(pair, base, position) for pair in pairs) for position in range(len(texts[base]))]
    return Tokens(texts["clean"], texts["corrupted"], plan.pair.bos_at, differs, varied_at(shared))


def _differs(pair: EncodedPair, base: str, position: int) -> bool:
    """Return whether a position of the base run has another token in the other run, or none."""
    own, other = pair.ids(base), pair.ids("clean" if base == "corrupted" else "corrupted")
    beside = pair.counterpart(base, position) if position < len(own) else None
    return beside is None or beside >= len(other) or own[position] != other[beside]


def first_status(plan: Plan, grid: Grid) -> np.ndarray:
    """Return what is known of a grid's places before anything is measured: unavailable ones, and pending ones."""
    codes = np.append(plan.status.reshape(-1), UNAVAILABLE)[grid.raster]  # -1, no cell, takes the last
    return np.where(codes == UNAVAILABLE, UNAVAILABLE, PENDING).reshape(grid.shape)


def unavailable_words(plan: Plan) -> dict[str, str]:
    """Return what the map's key says of unavailable cells, where there can be any."""
    axes = set(plan.by)
    gaps = ["one of the prompts has no token here"] if plan.pair.alignment and axes & set(_POSITIONS) else []
    later = ["a token does not attend to a later one"] if {"dest", "src"} <= axes else []
    return {"unavailable": ", or ".join([*gaps, *later])} if gaps or later else {}


def why_unavailable(plan: Plan, grid: Grid, row: int, col: int) -> str:
    """Return why a place of a grid has no effect to open, "" where it has one."""
    flat = int(grid.raster[row * grid.shape[1] + col])
    if flat >= 0 and plan.status.reshape(-1)[flat] != UNAVAILABLE:
        return ""
    base, source = plan.patch.base, plan.patch.source
    if flat < 0:
        token = _token(plan.pair, source, columns_of(plan.pair)[col][_side(source)])
        return f"'{token}' stands in the {source} prompt alone: the {base} run has no token there to change."
    for axis, index in plan.cell(flat).items():
        alone = axis in _POSITIONS and plan.pair.counterpart(base, index) is None
        if alone and isinstance(plan.intervention, Patch):
            token = _token(plan.pair, base, index)
            return f"'{token}' has no counterpart in the {source} prompt: there is nothing to put there."
    return "A token does not attend to a later one: there is nothing to change."


def spread(pair: EncodedPair, patterns: Sequence[np.ndarray], runs: Sequence[str]) -> np.ndarray:
    """Return each run's [dest, src] pattern over the columns, [run, column, column]; NaN where the run has no token."""
    columns = columns_of(pair)
    found = np.full((len(patterns), len(columns), len(columns)), np.nan, dtype=np.float32)
    for weights, pattern, run in zip(found, patterns, runs, strict=True):
        at = [i for i, column in enumerate(columns) if column[_side(run)] is not None]
        weights[np.ix_(at, at)] = pattern
    return found


def spread_row(pair: EncodedPair, values: np.ndarray, run: str) -> np.ndarray:
    """Return a run's [pos] values over the columns, NaN where the run has no token."""
    at = [column[_side(run)] for column in columns_of(pair)]
    return np.array([np.nan if position is None else values[position] for position in at])


def _side(run: str) -> int:
    return 0 if run == "clean" else 1


def _token(pair: EncodedPair, run: str, position: int | None) -> str:
    return "" if position is None else shown_token(pair.texts(run)[position])


def _number(column: Column) -> str:
    clean, corrupted = (_GAP if position is None else str(position) for position in column)
    return clean if clean == corrupted else f"{clean}/{corrupted}"
