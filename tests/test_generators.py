"""Generated pairs ask what they say they ask, are all different, and come out the same everywhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from patchwidgets.datasets import Dataset
from patchwidgets.embedded.corpus import vocabulary
from patchwidgets.embedded.corpus.text import parse
from patchwidgets.errors import PatchError
from patchwidgets.generators import (
    IOI_KINDS,
    _war,
    addition,
    docstring,
    facts,
    greater_than,
    induction,
    ioi,
)
from patchwidgets.generators.words import NAMES, RELATIONS

MAKERS: dict[str, Callable[..., Dataset]] = {
    **{f"ioi {kind}": (lambda n, seed=0, kind=kind: ioi(n, kind, seed=seed)) for kind in IOI_KINDS},
    "induction": induction,
    "facts": facts,
    "facts of all relations": lambda n, seed=0: facts(n, seed=seed, relations=tuple(RELATIONS)),
    "docstring": docstring,
    "addition": addition,
    "greater-than": greater_than,
}


# Of five pairs of each: another machine or Python that drew other pairs would change it.
DIGEST = "12929f347ebe73c7f0293fe6e027e95cd070494e08fea3eff11200e28f917b3e"


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Dataset]:
    return MAKERS[request.param]


def test_pairs_are_as_many_as_asked_and_all_different(make: Callable[..., Dataset]) -> None:
    data = make(60)
    assert len(data) == len(set(data)) == 60
    assert all(len(values) == 60 for values in data.labels.values())
    for pair in data:
        assert pair.clean != pair.corrupted
        assert pair.answer != pair.foil
        assert len(pair.clean.split()) == len(pair.corrupted.split())
        assert pair.clean == pair.clean.strip()


def test_the_seed_fixes_everything(make: Callable[..., Dataset]) -> None:
    assert make(20, seed=5) == make(20, seed=5)
    assert make(20, seed=5) != make(20, seed=6)
    assert make(20, seed=5)[:8].pairs == make(8, seed=5).pairs


def test_pairs_are_the_same_on_every_machine() -> None:
    texts = [f"{pair.clean}|{pair.corrupted}|{pair.answer}|{pair.foil}" for make in MAKERS.values() for pair in make(5)]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest() == DIGEST


def test_texts_survive_json_lines(make: Callable[..., Dataset], tmp_path: Path) -> None:
    data = make(5)
    assert Dataset.from_jsonl(data.to_jsonl(tmp_path / f"{data.name}.jsonl")) == data


@pytest.mark.parametrize("task", [name for name in MAKERS if name not in ("addition", "greater-than")])
def test_the_embedded_model_knows_every_word(task: str) -> None:
    data = MAKERS[task](100)
    texts = [text for pair in data for text in (pair.clean, pair.corrupted, pair.answer, pair.foil)]
    assert {token for text in texts for token in parse(text).tokens} <= set(vocabulary())


def people(text: str) -> tuple[str, ...]:
    return tuple(word.strip(",") for word in text.split() if word.strip(",") in NAMES)


# Of the repeated name: who it is, and where it is named first.
SIGNALS = {
    "replace": ("same", "same"),
    "CDD": ("random", "same"),
    "BAA": ("inverted", "same"),
    "BAB": ("same", "inverted"),
    "DCD": ("random", "inverted"),
    "ABA": ("inverted", "inverted"),
}


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_kind_of_ioi_corrupts_the_token_and_the_position_it_says(kind: str) -> None:
    for pair in ioi(50, kind):
        a, b, again = people(pair.clean)
        assert (again, pair.answer) == (b, f" {a}")
        *named, repeated = people(pair.corrupted)
        token = {b: "same", a: "inverted"}.get(repeated, "random")
        position = "same" if named.index(repeated) == 1 else "inverted"
        assert (token, position) == SIGNALS[kind]
        other = next(name for name in named if name != repeated)
        assert pair.foil == f" {other if kind == 'replace' else b}"
        if kind in ("replace", "CDD", "DCD"):
            assert other not in (a, b)
        unnamed = [
            [word for word in text.split() if word.strip(",") not in NAMES] for text in (pair.clean, pair.corrupted)
        ]
        assert unnamed[0] == unnamed[1]


def test_ioi_positions_mean_the_same_in_every_pair() -> None:
    places = {tuple(i for i, word in enumerate(pair.clean.split()) if word.strip(",") in NAMES) for pair in ioi(100)}
    assert places == {(1, 3, 8)}
    assert {len(parse(pair.clean).tokens) for pair in ioi(100)} == {14}


def test_ioi_takes_other_names_and_templates() -> None:
    data = ioi(3, "BAA", names=["W", "X", "Y", "Z"], templates=["{second} saw {first}; {third} hit"])
    assert set(data.labels["template"]) == {"{second} saw {first}; {third} hit"}
    assert all(re.fullmatch(r"([W-Z]) saw ([W-Z]); \1 hit", pair.clean) for pair in data)


@pytest.mark.parametrize("length", [5, 8, 30])
def test_induction_calls_for_the_word_that_followed(length: int) -> None:
    for pair in induction(40, length=length):
        for text, called in ((pair.clean, pair.answer), (pair.corrupted, pair.foil)):
            *chain, last = text.split()
            assert len(set(chain)) == len(chain) == length
            assert f" {chain[chain.index(last) + 1]}" == called
        clean, corrupted = pair.clean.split(), pair.corrupted.split()
        assert (clean[0], clean[-1]) == (corrupted[0], corrupted[-1])
        assert clean[0] != clean[-1]
        assert sum(one != other for one, other in zip(clean, corrupted, strict=True)) == 2


def test_facts_are_those_of_the_table() -> None:
    data = facts(200, relations=["leader", "capital", "language", "landmark"])
    assert set(data.labels["relation"]) == set(RELATIONS)
    for pair, relation in zip(data, data.labels["relation"], strict=True):
        sentence, table = RELATIONS[relation]
        true = {sentence.format(subject=subject): f" {called}" for subject, called in table.items()}
        assert (true[pair.clean], true[pair.corrupted]) == (pair.answer, pair.foil)


def test_no_two_subjects_of_a_relation_call_for_the_same() -> None:
    for _, table in RELATIONS.values():
        assert len(set(table.values())) == len(table)
        assert len({len(subject.split()) for subject in table}) == 1


def test_a_war_may_end_in_any_later_year() -> None:
    clean, corrupted, above, others = _war("war", 17, 32)
    assert clean == "The war lasted from the year 1732 to the year 17"
    assert corrupted == "The war lasted from the year 1701 to the year 17"
    assert (above[0], above[-1], others[0], others[-1]) == ("33", "99", "00", "32")
    assert sorted(above + others) == [f"{year:02d}" for year in range(100)]


def test_the_docstring_wants_the_third_argument() -> None:
    for pair in docstring(30):
        wanted = []
        for text in (pair.clean, pair.corrupted):
            arguments = re.search(r"\(self, (.*)\)", text)[1].split(", ")
            assert re.findall(r":param (\w+):", text) == arguments[:2]
            assert text.endswith("\n    :param")
            wanted.append(f" {arguments[2]}")
        assert wanted == [pair.answer, pair.foil]
        assert pair.clean.split("\n", 1)[1] == pair.corrupted.split("\n", 1)[1]


def test_sums_are_right_and_only_the_first_number_is_corrupted() -> None:
    data = addition(200, low=5, high=120)
    for i, pair in enumerate(data):
        a, b, other = (data.labels[column][i] for column in ("a", "b", "a_corrupted"))
        assert pair.clean == f"Output ONLY a number. {a}+{b}="
        assert pair.corrupted == f"Output ONLY a number. {other}+{b}="
        assert (pair.answer, pair.foil) == (str(a + b), str(other + b))
        assert len(str(a)) == len(str(other))
        assert all(5 <= number <= 120 for number in (a, b, other))
    assert {len(str(a)) for a in data.labels["a"]} == {1, 2, 3}


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no pairs": (lambda: ioi(0), "n must be at least 1, not 0."),
    "half a pair": (lambda: facts(1.5), "n must be a whole number, not 1.5."),
    "seed": (lambda: docstring(1, seed=None), "seed must be a whole number, not None."),
    "too many": (
        lambda: addition(200, low=10, high=12),
        "addition: only 18 different pairs could be drawn, not 200; ask for",
    ),
    "kind": (lambda: ioi(1, "BBA"), "unknown kind of corruption 'BBA'. Known: replace, CDD, BAA,"),
    "three names": (
        lambda: ioi(1, names=["A", "B", "C"]),
        "names has 3 different words of 3; give at least 4, each once.",
    ),
    "a name twice": (
        lambda: ioi(1, names=["A", "B", "C", "D", "A"]),
        "names has 4 different words of 5; give at least 4, each",
    ),
    "a full name": (
        lambda: ioi(1, names=["A", "B", "C", "D E"]),
        "names: 'D E' is not one word; the prompts would differ",
    ),
    "a name as text": (lambda: ioi(1, names="ABCD"), "names must be a list, not 'ABCD'."),
    "no templates": (lambda: ioi(1, templates=[]), "templates is empty; give at least one."),
    "a field": (
        lambda: ioi(1, templates=["{first} {second} {thrid}"]),
        "unknown field of a template 'thrid'; did you mean 'third'?",
    ),
    "no third": (lambda: ioi(1, templates=["{first} {second}"]), "template '{first} {second}' lacks {third}; mend it."),
    "a last space": (
        lambda: ioi(1, templates=["{first} {second} {third} "]),
        "ends with a space, which belongs to the answer; mend",
    ),
    "a brace": (
        lambda: ioi(1, templates=["{first"]),
        "template '{first' is not one (expected '}' before end of string); write",
    ),
    "length": (lambda: induction(1, length=4), "length must be at least 5, not 4."),
    "long": (
        lambda: induction(1, length=40),
        "length is 40 and only 30 different words are given; ask for fewer words.",
    ),
    "relation": (lambda: facts(1, relations=["capitol"]), "unknown relation 'capitol'; did you mean 'capital'?"),
    "a relation as text": (lambda: facts(1, relations="capital"), "relations must be a list, not 'capital'."),
    "century": (
        lambda: greater_than(1, centuries=[1700]),
        "century 1700 has not two digits; write 17 for the years 1700 to",
    ),
    "range": (lambda: addition(1, low=9, high=9), "high must be at least 10, not 9."),
    "alone": (lambda: addition(1, low=9, high=10), "no two numbers from 9 to 10 have as many digits; widen the range."),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_cannot_be_generated_is_refused_in_words(wrong: str) -> None:
    make, told = REFUSED[wrong]
    with pytest.raises(PatchError, match=re.escape(told)):
        make()
