"""Generators: the tasks of the literature as datasets of any size, the same for the same seed on every machine.

The words are single tokens of GPT-2 after a space, and words the embedded model knows. The two prompts of a pair have
the same number of words; whether they have the same number of tokens depends on the model.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable, Sequence

from ..datasets import Dataset
from ..datasets.rows import Label, check_whole
from ..errors import PatchError, quoted, unknown
from ..prompts import PromptPair
from .words import (
    ARGUMENTS,
    EVENTS,
    FUNCTIONS,
    IOI_TEMPLATES,
    NAMES,
    NOTES,
    OBJECTS,
    PLACES,
    PLAIN,
    RELATIONS,
)

Row = tuple[PromptPair, dict[str, Label]]

# The names of the corrupted prompt in order, where the clean one reads ABB.
IOI_KINDS = {"replace": "CBB", "CDD": "CDD", "BAA": "BAA", "BAB": "BAB", "DCD": "DCD", "ABA": "ABA"}


def ioi(
    n: int,
    kind: str = "replace",
    *,
    seed: int = 0,
    names: Sequence[str] = NAMES,
    templates: Sequence[str] = IOI_TEMPLATES,
    places: Sequence[str] = PLACES,
    objects: Sequence[str] = OBJECTS,
) -> Dataset:
    """Return indirect object identification: "When A and B went to the store, B gave a drink to" A.

    The clean prompt reads ABB. `kind` says how the corrupted one reads, by the names in order, and so what it corrupts:
    of the repeated name, who it is (the token) and whether it is the first or the second one named (the position).

    | kind | token | position | corrupted calls for | foil |
    |---|---|---|---|---|
    | replace (CBB) | same | same | C, the new indirect object | C |
    | CDD | random | same | C | B |
    | BAA | inverted | same | B | B |
    | BAB | same | inverted | A, as the clean one | B |
    | DCD | random | inverted | C | B |
    | ABA | inverted | inverted | B | B |

    C and D are names the clean prompt does not have. With BAB both prompts call for the same answer: the gap is small,
    so read `effect`, not `normalized`. Templates have the fields {first}, {second}, {third}, and may have {place} and
    {object}. Labels: template, kind. Source: Wang et al., arXiv 2211.00593, section 3 and appendix A.

    >>> pair = ioi(1, "ABA")[0]
    >>> pair.clean.split().count(pair.answer.strip()), pair.corrupted.split().count(pair.answer.strip())
    (1, 2)
    """
    if kind not in IOI_KINDS:
        raise unknown("kind of corruption", kind, IOI_KINDS)
    people = _words(names, "names", at_least=4)
    sentences = _choices(templates, "templates")
    for template in sentences:
        _check_template(template, needed=("first", "second", "third"), others=("place", "object"))
    where, what = _choices(places, "places"), _choices(objects, "objects")

    def draw(rng: random.Random) -> Row:
        name = dict(zip("ABCD", rng.sample(people, 4), strict=True))
        template = rng.choice(sentences)
        rest = {"place": rng.choice(where), "object": rng.choice(what)}

        def reading(order: str) -> str:
            return template.format(
                **rest, **{at: name[x] for at, x in zip(("first", "second", "third"), order, strict=True)}
            )

        foil = name["C" if kind == "replace" else "B"]
        pair = PromptPair(reading("ABB"), reading(IOI_KINDS[kind]), answer=f" {name['A']}", foil=f" {foil}")
        return pair, {"template": template, "kind": kind}

    return _collect(f"ioi-{kind}", n, seed, draw)


def induction(n: int, *, seed: int = 0, length: int = 8, words: Sequence[str] = PLAIN) -> Dataset:
    """Return induction: "sun red dog key cat red" calls for "dog", the word that followed "red" before.

    `length` different words, at least 5, then one of them again. In the corrupted prompt that word has changed places
    with another, so another word (the foil) follows it. The first word is neither: byte-pair vocabularies have a token
    of its own for a word without a space before it. Label: length. Source: Olsson et al., arXiv 2209.11895.

    >>> pair = induction(1)[0]
    >>> sorted(pair.clean.split()) == sorted(pair.corrupted.split())
    True
    """
    known = _words(words, "words", at_least=5)
    size = check_whole(length, "length", at_least=5)
    if size > len(known):
        raise PatchError(f"length is {size} and only {len(known)} different words are given; ask for fewer words.")

    def draw(rng: random.Random) -> Row:
        clean = rng.sample(known, size)
        at, other = sorted(rng.sample(range(1, size - 1), 2))
        while other - at < 2:
            at, other = sorted(rng.sample(range(1, size - 1), 2))
        if rng.random() < 0.5:
            at, other = other, at
        corrupted = list(clean)
        corrupted[at], corrupted[other] = clean[other], clean[at]
        texts = [" ".join([*words, clean[at]]) for words in (clean, corrupted)]
        return PromptPair(*texts, answer=f" {clean[at + 1]}", foil=f" {corrupted[other + 1]}"), {"length": size}

    return _collect("induction", n, seed, draw)


def facts(n: int, *, seed: int = 0, relations: Sequence[str] = ("capital", "language")) -> Dataset:
    """Return facts: "The capital of France is" Paris, corrupted by another subject of the same relation.

    Relations: capital, language, landmark, leader. Subjects of the last two have different numbers of tokens in most
    models; their pairs need an alignment. Label: relation.

    >>> facts(1, relations=["leader"])[0].clean.split()[2:]
    ['is', 'the', 'leader', 'of']
    """
    for relation in _choices(relations, "relations"):
        if relation not in RELATIONS:
            raise unknown("relation", relation, RELATIONS)

    def draw(rng: random.Random) -> Row:
        relation = rng.choice(list(relations))
        sentence, table = RELATIONS[relation]
        subject, other = rng.sample(sorted(table), 2)
        clean, corrupted = sentence.format(subject=subject), sentence.format(subject=other)
        return PromptPair(clean, corrupted, answer=f" {table[subject]}", foil=f" {table[other]}"), {
            "relation": relation
        }

    return _collect("facts", n, seed, draw)


def greater_than(
    n: int, *, seed: int = 0, centuries: Sequence[int] = (16, 17), events: Sequence[str] = EVENTS
) -> Dataset:
    """Return greater-than: "The war lasted from the year 1732 to the year 17" calls for any ending above 32.

    The answer is the tuple of the endings above, "33" to "99", the foil that of the others, "00" to "32": any of them
    counts. In the corrupted prompt the war began in year 01 of the century. For vocabularies of two-digit tokens; GPT-2
    splits every year of 1601 to 1698 and 1701 to 1798 so, and not every year of other centuries. Labels:
    century, start. Source: Hanna et al., arXiv 2305.00586.
    """
    for century in _choices(centuries, "centuries"):
        if not 10 <= check_whole(century, "a century") <= 99:
            raise PatchError(f"century {century} has not two digits; write 17 for the years 1700 to 1799.")
    known = _choices(events, "events")

    def draw(rng: random.Random) -> Row:
        century, start = rng.choice(list(centuries)), rng.randint(2, 98)
        clean, corrupted, above, others = _war(rng.choice(known), century, start)
        return PromptPair(clean, corrupted, answer=above, foil=others), {"century": century, "start": start}

    return _collect("greater-than", n, seed, draw)


def docstring(n: int, *, seed: int = 0, arguments: Sequence[str] = ARGUMENTS) -> Dataset:
    """Return docstrings: after the parameters of two arguments, ":param" calls for the third.

    In the corrupted prompt the third argument of the function has another name, the foil. Label: function.
    Source: Heimersheim and Janiak, "A circuit for Python docstrings in a 4-layer attention-only transformer" (2023).

    >>> docstring(1)[0].clean.endswith(":param")
    True
    """
    known = _words(arguments, "arguments", at_least=4)

    def draw(rng: random.Random) -> Row:
        first, second, third, other = rng.sample(known, 4)
        function, notes = rng.choice(FUNCTIONS), rng.sample(NOTES, 5)
        body = (
            f'    """{notes[0]} {notes[1]}.\n\n    :param {first}: {notes[2]}.\n'
            f"    :param {second}: {notes[3]} {notes[4]}.\n    :param"
        )
        clean, corrupted = (f"def {function}(self, {first}, {second}, {last}):\n{body}" for last in (third, other))
        return PromptPair(clean, corrupted, answer=f" {third}", foil=f" {other}"), {"function": function}

    return _collect("docstring", n, seed, draw)


