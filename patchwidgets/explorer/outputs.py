"""Where the opened head's output points, as a view's traits: the tokens whose logits it raises directly, by run."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..engine.baseline import RUNS
from ..engine.direct import DirectPath
from ..engine.handle import ModelHandle
from ..engine.inspect import Inspection
from ..errors import PatchError
from ..prompts import EncodedPair
from ..spelling import shown_token
from ..tokens import Tokenizer
from .opened import Opened, Patches, drawn, name_of
from .panels import runs_of

_TOP = 6
_MEANING = (
    "Logits above the mean of all tokens, from this head alone: its output through W_O, the last norm with the scale "
    "it has in that run, and the unembedding, without biases."
)
_CAPPED = " The model caps its logits after this."


def path_of(handle: ModelHandle, opened: Opened) -> DirectPath | PatchError | None:
    """Return the way from the opened head to the logits, or why there is none; None without a head. May run the model.

    It is followed at the opened position; where the cell spans all tokens, at the position read.
    """
    if opened.head is None:
        return None
    pair, base = opened.plan.pair, opened.plan.patch.base
    at: dict[str, int | None] = {run: len(pair.ids(run)) + pair.at for run in RUNS}
    if opened.position is not None:
        other = next(run for run in RUNS if run != base)
        at = {base: opened.position, other: pair.counterpart(base, opened.position)}
    try:
        return DirectPath(handle, pair, opened.head[0], at)
    except PatchError as error:
        return error


def empty_output(opened: Opened, patches: Patches) -> dict[str, Any]:
    """Return the tables before they are known."""
    tables = [] if opened.head is None else [{**run, "rows": []} for run in runs_of(opened, patches)[:3]]
    return {"tables": tables, "title": _title(opened), "note": "", "quantity": "logit"}


def output_of(
    handle: ModelHandle, opened: Opened, patches: Patches, path: DirectPath | PatchError | None, seen: Inspection
) -> dict[str, Any]:
    """Return the tables of the clean, the corrupted and the patched run, or in words why there are none."""
    empty = empty_output(opened, patches)
    if path is None or opened.head is None:
        return empty
    if isinstance(path, PatchError):
        return {**empty, "tables": [], "note": f"Not shown: {path}"}
    kept = seen.kept[:3]
    try:
        for run, name in zip(kept, RUNS, strict=False):
            path.check(run, name)
        for run, logits in zip(kept, seen.logits, strict=False):
            path.check_logits(run, logits)
        names = (*RUNS, opened.plan.patch.base)
        written = [path.heads(run, opened.head[1], name) for run, name in zip(kept, names, strict=True)]
        added = [path.logits(run, rows).mean(0) for run, rows in zip(kept, written, strict=True)]
    except PatchError as error:
        return {**empty, "tables": [], "note": f"Not shown: {error}"}
    pair = opened.plan.pair
    shown = zip(empty["tables"], added, names, strict=True)
    tables = [{**table, **_table(pair, logits, path.at[run], handle.tokenizer)} for table, logits, run in shown]
    absent = [f" The {run} run has no token there." for run in RUNS if path.at[run] is None]
    note = _MEANING + (_CAPPED if path.capped else "") + _where(opened) + "".join(absent)
    return {**empty, "tables": tables, "note": note}


def _table(pair: EncodedPair, logits: Tensor, at: int | None, tokenizer: Tokenizer) -> dict[str, Any]:
    if at is None:
        return {"rows": []}
    centred = (logits - logits.mean()).tolist()
    marks = {token: mark for token, mark in ((pair.answer, "answer"), (pair.foil, "foil")) if token is not None}
    best = sorted(range(len(centred)), key=lambda token: -centred[token])[:_TOP]
    # Those that the metric reads are told wherever they stand, in the place of the last ones.
    below = sorted(marks.keys() - set(best), key=lambda token: -centred[token])
    unmarked = [token for token in best if token not in marks]
    left_out = unmarked[len(unmarked) - len(below) :]
    shown = [token for token in best if token not in left_out] + below
    rows = [{"token": tokenizer.text(token), "logit": centred[token], "mark": marks.get(token, "")} for token in shown]
    if pair.answer is None or pair.foil is None:
        return {"rows": rows}
    return {"rows": rows, "difference": centred[pair.answer] - centred[pair.foil]}


def _title(opened: Opened) -> str:
    if opened.head is None:
        return ""
    return f"Where head {name_of(opened.head)} points at '{opened.token(_position(opened))}'{drawn(opened.plan)}"


def _position(opened: Opened) -> int:
    pair, base = opened.plan.pair, opened.plan.patch.base
    return len(pair.ids(base)) + pair.at if opened.position is None else opened.position


def _where(opened: Opened) -> str:
    """Return of which token the logits are, where it is not the one that the metric reads."""
    pair, base = opened.plan.pair, opened.plan.patch.base
    read = len(pair.ids(base)) + pair.at
    if _position(opened) == read:
        return ""
    here, there = (shown_token(pair.texts(base)[at]) for at in (_position(opened), read))
    return f" They are the logits of what follows '{here}'; the answer is read after '{there}'."
