"""The token strip: the two prompts, one column per position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from traitlets import Dict, Int

from .base import View, position
from .columns import column_count, token_columns


class TokenStrip(View):
    """The clean token over the corrupted token, with the differing columns marked.

    `columns` is what `token_columns` returns; `selected` is a position or -1.

    >>> strip = TokenStrip(token_columns([" Mary", " gave"], [" Anna", " gave"]))
    >>> strip.selected
    -1
    """

    columns = Dict(default_value=token_columns([])).tag(sync=True)
    selected = Int(-1).tag(sync=True)

    def __init__(self, columns: Mapping[str, Any] | None = None, **traits: Any) -> None:
        super().__init__(kind="tokens", columns=dict(columns or token_columns([])), **traits)

    def on_select(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Calls `callback(position)` after a token was chosen on the page; returns what ends that."""
        return self._listen(callback)

    def _handle(self, message: dict[str, Any]) -> None:
        pos = position(message, "pos", column_count(self.columns))
        if message.get("type") == "select" and pos is not None:
            self.selected = pos
            self._tell(pos)
