"""What the heads of the embedded model do, measured with plain forward hooks on the Hugging Face module.

No patching library is used, so that these numbers can judge the package's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from .corpus import BOS, SPECIALS, held_out, vocabulary
from .corpus.text import parse
from .corpus.words import NAMES


@dataclass(frozen=True)
class Ids:
    """Token ids of two prompts of one length, the BOS first, and of the two answers."""

    clean: Tensor
    corrupted: Tensor
    answer: int
    foil: int


def ids_of(text: str) -> list[int]:
    """The ids of a text with the BOS first; every word must be known."""
    known = {token: i for i, token in enumerate(vocabulary())}
    return [known[token] for token in (BOS, *parse(text).tokens)]


def pair_ids(clean: str, corrupted: str, answer: str, foil: str) -> Ids:
    """The ids of a prompt pair; answers may carry a leading space."""
    one, two = torch.tensor([ids_of(clean)]), torch.tensor([ids_of(corrupted)])
    return Ids(one, two, ids_of(answer)[-1], ids_of(foil)[-1])


def blocks_of(model: GPT2LMHeadModel) -> list[GPT2Block]:
    """The model's blocks in order."""
    return [block for block in model.transformer.h if isinstance(block, GPT2Block)]


def logit_difference(model: GPT2LMHeadModel, tokens: Tensor, ids: Ids) -> float:
    """Logit of the answer minus logit of the foil after the last token."""
    logits = model(tokens).logits[0, -1]
    return float(logits[ids.answer] - logits[ids.foil])


def _runs(ids: Ids, direction: str) -> tuple[Tensor, Tensor]:
    return (ids.corrupted, ids.clean) if direction == "denoise" else (ids.clean, ids.corrupted)


