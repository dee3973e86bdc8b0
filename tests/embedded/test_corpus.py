"""The corpus is seeded, its splits are disjoint, and its marked answers are what they claim."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from patchwidgets.embedded.corpus import TASKS, UNK, UNKNOWN, facts, held_out, hide_words, stream, vocabulary
from patchwidgets.embedded.corpus.text import Doc, pair_split, parse, split_of
from patchwidgets.embedded.corpus.words import MEN, NAMES, WOMEN

SPLITS = ("train", "dev", "test")


def texts(docs: list[Doc]) -> set[tuple[str, ...]]:
    return {doc.tokens for doc in docs}


def test_the_same_seed_gives_the_same_documents_and_another_seed_does_not() -> None:
    first, again, other = (list(itertools.islice(stream(seed), 300)) for seed in (5, 5, 6))
    assert first == again
    assert len(texts(first) & texts(other)) < 30
    assert held_out("induction", "dev", 20) == held_out("induction", "dev", 20)


@pytest.mark.parametrize("task", TASKS)
def test_splits_of_a_task_share_no_document(task: str) -> None:
    train, dev, test = (texts(held_out(task, split, 400)) for split in SPLITS)
    assert not train & dev
    assert not train & test
    assert not dev & test


def test_the_training_stream_holds_no_held_out_document() -> None:
    seen = texts(list(itertools.islice(stream(0, unknown=0.0), 20_000)))
    for task in TASKS:
        for split in ("dev", "test"):
            assert not seen & texts(held_out(task, split, 400)), (task, split)


def test_every_pair_of_names_that_acts_in_training_is_a_training_pair() -> None:
    assert {pair_split(a, b) for a, b in itertools.combinations(NAMES, 2)} == set(SPLITS)
    for doc in held_out("ioi_one_pair", "train", 500):
        first, second = dict.fromkeys(token for token in doc.tokens if token in NAMES)
        assert pair_split(first, second) == "train"
    assert pair_split("Mary", "John") == pair_split("John", "Mary") != "test"


def test_the_answer_of_two_pairs_is_the_partner_of_the_one_who_acts() -> None:
    for doc in held_out("ioi_two_pairs", "train", 300):
        people = [token for token in doc.tokens if token in NAMES]
        couples = [set(people[:2]), set(people[2:4])]
        for index in doc.answers:
            actor = next(token for token in reversed(doc.tokens[:index]) if token in NAMES)
            assert {actor, doc.tokens[index]} in couples


def test_facts_of_a_split_are_other_sentences_and_every_fact_is_trained() -> None:
    for every in facts.ALL.values():
        splits = [facts.fact_split(fact) for fact in every]
        assert set(splits) == set(SPLITS)
        trained = {fact[0] for fact, split in zip(every, splits, strict=True) if split == "train"}
        assert trained == {fact[0] for fact in every}


def test_subjects_of_facts_share_words() -> None:
    firsts, lasts = zip(*(name.split() for name in facts.LANDMARKS), strict=True)
    assert Counter(lasts)["Tower"] >= 4
    assert firsts.count("Eiffel") == 2
    countries: dict[str, set[str]] = {}
    for person, country in (facts.LEADERS | facts.OTHERS).items():
        for word in person.split():
            countries.setdefault(word, set()).add(country)
    for word in ("Angela", "Merkel", "Joe", "Boris", "Johnson", "Donald"):
        assert len(countries[word]) > 1


def test_induction_answers_follow_the_earlier_copy() -> None:
    for doc in held_out("induction", "test", 200):
        for index in doc.answers:
            earlier = doc.tokens.index(doc.tokens[index - 1])
            assert doc.tokens[earlier + 1] == doc.tokens[index]
            assert split_of("induction", *doc.tokens[earlier : earlier + 2]) == "test"


def test_later_years_are_later() -> None:
    for doc in held_out("greater_than", "train", 200):
        century, start, again, end = (token for token in doc.tokens if token.isdigit())
        assert century == again
        assert end > start


def test_pronouns_agree() -> None:
    for doc in held_out("pronoun", "train", 200):
        person = [token for token in doc.tokens[: doc.answers[0]] if token in NAMES][-1]
        assert doc.answer == ("he" if person in MEN else "she")
        assert (person in WOMEN) == (doc.answer == "she")


def test_documents_fit_the_context_and_use_known_words_only() -> None:
    known = set(vocabulary())
    assert len(known) == len(vocabulary()) < 700
    for doc in itertools.islice(stream(1), 5000):
        assert len(doc.tokens) < 64
        assert known.issuperset(doc.tokens)
        assert doc.answers


def test_words_are_hidden_everywhere_but_never_the_answer() -> None:
    doc = parse("When Mary and John went to the store, John gave a drink to *Mary.")
    hidden = [hide_words(random.Random(seed), doc) for seed in range(200)]
    assert all(copy.tokens[copy.answers[0]] == "Mary" and copy.tokens[1] == "Mary" for copy in hidden)
    assert all(copy.tokens.count(UNK) >= 1 for copy in hidden)
    # Both mentions of a name go together, so that the riddle keeps its answer.
    assert all((copy.tokens[3] == UNK) == (copy.tokens[9] == UNK) for copy in hidden)
    share = sum(UNK in doc.tokens for doc in itertools.islice(stream(2), 4000)) / 4000
    assert share == pytest.approx(UNKNOWN, abs=0.02)
