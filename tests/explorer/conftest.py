"""An Explorer on the embedded model, clicks on its maps, and a brake on the model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

import patchwidgets as pw


@pytest.fixture(scope="module")
def model():
    return pw.load_model()


@pytest.fixture
def explorer(model):
    made = pw.explore(model)
    made.wait()
    yield made
    made.close()


class Brake:
    """Stops whatever runs the model while it is on: each waits until `step` or `off` lets it go.

    It acts where all of them pass once, before the model's last norm: the replay engine runs copies of the modules.
    """

    def __init__(self, norm: torch.nn.Module) -> None:
        self._norm = (type(norm), norm.name)
        self._changed = threading.Condition()
        self._on = False
        self._waiting = self._steps = 0

    def __call__(self, module: torch.nn.Module, _args: object) -> None:
        if (type(module), getattr(module, "name", None)) != self._norm:
            return
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._on or self._steps > 0)
            self._steps -= self._on
            self._waiting -= 1
            self._changed.notify_all()

    def on(self) -> None:
        with self._changed:
            self._on, self._steps = True, 0

    def off(self) -> None:
        with self._changed:
            self._on = False
            self._changed.notify_all()

    def until_reached(self) -> None:
        """Wait until a run of the model has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting > 0, timeout=30)

    def step(self) -> None:
        """Let one run of the model through."""
        self.until_reached()
        with self._changed:
            self._steps += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._steps == 0, timeout=30)


@pytest.fixture
def brake(model, explorer):
    made = Brake(model.ln_final)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(made)
    yield made
    made.off()
    hook.remove()


@pytest.fixture
def broken(model, explorer):
    """Return a function that makes the model fail in the threads whose names begin as given."""
    hooks = []

    def break_in(thread: str) -> None:
        def fail(_module: object, _args: object, _options: object) -> None:
            if threading.current_thread().name.startswith(thread):
                raise RuntimeError("the model broke")

        hooks.append(model.original_model.register_forward_pre_hook(fail, with_kwargs=True))

    yield break_in
    for hook in hooks:
        hook.remove()


class Held:
    """A function that waits, the first time it is called, until it is let go; then it does what it stands for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.reached, self._let_go = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not self.reached.is_set():
            self.reached.set()
            assert self._let_go.wait(60)
        return self._function(*args, **options)

    def until_reached(self) -> None:
        assert self.reached.wait(60)

    def let_go(self) -> None:
        self._let_go.set()


@pytest.fixture
def hold(monkeypatch):
    """Return a function that makes the next call of a module's function wait."""
    made = []

    def on(module: Any, name: str) -> Held:
        made.append(Held(getattr(module, name)))
        monkeypatch.setattr(module, name, made[-1])
        return made[-1]

    yield on
    for held in made:
        held.let_go()


def end_meanwhile(explorer: pw.Explorer, end: str, held: Held) -> None:
    """Cancel or close an Explorer while its worker is held; return when the worker has nothing more to do."""
    held.until_reached()
    worker = next(iter(explorer._worker._pool._threads))
    getattr(explorer, end)()
    held.let_go()
    if end == "close":
        worker.join(60)
    else:
        explorer.wait()


@pytest.fixture
def select():
    """Do what a click on a cell of a map does: the page sends one message."""
    return lambda view, row, col: view._handle({"type": "select", "row": row, "col": col})