@torch.no_grad()
def residual_map(model: GPT2LMHeadModel, ids: Ids, direction: str = "denoise") -> list[list[float]]:
    """Normalized effect of replacing one residual row entering a block, ``[layer][pos]``."""
    base, source = _runs(ids, direction)
    rows, blocks = model(source, output_hidden_states=True).hidden_states, blocks_of(model)

    def cell(layer: int, pos: int) -> float:
        def replace(_module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            changed = args[0].clone()
            changed[:, pos] = rows[layer][:, pos]
            return (changed, *args[1:])

        with blocks[layer].register_forward_pre_hook(replace):
            return logit_difference(model, base, ids)

    start, goal = logit_difference(model, base, ids), logit_difference(model, source, ids)
    layers, length = model.config.n_layer, base.shape[1]
    return [[(cell(layer, pos) - start) / (goal - start) for pos in range(length)] for layer in range(layers)]


@torch.no_grad()
def head_map(model: GPT2LMHeadModel, ids: Ids, direction: str = "denoise") -> list[list[float]]:
    """Normalized effect of replacing one head's output (z) at all positions, ``[layer][head]``."""
    base, source = _runs(ids, direction)
    width = model.config.n_embd // model.config.n_head
    kept: dict[int, Tensor] = {}
    blocks = blocks_of(model)

    def record(layer: int) -> Callable[..., None]:
        return lambda _module, args: kept.__setitem__(layer, args[0].clone())

    handles = [b.attn.c_proj.register_forward_pre_hook(record(i)) for i, b in enumerate(blocks)]
    goal = logit_difference(model, source, ids)
    for handle in handles:
        handle.remove()

    def cell(layer: int, head: int) -> float:
        def replace(_module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            changed, part = args[0].clone(), slice(head * width, (head + 1) * width)
            changed[..., part] = kept[layer][..., part]
            return (changed,)

        with blocks[layer].attn.c_proj.register_forward_pre_hook(replace):
            return logit_difference(model, base, ids)

    start = logit_difference(model, base, ids)
    return [
        [(cell(layer, head) - start) / (goal - start) for head in range(model.config.n_head)]
        for layer in range(model.config.n_layer)
    ]


@torch.no_grad()
def _attention(model: GPT2LMHeadModel, tokens: Tensor) -> Tensor:
    """Attention patterns ``[layer, doc, head, dest, src]``."""
    return torch.stack(model(tokens, output_attentions=True).attentions)


def _rows(scores: Tensor) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in scores]


def repeat_scores(model: GPT2LMHeadModel, length: int = 12, count: int = 100) -> dict[str, list[list[float]]]:
    """Mean attention ``[layer][head]`` on random words said twice: to the previous token, to the earlier copy of the
    same token (duplicate), and to the token after that copy (induction); destinations are in the second copy.
    """
    rng = random.Random(1)
    words = range(len(SPECIALS), len(vocabulary()))
    chains = [rng.sample(words, length) for _ in range(count)]
    bos = vocabulary().index(BOS)
    pattern = _attention(model, torch.tensor([[bos, *chain, *chain] for chain in chains])).mean(1)
    dest = torch.arange(length + 2, 2 * length + 1)
    return {
        name: _rows(pattern[:, :, dest, dest - back].mean(-1))
        for name, back in (("previous_token", 1), ("duplicate_token", length), ("induction", length - 1))
    }


def name_spots(tokens: Sequence[str], answer: str) -> dict[str, int]:
    """Where the roles of a one-pair IOI prompt stand, the BOS counted.

    IO is the name that is the answer, S1 and S2 the first and last mention of the other name, FIRST and SECOND are IO
    and S1 in the order they come, END is the last token.
    """
    subject = next(token for token in reversed(tokens) if token in NAMES)
    io, first = tokens.index(answer) + 1, tokens.index(subject) + 1
    last = len(tokens) - tokens[::-1].index(subject)
    return {"IO": io, "S1": first, "S2": last, "FIRST": min(io, first), "SECOND": max(io, first), "END": len(tokens)}


def name_scores(model: GPT2LMHeadModel, count: int = 300) -> dict[str, list[list[float]]]:
    """Mean attention ``[layer][head]`` between the roles of `name_spots`, on IOI prompts of the development split."""
    looks = ("SECOND to FIRST", "S2 to S1", "S2 to IO", "END to S2", "END to S1", "END to IO", "END to SECOND")
    total = {name: torch.zeros(model.config.n_layer, model.config.n_head) for name in looks}
    for doc in held_out("ioi_one_pair", "dev", count):
        tokens = doc.tokens[: doc.answers[0]]
        spots = name_spots(tokens, doc.tokens[doc.answers[0]])
        pattern = _attention(model, torch.tensor([ids_of(" ".join(tokens))]))[:, 0]
        for name in looks:
            dest, src = name.split(" to ")
            total[name] += pattern[:, :, spots[dest], spots[src]]
    return {name: _rows(scores / count) for name, scores in total.items()}


@torch.no_grad()
def copy_scores(model: GPT2LMHeadModel, opening: str = "When {n}") -> list[list[float]]:
    """Share of names that a head, attending to the name alone, raises above all other names, ``[layer][head]``."""
    tokens = torch.tensor([ids_of(opening.format(n=name)) for name in NAMES])
    hidden = model(tokens, output_hidden_states=True).hidden_states
    unembed = model.lm_head.weight[tokens[:, -1]]
    width, heads = model.config.n_embd // model.config.n_head, model.config.n_head
    scores = torch.zeros(model.config.n_layer, heads)
    for layer, block in enumerate(blocks_of(model)):
        values = block.attn.c_attn(block.ln_1(hidden[layer][:, -1])).chunk(3, -1)[2]
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            written = values[:, part] @ block.attn.c_proj.weight[part]
            logits = model.transformer.ln_f(written) @ unembed.T
            scores[layer, head] = (logits.argmax(-1) == torch.arange(len(NAMES))).float().mean()
    return _rows(scores)


def top_heads(scores: Sequence[Sequence[float]], least: float, most: int = 3) -> list[str]:
    """The strongest heads as 'layer.head (score)', none whose magnitude is under `least`."""
    flat = [(value, f"{layer}.{head}") for layer, row in enumerate(scores) for head, value in enumerate(row)]
    flat = sorted((entry for entry in flat if abs(entry[0]) >= least), key=lambda entry: -abs(entry[0]))
    return [f"{name} ({value:.2f})" for value, name in flat[:most]]
