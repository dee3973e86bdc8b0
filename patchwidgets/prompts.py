"""Prompt pairs and their tokens: pure data, and the checks that two prompts can be compared position by position."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .errors import PatchError, PromptError, quoted

Prompt = str | Sequence[int]
Rate = Callable[[Sequence[int], Sequence[int]], Sequence[float]]


class Tokenizer(Protocol):
    """What prompts need to know of a model's tokens."""

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


@dataclass(frozen=True)
class PromptPair:
    """Two prompts that differ in one fact, and the tokens whose logits tell the difference.

    Prompts are texts, or lists of token ids used verbatim. `answer` and `foil` are literal: a text never gains or
    loses a space, an int is a token id. No model is needed to make a pair; what depends on one is checked when the
    pair is used.

    >>> pair = PromptPair("Mary and John: Mary", "Anna and John: Anna", answer=" Mary", foil=" Anna")
    >>> pair.answer
    ' Mary'
    """

    clean: Prompt
    corrupted: Prompt
    answer: str | int | None = None
    foil: str | int | None = None

    def __post_init__(self) -> None:
        for field in ("clean", "corrupted"):
            value = getattr(self, field)
            if isinstance(value, str):
                continue
            ids = _as_ids(value)
            if ids is None:
                raise PromptError(f"{field} must be a text or a list of token ids, not {quoted(value)}.", field)
            object.__setattr__(self, field, ids)
        for field in ("answer", "foil"):
            value = getattr(self, field)
            if value is None or isinstance(value, str):
                continue
            token = _as_id(value)
            object.__setattr__(self, field, token)
            if token is None:
                raise PromptError(f"{field} must be a text, a token id or None, not {quoted(value)}.", field)


def _as_ids(value: object) -> tuple[int, ...] | None:
    items = value.tolist() if hasattr(value, "tolist") else value  # type: ignore[attr-defined]
    if isinstance(items, (bytes, bytearray)) or not isinstance(items, Sequence):
        return None
    ids = [_as_id(item) for item in items]
    return None if None in ids else tuple(i for i in ids if i is not None)


def _as_id(value: object) -> int | None:
    """Return a whole number of any library's kind as an int."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    return operator.index(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class EncodedPair:
    """A prompt pair as one model's tokens, both prompts of one length.

    Attributes:
        clean, corrupted: token ids, shape [pos].
        clean_text, corrupted_text: the text of every token, shape [pos]; ids as text when there is no tokenizer.
        prepend_bos: whether a beginning-of-sequence token was put before the texts.
        bos_at: the position of that token, or None.
        answer, foil: token ids, or None.
        answer_text, foil_text: their texts, or None.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    clean_text: tuple[str, ...]
    corrupted_text: tuple[str, ...]
    prepend_bos: bool
    bos_at: int | None = None
    answer: int | None = None
    foil: int | None = None
    answer_text: str | None = None
    foil_text: str | None = None

    @property
    def length(self) -> int:
        """The number of positions, the beginning-of-sequence token included."""
        return len(self.clean)

    @property
    def differs(self) -> tuple[bool, ...]:
        """Per position, whether the two prompts hold different tokens there."""
        return tuple(a != b for a, b in zip(self.clean, self.corrupted, strict=True))

    @property
    def first_difference(self) -> int:
        """The first position whose tokens differ; under causal attention nothing before it can."""
        return self.differs.index(True)


