"""Prompt pairs to start from; the embedded model answers every one of them as written here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from .errors import PatchError, quoted
from .prompts import PromptPair


@dataclass(frozen=True)
class Preset:
    """A named prompt pair with one sentence on what varies between its prompts and what is held fixed.

    >>> PRESETS[0].pair.answer
    ' Mary'
    """

    name: str
    pair: PromptPair
    note: str


def _named(name: str, clean: str, corrupted: str, answer: str, foil: str, note: str) -> Preset:
    return Preset(name, PromptPair(clean, corrupted, answer=f" {answer}", foil=f" {foil}"), note)


PRESETS: tuple[Preset, ...] = (
    _named(
        "IOI, name replaced",
        "When Mary and John went to the store, John gave a drink to",
        "When Anna and John went to the store, John gave a drink to",
        "Mary",
        "Anna",
        "The name to be given varies; who acts, the sentence and all positions are the same.",
    ),
    _named(
        "IOI, subject flipped",
        "When Mary and John went to the store, John gave a drink to",
        "When Mary and John went to the store, Mary gave a drink to",
        "Mary",
        "John",
        "Who acts varies; both names stay in the prompt and in their places.",
    ),
    _named(
        "IOI, a bottle of milk",
        "After John and Mary went to the store, Mary gave a bottle of milk to",
        "After John and Mary went to the store, John gave a bottle of milk to",
        "John",
        "Mary",
        "Who acts varies; here the answer is the name mentioned first.",
    ),
    _named(
        "IOI, two sentences",
        "John and Mary went to the store. John gave a bottle of milk to",
        "John and Mary went to the store. Mary gave a bottle of milk to",
        "Mary",
        "John",
        "Who acts varies; the names and the gift stand in two separate sentences.",
    ),
    _named(
        "IOI, two couples",
        "John and Mary went to the store, and Tom and Alice went to the park. John gave a drink to",
        "John and Mary went to the store, and Tom and Alice went to the park. Tom gave a drink to",
        "Mary",
        "Alice",
        "Who acts varies between two couples; all four names stay in their places.",
    ),
    _named(
        "Leaders",
        "Angela Merkel is the leader of",
        "Joe Biden is the leader of",
        "Germany",
        "America",
        "The person varies; the relation asked for, and that a country is wanted, are the same.",
    ),
    _named(
        "Leaders, a shared surname",
        "Boris Johnson is the leader of",
        "Lyndon Johnson is the leader of",
        "Britain",
        "America",
        "The first name varies; the surname alone would not tell the country.",
    ),
    _named(
        "Landmarks",
        "The Eiffel Tower is in",
        "The Leaning Tower is in",
        "Paris",
        "Pisa",
        "The first word of the name varies; that it is a tower, and that a place is wanted, are the same.",
    ),
    _named(
        "Landmarks, a shared first word",
        "The Eiffel Tower is in",
        "The Eiffel Palace is in",
        "Paris",
        "Budapest",
        "The kind of building varies; the first word of its name alone would not tell the city.",
    ),
    _named(
        "Capitals",
        "The capital of France is",
        "The capital of Italy is",
        "Paris",
        "Rome",
        "The country varies; the relation asked for is the same.",
    ),
    _named(
        "Capital or language",
        "The capital of France is",
        "The language of France is",
        "Paris",
        "French",
        "The relation asked for varies; the country is the same.",
    ),
    _named(
        "Induction",
        "red dog key sun red",
        "key dog red sun red",
        "dog",
        "sun",
        "Two words change places, so the last word follows another; all words are the same ones.",
    ),
    _named(
        "Surnames",
        "Mary Jones met John Smith at the park. The surname of Mary is",
        "Mary Smith met John Jones at the park. The surname of Mary is",
        "Jones",
        "Smith",
        "The two surnames change places; the first names and the question are the same.",
    ),
    _named(
        "Docstring",
        'def port(self, load, size, files): """oil piece. :param load: crime. :param size: dark unit. :param',
        'def port(self, load, size, last): """oil piece. :param load: crime. :param size: dark unit. :param',
        "files",
        "last",
        "The last argument varies; the arguments before it and the text of the docstring are the same.",
    ),
    _named(
        "Greater than",
        "The war lasted from the year 1762 to the year 17",
        "The war lasted from the year 1786 to the year 17",
        "72",
        "90",
        "The year the war began varies; the answer is the model's first choice among the later years.",
    ),
    _named(
        "Agreement",
        "Today the key to the cabinets",
        "Today the keys to the cabinets",
        "is",
        "are",
        "The number of the subject varies; the noun between it and the verb is the same.",
    ),
    _named(
        "Pronoun",
        "John and Mary went to the park. Mary lost the ball, so",
        "John and Mary went to the park. John lost the ball, so",
        "she",
        "he",
        "The subject of the second sentence varies; both people stay in the first.",
    ),
)


def preset(name: str) -> Preset:
    """Return the preset called `name`, in any case; an unknown name is a PatchError with the nearest ones.

    >>> preset("Capitals").pair.foil
    ' Rome'
    """
    names = {known.name.lower(): known for known in PRESETS}
    wanted = name.strip().lower() if isinstance(name, str) else ""
    if wanted in names:
        return names[wanted]
    begin = [key for key in names if wanted and key.startswith(wanted)]
    near = [names[key].name for key in begin or difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)]
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    known = "; ".join(known.name for known in PRESETS)
    raise PatchError(f"unknown preset {quoted(name)}; {hint}Known: {known}.")
