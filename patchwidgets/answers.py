"""Answers and foils: one token, any of several, or several in a row."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from .errors import PatchError, PromptError, quoted
from .tokens import Rate, Tokenizer, half_character, spelled

Target = tuple[tuple[int, ...], ...]
"""The token sequences any of which is meant: ((5,),) one token, ((5,), (7,)) either of two, ((5, 7),) both in a row."""


@dataclass(frozen=True)
class Continuation:
    """An answer of several tokens in a row, scored by teacher forcing: each token given those before it.

    `text` is literal, or a sequence of token ids.

    >>> Continuation(" New York").text
    ' New York'
    """

    text: str | tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.text, str):
            return
        ids = as_ids(self.text)
        if not ids:
            raise PatchError(f"a Continuation is a text or a list of token ids, not {quoted(self.text)}.")
        object.__setattr__(self, "text", ids)


One = str | int
Answer = One | Continuation | tuple[One, ...]
"""What may be given: a token as text or id, a Continuation, or a tuple of tokens meaning any of them."""


def as_id(value: object) -> int | None:
    """Return a whole number of any library's kind as an int, anything else as None."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # An array or a tensor that is not one whole number.
        return None


def as_ids(value: object) -> tuple[int, ...] | None:
    """Return a sequence of whole numbers (list, tuple, array, tensor) as ints, anything else as None."""
    items = value.tolist() if hasattr(value, "tolist") else value  # type: ignore[attr-defined]
    if isinstance(items, (str, bytes, bytearray)) or not isinstance(items, Sequence):
        return None
    ids = [as_id(item) for item in items]
    return None if None in ids else tuple(i for i in ids if i is not None)


def check_answer(value: object, field: str) -> Answer | None:
    """Return an answer or foil in its plain form; anything that cannot be one is a PromptError."""
    if value is None or isinstance(value, (str, Continuation)):
        return value
    token = as_id(value)
    if token is not None:
        return token
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [item if isinstance(item, str) else as_id(item) for item in value]
        if not items:
            raise PromptError(f"{field} is an empty list; give one token or more.", field)
        if None not in items:
            return tuple(item for item in items if item is not None)
    raise PromptError(
        f"{field} must be a text, a token id, a list of those (any of them), a Continuation or None, "
        f"not {quoted(value)}.",
        field,
    )


def resolve(value: Answer, field: str, tokenizer: Tokenizer, prompt: Sequence[int], rate: Rate | None) -> Target:
    """Return the token sequences an answer means to this tokenizer, after the tokens of `prompt`."""
    if isinstance(value, Continuation):
        return (_continuation(value, field, tokenizer),)
    given = value if isinstance(value, tuple) else (value,)
    ids = [_one_token(item, field, tokenizer, prompt, rate) for item in given]
    twice = [item for item, token in zip(given, ids, strict=True) if ids.count(token) > 1]
    if twice:
        raise PromptError(f"{field} names the token {quoted(twice[0])} twice; name each once.", field)
    return tuple((token,) for token in ids)


