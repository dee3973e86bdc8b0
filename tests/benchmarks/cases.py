"""The models and the sweeps that are timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import patchwidgets as pw
from tests.models import bridged
from tests.smollm2 import folder

MODELS = ("gpt2", "smollm2")


@dataclass(frozen=True)
class Case:
    """One sweep: `ids` of the clean and the corrupted prompt differ from position `at` on in that one token."""

    site: str
    by: tuple[str, ...]
    clean: list[int]
    corrupted: list[int]
    at: int
    neurons: int | None = None

    @property
    def name(self) -> str:
        """The sweep in a few words."""
        few = f", {self.neurons} a layer" if self.neurons else ""
        return f"{self.site} by {' and '.join(self.by[1:])}{few}"

    @property
    def tokens(self) -> int:
        """How many tokens the prompts have."""
        return len(self.clean)

    @property
    def pair(self) -> pw.PromptPair:
        """The prompts, with two tokens as answer and foil."""
        return pw.PromptPair(self.clean, self.corrupted, answer=11, foil=12)

    def patch(self, model: Any, **options: Any) -> Any:
        """Start our sweep."""
        if self.neurons:
            options["neurons"] = list(range(self.neurons))
        return pw.patch(model, self.pair, self.site, by=self.by, prepend_bos=False, **options)


SWEEPS = [
    ("resid_pre", ("layer", "pos"), None),
    ("attn_out", ("layer", "pos"), None),
    ("mlp_out", ("layer", "pos"), None),
    ("z", ("layer", "head"), None),
    ("q", ("layer", "head"), None),
    ("k", ("layer", "head"), None),
    ("v", ("layer", "head"), None),
    ("pattern", ("layer", "head"), None),
    ("z", ("layer", "pos", "head"), None),
    ("mlp_post", ("layer", "neuron"), 50),
]


def load(name: str, layers: int | None = None) -> Any:
    """Return a model: the shape of GPT-2 small with seeded random weights, or SmolLM2-135M."""
    if name == "smollm2":
        return pw.load_model(str(folder()))
    return bridged(gpt2(layers))


def gpt2(layers: int | None = None) -> GPT2LMHeadModel:
    """Return Hugging Face's model of GPT-2 small's shape, or with another number of layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config() if layers is None else GPT2Config(n_layer=layers))
    model.set_attn_implementation("eager")
    model.config.architectures = ["GPT2LMHeadModel"]
    return model.eval().requires_grad_(False)


def prompts(length: int, at: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """Return two prompts of random tokens that differ at one position."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(1000, 40000, (length,), generator=generator).tolist()
    corrupted = list(clean)
    corrupted[at] += 1
    return clean, corrupted


def cases(lengths: list[int], wanted: list[str]) -> Iterator[Case]:
    """Yield the sweeps: first difference at a third, and at position 1, where a patch changes nearly all."""
    for length in lengths:
        for at in (length // 3, 1):
            for site, by, neurons in SWEEPS:
                case = Case(site, by, *prompts(length, at), at, neurons)
                if not wanted or case.name in wanted or site in wanted:
                    yield case
