"""Facts to remember: landmarks, people and their countries, capitals and languages.

Subjects share words (Eiffel Tower and Eiffel Palace, Boris Johnson and Lyndon Johnson): no single token decides.
Splits hold out combinations of a fact and a sentence: the fact is trained in other sentences.
"""

from __future__ import annotations

import random

from .text import Doc, Split, parse, split_of, words_of
from .words import introduce

LANDMARKS = {
    "Eiffel Tower": "Paris",
    "Eiffel Palace": "Budapest",
    "Leaning Tower": "Pisa",
    "Galata Tower": "Istanbul",
    "Belem Tower": "Lisbon",
    "White Tower": "London",
    "White House": "Washington",
    "Blue House": "Seoul",
    "Opera House": "Sydney",
    "Blue Mosque": "Istanbul",
    "Grand Mosque": "Mecca",
    "Grand Palace": "Bangkok",
    "Grand Canal": "Venice",
    "Royal Palace": "Madrid",
    "Royal Castle": "Warsaw",
    "Summer Palace": "Beijing",
    "Buckingham Palace": "London",
    "Pitti Palace": "Florence",
    "Prague Castle": "Prague",
    "Charles Bridge": "Prague",
    "Tower Bridge": "London",
    "Rialto Bridge": "Venice",
    "Galata Bridge": "Istanbul",
    "Harbour Bridge": "Sydney",
    "Brandenburg Gate": "Berlin",
    "Golden Gate": "California",
    "Golden Temple": "Amritsar",
    "Red Square": "Moscow",
    "Red Fort": "Delhi",
    "Trafalgar Square": "London",
    "British Museum": "London",
    "Louvre Museum": "Paris",
    "Prado Museum": "Madrid",
    "Egyptian Museum": "Cairo",
}
LEADERS = {
    "Angela Merkel": "Germany",
    "Helmut Kohl": "Germany",
    "Joe Biden": "America",
    "Joe Clark": "Canada",
    "Donald Trump": "America",
    "Donald Tusk": "Poland",
    "Boris Johnson": "Britain",
    "Boris Yeltsin": "Russia",
    "Lyndon Johnson": "America",
    "Tony Blair": "Britain",
    "Tony Abbott": "Australia",
    "John Howard": "Australia",
    "John Major": "Britain",
    "John Kennedy": "America",
    "George Bush": "America",
    "George Papandreou": "Greece",
    "Mario Draghi": "Italy",
    "Mario Soares": "Portugal",
    "Pedro Sanchez": "Spain",
    "Pedro Passos": "Portugal",
    "Jean Castex": "France",
    "Jean Chretien": "Canada",
    "Emmanuel Macron": "France",
    "Justin Trudeau": "Canada",
}
# People who lead no country but share a name with someone who does.
OTHERS = {
    "Angela Davis": "America",
    "Max Merkel": "Austria",
    "Max Planck": "Germany",
    "Joe Hart": "Britain",
    "Helen Clark": "Britain",
    "Jean Sibelius": "Finland",
}
CAPITALS = {
    "Germany": ("Berlin", "German"),
    "America": ("Washington", "English"),
    "Canada": ("Ottawa", "English"),
    "Poland": ("Warsaw", "Polish"),
    "Britain": ("London", "English"),
    "Russia": ("Moscow", "Russian"),
    "Australia": ("Canberra", "English"),
    "Greece": ("Athens", "Greek"),
    "Italy": ("Rome", "Italian"),
    "Portugal": ("Lisbon", "Portuguese"),
    "Spain": ("Madrid", "Spanish"),
    "France": ("Paris", "French"),
    "Austria": ("Vienna", "German"),
    "Finland": ("Helsinki", "Finnish"),
    "Japan": ("Tokyo", "Japanese"),
    "China": ("Beijing", "Chinese"),
    "India": ("Delhi", "Hindi"),
    "Egypt": ("Cairo", "Arabic"),
    "Turkey": ("Ankara", "Turkish"),
    "Norway": ("Oslo", "Norwegian"),
}
IN_CITY = (
    "The {x} is in *{y}.",
    "The {x} stands in *{y}.",
    "You can see the {x} in *{y}.",
    "Many people visit the {x} in *{y}.",
    "The {x} can be found in *{y}.",
    "To see the {x}, go to *{y}.",
    "Everyone knows that the {x} is in *{y}.",
    "The famous {x} is in *{y}.",
)
LEADS = (
    "{x} is the leader of *{y}.",
    "{x} was the leader of *{y}.",
    "Everyone knows that {x} is the leader of *{y}.",
    "The country that {x} led is *{y}.",
)
COMES_FROM = (
    "{x} comes from *{y}.",
    "{x} was born in *{y}.",
    "The home of {x} is *{y}.",
    "Many people know that {x} comes from *{y}.",
)
HAS_CAPITAL = (
    "The capital of {x} is *{y}.",
    "The capital city of {x} is *{y}.",
    "Many people know that the capital of {x} is *{y}.",
    "Everyone knows that the capital of {x} is *{y}.",
    "In {x}, the capital is *{y}.",
    "The government of {x} is in *{y}.",
)
SPEAKS = (
    "The language of {x} is *{y}.",
    "People in {x} speak *{y}.",
    "In {x}, the language is *{y}.",
    "Many people know that the language of {x} is *{y}.",
    "Many people in {x} speak *{y}.",
    "Everyone knows that the language of {x} is *{y}.",
)
Fact = tuple[str, str, str]


def _facts(table: dict[str, str], sentences: tuple[str, ...]) -> list[Fact]:
    return [(x, y, sentence) for x, y in table.items() for sentence in sentences]


ALL: dict[str, list[Fact]] = {
    "landmarks": _facts(LANDMARKS, IN_CITY),
    "people": _facts(LEADERS, LEADS) + _facts(LEADERS | OTHERS, COMES_FROM),
    "capitals": _facts({c: v[0] for c, v in CAPITALS.items()}, HAS_CAPITAL)
    + _facts({c: v[1] for c, v in CAPITALS.items()}, SPEAKS),
}
LEXICON = words_of(sentence.format(x=x, y=y) for facts in ALL.values() for x, y, sentence in facts)


def fact_split(fact: Fact) -> Split:
    """The split of a fact in a sentence; the sentences that presets quote are never in the test split."""
    x, _, sentence = fact
    split = split_of("fact", x, sentence)
    quoted = sentence in (IN_CITY[0], LEADS[0], HAS_CAPITAL[0], SPEAKS[0])
    return "dev" if quoted and split == "test" else split


_BY_SPLIT: dict[tuple[str, str], list[Fact]] = {}
for _task, _list in ALL.items():
    for _fact in _list:
        _BY_SPLIT.setdefault((_task, fact_split(_fact)), []).append(_fact)


def _document(rng: random.Random, split: Split, task: str) -> Doc:
    facts = rng.sample(_BY_SPLIT[task, split], rng.choice((1, 1, 2, 3)))
    text = " ".join(sentence.format(x=x, y=y) for x, y, sentence in facts)
    return parse(introduce(rng, text, 0.25))


def landmarks(rng: random.Random, split: Split) -> Doc:
    """'The Eiffel Tower is in' -> 'Paris'."""
    return _document(rng, split, "landmarks")


def people(rng: random.Random, split: Split) -> Doc:
    """'Angela Merkel is the leader of' -> 'Germany'."""
    return _document(rng, split, "people")


def capitals(rng: random.Random, split: Split) -> Doc:
    """'The capital of France is' -> 'Paris', 'The language of France is' -> 'French'."""
    return _document(rng, split, "capitals")
