"""Corrupted prompts for a clean one: one token replaced by another of its kind, by how far that moves the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..answers import Answer, check_answer, resolve
from ..encoding import encode_prompts
from ..engine.handle import ModelHandle, handle_of
from ..engine.plan import choose
from ..errors import PatchError, PromptError, quoted
from ..prompts import EncodedPair, PromptPair
from .replacing import Replaceable, Replacement

if TYPE_CHECKING:
    import pandas as pd

_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Suggestion:
    """A corrupted prompt: the clean one with the token at `position` replaced by one other token.

    Attributes:
        position: counts the beginning-of-sequence token.
        token, replacement: the texts of the two tokens.
        kind: a key of `replacing.KINDS`, or `replacing.RATED`.
        corrupted: the whole prompt.
        answer, foil: the token the clean prompt is asked for, and the likeliest other one after the corrupted prompt.
        answer_text, foil_text: their texts.
        answer_clean, foil_clean, answer_corrupted, foil_corrupted: probabilities of the next token after one of the
            prompts.
        moved: logit difference of answer and foil after the clean prompt minus after the corrupted one: the gap that a
            sweep of this pair divides up.
    """

    position: int
    token: str
    replacement: str
    kind: str
    corrupted: str
    answer: int
    foil: int
    answer_text: str
    foil_text: str
    answer_clean: float
    foil_clean: float
    answer_corrupted: float
    foil_corrupted: float
    moved: float


def suggest_corrupted(
    model: Any,
    clean: str,
    *,
    answer: Answer | None = None,
    positions: Any = None,
    each: int = 6,
    prepend_bos: bool | None = None,
) -> pd.DataFrame:
    """Return corrupted prompts for `clean` by symmetric token replacement, those that move the answer farthest first.

    In every one a single token is replaced by another single token, so that all positions stay. A token in a word list
    of the generators (names, countries, places, ...) is replaced by others of that list; any other by tokens with the
    same leading space and case. Of those, the `each` that the model rates likeliest at that place are tried, in a
    forward pass each. `positions` names the tokens to replace, counting the beginning-of-sequence token; None means
    the answer where the prompt has it, and every word that is not a function word. `answer` is one token, by default
    the model's first choice.

    Columns: pos, token, replacement, kind, corrupted, answer, foil (the model's first choice after the corrupted
    prompt, the answer left out), answer_clean, answer_corrupted and foil_corrupted (probabilities), moved (logits: the
    logit difference of answer and foil, clean minus corrupted). Raises PatchError for a prompt without text, for a
    position that does not exist or has no replacement, and where nothing can be replaced. Source: symmetric token
    replacement, Zhang and Nanda, arXiv 2309.16042, section 2.

    >>> import patchwidgets as pw
    >>> found = suggest_corrupted(pw.load_model(), "The capital of France is", positions=4)
    >>> found["kind"].unique().tolist(), bool(found["moved"].is_monotonic_decreasing)
    (['country'], True)
    """
    import pandas as pd

    handle = handle_of(model)
    handle.check_ready()
    made = suggestions(handle, clean, answer=answer, positions=positions, each=each, prepend_bos=prepend_bos)
    rows = [
        {
            "pos": one.position, "token": one.token, "replacement": one.replacement, "kind": one.kind,
            "corrupted": one.corrupted, "answer": one.answer_text, "foil": one.foil_text,
            "answer_clean": one.answer_clean, "answer_corrupted": one.answer_corrupted,
            "foil_corrupted": one.foil_corrupted, "moved": one.moved,
        }
        for one in made
    ]  # fmt: skip
    return pd.DataFrame(rows)


def suggestions(
    handle: ModelHandle,
    clean: object,
    *,
    answer: Answer | None = None,
    positions: object = None,
    each: int = 6,
    prepend_bos: bool | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Suggestion]:
    """Return what `suggest_corrupted` puts in a table; of a search that is to `stop`, what it has found till then."""
    if not isinstance(clean, str):
        raise PromptError(f"a corrupted prompt is suggested for a text, not for {quoted(clean)}.", "clean")
    if isinstance(each, bool) or not isinstance(each, int) or each < 1:
        raise PatchError(f"each must be a whole number, 1 or more, not {quoted(each)}.")
    pair = PromptPair(clean, clean)
    encoded = encode_prompts(pair, handle.tokenizer, prepend_bos=prepend_bos, may_be_equal=True)
    with handle.lock:
        logits = handle.forward(torch.tensor([encoded.clean], device=handle.device))[0].float().cpu()
    target = _target(handle, encoded, answer, logits[-1])
    prompt = Replaceable(handle.tokenizer, clean, encoded)
    places = prompt.content(target) if positions is None else choose("pos", positions, len(encoded.clean))
    found = [one for place in places for one in prompt.replacements(place, logits, each)]
    if not found:
        raise PatchError(_nothing(prompt, places, asked=positions is not None))
    return sorted(_measured(handle, prompt, found, target, logits[-1], stop), key=lambda one: -one.moved)


def _target(handle: ModelHandle, encoded: EncodedPair, answer: Answer | None, last: Tensor) -> int:
    checked = check_answer(answer, "answer")
    if checked is None:
        return int(last.argmax())
    target = resolve(checked, "answer", handle.tokenizer, encoded.clean, handle.rate)
    tokens = [token for sequence in target for token in sequence]
    if len(tokens) > 1:
        raise PromptError("a corrupted prompt is suggested for an answer of one token; give one.", "answer")
    return tokens[0]


def _measured(
    handle: ModelHandle, prompt: Replaceable, found: Sequence[Replacement], target: int, clean: Tensor,
    stop: Callable[[], bool],
) -> list[Suggestion]:  # fmt: skip
    """Return the replacements with what the model says after each; `clean` are its logits [vocab] after the prompt."""
    size = max(1, _BATCH_TOKENS // len(prompt.encoded.clean))
    rows: list[Tensor] = []
    for start in range(0, len(found), size):
        if stop():
            break
        batch = torch.tensor([one.ids for one in found[start : start + size]], device=handle.device)
        with handle.lock:
            rows += list(handle.forward(batch, keep=1)[:, 0].float().cpu())
    probable = clean.softmax(-1)
    return [
        _suggestion(handle, prompt, one, target, clean, row, probable) for one, row in zip(found, rows, strict=False)
    ]


def _suggestion(
    handle: ModelHandle, prompt: Replaceable, one: Replacement, target: int, clean: Tensor, row: Tensor, before: Tensor
) -> Suggestion:
    others = row.clone()
    others[target] = -torch.inf
    foil = int(others.argmax())
    probabilities, text = row.softmax(-1), handle.tokenizer.text
    moved = (clean[target] - clean[foil]) - (row[target] - row[foil])
    return Suggestion(
        one.position, prompt.encoded.clean_text[one.position], one.text, one.kind, one.corrupted, target, foil,
        text(target), text(foil), float(before[target]), float(before[foil]), float(probabilities[target]),
        float(probabilities[foil]), float(moved),
    )  # fmt: skip


def _nothing(prompt: Replaceable, places: Sequence[int], *, asked: bool) -> str:
    """Return why there is no suggestion."""
    if not asked:
        return "no word of this prompt has another of its kind that is one token; type the corrupted prompt yourself."
    told = []
    for place in places:
        why = prompt.why_not(place) or "no other token of its kind keeps the length"
        told.append(f"position {place}, {quoted(prompt.encoded.clean_text[place])}, cannot be replaced: {why}")
    return f"{'; '.join(told)}. Choose another token, or type the corrupted prompt yourself."
