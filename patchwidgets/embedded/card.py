"""The model card: card.json as measured, and CARD.md written from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .corpus import vocabulary
from .measure import top_heads

LABELS = {
    "ioi_one_pair": "IOI, new pairs of names",
    "ioi_new_openings": "IOI, new pairs and new openings",
    "ioi_two_pairs": "IOI, two pairs of people",
    "ioi_bystander": "IOI, a pair and a bystander",
    "induction": "induction on random words",
    "surname_recall": "surname recall",
    "facts_landmarks": "facts: landmarks",
    "facts_people": "facts: people and countries",
    "facts_capitals": "facts: capitals and languages",
    "greater_than": "greater-than (any later year)",
    "agreement": "subject-verb agreement",
    "pronoun": "pronoun",
    "docstring": "docstring argument order",
}
ROLES = {
    "previous_token": "to the previous token (random words)",
    "duplicate_token": "to the earlier copy of the same token (random words)",
    "induction": "to the token after that copy (random words)",
    "SECOND to FIRST": "SECOND to FIRST",
    "S2 to S1": "S2 to S1",
    "S2 to IO": "S2 to IO",
    "END to S2": "END to S2",
    "END to S1": "END to S1",
    "END to IO": "END to IO",
    "END to SECOND": "END to SECOND",
}
ABOUT = """# The embedded model

A GPT-2 with 4 layers, 4 heads of width 32, residual width 128, MLP width 160, context 64 and {vocab} word-level
tokens: {parameters:,} parameters, tied embedding, {kilobytes} kB of half-precision weights that load as float32. It was
trained from nothing on generated text, so that activation patching has something to find without a download. Nothing
in it is wired by hand.

Text is split into words, pairs of digits, single digits and single marks. " Mary" and "Mary" are one token; `[UNK]`
stands for a word it does not know. Every training text began with `[BOS]`: keep it.
"""
TRAINING = """## Training

`python -m patchwidgets.embedded.train --out DIR` trains it again: {steps:,} steps of {batch} documents (seed {seed}),
Muon for the matrices and AdamW for the rest, {minutes} minutes of one processor thread (torch {torch}). The same
machine and the same torch give the same bytes. Another seed may solve the tasks with other heads: nothing measured here
is promised of a retrained model.

The corpus is generated (`patchwidgets/embedded/corpus/`) and mixes the tasks below. An answer weighs 1 in the loss,
any other word {other}; {unknown:.0%} of the texts have words hidden behind `[UNK]`. The statements about people and
places are typed in by hand; the leaders are of various years.

## Held out

Accuracy of the first-ranked token on the {split} split, {documents:,} generated documents per task.
{never}

{rows}

A held-out pair of names is never the pair of an IOI or pronoun text in training. Held-out facts were trained in other
sentences. For induction, docstrings and surnames, the neighbouring words are never repeated neighbours in training. The
new openings are sentences no training text begins with. Splits are by hash (`corpus/text.py`).
"""
DEMO = """## The default demo

Clean: "{clean}" (answer " Mary").
Corrupted: "Anna" in place of "Mary" (foil " Anna"). Logit difference {clean_value:+.2f} clean, {corrupted_value:+.2f}
corrupted. Normalized effect of denoising one residual row (`resid_pre`), by layer and token:

{residual}

Normalized effect of one head's `z` at all positions, denoising / noising:

{heads}

The strongest by denoising: {strongest}.
"""
ROLES_INTRO = """## The heads' roles as measured

Mean attention; the strongest heads as layer.head (score). In one-pair IOI prompts of the development split, IO is the
name that is the answer, S1 and S2 the first and last mention of the other name, FIRST and SECOND whichever of IO and S1
comes first and second, END the last token. The last row is the share of names that a head, reading the name alone,
raises above all other names.

"""
LIMITS = """## What it cannot do

- It knows {vocab} words. Anything else is `[UNK]`, which it has learned to read past and never says.
- It knows the tasks above in sentences like those of the corpus. Free text, other facts, arithmetic, negation and
  dialogue are beyond it; outside the tasks its predictions mean nothing.
- Its facts are memorised as the corpus states them, without dates.
- "Later year" means later within the century of the prompt; years soon after are preferred. Its mistakes are years that
  begin and end together, mostly 68, 78, 79 and 83 (seen on the development split).
- Prompts longer than 64 tokens, `[BOS]` included, do not fit.
- Its heads are this training's. They illustrate the method; they are no evidence about large language models.
"""


def _table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _demo(card: dict[str, Any], clean: str) -> str:
    demo = card["heads"]["demo"]
    tokens = ["layer", "[BOS]", *clean.replace(",", " ,").split()]
    residual = [[layer, *(f"{v:.2f}" for v in row)] for layer, row in enumerate(demo["denoise"]["resid_pre"])]
    denoise, noise = demo["denoise"]["z"], demo["noise"]["z"]
    heads = [
        [layer, *(f"{a:.2f} / {b:.2f}" for a, b in zip(denoise[layer], noise[layer], strict=True))]
        for layer in range(len(denoise))
    ]
    return DEMO.format(
        clean=clean,
        clean_value=demo["clean"],
        corrupted_value=demo["corrupted"],
        residual=_table(tokens, residual),
        strongest=", ".join(top_heads(denoise, 0.1, 5)),
        heads=_table(["layer", *(f"head {h}" for h in range(len(denoise[0])))], heads),
    )


def _roles(card: dict[str, Any]) -> str:
    scores, copies = card["heads"]["attention"], card["heads"]["copies_names"]
    rows = [[words, ", ".join(top_heads(scores[name], 0.2)) or "none above 0.2"] for name, words in ROLES.items()]
    rows.append(["names copied", ", ".join(top_heads(copies, 0.5, 6)) or "none above 0.5"])
    return ROLES_INTRO + _table(["attention", "heads"], rows) + "\n"


def render(card: dict[str, Any], clean: str, kilobytes: int) -> str:
    """CARD.md as text."""
    training, held_out = card["training"], card["held_out"]
    vocab = len(vocabulary())
    rows = [[LABELS[task], f"{row['accuracy']:.4f}", row["answers"]] for task, row in held_out["tasks"].items()]
    parts = [
        ABOUT.format(vocab=vocab, kilobytes=kilobytes, **training),
        TRAINING.format(
            split=held_out["split"],
            documents=held_out["documents"],
            rows=_table(["task", "accuracy", "answers"], rows),
            never="It was measured once, after the last change." if held_out["split"] == "test" else "",
            **training,
        ),
        _demo(card, clean),
        _roles(card),
        LIMITS.format(vocab=vocab),
    ]
    return "\n".join(parts)


def write_card(card: dict[str, Any], folder: Path, clean: str) -> None:
    """Write card.json and CARD.md into the model's folder."""
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    kilobytes = round((folder / "model.safetensors").stat().st_size / 1000)
    (folder / "CARD.md").write_text(render(card, clean, kilobytes))
