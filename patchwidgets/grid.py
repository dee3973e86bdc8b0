"""How a sweep's cells lie on a page: which axes are rows, which are columns, and what they are called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .spelling import ELLIPSIS

if TYPE_CHECKING:
    from .result import PatchResult

Key = dict[str, int | str]
"""Axis -> index in the model; for the sets of a Joint their names."""

_ACROSS = ("pos", "src", "dest", "head", "neuron")
"""What the columns may be, the first that a sweep has."""


@dataclass(frozen=True)
class Tokens:
    """The tokens over a grid's columns: both prompts' texts and the position of a beginning-of-sequence token.

    `differs` says per position whether the two prompts hold different tokens; it defaults to where the texts differ,
    which is not the same where two tokens have one text. Of several pairs they are what all pairs share, and `varied`
    holds per run the positions at which an ellipsis stands for the pairs' own tokens.
    """

    clean: Sequence[str]
    corrupted: Sequence[str]
    bos: int | None = None
    differs: Sequence[bool] | None = None
    varied: Mapping[str, Collection[int]] | None = None

    def columns(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return the column description of the given positions, as views draw it."""
        clean, corrupted = ([texts[p] for p in positions] for texts in (self.clean, self.corrupted))
        known = self.differs
        differs = [self.clean[p] != self.corrupted[p] if known is None else bool(known[p]) for p in positions]
        bos = list(positions).index(self.bos) if self.bos is not None and self.bos in positions else None
        columns = {
            "kind": "tokens", "title": "token", "clean": clean, "corrupted": corrupted, "differs": differs, "bos": bos,
        }  # fmt: skip
        if self.varied is not None:
            columns["varies"] = [[run for run in self.varied if p in self.varied[run]] for p in positions]
        some = list(positions) != list(range(len(clean)))
        return {**columns, "numbers": [str(position) for position in positions]} if some else columns


@dataclass(frozen=True)
class Grid:
    """A table of cells.

    Attributes:
        rows, row_title: the rows' labels and what they are.
        columns: what stands over the columns: tokens or labels.
        row_keys, col_keys: the axis indices a row or column stands for, e.g. {"layer": 3}.
        raster: for every place of the table, row by row, the flat index of its cell, -1 where there is none.
        linked: what views of one group mark together per column; the column keys where nothing else is given.
    """

    rows: list[str]
    row_title: str
    columns: dict[str, Any]
    row_keys: list[Key]
    col_keys: list[Key]
    raster: np.ndarray
    linked: list[Key] | None = None

    @property
    def links(self) -> list[Key]:
        """What views of one group mark together, per column."""
        return self.col_keys if self.linked is None else self.linked

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return len(self.row_keys), len(self.col_keys)

    def places(self, cells: np.ndarray) -> np.ndarray:
        """Return where in the table the given cells are, as flat indices."""
        there = np.flatnonzero(self.raster >= 0)
        inverse = np.empty(len(there), dtype=self.raster.dtype)
        inverse[self.raster[there]] = there
        return inverse[cells]

    def key(self, row: int, col: int) -> Key:
        """Return the axis indices of a place."""
        return {**self.row_keys[row], **self.col_keys[col]}


def make_grid(by: Sequence[str], labels: Mapping[str, Sequence[Any]], tokens: Tokens) -> Grid:
    """Return the table of a sweep: positions, where there are any, are the columns; else heads or neurons.

    >>> grid = make_grid(("layer", "head"), {"layer": [0, 1], "head": [0, 1, 2]}, Tokens([], []))
    >>> grid.shape, grid.key(1, 2)
    ((2, 3), {'layer': 1, 'head': 2})
    """
    across = next((axis for axis in _ACROSS if axis in by), None)
    down = [axis for axis in by if axis != across]
    sizes = [len(labels[axis]) for axis in by]
    cells = np.arange(int(np.prod(sizes))).reshape(sizes)
    if across is not None:
        cells = np.moveaxis(cells, list(by).index(across), -1)
    row_keys = [
        {axis: labels[axis][i] for axis, i in zip(down, where, strict=True)}
        for where in np.ndindex(*(len(labels[axis]) for axis in down))
    ]
    col_keys = [{across: i} for i in labels[across]] if across else [{}]
    rows = [".".join(str(i) for i in key.values()) for key in row_keys]
    return Grid(
        rows,
        ".".join(_TITLES.get(axis, axis) for axis in down),
        _columns(across, labels, tokens),
        row_keys,
        col_keys,
        cells.reshape(-1),
    )


_TITLES = {"dest": "to", "src": "from"}


def _columns(across: str | None, labels: Mapping[str, Sequence[Any]], tokens: Tokens) -> dict[str, Any]:
    if across in ("pos", "src", "dest"):
        return {**tokens.columns(labels[across]), "title": {"src": "from", "dest": "to"}.get(across, "token")}
    if across is not None:
        return {"kind": "labels", "title": across, "labels": [f"{across[0]}{i}" for i in labels[across]]}
    return {"kind": "labels", "title": "", "labels": ["all tokens" if "layer" in labels else "effect"]}


def grid_of(result: PatchResult) -> Grid:
    """Return the table of a result."""
    labels = {axis: result.data[axis].values.tolist() for axis in result.by}
    return make_grid(result.by, labels, tokens_of(result))


def tokens_of(result: PatchResult) -> Tokens:
    """Return the tokens of a result's prompts, at every position of the run that is changed."""
    p = result.provenance
    plain = p.get("n", 1) == 1 and p.get("alignment") is None and "tokens" in p
    # A difference of two alignments has none of its own.
    plain = plain and len(p["tokens"]["clean"]) == len(p["tokens"]["corrupted"])
    differs = [a != b for a, b in zip(p["tokens"]["clean"], p["tokens"]["corrupted"], strict=True)] if plain else None
    texts = {run: p["texts"][run] for run in ("clean", "corrupted")}
    varied = None
    if p.get("n", 1) > 1:  # Results that were saved before they held where the pairs vary tell of it by the ellipsis.
        told = {run: [i for i, text in enumerate(found) if text == ELLIPSIS] for run, found in texts.items()}
        varied = p.get("varied", told)
    return Tokens(texts["clean"], texts["corrupted"], p["bos_at"], differs, varied)


def gapped_columns(grid: Grid, result: PatchResult) -> dict[str, Any]:
    """Return a grid's columns with a gap, None, where a token has no counterpart in the other prompt."""
    if grid.columns["kind"] != "tokens":
        return grid.columns
    return with_gaps(grid.columns, [next(iter(key.values())) for key in grid.col_keys], result)


def with_gaps(columns: dict[str, Any], positions: Sequence[Any], result: PatchResult) -> dict[str, Any]:
    """Return columns of the tokens at some positions with a gap, None, for the counterpart that a token lacks."""
    alignment = result.provenance.get("alignment")
    if alignment is None:
        return columns
    base, other = (0, 1) if result.direction.base == "clean" else (1, 0)
    alone = {column[base] for column in alignment if column[other] is None}
    name = ("clean", "corrupted")[other]
    return {**columns, name: [None if i in alone else text for i, text in zip(positions, columns[name], strict=True)]}
