"""The replay engine's way through a sweep: a few cells, their proof through hooks, then waves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.measuring import Hooked, Measured
from patchwidgets.engine.replay import sweeping
from patchwidgets.engine.replay.engine import Replay
from patchwidgets.engine.replay.parts import stack_of
from patchwidgets.engine.replay.proof import prove
from patchwidgets.engine.replay.sweeping import Replayed, WrongCells, _named
from patchwidgets.engine.replay.waves import Waves
from patchwidgets.engine.run import Run
from patchwidgets.result import MEASURED
from tests import models
from tests.engine.replaying import Sweep, run_of, sweep

LAYERS = models.LAYERS


def engine_of(made: Sweep) -> Replayed:
    return Replayed(made.task, made.stack, made.tapes)


def measured(engine: Replayed, run: Run) -> Iterator[Measured]:
    """Yield what the engine measures, written into the run as a sweep does."""
    for cells, values in engine.measure(engine.task.plan.order, run):
        run.add(cells, values, MEASURED)
        yield cells, values


@pytest.fixture
def grid(gpt2: TransformerBridge) -> Sweep:
    """A sweep of every layer and position: twelve cells."""
    return sweep(gpt2, models.PAIR, "resid_pre")


def corners(made: Sweep) -> list[int]:
    return [made.cell(layer=0, pos=3), made.cell(layer=LAYERS - 1, pos=6)]


def test_a_few_cells_come_first_and_two_are_measured_again(grid: Sweep) -> None:
    made = grid.given(rate=19.0)
    engine, run = engine_of(made), run_of(made)
    assert (engine.name, engine.settled) == ("replay", False)
    told = [(cells.tolist(), engine.settled, grid.task.check.remeasured) for cells, _ in measured(engine, run)]
    # No cell at the first position costs a thirtieth of all or less: the two that are judged lead.
    first, *rest = told
    assert first[0][:2] == corners(grid)
    assert rest
    assert first[1:] == (False, 0)
    assert all(each[1:] == (True, 2) for each in rest)
    assert sorted(cell for cells, *_ in told for cell in cells) == sorted(grid.task.plan.order.tolist())
    assert engine.settled
    check = grid.task.check
    assert (check.controls, check.remeasured, check.wrong) == (len(told), 2, [])
    assert 0 <= check.worst < 1e-9
    assert 0 <= check.apart < 1e-9
    expected = Hooked(grid.task).values(order := grid.task.plan.order.tolist(), 100)
    np.testing.assert_allclose(run.patched[..., order], expected, rtol=0, atol=1e-9)  # type: ignore[arg-type]


def test_the_cheapest_cells_come_before_what_is_judged(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, models.PAIR, "z", by=("layer", "pos", "head"))
    engine, run = engine_of(made), run_of(made)
    told = [(cells.tolist(), engine.settled) for cells, _ in measured(engine, run)]
    # A thirtieth of 240 is one cell of four rows through the last layer.
    assert told[0] == ([made.cell(layer=LAYERS - 1, pos=3, head=0)], False)
    # The two that are judged lead what follows.
    judged = {(0, 3), (LAYERS - 1, 6)}
    assert {(at["layer"], at["pos"]) for at in map(made.task.plan.cell, told[1][0][:2])} == judged
    assert not told[1][1]
    assert engine.settled
    assert sorted(cell for cells, _ in told for cell in cells) == sorted(made.task.plan.order.tolist())


@pytest.mark.parametrize("took", [0.5, 2.0])
def test_a_wave_is_as_large_as_the_one_before_it_was_fast(
    grid: Sweep, took: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, clock, rates = grid.given(rate=5.0), [0.0], []
    next_, running = Waves.next, Replay.run

    def noting(self: Waves, rate: float, first: Sequence[int] = ()) -> list[int]:
        rates.append(rate)
        return next_(self, rate, first)

    def slow(self: Replay, *rest: Any) -> Any:
        clock[0] += took
        return running(self, *rest)

    monkeypatch.setattr(sweeping, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(Waves, "next", noting)
    monkeypatch.setattr(Replay, "run", slow)
    waves, engine = Waves(made.replay, made.task, made.task.plan.order), engine_of(made)
    # What every wave cost, and whether the first cells had been judged before it.
    told = [(waves.cost(cells.tolist()), engine.settled) for cells, _ in measured(engine, run_of(made))]
    assert {settled for _, settled in told} == {False, True}
    # Until then the plain runs' rate counts. No cell was cheap enough to come before all waves.
    assert rates == [5.0, *(cost / took if settled else 5.0 for cost, settled in told)]


def test_a_sweep_that_is_cancelled_ends_where_cells_are_left(grid: Sweep) -> None:
    made = grid.given(rate=1.0)
    engine, run = engine_of(made), run_of(made)
    found = measured(engine, run)
    next(found)
    run.cancel()
    assert list(found) == []
    assert not engine.settled
    assert grid.task.check.remeasured == 0


def test_all_that_is_measured_is_judged_though_cancelled(grid: Sweep) -> None:
    made = grid.given(rate=1e9)
    engine, run = engine_of(made), run_of(made)
    for _ in measured(engine, run):
        if run.done == run.total:
            run.cancel()
    assert engine.settled
    assert grid.task.check.remeasured == 2


def test_a_wave_that_is_cancelled_is_dropped(grid: Sweep) -> None:
    engine, run = engine_of(grid), run_of(grid)
    run.cancel()
    assert engine._values(grid.task.plan.order.tolist(), run) is None
    assert list(engine.measure(grid.task.plan.order, run)) == []
    assert grid.task.check.controls == 0


@pytest.mark.parametrize(
    ("most", "tried"), [(12, [12]), (6, [12, 6, 6]), (5, [12, 6, 3, 3, 3, 3]), (3, [12, 6, 3, 3, 3, 3])]
)
def test_a_device_that_is_full_gets_the_wave_in_pieces(
    grid: Sweep, most: int, tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, order, running = grid.task.plan.order.tolist(), [], Replay.run
    expected = Hooked(grid.task).values(cells, 100)
    grid.task.check.controls = 0

    def full(self: Replay, runs: Sequence[Any], *rest: Any) -> Any:
        order.append([cell for cell, _ in runs])
        if len(runs) > most:
            raise torch.OutOfMemoryError
        return running(self, runs, *rest)

    monkeypatch.setattr(Replay, "run", full)
    found = engine_of(grid)._values(cells, run_of(grid))
    assert found is not None
    assert found[0].tolist() == cells
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=1e-9)  # type: ignore[arg-type]
    assert [len(some) for some in order] == tried
    assert [cell for some in order if len(some) <= most for cell in some] == cells
    assert grid.task.check.controls == sum(size <= most for size in tried)


def test_the_worst_unpatched_run_is_told(grid: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    worst, running = iter([1e-12, 3e-12, 2e-12, 0.0]), Replay.run

    def off(self: Replay, *rest: Any) -> Any:
        return (*running(self, *rest)[:2], next(worst))

    monkeypatch.setattr(Replay, "run", off)
    grid.task.room.most = 3
    engine_of(grid)._values(grid.task.plan.order.tolist(), run_of(grid))
    assert grid.task.check.worst == 3e-12
    assert grid.task.check.controls == 4


def test_an_unpatched_run_that_is_off_takes_the_model_apart_anew(grid: Sweep) -> None:
    handle = grid.task.handle
    parts = stack_of(handle, prove).parts
    lane, base = grid.task.lanes[0], grid.task.plan.patch.base
    grid.task.baseline.read[lane, base] = grid.task.baseline.read[lane, base] + 1
    with pytest.raises(WrongCells, match=r"^a run without a patch$") as caught:
        engine_of(grid)._values(grid.task.plan.order.tolist(), run_of(grid))
    assert caught.value.told == "a run without a patch"
    assert stack_of(handle, prove).parts is not parts


def test_cells_are_named_by_their_axes(grid: Sweep) -> None:
    assert _named(grid.task.plan, []) == ""
    assert _named(grid.task.plan, corners(grid)) == "layer 0 pos 3; layer 2 pos 6"


PAIRS = pw.Dataset(
    [
        pw.PromptPair([1, 3, 4, 5], [1, 9, 4, 5], answer=7, foil=8),
        pw.PromptPair([1, 3, 4, 5, 6], [1, 9, 4, 5, 6], answer=10, foil=11),
    ]
)


def test_a_judgement_that_is_cancelled_ends_the_sweep(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, PAIRS, "resid_mid", "layer")
    engine, run = engine_of(made), run_of(made)
    for _ in measured(engine, run):
        run.cancel()
    assert not engine.settled or made.task.check.remeasured == 2


def test_every_position_is_kept_where_a_metric_reads_it(gpt2: TransformerBridge) -> None:
    def everywhere(logits: Tensor, tokens: Tensor) -> Tensor:
        return logits[:, :, 3].sum(-1)

    made = sweep(gpt2, PAIRS, "resid_mid", "layer", metric=["logit_diff", everywhere])
    cells = made.task.plan.order.tolist()
    made.task.room.most = 2
    found = engine_of(made)._values(cells, run_of(made))
    assert found is not None
    np.testing.assert_allclose(found[1], Hooked(made.task).values(cells, 8), rtol=0, atol=1e-9)  # type: ignore[arg-type]
    assert handle_of(gpt2).lock.acquire(blocking=False)
    handle_of(gpt2).lock.release()
