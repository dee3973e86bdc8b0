"""Single patches replayed to be looked at: all next-token logits, and one head's attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..baseline import Baseline
from ..gate import check_control
from ..handle import ModelHandle
from ..hooked import Value
from ..lanes import Lane
from ..plan import Target
from .climb import Climb, Watch
from .fronts import fronts
from .items import Item, first_changed, make_item
from .parts import Stack
from .tape import Tapes

_TOKENS = 2048
"""The most tokens whose runs climb at once."""
Looked = tuple[list[Tensor], list[tuple[int, Tensor] | None]]
"""Per run the logits [vocab] at the position read, and of the watched head the rows that may differ from the base
run's: their first position and [dest, src]; None where none can."""


@torch.no_grad()
def replayed(
    handle: ModelHandle, stack: Stack, tapes: Tapes, base: str, baseline: Baseline,
    jobs: Sequence[tuple[Target, Lane]], value: Value, matched: bool, watch: Watch | None,
) -> Looked:  # fmt: skip
    """Replay one run for every target in its lane; all lanes are of one text. Call with the handle's lock held.

    An unpatched run climbs along in every batch and must give the base run's logits again.
    """
    lane = jobs[0][1]
    tape, row = tapes[len(lane.ids(base))], tapes.rows[lane]
    known, read = first_changed(lane, base, matched), range(tape.length)[lane.read][0]
    items = [make_item(at, row, base, [target], stack.way.phases, known, handle.n_layers) for target, at in jobs]
    logits: dict[int, Tensor] = {}
    size = max(1, _TOKENS // tape.length)
    for start in range(0, len(items), size):
        some = items[start : start + size]
        control = Item(lane, row, {}, min(item.entry for item in some), min(item.start for item in some))
        climb = Climb(stack, tape, base, value, matched, (read, read), watch=watch)
        for group, final in climb.run([*some, control], fronts(handle, some, base, value, matched)):
            logits |= dict(zip(map(id, group.items), stack.head(final)[:, 0], strict=True))
        check_control(logits.pop(id(control)), baseline.read[lane, base][0])
    seen = {} if watch is None else watch.seen
    return [logits[id(item)] for item in items], [seen.get(id(item)) for item in items]
