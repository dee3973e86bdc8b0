"""A sweep keeps to the memory it is given: fewer runs at once, the same numbers, and no cell lost or measured twice."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.engine.hooked import Patched
from patchwidgets.engine.measuring import Hooked
from patchwidgets.engine.replay.engine import Replay
from patchwidgets.errors import PatchError
from patchwidgets.result import PatchResult
from tests import models

SWEEPS: list[dict[str, Any]] = [
    {"site": "resid_pre"},
    {"site": "z", "by": ("layer", "pos", "head")},
    {"site": "mlp_out", "metric": ["logit_diff", "kl_clean"]},
    {"site": "v", "metric": lambda logits, tokens: logits[:, :, 3].sum(-1)},
]


def sweep(model: Any, engine: str, **options: Any) -> PatchResult:
    return pw.patch(model, models.PAIR, **{"site": "resid_pre", "engine": engine, **options}).wait()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The cells of every batch of patched runs that was finished; not those that hooks measure again to judge."""
    done: list[list[int]] = []
    replay, hooked = Replay.run, Hooked._run

    def replayed(self: Replay, cells: Any, *rest: Any) -> Any:
        found = replay(self, cells, *rest)
        done.append([cell for cell, _ in cells])
        return found

    def passed(self: Hooked, batch: Any, controls: bool, *rest: Any) -> Patched:
        found = hooked(self, batch, controls, *rest)
        if controls:
            done.append([cell for cell, _ in batch])
        return found

    monkeypatch.setattr(Replay, "run", replayed)
    monkeypatch.setattr(Hooked, "_run", passed)
    return done


def measured(result: PatchResult) -> list[int]:
    return np.flatnonzero(result.data["status"].values.ravel() == "measured").tolist()


