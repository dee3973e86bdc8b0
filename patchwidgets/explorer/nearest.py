"""The nearest single tokens, as buttons: beside an answer that is none, and below a prompt whose words are several."""

from __future__ import annotations

import difflib
import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ipywidgets as w
from torch import Tensor

from ..answers import nearest, single
from ..prompts import EncodedPair
from ..spelling import shown_token
from ..tokens import Rate, Tokenizer
from .text import Line, close_all, in_one_line, with_line_breaks

_WORD = re.compile(r"\w+|[^\w\s]")


class Near(w.Button):
    """A button that enters a text where it was offered; hidden while there is none."""

    def __init__(self, enter: Callable[[str], None]) -> None:
        super().__init__(tooltip="enter this instead")
        self.add_class("pw-x-near")
        self._text: str | None = None
        self.on_click(lambda _: None if self._text is None else enter(self._text))
        self.offer(None)

    def offer(self, text: str | None) -> None:
        """Offer a text, None for nothing."""
        self._text = text
        self.description = "" if text is None else f"use {shown_token(text)}"
        self.layout.display = "none" if text is None else None


@dataclass(frozen=True)
class NearWord:
    """A word of a prompt that is no single token: its place in the text, what it is read as, and what is nearest."""

    start: int
    word: str
    tokens: int
    near: str

    @property
    def told(self) -> str:
        if self.tokens:
            return f"'{self.word}' is {self.tokens} tokens; the nearest word of one token:"
        return f"the model does not know '{self.word}'; the nearest word it knows:"


class NearWords:
    """The lines below a prompt's field, each with a button that puts the nearest word in."""

    def __init__(self, lock: threading.RLock, field: w.Text) -> None:
        self._lock, self._field = lock, field
        self._found: tuple[str, tuple[NearWord, ...]] = ("", ())
        self.box = w.VBox([])
        self.box.layout.display = "none"
        field.observe(lambda _: self.show("", ()), "value")

    def show(self, text: str, found: Sequence[NearWord]) -> None:
        """Offer words for a prompt that is in the field; what was found for another is not shown."""
        with self._lock:
            found = tuple(found) if text == self._field.value else ()
            if (text, found) == self._found:
                return
            self._found = (text, found)
            before, self.box.children = self.box.children, [self._row(text, each) for each in found]
            close_all(before)
            self.box.layout.display = None if found else "none"

    def _row(self, text: str, found: NearWord) -> w.Box:
        button = Near(lambda near: self._enter(text, found, near))
        button.offer(found.near)
        row = w.Box([Line("pw-x-warning", text=found.told), button])
        row.add_class("pw-x-near-row")
        return row

    def _enter(self, shown: str, found: NearWord, near: str) -> None:
        if self._field.value == shown:
            text = with_line_breaks(shown)
            self._field.value = in_one_line(text[: found.start] + near + text[found.start + len(found.word) :])


class Spaced:
    """The offer of an answer with the space before it that was left out: a line and a button that enters it."""

    def __init__(self, enter: Callable[[str], None]) -> None:
        self.told, self.button = Line("pw-x-warning"), Near(enter)

    def show(self, name: str = "", text: str = "", spaced: str | None = None) -> None:
        """Offer `spaced` in place of the text in the field called `name`; None for nothing."""
        self.button.offer(spaced)
        if spaced is None:
            self.told.say("")
        else:
            said = f"The {name} '{shown_token(text)}' has no space before it; here '{shown_token(spaced)}'"
            self.told.say(f"{said} is more than ten times as likely.")


def with_space(value: object, row: Tensor, tokenizer: Tokenizer) -> str | None:
    """Return a token's text with a space before it, where that is another token and far likelier by logits [vocab].

    None where it is not, and for what is no text.
    """
    if not isinstance(value, str) or not tokenizer.has_text or not value or value[0].isspace():
        return None
    plain, spaced = single(value, tokenizer), single(f" {value}", tokenizer)
    if plain is None or spaced is None or row[spaced] - row[plain] < _FAR:
        return None
    return f" {value}"


_FAR = math.log(10)
"""Ten times as likely, as a difference of logits."""


def near_words(pair: EncodedPair, tokenizer: Tokenizer, rate: Rate) -> dict[str, list[NearWord]]:
    """Return, for either prompt, the words in which the two differ that are no single known token.

    There are some only where the lengths differ or a word is not known; every word has its nearest alternative, in the
    place where it stands, as `nearest` says. May run the model.
    """
    found: dict[str, list[NearWord]] = {"clean": [], "corrupted": []}
    clean, corrupted = pair.given
    unknown = tokenizer.unk is not None and tokenizer.unk in (*pair.clean, *pair.corrupted)
    if clean is None or corrupted is None or not (unknown or len(pair.clean) != len(pair.corrupted)):
        return found
    words = [list(_WORD.finditer(text)) for text in (clean, corrupted)]
    same = difflib.SequenceMatcher(None, *([word.group() for word in each] for each in words), autojunk=False)
    for what, a, b, c, d in same.get_opcodes():
        if what == "equal":
            continue
        for run, text, some in (("clean", clean, words[0][a:b]), ("corrupted", corrupted, words[1][c:d])):
            found[run] += [one for word in some if (one := _near(pair, text, word, tokenizer, rate)) is not None]
    return found


def _near(pair: EncodedPair, text: str, word: re.Match[str], tokenizer: Tokenizer, rate: Rate) -> NearWord | None:
    before = text[: word.start()]
    lead = before[len(before.rstrip()) :]
    ids = tokenizer.encode(lead + word.group())
    known = tokenizer.unk is None or tokenizer.unk not in ids
    if known and len(ids) <= 1:
        return None
    prompt = tokenizer.encode_prompt(before.rstrip(), pair.prepend_bos) if before.strip() else []
    near = nearest(lead + word.group(), tokenizer, prompt, rate, spaced=True)
    return None if near is None else NearWord(word.start(), word.group(), len(ids) if known else 0, near.strip())
