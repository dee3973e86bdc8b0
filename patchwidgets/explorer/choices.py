"""What can stand in the intervention control: one entry per word, each with the object it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..datasets import Dataset
from ..engine.handle import ModelHandle
from ..engine.patch import prompts_of
from ..errors import PatchError, PromptError, quoted, unknown
from ..interventions import (
    INTERVENTIONS,
    Intervention,
    Mask,
    Mean,
    Noise,
    Patch,
    Resample,
    Scale,
    Vector,
    Zero,
    get_intervention,
)
from ..prompts import EncodedPair
from ..spelling import brief, counted

_DEFAULTS: dict[str, Intervention] = {"zero": Zero(), "scale": Scale(), "noise": Noise(), "mask": Mask()}
_NEED_DATASET = ("mean", "mean overall", "resample")
_ORDER = ("patch", "zero", *_NEED_DATASET, "scale", "noise", "mask", "vector")
_TOLD = {
    "patch": "take the other run's activation",
    "zero": "set the activation to zero",
    "mean": "set it to its mean over the dataset at the same position",
    "mean overall": "set it to its mean over the dataset and all positions",
    "resample": "take it from another prompt of the dataset, drawn at random",
    "scale": "multiply the activation by a factor",
    "noise": "add Gaussian noise, the mean over so many draws",
    "mask": "keep what the metric's gradient raises, drop the rest",
    "vector": "set it to a vector of your own, or add that",
}


class Choices:
    """The entries by name. `dataset` is where means and samples come from, None for none.

    A given intervention stands under its own word, in place of the entry's default. A word in settings means the
    default, where there is one: what else stands there has its settings beside its name.
    """

    def __init__(self, dataset: Dataset | None = None) -> None:
        if dataset is not None and not isinstance(dataset, Dataset):
            raise PatchError(f"dataset must be a Dataset, not {quoted(dataset)}; write pw.Dataset(pairs).")
        self._dataset = dataset
        self._made = dict(_DEFAULTS)
        if dataset is not None:
            self._made |= {"mean": Mean(dataset), "mean overall": Mean(dataset, per_position=False)}
            self._made["resample"] = Resample(dataset)
        self._defaults = dict(self._made)
        # Plain data cannot hold a dataset: what was given with one is found here again, the latest first.
        self._given: list[Intervention] = []

    @property
    def options(self) -> list[tuple[str, str]]:
        """The entries as (label, name); the label says what an entry lacks."""
        return [(self._label(name), name) for name in _ORDER]

    @property
    def tooltip(self) -> str:
        """What every entry does."""
        return "; ".join(f"{_called(name)}: {told}" for name, told in _TOLD.items())

    def lacks(self, name: str) -> str:
        """Return why an entry cannot be chosen, "" where it can."""
        if name == "patch" or name in self._made:
            return ""
        if name == "vector":
            return "vector needs its values: explorer.intervention = pw.Vector([...])."
        return _needs_dataset(name)

    def checked(self, value: object) -> str | Intervention:
        """Return an entry's name, or the intervention meant by an object or its plain data.

        Raises PatchError for a name nobody knows, an entry that lacks something, and settings that do not fit.
        """
        if isinstance(value, str):
            if value not in _ORDER:
                raise unknown("intervention", value, _ORDER)
            if self.lacks(value):
                raise PatchError(self.lacks(value))
            return value
        if value is None or isinstance(value, Patch):
            return "patch"
        if isinstance(value, Mapping):
            if value.get("name") == "patch" and value.keys() <= {"name", "direction"}:
                return "patch"  # Its direction is a setting of its own.
            known = (made for name, made in self._made.items() if self.plain(name) == value)
            before = (made for made in self._given if _spelled(made) == value)
            return next(known, None) or next(before, None) or self._from_plain(dict(value))
        return self._with_dataset(get_intervention(value, "denoise"))

    def add(self, value: object) -> str:
        """Make what `checked` allows an entry, and return its name."""
        what = self.checked(value)
        if isinstance(what, str):
            self._made |= {name: made for name, made in self._defaults.items() if name == what}
            return what
        name = "mean overall" if isinstance(what, Mean) and not what.per_position else what.name
        self._made[name] = what
        if isinstance(what, (Mean, Resample)):
            self._given = [what, *(made for made in self._given if made != what)]
        return name

    def make(self, given: object, direction: str) -> Intervention:
        """Return the intervention of settings: a name, or the plain data of an entry."""
        what = self.checked(given)
        if isinstance(what, str):
            return Patch(direction) if what == "patch" else self._defaults.get(what) or self._made[what]
        return what

    def entry(self, name: str) -> Intervention | None:
        """Return what stands under an entry's name; None for a patch, and where the entry lacks something."""
        return self._made.get(name)

    def default(self, name: str) -> Intervention | None:
        """Return what stands there where nothing was given; None where there is no such thing."""
        return self._defaults.get(name)

    def plain(self, name: str) -> str | dict[str, Any]:
        """Return an entry as plain data: its name, with its settings where they are not the default ones."""
        what = self._made.get(name)
        return name if what is None or what == self._defaults.get(name) else _spelled(what)

    def spelled(self, what: str | Intervention) -> str | dict[str, Any]:
        """Return what `checked` allows as plain data. Raises PatchError for a dataset, which no plain data names."""
        if isinstance(what, str):
            return what if what in self._defaults else self.plain(what)
        standing = next((name for name, made in self._made.items() if made is what), None)
        if standing is not None:
            return self.plain(standing)
        known = any(made is what for made in self._given)
        if isinstance(what, (Mean, Resample)) and what.over is not self._dataset and not known:
            told = f"explorer.intervention = {type(what).__name__}(...)"
            raise PatchError(f"settings are plain data and cannot hold a dataset; assign {told}.")
        return next((name for name, made in self._defaults.items() if what == made), _spelled(what))

    def _from_plain(self, given: dict[str, Any]) -> Intervention:
        name = given.pop("name", None)
        kind = INTERVENTIONS.get(name) if isinstance(name, str) else None
        if kind is None or kind is Patch:
            raise unknown("intervention", name, [known for known in INTERVENTIONS if known != "patch"])
        try:
            return self._with_dataset(kind(**given))
        except TypeError as error:
            told = ", ".join(map(repr, given)) or "no settings"
            raise PatchError(f"{name} cannot be made with {told}: give the settings of pw.{kind.__name__}.") from error

    def _with_dataset(self, what: Intervention) -> Intervention:
        if not isinstance(what, (Mean, Resample)) or isinstance(what.over, Dataset):
            return what
        if what.over is not None:
            raise PatchError(f"{what.name}: over must be a Dataset, not {quoted(what.over)}.")
        if self._dataset is None:
            raise PatchError(_needs_dataset(what.name))
        settings = {key: value for key, value in what.settings().items() if key != "over"}
        return type(what)(self._dataset, **settings)

    def _label(self, name: str) -> str:
        if self.lacks(name):
            return f"{name} (needs {'its values' if name == 'vector' else 'a dataset'})"
        what = self._made.get(name)
        if isinstance(what, Vector):
            given = what.values
            of = brief(given) if isinstance(given, (int, float)) else f"of {counted(len(given), 'number')}"
            return f"vector {of}"
        return _called(name)


class Prompts:
    """The prompts of datasets as one model's tokens, each dataset read once."""

    def __init__(self, handle: ModelHandle) -> None:
        self._handle = handle
        self._read: dict[int, tuple[object, tuple[EncodedPair, ...]]] = {}

    def __call__(self, over: object) -> tuple[EncodedPair, ...]:
        """Return a dataset's pairs; what is wrong with one of them is a PatchError of the dataset, of no prompt."""
        if id(over) not in self._read:
            assert isinstance(over, Dataset)
            try:
                found = prompts_of(self._handle, over)
            except PromptError as error:
                raise PatchError(str(error)) from error
            self._read[id(over)] = (over, found)
        return self._read[id(over)][1]


def _needs_dataset(name: str) -> str:
    return f"{name} needs a dataset: pw.explore(model, dataset=...)."


def _called(name: str) -> str:
    """Return what an entry is called on screen."""
    return INTERVENTIONS[name].called() if name in INTERVENTIONS else name


def _spelled(what: Intervention) -> dict[str, Any]:
    return {"name": what.name, **{key: value for key, value in what.settings().items() if key != "over"}}