@pytest.mark.parametrize("engine", ["replay", "hooked"])
@pytest.mark.parametrize("options", SWEEPS, ids=lambda options: options["site"])
def test_little_memory_means_small_batches_and_the_same_numbers(
    gpt2: Any, engine: str, options: dict[str, Any], batches: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep(gpt2, engine, **options)
    most = max(map(len, batches))
    batches.clear()
    little = sweep(gpt2, engine, **options, memory=1e6)
    assert little.engine == engine
    np.testing.assert_allclose(little.data["patched"], whole.data["patched"], atol=1e-12)
    assert sorted(cell for batch in batches for cell in batch) == measured(whole) == measured(little)
    assert max(map(len, batches)) <= most
    batches.clear()
    tight(monkeypatch, gpt2)
    sweep(gpt2, engine, **options, memory=1e6)
    assert sorted(cell for batch in batches for cell in batch) == measured(whole)
    assert max(map(len, batches)) <= 2


def tight(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    """Make every run seem to take all that a sweep of a tiny model may have."""
    monkeypatch.setattr("patchwidgets.engine.replay.waves.row_bytes", lambda handle: 10**6)
    monkeypatch.setattr("patchwidgets.engine.measuring.text_bytes", lambda handle, length, kept: 10**6)


def test_base_runs_that_would_fill_the_memory_are_not_taped(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchwidgets.engine.replay.engine.tape_bytes", lambda handle, tokens: 6 * 10**8)
    result = pw.patch(gpt2, models.PAIR, "z", memory=1e9).wait()
    assert result.engine == "hooked"
    assert result.provenance["why_hooked"] == (
        "its base runs would take 0.6 GB, more than half of the 1 GB of memory that the sweep may take: give it more, "
        "or sweep fewer pairs at a time"
    )
    with pytest.raises(PatchError, match=r"cannot be replayed: its base runs would take 0\.6 GB"):
        pw.patch(gpt2, models.PAIR, "z", memory=1e9, engine="replay").wait()
    assert pw.patch(gpt2, models.PAIR, "z", memory=1.3e9).wait().engine == "replay"


def full(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Make the device run out of memory when more runs than that go through at once."""
    replay, hooked = Replay.run, Hooked._run

    def guarded(run: Callable[..., Any]) -> Callable[..., Any]:
        def running(self: Any, cells: Any, *rest: Any) -> Any:
            if len(cells) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return run(self, cells, *rest)

        return running

    monkeypatch.setattr(Replay, "run", guarded(replay))
    monkeypatch.setattr(Hooked, "_run", guarded(hooked))


@pytest.mark.parametrize("engine", ["replay", "hooked"])
@pytest.mark.parametrize("options", SWEEPS, ids=lambda options: options["site"])
def test_a_device_that_is_full_gets_half_as_many_runs_at_once(
    gpt2: Any, engine: str, options: dict[str, Any], batches: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep(gpt2, engine, **options)
    batches.clear()
    full(monkeypatch, 2)
    with pytest.warns(
        UserWarning, match=r"^the device's memory was full: the sweep went on with (one|2) patched runs? at once"
    ):
        halves = sweep(gpt2, engine, **options)
    assert halves.engine == engine
    np.testing.assert_allclose(halves.data["patched"], whole.data["patched"], atol=1e-12)
    assert sorted(cell for batch in batches for cell in batch) == measured(whole) == measured(halves)
    assert max(map(len, batches)) <= 2


@pytest.mark.parametrize("engine", ["replay", "hooked"])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_one_cell_of_many_pairs_goes_through_in_pieces(
    gpt2: Any, engine: str, most: int, batches: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = models.five_pairs()
    whole = pw.patch(gpt2, pairs, "resid_pre", engine=engine).wait()
    batches.clear()
    full(monkeypatch, most)
    with pytest.warns(UserWarning, match="memory was full"):
        pieces = pw.patch(gpt2, pairs, "resid_pre", engine=engine).wait()
    assert pieces.engine == engine
    np.testing.assert_allclose(pieces.data["patched"], whole.data["patched"], atol=1e-12)
    assert sorted(cell for batch in batches for cell in batch) == sorted(measured(whole) * len(pairs))
    assert max(map(len, batches)) <= most


@pytest.mark.parametrize(
    ("rows", "idle", "numbers"), [(1, 0, 1), (3, 300, 3000), (20, 2000, 10**6), (512, 10**9, 10**9)]
)
@pytest.mark.parametrize("site", ["resid_pre", "q", "pattern", "mlp_post"])
def test_however_the_work_is_cut_the_numbers_are_the_same(
    gpt2: Any, site: str, rows: int, idle: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"site": site, "neurons": [0, 5]} if site == "mlp_post" else {"site": site}
    expected = sweep(gpt2, "hooked", **options)
    for name, value in {"_ROWS": rows, "_IDLE": idle, "_NUMBERS": numbers}.items():
        monkeypatch.setattr(f"patchwidgets.engine.replay.climb.{name}", value)
    found = sweep(gpt2, "replay", **options)
    np.testing.assert_allclose(found.data["patched"], expected.data["patched"], atol=1e-12)


@pytest.mark.parametrize("engine", ["replay", "hooked"])
@pytest.mark.filterwarnings("ignore:the device's memory was full")
def test_a_run_that_does_not_fit_alone_is_told(gpt2: Any, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sweep(gpt2, engine)
    with monkeypatch.context() as patched:
        full(patched, 0)
        with pytest.raises(PatchError, match="one patched run does not fit into the device's memory beside the model"):
            sweep(gpt2, engine)
    np.testing.assert_array_equal(sweep(gpt2, engine).data["patched"], before.data["patched"])


@pytest.mark.parametrize("memory", [0, -1, 5e5, float("nan"), float("inf"), "4 GB", True, [1e9]])
def test_memory_is_a_number_of_bytes(gpt2: Any, memory: Any) -> None:
    with pytest.raises(PatchError, match="memory must be a number of bytes, 1e6 or more, not"):
        pw.patch(gpt2, models.PAIR, "z", memory=memory)


@pytest.mark.parametrize("engine", ["replay", "hooked"])
def test_a_sweep_that_is_dropped_leaves_no_tensor(gpt2: Any, engine: str) -> None:
    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    sweep(gpt2, engine)
    before = tensors()
    result = sweep(gpt2, engine, site="z")
    assert tensors() == before
    del result
    assert tensors() == before
