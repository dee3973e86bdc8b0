"""The corruption kinds of a prompt of indirect object identification."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ..answers import Answer
from ..encoding import encode_prompts
from ..engine.handle import ModelHandle
from ..errors import PatchError
from ..generators import IOI_KINDS
from ..generators.words import NAMES
from ..prompts import PromptPair
from ..spelling import counted

WORDS = {
    "replace": "a new name is called for",
    "CDD": "new names, same place",
    "BAA": "swapped names, same place",
    "BAB": "same name, other place",
    "DCD": "new names, other place",
    "ABA": "swapped name, other place",
}
"""What happens to the name that is given twice, and to where it is given first (Wang et al., arXiv 2211.00593)."""

SAME_ANSWER = frozenset({"BAB"})
"""Kinds whose two prompts call for the same answer: their gap says little."""


def pairs_of(handle: ModelHandle, clean: object, answer: Answer | None) -> dict[str, PromptPair]:
    """Return a prompt beside every corruption of it, by kind; the new names are as many tokens as those they replace.

    Nothing for a prompt that has no two names to corrupt. Raises PatchError where no other names fit.
    """
    if isinstance(answer, int) and handle.tokenizer.has_text:
        answer = handle.tokenizer.text(answer)
    if not isinstance(clean, str) or not isinstance(answer, str):
        return {}
    words = list(re.finditer(r"\w+", clean))
    counts = Counter(word.group() for word in words)
    name = answer.strip()
    twice = [word for word, count in counts.items() if count == 2 and word[:1].isupper()]
    if counts[name] != 1 or not name[:1].isupper() or len(twice) != 1:
        return {}
    places = [word for word in words if word.group() in (name, twice[0])]
    order = "".join("A" if word.group() == name else "B" for word in places)
    between = clean[places[0].end() : places[1].start()].strip()
    if order == "BBA" or between not in ("and", "or", "with", ",", "&"):
        return {}
    new = _new_names(handle, name, counts)
    return {kind: _pair(handle, clean, answer, places, order, kind, (name, twice[0], *new)) for kind in IOI_KINDS}


def drawn(pair: PromptPair) -> str:
    """Return which names a pair's corrupted prompt has that its clean one has not, and why those; "" for none."""
    clean, corrupted = (set(re.findall(r"\w+", str(text))) for text in (pair.clean, pair.corrupted))
    new = [name for name in NAMES if name in corrupted - clean]
    if not new:
        return ""
    one = len(new) == 1
    return (
        f"{' and '.join(new)} {'is' if one else 'are'} drawn, whatever the corrupted prompt entered has: the first "
        f"{'name' if one else f'{len(new)} names'} in patchwidgets' list that the clean prompt lacks, of as many "
        "tokens as the answer."
    )


def _pair(
    handle: ModelHandle, clean: str, answer: str, places: list[re.Match[str]], order: str, kind: str,
    names: tuple[str, ...],
) -> PromptPair:  # fmt: skip
    """Return the pair of one kind: the slots that the clean prompt fills with A, B, B, whichever is named first."""
    reading = IOI_KINDS[kind]
    slots = {"ABB": (0, 1, 2), "BAB": (1, 0, 2)}[order]
    filled = dict(zip(slots, reading, strict=True))
    corrupted, at = "", 0
    for i, place in enumerate(places):
        corrupted += clean[at : place.start()] + names["ABCD".index(filled[i])]
        at = place.end()
    foil = names["ABCD".index("C" if kind == "replace" else "B")]
    lead = answer[: len(answer) - len(answer.lstrip())]
    pair = PromptPair(clean, corrupted + clean[at:], answer=answer, foil=lead + foil)
    encode_prompts(pair, handle.tokenizer)  # raises where the two differ in length
    return pair


def _new_names(handle: ModelHandle, name: str, known: Counter[str]) -> tuple[str, str]:
    """Return two names that the prompt does not have, of as many tokens as the answer."""
    length = len(handle.tokenizer.encode(f" {name}"))
    found = _fitting(handle, length, known)
    first, second = next(found, None), next(found, None)
    if first is None or second is None:
        raise PatchError(
            f"no two other names have {counted(length, 'token')} like {name!r}; choose another name as the answer."
        )
    return first, second


def _fitting(handle: ModelHandle, length: int, known: Counter[str]) -> Iterator[str]:
    unknown = handle.tokenizer.unk
    for name in NAMES:
        ids = handle.tokenizer.encode(f" {name}")
        if name not in known and len(ids) == length and unknown not in ids:
            yield name
