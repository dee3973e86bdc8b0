"""Train the embedded model: ``python -m patchwidgets.embedded.train --out DIR [--steps N] [--seed S]``.

One thread and one seed decide every byte of the tokenizer, the config and the weights (on one machine and one torch).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from .corpus import BOS, PAD, UNK, UNKNOWN, stream, vocabulary
from .corpus.text import Doc
from .tokenizer import CONTEXT, save_tokenizer

STEPS = 2600
SEED = 0
BATCH, GROUPS = 96, 4
MUON_RATE, ADAM_RATE = 0.02, 0.004
WARM_UP = 100
# Tokens that the text before them does not determine still teach what kind of word comes next.
OTHER_TOKENS = 0.1


def build_model(seed: int) -> GPT2LMHeadModel:
    """A fresh GPT-2: 4 layers of 4 heads, width 128, a narrow MLP that leaves the work to the heads."""
    tokens = vocabulary()
    config = GPT2Config(
        vocab_size=len(tokens),
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=4,
        n_head=4,
        n_inner=160,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokens.index(BOS),
        eos_token_id=tokens.index(BOS),
        pad_token_id=tokens.index(PAD),
    )
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(config)
    model.set_attn_implementation("eager")
    return model


def encode(docs: list[Doc]) -> tuple[Tensor, Tensor]:
    """Token ids ``[doc, pos]`` with the BOS first, right-padded, and the loss weight of predicting each ``[doc, pos]``.

    A padding token and `[UNK]` are never predicted: weight 0.
    """
    ids = {token: i for i, token in enumerate(vocabulary())}
    length = 1 + max(len(doc.tokens) for doc in docs)
    tokens = torch.full((len(docs), length), ids[PAD])
    weights = torch.zeros(len(docs), length)
    for row, doc in enumerate(docs):
        known = torch.tensor([ids[BOS], *(ids[token] for token in doc.tokens)])
        tokens[row, : len(known)] = known
        weights[row, 1 : len(known)] = 0.0 if doc.random else OTHER_TOKENS
        weights[row, [1 + i for i in doc.answers]] = 1.0
    weights[tokens == ids[UNK]] = 0.0
    return tokens, weights


def batches(seed: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Endless batches of the training stream, each in groups of similar length whose weights add up to one."""
    docs = stream(seed)
    while True:
        batch = sorted(itertools.islice(docs, BATCH), key=lambda doc: len(doc.tokens))
        size = BATCH // GROUPS
        groups = [encode(batch[i : i + size]) for i in range(0, BATCH, size)]
        total = sum(weights.sum() for _, weights in groups)
        yield [(tokens, weights / total) for tokens, weights in groups]


def loss_of(model: GPT2LMHeadModel, tokens: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the cross-entropies of the next token, in nats."""
    logits = model(tokens, attention_mask=torch.ones_like(tokens)).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return (each * weights[:, 1:].flatten()).sum()


def train(steps: int, seed: int) -> tuple[GPT2LMHeadModel, list[float]]:
    """Train from scratch; returns the model and the loss of every step."""
    model = build_model(seed).train()
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".h." in name)]
    optimizers = (
        torch.optim.Muon(inner, lr=MUON_RATE, weight_decay=0.1),
        torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.01),
    )

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / WARM_UP)
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    losses: list[float] = []
    for batch in itertools.islice(batches(seed), steps):
        losses.append(0.0)
        for tokens, weights in batch:
            loss = loss_of(model, tokens, weights)
            loss.backward()
            losses[-1] += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        model.zero_grad(set_to_none=True)
        if len(losses) % 100 == 0:
            print(f"step {len(losses)} of {steps}, loss {sum(losses[-100:]) / 100:.4f}", flush=True)
    return model.eval(), losses


def save(model: GPT2LMHeadModel, folder: Path) -> None:
    """Write tokenizer, config and half-precision weights; they load as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    # transformers loads in the dtype that the config names, not the one on disk.
    config["dtype"] = "float32"
    config.pop("transformers_version", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Train, save, and write what the training was to card.json."""
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    if not hasattr(torch.optim, "Muon"):
        parser.exit(1, f"training needs torch 2.9 or newer, which has torch.optim.Muon; this is {torch.__version__}.\n")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.disable_progress_bar()
    began = time.process_time()
    model, losses = train(options.steps, options.seed)
    seconds = time.process_time() - began
    save(model, options.out)
    record = {
        "seed": options.seed,
        "steps": options.steps,
        "batch": BATCH,
        "minutes": round(seconds / 60, 1),
        "other": OTHER_TOKENS,
        "unknown": UNKNOWN,
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "last_loss": round(sum(losses[-100:]) / len(losses[-100:]), 4),
    }
    (options.out / "card.json").write_text(json.dumps({"training": record}, indent=2) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