def encode_prompts(pair: PromptPair, tokenizer: Tokenizer, *, prepend_bos: bool | None = None) -> EncodedPair:
    """Return the pair's prompts as tokens, without answer and foil.

    Raises PromptError when a prompt is empty, too long, has a second beginning-of-sequence token, when the two have
    unequal lengths, or when they are identical. Warns when a word is unknown to the model's vocabulary.
    """
    prepend = tokenizer.prepends_bos if prepend_bos is None else prepend_bos
    clean, corrupted = (_encode(getattr(pair, field), field, tokenizer, prepend) for field in ("clean", "corrupted"))
    clean_text, corrupted_text = (tuple(tokenizer.text(token) for token in ids) for ids in (clean, corrupted))
    if isinstance(pair.clean, str) != isinstance(pair.corrupted, str):
        raise PromptError(
            "one prompt is a text and the other a list of token ids; give both as texts or both as ids.", "corrupted"
        )
    if len(clean) != len(corrupted):
        raise PromptError(
            f"the prompts have different lengths in tokens: {len(clean)} clean, {len(corrupted)} corrupted. "
            "Positions would not mean the same thing; change the corrupted prompt so that both have as many tokens. "
            f"Clean: {_spelled(clean_text)}. Corrupted: {_spelled(corrupted_text)}.",
            "corrupted",
        )
    if clean == corrupted:
        raise PromptError("the two prompts are the same tokens; change the fact you ask about in one.", "corrupted")
    is_text = isinstance(pair.clean, str)
    bos_at = 0 if tokenizer.bos is not None and clean[0] == tokenizer.bos else None
    return EncodedPair(clean, corrupted, clean_text, corrupted_text, prepend and is_text, bos_at)


def encode_pair(
    pair: PromptPair,
    tokenizer: Tokenizer,
    *,
    prepend_bos: bool | None = None,
    needs_foil: bool = False,
    rate: Rate | None = None,
) -> EncodedPair:
    """Return the pair as tokens with its answer and, where given, its foil.

    `rate(prompt ids, candidate ids)` tells how probable the model finds each candidate next; errors use it to suggest a
    neighbour. Raises PromptError as `encode_prompts`, and for an answer or foil that is missing or not one known token.
    """
    encoded = encode_prompts(pair, tokenizer, prepend_bos=prepend_bos)
    if pair.answer is None:
        raise PromptError("no answer given; name the token the clean prompt should be continued with.", "answer")
    if pair.foil is None and needs_foil:
        raise PromptError(
            "logit_diff compares two tokens and no foil is given; name the token the corrupted prompt calls for, "
            "or use another metric such as logprob.",
            "foil",
        )
    answer = _one_token(pair.answer, "answer", tokenizer, encoded.clean, rate)
    foil = None if pair.foil is None else _one_token(pair.foil, "foil", tokenizer, encoded.corrupted, rate)
    if answer == foil:
        raise PromptError(
            f"answer and foil are the same token {quoted(tokenizer.text(answer))}; their difference is always 0.",
            "foil",
        )
    texts = {"answer_text": tokenizer.text(answer), "foil_text": None if foil is None else tokenizer.text(foil)}
    return EncodedPair(**{**encoded.__dict__, "answer": answer, "foil": foil, **texts})


def unknown_words(pair: PromptPair, encoded: EncodedPair, tokenizer: Tokenizer) -> list[str]:
    """Return the fields of the pair whose text contains a token the vocabulary does not know."""
    if tokenizer.unk is None:
        return []
    runs = {"clean": encoded.clean, "corrupted": encoded.corrupted}
    return [field for field, ids in runs.items() if isinstance(getattr(pair, field), str) and tokenizer.unk in ids]


def warn_unknown_words(pair: PromptPair, encoded: EncodedPair, tokenizer: Tokenizer) -> None:
    """Warn for every prompt in which a word became the unknown token."""
    for field in unknown_words(pair, encoded, tokenizer):
        texts = encoded.clean_text if field == "clean" else encoded.corrupted_text
        warnings.warn(
            f"the {field} prompt has a word this model does not know; it reads {_spelled(texts)}.",
            UserWarning,
            stacklevel=4,
        )


def _encode(prompt: Prompt, field: str, tokenizer: Tokenizer, prepend_bos: bool) -> tuple[int, ...]:
    if isinstance(prompt, str):
        ids = _encode_text(prompt, field, tokenizer, prepend_bos)
    else:
        ids = tuple(prompt)
        wrong = [token for token in ids if not 0 <= token < tokenizer.vocab_size]
        if wrong:
            raise PromptError(
                f"{field}: token id {wrong[0]} is not in the vocabulary of {tokenizer.vocab_size} tokens.", field
            )
    if not ids:
        raise PromptError(f"the {field} prompt is empty; type a text.", field)
    if len(ids) > tokenizer.context:
        raise PromptError(
            f"the {field} prompt has {len(ids)} tokens and the model's context holds {tokenizer.context}; shorten it.",
            field,
        )
    return ids


