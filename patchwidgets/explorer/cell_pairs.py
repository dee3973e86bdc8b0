"""The pairs of a dataset in the selected cell, each with its own value."""

from __future__ import annotations

import numpy as np

from .. import words
from ..engine.plan import Plan
from ..grid import Grid
from ..prompts import EncodedPair
from ..result import PatchResult
from ..spelling import shown_token, signed
from ..spread import CONFIDENCE, drawn_how, of_cell
from ..views import PairStrip


class CellPairs:
    """The strip below the map, for one cell of a dataset's sweep at a time."""

    def __init__(self) -> None:
        self.view = PairStrip()

    def clear(self) -> None:
        """Show nothing."""
        self.view.show([], selected=-1)

    def show(self, result: PatchResult, plan: Plan, flat: int, where: str) -> None:
        """Show a cell's pairs in a result's first metric; nothing where the cell has no values yet."""
        raw = bool(words.small_gaps(result))
        found = of_cell(result, flat, "effect" if raw else "normalized")
        if found is None:
            self.clear()
            return
        values, (low, high) = found
        pairs = [
            {"value": float(value), "clean": prompt_text(pair, "clean"), "corrupted": prompt_text(pair, "corrupted")}
            for value, pair in zip(values, plan.pairs, strict=False)
        ]
        known, mean = np.isfinite(low), float(values.mean())
        sure = f"{CONFIDENCE:.0%} interval {signed(low)} to {signed(high)} ({drawn_how(len(values))})"
        above = int((values > 0).sum())
        self.view.show(
            pairs,
            title=f"{where}: its {len(values)} pairs",
            unit=f"effect ({words.unit(result.metrics[0])})" if raw else result.direction.moved,
            mean=mean,
            low=float(low) if known else None,
            high=float(high) if known else None,
            note=f"Mean {signed(mean)}; {sure if known else _UNBOUNDED}. Above 0 in {above} of {len(values)} pairs."
            f" {_OPENED}",
            selected=max(0, self.view.selected),
        )


_OPENED = "The marked pair is the one that is opened; choose another to open the cell in it."
_UNBOUNDED = "no interval, as the mean gap's own includes 0"


def prompt_text(pair: EncodedPair, run: str) -> str:
    """Return a prompt as it was given; for token ids, what its tokens read."""
    given = pair.given[0 if run == "clean" else 1]
    return "".join(pair.texts(run)) if given is None else given


def place_of(grid: Grid, row: int, col: int) -> str:
    """Return where a cell is: "layer 2, position 10 ·John"."""
    columns = grid.columns
    if columns["kind"] == "tokens":
        pair = dict.fromkeys(shown_token(text) for text in (columns["clean"][col], columns["corrupted"][col]) if text)
        pair.pop("\u2026", None)  # The pairs differ there.
        number = columns["numbers"][col] if columns.get("numbers") else col
        across = f"position {number} {'/'.join(pair)}".strip()
    else:
        across = f"{columns['title']} {columns['labels'][col]}".strip()
    return f"{grid.row_title} {grid.rows[row]}, {across}"
