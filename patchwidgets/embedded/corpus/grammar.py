"""Grammar: verbs that agree with a subject across another noun, pronouns that agree with a person."""

from __future__ import annotations

import random

from .ioi import draw_pair
from .text import Doc, Split, listed, parse, split_of, words_of
from .words import MEN, OBJECTS, PLACES, introduce

NOUNS = (
    ("key", "keys"),
    ("cabinet", "cabinets"),
    ("dog", "dogs"),
    ("cat", "cats"),
    ("boy", "boys"),
    ("girl", "girls"),
    ("teacher", "teachers"),
    ("doctor", "doctors"),
    ("book", "books"),
    ("car", "cars"),
    ("tree", "trees"),
    ("picture", "pictures"),
    ("letter", "letters"),
    ("chair", "chairs"),
    ("horse", "horses"),
    ("farmer", "farmers"),
    ("ship", "ships"),
    ("bird", "birds"),
)
PREPOSITIONS = ("to", "near", "behind", "under", "with", "beside")
QUALITIES = listed("old new small big lost ready clean cold here famous red quiet")
TENSES = {"Today": ("is", "are"), "Yesterday": ("was", "were")}

ALONE = (
    "{n} was tired because *{p} had to work.",
    "{n} said that *{p} lost {obj}.",
    "{n} lost {obj}, so *{p} went home.",
)
TOGETHER = (
    "{o} was at the {place}. {n} was tired because *{p} had to work.",
    "{o} saw that {n} was late, and {n} said that *{p} had to go.",
    "{o} and {n} went to the {place}. {n} lost {obj}, so *{p} went home.",
    "When {o} went to the {place}, {n} said that *{p} had to work.",
    "After {o} met {n} at the {place}, {n} went home because *{p} was tired.",
)
LEXICON = (
    words_of((*ALONE, *TOGETHER, "he she"))
    | {form for noun in NOUNS for form in noun}
    | set(PREPOSITIONS + QUALITIES + tuple(TENSES))
    | {verb for verbs in TENSES.values() for verb in verbs}
)


def agreement(rng: random.Random, split: Split) -> Doc:
    """'Today the key to the cabinets' -> 'is', 'Yesterday the keys to the cabinet' -> 'were'."""
    while True:
        head, near = rng.sample(NOUNS, 2)
        if split_of("agreement", head[0], near[0]) == split:
            break
    number, other = rng.randrange(2), rng.randrange(2)
    when = rng.choice(list(TENSES))
    phrase = f"{rng.choice(PREPOSITIONS)} the {near[other]}"
    if rng.random() < 0.3:
        phrase = f"{phrase} {rng.choice(PREPOSITIONS)} the {rng.choice(PLACES)}"
    # A subject alone belongs to no pair of nouns, so it is for training only.
    alone = split == "train" and rng.random() < 0.15
    subject = f"the {head[number]}" if alone else f"the {head[number]} {phrase}"
    return parse(f"{when} {subject} *{TENSES[when][number]} {rng.choice(QUALITIES)}.")


def pronoun(rng: random.Random, split: Split) -> Doc:
    """'John was at the park. Mary was tired because' -> 'she'."""
    other, name = draw_pair(rng, split)
    sentences = ALONE if split == "train" and rng.random() < 0.25 else TOGETHER
    text = rng.choice(sentences).format(
        n=name, o=other, p="he" if name in MEN else "she", place=rng.choice(PLACES), obj=rng.choice(OBJECTS)
    )
    return parse(introduce(rng, text, 0.3))