def addition(n: int, *, seed: int = 0, low: int = 10, high: int = 99) -> Dataset:
    """Return sums: "Output ONLY a number. 37+45=" calls for "82"; only the first number is corrupted.

    Both numbers are drawn from `low` to `high`; the corrupted first one has as many digits as the clean one. Answer and
    foil are the sums as text without a space: one token in GPT-2 up to 520, several where digits stand alone. Labels:
    a, b, a_corrupted. Source: Kantamneni and Tegmark, arXiv 2502.00873.

    >>> pair = addition(1)[0]
    >>> pair.clean.split("+")[1] == pair.corrupted.split("+")[1]
    True
    """
    least = check_whole(low, "low", at_least=0)
    most = check_whole(high, "high", at_least=least + 1)
    alike: dict[int, list[int]] = {}
    for number in range(least, most + 1):
        alike.setdefault(len(str(number)), []).append(number)
    numbers = [a for group in alike.values() if len(group) > 1 for a in group]
    if not numbers:
        raise PatchError(f"no two numbers from {least} to {most} have as many digits; widen the range.")

    def draw(rng: random.Random) -> Row:
        a, b = rng.choice(numbers), rng.randint(least, most)
        other = rng.choice([number for number in alike[len(str(a))] if number != a])
        clean, corrupted = (f"Output ONLY a number. {first}+{b}=" for first in (a, other))
        return PromptPair(clean, corrupted, answer=str(a + b), foil=str(other + b)), {
            "a": a,
            "b": b,
            "a_corrupted": other,
        }

    return _collect("addition", n, seed, draw)


