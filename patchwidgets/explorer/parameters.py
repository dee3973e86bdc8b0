"""The settings of the intervention that is chosen, each in a field of its own beside the menu."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import ipywidgets as w

from ..errors import PatchError
from ..interventions import Intervention, check_seed
from ..spelling import MINUS, minus
from .text import Line, close_all

_RUNS = {"mean": ("corrupted", "clean", "both"), "resample": ("corrupted", "clean")}
"""Which prompts of a dataset an intervention can be made from."""

_ELSEWHERE = ("over", "values", "per_position")
"""What no field holds: objects of this session, and what is an entry of the menu."""

_LABELS = {"run": "from", "add": "added"}
_TOLD = {
    "sigma": "how large the noise is, in standard deviations of the token embeddings",
    "samples": "over how many random draws the effect is the mean",
    "factor": "what the activation is multiplied by: 1 changes nothing, 0 removes it",
    "threshold": "entries whose gradient is above this are kept",
    "absolute": "keep by the size of the gradient, whatever its sign",
    "graded": "keep an entry in proportion to its gradient",
    "run": "which prompts of the dataset it is made from",
    "add": "add the vector to what is there, in place of setting it",
    "seed": "where the random draws start: another number draws others",
}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d+)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

Field = w.Text | w.Dropdown | w.Checkbox


class ParameterError(PatchError):
    """What stands in a field of the intervention cannot be used."""


def read(text: str) -> int | float | str:
    """Return the number a text is, or the text where it is none yet, such as "1."; the intervention judges it.

    >>> read("2"), read(" .5 "), read("1.")
    (2, 0.5, '1.')
    """
    plain = text.strip().replace(MINUS, "-")
    if not _NUMBER.fullmatch(plain):
        return text.strip()
    return int(plain) if re.fullmatch(r"[+-]?\d{1,15}", plain) else float(plain)


def whole(text: str) -> int | str:
    """Return the whole number a text is, or the text.

    >>> whole("20260101000000001"), whole("1e3")
    (20260101000000001, '1e3')
    """
    plain = text.strip().replace(MINUS, "-")
    return int(plain) if re.fullmatch(r"[+-]?\d{1,400}", plain) else text.strip()


class Parameters:
    """The fields. `on_change(intervention)` is called with another one when a value changed, `on_seed()` when the
    sweep's `seed` did, which has a field where the intervention draws at random. `lock` is the Explorer's.

    A number counts when it is entered or left, not while it is typed. One that cannot be used is told below the
    controls, and nothing changes; an emptied field takes the default again.
    """

    def __init__(
        self, lock: threading.RLock, on_change: Callable[[Intervention], None], on_seed: Callable[[], None]
    ) -> None:
        self._lock, self._on_change, self._on_seed = lock, on_change, on_seed
        self.seed = 0
        self._what: Intervention | None = None
        self._default: Intervention | None = None
        self._silent = False
        self._refused: dict[str, str] = {}
        self.fields: dict[str, Field] = {}
        self.error = Line("pw-x-error", "pw-x-told-parameter")
        self.box = w.Box([])
        self.box.add_class("pw-x-parameters")
        self.box.layout.display = "none"
        self.show(None, None)

    def show(self, what: Intervention | None, default: Intervention | None) -> None:
        """Show the fields of an intervention with its values, none for None, without calling back.

        `default` is what an emptied field goes back to.
        """
        with self._lock:
            names = [field.name for field in fields(what)] if what else []  # type: ignore[arg-type]
            names = [name for name in names if name not in _ELSEWHERE and name != "direction"]
            names += ["seed"] if what is not None and what.draws else []
            if type(what) is not type(self._what):
                before = self.box.children
                self.fields = {name: self._field(what, name) for name in names} if what else {}
                self.box.children = list(self.fields.values())
                self.box.layout.display = None if names else "none"
                close_all(before)
            self._what, self._default = what, default
            self._refused = {}
            self._fill()
            self._tell()

    def check(self) -> None:
        """Raise the error of what stands in a field and cannot be used."""
        with self._lock:
            if self._refused:
                raise ParameterError(next(iter(self._refused.values())))

    def _field(self, what: Intervention, name: str) -> Field:
        label, told, value = _LABELS.get(name, name), _TOLD.get(name, ""), self._value(what, name)
        field: Field
        if isinstance(value, bool):
            field = w.Checkbox(value, description=label, indent=False, tooltip=told)
        elif isinstance(value, str):
            field = w.Dropdown(options=_RUNS[what.name], value=value, description=label, tooltip=told)
            field.add_class("pw-x-select")
        else:
            field = w.Text(_shown(value), description=label, tooltip=told, continuous_update=False)
        field.add_class("pw-x-parameter")
        field.observe(lambda change: self._changed(name, change["new"]), "value")
        return field

    def _changed(self, name: str, value: Any) -> None:
        with self._lock:
            if self._silent or self._what is None or name not in self.fields:
                return
            if isinstance(self.fields[name], w.Text):
                reads = whole if name == "seed" else read
                value = reads(value) if value.strip() else self._emptied(name)
            stood, before = self._refused.pop(name, None), (self._what, self.seed)
            try:
                self._take(name, value)
            except PatchError as error:
                self._refused[name] = str(error)
                self._tell()
                return
            made, changed = self._what, before != (self._what, self.seed)
            self._fill()
            self._tell()
        if name == "seed" and (changed or stood):
            self._on_seed()
        elif changed or stood:
            self._on_change(made)

    def _value(self, what: Intervention | None, name: str) -> Any:
        return self.seed if name == "seed" else getattr(what, name)

    def _emptied(self, name: str) -> Any:
        return 0 if name == "seed" else getattr(self._default or self._what, name)

    def _take(self, name: str, value: Any) -> None:
        """Take a value; raise PatchError where it cannot be used."""
        if name == "seed":
            self.seed = check_seed(value)
        else:
            self._what = replace(self._what, **{name: value})  # type: ignore[type-var]

    def _fill(self) -> None:
        """Show the values in the fields, but for what was refused."""
        self._silent = True
        try:
            for name, field in self.fields.items():
                if name not in self._refused:
                    field.value = _shown(self._value(self._what, name))
        finally:
            self._silent = False

    def _tell(self) -> None:
        """Show what is wrong, and mark the fields it is about."""
        for name, field in self.fields.items():
            (field.add_class if name in self._refused else field.remove_class)("pw-x-refused")
        told = " ".join(self._refused.values())
        self.error.say(told[:1].upper() + told[1:])


def _shown(value: Any) -> Any:
    """Return a value as a field holds it: a number as text, without needless decimals."""
    if isinstance(value, (bool, str)):
        return value
    text = repr(value)
    return minus(text[:-2] if text.endswith(".0") else text)
