"""The pairs of a dataset in the selected cell, each with its own value."""

from __future__ import annotations

import numpy as np

from .. import words
from ..engine.plan import Plan
from ..grid import Grid
from ..prompts import EncodedPair
from ..result import IMPLIED, STATUSES, PatchResult
from ..spelling import ELLIPSIS, counted, joined_text, minus, shown_text, shown_token, signed
from ..spread import CONFIDENCE, drawn_how, of_cell, pair_gaps, resolved_from
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
        gaps = pair_gaps(result)
        shares = values if raw else values * _mean_gap(result) / gaps
        pairs = [
            {
                "value": float(value),
                "own": None if raw or np.isnan(share) else float(share),
                "clean": prompt_text(pair, "clean"),
                "corrupted": prompt_text(pair, "corrupted"),
            }
            for value, share, pair in zip(values, shares, plan.pairs, strict=False)
        ]
        known, mean = np.isfinite(low), float(values.mean())
        sure = f"{CONFIDENCE:.0%} interval {signed(low)} to {signed(high)} ({drawn_how(len(values))})"
        self.view.show(
            pairs,
            title=f"{where}: its {counted(len(values), 'pair')}",
            unit=f"effect ({words.unit(result.metrics[0])})" if raw else f"{result.direction.moved}, of the mean gap",
            own=f"{result.direction.moved}, of its own gap",
            mean=mean,
            low=float(low) if known else None,
            high=float(high) if known else None,
            note=f"Mean {signed(mean)}; {sure if known else _UNBOUNDED}. {_above(result, values, flat, raw)} "
            f"{_RAW if raw else _divided(result)} {_OPENED}",
            selected=max(0, self.view.selected),
        )


def _above(result: PatchResult, values: np.ndarray, flat: int, raw: bool) -> str:
    """Return in how many pairs the effect is above 0, and in how many it may be rounding; an implied 0 is exact."""
    least = resolved_from(result, "effect" if raw else "normalized")
    told = f"Above 0 in {int((values > least).sum())} of {counted(len(values), 'pair')}"
    unresolved = int((np.abs(values) <= least).sum())
    if not unresolved or result.data["status"].values.reshape(-1)[flat] == STATUSES[IMPLIED]:
        return f"{told}."
    return f"{told}; in {unresolved} its size is at most {_at_least(least)}, which is not resolved."


def _at_least(limit: float) -> str:
    """Return a limit in two digits, rounded up: what is told to be below it is.

    >>> _at_least(0.0833), _at_least(0.1666), _at_least(1e-4)
    ('0.084', '0.17', '0.0001')
    """
    told = float(f"{limit:.1e}")
    step = float(f"1e{f'{limit:e}'.partition('e')[2]}") / 10
    return minus(f"{told if told >= limit else told + step:.2g}")


def _mean_gap(result: PatchResult) -> float:
    clean, corrupted = (float(result.data[run].values[0]) for run in ("clean", "corrupted"))
    return clean - corrupted if result.direction.base == "corrupted" else corrupted - clean


def _divided(result: PatchResult) -> str:
    return (
        f"Each dot is its pair's effect over the mean gap of the pairs, {signed(_mean_gap(result))}, as the cell is; "
        "what opens behind the cell is over the pair's own gap."
    )


_RAW = "Each dot is its pair's effect as it is: the mean gap is too small to divide by."
_OPENED = "The marked pair is the one that is opened; choose another to open the cell in it."
_UNBOUNDED = "no interval, as the mean gap's own includes 0"


def prompt_text(pair: EncodedPair, run: str) -> str:
    """Return a prompt as it was given; for token ids, what its tokens read."""
    given = pair.given[0 if run == "clean" else 1]
    return joined_text(pair.texts(run), (*pair.clean_text, *pair.corrupted_text)) if given is None else given


def named(plan: Plan, chosen: int) -> list[str | tuple[str, str]]:
    """Return which pair of a dataset is opened, as parts of a line: its number and its prompts, shortened."""
    pair = plan.pairs[chosen]
    return [
        f"Pair {chosen + 1} of {len(plan.pairs)}: ",
        (_short(prompt_text(pair, "clean")), "pw-x-clean"),
        " / ",
        (_short(prompt_text(pair, "corrupted")), "pw-x-corrupted"),
        ". All below is measured in this pair alone, by its own gap.",
    ]


def _short(text: str) -> str:
    """Return a prompt, of a long one its two ends."""
    return shown_text(text if len(text) <= 2 * _END + 3 else f"{text[:_END]} {ELLIPSIS} {text[-_END:]}")


_END = 32


def place_of(grid: Grid, row: int, col: int) -> str:
    """Return where a cell is: "layer 2, position 10 ·John"."""
    columns = grid.columns
    if columns["kind"] == "tokens":
        pair = dict.fromkeys(shown_token(text) for text in (columns["clean"][col], columns["corrupted"][col]) if text)
        if grid.columns.get("varies"):
            pair.pop(ELLIPSIS, None)
        number = columns["numbers"][col] if columns.get("numbers") else col
        across = f"position {number} {'/'.join(pair)}".strip()
    else:
        across = f"{columns['title']} {columns['labels'][col]}".strip()
    return f"{grid.row_title} {grid.rows[row]}, {across}"
