"""Suggested corrupted prompts: every number is that of plain forward passes, and every prompt keeps its positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import patchwidgets as pw
from patchwidgets.generators.words import CAPITALS, LANGUAGES, NAMES
from patchwidgets.suggest.replacing import alike
from tests import models

IOI = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def embedded() -> Any:
    return pw.load_model()


def after(model: Any, text: str) -> torch.Tensor:
    """The logits of the next token by a plain pass of the bridge."""
    with torch.no_grad():
        return model(model.to_tokens(text))[0, -1].double()


def texts(model: Any, ids: torch.Tensor) -> list[str]:
    return [model.tokenizer.decode([int(i)], clean_up_tokenization_spaces=False) for i in ids]


def check_every_number(model: Any, clean: str, found: Any, tolerance: float) -> None:
    ids, before = model.to_tokens(clean)[0], after(model, clean)
    answer = int(before.argmax())
    assert len(found) > 0
    assert found["moved"].is_monotonic_decreasing
    for row in found.itertuples():
        other, logits = model.to_tokens(row.corrupted)[0], after(model, row.corrupted)
        assert len(other) == len(ids)
        assert torch.nonzero(other != ids).flatten().tolist() == [row.pos]
        assert texts(model, other[[row.pos]]) == [row.replacement]
        assert texts(model, ids[[row.pos]]) == [row.token]
        foil = max((i for i in range(len(logits)) if i != answer), key=lambda i: float(logits[i]))
        assert [row.answer, row.foil] == texts(model, torch.tensor([answer, foil]))
        assert row.answer_clean == pytest.approx(float(before.softmax(-1)[answer]), abs=1e-5)
        assert row.answer_corrupted == pytest.approx(float(logits.softmax(-1)[answer]), abs=1e-5)
        assert row.foil_corrupted == pytest.approx(float(logits.softmax(-1)[foil]), abs=1e-5)
        gap = (before[answer] - before[foil]) - (logits[answer] - logits[foil])
        assert row.moved == pytest.approx(float(gap), abs=tolerance)


@pytest.mark.parametrize(
    "clean",
    [
        IOI,
        "The capital of France is",
        "red dog key sun red",
        "The war lasted from the year 1762 to the year 17",
        "Today the key to the cabinets",
    ],
)
def test_every_number_is_that_of_plain_passes(embedded: Any, clean: str) -> None:
    check_every_number(embedded, clean, pw.suggest_corrupted(embedded, clean), 1e-4)


def test_the_gap_is_the_one_a_sweep_divides_up(embedded: Any) -> None:
    best = pw.suggest_corrupted(embedded, IOI).iloc[0]
    pair = pw.PromptPair(IOI, best["corrupted"], answer=best["answer"], foil=best["foil"])
    result = pw.patch(embedded, pair, "embed").wait()
    assert best["moved"] == pytest.approx(float(result.clean) - float(result.corrupted), abs=1e-4)


def test_words_of_a_list_give_way_to_others_of_it(embedded: Any) -> None:
    found = pw.suggest_corrupted(embedded, IOI)
    names = found[found["kind"] == "name"]
    assert set(names["pos"]) == {2, 4, 10}
    assert set(names["replacement"].str.strip()) <= set(NAMES)
    assert set(found[found["pos"].isin([2, 4, 10])]["kind"]) == {"name"}
    words = ["[BOS]", *IOI.replace(",", " ,").split()]
    assert [words[position] for position in found["pos"]] == found["token"].tolist()
    country = pw.suggest_corrupted(embedded, "The capital of France is", positions=4, each=100)
    assert set(country["replacement"].str.strip()) == (set(CAPITALS) | set(LANGUAGES)) - {"France"}


def test_those_tried_are_the_likeliest_there(embedded: Any) -> None:
    """By the logits of the token before; of a list of its words, of any other word the model's own."""
    with torch.no_grad():
        logits = embedded(embedded.to_tokens(IOI))[0]
    known = {text: i for text, i in embedded.tokenizer.get_vocab().items() if text in NAMES and text != "John"}
    best = sorted(known, key=lambda text: -float(logits[9, known[text]]))[:4]
    found = pw.suggest_corrupted(embedded, IOI, positions=[10], each=4)
    assert set(found["replacement"]) == set(best)


