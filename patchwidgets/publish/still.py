"""A result as words and one table: what stands for a map where no script runs."""

from __future__ import annotations

from .. import words
from ..result import PatchResult
from ..spelling import shown_token
from ..views.of_result import heatmap_traits
from ..views.still import NAMES, still_map


def still_of(result: PatchResult) -> str:
    """Return a result's first metric as HTML without a script: title, baselines, a table, what its numbers mean.

    The numbers are those the map prints. All text is plain text.
    """
    traits = heatmap_traits(result)
    said = traits["words"]
    result = result.select(result.metrics[0])
    lines = [f"{said['title']}: {said['unit']}", words.targets(result), words.baselines(result)]
    if traits["columns"]["kind"] == "labels" and result.provenance.get("n", 1) == 1:
        lines += [f"{name}: {' '.join(map(shown_token, result.provenance['texts'][name]))}" for name in NAMES]
    legend = [said[name] for name in ("high", "near_zero", "negative") if name in said]
    return still_map(traits, lines, legend)
