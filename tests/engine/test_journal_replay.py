"""What a journal promises holds for replayed sweeps too: nothing lost, nothing measured twice, nothing wrong kept."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.hooked import Patched
from patchwidgets.engine.measuring import Hooked
from patchwidgets.engine.patch import patch
from patchwidgets.engine.replay.engine import Replay
from patchwidgets.errors import PatchError
from patchwidgets.result import PatchResult
from tests import models
from tests.engine.stepping import PATIENCE
from tests.engine.test_journal import CELLS, EVERYTHING, close, record_size

SWEEP: dict[str, Any] = {"pair": models.PAIR, "site": "resid_pre", "batch_size": 2}


class Counted:
    """The cells that each engine measured, in order; a cell once, however many texts it is read in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.replayed: list[int] = []
        self.hooked: list[int] = []
        replay, hooked = Replay.run, Hooked._run

        def climbing(engine: Replay, cells: Any, *rest: Any) -> Any:
            found = replay(engine, cells, *rest)
            self.replayed += dict.fromkeys(cell for cell, _ in cells)
            return found

        def passing(engine: Hooked, batch: Any, *rest: Any) -> Patched:
            self.hooked += dict.fromkeys(cell for cell, _ in batch)
            return hooked(engine, batch, *rest)

        monkeypatch.setattr(Replay, "run", climbing)
        monkeypatch.setattr(Hooked, "_run", passing)

    def by(self, engine: str) -> list[int]:
        """The cells that the engine measured, in order of their numbers."""
        return sorted(self.replayed if engine == "replay" else self.hooked)

    def clear(self) -> None:
        """Begin to count anew."""
        self.replayed.clear()
        self.hooked.clear()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture(scope="module")
def whole(gpt2: TransformerBridge) -> PatchResult:
    result = patch(gpt2, **SWEEP).wait()
    assert result.engine == "replay"
    return result


def pending(result: PatchResult) -> list[int]:
    return np.flatnonzero(result.data["status"].values.ravel() == "pending").tolist()


def cancelled(model: TransformerBridge, journal: Path, after: int) -> PatchResult:
    """Return what a replayed sweep had when it was cancelled, once it had told of so many cells."""
    runs: list[Any] = []
    begun, replay = threading.Event(), Replay.run

    def cancelling(engine: Replay, *given: Any) -> Any:
        assert begun.wait(PATIENCE)
        if runs[0].done >= after:
            runs[0].cancel()
        return replay(engine, *given)

    with pytest.MonkeyPatch.context() as replaced:
        replaced.setattr(Replay, "run", cancelling)
        runs.append(patch(model, **SWEEP, engine="replay", resume=journal))
        begun.set()
        return runs[0].wait()


@pytest.mark.parametrize("engine", ["replay", "hooked"])
@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_a_cancelled_replay_is_gone_on_with_by_either_engine(
    gpt2: TransformerBridge, whole: PatchResult, counted: Counted, tmp_path: Path, after: int, engine: str
) -> None:
    path = tmp_path / "one.journal"
    partial = cancelled(gpt2, path, after)
    assert after <= CELLS - len(pending(partial)) < CELLS
    written = path.stat().st_size
    counted.clear()
    result = patch(gpt2, **SWEEP, engine=engine, resume=path).wait()
    assert close(result, whole)
    start, size = record_size(path)
    again = counted.by(engine)
    assert len(again) == len(set(again)) == CELLS - (written - start) // size
    assert set(again) >= set(pending(partial))
    if after >= 5:  # By then its first cells have been held against those of hooks: what is told is written.
        assert again == pending(partial)
    taken = np.isin(np.arange(whole.data["status"].size), again, invert=True).reshape(whole.data["status"].shape)
    found, before = (each.data["patched"].values[:, taken] for each in (result, partial))
    np.testing.assert_array_equal(found, before)


