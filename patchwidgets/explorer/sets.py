"""The datasets a sweep can run over: those of the generators, and one that was given; each as one model reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

from .. import generators
from ..datasets import Dataset
from ..datasets.rows import check_whole
from ..engine.answered import right
from ..engine.handle import ModelHandle
from ..engine.patch import encode
from ..errors import PatchError, quoted, unknown
from ..interventions import Patch
from ..prompts import EncodedPair
from ..spelling import counted

DEFAULT, MOST = 32, 1000
"""How many pairs are drawn where nothing is said, and at most."""

Asked = dict[str, Any]
"""A dataset in the settings: {"name": "IOI, ABA", "n": 32, "seed": 0}."""


@dataclass(frozen=True)
class Task:
    """What a generator draws; `foil_wins` says whether the corrupted prompt calls for the foil."""

    draw: Callable[..., Dataset]
    foil_wins: bool = True


IOI_TASKS = {kind: "IOI, name replaced" if kind == "replace" else f"IOI, {kind}" for kind in generators.IOI_KINDS}
"""The names of the tasks of indirect object identification, by the kind of corruption."""

_FOIL_WINS = frozenset({"replace", "BAA", "ABA"})

TASKS: Mapping[str, Task] = {
    **{name: Task(partial(generators.ioi, kind=kind), kind in _FOIL_WINS) for kind, name in IOI_TASKS.items()},
    "Induction": Task(generators.induction),
    "Facts": Task(generators.facts),
    "Greater than": Task(generators.greater_than),
    "Docstring": Task(generators.docstring),
    "Addition": Task(generators.addition),
}


@dataclass(frozen=True)
class Drawn:
    """A dataset as it is swept.

    Attributes:
        drawn: how many pairs it has.
        data, pairs: those the model answers rightly, as texts and as tokens.
        rule: what "rightly" means here.
    """

    drawn: int
    data: Dataset
    pairs: tuple[EncodedPair, ...]
    rule: str

    def of(self, by: tuple[str, ...], direction: str) -> tuple[EncodedPair, ...]:
        """Return the pairs that a sweep by these axes can be over: where positions are swept, those of one length."""
        if not {"pos", "dest", "src"} & set(by):
            return self.pairs
        base = Patch(direction).base
        [(length, _)] = Counter(len(pair.ids(base)) for pair in self.pairs).most_common(1)
        return tuple(pair for pair in self.pairs if len(pair.ids(base)) == length)

    def told(self, by: tuple[str, ...], direction: str) -> str:
        """Return in words how many pairs are swept, and why no more."""
        pairs = self.of(by, direction)
        told = f"{self.drawn} pairs, {len(self.pairs)} of them answered rightly ({self.rule})"
        if len(pairs) < len(self.pairs):
            length, have = len(pairs[0].ids(Patch(direction).base)), "has" if len(pairs) == 1 else "have"
            return (
                f"{told}; {len(pairs)} of those {have} {counted(length, 'token')}, and a position must mean one thing."
            )
        return f"{told}."


class Sets:
    """The datasets by name for one model, each drawn and read once. `given` stands beside those of the generators."""

    def __init__(self, handle: ModelHandle, given: Dataset | None) -> None:
        self._handle, self.given = handle, given
        self._read: dict[tuple[object, ...], Drawn] = {}

    @property
    def names(self) -> list[str]:
        """What can be chosen; the dataset that was given comes first."""
        return list(dict.fromkeys([*([] if self.given is None else [self.given.name]), *TASKS]))

    def asked(self, name: str, n: int | None = None) -> Asked:
        """Return a dataset of so many pairs as it stands in the settings."""
        given = self.given is not None and name == self.given.name
        size = len(self.given) if given and self.given is not None else DEFAULT
        return {"name": name, "n": size if n is None else n, "seed": 0}

    def checked(self, value: object) -> Asked | None:
        """Return a dataset of assigned settings, None for one pair; what nobody knows is a PatchError."""
        if value is None:
            return None
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or "name" not in value:
            told = '{"name": "Induction", "n": 32}'
            raise PatchError(f"dataset must be None or settings such as {told}, not {quoted(value)}.")
        name = value["name"]
        if not isinstance(name, str) or name not in self.names:
            raise unknown("dataset", name, self.names)
        found = {**self.asked(name), **value}
        if set(found) != {"name", "n", "seed"}:
            raise unknown("setting of a dataset", next(iter(set(found) - {"name", "n", "seed"})), ("name", "n", "seed"))
        n, seed = check_whole(found["n"], "n", at_least=2), check_whole(found["seed"], "seed")
        most = MOST if self.given is None or name != self.given.name else len(self.given)
        if n > most:
            raise PatchError(f"the dataset {name!r} has at most {most} pairs here, not {n}; ask for fewer.")
        return {"name": name, "n": n, "seed": seed}

    def read(self, asked: Asked, *, needs_foil: bool) -> Drawn:
        """Return a dataset's pairs that the model answers rightly. Runs the model the first time."""
        key = (*asked.values(), needs_foil)
        if key not in self._read:
            # scipy takes a while to import: now, and not while intervals are drawn and the page waits for the lock.
            import_module("..stats", __package__)
            try:
                self._read[key] = self._reading(asked, needs_foil)
            except PatchError as error:
                raise PatchError(str(error)) from error  # of the dataset, and of no field
        return self._read[key]

    def _reading(self, asked: Asked, needs_foil: bool) -> Drawn:
        name, n, seed = asked["name"], asked["n"], asked["seed"]
        if self.given is not None and name == self.given.name:
            data, foil_wins = self.given[:n], True
        elif name in TASKS:
            data, foil_wins = TASKS[name].draw(n, seed=seed), TASKS[name].foil_wins
        else:  # of a saved shelf
            raise unknown("dataset", name, self.names)
        if any(pair.at != -1 for pair in data):
            raise PatchError("the Explorer reads the last position; give pairs without at=, or use pw.patch.")
        judged = data if foil_wins else [replace(pair, foil=None) for pair in data]
        rows = Dataset(judged, name=name, labels={"row": range(len(data))})
        kept = data.subset([int(row) for row in right(self._handle.bridge, rows).labels["row"]])  # type: ignore[arg-type]
        pairs = encode(self._handle, kept, align="auto", needs_foil=needs_foil)
        if any(len(sequence) > 1 for pair in pairs for sequence in (*pair.answers, *pair.foils)):
            raise PatchError("the Explorer reads one token; for several in a row use pw.patch, metric logprob.")
        if len(pairs) < 2:
            raise PatchError(f"the model answers one of the {n} pairs of {name!r} rightly; ask for more pairs.")
        foils = foil_wins and any(pair.foil is not None for pair in kept)
        rule = "the answer first after clean" + (", the foil above it after corrupted" if foils else "")
        return Drawn(len(data), kept, pairs, rule)
