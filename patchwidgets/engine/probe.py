"""What a model really has: whether what is written into a site reaches the logits, and what its stream begins with."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import PatchError
from ..sites import SITES, Site
from .gate import Edit, hooked, open_scores, undisturbed

if TYPE_CHECKING:
    from .handle import ModelHandle

_LENGTH = 8


def probe(handle: ModelHandle, site: Site) -> tuple[int, ...]:
    """Return the shape of the site's activation on a few tokens; a PatchError when patching there would do nothing.

    One row of the batch is disturbed in every layer, the other is not. A hook that does not fire, or whose activation
    the model does not use (some attention shows its pattern and computes with another), would give a table of silent
    zeros.
    """
    layers = list(range(handle.n_layers)) if site.layered else [0]
    for layer in layers:
        handle.hook(site, layer)
    if "neuron" in site.axes and getattr(handle.bridge.cfg, "num_experts", None):
        raise PatchError(
            f"the model {handle.name!r} has no {site.name!r}: its MLP is a mixture of experts, without neurons that "
            "every token shares. Choose mlp_out."
        )
    length, vocabulary = min(_LENGTH, handle.tokenizer.context), handle.tokenizer.vocab_size
    tokens = torch.tensor([[i * (vocabulary - 1) // _LENGTH for i in range(1, length + 1)]], device=handle.device)
    tokens = tokens.expand(2, -1)
    shapes: dict[int, tuple[int, ...]] = {}

    def disturb(layer: int) -> Edit:
        def edit(activation: Tensor) -> Tensor:
            now = activation[0]
            shapes[layer] = tuple(now.shape)
            noise = torch.randn(now.shape, generator=torch.Generator().manual_seed(layer), device="cpu").to(now)
            finite = now[now > torch.finfo(now.dtype).min / 2]
            # Wide enough to turn attention that is all on one token.
            changed = now + (1 + 10 * float(finite.std(correction=0))) * noise
            activation[0] = torch.where(open_scores(now), changed, now) if "dest" in site.axes else changed
            return activation

        return edit

    def measure() -> Tensor:
        with hooked(handle.hooks, {site.hook_name(layer): disturb(layer) for layer in layers}):
            return handle.forward(tokens).double()

    logits = undisturbed(handle.lock, measure)
    if torch.equal(logits[0], logits[1]):
        raise PatchError(
            f"the model {handle.name!r} shows {site.name!r} but does not compute with it: what is written there does "
            "not reach the logits. Choose another site, such as z."
        )
    if len(set(shapes.values())) > 1:
        raise PatchError(
            f"the model {handle.name!r} has {site.name!r} of other shapes in other layers; choose another."
        )
    return shapes[0]


class _Enough(Exception):
    """The model has run as far as it is looked at."""


_TOKENS = 2048
_POSITION = "hook_pos_embed"


def entering_std(handle: ModelHandle) -> float:
    """Return the standard deviation, over the vocabulary, of the entries of what a token adds to the residual stream.

    Every token is run alone, up to the first layer; the embedding of its position, where there is one, is taken off.
    """
    first = SITES["resid_pre"].hook_name(0)
    seen: dict[str, Tensor] = {}

    def keep(activation: Tensor) -> None:
        seen[_POSITION] = activation.double()

    def stop(activation: Tensor) -> None:
        seen[first] = activation.double()
        raise _Enough

    def entries(tokens: Tensor) -> Tensor:
        seen.clear()
        edits: dict[str, Edit] = {first: stop}
        if _POSITION in handle.hooks:
            edits[_POSITION] = keep
        with contextlib.suppress(_Enough), hooked(handle.hooks, edits):
            handle.forward(tokens)
        return seen[first] - seen.get(_POSITION, 0.0)

    every = torch.arange(handle.tokenizer.vocab_size, device=handle.device)[:, None]
    total = squares = count = 0.0
    for tokens in every.split(_TOKENS):
        found = undisturbed(handle.lock, lambda tokens=tokens: entries(tokens))
        total, squares, count = total + float(found.sum()), squares + float(found.square().sum()), count + found.numel()
    return max(0.0, (squares - total * total / count) / (count - 1)) ** 0.5
