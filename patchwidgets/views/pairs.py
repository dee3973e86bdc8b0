"""The strip: what each pair of a dataset has in one cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from traitlets import Dict, Float, Int, List, Unicode

from .base import View, position


class PairStrip(View):
    """A dot per pair on a line of values, with zero, the pairs' mean and the mean's interval.

    `pairs` is a list of {"value": a number, "own": another or None, "clean": text, "corrupted": text}; `mean` and the
    interval's ends `low` and `high`, None where there is none, stand on the same line. `unit` names the values, `own`
    the other ones, which are told beside them. `note` is a line below. It is hidden while there are no pairs.

    >>> PairStrip(pairs=[{"value": 0.5, "clean": "a b", "corrupted": "a c"}], mean=0.5).pairs[0]["value"]
    0.5
    """

    title = Unicode("").tag(sync=True)
    unit = Unicode("").tag(sync=True)
    own = Unicode("").tag(sync=True)
    pairs = List(Dict()).tag(sync=True)
    mean = Float(None, allow_none=True).tag(sync=True)
    low = Float(None, allow_none=True).tag(sync=True)
    high = Float(None, allow_none=True).tag(sync=True)
    note = Unicode("").tag(sync=True)
    selected = Int(-1).tag(sync=True)

    def __init__(self, pairs: Sequence[dict[str, Any]] = (), **traits: Any) -> None:
        super().__init__(kind="pairs", pairs=list(pairs), **traits)

    def show(self, pairs: Sequence[dict[str, Any]], **traits: Any) -> None:
        """Replaces the pairs and any other traits in one message."""
        with self.hold_sync():
            for name, value in {"pairs": list(pairs), **traits}.items():
                setattr(self, name, value)

    def on_select(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Calls `callback(pair)` after a pair was chosen on the page; returns what ends that."""
        return self._listen(callback)

    def _handle(self, message: dict[str, Any]) -> None:
        pair = position(message, "pos", len(self.pairs))
        if message.get("type") == "select" and pair is not None:
            self.selected = pair
            self._tell(pair)
