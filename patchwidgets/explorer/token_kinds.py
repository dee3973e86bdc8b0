"""The corruption kinds of any prompt: the pair as entered, and the clean prompt with one token replaced at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..answers import Answer, Continuation
from ..engine.handle import ModelHandle
from ..errors import PatchError, PromptError
from ..metrics import METRICS
from ..prompts import EncodedPair
from ..spelling import shown_token, signed
from ..suggest import Suggestion, suggestions
from ..tokens import Tokenizer
from .kinds import Kind, Kinds
from .settings import axes_of, one_pair
from .subsets import indices

FLOOR = 1.0
"""From which change of the logit difference, answer over foil, a kind is run."""
MOST = 6
"""How many positions are replaced, each in a kind of its own."""
_SPELLED = 3
_ENTERED = "as entered"


def token_kinds(handle: ModelHandle, settings: dict[str, Any], stop: Callable[[], bool]) -> Kinds:
    """Return the pair of `settings` and the replacements of single tokens that move its answer farthest.

    Of a replacement the foil is the model's first choice after it, the answer left out. Of the two runs one puts the
    answer above the foil, the other below it, so that 0 and 1 mean the same in every map. Raises PatchError where there
    is nothing to run. Runs the model, until `stop()`.
    """
    answer = settings["answer"]
    if isinstance(answer, Continuation) or (isinstance(answer, tuple) and len(answer) > 1):
        raise PatchError("corruption kinds are told apart by one answer token; choose one as the answer.")
    entered, said = _entered(handle, settings)
    found: list[Suggestion] = []
    try:
        found = suggestions(handle, settings["clean"], answer=answer, stop=stop)
    except PromptError:
        raise
    except PatchError as error:
        said = [*said, f"No token is replaced: {error}"]
    taken = None if entered is None else settings["corrupted"]
    latest = _latest(settings, handle.tokenizer, found)
    moving = [one for one in _farthest(filter(_moves, found)) if one.corrupted != taken]
    within = [one for one in moving if one.position <= latest]
    kinds = [*([entered] if entered else []), *(_replaced(handle, settings, one) for one in within[:MOST])]
    places = {one.position for one in found if _moves(one)}
    still = [one for one in _farthest(found) if one.position not in places]
    if not kinds and not stop():
        none = "no replaced token makes the model put another above the answer, as it did not after the clean prompt"
        raise PatchError(" ".join([f"{none}; enter a corrupted prompt that does.", *said, *_still(still)]))
    if found:
        beyond = [one for one in moving if one.position > latest]
        said = [_chosen(found[0]), *said, *_beyond(within[MOST:]), *_before(beyond), *_still(still)]
    return Kinds(kinds, " ".join(said))


def spelled(tokenizer: Tokenizer, token: int) -> Answer:
    """Return a token as a text where that is read as this token again, else its id."""
    text = tokenizer.text(token)
    return text if tokenizer.encode(text) == [token] else token


def _moves(one: Suggestion) -> bool:
    """Return whether the foil takes the answer's place, and not by a hair."""
    return one.answer_clean > one.foil_clean and one.foil_corrupted > one.answer_corrupted and one.moved >= FLOOR


def _farthest(found: Iterable[Suggestion]) -> list[Suggestion]:
    """Return of every position the replacement that moves the answer farthest, the farthest of all first."""
    best: dict[int, Suggestion] = {}
    for one in found:  # the farthest come first
        best.setdefault(one.position, one)
    return list(best.values())


def _latest(settings: dict[str, Any], tokenizer: Tokenizer, found: Sequence[Suggestion]) -> int:
    """Return the last position at which a replacement changes what is swept.

    Where one run is patched into the other, a chosen token before the replaced one is the same in both.
    """
    if not found:
        return -1
    last = len(tokenizer.encode_prompt(found[0].corrupted, tokenizer.prepends_bos)) - 1
    chosen = indices("positions", settings["positions"], last + 1)
    return last if chosen is None or settings["intervention"] != "patch" else max(chosen)


