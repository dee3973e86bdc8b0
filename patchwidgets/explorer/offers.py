"""What the model itself would say after the two prompts: offered as answer and foil, and chosen where nothing was."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..answers import Answer
from ..engine.handle import ModelHandle
from ..engine.inspect import top_tokens
from ..prompts import EncodedPair
from .prompts import PromptEntry, TokenChoice

_OFFERED = 4

Token = tuple[int, str, float]


@dataclass(frozen=True)
class Offers:
    """The likeliest next tokens of a pair's prompts, the likeliest first: (token id, text, probability)."""

    pair: EncodedPair
    clean: list[Token]
    corrupted: list[Token]


def make_offers(handle: ModelHandle, pair: EncodedPair) -> Offers:
    """Return what the model would say after both prompts; waits for the model."""
    with handle.lock:
        logits = [
            handle.forward(torch.tensor([ids], device=handle.device), keep=1)[0, 0]
            for ids in (pair.clean, pair.corrupted)
        ]
    top = [[(i, handle.tokenizer.text(i), p) for i, p, _ in top_tokens(row, _OFFERED)] for row in logits]
    return Offers(pair, *top)


def offer(entry: PromptEntry, offers: Offers, handle: ModelHandle) -> None:
    """Offer the tokens beside the fields; where the person has chosen none, choose the likeliest."""
    _choose(entry, entry.answer, offers.clean, None, handle)
    _choose(entry, entry.foil, offers.corrupted, _token(entry.answer.value, handle), handle)


def _choose(entry: PromptEntry, choice: TokenChoice, top: list[Token], avoid: int | None, handle: ModelHandle) -> None:
    if choice.auto and entry.preset_pair is None:
        best = next(((i, text) for i, text, _ in top if i != avoid), None)
        if best is not None:
            choice.set(*best)
    choice.offer(top, _token(choice.value, handle))


def _token(value: Answer | None, handle: ModelHandle) -> int | None:
    """Return the id of an answer or foil when it is one token, else None."""
    if not isinstance(value, str):
        return value if isinstance(value, int) else None
    ids = handle.tokenizer.encode(value) if handle.tokenizer.has_text else []
    return ids[0] if len(ids) == 1 else None
