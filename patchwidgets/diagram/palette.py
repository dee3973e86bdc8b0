"""The colours of the runs and of what they are drawn on, as everywhere else."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _palette() -> dict[str, Any]:
    return json.loads((Path(__file__).parent.parent / "palette.json").read_text(encoding="utf-8"))


def run_colours(theme: str) -> dict[str, str]:
    """Return run -> colour in the "light" or the "dark" theme."""
    return _palette()["runs"][theme]


def surface(theme: str) -> dict[str, str]:
    """Return what is not data: page, ink, lines."""
    return _palette()["surface"][theme]
