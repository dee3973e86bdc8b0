"""What is entered and chosen: prompts, alignment and controls together, read and written as settings."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..datasets import Dataset
from ..encoding import encode_prompts
from ..engine.handle import ModelHandle
from ..engine.plan import Plan
from ..errors import PatchError, PromptError
from ..metrics import METRICS
from ..prompts import EncodedPair
from .aligning import Aligning
from .choices import Choices, Prompts
from .controls import Controls
from .many import DatasetChoice
from .offers import Offers, likeliest, make_offers
from .parameters import ParameterError
from .prompts import PromptEntry
from .screen import title_of
from .sets import Sets
from .settings import align_of, axes_of, completed, pair_of, plan_of, settings_of
from .subsets import SubsetError

_MOST = 16
"""For how many pairs what the model would say is remembered."""


@dataclass(frozen=True)
class Asked:
    """Settings as they were entered; `auto` are those of answer and foil that the model chooses."""

    settings: dict[str, Any]
    auto: list[str]


class Form:
    """The parts of an Explorer that settings are made of; the callbacks are those of the parts.

    `swept` is the dataset that can be swept beside those of the generators.
    """

    def __init__(
        self,
        handle: ModelHandle,
        choices: Choices,
        swept: Dataset | None,
        group: str,
        lock: threading.RLock,
        on_prompts: Callable[[bool], None],
        on_controls: Callable[[], None],
        on_run: Callable[[], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self._handle, self._lock, self._on_prompts = handle, lock, on_prompts
        self._offers: OrderedDict[EncodedPair, Offers] = OrderedDict()
        self.choices, self.prompts_of = choices, Prompts(handle)
        self.sets = Sets(handle, swept)
        self.many = DatasetChoice(self.sets, lock, self._many_changed)
        self.entry = PromptEntry(lock, on_prompts, title_of(handle), self.many)
        self.aligning = Aligning(group, lock, lambda: on_prompts(True))
        self.controls = Controls(handle, choices, lock, self._pair, on_controls, on_run, on_cancel)

    @property
    def settings(self) -> dict[str, Any]:
        """What is entered and chosen now."""
        with self._lock:
            pair = self.entry.pair
            matches = self.aligning.matches((pair.clean, pair.corrupted))
            return settings_of(pair, matches, self.many.asked, self.controls.settings)

    def _pair(self) -> EncodedPair | None:
        """Return the pair whose tokens are on show; over a dataset there is none."""
        return None if self.many.asked is not None else self.aligning.pair

    def check(self) -> None:
        """Raise the error of what stands in a field and is in no settings, as it cannot be read."""
        self.controls.subsets.check()
        self.controls.parameters.check()

    def asked(self) -> Asked:
        """Return what is entered now, to be run later; raises the error of what stands in a field as `check` does."""
        with self._lock:
            self.check()
            chooses = self.many.asked is None and self.entry.preset_pair is None
            return Asked(self.settings, self.entry.auto if chooses else [])

    def chosen(self, asked: Asked) -> dict[str, Any]:
        """Return the settings asked for, with the model's own choice where it had not come. On the worker thread."""
        settings = asked.settings
        try:
            pair = encode_prompts(pair_of(settings), self._handle.tokenizer, align=align_of(settings))
        except PromptError:
            return settings  # Who plans them says so.
        for name in asked.auto:
            best = likeliest(self.offers(pair), name, settings["answer"], self._handle)
            settings = settings if best is None else {**settings, name: best[0]}
        return settings

    def plan(self, settings: dict[str, Any]) -> Plan:
        """Return the plan of settings; raises PatchError where they cannot be run."""
        plan = plan_of(self._handle, settings, self.choices, self.prompts_of, self.sets)
        self._tell(settings)
        return plan

    def _tell(self, settings: dict[str, Any]) -> None:
        """Say how many pairs of a dataset are swept, beside its menu."""
        if settings["dataset"] is not None and settings["dataset"] == self.many.asked:
            needs_foil = METRICS[settings["metric"]].needs_foil
            drawn = self.sets.read(settings["dataset"], needs_foil=needs_foil)
            self.many.told.say(drawn.told(axes_of(settings), settings["direction"]))

    def _many_changed(self) -> None:
        with self._lock:
            self.many.told.say("")
            self.entry.fold(self.many.asked is not None)
        self._on_prompts(True)

    def completed(self, given: object) -> dict[str, Any]:
        """Return assigned settings, checked, with the present ones where nothing was given."""
        present = {**self.settings, **self.controls.subsets.kept}
        return completed(given, present, self.entry.auto, self._handle, self.choices, self.sets)

    def apply(self, settings: dict[str, Any]) -> bool:
        """Enter and choose what whole settings say, without calling back; returns whether the prompts are others."""
        pair = pair_of(settings)
        present = self.settings
        entered = pair != self.entry.pair or settings["alignment"] != present["alignment"]
        other = settings["dataset"] != present["dataset"]
        self.controls.apply(settings)
        if other:
            self.many.set(settings["dataset"])
            self.entry.fold(self.many.asked is not None)
        if entered:
            self.entry.set(pair, self._handle.tokenizer.text)
            self.aligning.set(settings["alignment"], (pair.clean, pair.corrupted))
        return entered or other

    def offers(self, encoded: EncodedPair) -> Offers:
        """Return what the model would say after two prompts; it is asked once. On the worker thread."""
        found = self._offers.get(encoded) or make_offers(self._handle, encoded)
        self._offers[encoded] = found
        self._offers.move_to_end(encoded)
        while len(self._offers) > _MOST:
            self._offers.popitem(last=False)
        return found

    def complain(self, error: PatchError | None) -> str:
        """Tell an error beside its field; returns what is to be said above the map instead, "" where it has a field.

        None takes back what was told.
        """
        if error is None:
            self.entry.complain(None)
            self.controls.subsets.complain(None)
            return ""
        if isinstance(error, SubsetError):
            self.entry.complain(None)
            self.controls.subsets.complain(error.setting, str(error))
            return ""
        if isinstance(error, ParameterError):
            self.entry.complain(None)
            self.controls.subsets.complain(None)
            return ""  # It is told where it stands.
        field = error.field if isinstance(error, PromptError) else None
        if isinstance(error, PromptError) and error.between:
            field = self.entry.edited or field
        self.entry.complain(field, str(error), error.near if isinstance(error, PromptError) else None)
        return "" if field else str(error)
