"""A server that a test runs as a process of its own, from its start until nothing of it is left."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import psutil


def wait_until(
    happened: Callable[[], object], what: str, seconds: float, details: Callable[[], str] = lambda: ""
) -> None:
    """Return once `happened()` is true; raise an AssertionError that names `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}\n{details()}")
        time.sleep(0.1)


class Server:
    """A module of this Python that serves on 127.0.0.1; as a context manager it ends when it is left.

    A subclass starts it by `_start` and says in `_answers` whether it is ready.
    """

    def __init__(self, name: str, log: Path, environment: Mapping[str, str]) -> None:
        self._name, self._log, self._environment = name, log, environment
        self.url = ""

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop()

    def log(self) -> str:
        """Return the end of what the server has written."""
        return self._log.read_text(errors="replace")[-3000:]

    def _start(self, options: list[str], folder: Path) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *options],
                cwd=folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            wait_until(self._up, f"{self._name} to answer", 120, self.log)
        except BaseException:
            self._stop()
            raise

    def _up(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"{self._name} ended with code {self._process.returncode}:\n{self.log()}")
        return self._answers()

    def _answers(self) -> bool:
        """Return whether it answers now."""
        raise NotImplementedError

    def _stop(self) -> None:
        # Kernels run in sessions of their own: a signal to the server's group alone would leave them.
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in family:
            if child.is_running():
                child.kill()
        psutil.wait_procs(family, 10)
