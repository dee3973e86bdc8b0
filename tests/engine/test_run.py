"""A running sweep as its user sees it: waiting, iterating, awaiting, cancelling."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.patch import patch
from patchwidgets.engine.run import Run
from patchwidgets.interventions import Mask, Mean, Standing
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models
from tests.engine.stepping import PATIENCE, Brake

CHUNK = 4


def start(model: TransformerBridge, site: str = "z", **options: Any) -> Run:
    """Through hooks, where a forward pass measures so many cells and no others."""
    return patch(model, models.PAIR, site, batch_size=CHUNK, engine="hooked", **options)


def test_done_and_total_count_the_measured_cells(gpt2: TransformerBridge) -> None:
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2, "resid_pre")
        assert run.total == 3 * 4  # Three of seven positions are known without computing.
        brake.arrive()
        assert (run.done, run.finished) == (0, False)
        brake.step()
        brake.step()
        assert run.done == CHUNK
        assert repr(run) == f"Run(running, {CHUNK} of 12 cells)"
    run.wait()
    assert (run.done, run.finished, run.cancelled) == (12, True, False)
    assert repr(run) == "Run(done, 12 of 12 cells)"


def test_iteration_yields_a_growing_table_and_ends_with_the_whole(gpt2: TransformerBridge) -> None:
    counts, last = [], None
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.step()  # Past the pass that records the two runs.
        for snapshot in run:
            counts.append(int((snapshot.data["status"] == "measured").sum()))
            assert int(np.isfinite(snapshot.data["patched"].values).sum()) == counts[-1]
            last = snapshot
            brake.let_go()
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == run.total == 12
    assert len(set(counts)) > 2
    assert last is not None
    np.testing.assert_array_equal(last.data["patched"].values, run.wait().data["patched"].values)


def test_a_snapshot_is_its_own_and_does_not_change_later(gpt2: TransformerBridge) -> None:
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2, "resid_pre")
        brake.arrive()
        brake.step()
        early = run.snapshot()
        shown = early.data.copy(deep=True)
    run.wait()
    assert early.data.identical(shown)
    counts = {name: int((early.data["status"] == name).sum()) for name in ("implied", "pending", "measured")}
    assert counts == {"implied": 9, "pending": 12, "measured": 0}


def test_a_timeout_leaves_the_sweep_running(gpt2: TransformerBridge) -> None:
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        with pytest.raises(TimeoutError, match="0 of 12 cells and goes on"):
            run.wait(timeout=0.01)
        assert not run.finished
        assert not run.cancelling
    run.wait(timeout=PATIENCE)
    assert run.done == 12


def test_await_gives_the_result_and_the_loop_stays_free(gpt2: TransformerBridge) -> None:
    async def main() -> tuple[PatchResult, int]:
        turns = 0
        with Brake(gpt2.blocks[0]) as brake:
            run = start(gpt2)
            task = asyncio.ensure_future(_awaited(run))
            brake.arrive()
            for _ in range(5):
                await asyncio.sleep(0)
                turns += 1
            assert not task.done()
        return await task, turns

    result, turns = asyncio.run(main())
    assert turns == 5
    np.testing.assert_array_equal(result.data["patched"].values, start(gpt2).wait().data["patched"].values)


async def _awaited(run: Run) -> PatchResult:
    return await run


def test_cancelling_the_task_that_awaits_cancels_the_sweep(gpt2: TransformerBridge) -> None:
    async def main(run: Run, brake: Brake) -> None:
        task = asyncio.ensure_future(_awaited(run))
        await asyncio.sleep(0)
        brake.arrive()
        task.cancel()
        await asyncio.sleep(0)
        assert run.cancelling
        brake.let_go()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        asyncio.run(main(run, brake))
    run.wait(PATIENCE)
    assert run.cancelled


def test_cancelled_with_nothing_to_measure_it_is_no_whole_result(gpt2: TransformerBridge) -> None:
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2, "resid_pre", positions=[0])
        brake.arrive()
        assert run.total == 0
        run.cancel()
        assert (run.cancelled, run.complete) == (True, False)
        brake.let_go()
        result = run.wait(PATIENCE)
    assert (run.stopped, run.cancelled, run.complete) == (True, True, False)
    assert repr(run) == "Run(cancelled, 0 of 0 cells)"
    assert np.isnan(result.clean)


def test_cancelled_after_its_end_a_run_with_nothing_to_measure_is_whole(gpt2: TransformerBridge) -> None:
    run = start(gpt2, "resid_pre", positions=[0])
    result = run.wait(PATIENCE)
    run.cancel()
    assert (run.stopped, run.cancelled, run.complete) == (False, False, True)
    assert np.isfinite(result.clean)


def test_cancel_stops_at_the_next_layer_and_keeps_what_was_measured(gpt2: TransformerBridge) -> None:
    before = models.state(gpt2)
    whole = start(gpt2).wait()
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        brake.step()
        brake.step()
        assert run.done == CHUNK
        run.cancel()
        brake.let_go()
        result = run.wait(PATIENCE)
        assert brake.passes == 3
    assert run.cancelled
    assert run.done == CHUNK
    assert repr(run) == f"Run(cancelled, {CHUNK} of 12 cells)"
    measured = result.data["status"].values == "measured"
    assert (result.data["status"].values[~measured] == "pending").all()
    assert measured.sum() == CHUNK
    patched = result.data["patched"].values[0]
    assert np.isnan(patched[~measured]).all()
    np.testing.assert_allclose(patched[measured], whole.data["patched"].values[0][measured], rtol=0, atol=1e-9)
    assert models.state(gpt2) == before
    assert (result.clean, result.corrupted) == (whole.clean, whole.corrupted)


MEAN = Mean(over=models.five_pairs(), per_position=False)


@pytest.mark.parametrize(
    ("options", "passes"),
    [({"standing": [Standing("mlp_out", MEAN, layers=[0])]}, 1), ({"intervention": Mask()}, 2)],
    ids=["standing", "mask"],
)
def test_cancel_leaves_the_runs_that_values_are_made_of(
    gpt2: TransformerBridge, options: dict[str, Any], passes: int
) -> None:
    before, above = models.state(gpt2), []
    hook = gpt2.blocks[2].register_forward_pre_hook(lambda *_: above.append(threading.current_thread()))
    try:
        with Brake(gpt2.blocks[1]) as brake:
            run = start(gpt2, **options)
            brake.arrive()
            for _ in range(1, passes):
                brake.step()
            run.cancel()
            brake.let_go()
            run.wait(PATIENCE)
    finally:
        hook.remove()
    assert len([thread for thread in above if thread is not threading.main_thread()]) == passes - 1
    assert (run.stopped, run.done) == (True, 0)
    assert models.state(gpt2) == before


@pytest.mark.parametrize(("what", "passes"), [(None, 1), (MEAN, 2)], ids=["patch", "mean"])
def test_cancel_in_the_plain_runs_leaves_them(gpt2: TransformerBridge, what: Any, passes: int) -> None:
    before = models.state(gpt2)
    with Brake(gpt2.blocks[1]) as brake:
        run = start(gpt2, "resid_pre", intervention=what)
        brake.arrive()
        for _ in range(1, passes):
            brake.step()
        run.cancel()
        brake.let_go()
        result = run.wait(PATIENCE)
        assert brake.passes == passes
    assert_unknown(run, result)
    assert bool(np.isnan(result.clean)) == bool(np.isnan(result.corrupted)) == (what is None)
    assert models.state(gpt2) == before


@pytest.mark.parametrize("engine", ["hooked", "replay"])
def test_a_sweep_cancelled_before_the_model_is_free_runs_nothing(gpt2: TransformerBridge, engine: str) -> None:
    whole = patch(gpt2, models.PAIR, "resid_pre", engine=engine).wait()
    before = models.state(gpt2)
    with handle_of(gpt2).lock:
        run = patch(gpt2, models.PAIR, "resid_pre", engine=engine, positions=[2, 3])
        run.cancel()
    result = run.wait(PATIENCE)
    assert_unknown(run, result)
    assert np.isnan(result.clean)
    assert models.state(gpt2) == before
    again = patch(gpt2, models.PAIR, "resid_pre", engine=engine).wait()
    np.testing.assert_allclose(again.data["patched"], whole.data["patched"], rtol=0, atol=1e-9)


def assert_unknown(run: Run, result: PatchResult) -> None:
    assert (run.cancelled, run.done, run.error) == (True, 0, None)
    pending = result.data["status"].values == "pending"
    assert pending.sum() == run.total
    assert np.isnan(result.data["patched"].values[0][pending]).all()


def test_cancel_after_the_end_changes_nothing(gpt2: TransformerBridge) -> None:
    run = start(gpt2)
    result = run.wait()
    run.cancel()
    assert not run.cancelled
    assert run.wait().data.identical(result.data)


@pytest.mark.usefixtures("_interrupts")
def test_keyboard_interrupt_in_wait_cancels_and_is_raised_again(gpt2: TransformerBridge) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupt(run: Run, cells: np.ndarray) -> None:
        """From the engine's thread, while the main thread is inside `Run.wait`."""
        if run.done == CHUNK and not run.finished:
            while not _waits(main):
                threading.Event().wait(0.001)
            signal.pthread_kill(main, signal.SIGINT)
            for _ in range(10_000):
                if run.cancelling:
                    break
                threading.Event().wait(0.001)

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        run.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    assert run.cancelling
    result = run.wait(PATIENCE)
    assert run.done == CHUNK
    assert int((result.data["status"] == "measured").sum()) == CHUNK


