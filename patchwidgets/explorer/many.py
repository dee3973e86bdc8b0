"""The choice between one pair and a dataset: which one, and how many of its pairs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from .sets import DEFAULT, MOST, Asked, Sets
from .text import Line

_ONE = "one pair"


class DatasetChoice:
    """A menu and a number. `on_change` is called when either changes; `lock` is the Explorer's."""

    def __init__(self, sets: Sets, lock: threading.RLock, on_change: Callable[[], None]) -> None:
        self._sets, self._lock, self._on_change = sets, lock, on_change
        self._silent, self._seed = False, 0
        self.which = w.Dropdown(
            options=[(_ONE, ""), *((name, name) for name in sets.names)], value="", description="Sweep",
            tooltip="one pair of prompts, or the mean over a dataset of them",
        )  # fmt: skip
        self.n = w.BoundedIntText(DEFAULT, min=2, max=MOST, description="pairs")
        self.told = Line("pw-x-dim")
        self.which.add_class("pw-x-select")
        self.n.add_class("pw-x-count")
        self.box = w.Box([self.which, self.n])
        self.box.add_class("pw-x-many")
        self.which.observe(self._chosen, "value")
        self.n.observe(self._changed, "value")
        self._arrange()

    @property
    def asked(self) -> Asked | None:
        """The dataset that is chosen, None for one pair."""
        name = str(self.which.value)
        return {**self._sets.asked(name, int(self.n.value)), "seed": self._seed} if name else None

    def set(self, asked: Asked | None) -> None:
        """Choose a dataset without calling back."""
        with self._lock:
            self._silent = True
            try:
                self.which.value = asked["name"] if asked else ""
                self._seed = asked["seed"] if asked else 0
                self._bound()
                if asked:
                    self.n.value = asked["n"]
                self._arrange()
            finally:
                self._silent = False

    def _bound(self) -> None:
        given = self._sets.given
        self.n.max = len(given) if given is not None and self.which.value == given.name else MOST

    def _chosen(self, _change: dict[str, Any]) -> None:
        with self._lock:
            if self._silent:
                return
            name = str(self.which.value)
            self.set(self._sets.asked(name) if name else None)
        self._on_change()

    def _changed(self, _change: object) -> None:
        with self._lock:
            silent = self._silent
        if not silent:
            self._on_change()

    def _arrange(self) -> None:
        self.n.layout.display = None if self.which.value else "none"
        if not self.which.value:
            self.told.say("")
