"""A journal that names a cell the sweep does not have is damaged, even where its checksums are right."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.errors import FileError
from tests import models

CELLS, MEASURED = 3 * 7, 3 * 4
"""Of a sweep of `resid_pre`: all, and those after the first differing token."""


@pytest.mark.parametrize("cell", [-1, CELLS, CELLS + 1])
def test_a_cell_that_is_not_there_is_refused(gpt2: TransformerBridge, tmp_path: Path, cell: int) -> None:
    path = tmp_path / "sweep.journal"
    patch(gpt2, models.PAIR, "resid_pre", resume=path).wait()
    content = path.read_bytes()
    start = content.index(b"\n", content.index(b"\n") + 1) + 1
    size, rest = divmod(len(content) - start, MEASURED)
    assert rest == 0
    record = struct.pack("<q", cell) + content[-size + 8 : -4]
    damaged = content[:-size] + record + struct.pack("<I", zlib.crc32(record))
    path.write_bytes(damaged)
    with pytest.raises(FileError, match=r"'sweep.journal' is damaged"):
        patch(gpt2, models.PAIR, "resid_pre", resume=path)
    assert path.read_bytes() == damaged
