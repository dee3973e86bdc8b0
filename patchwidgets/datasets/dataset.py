"""Datasets: many prompt pairs as one immutable sequence, from lists, data frames and JSON Lines, each row checked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

from ..errors import PatchError, quoted
from ..files import written_whole
from ..prompts import PromptPair
from .rows import (
    COLUMNS,
    Label,
    as_list,
    check_whole,
    checked_labels,
    checked_pairs,
    json_row,
    make_label,
    make_pair,
    need_columns,
    warn_of_duplicates,
    writable,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Dataset(Sequence[PromptPair]):
    """An immutable sequence of prompt pairs with a name and, per pair, labels such as the template it was made from.

    `labels` maps a column to one value per pair: texts, finite numbers, bools or None. An index gives a pair, a slice a
    Dataset. Raises PatchError for no pairs, for something that is not a pair, and for labels that do not fit; warns
    of pairs given twice. Rows count from 0; in the messages about a file, lines count from 1.

    >>> data = Dataset([PromptPair("A B", "C B", answer=" A"), PromptPair("D E", "F E", answer=" D")], name="letters")
    >>> data[1].clean, len(data[:1]), data
    ('D E', 1, Dataset('letters', 2 pairs))
    """

    pairs: tuple[PromptPair, ...]
    name: str = "dataset"
    labels: Mapping[str, tuple[Label, ...]] = field(default_factory=dict, hash=False)

    def __init__(
        self,
        pairs: Iterable[PromptPair],
        *,
        name: str = "dataset",
        labels: Mapping[str, Iterable[Label]] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise PatchError(f"a dataset's name is a text, not {quoted(name)}.")
        checked = checked_pairs(pairs, name)
        self._set(checked, name, checked_labels(labels or {}, len(checked), name))
        warn_of_duplicates(checked, name)

    def _set(self, pairs: tuple[PromptPair, ...], name: str, labels: Mapping[str, tuple[Label, ...]]) -> None:
        object.__setattr__(self, "pairs", pairs)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "labels", MappingProxyType(dict(labels)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy by parts: a read-only mapping cannot be copied, and what was checked once is not warned of again."""
        return _restored, (self.pairs, self.name, dict(self.labels))

    @classmethod
    def from_lists(
        cls,
        clean: Sequence[Any],
        corrupted: Sequence[Any],
        answers: Sequence[Any],
        foils: Sequence[Any] | None = None,
        *,
        name: str = "dataset",
    ) -> Dataset:
        """Make a dataset from one list per column; None stands for an answer or foil that is not chosen yet.

        >>> len(Dataset.from_lists(["A B", "D E"], ["C B", "F E"], [" A", " D"], [" C", " F"]))
        2
        """
        given = {"clean": clean, "corrupted": corrupted, "answers": answers, "foils": foils}
        columns = {column: as_list(values, column) for column, values in given.items() if values is not None}
        lengths = {column: len(values) for column, values in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{length} {column}" for column, length in lengths.items())
            raise PatchError(f"the lists of {name!r} have unequal lengths: {told}; give one entry per pair in each.")
        rows = zip(*columns.values(), strict=True)
        pairs = [make_pair(dict(zip(COLUMNS, row, strict=False)), f"row {i}") for i, row in enumerate(rows)]
        return cls(pairs, name=name)

    @classmethod
    def from_dataframe(cls, frame: pd.DataFrame, *, name: str = "dataset") -> Dataset:
        """Make a dataset from a pandas frame with columns clean, corrupted, answer and, if wanted, foil.

        Every other column becomes a label. Rows count from 0 in the frame's order; its index is not kept. Raises
        PatchError for a missing or doubled column and for missing values, which pandas writes as NaN.
        """
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise PatchError(
                f"expected a pandas DataFrame, got {quoted(frame)}; convert it, or use Dataset.from_lists."
            )
        names = list(frame.columns)
        for column in names:
            if not isinstance(column, str):
                raise PatchError(f"column {quoted(column)} of the data frame has no text as its name; rename it.")
            if names.count(column) > 1:
                raise PatchError(f"the data frame has {names.count(column)} columns {column!r}; keep one.")
        need_columns(names, "the data frame")
        rows = zip(*(frame[column].tolist() for column in names), strict=True)
        return cls._from_rows((dict(zip(names, row, strict=True)) for row in rows), name, "row {}", 0)

    @classmethod
    def from_jsonl(cls, path: str | Path, *, name: str | None = None) -> Dataset:
        """Read a dataset from a JSON Lines file, one object per line with the keys clean, corrupted, answer, foil.

        Other keys are labels and stand in every line. The name is by default that of the file. Raises PatchError that
        names the line, counted from 1, for whatever is not such an object.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise PatchError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
        except OSError as error:
            raise PatchError(f"{path} cannot be read: {error.strerror}; check the path.") from error
        # Not splitlines(): JSON texts may hold other line separators, such as U+2028, as they are.
        lines = text.removesuffix("\n").split("\n") if text else []
        rows = [json_row(line, f"line {i}") for i, line in enumerate(lines, 1)]
        return cls._from_rows(rows, name or path.stem, "line {}", 1)

    @classmethod
    def _from_rows(cls, rows: Iterable[dict[str, Any]], name: str, where: str, first: int) -> Dataset:
        """Make a dataset from dicts; `where.format(number)` is what the messages call a row."""
        pairs, labels = [], {}
        for i, row in enumerate(rows):
            place = where.format(i + first)
            need_columns(row, place)
            pairs.append(make_pair({column: row[column] for column in COLUMNS if column in row}, place))
            others = {
                column: make_label(value, column, place) for column, value in row.items() if column not in COLUMNS
            }
            if i == 0:
                labels = {column: [] for column in others}
            for column in sorted(labels.keys() ^ others.keys()):
                has = "has no" if column in labels else "alone has the"
                raise PatchError(f"{place} {has} key {column!r}; give a label in every line or in none.")
            for column, value in others.items():
                labels[column].append(value)
        return cls(pairs, name=name, labels=labels)

    def to_jsonl(self, path: str | Path) -> Path:
        """Write the dataset as JSON Lines, whole or not at all, and return the path; `from_jsonl` reads it."""
        path = Path(path)
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self._rows()]
        try:
            with written_whole(path) as partial:
                partial.write_bytes("".join(lines).encode())
        except OSError as error:
            raise PatchError(f"{path} cannot be written: {error.strerror}; check the folder.") from error
        return path

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas frame with columns clean, corrupted, answer, foil and the labels, one row per pair."""
        import pandas as pd

        columns = {column: [getattr(pair, column) for pair in self.pairs] for column in COLUMNS}
        columns |= {column: list(values) for column, values in self.labels.items()}
        # As objects, since a column of texts or numbers would turn None, "not given", into NaN.
        dtypes = {column: object if column in COLUMNS or None in values else None for column, values in columns.items()}
        return pd.DataFrame({column: pd.Series(values, dtype=dtypes[column]) for column, values in columns.items()})

    def _rows(self) -> Iterator[dict[str, Any]]:
        for i, pair in enumerate(self.pairs):
            yield writable(pair, i) | {column: values[i] for column, values in self.labels.items()}

    def filter(self, keep: Sequence[bool] | Callable[[PromptPair], bool]) -> Dataset:
        """Return the pairs to keep: one bool per pair, or a function of a pair that returns one.

        >>> data = Dataset.from_lists(["A B", "D E"], ["C B", "F E"], [" A", " D"])
        >>> len(data.filter(lambda pair: pair.answer == " D")), len(data.filter([True, True]))
        (1, 2)
        """
        values: list[Any] = [keep(pair) for pair in self.pairs] if callable(keep) else as_list(keep, "keep")
        if len(values) != len(self):
            raise PatchError(
                f"keep has {len(values)} entries for the {len(self)} pairs of {self.name!r}; give one each."
            )
        kept = []
        for i, value in enumerate(values):
            plain = value.item() if hasattr(value, "item") else value
            if not isinstance(plain, bool):
                raise PatchError(f"keep is {quoted(value)} for row {i}; give True or False, or use subset for indices.")
            if plain:
                kept.append(i)
        if not kept:
            raise PatchError(f"none of the {len(self)} pairs of {self.name!r} is kept; loosen the filter.")
        return self._selected(kept)

    def shuffled(self, seed: int) -> Dataset:
        """Return the same pairs in an order drawn from the seed."""
        return self.sample(len(self), seed)

    def sample(self, n: int, seed: int) -> Dataset:
        """Return `n` different rows drawn from the seed, in the order drawn."""
        size = check_whole(n, "n", at_least=1)
        if size > len(self):
            raise PatchError(
                f"{self.name!r} has {len(self)} pairs, {size} cannot be drawn; ask for at most {len(self)}."
            )
        return self._selected(random.Random(check_whole(seed, "seed")).sample(range(len(self)), size))

    def subset(self, indices: Iterable[int]) -> Dataset:
        """Return the rows of these indices in their order; negative ones count from the end, none may come twice."""
        chosen: dict[int, None] = {}
        for index in as_list(indices, "indices"):
            place = check_whole(index, "an index")
            if not -len(self) <= place < len(self):
                raise PatchError(f"index {place} is outside {self.name!r}, which has {len(self)} pairs.")
            row = place % len(self)
            if row in chosen:
                raise PatchError(f"row {row} is asked for twice; a pair counts once, leave the second out.")
            chosen[row] = None
        return self._selected(list(chosen))

    def _selected(self, rows: Sequence[int]) -> Dataset:
        if not rows:
            raise PatchError(f"no pair of {self.name!r} is chosen; choose at least one of its {len(self)}.")
        labels = {column: tuple(values[i] for i in rows) for column, values in self.labels.items()}
        return _restored(tuple(self.pairs[i] for i in rows), self.name, labels)

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[PromptPair]:
        return iter(self.pairs)

    @overload
    def __getitem__(self, index: int) -> PromptPair: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> PromptPair | Dataset:
        if isinstance(index, slice):
            return self._selected(range(len(self))[index])
        return self.pairs[check_whole(index, "an index")]

    def __repr__(self) -> str:
        labels = f", labels {', '.join(self.labels)}" if self.labels else ""
        return f"Dataset({self.name!r}, {len(self)} pair{'s' * (len(self) != 1)}{labels})"


def _restored(pairs: tuple[PromptPair, ...], name: str, labels: Mapping[str, tuple[Label, ...]]) -> Dataset:
    """Make a dataset of parts that were checked before."""
    dataset = object.__new__(Dataset)
    dataset._set(pairs, name, labels)
    return dataset