def test_what_hooks_began_is_gone_on_with_by_replaying(
    gpt2: TransformerBridge, whole: PatchResult, counted: Counted, tmp_path: Path
) -> None:
    path = tmp_path / "one.journal"
    hooked = patch(gpt2, **SWEEP, engine="hooked", resume=path).wait()
    start, size = record_size(path)
    path.write_bytes(path.read_bytes()[: start + 5 * size])
    first = set(counted.hooked[:5])
    counted.clear()
    result = patch(gpt2, **SWEEP, resume=path).wait()
    assert result.engine == "replay"
    assert len(counted.replayed) == CELLS - 5
    assert not first & set(counted.replayed)
    assert close(result, whole)
    written = np.isin(np.arange(result.data["status"].size), list(first)).reshape(result.data["status"].shape)
    np.testing.assert_array_equal(result.data["patched"].values[:, written], hooked.data["patched"].values[:, written])


KILLED = """
import sys, time
from patchwidgets.engine.patch import patch
from patchwidgets.engine.replay.engine import Replay
from tests import models

waves, replay = [], Replay.run

def stalling(engine, cells, *rest):
    if len(waves) == 4:
        print(sum(waves), flush=True)
        time.sleep(600)
    waves.append(len(cells))
    return replay(engine, cells, *rest)

Replay.run = stalling
patch(models.bridge("gpt2"), models.PAIR, "resid_pre", batch_size=2, engine="replay", resume=sys.argv[1]).wait()
"""


@pytest.mark.parametrize("engine", ["replay", "hooked"])
def test_a_killed_replay_goes_on_where_it_was(
    gpt2: TransformerBridge, whole: PatchResult, counted: Counted, tmp_path: Path, engine: str
) -> None:
    path = tmp_path / "one.journal"
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.stdout is not None
    with killed, killed.stdout as told:
        done = int(told.readline())
        with pytest.raises(PatchError, match="in use by another sweep"):
            patch(gpt2, **SWEEP, resume=path)
        killed.kill()
    assert 0 < done < CELLS
    result = patch(gpt2, **SWEEP, engine=engine, resume=path).wait()
    assert len(counted.by(engine)) == len(set(counted.by(engine))) == CELLS - done
    assert close(result, whole)


def test_whatever_is_cut_off_is_replayed_again_and_nothing_else(
    gpt2: TransformerBridge, whole: PatchResult, counted: Counted, tmp_path: Path
) -> None:
    path = tmp_path / "one.journal"
    patch(gpt2, **SWEEP, resume=path).wait()
    content = path.read_bytes()
    start, size = record_size(path)
    ends = [0, 10, start - 1, start, start + 1]
    ends += [start + n * size + rest for n, rest in ((0, size - 1), (1, 0), (5, 20), (10, 0), (11, 0), (11, size - 1))]
    for end in ends:
        path.write_bytes(content[:end])
        counted.clear()
        result = patch(gpt2, **SWEEP, resume=path).wait()
        assert result.engine == "replay"
        assert len(counted.replayed) == len(set(counted.replayed)) == CELLS - max(0, end - start) // size, end
        assert close(result, whole), end
        assert len(path.read_bytes()) == len(content), end
    counted.clear()
    assert patch(gpt2, **SWEEP, resume=path).wait().data.identical(result.data)
    assert counted.replayed == counted.hooked == []


