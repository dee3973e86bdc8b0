"""What may stand in a token's place: other single tokens of its kind, which leave every position where it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..generators.words import ARGUMENTS, CAPITALS, EVENTS, LANGUAGES, NAMES, OBJECTS, PLACES, PLAIN, listed
from ..prompts import EncodedPair
from ..tokens import Tokenizer

KINDS: dict[str, tuple[str, ...]] = {
    "name": NAMES,
    "country": tuple(dict.fromkeys([*CAPITALS, *LANGUAGES])),
    "city": tuple(CAPITALS.values()),
    "language": tuple(LANGUAGES.values()),
    "place": PLACES,
    "event": EVENTS,
    "object": tuple(phrase.split()[-1] for phrase in OBJECTS),
    "argument": ARGUMENTS,
    "word": PLAIN,
}
"""Words that stand for one another; a word is of the first kind that has it."""

RATED = "rated by the model"
"""The kind of a replacement that is in no list: the model itself finds it likely at that place."""

_FUNCTION_WORDS = frozenset(
    listed(
        "a an the and or but nor so if of to in on at by for from with as than that this these those is are "
        "was were be been being am do does did has have had it its he she they them his her their him we you "
        "i me my your our us not no when while after before then there here which who whom whose what where "
        "how"
    )
)
_LOOKED_AT = 400
"""How many of the likeliest tokens are looked through for one of the same kind."""


@dataclass(frozen=True)
class Replacement:
    """A prompt with the token at a position replaced by another, as text and as ids."""

    position: int
    kind: str
    text: str
    corrupted: str
    ids: tuple[int, ...]


class Replaceable:
    """A clean prompt with the place of every token in its text."""

    def __init__(self, tokenizer: Tokenizer, clean: str, encoded: EncodedPair) -> None:
        self._tokenizer, self._clean, self.encoded = tokenizer, clean, encoded
        self._spans = _spans(clean, encoded.clean_text, encoded.bos_at)

    def content(self, target: int) -> list[int]:
        """Return the positions of the words that are not function words, and of the answer's."""
        spelled = self._tokenizer.text(target).strip()
        return [
            place
            for place, text in enumerate(self.encoded.clean_text)
            if not self.why_not(place) and (text.strip() == spelled or text.strip().lower() not in _FUNCTION_WORDS)
        ]

    def why_not(self, position: int) -> str:
        """Return why the token at a position cannot be replaced, "" where it may be."""
        text, span = self.encoded.clean_text[position], self._spans[position]
        if position == self.encoded.bos_at:
            return "it begins the sequence"
        if span is None:
            return "it is not a part of the text as typed"
        if not (text.strip().isalpha() or text.strip().isdigit()):
            return "it is neither a word nor a number"
        before, after = self._clean[: span[0]][-1:], self._clean[span[1] :][:1]
        if (before.isalpha() and text[:1].isalpha()) or (after.isalpha() and text[-1:].isalpha()):
            return "it is part of a word of several tokens"
        return ""

    def replacements(self, position: int, logits: Tensor, each: int) -> list[Replacement]:
        """Return the likeliest `each` prompts with another token of the same kind there; `logits` are [pos, vocab]."""
        if self.why_not(position):
            return []
        found: dict[tuple[int, ...], Replacement] = {}
        before = logits[position - 1] if position else None
        for text, kind in self._candidates(position, before):
            made = self._replaced(position, text, kind)
            if made is not None and made.ids not in found:
                found[made.ids] = made
            if len(found) == each:
                break
        return list(found.values())

    def _candidates(self, position: int, before: Tensor | None) -> Iterator[tuple[str, str]]:
        """Yield (text, kind) of tokens that may stand at a position, the likeliest first.

        `before` are the logits [vocab] of the token there, None at the start of a prompt, where nothing is rated.
        """
        own = self.encoded.clean_text[position]
        lead, word = own[: len(own) - len(own.lstrip())], own.strip()
        kind = next((kind for kind, words in KINDS.items() if word in words), None)
        if kind is not None:
            others = [lead + other for other in KINDS[kind] if other != word]
            yield from ((text, kind) for text in self._by_rating(others, before))
        elif before is not None:
            best = before.topk(min(_LOOKED_AT, len(before))).indices.tolist()
            texts = (self._tokenizer.text(token) for token in best)
            yield from ((text, RATED) for text in texts if alike(own, text))

    def _by_rating(self, texts: Sequence[str], before: Tensor | None) -> list[str]:
        """Return texts of one token each in the order of their logits; as they are where nothing is rated."""
        ids = [(text, self._tokenizer.encode(text)) for text in texts]
        single = [(text, one[0]) for text, one in ids if len(one) == 1 and one[0] != self._tokenizer.unk]
        if before is not None:
            single.sort(key=lambda each: -float(before[each[1]]))
        return [text for text, _ in single]

    def _replaced(self, position: int, text: str, kind: str) -> Replacement | None:
        """Return the prompt with another token at a position; None where the model would not read it so."""
        span = self._spans[position]
        assert span is not None
        corrupted = self._clean[: span[0]] + text + self._clean[span[1] :]
        ids = tuple(self._tokenizer.encode_prompt(corrupted, self.encoded.prepend_bos))
        differ = [i for i, (a, b) in enumerate(zip(self.encoded.clean, ids, strict=False)) if a != b]
        fits = len(ids) == len(self.encoded.clean) and differ == [position] and ids[position] != self._tokenizer.unk
        return Replacement(position, kind, text, corrupted, ids) if fits else None


def alike(one: str, other: str) -> bool:
    """Return whether a token may stand for another: words of one case or numbers of one length, spaced alike.

    >>> alike(" gave", " took"), alike(" gave", " Took"), alike(" gave", "took"), alike("62", "8")
    (True, False, False, False)
    """
    a, b = one.strip(), other.strip()
    if one.startswith(" ") != other.startswith(" ") or not b or a.lower() == b.lower():
        return False
    if a.isdigit() or b.isdigit():
        return a.isdigit() and b.isdigit() and len(a) == len(b)
    words = a.isalpha() and b.isalpha() and b.lower() not in _FUNCTION_WORDS and (len(b) > 1 or len(a) == 1)
    return words and (a[0].isupper(), a[1:].islower()) == (b[0].isupper(), b[1:].islower())


def _spans(text: str, tokens: Sequence[str], bos_at: int | None) -> list[tuple[int, int] | None]:
    """Return where every token stands in a text, None for one that is not found there as it is spelled."""
    found: list[tuple[int, int] | None] = []
    at, lost = 0, False
    for position, token in enumerate(tokens):
        start = text.find(token, at) if token and position != bos_at else -1
        # Only spaces, and a token that was not found, may stand between: else this is the same text further on.
        if start < 0 or (text[at:start].strip() and not lost):
            found.append(None)
            lost = lost or position != bos_at
            continue
        at, lost = start + len(token), False
        found.append((start, at))
    return found
