"""An Explorer on the embedded model, clicks on its maps, and a brake on the model."""

from __future__ import annotations

import threading

import pytest

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
    """Stops the model's forward passes while it is on: each waits until `step` or `off` lets it go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._on = False
        self._waiting = self._steps = 0

    def __call__(self, _module: object, _args: object, _options: object) -> None:
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
        """Wait until a forward pass has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting > 0, timeout=30)

    def step(self) -> None:
        """Let one forward pass through."""
        self.until_reached()
        with self._changed:
            self._steps += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._steps == 0, timeout=30)


@pytest.fixture
def brake(model, explorer):
    made = Brake()
    hook = model.original_model.register_forward_pre_hook(made, with_kwargs=True)
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


@pytest.fixture
def select():
    """Do what a click on a cell of a map does: the page sends one message."""
    return lambda view, row, col: view._handle({"type": "select", "row": row, "col": col})