def _war(event: object, century: int, start: int) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    """Return clean, corrupted, the endings above `start` and the others."""
    clean, corrupted = (
        f"The {event} lasted from the year {century}{year:02d} to the year {century}" for year in (start, 1)
    )
    endings = tuple(f"{year:02d}" for year in range(100))
    return clean, corrupted, endings[start + 1 :], endings[: start + 1]


def _collect(name: str, n: int, seed: int, draw: Callable[[random.Random], Row]) -> Dataset:
    """Draw until there are `n` different pairs."""
    size = check_whole(n, "n", at_least=1)
    rng = random.Random(check_whole(seed, "seed"))
    rows: dict[PromptPair, dict[str, Label]] = {}
    misses = 0
    while len(rows) < size:
        pair, labels = draw(rng)
        misses = misses + 1 if pair in rows else 0
        if misses > 10_000:
            raise PatchError(f"{name}: only {len(rows)} different pairs could be drawn, not {size}; ask for fewer.")
        rows[pair] = labels
    columns = {column: [labels[column] for labels in rows.values()] for column in next(iter(rows.values()))}
    return Dataset(rows, name=name, labels=columns)


def _choices(values: Iterable[object], what: str) -> list:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise PatchError(f"{what} must be a list, not {quoted(values)}.")
    found = list(values)
    if not found:
        raise PatchError(f"{what} is empty; give at least one.")
    return found


def _words(values: Iterable[object], what: str, *, at_least: int) -> list[str]:
    found = _choices(values, what)
    for word in found:
        if not isinstance(word, str) or len(word.split()) != 1 or word != word.strip():
            raise PatchError(f"{what}: {quoted(word)} is not one word; the prompts would differ in length.")
    if len(set(found)) < at_least or len(set(found)) < len(found):
        raise PatchError(
            f"{what} has {len(set(found))} different words of {len(found)}; give at least {at_least}, each once."
        )
    return found


def _check_template(template: object, *, needed: Sequence[str], others: Sequence[str]) -> None:
    try:
        fields = [found for _, found, _, _ in string.Formatter().parse(str(template)) if found is not None]
    except ValueError as error:
        raise PatchError(f"template {quoted(template)} is not one ({error}); write {{first}} for a field.") from error
    for name in fields:
        if name not in (*needed, *others):
            raise unknown("field of a template", name, (*needed, *others))
    missing = [name for name in needed if name not in fields]
    if missing or str(template) != str(template).rstrip():
        fault = f"lacks {{{missing[0]}}}" if missing else "ends with a space, which belongs to the answer"
        raise PatchError(f"template {quoted(template)} {fault}; mend it.")
