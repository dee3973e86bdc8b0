"""Measure the embedded model: ``python -m patchwidgets.embedded.evaluate [--model DIR] [--split dev] [--write]``.

Prints accuracies on held-out documents; ``--write`` measures the heads too and writes card.json and CARD.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from . import folder, measure
from .card import write_card
from .corpus import TASKS, held_out, vocabulary
from .corpus.text import Doc, Split
from .train import encode

DEMO = (
    "When Mary and John went to the store, John gave a drink to",
    "When Anna and John went to the store, John gave a drink to",
    " Mary",
    " Anna",
)
FLIP = (DEMO[0], "When Mary and John went to the store, Mary gave a drink to", " Mary", " John")


def load(where: Path) -> GPT2LMHeadModel:
    """The model of a folder in float32, with attention that can be read."""
    return GPT2LMHeadModel.from_pretrained(where, attn_implementation="eager", dtype=torch.float32).eval()


def is_right(task: str, doc: Doc, index: int, predicted: str) -> bool:
    """Whether a prediction answers; years only have to be later within the century."""
    if task != "greater_than":
        return predicted == doc.tokens[index]
    start = [token for token in doc.tokens if token.isdigit()][1]
    return len(predicted) == 2 and predicted.isdigit() and predicted > start


@torch.no_grad()
def accuracy(model: GPT2LMHeadModel, task: str, docs: list[Doc]) -> tuple[int, int]:
    """Right answers and answers asked, over every marked answer of the documents; the top token must be right."""
    right = asked = 0
    for start in range(0, len(docs), 100):
        part = docs[start : start + 100]
        tokens, _ = encode(part)
        best = model(tokens, attention_mask=torch.ones_like(tokens)).logits.argmax(-1)
        for row, doc in enumerate(part):
            for index in doc.answers:
                # Position `index` of the tensor is the token before the answer, because of the BOS.
                right += is_right(task, doc, index, vocabulary()[int(best[row, index])])
                asked += 1
    return right, asked


def held_out_table(model: GPT2LMHeadModel, split: Split, count: int) -> dict[str, dict[str, float]]:
    """Accuracy per task on `count` documents of a split."""
    table = {}
    for task in TASKS:
        right, asked = accuracy(model, task, held_out(task, split, count))
        table[task] = {"accuracy": round(right / asked, 4), "answers": asked}
    return table


def head_roles(model: GPT2LMHeadModel) -> dict[str, Any]:
    """Scores of every head, and the effects on the default demo and its flip, both directions."""
    roles: dict[str, Any] = {"attention": measure.repeat_scores(model) | measure.name_scores(model)}
    roles["copies_names"] = measure.copy_scores(model)
    for name, texts in (("demo", DEMO), ("flip", FLIP)):
        ids = measure.pair_ids(*texts)
        roles[name] = {
            "clean": round(measure.logit_difference(model, ids.clean, ids), 3),
            "corrupted": round(measure.logit_difference(model, ids.corrupted, ids), 3),
        }
        for direction in ("denoise", "noise"):
            for site, effects in (("resid_pre", measure.residual_map), ("z", measure.head_map)):
                rows = [[round(value, 3) for value in row] for row in effects(model, ids, direction)]
                roles[name].setdefault(direction, {})[site] = rows
    return roles


def main(arguments: list[str] | None = None) -> None:
    """Print the table; write the card when asked."""
    parser = argparse.ArgumentParser(description="Measure the embedded model on held-out documents.")
    parser.add_argument("--model", type=Path, default=folder(), help="folder of the model")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--count", type=int, default=3000, help="documents per task")
    parser.add_argument("--write", action="store_true", help="measure the heads and write card.json and CARD.md")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = load(options.model)
    table = held_out_table(model, options.split, options.count)
    for task, row in table.items():
        print(f"{task:18} {row['accuracy']:.4f} of {row['answers']}")
    if options.write:
        path = options.model / "card.json"
        card = json.loads(path.read_text())
        card["held_out"] = {"split": options.split, "documents": options.count, "tasks": table}
        with torch.no_grad():
            card["heads"] = head_roles(model)
        write_card(card, options.model, DEMO[0])


if __name__ == "__main__":
    main()
