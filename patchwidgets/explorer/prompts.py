"""Prompt entry: two texts, presets, the tokens they become, and the answer and foil picked from the model's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as w

from ..answers import Answer, Continuation
from ..prompts import PromptPair
from ..spelling import shown_token
from .many import DatasetChoice
from .menu import MENU
from .nearest import Near, NearWords, Spaced
from .text import Line, Part, in_one_line, named, with_line_breaks

_CUSTOM = "your own"


class TokenChoice:
    """A field for one token: typed, or picked from the model's top predictions.

    `auto` is true until the person types, picks or empties the field: until then new prompts may bring a new value.
    `lock` is the Explorer's: other threads wait while the field is being set.
    """

    def __init__(self, label: str, lock: threading.RLock, on_change: Callable[[], None]) -> None:
        self.label = Line("pw-x-label", text=label)
        self.pills = w.ToggleButtons(options=[], value=None)
        self.field = w.Text(placeholder="or type one", continuous_update=True, layout=w.Layout(width="120px"))
        self.error = Line("pw-x-error")
        self.pills.add_class("pw-x-pills")
        self.field.add_class("pw-x-field")
        named(self.field, label)
        self.near, self.spaced = Near(self._enter_near), Spaced(self._enter_near)
        self.auto = True
        self._picked: Answer | None = None
        self._before: tuple[Answer | None, str] = (None, "")
        self._texts: dict[int, str] = {}
        self._silent, self._lock = False, lock
        self._on_change = on_change
        self.pills.observe(self._pick, "value")
        self.field.observe(self._type, "value")
        self.box = w.Box([self.label, self.pills, self.field, self.near, self.spaced.button])
        self.box.add_class("pw-x-choice")

    @property
    def value(self) -> Answer | None:
        """A token id when picked, the text when typed, None when empty; a set or a continuation while it was given."""
        return self._picked if self._picked is not None else with_line_breaks(self.field.value) or None

    @property
    def stood(self) -> tuple[Answer | None, str]:
        """The value and what it reads as; of a field that was left to the model since, what stood there before."""
        return self._before if self.value is None else (self.value, self.field.value)

    def set(self, value: Answer | None, text: str | None = None) -> None:
        """Put a value into the field without calling back; `text` is what it reads as when it is no text."""
        with self._lock:
            self._silent = True
            try:
                self._before = self.stood if value is None else (None, "")
                self._picked = None if isinstance(value, str) else value
                self.spaced.show()
                self.field.value = in_one_line(value if isinstance(value, str) else text or "")
                self._mark(value if isinstance(value, int) else None)
            finally:
                self._silent = False

    def offer(self, tokens: list[tuple[int, str, float]], chosen: int | None) -> None:
        """Offer (token id, text, probability) to pick from; `chosen` is marked when it is among them."""
        with self._lock:
            self._silent = True
            try:
                self._texts = {token: text for token, text, _ in tokens}
                options = [(f"{shown_token(text)} {probability:.0%}", token) for token, text, probability in tokens]
                if self.pills.options != tuple(options):
                    self.pills.options = options
                self._mark(chosen)
            finally:
                self._silent = False

    def _enter_near(self, text: str) -> None:
        """Type what is offered in place of what is no single token."""
        self.field.value = in_one_line(text)

    def _mark(self, token: int | None) -> None:
        known = [value for _, value in self.pills.options]
        self.pills.value = token if token in known else None

    def _pick(self, change: dict[str, Any]) -> None:
        token = change["new"]
        with self._lock:
            if self._silent or token not in self._texts:
                return
            self.set(token, self._texts[token])
            self.auto = False
            self._on_change()

    def _type(self, _change: object) -> None:
        with self._lock:
            if self._silent:
                return
            self._picked, self._before, self.auto = None, (None, ""), False
            self.spaced.show()
            self._silent = True
            self.pills.value = None
            self._silent = False
            self._on_change()


class PromptEntry:
    """The prompts and the two tokens. `on_change(preset chosen)` is called when something was typed or picked.

    `many` is the choice of a dataset, above them.
    """

    def __init__(
        self, lock: threading.RLock, on_change: Callable[[bool], None], title: Line, many: DatasetChoice
    ) -> None:
        self._on_change = on_change
        self._silent, self._lock = False, lock
        self._given: dict[str, tuple[str, str | tuple[int, ...]]] = {}
        self._last: str | None = None
        self.preset = w.Dropdown(
            options=[_CUSTOM, *(preset.name for preset in MENU)], value=_CUSTOM, description="Preset"
        )
        self.note = Line("pw-x-dim")
        told = "\u21b5 stands for a line break, \\\u21b5 for the sign itself"
        self.clean, self.corrupted = (w.Text(tooltip=told, layout=w.Layout(width="auto")) for _ in range(2))
        self.errors = {"clean": Line("pw-x-error"), "corrupted": Line("pw-x-error")}
        self.answer = TokenChoice("Answer", lock, self._edited)
        self.foil = TokenChoice("over foil", lock, self._edited)
        self.errors |= {"answer": self.answer.error, "foil": self.foil.error}
        self.warning = Line("pw-x-warning")
        self.verdict, self.stated = Line("pw-x-dim"), Line("pw-x-stated")
        self.near = {name: NearWords(lock, getattr(self, name)) for name in ("clean", "corrupted")}
        for field in (self.clean, self.corrupted):
            field.add_class("pw-x-field")
            named(field, "clean prompt" if field is self.clean else "corrupted prompt")
            field.observe(self._prompt_edited, "value")
        self.preset.observe(self._preset_chosen, "value")
        self.preset.add_class("pw-x-select")
        choices = w.Box([many.box, self.preset])
        choices.add_class("pw-x-choices")
        head = w.Box([title, choices])
        head.add_class("pw-x-head")
        rows = [
            self._row("Clean", "pw-x-clean", self.clean, self.errors["clean"], self.near["clean"].box),
            self._row(
                "Corrupted", "pw-x-corrupted", self.corrupted, self.errors["corrupted"], self.near["corrupted"].box
            ),
        ]
        tokens = w.Box([self.answer.box, self.foil.box])
        tokens.add_class("pw-x-tokens")
        self._one = [self.preset, *rows, tokens]
        spaced = [self.answer.spaced.told, self.foil.spaced.told]
        lines = [self.answer.error, self.foil.error, *spaced, self.verdict, self.warning, self.note, self.stated]
        self._lines = lines
        self.box = w.VBox([head, *rows, tokens, many.told, *lines])
        self.box.add_class("pw-x-prompts")

    @property
    def pair(self) -> PromptPair:
        """What is entered, unchecked; prompts given as token ids, or as texts of several lines, stay until edited."""
        prompts: dict[str, str | tuple[int, ...]] = {}
        for name in ("clean", "corrupted"):
            shown = getattr(self, name).value
            text, given = self._given.get(name, (None, ()))
            prompts[name] = given if shown == text else with_line_breaks(shown)
        return PromptPair(prompts["clean"], prompts["corrupted"], answer=self.answer.value, foil=self.foil.value)

    @property
    def preset_pair(self) -> PromptPair | None:
        """The chosen preset's pair, None when the prompts are the person's own."""
        return next((preset.pair for preset in MENU if preset.name == self.preset.value), None)

    @property
    def auto(self) -> list[str]:
        """Those of answer and foil that the person has not chosen."""
        return [name for name in ("answer", "foil") if getattr(self, name).auto]

    def set(self, pair: PromptPair, text: Callable[[int], str]) -> None:
        """Enter a pair without calling back; `text` spells a token id."""
        chosen = next((preset for preset in MENU if preset.pair == pair), None)
        with self._lock:
            self._silent, self._last = True, None
            try:
                for name in ("clean", "corrupted"):
                    self._set_prompt(name, getattr(pair, name), text)
                for name in ("answer", "foil"):
                    value, choice = getattr(pair, name), getattr(self, name)
                    choice.set(value, _spelled(value, text))
                    choice.auto = value is None or chosen is not None
                self.preset.value = chosen.name if chosen else _CUSTOM
                self.note.say(chosen.note if chosen else "")
            finally:
                self._silent = False

    def fold(self, away: bool) -> None:
        """Hide the fields while a dataset is swept, or show them again."""
        for part in self._one:
            part.layout.display = "none" if away else None
        for line in self._lines:
            line.layout.display = "none" if away or not line.value else None

    def _set_prompt(self, name: str, value: str | Sequence[int], text: Callable[[int], str]) -> None:
        shown = in_one_line(value if isinstance(value, str) else "".join(text(i) for i in value))
        getattr(self, name).value = shown
        self._given[name] = (shown, value if isinstance(value, str) else tuple(value))

    @property
    def edited(self) -> str | None:
        """The prompt that was edited last, None when a preset or a pair was entered since."""
        return self._last

    def complain(self, field: str | None, message: str = "", near: str | None = None) -> None:
        """Show a message beside the field it is about, with the text to enter instead, and clear the others."""
        for name, line in self.errors.items():
            line.say(message if name == field else "")
        for name in ("answer", "foil"):
            getattr(self, name).near.offer(near if name == field else None)
        if field in ("clean", "corrupted"):
            self.tell("", [])

    def fold_too(self, part: w.Widget) -> None:
        """Hide another part with the fields."""
        self._one.append(part)

    def dim(self, stale: bool) -> None:
        """Show that the tokens offered are not of the prompts that are entered, or that they are again."""
        for choice in (self.answer, self.foil):
            choice.pills.disabled = stale
            if stale:
                choice.spaced.show()
        if stale:
            self.warn_unknown([])

    def tell(self, verdict: str, stated: Sequence[Part]) -> None:
        """Say whether the model gets the prompts right, and what the pair varies."""
        self.verdict.say(verdict)
        self.stated.say(*stated)

    def warn_unknown(self, fields: list[str]) -> None:
        """Tell which prompts have a word the model does not know, if any."""
        have = "has" if len(fields) == 1 else "each have"
        told = f"The {' and the '.join(fields)} prompt {have} a word this model does not know; it reads [UNK] there."
        self.warning.say(told if fields else "")

    def _row(self, label: str, style: str, field: w.Text, *below: w.Widget) -> w.Box:
        row = w.Box([Line("pw-x-label", style, text=label), w.VBox([field, *below], layout=w.Layout(flex="1 1 auto"))])
        row.add_class("pw-x-row")
        return row

    def _preset_chosen(self, change: dict[str, Any]) -> None:
        chosen = next((preset for preset in MENU if preset.name == change["new"]), None)
        with self._lock:
            if self._silent or chosen is None:
                return
            self.set(chosen.pair, str)
            self._on_change(True)

    def _prompt_edited(self, change: dict[str, Any]) -> None:
        """New prompts: a field that was emptied may be filled with the model's own answer again."""
        with self._lock:
            if self._silent:
                return
            self._last = "clean" if change["owner"] is self.clean else "corrupted"
            for choice in (self.answer, self.foil):
                choice.auto = choice.auto or choice.value is None
            self._edited()

    def _edited(self) -> None:
        with self._lock:
            self._silent = True
            self.preset.value = _CUSTOM
            self._silent = False
            self.note.say("")
            self._on_change(False)


def _spelled(value: Answer | None, text: Callable[[int], str]) -> str | None:
    """Return what an answer that is not a text reads as; None for a text."""
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, int):
        return text(value)
    if isinstance(value, Continuation):
        return value.text if isinstance(value.text, str) else "".join(text(i) for i in value.text)
    return " or ".join(text(item) if isinstance(item, int) else item for item in value)