def _encode_text(text: str, field: str, tokenizer: Tokenizer, prepend_bos: bool) -> tuple[int, ...]:
    if not tokenizer.has_text:
        raise PromptError(f"this model has no tokenizer; give the {field} prompt as a list of token ids.", field)
    if not text.strip():
        raise PromptError(f"the {field} prompt is empty; type a text.", field)
    if prepend_bos and tokenizer.bos is None:
        raise PromptError(
            "prepend_bos=True, but this model's tokenizer has no BOS token; use prepend_bos=False.", field
        )
    ids = tuple(tokenizer.encode_prompt(text, prepend_bos))
    plain = tuple(tokenizer.encode(text))
    if ids[-len(plain) :] != plain:
        raise PromptError(
            f"TransformerLens reads the {field} prompt as {_spelled([tokenizer.text(i) for i in ids])}, which is not "
            "all of its text (it drops an end-of-sequence token at the end); leave that token out, or give token ids.",
            field,
        )
    if prepend_bos and tokenizer.bos in ids[1:]:
        raise PromptError(
            f"the {field} prompt contains the BOS token {tokenizer.text(ids[0])!r} and another is put before it; "
            "leave it out of the text, or use prepend_bos=False.",
            field,
        )
    return ids


def _one_token(value: str | int, field: str, tokenizer: Tokenizer, prompt: Sequence[int], rate: Rate | None) -> int:
    if isinstance(value, int):
        if not 0 <= value < tokenizer.vocab_size:
            raise PromptError(
                f"{field} {value} is not a token id of this vocabulary (0 to {tokenizer.vocab_size - 1}).", field
            )
        return value
    if not tokenizer.has_text:
        raise PromptError(f"this model has no tokenizer; give the {field} as a token id.", field)
    ids = tokenizer.encode(value)
    if len(ids) == 1 and (ids[0] != tokenizer.unk or value == tokenizer.text(ids[0])):
        return ids[0]
    if not ids:
        fault = f"the {field} is empty"
    elif tokenizer.unk in ids:
        fault = f"the {field} {quoted(value)} is not in this model's vocabulary"
    else:
        fault = (
            f"the {field} {quoted(value)} is {len(ids)} tokens, {_spelled([tokenizer.text(i) for i in ids])}, not one"
        )
    near = _neighbour(value, tokenizer, prompt, rate)
    remedy = f"Did you mean {near!r}?" if near else "Choose a single token, for instance one the model itself predicts."
    raise PromptError(f"{fault}. {remedy}", field)


def _neighbour(value: str, tokenizer: Tokenizer, prompt: Sequence[int], rate: Rate | None) -> str | None:
    """Return the single-token spelling near `value` that the model rates highest after `prompt`."""
    word = value.strip()
    spellings = [f" {word}", word, f" {word.capitalize()}", word.capitalize(), f" {word.lower()}", word.lower()]
    pieces = [tokenizer.text(i) for i in tokenizer.encode(value)[:1]] if word else []
    found = {}
    for spelling in [*spellings, *pieces]:
        ids = tokenizer.encode(spelling) if spelling.strip() and spelling != value else []
        if len(ids) == 1 and ids[0] != tokenizer.unk:
            found.setdefault(ids[0], spelling)
    if not found:
        return None
    candidates = list(found)
    scores = rate(prompt, candidates) if rate else [-i for i in range(len(candidates))]
    return found[max(zip(scores, candidates, strict=True))[1]]


def _spelled(texts: Sequence[str]) -> str:
    return quoted("|".join(texts))


def check_pair(pair: object) -> PromptPair:
    """Return `pair` when it is a PromptPair; anything else is a PatchError."""
    if isinstance(pair, PromptPair):
        return pair
    raise PatchError(
        f"expected a PromptPair, got {quoted(pair)}; write pw.PromptPair(clean, corrupted, answer=..., foil=...)."
    )
