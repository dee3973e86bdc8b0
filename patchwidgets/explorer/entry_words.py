"""A kept run in one line of words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..spelling import counted, isolated, shown_text, shown_token
from ..words import meaning
from .controls import METRIC_LABELS
from .kept import Entry
from .subsets import told

_LONGEST = 100


def name_of(entry: Entry) -> str:
    """Return what a run measured: "z by layer and head, clean into corrupted"."""
    return meaning(entry.whole.provenance)["title"]


def detail_of(entry: Entry) -> str:
    """Return the rest of a run's line: direction, metric, pair, cells and time."""
    settings, p = entry.settings, entry.whole.provenance
    targets = [shown_token(p[name]["text"] or str(p[name]["token"])) for name in ("answer", "foil") if p.get(name)]
    cells = int((entry.whole.data["status"] == "measured").sum())
    over = settings.get("dataset")
    prompts = (
        [f"mean over {entry.whole.n} pairs of {over['name']}"]
        if over
        else [
            isolated(shown_text(text)) if isinstance(text, str) else counted(len(text), "id")
            for text in (settings["clean"], settings["corrupted"])
        ]
    )
    parts = [
        *([str(p["model"])] if entry.foreign else []),
        f"kind: {entry.kind}" if entry.kind else "",
        settings["direction"],
        *told(settings),
        METRIC_LABELS.get(settings["metric"], settings["metric"]),
        "" if over else " over ".join(targets),
        f"{counted(cells, 'cell')} in {entry.run.seconds:.1f} s",
        clock(entry.at),
        " / ".join(prompts),
    ]
    return " \u00b7 ".join(filter(None, parts))


def asked_of(settings: Mapping[str, Any]) -> str:
    """Return what settings ask and of which prompts: "resid_pre, denoise, logit difference: When Mary and John ..."."""
    over, clean = settings.get("dataset"), settings["clean"]
    prompt = counted(len(clean), "id")
    if isinstance(clean, str):
        prompt = isolated(shown_text(clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}\u2026"))
    what = [settings["site"], settings["direction"], *told(settings)]
    metric = METRIC_LABELS.get(settings["metric"]) or str(settings["metric"])
    return f"{', '.join([*what, metric])}: {over['name'] if over else prompt}"


def clock(at: float) -> str:
    """Return a time of today as hours and minutes, another with its day."""
    then, now = time.localtime(at), time.localtime()
    return time.strftime("%H:%M" if then[:3] == now[:3] else "%Y-%m-%d %H:%M", then)
