"""Records of a journal that the sweep does not have, or has twice; and a journal whose sweep did not begin."""

from __future__ import annotations

import gc
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.errors import FileError
from tests import models

CELLS, MEASURED = 3 * 7, 3 * 4
"""Of a sweep of `resid_pre`: all, and those after the first differing token."""


def finished(model: TransformerBridge, path: Path) -> tuple[bytes, int, int]:
    """Return a whole journal, where its records begin, and the bytes of one."""
    patch(model, models.PAIR, "resid_pre", resume=path).wait()
    content = path.read_bytes()
    start = content.index(b"\n", content.index(b"\n") + 1) + 1
    size, rest = divmod(len(content) - start, MEASURED)
    assert rest == 0
    return content, start, size


@pytest.mark.parametrize("cell", [-1, CELLS, CELLS + 1])
def test_a_cell_that_is_not_there_is_refused(gpt2: TransformerBridge, tmp_path: Path, cell: int) -> None:
    path = tmp_path / "sweep.journal"
    content, _, size = finished(gpt2, path)
    record = struct.pack("<q", cell) + content[-size + 8 : -4]
    damaged = content[:-size] + record + struct.pack("<I", zlib.crc32(record))
    path.write_bytes(damaged)
    with pytest.raises(FileError, match=r"'sweep.journal' is damaged"):
        patch(gpt2, models.PAIR, "resid_pre", resume=path)
    assert path.read_bytes() == damaged


def test_a_cell_that_was_written_again_counts_once_as_it_was_last(gpt2: TransformerBridge, tmp_path: Path) -> None:
    """A sweep that goes over to hooks in its midst writes its first cells again."""
    path = tmp_path / "sweep.journal"
    content, start, size = finished(gpt2, path)
    records = [content[at : at + size] for at in range(start, len(content), size)]
    wrong = [record[:24] + struct.pack("<d", 99.0) for record in records[:4]]
    first = b"".join(record + struct.pack("<I", zlib.crc32(record)) for record in wrong)
    path.write_bytes(content[:start] + first + b"".join(records[:6]))
    run = patch(gpt2, models.PAIR, "resid_pre", engine="hooked", batch_size=2, resume=path)
    run.subscribe(lambda each, cells: each.cancel() if each.done >= 8 else None)
    status = run.wait().data["status"].values
    assert run.done == (status == "measured").sum() == 8
    assert (run.complete, (status == "pending").sum()) == (False, MEASURED - 8)
    whole = patch(gpt2, models.PAIR, "resid_pre", resume=path).wait()
    expected = patch(gpt2, models.PAIR, "resid_pre", engine="hooked").wait()
    np.testing.assert_allclose(whole.data["patched"], expected.data["patched"], rtol=0, atol=1e-9)


def test_a_sweep_that_cannot_begin_lets_go_of_its_journal(
    gpt2: TransformerBridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "sweep.journal"
    gc.disable()  # It would let go of the file too, some time later.
    try:
        with monkeypatch.context() as replaced:
            replaced.setattr(threading.Thread, "start", full)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                patch(gpt2, models.PAIR, "resid_pre", resume=path)
        assert patch(gpt2, models.PAIR, "resid_pre", resume=path).wait().check["remeasured"]
    finally:
        gc.enable()
