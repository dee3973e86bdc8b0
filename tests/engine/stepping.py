"""A brake on the engine's thread: it stops before a module in every forward pass, until the test lets it go on."""

from __future__ import annotations

import threading
from types import TracebackType

import torch

PATIENCE = 60.0
"""Seconds after which a test that waits for another thread has failed; nothing is measured with it."""


class Brake:
    """Stops every thread but the main one before `module` runs; `passes` counts how often it came by.

    Inside the `with` block the threads stop; on leaving it they run on freely.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.passes = 0
        self._module = module
        self._arrived = threading.Semaphore(0)
        self._go = threading.Semaphore(0)
        self._released = False

    def __enter__(self) -> Brake:
        self._hook = self._module.register_forward_pre_hook(self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released = True
        self._hook.remove()
        for _ in range(8):
            self._go.release()

    def _stop(self, module: torch.nn.Module, args: object) -> None:
        if threading.current_thread() is threading.main_thread():
            return
        self.passes += 1
        if self._released:
            return
        self._arrived.release()
        assert self._go.acquire(timeout=PATIENCE), "the test never let the engine go on"

    def arrive(self) -> None:
        """Wait until the engine stands before the module."""
        assert self._arrived.acquire(timeout=PATIENCE), "the engine never came by"

    def let_go(self) -> None:
        """Let the engine go on without waiting for it."""
        self._go.release()

    def step(self) -> None:
        """Let the engine finish this pass and wait until it stands before the module in the next."""
        self.let_go()
        self.arrive()


def named(model: torch.nn.Module, path: str) -> torch.nn.Module:
    """Return a module of the bridge by its path, e.g. "blocks.1.attn"."""
    return model.get_submodule(path)
