"""What the drilldown's views show of what is open: next tokens and parts, as their traits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..engine.inspect import Inspection, score, top_tokens
from ..interventions import Patch
from ..metrics import gap_too_small, get_metrics
from ..prompts import EncodedPair
from ..tokens import Tokenizer
from ..views import label_columns
from ..words import meaning
from .opened import Opened, Patches, label_of, meant_by

_TOP = 6
_UNSUMMED = (
    "A pattern taken from a prompt of another length is put in where both have tokens, and the row is not rescaled: it "
    "may no longer sum to 1."
)


def empty_tables(opened: Opened, patches: Patches) -> list[dict[str, Any]]:
    """Return the tables of next tokens before they are known."""
    return without_rows(runs_of(opened, patches)[:3])


def without_rows(runs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return tables of runs with nothing in them."""
    return [{**run, "rows": []} for run in runs]


def prediction_tables(opened: Opened, patches: Patches, seen: Inspection, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Return the likeliest next tokens of the clean, the corrupted and the patched run; of draws their means."""
    return token_tables(runs_of(opened, patches)[:3], seen.logits, opened.plan.pair, tokenizer)


def token_tables(
    runs: Sequence[Mapping[str, str]], logits: Sequence[Tensor], pair: EncodedPair, tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """Return the likeliest next tokens of runs, each [draw, vocab], with the answer and the foil marked."""
    marks = {pair.answer: "answer", pair.foil: "foil"}
    return [
        {**run, "rows": [
            {"token": tokenizer.text(token), "prob": probability, "logit": logit, "mark": marks.get(token, "")}
            for token, probability, logit in top_tokens(each, _TOP)
        ]}
        for run, each in zip(runs, logits, strict=False)
    ]  # fmt: skip


def empty_parts(opened: Opened, patches: Patches) -> dict[str, Any]:
    """Return the map of the parts before they are measured."""
    return {**_parts(opened, patches), "quantity": "normalized", "limit": 1.0, "state": "empty"}


def part_values(opened: Opened, patches: Patches, seen: Inspection) -> dict[str, Any]:
    """Return the map of the parts, each patched alone, in the metric that is shown."""
    values = score(get_metrics(opened.metric), seen, opened.plan.pair)[0]
    clean, corrupted = values[:2]
    base, source = (corrupted, clean) if opened.plan.patch.base == "corrupted" else (clean, corrupted)
    patched = values[3 : 3 + len(patches.parts)]
    effect, small = patched - base, gap_too_small(base, source)
    return {
        **_parts(opened, patches),
        "normalized": [effect * np.nan if small else effect / (source - base)],
        "effect": [effect],
        "patched": [patched],
        "status": [np.zeros(len(effect), dtype=np.uint8)],
        "quantity": "effect" if small else "normalized",
        "limit": float(np.abs(effect).max(initial=0.0) or 1.0) if small else 1.0,
        "state": "done",
    }


def runs_of(opened: Opened, patches: Patches) -> list[dict[str, str]]:
    """Return the runs as views name them: clean, corrupted, the patched one, and the cell's own if it is another."""
    placed = [patches.patched, *([patches.own] if patches.own else [])]
    plain = [{"name": name, "label": name} for name in ("clean", "corrupted")]
    return plain + [{"name": "patched", "label": f"patched: {label_of(opened, one)}"} for one in placed]


def _parts(opened: Opened, patches: Patches) -> dict[str, Any]:
    said = {**meaning(meant_by(opened.plan)), "title": opened.title}
    notes = [f"Left out: {' '.join(patches.left)}"] if patches.left else []
    taken = isinstance(opened.plan.intervention, Patch) and opened.plan.pair.alignment is not None
    if taken and any(site == "pattern" for site, _ in patches.cells):
        notes.append(_UNSUMMED)
    if notes:
        said["note"] = " ".join(notes)
    return {
        "rows": [str(opened.layer)],
        "columns": label_columns("", [site for site, _ in patches.parts]),
        "row_title": "layer",
        "row_keys": [{"layer": opened.layer}],
        "col_keys": [{} for _ in patches.parts],
        "words": said,
    }
