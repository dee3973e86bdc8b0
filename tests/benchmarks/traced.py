"""The same tables with nnsight, the way its tutorials go: one trace of the plain Hugging Face model per cell."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.smollm2 import folder

from .cases import Case, gpt2
from .clock import timed
from .peers import ANSWER, FOIL, Cells, Taken

_GPT2 = {
    "resid_pre": ("", "input"), "attn_out": ("attn", "output"), "mlp_out": ("mlp", "output"),
    "z": ("attn.c_proj", "input"), "q": ("attn.c_attn", "output"), "k": ("attn.c_attn", "output"),
    "v": ("attn.c_attn", "output"), "mlp_post": ("mlp.c_proj", "input"),
}  # fmt: skip
_LLAMA = {
    "resid_pre": ("", "input"), "attn_out": ("self_attn", "output"), "mlp_out": ("mlp", "output"),
    "z": ("self_attn.o_proj", "input"), "q": ("self_attn.q_proj", "output"), "k": ("self_attn.k_proj", "output"),
    "v": ("self_attn.v_proj", "output"), "mlp_post": ("mlp.down_proj", "input"),
}  # fmt: skip
_ADDRESSES = {"gpt2": _GPT2, "smollm2": _LLAMA}


@cache
def _model(name: str) -> Any:
    # Imported here: it gives every object of the process a `save`.
    from nnsight import NNsight

    if name == "gpt2":
        return NNsight(gpt2())
    bare = AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32, attn_implementation="eager")
    return NNsight(bare.eval().requires_grad_(False))


def nnsight(name: str, case: Case, cells: Cells, chosen: Cells) -> Taken | None:
    """Measure the chosen cells, one trace each; None for a pattern, which no module of Hugging Face's takes in."""
    if case.site not in _ADDRESSES[name]:
        return None
    model, (path, side) = _model(name), _ADDRESSES[name][case.site]
    layers = model.transformer.h if name == "gpt2" else model.model.layers
    config = layers[0]._module.attn if name == "gpt2" else layers[0]._module.self_attn
    width = config.head_dim
    offset = "qkv".index(case.site) * config.split_size if name == "gpt2" and case.site in "qkv" else 0
    tuples = case.site == "attn_out"

    def place(layer: int) -> Any:
        found = layers[layer]
        for part in filter(None, path.split(".")):
            found = getattr(found, part)
        return found

    def source() -> list[Tensor]:
        from nnsight import save

        with torch.no_grad(), model.trace(torch.tensor([case.clean]), use_cache=False):
            kept = save([getattr(place(layer), side) for layer in range(len(layers))])
        return [each[0] if isinstance(each, tuple) else each for each in kept]

    def measure(given: list[Tensor]) -> dict[tuple[int, ...], float]:
        from nnsight import save

        found: dict[tuple[int, ...], float] = {}
        for cell in chosen:
            at = dict(zip(case.by, cell, strict=True))
            head, neuron = at.get("head"), at.get("neuron")
            columns = slice(None) if head is None else slice(offset + head * width, offset + (head + 1) * width)
            columns = columns if neuron is None else neuron
            where = (slice(None), at.get("pos", slice(None)), columns)
            value = given[at["layer"]][where]
            with torch.no_grad(), model.trace(torch.tensor([case.corrupted]), use_cache=False):
                activation = getattr(place(at["layer"]), side)
                if tuples:
                    activation[0][where] = value
                else:
                    activation[where] = value
                logits = save(model.lm_head.output)
            found[cell] = float(logits[0, -1, ANSWER] - logits[0, -1, FOIL])
        return found

    once, given = timed(source)
    seconds, found = timed(lambda: measure(given))
    return once + seconds * len(cells) / len(chosen), found
