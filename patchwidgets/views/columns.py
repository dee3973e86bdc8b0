"""What a view's columns are: the tokens of the two prompts, or plain labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import PatchError


def token_columns(
    clean: Sequence[str | None],
    corrupted: Sequence[str | None] | None = None,
    *,
    differs: Sequence[bool] | None = None,
    bos: int | None = None,
    numbers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Columns that are token positions, with the texts verbatim; None is a gap, where a prompt has no token.

    `differs` defaults to where the texts differ; pass it where equal texts stand for different ids. `bos` is the
    column of the beginning-of-sequence token, or None. `numbers` names the columns' positions where they are not 0, 1,
    2 and so on. Lists of unequal length are a `PatchError`.

    >>> token_columns([" Mary", " gave"], [" Anna", " gave"])["differs"]
    [True, False]
    """
    other = list(clean) if corrupted is None else list(corrupted)
    if len(other) != len(clean):
        raise PatchError(f"{len(clean)} clean tokens and {len(other)} corrupted ones: align the prompts first.")
    marks = [a != b for a, b in zip(clean, other, strict=True)] if differs is None else [bool(d) for d in differs]
    if len(marks) != len(other):
        raise PatchError(f"differs has {len(marks)} entries for {len(other)} tokens.")
    columns = {
        "kind": "tokens",
        "title": "token",
        "clean": list(clean),
        "corrupted": other,
        "differs": marks,
        "bos": bos,
    }
    if numbers is None:
        return columns
    if len(numbers) != len(other):
        raise PatchError(f"numbers has {len(numbers)} entries for {len(other)} tokens.")
    return {**columns, "numbers": list(numbers)}


def label_columns(title: str, labels: Sequence[str]) -> dict[str, Any]:
    """Columns that are anything else: `title` says what they are, e.g. "head"."""
    return {"kind": "labels", "title": title, "labels": [str(label) for label in labels]}


def column_count(columns: dict[str, Any]) -> int:
    """How many columns there are."""
    return len(columns["clean"] if columns["kind"] == "tokens" else columns["labels"])
