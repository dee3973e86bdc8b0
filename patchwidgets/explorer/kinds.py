"""What is run side by side: kinds of corruption, and the words on how they were chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of corruption and the settings that sweep it.

    Attributes:
        name: what it is called where something is said of it.
        title: the line above its map.
        settings: whole settings of the Explorer.
        uncounted: why the cells it finds are not counted with those of the others, "" where they are.
        note: what else is to be known of its prompts, in sentences.
    """

    name: str
    title: str
    settings: dict[str, Any]
    uncounted: str = ""
    note: str = ""


@dataclass(frozen=True)
class Kinds:
    """The kinds of a prompt or a dataset, in the order they are run; `told` says what they are and what is left out."""

    found: list[Kind]
    told: str = ""


Stop = Callable[[], bool]
Look = Callable[[Stop], Kinds]
"""Looks for kinds until it is told to stop; raises PatchError where there is none."""
