"""A sweep's journal: a file that grows with what is measured, so that a killed sweep goes on where it stopped.

Two lines of text, the format and a checksum with the sweep's settings and plain runs as JSON; then one record of fixed
size per cell, each with its own checksum, appended and synced chunk by chunk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FileError, PatchError, quoted
from ..metrics import tolerance
from .handle import ModelHandle
from .plan import Plan

FORMAT = "patchwidgets journal 1"
_MARK = f"{FORMAT}\n".encode()
_CHANGES_NOTHING = ("versions", "check", "notes")
_SAMPLED = 256
_LOG = logging.getLogger(__name__)


def settings_of(handle: ModelHandle, plan: Plan, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that determines a sweep's numbers, as JSON-ready data; versions and batch sizes do not.

    A metric that is a function goes by its name; what it computes is held against its values on the plain runs.
    """
    found = {key: value for key, value in origin.items() if key not in _CHANGES_NOTHING}
    return json.loads(json.dumps({**found, "cells": plan.labels, "parameters": _parameters(handle)}))


def _parameters(handle: ModelHandle) -> str:
    """Return a checksum over every parameter's name, shape and type, and a fixed sample of its entries."""
    found = hashlib.sha256()
    model: Any = handle.bridge.original_model
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        step = max(1, len(flat) // _SAMPLED)
        found.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        found.update(flat[::step].contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return found.hexdigest()


class Journal:
    """The journal of one sweep, locked for it alone until `close`; the lock goes with the process, however that ends.

    Attributes:
        cells: the cells that are in it, each once, [record].
        values: their metrics, [metric, item, record].
        controls, worst: the sweep's self-check as it stood after the last of them.
        trouble: why nothing more is written, in words; None while all is well.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
        """Open or make the journal of a sweep of `shape` (metrics, items, cells).

        Raises FileError for a file that is damaged or is no journal, PatchError when another sweep uses it or made it.
        """
        self.path = Path(path).absolute()
        self.trouble: str | None = None
        self._settings, self._shape = settings, shape
        values = ("values", "<f8", shape[:2])
        self._record = np.dtype([("cell", "<i8"), ("controls", "<i8"), ("worst", "<f8"), values, ("crc", "<u4")])
        self._file = _opened(self.path)
        try:
            _lock(self._file.fileno(), self.path.name)
            content = self._file.readall()
            self._plain, start = self._read_header(content)
            self._take(self._read_records(content[start:]), start)
        except BaseException:
            self.close()
            raise

    def begin(self, plain: np.ndarray, dtype: str) -> np.ndarray:
        """Hold the plain runs, [metric, item, run], against those of the journal, and return the journal's.

        A journal that is new gets them. Raises PatchError when they differ by more than the precision of `dtype`.
        """
        if self._plain is None:
            self._write_header(plain)
            return plain
        gaps = np.abs(self._plain[..., 0] - self._plain[..., 1])
        allowed = np.array([[tolerance(dtype, gap) for gap in row] for row in gaps.tolist()])
        same = np.isclose(plain, self._plain, rtol=0.0, atol=allowed[..., None], equal_nan=True)
        if not same.all():
            where = tuple(np.argwhere(~same)[0])
            raise PatchError(
                f"the plain runs give {plain[where]:.6g} where they gave {self._plain[where]:.6g} when the journal "
                f"{self.path.name!r} was begun: the model, or the metric, is another one. {self._anew}"
            )
        return self._plain

    def add(self, cells: np.ndarray, values: np.ndarray, controls: int, worst: float) -> None:
        """Append cells, `values` [metric, item, cell], and wait until they are on the disk.

        When they cannot be written the sweep can go on without its journal: `trouble` says so, and no more is tried.
        """
        if self.trouble is not None:
            return
        records = np.zeros(len(cells), dtype=self._record)
        records["cell"], records["controls"], records["worst"] = cells, controls, worst
        records["values"] = np.moveaxis(values, -1, 0)
        records["crc"] = [_crc(record) for record in records]
        try:
            self._append(records.tobytes())
        except OSError as error:
            self.trouble = (
                f"the journal {self.path.name!r} cannot be written: {error.strerror or error}. What is measured is "
                "right and goes on, but only the cells before this are in the journal; save the result when it is done."
            )
            _LOG.warning(self.trouble)

    def close(self) -> None:
        """Let go of the file and of its lock."""
        self._file.close()

    @property
    def _anew(self) -> str:
        return "Give another path, or remove the file to begin anew."

    def _read_header(self, content: bytes) -> tuple[np.ndarray | None, int]:
        """Return the plain runs and where the records begin; None of either for a journal that was hardly begun."""
        name = self.path.name
        if not content.startswith(_MARK):
            if _MARK.startswith(content):
                return None, 0
            mark = content[:40].split(b"\n")[0].decode("ascii", "replace")
            if mark.rpartition(" ")[0] == FORMAT.rpartition(" ")[0]:
                raise FileError(
                    f"{name!r} is in the format {quoted(mark)}, and this version of patchwidgets reads {FORMAT!r}; "
                    "install the version that wrote it, or give another path."
                )
            raise FileError(f"{name!r} is not a journal of patchwidgets and is left as it is; give another path.")
        end = content.find(b"\n", len(_MARK))
        if end < 0:
            return None, 0
        crc, _, text = content[len(_MARK) : end].partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            raise FileError(f"{name!r} is damaged: its header does not give its checksum. {self._anew}")
        header = json.loads(text)
        self._compare(header["settings"])
        return np.array(header["plain"], dtype=np.float64).reshape(*self._shape[:2], 2), end + 1

    def _compare(self, there: Mapping[str, Any]) -> None:
        here = self._settings
        differ = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        if not differ:
            return
        told = [f"{key} is {quoted(there.get(key))} there and {quoted(here.get(key))} here" for key in differ]
        if "parameters" in differ:
            told[differ.index("parameters")] = "the model's weights are others"
        more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
        raise PatchError(
            f"{self.path.name!r} is the journal of another sweep: {'; '.join(told[:3])}{more}. {self._anew}"
        )

    def _read_records(self, content: bytes) -> np.ndarray:
        """Return the whole records; what a torn last write left behind is not among them."""
        size = self._record.itemsize
        records = np.frombuffer(content[: len(content) // size * size], dtype=self._record)
        good = np.array([_crc(record) == int(record["crc"]) for record in records], dtype=bool)
        count = int(good.nonzero()[0][-1]) + 1 if good.any() else 0
        cells = records["cell"][:count]
        if not good[:count].all() or ((cells < 0) | (cells >= self._shape[2])).any():
            raise FileError(
                f"{self.path.name!r} is damaged: one of its first {count} records does not give its checksum. "
                f"{self._anew}"
            )
        return records[:count]

    def _take(self, records: np.ndarray, start: int) -> None:
        self._size = start + records.nbytes
        # A sweep that does not trust its replayed cells writes them again: what came last counts.
        last = len(records) - 1 - np.unique(records["cell"][::-1], return_index=True)[1]
        records = records[np.sort(last)]
        self.cells: np.ndarray = records["cell"].astype(np.int64)
        self.values: np.ndarray = np.moveaxis(records["values"], 0, -1).astype(np.float64)
        self.controls = int(records["controls"][-1]) if len(records) else 0
        self.worst = float(records["worst"][-1]) if len(records) else 0.0
        self._file.truncate(self._size)
        self._file.seek(self._size)

    def _write_header(self, plain: np.ndarray) -> None:
        text = json.dumps({"settings": self._settings, "plain": plain.tolist()}).encode()
        try:
            self._append(_MARK + b"%08x " % zlib.crc32(text) + text + b"\n")
        except OSError as error:
            raise FileError(f"the journal {self.path.name!r} cannot be written: {error.strerror or error}.") from error

    def _append(self, data: bytes) -> None:
        """Write all of it or, as far as the disk lets us, none."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(data)


def _crc(record: np.void) -> int:
    return zlib.crc32(record.tobytes()[:-4])


def _opened(path: Path) -> Any:
    try:
        return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise FileError(
            f"the journal {str(path)!r} cannot be opened: {error.strerror}; give the path of a file to write."
        ) from error


def _lock(descriptor: int, name: str) -> None:
    if sys.platform == "win32":
        raise PatchError("resume= needs file locks, which are not there on Windows; leave it out and save the result.")
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise PatchError(
            f"the journal {name!r} is in use by another sweep; wait for it to end, or give another path."
        ) from error


def open_journal(path: object, handle: ModelHandle, plan: Plan, origin: Mapping[str, Any], items: int) -> Journal:
    """Return the journal of a sweep at `path`, new or as a sweep like it left it; `items` are its pairs and samples."""
    if not isinstance(path, (str, os.PathLike)):
        raise PatchError(f"resume must be the path of a journal, such as 'sweep.journal', not {quoted(path)}.")
    return Journal(path, settings_of(handle, plan, origin), (len(plan.metrics), items, plan.status.size))
