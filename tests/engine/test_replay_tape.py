"""The base runs on tape: what a forward pass leaves is what its blocks were given and gave, a text a row."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.encoding import encode_pair
from patchwidgets.engine.baseline import RUNS, forward
from patchwidgets.engine.handle import ModelHandle, handle_of
from patchwidgets.engine.lanes import Lane
from patchwidgets.engine.replay.seams import NotReplayable
from patchwidgets.engine.replay.sides import CACHE, Sides
from patchwidgets.engine.replay.tape import Tape, Tapes, Taping, listening, taping
from patchwidgets.prompts import PromptPair
from tests import models

TOKENS = torch.tensor([[1, 3, 4, 11, 6], [1, 9, 4, 12, 6], [1, 5, 5, 7, 8]])
LAYERS, KV = models.LAYERS, models.KV_HEADS


@pytest.fixture(scope="module")
def handle(llama: TransformerBridge) -> ModelHandle:
    """The tiny Llama's."""
    return handle_of(llama)


@pytest.fixture(scope="module")
def recorded(handle: ModelHandle) -> Any:
    """A forward pass of three texts."""
    with taping(handle) as found:
        handle.forward(TOKENS, cache=found.cache)
    return found


def seen(handle: ModelHandle, tokens: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(handle.bridge.run_with_cache(tokens)[1])


def assert_taped(tape: Tape, expected: dict[str, Tensor], mixes: bool) -> None:
    """The tape holds what TransformerLens shows at its hooks."""
    for layer in range(LAYERS):
        torch.testing.assert_close(tape.inputs[layer], expected[f"blocks.{layer}.hook_resid_pre"])
        given = (
            expected[f"blocks.{layer}.attn.hook_z"].flatten(2) if mixes else expected[f"blocks.{layer}.hook_attn_out"]
        )
        torch.testing.assert_close(tape.attended[layer], given)
    torch.testing.assert_close(tape.inputs[LAYERS], expected[f"blocks.{LAYERS - 1}.hook_resid_post"])
    assert len(tape.inputs) == LAYERS + 1


@pytest.mark.parametrize("mixes", [False, True])
def test_a_tape_holds_what_the_blocks_were_given_and_gave(handle: ModelHandle, recorded: Any, mixes: bool) -> None:
    tape = recorded.tape([2, 0], mixes)
    assert tape.length == TOKENS.shape[1]
    assert_taped(tape, seen(handle, TOKENS[[2, 0]]), mixes)
    for layer in range(LAYERS):
        assert tape.keys[layer].shape == tape.values[layer].shape == (2, KV, 5, 8)
        torch.testing.assert_close(tape.keys[layer], recorded.cache.layers[layer].keys[[2, 0]])
        torch.testing.assert_close(tape.values[layer], recorded.cache.layers[layer].values[[2, 0]])
        sides = tape.sides[layer]
        assert (sides.batch, sides.length) == (3, 5)
        given = [*sides.args, *sides.kwargs.values()]
        assert sum(each is CACHE for each in given) == 1
        assert not any(each is recorded.cache for each in given)
        assert "hidden_states" not in sides.kwargs


def test_the_cache_is_taken_out_of_arguments_in_pairs() -> None:
    taped = Taping()
    inside = taped._uncached((1, (taped.cache, None)))
    assert inside == (1, (CACHE, None))
    assert taped._uncached([taped.cache]) == [taped.cache]


def spoiled(recorded: Any) -> Any:
    """Return the same, to be changed."""
    found = Taping()
    for name in ("inputs", "attended", "mixed", "calls"):
        setattr(found, name, list(getattr(recorded, name)))
    for layer, kept in enumerate(recorded.cache.layers):
        found.cache.update(kept.keys, kept.values, layer)
    return found


@pytest.mark.parametrize("name", ["inputs", "attended", "mixed", "calls"])
def test_blocks_that_were_not_called_once_each_are_not_taped(recorded: Any, name: str) -> None:
    for more in (False, True):
        found = spoiled(recorded)
        listed = getattr(found, name)
        listed.append(listed[0]) if more else listed.pop()
        with pytest.raises(NotReplayable, match=r"^its blocks are not called one after another, once each, with keys"):
            found.tape([0], mixes=name == "mixed")
    found = spoiled(recorded)
    found.mixed.clear()
    assert found.tape([0], mixes=False).length == 5


def test_keys_of_all_positions_must_be_kept(recorded: Any) -> None:
    found = spoiled(recorded)
    found.cache.layers.pop()
    with pytest.raises(NotReplayable, match="once each, with keys and values"):
        found.tape([0], mixes=False)
    for name in ("keys", "values"):
        for short in (None, recorded.cache.layers[1].keys[:, :, 1:]):
            found = spoiled(recorded)
            setattr(found.cache.layers[1], name, short)
            with pytest.raises(NotReplayable, match=r"^not every block keeps keys and values of all positions$"):
                found.tape([0], mixes=False)


def by_hand() -> Tape:
    """Return a tape of three texts of four tokens in two layers."""
    known = [torch.arange(3.0 * 2 * 4 * 5).reshape(3, 2, 4, 5) + layer for layer in range(2)]
    sides = [Sides((CACHE,), {"layer": layer, "position_ids": torch.arange(4)[None]}, 3, 4) for layer in range(2)]
    return Tape(4, [], [], known, [-each for each in known], sides)


@pytest.mark.parametrize("rows", [[1, 1, 1], [1, 0, 1], [2]])
def test_the_arguments_of_a_block_hold_the_base_runs_keys(rows: list[int]) -> None:
    tape, which = by_hand(), torch.tensor(rows)
    late = torch.zeros(len(rows), 2, dtype=torch.bool)
    (prefix,), kwargs = tape.arguments(1, which, 2, late)
    assert kwargs["layer"] == 1
    assert kwargs["position_ids"].tolist() == [[2, 3]] * len(rows)
    assert prefix.get_seq_length() == 2
    # The same text for all is held once.
    kept = which[:1] if len(set(rows)) == 1 else which
    torch.testing.assert_close((prefix.keys, prefix.values), (tape.keys[1][kept], tape.values[1][kept]))
    assert prefix.late.shape == (len(rows), 1, 2, 1)
    (prefix,), _ = tape.arguments(0, which, 3)
    assert prefix.late is None
    assert prefix.start == 3
    torch.testing.assert_close(prefix.keys, tape.keys[0][kept])


SHORT = [PromptPair([1, 3, 4], [1, 9, 4], answer=5), PromptPair([1, 3, 4], [1, 9, 5], answer=5)]
LONG = [PromptPair([1, 3, 4, 6, 7], [1, n, 4, 6, 8], answer=5) for n in (9, 10)]


@pytest.mark.parametrize("mixes", [False, True])
def test_a_text_is_on_tape_once_and_every_lane_knows_its_row(handle: ModelHandle, mixes: bool) -> None:
    encoded = [encode_pair(pair, handle.tokenizer) for pair in (*SHORT, *LONG)]
    lanes = [Lane(i, pair, i, 0, "both") for i, pair in enumerate(encoded)]
    tapes = Tapes(handle, "corrupted", mixes)
    # The second batch of a length adds its texts to the first's.
    for some in ([lanes[0], lanes[1], lanes[0]], [lanes[2]], [lanes[3], lanes[2]]):
        batch = [(lane, run) for lane in some for run in RUNS]
        with tapes.recording(batch) as cache:
            forward(handle, batch, {}, False, cache)
    assert tapes.rows == {lanes[0]: 0, lanes[1]: 1, lanes[2]: 0, lanes[3]: 1}
    for length, some in ((3, lanes[:2]), (5, lanes[2:])):
        tape = tapes[length]
        assert tapes[length] is tape
        assert tape.length == length
        assert len(tape.inputs[0]) == len(tape.keys[0]) == len(tape.attended[0]) == 2
        assert_taped(tape, seen(handle, torch.tensor([lane.ids("corrupted") for lane in some])), mixes)


def test_what_another_thread_runs_is_not_taped(handle: ModelHandle) -> None:
    def elsewhere() -> None:
        with torch.no_grad():
            handle.forward(TOKENS[:1])

    before = models.state(handle.bridge)
    with taping(handle) as found:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert (found.inputs, found.attended, found.mixed, found.calls) == ([], [], [], [])
        handle.forward(TOKENS, cache=found.cache)
    assert models.state(handle.bridge) == before
    assert [len(each) for each in (found.inputs, found.attended, found.mixed, found.calls)] == [4, 3, 3, 3]


def test_listening_ends_also_after_an_error() -> None:
    module, told = nn.Linear(2, 2), []

    def before(module: Any, args: Any, kwargs: Any) -> None:
        told.append("before")

    def after(module: Any, args: Any, output: Any) -> None:
        told.append("after")

    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        listening([(module, before)], [(module, after)]),
    ):
        module(module(torch.ones(1, 2)).expand(1, 2)[:, :1])
    module(torch.ones(1, 2))
    assert told == ["before", "after", "before"]


def test_what_is_taped_is_not_written_over(handle: ModelHandle) -> None:
    """A sweep writes into activations in place; the tape keeps what was there."""
    point = handle.hooks["blocks.0.hook_attn_out"]
    with taping(handle) as found:
        handle.forward(TOKENS, cache=found.cache)
    kept = [each.clone() for each in found.attended]
    ids = {each.data_ptr() for each in (*found.inputs, *found.attended, *found.mixed)}
    assert len(ids) == 4 + 3 + 3
    point.add_hook(lambda activation, hook: activation.zero_())
    try:
        with taping(handle) as other:
            handle.forward(TOKENS, cache=other.cache)
    finally:
        point.remove_hooks()
    torch.testing.assert_close(found.attended, kept)
