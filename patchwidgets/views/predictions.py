"""The next-token tables of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from traitlets import Dict, List, Unicode

from ..errors import PatchError
from .attention import RUNS
from .base import View

_MARKS = ("", "answer", "foil")
_NEEDED = {"token", "prob", "logit"}


class Predictions(View):
    """The most likely next tokens of each run, side by side.

    `tables` is a list of `{"name", "label", "rows"}`, `name` one of clean, corrupted, patched; a row is
    `{"token", "prob", "logit", "mark"}` with a probability from 0 to 1 and the mark "", "answer" or "foil". An unknown
    run, a row that lacks a part and an unknown mark raise `PatchError`.

    >>> row = {"token": " Mary", "prob": 0.92, "logit": 17.1, "mark": "answer"}
    >>> view = Predictions([{"name": "clean", "label": "clean", "rows": [row]}])
    >>> view.tables[0]["rows"][0]["token"]
    ' Mary'
    """

    title = Unicode("").tag(sync=True)
    tables = List(Dict()).tag(sync=True)

    def __init__(self, tables: Iterable[Mapping[str, Any]] = (), **traits: Any) -> None:
        super().__init__(kind="predictions", tables=_checked(tables), **traits)

    def show(self, tables: Iterable[Mapping[str, Any]], **traits: Any) -> None:
        """Replaces the tables and any other traits in one message."""
        with self.hold_sync():
            for name, value in {"tables": _checked(tables), **traits}.items():
                setattr(self, name, value)


def _checked(tables: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": _run(t["name"]), "label": str(t["label"]), "rows": _rows(t["rows"])} for t in tables]


def _run(name: str) -> str:
    if name not in RUNS:
        raise PatchError(f"unknown run {name!r}; known: {', '.join(RUNS)}.")
    return name


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    checked = []
    for row in rows:
        if missing := _NEEDED - row.keys():
            raise PatchError(f"a prediction row lacks {', '.join(sorted(missing))}; it needs token, prob and logit.")
        mark = row.get("mark", "")
        if mark not in _MARKS:
            raise PatchError(f"unknown mark {mark!r}; known: '', 'answer', 'foil'.")
        numbers = {"prob": float(row["prob"]), "logit": float(row["logit"])}
        checked.append({"token": str(row["token"]), **numbers, "mark": mark})
    return checked
