"""The rows of a dataset: each becomes a prompt pair and its labels, or is refused by its number, column and remedy."""

from __future__ import annotations

import json
import math
import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ..answers import Continuation
from ..errors import PatchError, quoted
from ..prompts import PromptPair

Label = str | int | float | bool | None
COLUMNS = ("clean", "corrupted", "answer", "foil")
NEEDED = COLUMNS[:3]


def check_whole(value: object, what: str, *, at_least: int | None = None) -> int:
    """Return a whole number of any library's kind as an int; anything else, or too small a one, is a PatchError."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise PatchError(f"{what} must be a whole number, not {quoted(value)}.")
    number = operator.index(value)  # type: ignore[arg-type]
    if at_least is not None and number < at_least:
        raise PatchError(f"{what} must be at least {at_least}, not {number}.")
    return number


def checked_pairs(pairs: Iterable[PromptPair], name: str) -> tuple[PromptPair, ...]:
    if isinstance(pairs, PromptPair):
        raise PatchError("expected several pairs, got one PromptPair; put it in a list.")
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise PatchError(f"expected a list of PromptPairs, got {quoted(pairs)}.")
    found = tuple(pairs)
    if not found:
        raise PatchError(f"the dataset {name!r} is empty; give at least one pair.")
    for i, pair in enumerate(found):
        if not isinstance(pair, PromptPair):
            raise PatchError(
                f"row {i} of {name!r} is {quoted(pair)}, not a PromptPair; "
                "write pw.PromptPair(clean, corrupted, answer=..., foil=...)."
            )
    return found


def checked_labels(labels: Mapping[str, Iterable[Label]], n: int, name: str) -> dict[str, tuple[Label, ...]]:
    if not isinstance(labels, Mapping):
        raise PatchError(f"labels map a column to one value per pair; got {quoted(labels)}.")
    checked = {}
    for column, given in labels.items():
        if not isinstance(column, str) or column in COLUMNS:
            raise PatchError(f"{quoted(column)} cannot name a label; use a text other than {', '.join(COLUMNS)}.")
        values = as_list(given, f"label {column!r}")
        if len(values) != n:
            raise PatchError(f"label {column!r} has {len(values)} values for the {n} pairs of {name!r}; give one each.")
        checked[column] = tuple(make_label(value, column, f"row {i}") for i, value in enumerate(values))
    return checked


def warn_of_duplicates(pairs: Sequence[PromptPair], name: str) -> None:
    first: dict[PromptPair, int] = {}
    twice = [(i, first[pair]) for i, pair in enumerate(pairs) if first.setdefault(pair, i) != i]
    if twice:
        row, earlier = twice[0]
        others = f" (and {len(twice) - 1} more like it)" if len(twice) > 1 else ""
        warnings.warn(
            f"row {row} of {name!r} is the same pair as row {earlier}{others}; it counts twice in every mean. "
            "Drop it if that is not meant.",
            UserWarning,
            stacklevel=3,
        )


def as_list(values: Any, what: str) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise PatchError(f"{what} must be a list, not {quoted(values)}.")
    return list(values)


def make_pair(row: Mapping[str, Any], where: str) -> PromptPair:
    for column, value in row.items():
        if _is_missing(value):
            raise PatchError(f"{where}, column {column!r}: the value is missing (NaN); fill it in or drop the row.")
    try:
        return PromptPair(**{column: _continued(value) for column, value in row.items()})
    except PatchError as error:
        at_fault = getattr(error, "field", None)
        raise PatchError(f"{where}, column {at_fault!r}: {error}") from error


def _continued(value: Any) -> Any:
    """Return the Continuation that {"continuation": ...} stands for in a file, anything else as it is."""
    if isinstance(value, Mapping) and set(value) == {"continuation"}:
        return Continuation(value["continuation"])
    return value


def writable(pair: PromptPair, i: int) -> dict[str, Any]:
    """Return a pair as a row of a file."""
    if pair.at != -1:
        raise PatchError(f"row {i} is read at={pair.at}, for which a file has no column; leave out at=.")
    row = {column: getattr(pair, column) for column in COLUMNS}
    return {
        column: {"continuation": value.text} if isinstance(value, Continuation) else value
        for column, value in row.items()
    }


def make_label(value: Any, column: str, where: str) -> Label:
    plain = value.item() if hasattr(value, "item") else value
    if _is_missing(plain):
        raise PatchError(f"{where}, column {column!r}: the label is missing (NaN); fill it in or drop the column.")
    if plain is None or isinstance(plain, str | bool | int) or (isinstance(plain, float) and math.isfinite(plain)):
        return plain
    raise PatchError(
        f"{where}, column {column!r}: a label is a text, a finite number, a bool or None, not {quoted(value)}."
    )


def _is_missing(value: Any) -> bool:
    """Whether this is NaN, NaT or pandas' NA: the values that are not equal to themselves."""
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def need_columns(present: Iterable[str], where: str) -> None:
    names = list(present)
    missing = [column for column in NEEDED if column not in names]
    if missing:
        raise PatchError(
            f"{where} has no {' and no '.join(map(repr, missing))}; it has {', '.join(names) or 'nothing'}."
        )


def json_row(line: str, where: str) -> dict[str, Any]:
    if not line.strip():
        raise PatchError(f"{where} is empty; delete it.")
    try:
        row = json.loads(line, object_pairs_hook=_once, parse_constant=_no_constant)
    except PatchError as error:
        raise PatchError(f"{where}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise PatchError(f"{where} is not JSON ({error}); write one JSON object per line.") from error
    if not isinstance(row, dict):
        raise PatchError(f"{where} is {quoted(row)}, not an object; write {{'clean': ..., 'corrupted': ..., ...}}.")
    return row


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in items]
    for key in keys:
        if keys.count(key) > 1:
            raise PatchError(f"the key {key!r} stands there twice; keep one.")
    return dict(items)


def _no_constant(text: str) -> NoReturn:
    raise PatchError(f"{text} is no value of JSON; fill in a value or drop the line.")
