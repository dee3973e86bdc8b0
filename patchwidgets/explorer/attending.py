"""A head's attention as a view's traits: in the runs, how they differ, and both weighed by the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.inspect import Inspection
from ..engine.weighing import Weighing
from ..errors import PatchError
from .opened import Head, Opened, Patches, drawn, label_of, name_of
from .panels import runs_of
from .slots import column_of, spread, token_columns_of

_WEIGHED = (
    "Value-weighted: |weight| \u00d7 the length of the source's value vector through W_O, each row made to sum to 1 "
    "(Kobayashi et al. 2020, arXiv 2004.10102)."
)
_BEFORE = " The length is taken before the norm that follows W_O."


def attention_traits(
    opened: Opened, head: Head, patches: Patches, weighing: Weighing | PatchError, seen: Inspection
) -> dict[str, Any]:
    """Return what the attention view shows: each run's pattern over the columns of both prompts, and the other choices.

    Where the values cannot be weighed the note says why.
    """
    pair, base = opened.plan.pair, opened.plan.patch.base
    rows = [0, 1, 2, *([len(seen.attention) - 1] if patches.own else [])]
    named = ["clean", "corrupted", *[base] * (len(rows) - 2)]
    runs = runs_of(opened, patches)
    plain = spread(pair, [seen.attention[i] for i in rows], named)
    more = [_differences(opened, patches, plain, "Difference", "")]
    note = ""
    try:
        if isinstance(weighing, PatchError):
            raise weighing
        for run in seen.kept[:2]:
            weighing.check(run)
        weighed = spread(pair, [weighing.weighed(seen.kept[i]) for i in rows], named)
        told = _WEIGHED + (_BEFORE if weighing.normed_after else "")
        more.append({"label": "Value-weighted", "note": told, "runs": runs, "patterns": weighed})
        more.append(_differences(opened, patches, weighed, "Its difference", told))
    except PatchError as error:
        note = f"Not value-weighted: {error}"
    extra = {} if opened.position is None else {"dest": column_of(pair, base, opened.position)}
    return {
        "columns": token_columns_of(pair),
        "runs": runs,
        "patterns": plain,
        "title": f"Attention of head {name_of(head)}{drawn(opened.plan)}",
        "note": note,
        "more": more,
        **extra,
    }


def _differences(opened: Opened, patches: Patches, patterns: np.ndarray, label: str, note: str) -> dict[str, Any]:
    """Return every patched run minus the base run, and the clean minus the corrupted one, on a scale of their own."""
    base = opened.plan.patch.base
    at = ("clean", "corrupted").index(base)
    placed = [patches.patched, *([patches.own] if patches.own else [])]
    told = [label_of(opened, one).removeprefix("this ") for one in placed]
    runs = [{"name": "patched", "label": f"{one} \u2212 {base}"} for one in told]
    runs.append({"name": "difference", "label": "clean \u2212 corrupted"})
    found = np.stack([*(patterns[2:] - patterns[at]), patterns[0] - patterns[1]])
    largest = float(np.abs(found[np.isfinite(found)]).max(initial=0.0))
    return {"label": label, "note": note, "runs": runs, "patterns": found, "limit": largest or 1.0}
