"""Pages that live without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

from .. import words
from ..files import written_whole
from ..result import PatchResult
from ..views.of_result import heatmap_of
from .page import render_page

__all__ = ["render_page", "write_page"]


def write_page(result: PatchResult, path: Path) -> Path:
    """Write a result as one self-contained page, whole or not at all, and return the path."""
    p = result.provenance
    prompts = [f"{run.capitalize()}: {''.join(p['texts'][run])}" for run in ("clean", "corrupted")]
    details = [
        ("In words", result.describe()),
        ("Where the numbers come from", json.dumps(p, indent=2, ensure_ascii=False)),
        ("Code that measures them again", result.code()),
    ]
    page = render_page(
        words.meaning(p)["title"], [heatmap_of(result)], intro=[*prompts, words.baselines(result)], details=details
    )
    with written_whole(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path
