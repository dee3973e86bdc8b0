"""Answers that stand in the prompt: induction, surnames, argument order; and years that must be later."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .text import Doc, Split, listed, parse, split_of, words_of
from .words import NAMES, PLACES, SURNAMES, introduce

PLAIN = listed(
    "red blue green dog cat key sun moon bird fish stone cloud wind fire snow lamp chair door song coin leaf horse "
    "bear wolf ship gold silver rain wall rope"
)
ARGUMENTS = listed(
    "load size files last name date count list node path text line mode time index width color range state field "
    "level order value group"
)
FUNCTIONS = listed("port open find sort make read draw send plan call")
NOTES = listed("oil dark unit piece crime total first public new old small main next common simple")
EVENTS = listed("war strike project festival trial peace drought reign voyage winter")

MEETINGS = (
    "{a} {x} met {b} {y} at the {place}.",
    "{a} {x} and {b} {y} went to the {place}.",
    "When {a} {x} saw {b} {y} at the {place}, it was late.",
    "{a} {x} sent a letter to {b} {y}.",
    "{a} {x}, {b} {y} and {c} {z} were at the {place}.",
    "{a} {x} met {b} {y}, and {c} {z} went to the {place}.",
)
SURNAME_OF = (
    "The surname of {n} is *{s}",
    "The full name of {n} is {n} *{s}",
    "Everyone knew that the surname of {n} was *{s}",
)
LASTS = (
    "The {event} lasted from the year {start} to the year {century}*{end}.",
    "The {event} began in the year {start} and ended in the year {century}*{end}.",
    "The long {event} lasted from {start} to {century}*{end}.",
)
LEXICON = (
    words_of((*MEETINGS, *SURNAME_OF, *LASTS, 'def ( self , ) : . """ param'))
    | set(PLAIN + ARGUMENTS + FUNCTIONS + NOTES + EVENTS)
    | {str(d) for d in range(10)}
    | {f"{d:02d}" for d in range(100)}
)
_FULL_NAMES: dict[Split, list[tuple[str, str]]] = {"train": [], "dev": [], "test": []}
for _name in NAMES:
    for _surname in SURNAMES:
        _FULL_NAMES[split_of("surname", _name, _surname)].append((_name, _surname))


def _chain(rng: random.Random, words: Sequence[str], length: int, split: Split, kind: str) -> list[str]:
    """Distinct words of which every neighbouring pair belongs to the split."""
    while True:
        chain = [rng.choice(words)]
        for _ in range(40 * length):
            word = rng.choice(words)
            if word not in chain and split_of(kind, chain[-1], word) == split:
                chain.append(word)
            if len(chain) == length:
                return chain


def induction(rng: random.Random, split: Split, vocabulary: Sequence[str]) -> Doc:
    """'red dog key sun red' -> 'dog', over the whole vocabulary or, in training, often over plain words."""
    words = PLAIN if split == "train" and rng.random() < 0.4 else vocabulary
    chain = _chain(rng, words, rng.randint(4, 16), split, "induction")
    start = rng.randrange(len(chain) - 1)
    again = chain[start:]
    if rng.random() < 0.25:
        again = again[: rng.randint(2, len(again))]
    tokens = [*chain, *again]
    answers = list(range(len(chain) + 1, len(tokens)))
    return Doc(tuple(tokens), tuple(answers), random=True)


def surname(rng: random.Random, split: Split) -> Doc:
    """'Mary Jones met John Smith at the park. The surname of Mary is' -> 'Jones'."""
    while True:
        people = rng.sample(_FULL_NAMES[split], 3)
        first, last = zip(*people, strict=True)
        if len(set(first)) == len(set(last)) == 3:
            break
    meeting = rng.choice(MEETINGS)
    people = people[: 3 if "{c}" in meeting else 2]
    text = meeting.format(place=rng.choice(PLACES), **dict(zip("abcxyz", (*first, *last), strict=True)))
    for name, family in rng.sample(people, rng.randint(1, 2)):
        text = f"{text} {rng.choice(SURNAME_OF).format(n=name, s=family)}."
    return parse(introduce(rng, text, 0.3))


def docstring(rng: random.Random, split: Split) -> Doc:
    """A function's arguments are documented in their order: after ':param' comes the next one."""
    names = _chain(rng, ARGUMENTS, rng.randint(3, 5), split, "docstring")
    shown = rng.randint(2, min(4, len(names)))
    lines = [f":param *{name}: {' '.join(rng.sample(NOTES, rng.choice((1, 2))))}." for name in names[:shown]]
    heading = " ".join(rng.sample(NOTES, rng.choice((1, 2))))
    return parse(f'def {rng.choice(FUNCTIONS)}(self, {", ".join(names)}): """{heading}. {" ".join(lines)}')


def later_year(rng: random.Random, split: Split) -> Doc:
    """'The war lasted from the year 1732 to the year 17' -> any pair of digits above 32, near ones more often."""
    while True:
        event, century, start = rng.choice(EVENTS), rng.randint(10, 19), rng.randint(1, 96)
        end = start + 1 + int(rng.expovariate(1 / 14))
        if end <= 99 and split_of("year", event, century, start) == split:
            break
    text = rng.choice(LASTS).format(event=event, start=f"{century}{start:02d}", century=century, end=f"{end:02d}")
    return parse(introduce(rng, text, 0.3))
