"""Replayed cells that are measured again through hooks: what may differ, what is named, and what is then forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.engine.measuring import Hooked
from patchwidgets.engine.replay.parts import stack_of
from patchwidgets.engine.replay.proof import prove
from patchwidgets.engine.replay.sweeping import Replayed, WrongCells
from patchwidgets.engine.run import Run
from patchwidgets.metrics import tolerance
from patchwidgets.result import MEASURED
from tests import models
from tests.engine.replaying import Sweep, run_of, sweep


def engine_of(made: Sweep) -> Replayed:
    return Replayed(made.task, made.stack, made.tapes)


@pytest.fixture
def grid(gpt2: TransformerBridge) -> Sweep:
    """A sweep of every layer and position: twelve cells."""
    return sweep(gpt2, models.PAIR, "resid_pre")


def corners(made: Sweep) -> list[int]:
    return [made.cell(layer=0, pos=3), made.cell(layer=models.LAYERS - 1, pos=6)]


def filled(made: Sweep) -> tuple[Replayed, Run]:
    """Return the engine and a run in which every cell is measured."""
    engine, run = engine_of(made), run_of(made)
    found = engine._values(made.task.plan.order.tolist(), run)
    assert found is not None
    run.add(*found, MEASURED)
    return engine, run


def test_cells_that_agree_are_not_measured_twice(grid: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, run = filled(grid)
    values, asked = Hooked.values, []

    def noting(self: Hooked, cells: Sequence[int], *rest: Any, controls: bool = True, **more: Any) -> Any:
        asked.append((list(cells), controls))
        return values(self, cells, *rest, controls=controls, **more)

    monkeypatch.setattr(Hooked, "values", noting)
    parts = stack_of(grid.task.handle, prove).parts
    assert engine._compare(corners(grid), run) is True
    assert asked == [(corners(grid), False)]
    assert stack_of(grid.task.handle, prove).parts is parts
    check = grid.task.check
    assert (check.remeasured, check.wrong) == (2, [])
    assert check.apart < 1e-9
    # How far apart they were is kept, as the worst of all.
    run.patched[..., corners(grid)[1]] += 1e-9
    assert engine._compare(corners(grid), run) is True
    assert check.remeasured == 4
    worst = check.apart
    assert 0.9e-9 < worst < 1.1e-9
    run.patched[..., corners(grid)[1]] -= 1e-9
    assert engine._compare(corners(grid), run) is True
    assert check.apart == worst


@pytest.mark.parametrize("wrong", [[0], [1], [0, 1]])
def test_cells_that_do_not_agree_are_named(grid: Sweep, wrong: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, run = filled(grid)
    values, asked = Hooked.values, []

    def noting(self: Hooked, *rest: Any, controls: bool = True, **more: Any) -> Any:
        asked.append(controls)
        return values(self, *rest, controls=controls, **more)

    monkeypatch.setattr(Hooked, "values", noting)
    parts = stack_of(grid.task.handle, prove).parts
    for number in wrong:
        run.patched[..., corners(grid)[number]] += 0.01
    told = ["layer 0 pos 3", "layer 2 pos 6"]
    with pytest.raises(WrongCells) as caught:
        engine._compare(corners(grid), run)
    assert caught.value.told == str(caught.value) == "; ".join(told[number] for number in wrong)
    # The second look has unpatched rows: it may have been the first that was disturbed.
    assert asked == [False, True]
    check = grid.task.check
    assert check.wrong == [grid.task.plan.cell(corners(grid)[number]) for number in wrong]
    assert check.remeasured == 2
    assert check.apart == pytest.approx(0.01, rel=1e-3)
    assert stack_of(grid.task.handle, prove).parts is not parts


def test_a_first_look_that_was_disturbed_is_forgiven(grid: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, run = filled(grid)
    values = Hooked.values

    def disturbed(self: Hooked, *rest: Any, controls: bool = True, **more: Any) -> Any:
        return values(self, *rest, controls=controls, **more) + (0 if controls else 1)

    monkeypatch.setattr(Hooked, "values", disturbed)
    assert engine._compare(corners(grid), run) is True
    assert grid.task.check.apart < 1e-9
    assert (grid.task.check.remeasured, grid.task.check.wrong) == (2, [])


PAIRS = pw.Dataset(
    [
        pw.PromptPair([1, 3, 4, 5], [1, 9, 4, 5], answer=7, foil=8),
        pw.PromptPair([1, 3, 4, 5, 6], [1, 9, 4, 5, 6], answer=10, foil=11),
    ]
)


def test_a_look_that_is_cancelled_judges_nothing(gpt2: TransformerBridge) -> None:
    made = sweep(gpt2, PAIRS, "resid_mid", "layer")
    engine, run = filled(made)
    run.cancel()
    # Prompts of two lengths are two batches, between which it ends.
    assert engine._compare([0, 2], run) is False
    assert made.task.check.remeasured == 0
    # What differs at first is settled all the same.
    alone = sweep(gpt2, models.PAIR, "resid_pre")
    engine, run = filled(alone)
    run.cancel()
    run.patched[..., corners(alone)[0]] += 1
    with pytest.raises(WrongCells, match=r"^layer 0 pos 3$"):
        engine._compare(corners(alone), run)


def test_how_far_metrics_may_be_apart(gpt2: TransformerBridge, gpt2_float32: TransformerBridge) -> None:
    for model, dtype in ((gpt2, "float64"), (gpt2_float32, "float32")):
        for direction in ("denoise", "noise"):
            made = sweep(
                model,
                PAIRS,
                "resid_mid",
                "layer",
                metric=["logit_diff", "rank", "prob", "accuracy"],
                direction=direction,
            )
            allowed = engine_of(made)._allowed()
            assert allowed.shape == (4, 2, 1)
            plain = made.task.scorer.plain(made.task.baseline)
            for metric, number in ((0, 0), (0, 1), (2, 0), (2, 1)):
                gap = abs(float(plain[metric, number, 0] - plain[metric, number, 1]))
                assert allowed[metric, number, 0] == pytest.approx(tolerance(dtype, gap), rel=1e-6)
            assert (allowed[[1, 3]] == 1.0).all()