def test_a_function_word_is_left_alone_unless_it_is_asked_for(embedded: Any) -> None:
    found = pw.suggest_corrupted(embedded, IOI)
    assert not set(found["token"].str.strip().str.lower()) & {"when", "and", "to", "the", "a", ","}
    assert set(found["replacement"]).isdisjoint({"the", "and", "to", "a"})
    asked = pw.suggest_corrupted(embedded, IOI, positions=[3], each=2)
    assert set(asked["pos"]) == {3}


def test_another_answer_can_be_watched(embedded: Any) -> None:
    found = pw.suggest_corrupted(embedded, IOI, answer=" John", positions=[4], each=2)
    john = embedded.tokenizer.convert_tokens_to_ids("John")
    assert set(found["answer"]) == {"John"}
    for row in found.itertuples():
        assert row.answer_corrupted == pytest.approx(float(after(embedded, row.corrupted).softmax(-1)[john]), abs=1e-6)


def test_a_beginning_of_sequence_token_is_counted_and_kept() -> None:
    model = models.bridge("gpt2")
    clean = "w1 w2 w3"
    with pytest.raises(pw.PatchError, match="no word of this prompt has another of its kind"):
        pw.suggest_corrupted(model, clean)  # w1 is neither a word nor a number
    with pytest.raises(pw.PatchError, match=r"position 0, .*, cannot be replaced: it begins the sequence"):
        pw.suggest_corrupted(model, clean, positions=0)
    with pytest.raises(pw.PatchError, match="position 2, 'w2', cannot be replaced: it is neither a word nor a number"):
        pw.suggest_corrupted(model, clean, positions=[2])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"clean": ""}, "the clean prompt is empty"),
        ({"clean": [1, 2]}, "a corrupted prompt is suggested for a text"),
        ({"positions": 40}, "position 40 does not exist: there are 15"),
        ({"positions": "Mary"}, "positions must be one or more whole numbers"),
        ({"positions": [9]}, "position 9, ',', cannot be replaced: it is neither a word nor a number"),
        ({"each": 0}, "each must be a whole number, 1 or more"),
        ({"answer": " Mary John"}, "not one"),
        ({"answer": [" Mary", " John"]}, "an answer of one token"),
    ],
)
def test_what_cannot_be_asked(embedded: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(pw.PatchError, match=told):
        pw.suggest_corrupted(embedded, **{"clean": IOI, **options})


def test_an_unknown_word_in_the_prompt_is_left_alone_and_the_others_are_not(embedded: Any) -> None:
    clean = IOI.replace("store", "quux")
    found = pw.suggest_corrupted(embedded, clean)
    assert 8 not in set(found["pos"])
    assert {2, 4, 10} <= set(found["pos"])
    check_every_number(embedded, clean, found[found["pos"] == 10], 1e-4)


@pytest.mark.parametrize(
    ("one", "other", "fits"),
    [
        (" gave", " took", True),
        (" gave", "took", False),
        (" Gave", " took", False),
        (" USA", " Usa", False),
        (" gave", " Gave", False),
        ("62", "86", True),
        ("62", "8", False),
        (" gave", " the", False),
        (" gave", " 62", False),
        (" gave", ",", False),
        (" gave", " s", False),
        ("I", "A", False),
    ],
)
def test_one_kind(one: str, other: str, fits: bool) -> None:
    assert alike(one, other) is fits


@pytest.mark.smollm2
def test_on_a_model_of_byte_pairs(smollm2_folder: Path) -> None:
    model = pw.load_model(smollm2_folder)
    found = pw.suggest_corrupted(model, IOI, each=3)
    check_every_number(model, IOI, found, 1e-3)
    names = found[found["kind"] == "name"]
    assert names["replacement"].str.startswith(" ").all()
    assert set(names["replacement"].str.strip()) <= set(NAMES)
    assert {"Mary"} == set(names[names["pos"] == names["pos"].min()]["token"].str.strip())
