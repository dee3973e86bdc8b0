"""Every corruption kind of what is entered: those of its names where it has them, else one token replaced at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import torch

from ..answers import Answer
from ..encoding import encode_prompts
from ..engine.handle import ModelHandle
from ..errors import PatchError
from ..prompts import PromptPair
from .form import Form
from .ioi_kinds import SAME_ANSWER, WORDS, drawn, pairs_of
from .kinds import Kind, Kinds, Look
from .offers import token_of
from .sets import IOI_TASKS
from .settings import PROMPTS, seed_of
from .token_kinds import spelled, token_kinds

_MADE = ("corrupted", "foil", "alignment")
"""What every kind of names makes for itself, whatever is entered."""
_ENTERED = (*PROMPTS, "alignment")
"""What is entered of one pair, and does not matter to a dataset."""


def kinds_asked(handle: ModelHandle, form: Form, settle: Callable[[], None]) -> Look:
    """Return what looks for the kinds of what is entered now, whatever is entered before it has found them.

    `settle` acts on what was typed last. Raises PatchError for what stands in a field and cannot be read.
    """
    settle()
    asked = form.asked()
    drawn = _draws(form, asked.settings)
    return lambda stop: _also(kinds_of(handle, form.chosen(asked), stop), drawn)


def entered_now(handle: ModelHandle, form: Form) -> dict[str, Any] | None:
    """Return what is entered now, for `Kinds.are_of`; None while what stands in a field cannot be read."""
    settings = form.settings
    try:
        form.check()
        return {**_by_token(handle, settings), **_draws(form, settings)}
    except PatchError:
        return None


def _draws(form: Form, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what plain settings do not tell: the intervention with its dataset, and the seed if it counts."""
    what = form.choices.make(settings["intervention"], settings["direction"])
    return {"intervention": what, "seed": seed_of(settings)}


def _also(kinds: Kinds, drawn: dict[str, Any]) -> Kinds:
    return replace(kinds, of=[{**each, **drawn} for each in kinds.of])


def kinds_of(handle: ModelHandle, settings: dict[str, Any], stop: Callable[[], bool]) -> Kinds:
    """Return every kind of corruption of what is entered. Runs the model, until `stop()`.

    An answer of None is the model's own first choice. Raises PatchError, saying why, where there is no kind.
    """
    over = settings["dataset"]
    if over is not None:
        if over["name"] not in IOI_TASKS.values():
            raise PatchError(f"the dataset {over['name']!r} has one kind of corruption; choose one of IOI.")
        tasks = {kind: {**settings, "dataset": {**over, "name": task}} for kind, task in IOI_TASKS.items()}
        of = [_without(each, _ENTERED) for each in tasks.values()]
        return Kinds([_of_names(kind, each) for kind, each in tasks.items()], of=of)
    clean = settings["clean"]
    if not isinstance(clean, str):
        raise PatchError("corruption kinds replace words of a text, and the clean prompt is token ids; type it.")
    asked = settings
    if settings["answer"] is None:
        settings = {**settings, "answer": _first_choice(handle, clean)}
    why = ""
    try:
        pairs = pairs_of(handle, clean, settings["answer"])
    except PatchError as error:
        pairs, why = {}, f"The kinds of two names cannot be made: {error}"
    if not pairs:
        found = token_kinds(handle, settings, stop)
        return Kinds(found.found, " ".join(filter(None, [why, found.told])), [_by_token(handle, asked)])
    made = []
    for kind, pair in pairs.items():
        entered = {name: getattr(pair, name) for name in PROMPTS}
        made.append(_of_names(kind, {**settings, "alignment": None, **entered}, drawn(pair)))
    return Kinds(made, of=[_without(_by_token(handle, asked), _MADE)])


def _by_token(handle: ModelHandle, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with answer and foil as token ids where each is one token: typed or picked, it is the same."""
    found = {name: token_of(settings[name], handle) for name in ("answer", "foil")}
    return {**settings, **{name: token for name, token in found.items() if token is not None}}


def _without(settings: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _of_names(kind: str, settings: dict[str, Any], note: str = "") -> Kind:
    uncounted = "both prompts call for the same answer" if kind in SAME_ANSWER else ""
    return Kind(kind, f"{kind}: {WORDS[kind]}", settings, uncounted, note)


def _first_choice(handle: ModelHandle, clean: str) -> Answer:
    encoded = encode_prompts(PromptPair(clean, clean), handle.tokenizer, may_be_equal=True)
    with handle.lock:
        logits = handle.forward(torch.tensor([encoded.clean], device=handle.device), keep=1)
    return spelled(handle.tokenizer, int(logits[0, 0].argmax()))
