"""The attention view: where one head looks, in each of the runs, and whatever else is so laid out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from traitlets import Bytes, Dict, Int, List, Unicode

from ..errors import PatchError
from .base import View, float_array, position
from .columns import column_count, token_columns

RUNS = ("clean", "corrupted", "patched")
_Runs = Mapping[str, str] | Sequence[Mapping[str, str]]


class AttentionView(View):
    """One head's attention: a row per run for the chosen destination, and each run's whole pattern in small.

    `columns` is what `token_columns` returns; `runs` names each run ("clean", "corrupted" or "patched") and its label;
    `patterns` has shape [run, dest, src] with weights from 0 to 1. `dest` is the destination shown, by default the
    last; `note` is a line below. `more` is a list of other choices for the same columns, each `{"label", "runs",
    "patterns", "note", "limit"}`: with a `limit` its values are differences, on a scale of +-limit, and a run may be
    named "difference". `chosen` is the number of the choice shown, 0 for the weights. An unknown run or patterns of
    another shape raise `PatchError`.

    >>> view = AttentionView(token_columns(["a", "b"]), {"clean": "clean"}, [[[1.0, 0.0], [0.25, 0.75]]])
    >>> view.dest
    1
    """

    title = Unicode("").tag(sync=True)
    columns = Dict(default_value=token_columns([])).tag(sync=True)
    runs = List(Dict()).tag(sync=True)
    patterns = Bytes(b"").tag(sync=True)
    note = Unicode("").tag(sync=True)
    more = List(Dict()).tag(sync=True)
    chosen = Int(0).tag(sync=True)
    dest = Int(-1).tag(sync=True)

    def __init__(
        self,
        columns: Mapping[str, Any] | None = None,
        runs: _Runs = (),
        patterns: ArrayLike | None = None,
        **traits: Any,
    ) -> None:
        super().__init__(kind="attention", **_state(columns, runs, patterns, traits))

    def show(
        self,
        columns: Mapping[str, Any],
        runs: _Runs,
        patterns: ArrayLike,
        **traits: Any,
    ) -> None:
        """Replaces everything in one message; the arguments are the constructor's."""
        with self.hold_sync():
            for name, value in _state(columns, runs, patterns, traits).items():
                setattr(self, name, value)

    def on_dest(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """Calls `callback(position)` after another destination was chosen on the page; returns what ends that."""
        return self._listen(callback)

    def _handle(self, message: dict[str, Any]) -> None:
        pos = position(message, "pos", column_count(self.columns))
        choice = position(message, "choice", len(self.more) + 1)
        if message.get("type") == "dest" and pos is not None:
            self.dest = pos
            self._tell(pos)
        elif message.get("type") == "choose" and choice is not None:
            self.chosen = choice


def _state(
    columns: Mapping[str, Any] | None, runs: _Runs, patterns: ArrayLike | None, traits: Mapping[str, Any]
) -> dict[str, Any]:
    grid = dict(columns or token_columns([]))
    count = column_count(grid)
    named = _named(runs, RUNS)
    weights = [_weights(patterns, len(named), count)]
    more = []
    for choice in traits.get("more", ()):
        told = _named(choice["runs"], RUNS if not choice.get("limit") else (*RUNS, "difference"))
        weights.append(_weights(choice["patterns"], len(told), count))
        limit = float(choice.get("limit", 0.0))
        more.append({"label": choice["label"], "note": choice.get("note", ""), "runs": told, "limit": limit})
    state = {"columns": grid, "runs": named, "patterns": b"".join(each.tobytes() for each in weights)}
    return {"dest": count - 1, **state, **traits, "more": more}


def _named(runs: _Runs, known: Sequence[str]) -> list[dict[str, str]]:
    named = [{"name": n, "label": label} for n, label in runs.items()] if isinstance(runs, Mapping) else list(runs)
    for run in named:
        if run["name"] not in known:
            raise PatchError(f"unknown run {run['name']!r}; known: {', '.join(known)}.")
    return [dict(run) for run in named]


def _weights(patterns: ArrayLike | None, runs: int, count: int) -> np.ndarray:
    shape = (runs, count, count)
    return np.zeros(shape, "<f4") if patterns is None else float_array(patterns, shape, "patterns")
