"""What the tables of wrong inputs are made of."""

from __future__ import annotations

from typing import Any

from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.prompts import PromptPair

CLEAN, CORRUPTED = "w1 w2 w3", "w1 w4 w3"


def pair(clean: Any = CLEAN, corrupted: Any = CORRUPTED, answer: Any = "w5", foil: Any = "w6", at: Any = -1) -> Any:
    return PromptPair(clean, corrupted, answer=answer, foil=foil, at=at)


SHORT = pair("w1 w2", "w1 w4")
UNEQUAL = Dataset([pair(), SHORT])
LONG = Continuation("w5 w7")


def cell(site: str = "z", **place: Any) -> tuple[str, dict[str, Any]]:
    return site, place


def ids(table: list[tuple[Any, str]]) -> list[str]:
    """Return the beginnings of a table's messages, by which its rows are called."""
    return [message[:48] for _, message in table]
