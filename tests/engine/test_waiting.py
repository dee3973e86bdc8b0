"""While somebody waits for a sweep: the bar at a terminal, Ctrl-C, listeners, the end of Python."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
import threading

import numpy as np
import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine import run as running
from patchwidgets.engine.patch import patch
from patchwidgets.engine.run import Run
from patchwidgets.errors import PatchError
from patchwidgets.result import PatchResult
from tests import models
from tests.engine.stepping import PATIENCE, Brake

CHUNK = 4


class Terminal(io.StringIO):
    """A stream that says that a person looks at it."""

    def isatty(self) -> bool:
        return True


def start(model: TransformerBridge) -> Run:
    """Through hooks, where a forward pass measures so many cells and no others."""
    return patch(model, models.PAIR, "z", batch_size=CHUNK, engine="hooked")


def test_a_bar_at_a_terminal_counts_the_cells(gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        brake.step()
        brake.step()
        with pytest.raises(TimeoutError, match="4 of 12 cells and goes on"):
            run.wait(timeout=0.05)
        assert "4/12" in terminal.getvalue()
        assert not run.cancelling
    result = run.wait()
    assert terminal.getvalue().rstrip().rpartition("\r")[2].count("12/12") == 1
    assert (result.data["status"] == "measured").all()


def test_a_bar_grows_while_it_is_shown(gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine goes on from its first chunk when the bar has shown that nothing is measured, and waits again."""

    def drive(brake: Brake) -> None:
        for shown in ("0/12", "4/12", "8/12"):
            _until(lambda shown=shown: shown in terminal.getvalue())
            brake.let_go()

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        brake.step()  # Past the pass that records the two runs.
        driver = threading.Thread(target=drive, args=(brake,))
        driver.start()
        run.wait(PATIENCE)
        driver.join(PATIENCE)
    assert "12/12" in terminal.getvalue()


def test_no_bar_where_nobody_looks(gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    start(gpt2).wait()
    assert written.getvalue() == ""


@pytest.mark.usefixtures("_interrupts")
def test_keyboard_interrupt_while_iterating_cancels_and_is_raised_again(gpt2: TransformerBridge) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        _until(lambda: _waits(main))
        signal.pthread_kill(main, signal.SIGINT)

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        brake.step()
        snapshots = iter(run)
        assert (next(snapshots).data["status"] == "pending").all()
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            next(snapshots)
        assert run.cancelling
    run.wait(PATIENCE)
    assert run.cancelled


def _waits(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    names = []
    while frame is not None:
        names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return "Run.__iter__" in names and any(name.endswith("Condition.wait") for name in names)


def _until(true: object) -> None:
    assert callable(true)
    for _ in range(20_000):
        if true():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it never came to pass")


def test_the_end_of_python_cancels_what_runs_and_waits_for_it(gpt2: TransformerBridge) -> None:
    ended = start(gpt2)
    ended.wait()
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        stopping = threading.Thread(target=running._stop_all)
        stopping.start()
        _until(lambda: run.cancelling)
        assert stopping.is_alive()
        brake.let_go()
        stopping.join(PATIENCE)
        assert run.finished
    assert (run.cancelled, ended.cancelling) == (True, False)


def test_a_listener_is_told_every_cell_once_and_of_the_end(gpt2: TransformerBridge) -> None:
    told: list[list[int]] = []

    def listen(run: Run, cells: np.ndarray) -> None:
        told.append(cells.tolist())

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        run.subscribe(listen)
        run.subscribe(listen)
    run.wait()
    assert sorted(cell for cells in told for cell in cells) == list(range(12))
    assert told[-1] == []
    run.subscribe(listen)
    assert told[-2:] == [[], []]
    assert len(told) == 6  # None known without measuring, three chunks, the end, and the end for who comes late.


def test_a_listener_that_raises_harms_nobody(gpt2: TransformerBridge, caplog: pytest.LogCaptureFixture) -> None:
    told = []

    def fail(run: Run, cells: np.ndarray) -> None:
        raise RuntimeError("a listener broke")

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        run.subscribe(fail)
        run.subscribe(lambda run, cells: told.append(len(cells)))
    result = run.wait()
    assert run.complete
    assert sum(told) == 12
    assert (result.data["status"] == "measured").all()
    assert "a listener broke" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_a_listener_that_would_end_its_thread_harms_nobody(
    gpt2: TransformerBridge, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    told = []

    def fail(run: Run, cells: np.ndarray) -> None:
        raise error

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        run.subscribe(fail)
        run.subscribe(lambda run, cells: told.append((len(cells), run.finished)))
    result = run.wait(PATIENCE)
    assert (run.complete, run.done) == (True, 12)
    assert (result.data["status"] == "measured").all()
    assert told[-1] == (0, True)
    assert error.__name__ in caplog.text
    with pytest.raises(error):  # In the caller's own thread it is the caller's.
        run.subscribe(fail)


def test_a_listener_may_wait_at_the_end_and_not_before(gpt2: TransformerBridge) -> None:
    found: list[object] = []

    def waiting(run: Run, cells: np.ndarray) -> None:
        for ask in (lambda: run.wait(PATIENCE), lambda: list(run)[-1]):
            try:
                found.append(ask())
            except PatchError as error:
                assert not run.finished
                found.append(str(error))

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        run.subscribe(waiting)
    result = run.wait(PATIENCE)
    assert set(found[:-2]) == {"a listener cannot wait for the sweep that calls it; take run.snapshot()."}
    for each in found[-2:]:
        assert isinstance(each, PatchResult)
        assert each.data.identical(result.data)


def test_keyboard_interrupt_while_a_partial_result_is_made_cancels(
    gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> PatchResult:
        raise KeyboardInterrupt

    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.step()
        with monkeypatch.context() as replaced:
            replaced.setattr(run, "snapshot", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(iter(run))
        assert run.cancelling
    run.wait(PATIENCE)
    assert run.cancelled


def test_the_time_stands_still_when_the_sweep_has_ended(gpt2: TransformerBridge) -> None:
    with Brake(gpt2.blocks[0]) as brake:
        run = start(gpt2)
        brake.arrive()
        early = run.seconds
        assert run.seconds > early > 0
    run.wait()
    late = run.seconds
    assert late > early
    assert run.seconds == late
