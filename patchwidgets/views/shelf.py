"""The shelf: past runs in one line each, to bring back, compare or remove."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from traitlets import Bool, Dict, Int, List, Unicode

from ..errors import PatchError
from .base import View

_NEEDED = {"id", "name", "detail"}
_WHOLE = ("clear", "restore", "undo", "redo")
_ACTIONS = ("show", "remove", "a", "b", *_WHOLE)


class ShelfView(View):
    """A list of past runs, as the page shows it.

    `entries` holds `{"id", "name", "detail"}`, newest first: a number, what was measured and the rest of the line, as
    plain texts. `current` is the id of the one on screen, `a` and `b` the two chosen to compare, -1 for none. `told` is
    a line below. `removed` is how many runs can be put back. `undo` and `redo` say whether the keys for them do
    anything. An entry that lacks a part raises `PatchError`.

    >>> ShelfView([{"id": 1, "name": "z by layer and head, denoise", "detail": "52 cells"}]).entries[0]["id"]
    1
    """

    entries = List(Dict()).tag(sync=True)
    current = Int(-1).tag(sync=True)
    a = Int(-1).tag(sync=True)
    b = Int(-1).tag(sync=True)
    told = Unicode("").tag(sync=True)
    removed = Int(0).tag(sync=True)
    undo = Bool(False).tag(sync=True)
    redo = Bool(False).tag(sync=True)

    def __init__(self, entries: Iterable[Mapping[str, Any]] = (), **traits: Any) -> None:
        super().__init__(kind="shelf", entries=_checked(entries), **traits)

    def show(self, entries: Iterable[Mapping[str, Any]], **traits: Any) -> None:
        """Replaces the entries and any other traits in one message."""
        with self.hold_sync():
            for name, value in {"entries": _checked(entries), **traits}.items():
                setattr(self, name, value)

    def on_action(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        """Calls `callback(action, id)` for what was asked on the page; returns what ends that.

        Actions are "show", "remove", "a", "b" with an entry's id, and "clear", "restore", "undo", "redo" with -1.
        """
        return self._listen(callback)

    def _handle(self, message: dict[str, Any]) -> None:
        action, entry = message.get("type"), message.get("id", -1)
        if action not in _ACTIONS or not isinstance(entry, int) or isinstance(entry, bool):
            return
        if entry == -1 if action in _WHOLE else any(entry == known["id"] for known in self.entries):
            self._tell(action, entry)


def _checked(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    checked = []
    for entry in entries:
        if missing := _NEEDED - entry.keys():
            raise PatchError(f"an entry of the shelf lacks {', '.join(sorted(missing))}; it needs id, name and detail.")
        checked.append({"id": int(entry["id"]), "name": str(entry["name"]), "detail": str(entry["detail"])})
    return checked
