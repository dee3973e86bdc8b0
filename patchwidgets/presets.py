"""Prompt pairs to start from; the embedded model answers every one of them as written here."""

from __future__ import annotations

from dataclasses import dataclass

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


def _preset(name: str, clean: str, corrupted: str, answer: str, foil: str, note: str) -> Preset:
    return Preset(name, PromptPair(clean, corrupted, answer=f" {answer}", foil=f" {foil}"), note)


PRESETS: tuple[Preset, ...] = (
    _preset(
        "IOI, name replaced",
        "When Mary and John went to the store, John gave a drink to",
        "When Anna and John went to the store, John gave a drink to",
        "Mary",
        "Anna",
        "The name to be given varies; who acts, the sentence and all positions are the same.",
    ),
    _preset(
        "IOI, subject flipped",
        "When Mary and John went to the store, John gave a drink to",
        "When Mary and John went to the store, Mary gave a drink to",
        "Mary",
        "John",
        "Who acts varies; both names stay in the prompt and in their places.",
    ),
    _preset(
        "IOI, a bottle of milk",
        "After John and Mary went to the store, Mary gave a bottle of milk to",
        "After John and Mary went to the store, John gave a bottle of milk to",
        "John",
        "Mary",
        "Who acts varies; here the answer is the name mentioned first.",
    ),
    _preset(
        "IOI, two sentences",
        "John and Mary went to the store. John gave a bottle of milk to",
        "John and Mary went to the store. Mary gave a bottle of milk to",
        "Mary",
        "John",
        "Who acts varies; the names and the gift stand in two separate sentences.",
    ),
    _preset(
        "IOI, two couples",
        "John and Mary went to the store, and Tom and Alice went to the park. John gave a drink to",
        "John and Mary went to the store, and Tom and Alice went to the park. Tom gave a drink to",
        "Mary",
        "Alice",
        "Who acts varies between two couples; all four names stay in their places.",
    ),
    _preset(
        "Leaders",
        "Angela Merkel is the leader of",
        "Joe Biden is the leader of",
        "Germany",
        "America",
        "The person varies; the relation asked for, and that a country is wanted, are the same.",
    ),
    _preset(
        "Leaders, a shared surname",
        "Boris Johnson is the leader of",
        "Lyndon Johnson is the leader of",
        "Britain",
        "America",
        "The first name varies; the surname alone would not tell the country.",
    ),
    _preset(
        "Landmarks",
        "The Eiffel Tower is in",
        "The Leaning Tower is in",
        "Paris",
        "Pisa",
        "The first word of the name varies; that it is a tower, and that a place is wanted, are the same.",
    ),
    _preset(
        "Landmarks, a shared first word",
        "The Eiffel Tower is in",
        "The Eiffel Palace is in",
        "Paris",
        "Budapest",
        "The kind of building varies; the first word of its name alone would not tell the city.",
    ),
    _preset(
        "Capitals",
        "The capital of France is",
        "The capital of Italy is",
        "Paris",
        "Rome",
        "The country varies; the relation asked for is the same.",
    ),
    _preset(
        "Capital or language",
        "The capital of France is",
        "The language of France is",
        "Paris",
        "French",
        "The relation asked for varies; the country is the same.",
    ),
    _preset(
        "Induction",
        "red dog key sun red",
        "key dog red sun red",
        "dog",
        "sun",
        "Two words change places, so the last word follows another; all words are the same ones.",
    ),
    _preset(
        "Surnames",
        "Mary Jones met John Smith at the park. The surname of Mary is",
        "Mary Smith met John Jones at the park. The surname of Mary is",
        "Jones",
        "Smith",
        "The two surnames change places; the first names and the question are the same.",
    ),
    _preset(
        "Docstring",
        'def port(self, load, size, files): """oil piece. :param load: crime. :param size: dark unit. :param',
        'def port(self, load, size, last): """oil piece. :param load: crime. :param size: dark unit. :param',
        "files",
        "last",
        "The last argument varies; the arguments before it and the text of the docstring are the same.",
    ),
    _preset(
        "Greater than",
        "The war lasted from the year 1762 to the year 17",
        "The war lasted from the year 1786 to the year 17",
        "72",
        "90",
        "The year the war began varies; the answer is the model's first choice among the later years.",
    ),
    _preset(
        "Agreement",
        "Today the key to the cabinets",
        "Today the keys to the cabinets",
        "is",
        "are",
        "The number of the subject varies; the noun between it and the verb is the same.",
    ),
    _preset(
        "Pronoun",
        "John and Mary went to the park. Mary lost the ball, so",
        "John and Mary went to the park. John lost the ball, so",
        "she",
        "he",
        "The subject of the second sentence varies; both people stay in the first.",
    ),
)