@pytest.mark.parametrize("options", EVERYTHING.values(), ids=EVERYTHING)
def test_half_a_journal_gives_the_numbers_of_a_whole_replay(
    gpt2: TransformerBridge, counted: Counted, tmp_path: Path, options: dict[str, Any]
) -> None:
    settings = {"pair": models.PAIR, "site": "resid_pre", "batch_size": 3, **options}
    path = tmp_path / "one.journal"
    expected = patch(gpt2, **settings).wait()
    assert expected.engine == ("hooked" if "standing" in options else "replay")
    assert close(patch(gpt2, **settings, resume=path).wait(), expected)
    total = int((expected.data["status"] == "measured").sum())
    start, size = record_size(path, total)
    path.write_bytes(path.read_bytes()[: start + total // 2 * size + 5])
    counted.clear()
    run = patch(gpt2, **settings, resume=path)
    result = run.wait()
    assert close(result, expected)
    assert len(set(counted.by(expected.engine))) == total - total // 2
    assert (run.done, run.total) == (total, total)


def test_a_number_that_hooks_do_not_confirm_never_gets_into_a_journal(
    gpt2: TransformerBridge, whole: PatchResult, counted: Counted, tmp_path: Path
) -> None:
    """The sweep is ended while its own hooks measure it again, and gone on with when replaying is right again."""
    path, replay, hooked = tmp_path / "one.journal", Replay.run, Hooked._run
    passes: list[int] = []

    def off(engine: Replay, *given: Any) -> Any:
        read, every, worst = replay(engine, *given)
        return {key: logits + torch.linspace(0, 1, logits.shape[-1]) for key, logits in read.items()}, every, worst

    def failing(engine: Hooked, batch: Any, controls: bool, *rest: Any) -> Patched:
        passes.append(len(batch))
        if len(passes) == 4:
            raise RuntimeError("the machine went down")
        return hooked(engine, batch, controls, *rest)

    with pytest.MonkeyPatch.context() as replaced:
        replaced.setattr(Replay, "run", off)
        replaced.setattr(Hooked, "_run", failing)
        with pytest.raises(RuntimeError, match="went down"):
            patch(gpt2, **SWEEP, resume=path).wait()
    counted.clear()
    result = patch(gpt2, **SWEEP, resume=path).wait()
    assert result.engine == "replay"
    assert 0 < len(counted.replayed) < CELLS
    assert close(result, whole)
    assert (result.data["status"].values.ravel()[counted.replayed] == "measured").all()


@pytest.mark.parametrize("stop", [1, 2])
def test_a_sweep_cancelled_while_its_cells_are_checked_keeps_none_of_them(
    gpt2: TransformerBridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Numbers that are wrong and have not been compared yet must not be gone on from."""
    pairs = models.five_pairs()
    journal, replay, hooked = tmp_path / "one.journal", Replay.run, Hooked._run
    expected = patch(gpt2, pairs, "resid_pre", engine="hooked").wait()
    passes: list[int] = []

    def off(engine: Replay, *given: Any) -> Any:
        read, every, worst = replay(engine, *given)
        return {key: logits + torch.linspace(0, 1, logits.shape[-1]) for key, logits in read.items()}, every, worst

    def cancelling(engine: Hooked, batch: Any, controls: bool, *rest: Any) -> Patched:
        passes.append(len(batch))
        if len(passes) == stop:
            sweeps[0].cancel()
        return hooked(engine, batch, controls, *rest)

    sweeps: list[Any] = []
    with pytest.MonkeyPatch.context() as replaced:
        replaced.setattr(Replay, "run", off)
        replaced.setattr(Hooked, "_run", cancelling)
        run = patch(gpt2, pairs, "resid_pre", resume=str(journal), engine="replay", batch_size=10)
        sweeps.append(run)
        with contextlib.suppress(PatchError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run.wait()
    resumed = patch(gpt2, pairs, "resid_pre", resume=str(journal)).wait()
    np.testing.assert_allclose(resumed.data["patched"], expected.data["patched"], atol=1e-12)


def test_a_cancel_after_the_last_cell_leaves_a_whole_checked_sweep(gpt2: TransformerBridge, tmp_path: Path) -> None:
    journal = tmp_path / "one.journal"
    sweep = {key: value for key, value in SWEEP.items() if key != "batch_size"}
    run = patch(gpt2, **sweep, resume=str(journal))

    def listener(run: Any, cells: Any) -> None:
        if run.done == run.total:
            run.cancel()

    run.subscribe(listener)
    result = run.wait()
    assert run.complete
    assert not pending(result)
    assert result.check["remeasured"] == 2
    again = patch(gpt2, **sweep, resume=str(journal)).wait()
    np.testing.assert_array_equal(again.data["patched"], result.data["patched"])
    assert again.check["remeasured"] == 0
