"""Which cells several sweeps found: all of them, some, one or none, of those that reach the cell; and the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.plan import Plan
from ..errors import PatchError
from ..result import ESTIMATED, IMPLIED, MEASURED, PENDING, UNAVAILABLE, PatchResult
from ..spelling import counted
from ..views.of_result import values_of
from .slots import plan_grid

_NONE, _ONE, _SOME, _ALL = "none", "one", "some", "all"
_MARK = {_NONE: 8, _ONE: 2, _SOME: 3, _ALL: 1}


@dataclass(frozen=True)
class Count:
    """How many sweeps found each cell of their table, each array [row, column].

    A sweep reaches a cell that it measures: one whose two prompts differ there or before. Where they do not, the effect
    is implied to be 0, and the sweep can find nothing.

    Attributes:
        hits, reached: the sweeps that found a cell, and that reach it.
        status: unavailable or pending where one sweep has the cell so, implied where none reaches it, else measured.
        sweeps: how many there are.
    """

    hits: np.ndarray
    reached: np.ndarray
    status: np.ndarray
    sweeps: int

    @property
    def known(self) -> np.ndarray:
        """Where a sweep has measured something, and none has something left to measure."""
        return self.status == MEASURED

    @property
    def shares(self) -> np.ndarray:
        """The share that found a cell of the sweeps that reach it; 0 where none does, NaN where it is not known."""
        shares = self.hits / np.maximum(self.reached, 1)
        return np.where(np.isin(self.status, (MEASURED, IMPLIED)), shares, np.nan)

    @property
    def classes(self) -> np.ndarray:
        """Which cells all, some, one or none found of those that reach it; one sweep is all where there is no other."""
        every = (self.hits == self.reached) & (self.reached > min(1, self.sweeps - 1))
        return np.select([self.hits == 0, every, self.hits == 1], [_NONE, _ALL, _ONE], _SOME)

    @property
    def marks(self) -> np.ndarray:
        """The classes as marks of the map."""
        marks = np.select([self.classes == name for name in _MARK], list(_MARK.values()))
        return np.where(self.known, marks, 0)

    @property
    def uneven(self) -> bool:
        """Whether some sweep does not reach what another does."""
        return bool((self.reached[self.known] < self.sweeps).any())

    def words(self, threshold: float, moved: str) -> dict[str, str]:
        """Return the words of the map; `moved` is what a normalized effect is called."""
        reach, sweeps = " that reach it" if self.uneven else "", counted(self.sweeps, "kind")
        every = f"all {sweeps}" if self.sweeps > 1 else "the one kind there is"
        said = {
            "title": f"Found by how many of {sweeps}: |{moved}| at least {threshold:g}",
            "unit": "share of kinds",
            "alone": "yes",
            "counted": f"kinds{reach}",
            "from_zero": "yes",
            "verb": "select",
            "implied": "exactly 0 under every kind: the prompts do not differ before here",
            "mark_1": f"found by all the kinds{reach}, two at least" if reach else f"found by {every}",
            "mark_1_short": _ALL,
            "mark_2": "found by one kind",
            "mark_2_short": _ONE,
            "mark_3": f"found by some of the kinds{reach}" if reach else "found by some kinds",
            "mark_3_short": _SOME,
            "mark_8": "found by no kind",
            "mark_8_short": _NONE,
        }
        if reach:
            said["sentence"] = (
                "A kind reaches the cells from its first differing token on; before that its effect is exactly 0. A "
                "cell shows how many found it, as a share of the kinds that reach it."
            )
        return said

    def summary(self, threshold: float, moved: str) -> str:
        """Return in one sentence how many cells each number of kinds found."""
        classes = self.classes[self.known]
        told = ", ".join(f"{int((classes == name).sum())} by {name}" for name in (_ALL, _SOME, _ONE, _NONE))
        of = ", of those that reach the cell" if self.uneven else ""
        return f"Cells found by {counted(self.sweeps, 'kind')} at |{moved}| \u2265 {threshold:g}: {told}{of}."


def count(found: Sequence[tuple[Plan, PatchResult]], threshold: float) -> Count:
    """Return how many results found each place of the table they share.

    A result has found a cell when its normalized effect is at least `threshold`, of either sign. Raises PatchError for
    tables of different sizes.
    """
    values = [values_of(result, plan_grid(plan)) for plan, result in found]
    if len({each["status"].shape for each in values}) > 1:
        raise PatchError("the kinds have tables of different sizes, which cannot be counted together.")
    statuses = np.stack([each["status"] for each in values])
    reaches = np.isin(statuses, (MEASURED, ESTIMATED))
    hits = np.stack([np.abs(each["normalized"]) >= threshold for each in values]) & reaches
    reached = reaches.sum(0)
    status = np.select(
        [(statuses == UNAVAILABLE).any(0), (statuses == PENDING).any(0), reached == 0],
        [UNAVAILABLE, PENDING, IMPLIED],
        MEASURED,
    )
    return Count(hits.sum(0), reached, status, len(values))


def clean_alone(columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns under the clean prompt's tokens: the corrupted ones are different in every kind."""
    if columns["kind"] != "tokens":
        return columns
    return {**columns, "corrupted": columns["clean"], "differs": [False] * len(columns["clean"])}
