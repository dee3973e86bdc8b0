"""Suggested corrupted prompts: one token of the clean prompt replaced, each a line to enter by its button."""

from __future__ import annotations

import threading
from collections.abc import Callable

import ipywidgets as w

from ..encoding import encode_prompts
from ..engine.handle import ModelHandle
from ..errors import PatchError
from ..prompts import EncodedPair, PromptPair
from ..spelling import shown_token, signed
from ..suggest import Suggestion, suggestions
from .aligning import Aligning
from .failing import why
from .prompts import PromptEntry
from .text import Line, close_all, named

_EVERY = -1
_SHOWN = 8


class Suggesting:
    """The panel below the prompts. It works from the clean prompt alone, and runs the model only when it is asked.

    While suggestions are on show, a token chosen in the strip of `aligning` is the one to replace. `submit` does a task
    on the Explorer's worker thread, `lock` is the Explorer's; `entered` is called after a suggestion was put into the
    fields.
    """

    def __init__(
        self,
        handle: ModelHandle,
        entry: PromptEntry,
        aligning: Aligning,
        lock: threading.RLock,
        submit: Callable[[Callable[[], None]], None],
        entered: Callable[[], None],
    ) -> None:
        self._handle, self._entry, self._aligning, self._lock = handle, entry, aligning, lock
        self._submit, self._entered = submit, entered
        self.found: list[Suggestion] = []
        self._asked: tuple[str, int] | None = None
        self._silent = False
        self.start = w.Button(
            description="Suggest a corrupted prompt",
            tooltip="replace one token of the clean prompt by another of its kind, and measure what that moves",
        )
        self.where = w.Dropdown(options=[("every content word", _EVERY)], layout=w.Layout(width="auto"))
        self.hide = w.Button(description="Hide", tooltip="put the suggestions away")
        self.error, self.told = Line("pw-x-error"), Line("pw-x-dim")
        self.rows = w.VBox([])
        self.rows.add_class("pw-x-suggested")
        self.where.add_class("pw-x-select")
        named(self.where, "token to replace")
        self.start.on_click(lambda _: self.ask())
        self.hide.on_click(lambda _: self._forget())
        self.where.observe(self._where_changed, "value")
        entry.clean.observe(lambda _: self._forget(), "value")
        row = w.Box([self.start, self.where, self.hide])
        row.add_class("pw-x-suggest")
        self.box = w.VBox([row, self.error, self.told, self.rows])
        self.box.add_class("pw-x-suggesting")
        entry.fold_too(self.box)
        aligning.strip.on_select(self.choose_token)
        self._arrange()

    def ask(self, position: int | None = None) -> None:
        """Suggest replacements of the token at a position; None means where the menu says, at first every word."""
        with self._lock:
            self.error.say("")
            if position is not None or self._asked is None:
                self._offer_tokens(_EVERY if position is None else position)
            clean = self._entry.pair.clean
            if not isinstance(clean, str):
                self.error.say("The clean prompt was given as token ids; type it as a text to have one suggested.")
                return
            asked = self._asked = (clean, int(self.where.value))  # type: ignore[arg-type]
            self.told.say("Measuring \u2026")
            self._show([])
            self._submit(lambda: self._find(asked))

    def choose_token(self, column: int) -> None:
        """Ask for replacements of a token of the strip, while suggestions are on show and the strip has this prompt."""
        with self._lock:
            clean = self._aligning.strip.columns["clean"]
            if self._aligning.kept and clean[column] is not None:
                self.ask(sum(text is not None for text in clean[:column]))

    def _offer_tokens(self, position: int) -> None:
        """Offer the tokens of the clean prompt as it is now; a prompt that cannot be read has none."""
        pair = self._encoded()
        texts = [] if pair is None else [(i, text) for i, text in enumerate(pair.clean_text) if i != pair.bos_at]
        options = [("every content word", _EVERY), *((f"{i} {shown_token(text)}", i) for i, text in texts)]
        self._silent = True
        try:
            self.where.options = options
            self.where.value = position if position in dict(texts) else _EVERY
        finally:
            self._silent = False

    def _encoded(self) -> EncodedPair | None:
        clean = self._entry.pair.clean
        try:
            return encode_prompts(PromptPair(clean, clean), self._handle.tokenizer, may_be_equal=True)
        except PatchError:
            return None

    def _where_changed(self, _change: object) -> None:
        if not self._silent:
            self.ask()

    def _find(self, asked: tuple[str, int]) -> None:
        """Measure the candidates. On the worker thread."""
        clean, position = asked
        found: list[Suggestion] = []
        told = ""
        try:
            found = suggestions(
                self._handle, clean, positions=None if position == _EVERY else [position],
                stop=lambda: self._asked is not asked,
            )  # fmt: skip
        except Exception as error:
            told = why(error, "corrupted prompts could not be suggested")
            told = told[:1].upper() + told[1:]
        with self._lock:
            if asked is not self._asked:
                return
            self._show(found)
            self.error.say(told)
            self.told.say(_told(found))

    def _show(self, found: list[Suggestion]) -> None:
        self.found = found
        before, self.rows.children = self.rows.children, [self._row(one) for one in found[:_SHOWN]]
        close_all(before)
        self._arrange()

    def _row(self, one: Suggestion) -> w.Box:
        button = w.Button(
            description=f"{shown_token(one.token)} \u2192 {shown_token(one.replacement)}",
            tooltip=f"enter: {one.corrupted}",
        )
        button.on_click(lambda _: self._enter(one))
        row = w.Box([button, Line("pw-x-dim", text=_measured(one))])
        row.add_class("pw-x-near-row")
        return row

    def _enter(self, one: Suggestion) -> None:
        """Enter a suggestion: answer and foil are then the model's own first choices after the two prompts."""
        with self._lock:
            if self._asked is None or self._entry.pair.clean != self._asked[0]:
                return
            pair = PromptPair(self._asked[0], one.corrupted)
            self._entry.set(pair, self._handle.tokenizer.text)
        self._entered()

    def close(self) -> None:
        """End the search that is under way."""
        with self._lock:
            self._asked = None

    def _forget(self) -> None:
        with self._lock:
            if self._asked is None:
                return
            self._asked = None
            self.error.say("")
            self.told.say("")
            self._show([])

    def _arrange(self) -> None:
        self._aligning.keep(None if self._asked is None else self._asked[0])
        for part in (self.where, self.hide):
            part.layout.display = None if self._asked is not None else "none"


def _told(found: list[Suggestion]) -> str:
    if not found:
        return ""
    answer = shown_token(found[0].answer_text)
    some = f"the {_SHOWN} of {len(found)} that move it farthest" if len(found) > _SHOWN else "the farthest first"
    return (
        f"One token replaced by another of its kind, each tried in a run of the model: how far that moves '{answer}' "
        f"over the other prompt's first choice, in logits; {some}."
    )


def _measured(one: Suggestion) -> str:
    """Return what a replacement does: "at 2 (name) moves it by 11.6: 'Mary' 98% to 1%, then 'Anna' 97%"."""
    answer, foil = shown_token(one.answer_text), shown_token(one.foil_text)
    return (
        f"at {one.position} ({one.kind}) moves it by {signed(one.moved)}: '{answer}' {one.answer_clean:.0%} to "
        f"{one.answer_corrupted:.0%}, then '{foil}' {one.foil_corrupted:.0%}"
    )
