"""Whatever becomes of a sweep, its cells are counted: none lost, none told twice, none wrong."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.hooked import Patched
from patchwidgets.engine.measuring import Hooked
from patchwidgets.engine.patch import patch
from patchwidgets.engine.replay.engine import Replay
from patchwidgets.engine.run import Run
from patchwidgets.engine.sweep import ENGINES
from patchwidgets.result import MEASURED, PatchResult
from tests import models
from tests.engine.stepping import PATIENCE

SWEEP: dict[str, Any] = {"by": ("layer", "pos", "head"), "batch_size": 3}


class Told:
    """Listens to a sweep: how often each cell was told as measured. It was the first of all to do so `at_first`."""

    def __init__(self, run: Run) -> None:
        self.times: Counter[int] = Counter()
        self.at_first = threading.Event()
        run.subscribe(self._listen)

    def _listen(self, run: Run, cells: np.ndarray) -> None:
        self.times.update(cell for cell in cells.tolist() if run.status[cell] == MEASURED)
        if self.times:
            self.at_first.set()


@pytest.fixture(scope="module")
def expected(gpt2: TransformerBridge) -> PatchResult:
    """The sweep through hooks, one undisturbed time."""
    return patch(gpt2, models.PAIR, "z", engine="hooked", **SWEEP).wait()


def counted(result: PatchResult, told: Told, expected: PatchResult) -> int:
    """Check that exactly the measured cells were told, once each, with the right numbers; return how many."""
    measured = np.flatnonzero(result.data["status"].values.ravel() == "measured")
    assert told.times == dict.fromkeys(measured.tolist(), 1)
    got, right = (each.data["patched"].values.reshape(len(each.metrics), -1)[0] for each in (result, expected))
    np.testing.assert_allclose(got[measured], right[measured], rtol=0, atol=1e-8)
    unknown = result.data["status"].values.ravel() == "pending"
    assert np.isnan(got[unknown]).all()
    return len(measured)


def begun(model: TransformerBridge, engine: str) -> tuple[Run, Told]:
    """Start a sweep that is known to have told some cells."""
    run = patch(model, models.PAIR, "z", engine=engine, **SWEEP)
    told = Told(run)
    assert told.at_first.wait(PATIENCE)
    return run, told


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cancelled_sweep(gpt2: TransformerBridge, expected: PatchResult, engine: str) -> None:
    """What was told stays; the same sweep again measures the rest."""
    run, told = begun(gpt2, engine)
    run.cancel()
    first = run.wait(PATIENCE)
    assert 0 < counted(first, told, expected) == run.done
    again = patch(gpt2, models.PAIR, "z", engine=engine, **SWEEP)
    told = Told(again)
    assert counted(again.wait(PATIENCE), told, expected) == again.total


@pytest.mark.parametrize("engine", ENGINES)
def test_superseded_sweeps(gpt2: TransformerBridge, expected: PatchResult, engine: str) -> None:
    """Each new request cancels the one before, as an Explorer does; the last one is whole."""
    runs = [begun(gpt2, engine) for _ in range(3)]
    for run, _ in runs[:-1]:
        run.cancel()
    runs.append(begun(gpt2, engine))
    runs[-2][0].cancel()
    counts = [counted(run.wait(PATIENCE), told, expected) for run, told in runs]
    assert counts == [run.done for run, _ in runs]
    assert counts[-1] == runs[-1][0].total


def test_a_full_device_replayed(
    gpt2: TransformerBridge, expected: PatchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that do not fit are cut, and cut again; what they had begun is not counted."""
    run = Replay.run

    def full(engine: Replay, cells: Any, *rest: Any) -> Any:
        found = run(engine, cells, *rest)
        if len(cells) > 2:
            raise torch.OutOfMemoryError
        return found

    monkeypatch.setattr(Replay, "run", full)
    _all_counted(gpt2, expected, "replay")


def test_a_full_device_hooked(gpt2: TransformerBridge, expected: PatchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for whole runs."""
    run = Hooked._run

    def full(engine: Hooked, batch: Any, *rest: Any) -> Patched:
        found = run(engine, batch, *rest)
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return found

    monkeypatch.setattr(Hooked, "_run", full)
    _all_counted(gpt2, expected, "hooked")


def _all_counted(model: TransformerBridge, expected: PatchResult, engine: str) -> None:
    run = patch(model, models.PAIR, "z", engine=engine, **{**SWEEP, "batch_size": 16})
    told = Told(run)
    with pytest.warns(UserWarning, match="memory was full"):
        result = run.wait(PATIENCE)
    assert counted(result, told, expected) == run.total
