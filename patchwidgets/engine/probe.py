"""What a model really has: one run that writes into a site and looks whether the logits move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import PatchError
from ..sites import Site
from .gate import Edit, hooked, open_scores, undisturbed

if TYPE_CHECKING:
    from .handle import ModelHandle

_LENGTH = 8


def probe(handle: ModelHandle, site: Site) -> tuple[int, ...]:
    """Return the shape of the site's activation on a few tokens; a PatchError when patching there would do nothing.

    One row of the batch per layer is disturbed in that layer. A hook that does not fire, or whose activation the model
    does not use (some attention shows its pattern and computes with another), would give a table of silent zeros.
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
    tokens = tokens.expand(len(layers) + 1, -1)
    shapes: dict[int, tuple[int, ...]] = {}

    def disturb(row: int) -> Edit:
        def edit(activation: Tensor) -> Tensor:
            now = activation[row]
            shapes[row] = tuple(now.shape)
            noise = torch.randn(now.shape, generator=torch.Generator().manual_seed(row)).to(now)
            finite = now[now > torch.finfo(now.dtype).min / 2]
            # Wide enough to turn attention that is all on one token.
            changed = now + (1 + 10 * float(finite.std(correction=0))) * noise
            activation[row] = torch.where(open_scores(now), changed, now) if "dest" in site.axes else changed
            return activation

        return edit

    def measure() -> Tensor:
        with hooked(handle.hooks, {site.hook_name(layer): disturb(row) for row, layer in enumerate(layers)}):
            return handle.forward(tokens).double()

    logits = undisturbed(handle.lock, measure)
    if torch.equal(logits[:-1], logits[-1:].expand_as(logits[:-1])):
        raise PatchError(
            f"the model {handle.name!r} shows {site.name!r} but does not compute with it: what is written there does "
            "not reach the logits. Choose another site, such as z."
        )
    if len(set(shapes.values())) > 1:
        raise PatchError(
            f"the model {handle.name!r} has {site.name!r} of other shapes in other layers; choose another."
        )
    return shapes[0]
