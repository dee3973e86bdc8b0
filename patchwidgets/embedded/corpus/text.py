"""Documents as token tuples with marked answers, and the rule that splits the corpus.

Generators write plain text in which a star marks the next token as an answer: ``"red dog sun red *dog"``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "dev", "test"]

# One pattern for the generator and the shipped tokenizer: triple quotes, digit pairs, digits, words, single marks.
TOKEN_PATTERN = r'"""|\d{2}|\d|[^\W\d]+|[^\w\s]'
_MARKED = re.compile(r"\*?(?:" + TOKEN_PATTERN + r")")


@dataclass(frozen=True)
class Doc:
    """One document: its tokens (no BOS) and the indices of the tokens that the text before them determines.

    In a random document nothing but the answers can be expected, so nothing else is trained.
    """

    tokens: tuple[str, ...]
    answers: tuple[int, ...]
    random: bool = False

    @property
    def prompt(self) -> str:
        """The text before the last answer, tokens joined by single spaces."""
        return " ".join(self.tokens[: self.answers[-1]])

    @property
    def answer(self) -> str:
        """The last answer's token."""
        return self.tokens[self.answers[-1]]


def parse(text: str) -> Doc:
    """Split marked text into a `Doc`.

    >>> parse("red dog sun red *dog.")
    Doc(tokens=('red', 'dog', 'sun', 'red', 'dog', '.'), answers=(4,), random=False)
    """
    pieces = _MARKED.findall(text)
    answers = tuple(i for i, piece in enumerate(pieces) if piece.startswith("*"))
    return Doc(tuple(piece.lstrip("*") for piece in pieces), answers)


def listed(text: str, separator: str = " ") -> tuple[str, ...]:
    """The parts of a text, as a tuple: for long word lists."""
    return tuple(text.split(separator))


def words_of(texts: Iterable[str]) -> set[str]:
    """All tokens of some texts or templates; ``{fields}`` of templates are dropped."""
    return {token for text in texts for token in parse(re.sub(r"\*?\{\w+\}", " ", text)).tokens}


def split_of(*key: object) -> Split:
    """The split a key belongs to, by a fixed hash: eight tenths train, one tenth dev, one tenth test."""
    bucket = zlib.crc32("|".join(map(str, key)).encode()) % 10
    return "dev" if bucket == 8 else "test" if bucket == 9 else "train"


def pair_split(first: str, second: str) -> Split:
    """The split of an unordered pair of names."""
    return split_of("pair", *sorted((first, second)))
