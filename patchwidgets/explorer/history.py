"""The way the settings came: back and forth again."""

from __future__ import annotations

from typing import Any

_MOST = 100

Settings = dict[str, Any]


class History:
    """The settings that were shown, one after the other, and where among them we are."""

    def __init__(self) -> None:
        self._past: list[Settings] = []
        self._at = -1

    @property
    def can_undo(self) -> bool:
        """Whether there were settings before these."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether there are settings that were gone back from."""
        return self._at < len(self._past) - 1

    def record(self, settings: Settings) -> None:
        """Add settings that are shown now; what was gone back from is dropped, unless it is these."""
        if self._past and settings == self._past[self._at]:
            return
        self._past = [*self._past[: self._at + 1], settings][-_MOST:]
        self._at = len(self._past) - 1

    def step(self, by: int, present: Settings) -> Settings | None:
        """Go back (-1) or forth (1) and return the settings there; None where there are none.

        From settings that were never shown, such as an unfinished prompt, back is to those shown last.
        """
        if by < 0 and self._past and present != self._past[self._at]:
            return self._past[self._at]
        if not 0 <= self._at + by < len(self._past):
            return None
        self._at += by
        return self._past[self._at]
