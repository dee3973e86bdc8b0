"""Tables of tokens by run: what comes next, or what a part of the model adds to the logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from traitlets import Dict, Enum, List, Unicode

from ..errors import PatchError
from .attention import RUNS
from .base import View

_MARKS = ("", "answer", "foil")


class Predictions(View):
    """Tokens of each run, side by side: the most likely next ones, or those whose logits are raised the most.

    `tables` is a list of `{"name", "label", "rows", "difference"}`, `name` one of clean, corrupted, patched; a row is
    `{"token", "prob", "logit", "mark"}` with a probability from 0 to 1 and the mark "", "answer" or "foil";
    `difference`, the answer's logit minus the foil's, is shown below the rows and may be left out. With `quantity`
    "logit" the rows show their logits and need no probability. `note` is a line below the tables. An unknown run, a row
    that lacks a part and an unknown mark raise `PatchError`.

    >>> row = {"token": " Mary", "prob": 0.92, "logit": 17.1, "mark": "answer"}
    >>> view = Predictions([{"name": "clean", "label": "clean", "rows": [row]}])
    >>> view.tables[0]["rows"][0]["token"]
    ' Mary'
    """

    title = Unicode("").tag(sync=True)
    note = Unicode("").tag(sync=True)
    quantity = Enum(["prob", "logit"], default_value="prob").tag(sync=True)
    tables = List(Dict()).tag(sync=True)

    def __init__(self, tables: Iterable[Mapping[str, Any]] = (), **traits: Any) -> None:
        checked = _checked(tables, traits.get("quantity", "prob"))
        super().__init__(kind="predictions", tables=checked, **traits)

    def show(self, tables: Iterable[Mapping[str, Any]], **traits: Any) -> None:
        """Replaces the tables and any other traits in one message."""
        with self.hold_sync():
            checked = _checked(tables, traits.get("quantity", self.quantity))
            for name, value in {"tables": checked, **traits}.items():
                setattr(self, name, value)


def _checked(tables: Iterable[Mapping[str, Any]], quantity: str) -> list[dict[str, Any]]:
    return [
        {
            "name": _run(t["name"]),
            "label": str(t["label"]),
            "rows": _rows(t["rows"], quantity),
            **({"difference": float(t["difference"])} if "difference" in t else {}),
        }
        for t in tables
    ]


def _run(name: str) -> str:
    if name not in RUNS:
        raise PatchError(f"unknown run {name!r}; known: {', '.join(RUNS)}.")
    return name


def _rows(rows: Sequence[Mapping[str, Any]], quantity: str) -> list[dict[str, Any]]:
    needed = {"token", "logit"} if quantity == "logit" else {"token", "prob", "logit"}
    checked = []
    for row in rows:
        if missing := needed - row.keys():
            raise PatchError(
                f"a prediction row lacks {', '.join(sorted(missing))}; it needs {', '.join(sorted(needed))}."
            )
        mark = row.get("mark", "")
        if mark not in _MARKS:
            raise PatchError(f"unknown mark {mark!r}; known: '', 'answer', 'foil'.")
        numbers = {name: float(row[name]) for name in ("prob", "logit") if name in row}
        checked.append({"token": str(row["token"]), **numbers, "mark": mark})
    return checked