def _replaced(handle: ModelHandle, settings: dict[str, Any], one: Suggestion) -> Kind:
    name = _named(one)
    told = f"{name}{_against(settings, one.foil_text)}"
    entered = {"corrupted": one.corrupted, "foil": spelled(handle.tokenizer, one.foil), "alignment": None}
    return Kind(name, told, {**settings, **entered})


def _entered(handle: ModelHandle, settings: dict[str, Any]) -> tuple[Kind | None, list[str]]:
    """Return the pair as it is entered, or None and why it is not run."""
    corrupted = settings["corrupted"]
    if isinstance(corrupted, str) and not corrupted.strip():
        return None, ["No corrupted prompt is entered."]
    try:
        (pair,) = one_pair(handle, settings, METRICS[settings["metric"]].needs_foil)
    except PatchError as error:
        return None, [f"The pair as entered is not run: {error}"]
    moved = _moved(handle, pair)
    if abs(moved) < FLOOR:
        over = f"'{shown_token(pair.answer_text or '')}' over '{shown_token(pair.foil_text or '')}'"
        told = f"it moves {over} by {signed(moved)} logits, less than {FLOOR:g}"
        return None, [f"The pair as entered is not run: {told}."]
    uncounted = ""
    if pair.alignment is not None and {"pos", "dest", "src"} & set(axes_of(settings)):
        uncounted = "its prompts are of unequal lengths, and its tokens do not stand where those of the other maps do"
    title = f"{_ENTERED}{_against(settings, pair.foil_text or '')}"
    return Kind(_ENTERED, title, settings, uncounted), []


def _moved(handle: ModelHandle, pair: EncodedPair) -> float:
    """Return how far the logit difference moves between the prompts; without end where no two tokens are compared."""
    if pair.answer is None or pair.foil is None:
        return float("inf")
    clean, corrupted = (handle.rate(ids, [pair.answer, pair.foil]) for ids in (pair.clean, pair.corrupted))
    return (clean[0] - clean[1]) - (corrupted[0] - corrupted[1])


def _against(settings: dict[str, Any], foil: str) -> str:
    """Return what a map compares the answer with, "" in a metric that compares it with nothing."""
    return f", foil '{shown_token(foil)}'" if METRICS[settings["metric"]].needs_foil else ""


def _named(one: Suggestion) -> str:
    return f"{one.position} '{shown_token(one.token)}' \u2192 '{shown_token(one.replacement)}'"


def _chosen(one: Suggestion) -> str:
    return (
        f"A kind with a number replaces the token there, so that the model puts '{shown_token(one.answer_text)}' above "
        "the foil after the clean prompt and below it after the other: of those tried at every content word, the one "
        f"that moves the two farthest, by {FLOOR:g} logit or more; at most {MOST} kinds, the farthest first."
    )


def _beyond(rest: Sequence[Suggestion]) -> list[str]:
    """Return what moves the answer and is not among the farthest."""
    if not rest:
        return []
    some = [f"{_named(one)} by {signed(one.moved)}" for one in rest[:_SPELLED]]
    return [f"Not run, as {MOST} others move it farther: {_listed(some, len(rest))}."]


def _before(rest: Sequence[Suggestion]) -> list[str]:
    """Return what is replaced after all the tokens that are swept."""
    some = [_named(one) for one in rest[:_SPELLED]]
    return [f"Not run, as no token chosen is at it or after it: {_listed(some, len(rest))}."] if some else []


def _still(rest: Sequence[Suggestion]) -> list[str]:
    """Return what leaves the answer in its place."""
    if not rest:
        return []
    some = [f"{_named(one)} (by {signed(one.moved)}, {one.answer_corrupted:.0%} left)" for one in rest[:_SPELLED]]
    return [f"Not so, and not run: {_listed(some, len(rest))}."]


def _listed(some: list[str], of: int) -> str:
    return ", ".join([*some, *([f"{of - len(some)} more"] if of > len(some) else [])])
