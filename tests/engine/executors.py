"""Executors that do their work in this process, in an order the test chooses; and metrics that workers can import."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Held(Executor):
    """Keeps what is submitted until it is let go; then it is pickled, as on its way to a worker, and done here."""

    def __init__(self, workers: int = 2) -> None:
        self._max_workers = workers
        self.tasks: list[tuple[Future[Any], bytes]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.tasks.append((future, pickle.dumps((fn, args, kwargs))))
        return future

    def wait_for(self, tasks: int) -> None:
        """Return when so many tasks are here."""
        until = time.monotonic() + 60
        while len(self.tasks) < tasks:
            assert time.monotonic() < until
            time.sleep(0.005)

    @staticmethod
    def answer(task: bytes) -> Any:
        """Do a task, and bring its reply back as it would come from another process."""
        fn, args, kwargs = pickle.loads(task)
        return pickle.loads(pickle.dumps(fn(*args, **kwargs)))

    def do(self, index: int) -> None:
        """Do one of the tasks, unless it was cancelled before."""
        future, task = self.tasks[index]
        if future.set_running_or_notify_cancel():
            future.set_result(self.answer(task))

    def lose(self, index: int, error: BaseException) -> None:
        """Lose the worker of one of the tasks."""
        self.tasks[index][0].set_exception(error)


class AtOnce(Held):
    """Does what is submitted while it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.do(-1)
        return future


def spread(logits: Tensor, tokens: Tensor) -> Tensor:
    """A metric that reads every position."""
    return logits.log_softmax(-1).gather(2, tokens[:, :, None]).sum((1, 2)) + logits[:, 2].amax(-1)


@dataclass(frozen=True)
class Kills:
    """A metric that kills its process where that is not the test's own, once, and notes it at `mark`; or `always`.

    It does so in the plain runs of the shard with that number, from 1, among those that such processes begin: only in
    them is a text `clean`, where a hooked sweep denoises.
    """

    mark: Path
    home: int
    clean: tuple[int, ...] = ()
    shard: int = 1
    always: bool = False

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        if os.getpid() != self.home and (self.always or self._now(tokens)):
            os.kill(os.getpid(), signal.SIGKILL)
        return logits[:, -1, 5]

    def _now(self, tokens: Tensor) -> bool:
        if self.clean and tuple(tokens[0].tolist()) != self.clean:
            return False
        with self.mark.open("ab") as marks:
            marks.write(b".")
        return self.mark.stat().st_size == self.shard


@dataclass(frozen=True)
class Fails:
    """A metric that is not finite, or breaks, in any other process than the test's."""

    home: int

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        found = logits[:, -1, 5]
        return found if os.getpid() == self.home else torch.full_like(found, torch.nan)
