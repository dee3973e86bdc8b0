"""Indirect object identification: one pair of people, two pairs, or a pair and a bystander.

With two pairs the answer is the partner of the one who acts, so "the other name" is not enough: the model has to bind
partners. Pairs of names are split by hash; some openings belong to dev and test alone.
"""

from __future__ import annotations

import random

from .text import Doc, Split, listed, pair_split, parse, words_of
from .words import NAMES, OBJECTS, PLACES, introduce

ONE_PAIR: dict[Split, tuple[str, ...]] = {
    "train": (
        "When {a} and {b} {went} to the {place},",
        "When {a} and {b} {went} to the {place},",
        "After {a} and {b} {went} to the {place},",
        "After {a} and {b} {went} to the {place},",
        "{a} and {b} {went} to the {place}.",
        "{a} and {b} {went} to the {place}.",
        "Before {a} and {b} {went} home from the {place},",
        "While {a} and {b} {stayed} at the {place},",
        "When {a} and {b} {stayed} at the {place},",
        "{a} and {b} {stayed} at the {place}.",
        "Once {a} and {b} found {thing},",
        "{a} and {b} had a long argument, and",
        "{a} and {b} had {thing} and a book. Then",
        "When {a} and {b} got home from the {place},",
        "Friends {a} and {b} found {thing} at the {place}.",
        "Since {a} and {b} were old friends,",
        "Because {a} and {b} were late,",
        "The day was cold when {a} and {b} {went} to the {place}, and",
        "In the {place}, {a} and {b} lost {thing}.",
        "Last summer {a} and {b} {stayed} in the {place}.",
        "{a} and {b} sat in the {place} all day, so",
        "After the lunch {a} and {b} had at the {place},",
    ),
    "dev": (
        "While {a} and {b} were waiting at the {place},",
        "{a} and {b} walked from the {place} to the {other}, and then",
        "At the {place}, {a} and {b} had lunch.",
    ),
    "test": (
        "Once {a} and {b} arrived at the {place},",
        "The {place} was cold, so {a} and {b} went home, and",
        "Before {a} and {b} left the {place} with {thing},",
        "Last week {a} and {b} were friends and had {thing}.",
    ),
}
WENT = listed("went went went walked ran drove came hurried moved returned travelled")
STAYED = listed("were were met sat stayed worked waited played slept arrived")
TWO_PAIRS = (
    "{a} and {b} {went} to the {place}, and {c} and {d} went to the {other}.",
    "When {a} and {b} {went} to the {place}, {c} and {d} were at the {other}.",
    "While {a} and {b} were waiting for {c} and {d} at the {place},",
    "After {a} and {b} met {c} and {d} at the {place},",
    "{a} and {b} had lunch. {c} and {d} {stayed} at the {place}. Then",
    "{a} and {b} saw {c} and {d} at the {place}, and",
)
BYSTANDER = (
    "{c} was at the {other} when {a} and {b} {went} to the {place}.",
    "While {c} slept, {a} and {b} {went} to the {place}, and",
    "{a} and {b} {went} to the {place} without {c}.",
    "When {a} and {b} met {c} at the {place},",
    "{c} knew that {a} and {b} were old friends.",
    "After {a} and {b} saw {c} at the {other},",
    "{a} and {b} {stayed} at the {place}, but {c} {went} to the {other}. Then",
)
GIVES = (
    "{s} gave {obj} to *{io}",
    "{s} gave {obj} to *{io}",
    "{s} gave {obj} to *{io}",
    "{s} decided to give {obj} to *{io}",
    "{s} handed {obj} to *{io}",
    "{s} offered {obj} to *{io}",
    "{s} wanted to give {obj} to *{io}",
    "{s} passed {obj} to *{io}",
    "{s} sent {obj} to *{io}",
)
LEXICON = words_of(
    (*ONE_PAIR["train"], *ONE_PAIR["dev"], *ONE_PAIR["test"], *TWO_PAIRS, *BYSTANDER, *GIVES, *WENT, *STAYED)
)


def draw_pair(rng: random.Random, split: Split, taken: tuple[str, ...] = ()) -> tuple[str, str]:
    """Two names of one split's pair, neither of them taken."""
    while True:
        first, second = rng.sample(NAMES, 2)
        if pair_split(first, second) == split and first not in taken and second not in taken:
            return first, second


def _give(rng: random.Random, pair: tuple[str, str]) -> str:
    subject, other = rng.sample(pair, 2)
    return rng.choice(GIVES).format(s=subject, io=other, obj=rng.choice(OBJECTS))


def _compose(rng: random.Random, opening: str, pairs: list[tuple[str, str]], bystander: str = "") -> Doc:
    place, other = rng.sample(PLACES, 2)
    people = dict(zip("abcd", [*pairs[0], *(pairs[1] if len(pairs) > 1 else (bystander,))], strict=False))
    rest = {"thing": rng.choice(OBJECTS), "went": rng.choice(WENT), "stayed": rng.choice(STAYED)}
    text = opening.format(place=place, other=other, **rest, **people)
    text = f"{introduce(rng, text, 0.4)} {_give(rng, rng.choice(pairs))}."
    if rng.random() < 0.5:
        text = f"{text} Then {_give(rng, rng.choice(pairs))}."
    return parse(text)


def one_pair(rng: random.Random, split: Split) -> Doc:
    """'When Mary and John went to the store, John gave a drink to' -> 'Mary', in openings known from training."""
    return _compose(rng, rng.choice(ONE_PAIR["train"]), [draw_pair(rng, split)])


def new_opening(rng: random.Random, split: Split) -> Doc:
    """The same in the split's own openings (for train: the training openings)."""
    return _compose(rng, rng.choice(ONE_PAIR[split]), [draw_pair(rng, split)])


def two_pairs(rng: random.Random, split: Split) -> Doc:
    """Two pairs of people; the answer is the partner of the one who acts."""
    first = draw_pair(rng, split)
    return _compose(rng, rng.choice(TWO_PAIRS), [first, draw_pair(rng, split, first)])


def bystander(rng: random.Random, split: Split) -> Doc:
    """A pair and a third person who is never the answer."""
    pair = draw_pair(rng, split)
    return _compose(rng, rng.choice(BYSTANDER), [pair], rng.choice([n for n in NAMES if n not in pair]))
