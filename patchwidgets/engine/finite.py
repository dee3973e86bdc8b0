"""Numbers that are too large for the model's dtype: told before a run where a setting is, after it where logits are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from ..errors import PatchError
from ..interventions import Intervention
from .handle import ModelHandle


def check_size(what: Intervention, handle: ModelHandle) -> None:
    """Raise PatchError where a setting of an intervention is no number of the model's dtype."""
    most, value = torch.finfo(getattr(torch, handle.dtype)).max, _largest(what)
    if abs(value) > most:
        raise PatchError(
            f"{type(what).__name__}: {value:g} is beyond the numbers of {handle.dtype}, the model's dtype (up to "
            f"{most:.2g}); bring {what.sized_by} nearer to 0."
        )


def check_logits(logits: Iterable[torch.Tensor], interventions: Iterable[Intervention], handle: ModelHandle) -> None:
    """Raise PatchError where patched runs' logits are not finite; it names what may have been too large for them."""
    if all(bool(torch.isfinite(each).all()) for each in logits):
        return
    told = "a patched run gave logits that are not finite"
    large = [
        f"{type(what).__name__}'s {what.sized_by} ({value:g})"
        for what in interventions
        if abs(value := _largest(what)) > 1
    ]
    if not large:
        raise PatchError(f"{told}; check the model's dtype.")
    raise PatchError(
        f"{told}: {' or '.join(large)} may be too large for {handle.dtype}; keep it nearer to 0. If that is not the "
        "cause, check the model's dtype."
    )


def _largest(what: Intervention) -> float:
    """Return the largest number that sets the size of what an intervention writes, 0 where none does."""
    values = np.atleast_1d(np.asarray(getattr(what, what.sized_by) if what.sized_by else 0.0, dtype=float))
    return float(values[np.abs(values).argmax()])
