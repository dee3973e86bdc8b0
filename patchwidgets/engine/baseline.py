"""The plain runs of a sweep: their logits, and the activations its values are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ..errors import ModelError, PatchError
from ..sites import get_site
from .gate import Edit, Stop, Stopped, check_control, hooked, joined
from .handle import ModelHandle
from .lanes import Lane

RUNS = ("clean", "corrupted")

Row = tuple[Lane, str]
"""One run of one lane."""
Edits = Callable[[Sequence[Row]], dict[str, Edit]]
"""The standing edits for the rows of a batch."""

_BATCH_TOKENS = 2048


class Recorder(Protocol):
    """Looks on while plain runs are made."""

    def recording(self, batch: Sequence[Row]) -> AbstractContextManager[object]:
        """Return a context for one forward pass, which yields the cache to be given to it."""
        ...


@dataclass
class Baseline:
    """What the plain runs gave.

    Attributes:
        read: per row the logits at the positions read, [step, vocab].
        whole: per row the logits at all positions, [pos, vocab], where a metric reads them.
        activations: hook name -> row -> activation without the batch dimension.
    """

    read: dict[Row, Tensor] = field(default_factory=dict)
    whole: dict[Row, Tensor] = field(default_factory=dict)
    activations: dict[str, dict[Row, Tensor]] = field(default_factory=lambda: defaultdict(dict))


def no_edits(rows: Sequence[Row]) -> dict[str, Edit]:
    """Return nothing: plain runs with nothing standing."""
    return {}


def record(
    handle: ModelHandle,
    rows: Iterable[Row],
    hooks: Collection[str] = (),
    *,
    keep: Callable[[Row], bool] = lambda row: True,
    whole: bool = False,
    standing: Edits = no_edits,
    recorder: Recorder | None = None,
    twice: Callable[[Row], bool] = lambda row: True,
    stop: Stop | None = None,
) -> Baseline:
    """Run the rows and keep their logits, and the named activations of those that `keep` says.

    Call with the handle's lock held. Every batch holds each row that `twice` names twice, in opposite orders; both must
    agree. `recorder` looks on. When `stop` says so at a layer, Stopped is raised.
    """
    found = Baseline()
    for batch in batches(list(rows), _BATCH_TOKENS // 2):
        _record(handle, batch, hooks, keep, whole, standing, recorder, twice, stop, found)
    return found


def batches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Yield the rows in batches of one length each, with at most so many tokens (but never less than one row)."""
    by_length: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for lane, run in rows:
        by_length[len(lane.ids(run)), lane.kept].append((lane, run))
    for (length, _), group in by_length.items():
        size = max(1, tokens // length)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _record(
    handle: ModelHandle,
    batch: list[Row],
    hooks: Collection[str],
    keep: Callable[[Row], bool],
    whole: bool,
    standing: Edits,
    recorder: Recorder | None,
    twice: Callable[[Row], bool],
    stop: Stop | None,
    found: Baseline,
) -> None:
    again = [i for i, row in reversed(list(enumerate(batch))) if twice(row)]
    doubled = [*batch, *(batch[i] for i in again)]
    kept: dict[str, Tensor] = {}

    def keeping(name: str, first: Edit | None) -> Edit:
        def edit(activation: Tensor) -> Tensor | None:
            changed = first(activation) if first else None
            kept[name] = (activation if changed is None else changed).detach().clone()
            return changed

        return edit

    edits = dict(standing(doubled))
    edits |= {name: keeping(name, edits.get(name)) for name in hooks}
    with recorder.recording(doubled) if recorder else nullcontext() as cache:
        logits = forward(handle, doubled, edits, whole, cache, stop)
    if not torch.isfinite(logits).all():
        if standing is not no_edits:
            raise PatchError(
                "the logits are not finite on these prompts with what stands in the runs; give numbers nearer to 0 "
                "there. If it does not come from them, check the model's weights and its dtype."
            )
        raise ModelError("the model's logits are not finite on these prompts; check its weights and its dtype.")
    for tensor in (logits, *kept.values()) if again else ():
        check_control(tensor[len(batch) :], tensor[again])
    for i, row in enumerate(batch):
        found.read[row] = logits[i, row[0].read].clone()
        if whole:
            found.whole[row] = logits[i].clone()
        if keep(row):
            for name, tensor in kept.items():
                found.activations[name][row] = tensor[i].clone()


def forward(
    handle: ModelHandle,
    rows: Sequence[Row],
    edits: dict[str, Edit],
    whole: bool,
    cache: object | None = None,
    stop: Stop | None = None,
) -> Tensor:
    """Return the logits of rows of one length, [row, pos, vocab]: all positions, or the last ones that are read.

    When `stop` says so at a layer, Stopped is raised.
    """
    tokens = torch.tensor([lane.ids(run) for lane, run in rows], device=handle.device)
    with hooked(handle.hooks, edits if stop is None else joined(stopping(handle, stop), edits)):
        return handle.forward(tokens, keep=None if whole else max(lane.kept for lane, _ in rows), cache=cache)


def stopping(handle: ModelHandle, stop: Stop) -> dict[str, Edit]:
    """Return edits that change nothing, and leave the forward pass at the next layer once `stop` says so."""

    def look(_activation: Tensor) -> None:
        if stop():
            raise Stopped

    entering = (get_site("resid_pre").hook_name(layer) for layer in range(handle.n_layers))
    return {name: look for name in entering if name in handle.hooks}
