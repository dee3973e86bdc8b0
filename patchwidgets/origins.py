"""Where a result's numbers come from and how they were checked, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import difference
from .metrics import tolerance
from .spelling import counted, minus

if TYPE_CHECKING:
    from .result import PatchResult


def origin(result: PatchResult) -> str:
    """Return one line that says where the numbers come from and how far they can be trusted."""
    told = f"effects below {resolution(result)} are not resolved" if made(result) else NOT_MADE
    return f"{_measured(result)}; {told}."


NOT_MADE = "the two runs were not made"


def made(result: PatchResult) -> bool:
    """Return whether the two runs were made: a sweep that was cancelled in them knows nothing of them."""
    return bool(np.isfinite([result.data[run].values for run in ("clean", "corrupted")]).all())


def _measured(result: PatchResult) -> str:
    """Return what measured the numbers, and how its check came out."""
    if result.is_difference:
        return difference.of_both(result, _measured)
    check = result.check
    agreed = f"unpatched rows gave the base run's logits within {_about(check['worst_logit_difference'])}"
    if check.get("remeasured") and not check["wrong"]:
        within = _about(check["worst_difference"])
        agreed = f"{counted(check['remeasured'], 'cell')} measured again through hooks agreed within {within}"
    return "; ".join([made_by(result), *([agreed] if check["controls"] else [])])


def agreement(result: PatchResult) -> str:
    """Return which engine it was and how its check came out, in a few words; nothing before there was one.

    Cells of an earlier sweep passed the check of that one; of these, too, some are measured again now.
    """
    if result.is_difference:
        return difference.of_both(result, agreement)
    check = result.check
    reused = check.get("reused", 0)
    parts = [f"{counted(reused, 'cell')} of an earlier sweep"] if reused else []
    if check.get("remeasured") and not check["wrong"]:
        many = check["remeasured"]
        again = " measured again" if reused else ""
        parts.append(f"{many} cells{again} agree with hooks" if many > 1 else f"{many} cell{again} agrees with hooks")
    elif check["controls"]:
        parts.append(f"{check['controls']} control {'runs agree' if check['controls'] > 1 else 'run agrees'}")
    return ", ".join([f"{result.engine} engine", *parts]) if parts else ""


def made_by(result: PatchResult) -> str:
    """Return the model, its precision and the engine."""
    if result.is_difference:
        return difference.of_both(result, made_by)
    p = result.provenance
    return (
        f"{p['model']}, {p['weights']} weights, {p['dtype']} on {p['device']}; {p['engine']} engine, "
        f"TransformerLens {p['versions']['transformer-lens']}"
    )


def resolution(result: PatchResult) -> str:
    """Return the size below which an effect may be rounding, for the metric with the widest gap.

    The errors of the two results of a difference add.
    """
    return _about(_error(result))


def _about(size: float) -> str:
    return minus(f"{size:.1g}")


def _error(result: PatchResult) -> float:
    if result.is_difference:
        return sum(map(_error, difference.sides(result)))
    gaps = result.data["clean"].values - result.data["corrupted"].values
    return max(tolerance(result.provenance["dtype"], float(gap)) for gap in gaps)


def checked(result: PatchResult) -> str:
    """Return a sentence on how the numbers were checked while they were made."""
    if result.is_difference:
        return difference.of_both(result, checked)
    reused = result.check.get("reused", 0)
    if not reused:
        return _remeasured(result)
    told = (
        f"{counted(reused, 'cell')} {_were(reused)} not run again: an earlier sweep wrote the same into the same runs, "
        "and had passed its check."
    )
    return f"{told} {_remeasured(result)}" if result.check["controls"] or result.check.get("remeasured") else told


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _remeasured(result: PatchResult) -> str:
    check = result.check
    if check.get("remeasured"):
        if check["wrong"]:
            cells = counted(check["remeasured"], "replayed cell")
            return (
                f"Check: {len(check['wrong'])} of {cells} did not agree with the same cells through hooks; all were "
                "measured through hooks instead."
            )
        return (
            f"Check: {check['remeasured']} of the cells {_were(check['remeasured'])} measured again through hooks and "
            f"agreed (largest difference {_about(check['worst_difference'])})."
        )
    if not check["controls"]:
        return "No batch of patches was run, so there was nothing to check."
    batches = "the one batch" if check["controls"] == 1 else f"each of {check['controls']} batches"
    return (
        f"Check: in {batches}, unpatched rows run beside the patched ones gave the base run's logits again "
        f"(largest difference {_about(check['worst_logit_difference'])})."
    )
