"""The hooked engine's way through the cells: batches of one length, of a size that fits; every cell once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.encoding import encode_pair
from patchwidgets.engine import measuring
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.hooked import Patched, run_patched
from patchwidgets.engine.lanes import Lane
from patchwidgets.engine.measuring import Check, Hooked, _batches
from patchwidgets.engine.memory import text_bytes
from patchwidgets.errors import PatchError
from tests import models
from tests.engine.replaying import run_of, sweep


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, int]]]:
    """The (cell, pair) of every forward pass of patched runs."""
    told: list[list[tuple[int, int]]] = []

    def running(
        handle: Any, base: str, baseline: Any, cells: Sequence[tuple[int, Lane]], *rest: Any, **options: Any
    ) -> Patched:
        told.append([(cell, lane.number) for cell, lane in cells])
        return run_patched(handle, base, baseline, cells, *rest, **options)

    monkeypatch.setattr(measuring, "run_patched", running)
    return told


PAIRS = pw.Dataset(
    [
        pw.PromptPair([1, 3, 4, 5], [1, 9, 4, 5], answer=7, foil=8),
        pw.PromptPair([1, 3, 4, 5, 6], [1, 9, 4, 5, 6], answer=7, foil=8),
        pw.PromptPair([1, 3, 4, 6], [1, 9, 4, 6], answer=7, foil=8),
        pw.PromptPair([1, 3, 4, 5], [1, 9, 4, 5], answer=7, foil=8, at=-2),
    ]
)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (100, [[(5, 0), (5, 2), (3, 0), (3, 2)], [(5, 1), (3, 1)], [(5, 3), (3, 3)]]),
        (3, [[(5, 0), (5, 2), (3, 0)], [(3, 2)], [(5, 1), (3, 1)], [(5, 3), (3, 3)]]),
        (2, [[(5, 0), (5, 2)], [(3, 0), (3, 2)], [(5, 1), (3, 1)], [(5, 3), (3, 3)]]),
        (1, [[(5, 0)], [(5, 2)], [(3, 0)], [(3, 2)], [(5, 1)], [(3, 1)], [(5, 3)], [(3, 3)]]),
    ],
)
def test_batches_are_of_one_length_and_keep_the_cells_order(gpt2: TransformerBridge, rows: int, expected: Any) -> None:
    lanes = [Lane(i, encode_pair(pair, handle_of(gpt2).tokenizer), i, 0, "both") for i, pair in enumerate(PAIRS)]
    batches = list(_batches(lanes, [5, 3], rows, "corrupted"))
    assert [[(cell, lane.number) for cell, lane in batch] for batch in batches] == expected


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 12), (5, [5, 5, 2]), (12, [12]), (100, [12])])
def test_a_batch_size_that_is_given_is_kept_to(
    gpt2: TransformerBridge, batch_size: int, sizes: list[int], passes: list[list[tuple[int, int]]]
) -> None:
    made = sweep(gpt2, models.PAIR, "resid_pre", batch_size=batch_size)
    order = made.task.plan.order
    found = list(Hooked(made.task).measure(order, run_of(made)))
    assert [len(cells) for cells, _ in found] == sizes
    assert np.concatenate([cells for cells, _ in found]).tolist() == order.tolist()
    assert [len(cells) for cells in passes] == sizes
    assert all(values.shape == (1, 1, len(cells)) for cells, values in found)
    assert made.task.check.controls == len(sizes)
    assert 0 <= made.task.check.worst < 1e-9


@pytest.mark.parametrize(("batch_size", "cells"), [(3, 1), (4, 1), (7, 1), (8, 2), (None, 2)])
def test_a_batch_size_counts_the_runs_of_all_pairs(
    gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch, batch_size: int | None, cells: int
) -> None:
    monkeypatch.setattr(measuring, "_CHUNK_TOKENS", (0, 2048))
    made = sweep(gpt2, PAIRS, "resid_mid", "layer", batch_size=batch_size)
    found = next(Hooked(made.task).measure(made.task.plan.order, run_of(made)))
    assert len(found[0]) == cells


def test_batches_grow_to_a_fraction_of_a_second(gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    made, clock = sweep(gpt2, models.PAIR, "z", ("layer", "pos", "head")), [0.0]
    monkeypatch.setattr(measuring, "_CHUNK_TOKENS", (8 * 7, 2048))
    assert len(made.task.plan.order) == 48

    def sizes(seconds_a_row: float) -> list[int]:
        took = Hooked.values

        def timed(self: Hooked, cells: Sequence[int], *rest: Any, **options: Any) -> Any:
            clock[0] += seconds_a_row * len(cells)
            return took(self, cells, *rest, **options)

        with monkeypatch.context() as patched:
            patched.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
            patched.setattr(Hooked, "values", timed)
            return [len(cells) for cells, _ in Hooked(made.task).measure(made.task.plan.order, run_of(made))]

    # Eight at first, twice as many at most, as many as take a second, and never fewer than eight.
    assert sizes(0.0) == [8, 16, 24]
    assert sizes(1.0 / 12) == [8, 12, 12, 12, 4]
    assert sizes(2.0) == [8] * 6
    made = made.given(memory=2 * 12 * text_bytes(made.task.handle, 7, 1))
    assert sizes(0.0) == [8, 10, 10, 10, 10]
    made = made.given(memory=2 * 5 * text_bytes(made.task.handle, 7, 1))
    assert sizes(0.0) == [3] * 16
    # Of short prompts more than eight.
    monkeypatch.setattr(measuring, "_CHUNK_TOKENS", (20 * 7, 2048))
    made = made.given(memory=1 << 30)
    assert sizes(2.0) == [20, 20, 8]


def everywhere(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, :, 3].sum(-1)


def test_no_more_runs_go_through_than_fit(gpt2: TransformerBridge) -> None:
    pair = pw.PromptPair([1, 3, 4, 5, 6], [1, 9, 4, 5, 6], answer=7, foil=8, at=-2)
    for metric, kept in (("logit_diff", 2), (everywhere, 5)):
        made = sweep(gpt2, pw.Dataset([*PAIRS, pair]), "resid_mid", "layer", metric=metric)
        one = text_bytes(made.task.handle, 5, kept)
        for runs, most in ((4, 2), (9, 7), (3, 1), (2, 1), (0, 1), (10**6, 2048 // 5)):
            assert Hooked(made.given(memory=2 * runs * one).task)._most_rows() == most
        assert Hooked(made.given(memory=2 * 9 * one - 2).task)._most_rows() == 6


def test_values_come_in_batches_with_and_without_unpatched_rows(
    gpt2: TransformerBridge, passes: list[list[tuple[int, int]]]
) -> None:
    made = sweep(gpt2, PAIRS, "resid_mid", "layer", metric=["logit_diff", everywhere])
    task, cells = made.task, made.task.plan.order.tolist()
    whole = Hooked(task).values(cells, 100)
    assert whole is not None
    assert whole.shape == (2, 4, 3)
    assert (task.check.controls, list(map(len, passes))) == (3, [6, 3, 3])
    passes.clear()
    apart = Hooked(task).values(cells, 2, controls=False)
    assert task.check.controls == 3
    assert list(map(len, passes)) == [2, 2, 2, 2, 1, 2, 1]
    assert apart is not None
    np.testing.assert_allclose(apart, whole, rtol=0, atol=1e-9)
    for i, (pair, expected) in enumerate(zip(PAIRS, whole.transpose(1, 0, 2), strict=True)):
        alone = pw.patch(gpt2, pair, "resid_mid", by="layer", metric=["logit_diff", everywhere]).wait()
        np.testing.assert_allclose(alone.data["patched"].values, expected, rtol=0, atol=1e-9, err_msg=str(i))


def test_the_worst_unpatched_row_of_all_batches_is_told(gpt2: TransformerBridge) -> None:
    for number in range(4):
        made = sweep(gpt2, PAIRS, "resid_mid", "layer")
        lane, base = made.task.lanes[number], made.task.plan.patch.base
        made.task.baseline.read[lane, base] = made.task.baseline.read[lane, base] + 1e-11
        Hooked(made.task).values(made.task.plan.order.tolist(), 1)
        assert 0.5e-11 < made.task.check.worst < 2e-11


def test_a_sweep_that_is_cancelled_ends_at_the_next_layer(
    gpt2: TransformerBridge, passes: list[list[tuple[int, int]]]
) -> None:
    made = sweep(gpt2, models.PAIR, "resid_pre", batch_size=5)
    run = run_of(made)
    measured = Hooked(made.task).measure(made.task.plan.order, run)
    assert len(next(measured)[0]) == 5
    entered: list[str] = []

    def cancel(_module: object, _args: object) -> None:
        entered.append("second")
        run.cancel()

    second, last = gpt2.blocks[1], gpt2.blocks[-1]  # type: ignore[index]
    assert second is not last
    hooks = [
        second.register_forward_pre_hook(cancel),
        last.attn.register_forward_pre_hook(lambda module, args: entered.append("last")),
    ]
    try:
        assert list(measured) == []
    finally:
        for hook in hooks:
            hook.remove()
    assert entered == ["second"]
    assert len(passes) == 2
    # A look at what was measured ends after its first batch, and nothing of it is kept; not where nobody can cancel.
    cells = made.task.plan.order.tolist()
    assert Hooked(made.task).values(cells, 5, run) is None
    assert Hooked(made.task).values(cells[:5], 5, run) is not None
    assert Hooked(made.task).values(cells, 5) is not None
    assert len(passes) == 2 + 1 + 1 + 3
    assert list(Hooked(made.task).measure(made.task.plan.order, run)) == []


def test_a_device_that_is_full_gets_the_batch_in_halves(
    gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, tried = sweep(gpt2, models.PAIR, "resid_pre"), []
    expected = Hooked(made.task).values(cells := made.task.plan.order.tolist(), 100)

    def full(handle: Any, base: str, baseline: Any, runs: Sequence[Any], *rest: Any, **options: Any) -> Patched:
        tried.append(len(runs))
        if len(runs) > 3:
            raise torch.OutOfMemoryError
        return run_patched(handle, base, baseline, runs, *rest, **options)

    monkeypatch.setattr(measuring, "run_patched", full)
    found = Hooked(made.task).values(cells, 100)
    assert tried == [12, 6, 3, 3, 3, 3]
    assert made.task.room.most == 3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)  # type: ignore[arg-type]
    assert made.task.check.controls == 1 + 4


def test_logits_that_are_not_finite_are_refused(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, models.PAIR, "resid_pre")
    (lane,) = made.task.lanes
    good, bad = torch.zeros(1, 2), torch.tensor([[0.0, math.inf]])
    assert made.task.score([0, 1], {(0, lane): good, (1, lane): good}, {}).shape == (1, 1, 2)
    with pytest.raises(PatchError, match=r"^a patched run gave logits that are not finite; check the model's dtype"):
        made.task.score([0, 1], {(0, lane): good, (1, lane): bad}, {})


def test_nothing_is_checked_before_the_first_batch() -> None:
    assert Check() == Check(controls=0, worst=0.0, remeasured=0, apart=0.0, wrong=[])
    assert Check().wrong is not Check().wrong
    assert (Hooked.name, Hooked.settled) == ("hooked", True)
