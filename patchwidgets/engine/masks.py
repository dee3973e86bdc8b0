"""Where attention is open: not to later tokens, nor outside a window, as the model itself has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..errors import PatchError
from ..sites import SITES, Site
from .gate import Edit, foreign_hooks, hooked, open_scores
from .handle import ModelHandle
from .lanes import Lane
from .places import index_in
from .unchanged import untouched_state_of

if TYPE_CHECKING:
    from .hooked import Value
    from .plan import Target

Open = Callable[["Target", Lane], Tensor]
"""Which entries of a place in an attention may be written."""


def open_attention(handle: ModelHandle, ids: Collection[int]) -> list[Tensor]:
    """Return per layer which entries of attention [head, dest, src] the model leaves open on a text of token ids.

    What a mask closes has a score at the lowest number there is. A model that does not compute with the scores it shows
    has no other mask here than the causal one. Call with the handle's lock held: it runs the model.
    """
    scores = SITES["attn_scores"]
    try:
        handle.shape(scores)
    except PatchError:
        causal = torch.ones(handle.n_heads, len(ids), len(ids), dtype=torch.bool, device=handle.device).tril()
        return [causal] * handle.n_layers
    found: dict[int, Tensor] = {}

    def keeping(layer: int) -> Edit:
        def edit(activation: Tensor) -> None:
            mask = open_scores(activation[0])
            mask = mask[:1].expand_as(mask) if bool((mask == mask[:1]).all()) else mask
            found[layer] = next((each for each in found.values() if torch.equal(each, mask)), mask)

        return edit

    with hooked(handle.hooks, {scores.hook_name(layer): keeping(layer) for layer in range(handle.n_layers)}):
        handle.forward(torch.tensor([list(ids)], device=handle.device), keep=1)
    return [found[layer] for layer in range(handle.n_layers)]


def open_at(handle: ModelHandle, lanes: Iterable[Lane], base: str, hooks: Collection[str], *, matched: bool) -> Open:
    """Return where attention is open in the lanes' base runs, for the places that one sweep writes to.

    `matched` as in `index_in`. Call with the handle's lock held: where a hook is of attention it runs the model.
    """
    attention = {site.hook_name(i) for site in SITES.values() if is_attention(site) for i in range(handle.n_layers)}
    # A mask goes by where a token is, not by which it is: one run for every length.
    texts = {} if attention.isdisjoint(hooks) else {len(ids): ids for ids in (lane.ids(base) for lane in lanes)}
    masks = {length: _known_open(handle, ids) for length, ids in texts.items()}

    def find(target: Target, lane: Lane) -> Tensor:
        site, place = target
        if not is_attention(site):
            return torch.tensor(True, device=handle.device)
        layer: Any = place["layer"]
        return masks[len(lane.ids(base))][layer][index_in(site, place, lane, base, matched=matched)]

    return find


_OPEN: WeakKeyDictionary[Any, tuple[Hashable, dict[int, list[Tensor]]]] = WeakKeyDictionary()
_MOST = 1024
"""The longest text whose masks are kept: a megabyte or two for every kind of layer."""


def _known_open(handle: ModelHandle, ids: Collection[int]) -> list[Tensor]:
    """Return `open_attention`, from an earlier call when the model computes as it did then."""
    state = untouched_state_of(handle)
    if state is None or len(ids) > _MOST:
        return open_attention(handle, ids)
    kept = _OPEN.get(handle.bridge)
    if kept is None or kept[0] != state:
        kept = _OPEN[handle.bridge] = (state, {})
    if len(ids) not in kept[1]:
        found = open_attention(handle, ids)
        if foreign_hooks(handle.hooks):
            return found
        kept[1][len(ids)] = found
    return kept[1][len(ids)]


def kept_closed(value: Value, where: Open) -> Value:
    """Return the value, which leaves attention as it is where it is closed."""

    def guarded(target: Target, lane: Lane, now: Tensor) -> Tensor:
        new = value(target, lane, now)
        return torch.where(where(target, lane), new, now) if is_attention(target[0]) else new

    return guarded


def is_attention(site: Site) -> bool:
    """Return whether a site's activation says how much a token attends to which."""
    return "dest" in site.axes
