"""Whether the model gets the two prompts right, in words."""

from __future__ import annotations

import torch
from torch import Tensor

from ..engine.handle import ModelHandle
from ..spelling import shown_token


def verdict(handle: ModelHandle, rows: tuple[Tensor, Tensor], answers: list[int], foils: list[int]) -> str:
    """Return one line on the answer after the clean prompt and the foil after the corrupted one.

    `rows` are the logits [vocab] of the next token after either prompt; of several tokens the likeliest counts. An
    empty list is a token that is not chosen, of which nothing is said.
    """
    said = []
    if answers:
        said.append(_of_clean(handle, rows[0], answers))
    if foils:
        said.append(_of_corrupted(handle, rows[1], answers, foils))
    return " ".join(said)


def _of_clean(handle: ModelHandle, row: Tensor, answers: list[int]) -> str:
    place, told = _standing(handle, row, answers)
    if place == 1:
        return f"Clean: {told}."
    return f"Clean: {told}{_first(handle, row)}; a map of a prompt that the model gets wrong explains little."


def _of_corrupted(handle: ModelHandle, row: Tensor, answers: list[int], foils: list[int]) -> str:
    place, told = _standing(handle, row, foils)
    if place == 1:
        return f"Corrupted: {told}."
    still = int(row.argmax()) in answers
    told_first = "; the answer is still first" if still else _first(handle, row)
    return f"Corrupted: {told}{told_first}."


def _standing(handle: ModelHandle, row: Tensor, tokens: list[int]) -> tuple[int, str]:
    """Return the place of the likeliest of some tokens, counted from 1, and a clause that tells it."""
    token = max(tokens, key=lambda each: float(row[each]))
    place = int((row > row[token]).sum()) + 1
    rank = "first" if place == 1 else _ordinal(place)
    return place, f"{_named(handle, token)} is the model's {rank} choice, {_share(row, token)}"


def _first(handle: ModelHandle, row: Tensor) -> str:
    best = int(row.argmax())
    return f" (its first: {_named(handle, best)}, {_share(row, best)})"


def _named(handle: ModelHandle, token: int) -> str:
    return f"'{shown_token(handle.tokenizer.text(token))}'"


def _share(row: Tensor, token: int) -> str:
    """Return a token's probability: "98%", "0.3%", "under 0.1%"."""
    share = float(torch.softmax(row, -1)[token])
    if share < 0.001:
        return "under 0.1%"
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _ordinal(place: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th") if place % 100 not in (11, 12, 13) else "th"
    return f"{place}{ending}"
