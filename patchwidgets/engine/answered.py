"""Datasets as one model reads them: the pairs it answers rightly, and pairs of one length."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

from ..datasets import Dataset
from ..errors import PatchError, quoted
from ..spelling import counted
from .baseline import record
from .gate import undisturbed
from .handle import handle_of
from .lanes import Lane
from .patch import encode


def right(model: Any, dataset: Dataset, *, prepend_bos: bool | None = None) -> Dataset:
    """Return the pairs that the model answers rightly.

    A pair is kept when the answer is the likeliest token after the clean prompt and, where there is a foil, the
    corrupted prompt rates the foil above the answer. Of a set any token counts, the likeliest; of a Continuation every
    token is to be the likeliest in its turn, and in the corrupted run the first ones are compared. Prompts are read
    without padding. Raises PatchError when no pair is left, when one has no answer, and for prompts as `patch` does.

    >>> import patchwidgets as pw
    >>> data = pw.Dataset([preset.pair for preset in pw.PRESETS[:1]])
    >>> len(right(pw.load_model(), data))
    1
    """
    handle, data = handle_of(model), _dataset(dataset)
    handle.check_ready()
    pairs = encode(handle, data, prepend_bos=prepend_bos, align="auto", may_be_equal=True)
    lanes = [Lane(i, pair, i, 0, "both", pair.answers[0][:-1]) for i, pair in enumerate(pairs)]
    plain = undisturbed(handle.lock, lambda: record(handle, [(lane, run) for lane in lanes for run in _runs(lane)]))
    kept = []
    for lane in lanes:
        answers, foils = lane.pair.answers, lane.pair.foils
        said = plain.read[lane, "clean"].argmax(-1).tolist()
        knows = (said[0],) in answers if len(answers) > 1 else (tuple(said),) == answers
        kept.append(knows and (not foils or _best(plain.read[lane, "corrupted"], foils, answers)))
    if not any(kept):
        raise PatchError(
            f"the model {handle.name!r} answers 0 of {counted(len(data), 'pair')} of {data.name!r} rightly; look at "
            "what it predicts, or choose an easier task or another model."
        )
    return data.filter(kept)


def by_length(
    model: Any, dataset: Dataset, *, prepend_bos: bool | None = None, align: str | None = None
) -> dict[int | tuple[int, int], Dataset]:
    """Return the pairs by the number of tokens of their prompts, the beginning-of-sequence token counted.

    The shortest come first. Within one of these datasets a position means the same in every pair. With `align="auto"`,
    as `patch` takes it, a pair whose two prompts have different lengths is found under both, (clean, corrupted);
    without it such a pair is a PatchError.

    >>> import patchwidgets as pw
    >>> data = pw.Dataset([preset.pair for preset in pw.PRESETS[:1]])
    >>> list(by_length(pw.load_model(), data))
    [15]
    """
    handle, data = handle_of(model), _dataset(dataset)
    rows: dict[tuple[int, int], list[int]] = defaultdict(list)
    pairs = encode(handle, data, prepend_bos=prepend_bos, align=align, needs_answer=False, may_be_equal=True)
    for row, pair in enumerate(pairs):
        rows[len(pair.clean), len(pair.corrupted)].append(row)
    return {of[0] if of[0] == of[1] else of: data.subset(rows[of]) for of in sorted(rows)}


def _runs(lane: Lane) -> tuple[str, ...]:
    return ("clean", "corrupted") if lane.pair.foils else ("clean",)


def _best(logits: torch.Tensor, first: tuple[tuple[int, ...], ...], second: tuple[tuple[int, ...], ...]) -> bool:
    """Return whether one of the first targets is rated above all of the second at the first step."""
    one, other = (logits[0, [sequence[0] for sequence in target]].max() for target in (first, second))
    return bool(one > other)


def _dataset(given: object) -> Dataset:
    if isinstance(given, Dataset):
        return given
    raise PatchError(f"expected a Dataset, got {quoted(given)}; write pw.Dataset([pair, ...]).")
