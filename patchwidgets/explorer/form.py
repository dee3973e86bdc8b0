"""What is entered and chosen: prompts, alignment and controls together, read and written as settings."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..engine.handle import ModelHandle
from ..engine.plan import Plan
from ..errors import PatchError, PromptError
from ..prompts import EncodedPair
from .aligning import Aligning
from .choices import Choices, Prompts
from .controls import Controls
from .offers import Offers, make_offers
from .prompts import PromptEntry
from .screen import title_of
from .settings import completed, pair_of, plan_of, settings_of

_MOST = 64


class Form:
    """The parts of an Explorer that settings are made of; the callbacks are those of the parts."""

    def __init__(
        self,
        handle: ModelHandle,
        choices: Choices,
        group: str,
        lock: threading.RLock,
        on_prompts: Callable[[bool], None],
        on_controls: Callable[[], None],
        on_run: Callable[[], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self._handle, self._lock = handle, lock
        self._offers: OrderedDict[EncodedPair, Offers] = OrderedDict()
        self.choices, self.prompts_of = choices, Prompts(handle)
        self.entry = PromptEntry(lock, on_prompts, title_of(handle))
        self.aligning = Aligning(group, lock, lambda: on_prompts(True))
        self.controls = Controls(handle, choices, lock, on_controls, on_run, on_cancel)

    @property
    def settings(self) -> dict[str, Any]:
        """What is entered and chosen now."""
        with self._lock:
            pair = self.entry.pair
            matches = self.aligning.matches((pair.clean, pair.corrupted))
            return settings_of(pair, matches, self.controls.settings)

    def plan(self, settings: dict[str, Any]) -> Plan:
        """Return the plan of settings; raises PatchError where they cannot be run."""
        return plan_of(self._handle, settings, self.choices, self.prompts_of)

    def completed(self, given: object) -> dict[str, Any]:
        """Return assigned settings, checked, with the present ones where nothing was given."""
        return completed(given, self.settings, self.entry.auto, self._handle, self.choices)

    def apply(self, settings: dict[str, Any]) -> bool:
        """Enter and choose what whole settings say, without calling back; returns whether the prompts are others."""
        pair = pair_of(settings)
        entered = pair != self.entry.pair or settings["alignment"] != self.settings["alignment"]
        self.controls.apply(settings)
        if entered:
            self.entry.set(pair, self._handle.tokenizer.text)
            self.aligning.set(settings["alignment"], (pair.clean, pair.corrupted))
        return entered

    def offers(self, encoded: EncodedPair) -> Offers:
        """Return what the model would say after two prompts; it is asked once. On the worker thread."""
        found = self._offers.get(encoded) or make_offers(self._handle, encoded)
        self._offers[encoded] = found
        self._offers.move_to_end(encoded)
        while len(self._offers) > _MOST:
            self._offers.popitem(last=False)
        return found

    def complain(self, error: PatchError) -> str:
        """Tell an error beside its field; returns what is to be said above the map instead, "" where it has a field."""
        field = error.field if isinstance(error, PromptError) else None
        if isinstance(error, PromptError) and error.between:
            field = self.entry.edited or field
        self.entry.complain(field, str(error))
        return "" if field else str(error)
