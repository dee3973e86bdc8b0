"""What is run side by side: kinds of corruption, and the words on how they were chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """The kinds of a prompt or a dataset, in the order they are run.

    Attributes:
        found: the kinds.
        told: what they are and what is left out.
        of: what settings must hold to have these kinds; one of them is enough.
    """

    found: list[Kind]
    told: str = ""
    of: Sequence[Mapping[str, Any]] = ()

    def are_of(self, settings: Mapping[str, Any]) -> bool:
        """Return whether whole settings of the Explorer have these kinds."""
        return any(all(settings[name] == value for name, value in each.items()) for each in self.of)


Stop = Callable[[], bool]
Look = Callable[[Stop], Kinds]
"""Looks for kinds until it is told to stop; raises PatchError where there is none."""
