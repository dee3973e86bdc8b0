"""The token strip: the two prompts, one column per position, and the editor of how they are aligned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from traitlets import Dict, Enum, Int

from ..result import PatchResult
from .base import View, position
from .columns import column_count, token_columns

Edit = Callable[[str, int | None, int | None], None]
"""("pair", "unpair" or "reset", column of the clean token picked, column of the corrupted token picked)."""

logger = logging.getLogger(__name__)


class TokenStrip(View):
    """The clean token over the corrupted token, with the differing columns marked.

    `columns` is a PatchResult, or what `token_columns` returns; `selected` is a column or -1. While `editing` is
    "proposed" or "edited", not "off", tokens can be picked and asked to be paired or unpaired, by mouse and keys;
    `on_edit` hears of it. The strip itself changes nothing: whoever listens sets new `columns`.

    >>> strip = TokenStrip(token_columns([" Mary", " gave"], [" Anna", " gave"]))
    >>> strip.selected
    -1
    """

    columns = Dict(default_value=token_columns([])).tag(sync=True)
    selected = Int(-1).tag(sync=True)
    editing = Enum(["off", "proposed", "edited"], default_value="off").tag(sync=True)

    def __init__(self, columns: Mapping[str, Any] | PatchResult | None = None, **traits: Any) -> None:
        self._editors: list[Edit] = []
        if isinstance(columns, PatchResult):
            from .of_result import strip_columns  # It knows how a result is drawn.

            columns = strip_columns(columns)
        super().__init__(kind="tokens", columns=dict(columns or token_columns([])), **traits)

    def on_select(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Calls `callback(position)` after a token was chosen on the page; returns what ends that."""
        return self._listen(callback)

    def on_edit(self, callback: Edit) -> Callable[[], None]:
        """Calls `callback(what, clean, corrupted)` when an edit is asked for on the page; returns what ends that.

        `what` is "pair", "unpair" or "reset"; `clean` and `corrupted` are the columns of the tokens picked, or None.
        """
        self._editors.append(callback)
        return lambda: self._editors.remove(callback) if callback in self._editors else None

    def _handle(self, message: dict[str, Any]) -> None:
        kind, count = message.get("type"), column_count(self.columns)
        pos = position(message, "pos", count)
        if kind == "select" and pos is not None:
            self.selected = pos
            self._tell(pos)
        elif kind in ("pair", "unpair", "reset") and self.editing != "off":
            clean, corrupted = (self._picked(message, run, count) for run in ("clean", "corrupted"))
            picked = sum(at is not None for at in (clean, corrupted))
            if picked >= {"pair": 2, "unpair": 1, "reset": 0}[kind]:
                self._edit(kind, clean, corrupted)

    def _picked(self, message: dict[str, Any], run: str, count: int) -> int | None:
        """The column of the token picked of a run; None also where the run has a gap there."""
        at = position(message, run, count)
        return None if at is None or self.columns[run][at] is None else at

    def _edit(self, kind: str, clean: int | None, corrupted: int | None) -> None:
        for editor in tuple(self._editors):
            try:
                editor(kind, clean, corrupted)
            except Exception:
                logger.exception("A listener of %s failed", type(self).__name__)
