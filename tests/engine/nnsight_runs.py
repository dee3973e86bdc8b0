"""The tables of tests/engine/test_nnsight.py as nnsight measures them, printed as JSON.

A program of its own: importing nnsight patches torch and gives every object of the process a `save`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tests import models

CLEAN, CORRUPTED = [1, 3, 4, 5, 6, 7, 8], [1, 3, 4, 11, 6, 10, 8]
ANSWER, FOIL = 22, 23
FAMILIES = ("gpt2", "llama")
KINDS = {"float64": torch.float64, "float32": torch.float32}
POSITIONS, EVERYWHERE = range(len(CLEAN)), slice(None)
_D_HEAD = 8

Where = int | slice


@dataclass(frozen=True)
class Traced:
    """A Hugging Face model inside nnsight, never bridged: its layers, and what joins the heads of each."""

    model: Any
    layers: Any
    projections: list[Any]
    save: Callable[[Any], Any]

    def logits(self, ids: list[int]) -> Tensor:
        """Return the last logits of a plain run, [vocab]."""
        with torch.no_grad(), self.model.trace(torch.tensor([ids]), use_cache=False):
            found = self.save(self.model.lm_head.output)
        return found[0, -1]

    def layer_outputs(self, ids: list[int]) -> list[Tensor]:
        """Return what leaves each layer, [1, pos, d_model]."""
        with torch.no_grad(), self.model.trace(torch.tensor([ids]), use_cache=False):
            # In transformers 5 a layer returns the tensor itself: output[0] would be the batch's first row.
            found = self.save([layer.output for layer in self.layers])
        return found

    def head_outputs(self, ids: list[int]) -> list[Tensor]:
        """Return what enters each layer's output projection, the heads side by side, [1, pos, heads * d_head]."""
        with torch.no_grad(), self.model.trace(torch.tensor([ids]), use_cache=False):
            found = self.save([projection.input for projection in self.projections])
        return found

    def with_layer(self, ids: list[int], layer: int, source: Tensor, where: Where) -> float:
        """Return the logit difference with positions `where` of a layer's output taken from `source`."""
        with torch.no_grad(), self.model.trace(torch.tensor([ids]), use_cache=False):
            self.layers[layer].output[:, where] = source[:, where]
            found = self.save(self.model.lm_head.output)
        return difference(found[0, -1])

    def with_head(self, ids: list[int], layer: int, source: Tensor, where: Where, head: int) -> float:
        """Return the logit difference with one head's z at positions `where` taken from `source`."""
        own = slice(head * _D_HEAD, (head + 1) * _D_HEAD)
        with torch.no_grad(), self.model.trace(torch.tensor([ids]), use_cache=False):
            self.projections[layer].input[:, where, own] = source[:, where, own]
            found = self.save(self.model.lm_head.output)
        return difference(found[0, -1])


def difference(logits: Tensor) -> float:
    """Return the logit difference of the last logits."""
    return float(logits[ANSWER] - logits[FOIL])


def traced(family: str, kind: torch.dtype) -> Traced:
    """Return a family's tiny model inside nnsight."""
    from nnsight import NNsight, save

    model: Any = NNsight(models.hugging_face(family, kind))
    if family == "gpt2":
        layers = model.transformer.h
        return Traced(model, layers, [layer.attn.c_proj for layer in layers], save)
    layers = model.model.layers
    return Traced(model, layers, [layer.self_attn.o_proj for layer in layers], save)


def tables(model: Traced, base: list[int], source: list[int]) -> dict[str, Any]:
    """Return every table: three runs per cell, the source's activation put into the base's run."""
    whole, heads = model.layer_outputs(source), model.head_outputs(source)
    layers, each = range(models.LAYERS), range(models.HEADS)

    def layer_at(layer: int, where: Where) -> float:
        return model.with_layer(base, layer, whole[layer], where)

    def heads_at(layer: int, where: Where) -> list[float]:
        return [model.with_head(base, layer, heads[layer], where, head) for head in each]

    return {
        "resid_post by layer": [layer_at(layer, EVERYWHERE) for layer in layers],
        "resid_post by layer pos": [[layer_at(layer, p) for p in POSITIONS] for layer in layers],
        "z by layer head": [heads_at(layer, EVERYWHERE) for layer in layers],
        "z by layer pos head": [[heads_at(layer, p) for p in POSITIONS] for layer in layers],
    }


def main() -> None:
    found: dict[str, Any] = {}
    for family in FAMILIES:
        for name, kind in KINDS.items():
            model = traced(family, kind)
            found[f"{family} {name}"] = {
                "clean": difference(model.logits(CLEAN)),
                "corrupted": difference(model.logits(CORRUPTED)),
                "denoise": tables(model, CORRUPTED, CLEAN),
                "noise": tables(model, CLEAN, CORRUPTED),
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
