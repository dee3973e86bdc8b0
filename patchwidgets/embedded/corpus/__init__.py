"""The seeded corpus of the embedded model: tasks, their mixture, the vocabulary and the three splits."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache

from . import context, facts, grammar, ioi, words
from .text import Doc, Split, words_of

BOS, UNK, PAD = "[BOS]", "[UNK]", "[PAD]"
SPECIALS = (PAD, BOS, UNK)
# Share of the training documents in which words are hidden.
UNKNOWN = 0.08

Generator = Callable[[random.Random, Split], Doc]


@cache
def vocabulary() -> tuple[str, ...]:
    """Every token in id order: the specials, then all words of the corpus, sorted."""
    known = context.LEXICON | facts.LEXICON | grammar.LEXICON | ioi.LEXICON
    known |= words_of((*words.NAMES, *words.SURNAMES, *words.PLACES, *words.OBJECTS, *words.REMARKS))
    known |= words.COMMON_LOWER
    return (*SPECIALS, *sorted(known))


def _induction(rng: random.Random, split: Split) -> Doc:
    return context.induction(rng, split, vocabulary()[len(SPECIALS) :])


# Share of the training documents and generator; `ioi_new_openings` exists only to be measured.
TASKS: dict[str, tuple[float, Generator]] = {
    "ioi_one_pair": (0.10, ioi.one_pair),
    "ioi_new_openings": (0.0, ioi.new_opening),
    "ioi_two_pairs": (0.14, ioi.two_pairs),
    "ioi_bystander": (0.08, ioi.bystander),
    "induction": (0.15, _induction),
    "surname_recall": (0.08, context.surname),
    "facts_landmarks": (0.09, facts.landmarks),
    "facts_people": (0.08, facts.people),
    "facts_capitals": (0.06, facts.capitals),
    "greater_than": (0.08, context.later_year),
    "agreement": (0.05, grammar.agreement),
    "pronoun": (0.05, grammar.pronoun),
    "docstring": (0.08, context.docstring),
}


def held_out(task: str, split: Split, count: int, seed: int = 0) -> list[Doc]:
    """The first `count` documents of a task's split, the same for the same seed."""
    rng = random.Random(f"{task}:{split}:{seed}")
    return [TASKS[task][1](rng, split) for _ in range(count)]


def hide_words(rng: random.Random, doc: Doc) -> Doc:
    """Replace all occurrences of one or two words that are not answers by `[UNK]`."""
    kept = {doc.tokens[i] for i in doc.answers}
    candidates = sorted(set(doc.tokens) - kept)
    hidden = set(rng.sample(candidates, min(rng.choice((1, 1, 2)), len(candidates))))
    return Doc(tuple(UNK if token in hidden else token for token in doc.tokens), doc.answers, doc.random)


def stream(seed: int, split: Split = "train", unknown: float = UNKNOWN) -> Iterator[Doc]:
    """Endless documents of the mixture; a share `unknown` of them has words hidden behind `[UNK]`."""
    rng = random.Random(f"stream:{split}:{seed}")
    names, shares = list(TASKS), [share for share, _ in TASKS.values()]
    while True:
        doc = TASKS[rng.choices(names, shares)[0]][1](rng, split)
        yield hide_words(rng, doc) if rng.random() < unknown else doc
