"""Runs go through the model in batches of one length, every one once."""

from __future__ import annotations

import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.encoding import encode_pair
from patchwidgets.engine.baseline import Row, batches
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.lanes import Lane
from patchwidgets.prompts import PromptPair

SHORT, LONG = PromptPair("w1", "w2", answer="w5"), PromptPair("w1 w2 w3", "w1 w4 w3", answer="w5")


@pytest.fixture
def rows(gpt2: TransformerBridge) -> list[Row]:
    """Five pairs in both runs: three of two tokens, two of four, the BOS counted."""
    pairs = [encode_pair(pair, handle_of(gpt2).tokenizer) for pair in (SHORT, LONG, SHORT, LONG, SHORT)]
    lanes = [Lane(i, pair, i, 0, "both") for i, pair in enumerate(pairs)]
    return [(lane, run) for lane in lanes for run in ("clean", "corrupted")]


@pytest.mark.parametrize(
    ("tokens", "sizes"),
    [(1000, [6, 4]), (12, [6, 3, 1]), (8, [4, 2, 2, 2]), (4, [2, 2, 2, 1, 1, 1, 1]), (1, [1] * 10)],
)
def test_every_run_is_in_one_batch_of_its_length(rows: list[Row], tokens: int, sizes: list[int]) -> None:
    found = list(batches(rows, tokens))
    assert [len(batch) for batch in found] == sizes
    assert all(len({len(lane.ids(run)) for lane, run in batch}) == 1 for batch in found)
    told = [(lane.number, run) for batch in found for lane, run in batch]
    assert sorted(told) == sorted((lane.number, run) for lane, run in rows)


def test_lanes_that_are_read_at_other_places_go_apart(gpt2: TransformerBridge) -> None:
    tokenizer = handle_of(gpt2).tokenizer
    pairs = [encode_pair(PromptPair("w1 w2 w3", "w1 w4 w3", answer="w5", at=at), tokenizer) for at in (-1, -2, -1)]
    both = list(batches([(Lane(i, pair, i, 0, "both"), "clean") for i, pair in enumerate(pairs)], 1000))
    assert [[lane.number for lane, _ in batch] for batch in both] == [[0, 2], [1]]
