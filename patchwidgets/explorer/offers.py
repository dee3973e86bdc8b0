"""What the model itself would say after the two prompts: offered as answer and foil, and chosen where nothing was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..answers import Answer, single
from ..engine.handle import ModelHandle
from ..engine.inspect import top_tokens
from ..prompts import EncodedPair
from ..spelling import shown_token
from .nearest import NearWord, near_words, with_space
from .prompts import PromptEntry, TokenChoice
from .varying import stated
from .verdicts import verdict

_OFFERED = 4

Token = tuple[int, str, float]


@dataclass(frozen=True)
class Offers:
    """The likeliest next tokens of a pair's prompts, the likeliest first: (token id, text, probability).

    `rows` are the logits [vocab] they are from; `near` the nearest words to those that are no single token.
    """

    pair: EncodedPair
    clean: list[Token]
    corrupted: list[Token]
    rows: tuple[Tensor, Tensor]
    near: dict[str, list[NearWord]]


def make_offers(handle: ModelHandle, pair: EncodedPair) -> Offers:
    """Return what the model would say after both prompts; waits for the model."""
    with handle.lock:
        logits = [
            handle.forward(torch.tensor([ids], device=handle.device), keep=1)[0, 0].float().cpu()
            for ids in (pair.clean, pair.corrupted)
        ]
    top = [[(i, handle.tokenizer.text(i), p) for i, p, _ in top_tokens(row, _OFFERED)] for row in logits]
    near = near_words(pair, handle.tokenizer, handle.rate)
    return Offers(pair, top[0], top[1], (logits[0], logits[1]), near)


def offer(entry: PromptEntry, offers: Offers, handle: ModelHandle) -> None:
    """Offer the tokens beside the fields; where the person has chosen none, choose the likeliest; tell of the pair."""
    chosen: dict[str, str] = {}
    for name, top in (("answer", offers.clean), ("foil", offers.corrupted)):
        choice: TokenChoice = getattr(entry, name)
        if choice.auto and entry.preset_pair is None:
            best = likeliest(offers, name, entry.answer.value, handle)
            if best is not None:
                value, text = choice.stood
                chosen[name] = "" if token_of(value, handle) == best[0] else text
                choice.set(*best)
        choice.offer(top, token_of(choice.value, handle))
    answers, foils = (_tokens(choice.value, handle) for choice in (entry.answer, entry.foil))
    told = [own_choice(chosen), verdict(handle, offers.rows, answers, foils)]
    entry.tell(" ".join(filter(None, told)), stated(offers.pair))
    for name, row in zip(("answer", "foil"), offers.rows, strict=True):
        choice = getattr(entry, name)
        choice.spaced.show(name, choice.field.value, with_space(choice.value, row, handle.tokenizer))
    for name, words in entry.near.items():
        words.show(getattr(entry, name).value, offers.near[name])


def own_choice(chosen: Mapping[str, str]) -> str:
    """Return that the model chose the answer, the foil or both, and what was there before where that was another.

    >>> own_choice({"answer": " Paris", "foil": ""})
    "Answer and foil are the model's own choice; before, the answer was '\u00b7Paris'."
    """
    if not chosen:
        return ""
    told = "Answer and foil are" if len(chosen) > 1 else f"The {next(iter(chosen))} is"
    before = " and ".join(f"the {name} was '{shown_token(text)}'" for name, text in chosen.items() if text)
    return f"{told} the model's own choice{f'; before, {before}' if before else ''}."


def likeliest(offers: Offers, name: str, answer: Answer | None, handle: ModelHandle) -> tuple[int, str] | None:
    """Return the token the model itself would choose as answer, or as foil beside an answer; None for none."""
    top, avoid = (offers.clean, None) if name == "answer" else (offers.corrupted, token_of(answer, handle))
    return next(((i, text) for i, text, _ in top if i != avoid), None)


def _tokens(value: Answer | None, handle: ModelHandle) -> list[int]:
    """Return the ids of an answer's tokens, any of which is meant; none where one of them is no single token."""
    ids = [token_of(each, handle) for each in (value if isinstance(value, tuple) else (value,))]
    return [] if None in ids else [token for token in ids if token is not None]


def token_of(value: Answer | None, handle: ModelHandle) -> int | None:
    """Return the id of an answer or foil when it is one token that the model knows, else None."""
    if not isinstance(value, str):
        return value if isinstance(value, int) else None
    return single(value, handle.tokenizer) if handle.tokenizer.has_text else None
