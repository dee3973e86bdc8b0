"""Waiting covers what is being done; what an Explorer does ends when it is closed, and its last map stays."""

from __future__ import annotations

import threading

import pytest

import patchwidgets as pw
from patchwidgets.explorer import still, suggesting
from patchwidgets.explorer.worker import Deadline, Worker


def in_thread(action) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_waiting_ends_where_the_worker_is_closed(explorer):
    worker, held, ended = Worker(), threading.Event(), threading.Event()
    worker.submit(lambda: held.wait(60) and None)
    worker.submit(lambda: None)

    def wait() -> None:
        worker.wait(Deadline(None))
        ended.set()

    in_thread(wait)
    while not any(task._waiters for task in worker._tasks):
        pass
    worker.close()
    held.set()
    assert ended.wait(20)


def test_no_run_begins_on_a_closed_explorer(model, monkeypatch):
    explorer = pw.explore(model)
    explorer.wait()
    plan = explorer._form.plan

    def closing(settings):
        made = plan(settings)
        explorer.close()
        return made

    monkeypatch.setattr(explorer._form, "plan", closing)
    with pytest.raises(pw.PatchError, match="closed"):
        explorer.run()
    assert explorer._run is None


def test_waiting_covers_a_change_that_is_being_acted_on(explorer, monkeypatch):
    """The pause has ended, and its thread has not got to the worker yet."""
    begun, go, refresh = threading.Event(), threading.Event(), explorer._refresh

    def slow() -> None:
        begun.set()
        assert go.wait(60)
        refresh()

    explorer.run()
    explorer.wait()
    other = "When Jane and John went to the store, John gave a drink to"
    monkeypatch.setattr(explorer, "_refresh", slow)
    monkeypatch.setattr("patchwidgets.explorer.explorer._PAUSE", 0.001)
    explorer._entry.corrupted.value = other
    assert begun.wait(60)
    found = []
    waiting = in_thread(lambda: found.append(explorer.wait()))
    waiting.join(0.2)
    go.set()
    waiting.join(60)
    assert found[0].provenance["prompts"]["corrupted"] == other


def test_a_search_for_suggestions_ends_with_the_explorer(model, monkeypatch):
    stops = []

    def found(*_args, stop=lambda: False, **_options):
        explorer.close()
        stops.append(stop())
        return []

    explorer = pw.explore(model)
    explorer.wait()
    monkeypatch.setattr(suggesting, "suggestions", found)
    explorer._suggesting.ask(2)
    explorer._worker._pool.shutdown(wait=True)
    assert stops == [True]


@pytest.fixture
def pages(monkeypatch):
    """The pages that a still has put into its output."""
    shown = []
    for name in ("display", "update_display"):
        monkeypatch.setattr(still, name, lambda bundle, **_: shown.append(bundle["text/html"]))
    return shown


@pytest.mark.parametrize("closed_first", [False, True])
def test_the_last_map_is_kept_where_an_explorer_is_closed_at_once(explorer, pages, closed_first):
    later = []
    kept = still.Still("name", later.append)
    kept.display()
    explorer.run()
    kept.keep(explorer.wait())
    for each in (kept.close, later.pop()) if closed_first else (later.pop(), kept.close):
        each()
    assert len(pages) == 2
    assert "last whole map" in pages[1]


def test_a_map_that_comes_while_nothing_is_displayed_yet_is_displayed_after(explorer, pages, monkeypatch):
    explorer.run()
    result, later = explorer.wait(), []
    kept = still.Still("name", later.append)
    display = still.display

    def slow(bundle, **options):
        kept.keep(result)
        while later:
            later.pop()()
        display(bundle, **options)

    monkeypatch.setattr(still, "display", slow)
    kept.display()
    while later:
        later.pop()()
    assert "last whole map" in pages[-1]
