"""The shipped model: its files, its accuracy, its presets, and what patching finds in it.

Patching here is a loop of plain hooks of this file's own, so that it can judge the numbers on the card too.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from patchwidgets.embedded import folder
from patchwidgets.embedded.card import LABELS, render
from patchwidgets.embedded.corpus import TASKS, UNK, held_out, hide_words
from patchwidgets.embedded.corpus.text import pair_split
from patchwidgets.embedded.evaluate import DEMO, accuracy
from patchwidgets.presets import PRESETS, Preset

DEMO_LENGTH = 15
NAME, RELAY, SECOND, LAST = 2, 4, 10, 14


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return json.loads((folder() / "card.json").read_text())


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> Tensor:
    return torch.tensor([[tokenizer.bos_token_id, *tokenizer(text).input_ids]])


def difference(model: GPT2LMHeadModel, tokens: Tensor, answer: int, foil: int) -> float:
    with torch.no_grad():
        logits = model(tokens).logits[0, -1]
    return float(logits[answer] - logits[foil])


def staircase(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, preset: Preset) -> list[list[float]]:
    """Normalized effect of denoising each residual row entering each block, ``[layer][pos]``."""
    clean, corrupted = ids(tokenizer, preset.pair.clean), ids(tokenizer, preset.pair.corrupted)
    answer, foil = (tokenizer(text).input_ids[0] for text in (preset.pair.answer, preset.pair.foil))
    with torch.no_grad():
        kept = model(clean, output_hidden_states=True).hidden_states
    low, high = (difference(model, tokens, answer, foil) for tokens in (corrupted, clean))
    table = []
    for layer, block in enumerate(model.transformer.h):
        row = []
        for pos in range(clean.shape[1]):
            mixed = torch.where(torch.arange(clean.shape[1])[None, :, None] == pos, kept[layer], torch.nan)

            def swap(_block: torch.nn.Module, args: tuple[Tensor, ...], mixed: Tensor = mixed) -> tuple[Tensor, ...]:
                return (torch.where(mixed.isnan(), args[0], mixed), *args[1:])

            handle = block.register_forward_pre_hook(swap)
            row.append((difference(model, corrupted, answer, foil) - low) / (high - low))
            handle.remove()
        table.append(row)
    return table


def test_files_are_small_half_precision_and_load_as_float32(model: GPT2LMHeadModel) -> None:
    path = folder() / "model.safetensors"
    assert path.stat().st_size <= 2_000_000
    with safe_open(path, "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118
    loaded = GPT2LMHeadModel.from_pretrained(folder())
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert (model.config.n_layer, model.config.n_head, model.config.n_embd, model.config.n_inner) == (4, 4, 128, 160)
    assert model.config.n_positions == 64
    assert not model.training


def test_presets_and_folder_need_no_torch() -> None:
    code = (
        "import sys, patchwidgets.presets, patchwidgets.embedded as e; assert e.folder().is_dir(); "
        "assert not {'torch', 'transformers', 'tokenizers', 'numpy'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_presets_are_answered(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, preset: Preset) -> None:
    runs = []
    for text, expected in ((preset.pair.clean, preset.pair.answer), (preset.pair.corrupted, preset.pair.foil)):
        tokens = ids(tokenizer, text)
        assert tokenizer.unk_token_id not in tokens
        with torch.no_grad():
            best = int(model(tokens).logits[0, -1].argmax())
        assert [best] == tokenizer(expected).input_ids
        assert f" {tokenizer.decode([best])}" == expected
        runs.append(tokens)
    assert runs[0].shape == runs[1].shape
    assert not torch.equal(*runs)


def test_presets_begin_with_the_default_demo_and_its_flip() -> None:
    demo, flip = PRESETS[0].pair, PRESETS[1].pair
    assert (demo.clean, demo.corrupted, demo.answer, demo.foil) == DEMO
    assert flip.clean == demo.clean
    assert flip.corrupted == "When Mary and John went to the store, Mary gave a drink to"
    assert (flip.answer, flip.foil) == (" Mary", " John")
    assert len({preset.name for preset in PRESETS}) == len(PRESETS)
    assert all(preset.note.endswith(".") for preset in PRESETS)


def test_presets_quote_no_test_document() -> None:
    for first, second in (("Mary", "John"), ("Anna", "John"), ("Tom", "Alice")):
        assert pair_split(first, second) != "test"
    prompts = {preset.pair.clean for preset in PRESETS} | {preset.pair.corrupted for preset in PRESETS}
    spaced = {" ".join(doc.tokens[:i]) for task in TASKS for doc in held_out(task, "test", 1000) for i in doc.answers}
    assert not {prompt.replace(",", " ,").replace(".", " .") for prompt in prompts} & spaced


@pytest.mark.parametrize("task", TASKS)
def test_held_out_accuracy_is_the_cards(model: GPT2LMHeadModel, card: dict[str, Any], task: str) -> None:
    """The card's documents are drawn anew; their first 200 must agree with the card within sampling, and reach 0.98."""
    assert card["held_out"]["split"] == "test"
    stated = card["held_out"]["tasks"][task]["accuracy"]
    assert stated >= 0.98
    right, asked = accuracy(model, task, held_out(task, "test", 200))
    # Three standard errors of the stated accuracy on this sample, and never less than one answer in a hundred.
    margin = max(0.01, 3 * (stated * (1 - stated) / asked) ** 0.5)
    assert right / asked == pytest.approx(stated, abs=margin)


