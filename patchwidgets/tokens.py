"""What prompts need to know of a model's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

_FIRST, _LAST = 12, 6
Rate = Callable[[Sequence[int], Sequence[int]], Sequence[float]]
"""(prompt ids, candidate ids) -> how probable the model finds each candidate next."""


class Tokenizer(Protocol):
    """A model's tokens."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def bos(self) -> int | None: ...
    @property
    def unk(self) -> int | None: ...
    @property
    def prepends_bos(self) -> bool: ...
    @property
    def has_text(self) -> bool: ...
    def encode_prompt(self, text: str, prepend_bos: bool) -> list[int]: ...
    def encode(self, text: str) -> list[int]: ...
    def text(self, token: int) -> str: ...


def half_character(text: str) -> int | None:
    """Return where a text has half of a character, a lone surrogate that no file can hold; None where it has none.

    >>> half_character("a\\ud800"), half_character("a")
    (1, None)
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def spelled(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return ids as their texts with bars between, as messages show them; of many, the first and the last."""
    texts = [tokenizer.text(token) for token in ids]
    if len(texts) > _FIRST + _LAST + 1:
        texts = [*texts[:_FIRST], f"\u2026 {len(texts) - _FIRST - _LAST} more \u2026", *texts[-_LAST:]]
    return repr("|".join(texts))