def _waits(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    names = []
    while frame is not None:
        names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return "Run.wait" in names and any(name.endswith("Condition.wait") for name in names)


def test_a_small_gap_is_warned_of_once_and_raw_effects_are_kept() -> None:
    """Two answers the model cannot tell apart: their unembeddings are made equal."""
    model = models.hugging_face("llama")
    answer, foil = models.answer_ids()
    model.lm_head.weight.data[answer] = model.lm_head.weight.data[foil]
    bridge = models.bridged(model)
    run = patch(bridge, models.PAIR, "z", metric=["logit_diff", "logprob"])
    with pytest.warns(UserWarning, match=r"hardly differ: logit_diff is .* clean and .* corrupted") as told:
        result = run.wait()
    assert len(told) == 1
    assert "logprob is" not in str(told[0].message)
    assert "0 clean and 0 corrupted" in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.wait()
    assert np.isnan(result.normalized.sel(metric="logit_diff").values).all()
    assert np.isfinite(result.effect.sel(metric="logit_diff").values).all()
    assert np.isfinite(result.normalized.sel(metric="logprob").values).all()
    assert "the two runs hardly differ" in result.describe()


def test_a_sweep_keeps_its_model_while_it_runs_and_not_longer() -> None:
    kept, model = models.bridge("gpt2"), models.bridge("gpt2")
    expected = start(kept).wait()
    gone = weakref.ref(model)
    with Brake(model.blocks[1]) as brake:
        run = start(model)
        brake.arrive()
        del model
        gc.collect()
        assert gone() is not None
    result = run.wait()
    np.testing.assert_array_equal(result.data["patched"].values, expected.data["patched"].values)
    del run, brake
    gc.collect()
    assert gone() is None
    assert result.describe()


def test_an_unknown_word_is_warned_of(gpt2: TransformerBridge) -> None:
    pair = PromptPair("w1 zebra w3", "w1 w2 w3", answer="w5", foil="w6")
    with pytest.warns(UserWarning, match=r"the clean prompt has a word this model does not know.*\[UNK\]") as told:
        patch(gpt2, pair, "z").wait()
    assert len(told) == 1