def _continuation(value: Continuation, field: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    if not isinstance(value.text, str):
        return tuple(_known(token, field, tokenizer) for token in value.text)
    if not tokenizer.has_text:
        raise PromptError(f"this model has no tokenizer; give the {field} as token ids.", field)
    _check_whole(value.text, field)
    ids = tuple(tokenizer.encode(value.text))
    check_known(ids, field, tokenizer)
    if not ids:
        raise PromptError(f"the {field} is empty; give a text.", field)
    if tokenizer.unk in ids:
        raise PromptError(
            f"the {field} {quoted(value.text)} has a word this model does not know; it reads "
            f"{spelled(tokenizer, ids)}. Choose words of its vocabulary.",
            field,
        )
    return ids


def _check_whole(text: str, field: str) -> None:
    half = half_character(text)
    if half is not None:
        raise PromptError(
            f"the {field} has {quoted(text[half])} at character {half}, half of a character; leave it out.", field
        )


def check_ids(value: object, field: str, tokenizer: Tokenizer) -> None:
    """Raise PromptError for a token id that the vocabulary lacks, in an answer or a prompt given by ids."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, int):
            _known(item, field, tokenizer)
        elif isinstance(item, Continuation) and not isinstance(item.text, str):
            _continuation(item, field, tokenizer)


def _known(token: int, field: str, tokenizer: Tokenizer) -> int:
    if not 0 <= token < tokenizer.vocab_size:
        raise PromptError(
            f"{field} {token} is not a token id of this vocabulary (0 to {tokenizer.vocab_size - 1}).", field
        )
    return token


def check_known(ids: Sequence[int], field: str, tokenizer: Tokenizer) -> None:
    """Raise PromptError when the tokenizer gave an id that the model has no embedding for."""
    beyond = [token for token in ids if token >= tokenizer.vocab_size]
    if beyond:
        raise PromptError(
            f"{field}: the tokenizer reads {quoted(tokenizer.text(beyond[0]))} as token id {beyond[0]}, and this "
            f"model's vocabulary ends at {tokenizer.vocab_size - 1}; it is another model's "
            "tokenizer, load the model's own.",
            field,
        )


def _one_token(value: One, field: str, tokenizer: Tokenizer, prompt: Sequence[int], rate: Rate | None) -> int:
    if isinstance(value, int):
        return _known(value, field, tokenizer)
    if not tokenizer.has_text:
        raise PromptError(f"this model has no tokenizer; give the {field} as a token id.", field)
    _check_whole(value, field)
    ids = tokenizer.encode(value)
    check_known(ids, field, tokenizer)
    token = single(value, tokenizer)
    if token is not None:
        return token
    if not ids:
        fault = f"the {field} is empty"
    elif tokenizer.unk in ids:
        fault = f"the {field} {quoted(value)} is not in this model's vocabulary"
    else:
        fault = f"the {field} {quoted(value)} is {len(ids)} tokens, {spelled(tokenizer, ids)}, not one"
    near = nearest(value, tokenizer, prompt, rate)
    remedy = f"Did you mean {near!r}?" if near else "Choose a single token, for instance one the model itself predicts."
    if len(ids) > 1 and tokenizer.unk not in ids:
        remedy += f" For all {len(ids)} in a row use pw.Continuation({value!r}) with the metric logprob."
    raise PromptError(f"{fault}. {remedy}", field, near=near)


def single(text: str, tokenizer: Tokenizer) -> int | None:
    """Return the id of a text that is one token; None for several, and for what the model does not know or read."""
    if half_character(text) is not None:
        return None
    ids = tokenizer.encode(text)
    known = len(ids) == 1 and ids[0] < tokenizer.vocab_size
    return ids[0] if known and (ids[0] != tokenizer.unk or text == tokenizer.text(ids[0])) else None


def nearest(
    value: str, tokenizer: Tokenizer, prompt: Sequence[int], rate: Rate | None, *, spaced: bool = False
) -> str | None:
    """Return the single token nearest to a text that is none, None where there is none.

    Near are the same word in another case and its first token; where the model does not know the word, the words of its
    vocabulary that begin with as many of the same letters as any do. Of those that are near, the nearest is the one the
    model rates highest after `prompt`. A leading space may come or go, unless `spaced` says that it stays as it is.
    """
    word = value.strip()
    if not word:
        return None
    leads = (value[: len(value) - len(value.lstrip())],) if spaced else (" ", "")
    spellings = [lead + case for case in (word, word.capitalize(), word.lower()) for lead in leads]
    pieces = [tokenizer.text(i) for i in tokenizer.encode(value)[:1]]
    # A token may hold a part of a character, whose text is a sign for that and another token.
    pieces = [piece for piece in pieces if "\ufffd" not in piece or "\ufffd" in value]
    pieces = [leads[0] + piece.strip() for piece in pieces] if spaced else pieces
    found = _single([*spellings, *pieces], value, tokenizer)
    if not found and tokenizer.unk in tokenizer.encode(value):
        found = _single([leads[0] + text for text in _alike(word, tokenizer)], value, tokenizer)
    if not found:
        return None
    candidates = list(found)
    scores = rate(prompt, candidates) if rate and prompt else [-i for i in range(len(candidates))]
    return found[max(zip(scores, candidates, strict=True))[1]]


def _single(spellings: Sequence[str], value: str, tokenizer: Tokenizer) -> dict[int, str]:
    """Return those spellings that are one known token and not `value`, by its id."""
    found: dict[int, str] = {}
    for spelling in spellings:
        ids = tokenizer.encode(spelling) if spelling.strip() and spelling != value else []
        if len(ids) == 1 and ids[0] != tokenizer.unk:
            found.setdefault(ids[0], spelling)
    return found


def _alike(word: str, tokenizer: Tokenizer) -> list[str]:
    """Return the words of the vocabulary that share the longest beginning with a word, one letter at least."""
    texts = {tokenizer.text(token).strip() for token in range(tokenizer.vocab_size)}
    shared = {text: _shared(text.lower(), word.lower()) for text in texts if text.isalpha()}
    longest = max(shared.values(), default=0)
    return sorted(text for text, count in shared.items() if longest and count == longest)


def _shared(one: str, other: str) -> int:
    """Return with how many of the same letters two words begin."""
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one, other, strict=False)))


def told(target: Target, tokenizer: Tokenizer) -> str:
    """Return the texts of a target: " Mary", or " Mary or  Anna" for any of several."""
    return " or ".join("".join(tokenizer.text(token) for token in sequence) for sequence in target)
