"""Pages that live without a kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import words
from ..files import written_whole
from ..result import PatchResult
from ..spelling import counted
from ..views.of_result import heatmap_of
from .page import render_page

__all__ = ["render_page", "write_page"]


def write_page(result: PatchResult, path: Path) -> Path:
    """Write a result as one self-contained page, whole or not at all, and return the path."""
    p = result.provenance
    intro = [f"{run.capitalize()}: {_prompt(p, run)}" for run in ("clean", "corrupted")]
    intro += [*filter(None, [words.targets(result), _left(result)]), words.baselines(result)]
    details = [
        ("In words", result.describe()),
        ("Where the numbers come from", json.dumps(p, indent=2, ensure_ascii=False)),
    ]
    if not result.is_difference:
        details.append(("Code that measures them again", result.code()))
    page = render_page(words.title(result), [heatmap_of(result)], intro=intro, details=details)
    with written_whole(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _left(result: PatchResult) -> str:
    """Say of a cancelled sweep how many of its cells the page lacks."""
    status = result.data["status"].values
    left = int((status == "pending").sum())
    return f"Cancelled: {left:,} of {counted(status.size, 'cell')} were not measured." if left else ""


def _prompt(provenance: Mapping[str, Any], run: str) -> str:
    """The one pair's prompt as given; of ids and of several pairs the tokens, apart: not all bring their spaces."""
    given = (provenance.get("prompts") or {}).get(run)
    return given if isinstance(given, str) and provenance.get("n", 1) == 1 else "\u2009".join(provenance["texts"][run])
