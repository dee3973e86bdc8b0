"""Plain PyTorch hooks on Hugging Face models, which know nothing of TransformerLens; and each family twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import patchwidgets as pw
from patchwidgets.metrics import tolerance
from patchwidgets.sites import SITES
from tests import models
from tests.families import ADDRESSES, FAMILIES, Address

CLEAN, CORRUPTED = [3, 7, 11, 20, 33, 41, 52, 9], [3, 7, 12, 20, 33, 42, 52, 9]
ANSWER, FOIL = 17, 45
PAIR = pw.PromptPair(CLEAN, CORRUPTED, answer=ANSWER, foil=FOIL)

ATTENTION = ("pattern", "attn_scores")
"""Sites that no module of Hugging Face's puts in or out: plain PyTorch writes z in their place."""
READ_ONLY = ("gptj", "opt")
"""Families whose pattern TransformerLens shows and does not compute with."""
ROUNDS = ("gptj",)
"""Families that compute their attention in float32 whatever their weights are: a part of a prompt rounds otherwise."""


@dataclass(frozen=True)
class Family:
    """One family twice: bridged, and as Hugging Face made it."""

    name: str
    dtype: str
    bridged: Any
    bare: PreTrainedModel

    def allowed(self, gap: float) -> float:
        """Return how far two computations may be apart."""
        # Hugging Face's NeoX rounds its attention to float32 in a float64 model too, and TransformerLens's does not; of
        # GPT-J both do, and how it comes out depends on the batch and on the processor.
        return tolerance("float32" if self.name in ("neox", *ROUNDS) else self.dtype, gap)

    def engine(self, asked: str) -> str:
        """Return the engine that measures a sweep with nothing standing, where another may be asked for."""
        return "hooked" if self.name in ROUNDS and self.dtype == "float64" else asked


@cache
def family_of(name: str, dtype: torch.dtype = torch.float64) -> Family:
    """Return a family, the same one for every caller."""
    bare, other = FAMILIES[name](dtype), FAMILIES[name](dtype)
    other.load_state_dict(bare.state_dict())
    with pytest.warns(UserWarning, match="in place"):
        bridged = pw.load_model(other, tokenizer=models.tokenizer())
    return Family(name, str(dtype).removeprefix("torch."), bridged, bare)


def lacks(name: str) -> set[str]:
    """Return the sites of the vocabulary that a family's architecture, or its bridge, does not have."""
    without = set(ATTENTION) if name in READ_ONLY else set()
    addressed = {site for table in ADDRESSES.values() for site in table} & SITES.keys()
    return without | (addressed - ADDRESSES[name].keys())


def difference(model: PreTrainedModel, ids: list[int]) -> float:
    """Return the logit difference of a run."""
    with torch.no_grad():
        last = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    return float(last[ANSWER] - last[FOIL])


def patterns(model: PreTrainedModel, ids: list[int], layer: int) -> Tensor:
    """Return the attention of a layer as Hugging Face tells it, [head, dest, src]."""
    with torch.no_grad():
        found = model(input_ids=torch.tensor([ids]), use_cache=False, output_attentions=True).attentions
    return found[layer][0]


class Hook:
    """Plain PyTorch at one address of one layer: `read` one run, then `write` parts of it into others."""

    def __init__(self, model: PreTrainedModel, address: Address, layer: int) -> None:
        self.model, self.address = model, address
        self.module = address.module(model, layer)

    def read(self, ids: list[int]) -> Tensor:
        """Return the activation of a run, [*axes, ...]."""
        found: list[Tensor] = []
        self.run(ids, lambda view: found.append(view.clone()))
        return found[0]

    def write(self, ids: list[int], cell: dict[str, int], source: Tensor) -> float:
        """Return the logit difference of a run in which one cell of the activation is `source`'s."""
        where = tuple(cell.get(axis, slice(None)) for axis in self.address.axes)
        return self.change(ids, cell, lambda now: source[where])

    def change(self, ids: list[int], cell: dict[str, int], change: Callable[[Tensor], Tensor]) -> float:
        """Return the logit difference of a run in which one cell of the activation is changed."""
        where = tuple(cell.get(axis, slice(None)) for axis in self.address.axes)

        def put(view: Tensor) -> None:
            view[where] = change(view[where].clone())

        return self.run(ids, put)

    def run(self, ids: list[int], edit: Callable[[Tensor], object]) -> float:
        """Return the logit difference of a run in which `edit` was given the view of the activation, once."""
        calls = []

        def changed(tensor: Tensor) -> Tensor:
            """Give `edit` a copy: the tensor may have other readers, which the activation is not."""
            found = tensor if self.address.in_place else tensor.clone()
            calls.append(edit(self.address.view(found)))
            return found

        def before(module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            if args:
                return (changed(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": changed(kwargs["hidden_states"])}

        def after(module: object, args: object, output: Any) -> Any:
            return (changed(output[0]), *output[1:]) if isinstance(output, tuple) else changed(output)

        if self.address.side == "in":
            handle = self.module.register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = self.module.register_forward_hook(after)
        try:
            value = difference(self.model, ids)
        finally:
            handle.remove()
        assert len(calls) == 1
        return value
