"""Batches of cells in, logits out: those of every cell, the unpatched run judged, and in pieces where they are many."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.engine.gate import Disturbed
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.hooked import run_patched
from patchwidgets.engine.memory import tape_bytes
from patchwidgets.engine.replay import engine
from patchwidgets.engine.replay.climb import Stopped
from patchwidgets.engine.replay.engine import Cell, replayable
from patchwidgets.engine.replay.fronts import _front, fronts
from patchwidgets.engine.replay.items import first_changed
from patchwidgets.engine.replay.parts import Head
from patchwidgets.engine.replay.seams import NotReplayable
from patchwidgets.interventions import Patch
from tests import models
from tests.engine.replaying import Sweep, sweep


def everywhere(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, :, 3].sum(-1)


def by_hooks(made: Sweep, cells: list[Cell], whole: bool = False) -> tuple[dict[Cell, Tensor], dict[Cell, Tensor]]:
    """Return what the hooked engine reads of the cells."""
    task, found, full = made.task, {}, {}
    for cell in cells:
        patched = run_patched(
            task.handle, task.plan.patch.base, task.baseline, [cell], task.plan.targets, task.value, whole=whole,
            matched=isinstance(task.plan.intervention, Patch),
        )  # fmt: skip
        found |= {key: task.scorer.narrowed(key[1], logits) for key, logits in patched.read.items()}
        full |= patched.whole
    return found, full


MANY = pw.Dataset(
    [
        pw.PromptPair([1, 3, 4, 5], [1, 3, 6, 5], answer=7, foil=9),
        pw.PromptPair([1, 3, 4, 5, 6, 7], [1, 9, 4, 5, 6, 7], answer=7, foil=9),
        pw.PromptPair([1, 2, 4, 5], [1, 3, 4, 8], answer=11, foil=9),
        pw.PromptPair([1, 3, 4, 5], [1, 3, 6, 5], answer=12, foil=4, at=-2),
    ]
)
LONG = pw.Dataset(
    [
        pw.PromptPair([1, 3, 4, 5], [1, 3, 6, 5], answer=pw.Continuation([7, 8]), foil=9),
        pw.PromptPair([1, 2, 4, 5], [1, 3, 4, 8], answer=11, foil=pw.Continuation([9, 9, 4])),
    ]
)


KINDS = {
    "one, two logits": (models.PAIR, "logit_diff"), "one, all logits": (models.PAIR, "kl_clean"),
    "one, all positions": (models.PAIR, everywhere), "many, two logits": (MANY, "logit_diff"),
    "many, all logits": (MANY, "kl_clean"), "many, all positions": (MANY, ["logit_diff", everywhere]),
    "long answers": (LONG, "logit_diff"), "long answers, all positions": (LONG, ["logit_diff", everywhere]),
}  # fmt: skip
"""Pairs, and metrics that read so much of each."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("logits", [1, 200, 1 << 24])
def test_every_cell_of_every_lane_has_its_logits(
    gpt2: TransformerBridge, kind: str, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, metric = KINDS[kind]
    monkeypatch.setattr(engine, "_LOGITS", logits)
    made = sweep(gpt2, pairs, "z", ("layer", "head"), metric=metric, layer=[0, 2], head=[1, 3])
    cells = made.cells[::-1]
    whole = made.task.plan.whole
    read, full, worst = made.replay.run(cells)
    expected, expected_full = by_hooks(made, cells, whole)
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(full, expected_full if whole else {}, rtol=0, atol=1e-9)
    assert 0 <= worst < 1e-9


def test_other_interventions_and_directions_have_theirs(gpt2: TransformerBridge) -> None:
    for options in ({"direction": "noise"}, {"intervention": pw.Zero()}, {"pos": [1, 4]}):
        made = sweep(gpt2, models.PAIR, "v", ("layer", "head"), **options)  # type: ignore[arg-type]
        read, _, _ = made.replay.run(made.cells)
        torch.testing.assert_close(read, by_hooks(made, made.cells)[0], rtol=0, atol=1e-9)


def test_the_logits_are_made_in_pieces(gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sweep(gpt2, models.PAIR, "resid_pre", metric="kl_clean")
    cells = [(made.cell(layer=layer, pos=3), made.task.lanes[0]) for layer in (0, 1, 2)]
    head, sizes = Head.__call__, []

    def calling(self: Head, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        sizes.append(tuple(rows.shape[:-1]))
        return head(self, rows, columns)

    monkeypatch.setattr(Head, "__call__", calling)
    # Three cells and the unpatched run, a position each, of so many tokens.
    for most, expected in ((4, [4]), (3, [3, 1]), (2.99, [2, 2]), (1, [1] * 4), (0, [1] * 4)):
        sizes.clear()
        monkeypatch.setattr(engine, "_LOGITS", int(most * models.VOCAB))
        made.replay.run(cells)
        assert sizes == [(size, 1) for size in expected]
    whole = sweep(gpt2, models.PAIR, "resid_pre", metric=everywhere)
    sizes.clear()
    monkeypatch.setattr(engine, "_LOGITS", 3 * 7 * models.VOCAB)
    whole.replay.run([(cell, whole.task.lanes[0]) for cell, _ in cells])
    assert sizes == [(3, 7), (1, 7)]


def test_whether_to_stop_is_asked_between_two_pieces_of_logits(
    gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOGITS", 1)
    made = sweep(gpt2, models.PAIR, "resid_pre", metric="kl_clean")
    cells = [(made.cell(layer=2, pos=3), made.task.lanes[0])] * 3
    asked: list[int] = []
    made.replay.run(cells, lambda: bool(asked.append(1)))
    # Projection, attention, the rest, and the group read; then a piece for each of four runs.
    assert len(asked) == 4 + 4
    for stop in range(1, 9):
        asked.clear()

        def stopping(stop: int = stop) -> bool:
            asked.append(1)
            return len(asked) == stop

        with pytest.raises(Stopped):
            made.replay.run(cells, stopping)


def test_an_unpatched_run_that_is_off_is_told(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, models.PAIR, "resid_pre")
    lane, base = made.task.lanes[0], made.replay.base
    plain = made.task.baseline.read[lane, base]
    made.task.baseline.read[lane, base] = plain + 1e-11
    _, _, worst = made.replay.run(made.cells[:2])
    assert 0.5e-11 < worst < 2e-11
    made.task.baseline.read[lane, base] = plain + 1e-6
    with pytest.raises(Disturbed):
        made.replay.run(made.cells[:2])


def test_the_worst_of_several_batches_is_told(gpt2: TransformerBridge) -> None:
    for off in (0, 1):
        made = sweep(gpt2, MANY, "z", ("layer", "head"), layer=[0], head=[1])
        lane = made.task.lanes[off]
        made.task.baseline.read[lane, made.replay.base] = made.task.baseline.read[lane, made.replay.base] + 1e-11
        assert 0.5e-11 < made.replay.run(made.cells)[2] < 2e-11


def test_base_runs_take_at_most_half_of_the_memory(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, MANY, "resid_mid", "layer")
    handle, plan, lanes = made.task.handle, made.task.plan, made.task.lanes
    # Two of the four lanes run the same text.
    needed = tape_bytes(handle, 4 + 6 + 4)
    assert replayable(handle, plan, lanes, 2 * needed).way == made.stack.way
    with pytest.raises(NotReplayable, match=r"its base runs would take .* GB, more than half of the .* GB of memory"):
        replayable(handle, plan, lanes, 2 * needed - 1)


def counting(made: Sweep) -> list[int]:
    return [made.replay.first[lane] for lane in made.task.lanes]


def test_the_first_position_that_can_change(gpt2: TransformerBridge) -> None:
    assert counting(sweep(gpt2, MANY, "resid_mid", "layer")) == [2, 1, 1, 2]
    assert counting(sweep(gpt2, MANY, "resid_mid", "layer", intervention=pw.Zero())) == [0, 0, 0, 0]
    begins = pw.PromptPair([3, 4, 5], [3, 4, 5, 6], answer=11, foil=12)
    for direction in ("denoise", "noise"):
        made = sweep(gpt2, begins, "resid_mid", "layer", align="auto", direction=direction)
        (lane,) = made.task.lanes
        shorter = len(lane.ids(made.replay.base)) == 3
        # At the end of the shorter prompt nothing has changed yet; nothing after it can.
        assert counting(made) == [3], shorter
    # Before the first difference a position may stand for another one.
    moved = pw.PromptPair([1, 3, 3, 4, 5], [1, 3, 3, 9, 5], answer=11, foil=12)
    made = sweep(gpt2, moved, "resid_mid", "layer", align=[(0, 0), (1, 2), (3, 3), (4, 4)])
    assert counting(made) == [1]
    assert first_changed(made.task.lanes[0], made.replay.base, matched=True) == 1


def test_an_embedding_is_patched_before_the_first_block(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, models.PAIR, "embed")
    before = models.state(gpt2)
    read, _, _ = made.replay.run(made.cells)
    assert models.state(gpt2) == before
    torch.testing.assert_close(read, by_hooks(made, made.cells)[0], rtol=0, atol=1e-9)


def test_only_the_runs_whose_embedding_is_patched_have_a_front(gpt2: TransformerBridge) -> None:
    sets = {"z": [("z", {"layer": 1})], "one": [("embed", {"pos": 3})], "two": [("embed", {"pos": 5})]}
    made = sweep(gpt2, models.PAIR, pw.Joint(sets))
    replay, lane = made.replay, made.task.lanes[0]
    items = [replay.item((cell, lane)) for cell in range(3)]
    assert fronts(replay.handle, items[:1], replay.base, replay.value, True) == {}
    found = fronts(replay.handle, items, replay.base, replay.value, True)
    assert list(found) == [1, 2]
    _, clean = gpt2.run_with_cache(torch.tensor([lane.pair.clean]))
    _, corrupted = gpt2.run_with_cache(torch.tensor([lane.pair.corrupted]))
    for number, position in ((1, 3), (2, 5)):
        expected = corrupted["blocks.0.hook_resid_pre"][0].clone()
        expected[position] = clean["blocks.0.hook_resid_pre"][0, position]
        torch.testing.assert_close(found[number], expected)


def test_another_threads_run_is_not_stopped_at_the_first_block(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, models.PAIR, "embed")
    outcome: list[Any] = []

    def elsewhere() -> None:
        try:
            with torch.no_grad():
                outcome.append(handle_of(gpt2).forward(torch.tensor([[1, 2]])).shape)
        except Exception as error:
            outcome.append(error)

    embed = made.task.handle.hooks["hook_embed"]

    def meanwhile(activation: Tensor, hook: object) -> None:
        if not outcome:
            outcome.append(None)
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()

    embed.add_hook(meanwhile)
    try:
        made.replay.run(made.cells[:1])
    finally:
        embed.remove_hooks()
    assert outcome == [None, (1, 2, models.VOCAB)]


def test_a_model_whose_first_block_is_not_called_is_not_replayed(
    gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt2.original_model, "forward", lambda input_ids, **options: input_ids)
    with pytest.raises(NotReplayable, match=r"^the first block was not called$"):
        _front(handle_of(gpt2), torch.tensor([[1, 2]]), [], "clean", lambda *told: told[2], True)
    assert not gpt2.blocks[0]._forward_pre_hooks
