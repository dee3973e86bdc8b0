"""A button that copies a text the kernel has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Unicode

from .base import View


class CopyButton(View):
    """A button that asks for a text when it is pressed, and puts it on the clipboard.

    Where a page may not write there, the text is shown to be copied by hand.

    >>> CopyButton("Copy code").label
    'Copy code'
    """

    label = Unicode("").tag(sync=True)
    hint = Unicode("").tag(sync=True)

    def __init__(self, label: str = "Copy", **traits: Any) -> None:
        self._text: Callable[[], str | None] = lambda: None
        super().__init__(kind="copy", label=label, **traits)

    def on_ask(self, text: Callable[[], str | None]) -> None:
        """Calls `text()` when the button is pressed; None copies nothing."""
        self._text = text

    def _handle(self, message: dict[str, Any]) -> None:
        if message.get("type") == "copy":
            self.send({"type": "text", "text": self._text()})
