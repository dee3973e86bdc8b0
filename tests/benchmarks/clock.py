"""CPU seconds, peak memory, and how fast this machine multiplies matrices."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU seconds of this process that `work` took, and what it gave."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def median(work: Callable[[], T], times: int = 3) -> tuple[float, float, T]:
    """Return the median CPU seconds, the spread (max - min) / median, and what the last gave."""
    seconds: list[float] = []
    found: T | None = None
    for _ in range(times):
        found = None  # A result that is alive would save the next sweep its work.
        spent, found = timed(work)
        seconds.append(spent)
    assert found is not None
    middle = statistics.median(seconds)
    return middle, (max(seconds) - min(seconds)) / middle, found


def matmul_rate() -> float:
    """Return the floating point operations a second of one large float32 product on this thread."""
    rows, weight = torch.randn(512, 768), torch.randn(768, 3072)
    rows @ weight
    seconds, _, _ = median(lambda: [rows @ weight for _ in range(10)], 7)
    return 10 * 2 * rows.shape[0] * weight.numel() / seconds


class Peak:
    """The most memory of the process, in bytes, since the `with` began; None where the system does not say."""

    bytes: int | None = None

    def __enter__(self) -> Peak:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            lines = Path("/proc/self/status").read_text().splitlines()
            self.bytes = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