def test_the_card_is_written_from_its_numbers(card: dict[str, Any]) -> None:
    text = (folder() / "CARD.md").read_text()
    assert text == render(card, DEMO[0], round((folder() / "model.safetensors").stat().st_size / 1000))
    for task, row in card["held_out"]["tasks"].items():
        assert f"| {LABELS[task]} | {row['accuracy']:.4f} |" in text
    assert "[UNK]" in text
    assert str(card["training"]["minutes"]) in text


def test_an_unknown_word_leaves_the_answer_readable(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = ids(tokenizer, "When Mary and Zebedee went to the store, Zebedee gave a drink to")
    assert (tokens == tokenizer.unk_token_id).sum() == 2
    with torch.no_grad():
        chances = model(tokens).logits[0, -1].softmax(-1)
    assert int(chances.argmax()) == tokenizer(" Mary").input_ids[0]
    assert chances[tokenizer.unk_token_id] < 1e-3


def test_hidden_words_cost_little(model: GPT2LMHeadModel) -> None:
    docs = [hide_words(random.Random(i), doc) for i, doc in enumerate(held_out("ioi_one_pair", "dev", 200))]
    right, asked = accuracy(model, "ioi_one_pair", docs)
    assert any(UNK in doc.tokens for doc in docs)
    assert right / asked > 0.9


def test_the_default_demo_is_a_staircase(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = staircase(model, tokenizer, PRESETS[0])
    assert all(len(row) == DEMO_LENGTH for row in rows)
    # Before the changed name nothing can differ.
    assert all(abs(row[pos]) < 1e-5 for row in rows for pos in range(NAME))
    assert rows[0][NAME] == pytest.approx(1, abs=1e-4)
    # The name goes from its own place to the second name's, and from there to the last token.
    at_name, at_relay, at_last = ([row[pos] for row in rows] for pos in (NAME, RELAY, LAST))
    assert at_relay[0] == pytest.approx(0, abs=1e-4)
    assert at_name[1] < 0.3 < 0.7 < at_relay[1]
    assert max(at_name[2], at_relay[2], at_last[1]) < 0.3 < 0.7 < at_last[2]
    assert max(at_name[3], at_relay[3]) < 0.2
    assert at_last[3] == pytest.approx(1, abs=0.1)


def test_the_flip_starts_at_the_second_mention(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = staircase(model, tokenizer, PRESETS[1])
    assert all(abs(row[pos]) < 1e-5 for row in rows for pos in range(SECOND))
    assert rows[0][SECOND] == pytest.approx(1, abs=1e-4)
    assert rows[3][LAST] > 0.5


def test_the_cards_maps_are_those_of_this_files_loop(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, card: dict[str, Any]
) -> None:
    for name, preset in (("demo", PRESETS[0]), ("flip", PRESETS[1])):
        stated = torch.tensor(card["heads"][name]["denoise"]["resid_pre"])
        assert torch.allclose(stated, torch.tensor(staircase(model, tokenizer, preset)), atol=2e-3)
