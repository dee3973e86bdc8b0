"""A sweep with a journal loses nothing when it is killed, measures nothing twice, and takes no one else's numbers."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.datasets import Dataset
from patchwidgets.engine.patch import patch
from patchwidgets.errors import FileError, PatchError
from patchwidgets.interventions import Mask, Mean, Noise, Resample, Standing, Vector
from patchwidgets.joint import Joint
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models
from tests.engine.stepping import Brake, named

CELLS = 12
"""What `sweep` measures: three layers at the four positions from the first difference on."""
PLAIN_ROWS = 4
"""Both prompts, each twice."""


HOOKED: dict[str, Any] = {"batch_size": 2, "engine": "hooked"}
"""Two cells to a forward pass, so that passes tell how many cells were measured."""


def sweep(model: TransformerBridge, journal: Path | None) -> PatchResult:
    return patch(model, models.PAIR, "resid_pre", resume=journal, **HOOKED).wait()


@contextmanager
def rows(model: TransformerBridge) -> Iterator[list[int]]:
    """The number of prompts in each forward pass."""
    found: list[int] = []

    def count(module: torch.nn.Module, args: object, options: dict[str, Any]) -> None:
        found.append(len(options["input_ids"]))

    original: Any = model.original_model
    hook = original.register_forward_pre_hook(count, with_kwargs=True)
    yield found
    hook.remove()


def measured(passes: list[int]) -> int:
    """How many patched rows there were: a control row rides at either end of a batch; the plain runs come first."""
    assert passes[0] == PLAIN_ROWS
    return sum(number - 2 for number in passes[1:])


def record_size(journal: Path, cells: int = CELLS) -> tuple[int, int]:
    """Where a finished journal's records begin, and the bytes of one."""
    content = journal.read_bytes()
    start = content.index(b"\n", content.index(b"\n") + 1) + 1
    assert (len(content) - start) % cells == 0
    return start, (len(content) - start) // cells


@pytest.fixture(scope="module")
def whole(gpt2: TransformerBridge) -> PatchResult:
    return sweep(gpt2, None)


@pytest.fixture
def finished(gpt2: TransformerBridge, tmp_path: Path) -> Path:
    path = tmp_path / "sweep.journal"
    sweep(gpt2, path)
    return path


def same(one: PatchResult, other: PatchResult) -> bool:
    return one.data.identical(other.data) and one.provenance == other.provenance


def close(one: PatchResult, other: PatchResult) -> bool:
    """The same, but for the last digit of a cell whose batch was another."""
    numbers = [name for name, variable in other.data.items() if variable.dtype.kind == "f"]
    near = all(np.allclose(one.data[name], other.data[name], rtol=0, atol=1e-12, equal_nan=True) for name in numbers)
    return near and one.data.drop_vars(numbers).identical(other.data.drop_vars(numbers))


KILLED = """
import sys, time
from patchwidgets.engine.patch import patch
from tests import models

model, passes = models.bridge("gpt2"), []
patch(model, models.PAIR, "resid_pre").wait()

def stall(module, args):
    passes.append(module)
    if len(passes) == 4:  # The plain runs, two chunks of two cells, and the third has begun.
        print("stalled", flush=True)
        time.sleep(600)

model.original_model.register_forward_pre_hook(stall)
patch(model, models.PAIR, "resid_pre", batch_size=2, engine="hooked", resume=sys.argv[1]).wait()
"""


def test_a_killed_sweep_goes_on_where_it_was(gpt2: TransformerBridge, whole: PatchResult, tmp_path: Path) -> None:
    path = tmp_path / "sweep.journal"
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.stdout is not None
    with killed, killed.stdout as told:
        assert told.readline() == "stalled\n"
        with pytest.raises(PatchError, match=r"'sweep.journal' is in use by another sweep; wait for it to end"):
            sweep(gpt2, path)
        killed.kill()
    with rows(gpt2) as passes:
        result = sweep(gpt2, path)
    assert passes == [PLAIN_ROWS, *[2 + 2] * 4]  # Eight of the twelve cells; those that were there are not among them.
    assert same(result, whole)
    assert [each.name for each in tmp_path.iterdir()] == ["sweep.journal"]


def test_a_finished_journal_gives_the_result_at_once(
    gpt2: TransformerBridge, whole: PatchResult, finished: Path
) -> None:
    content = finished.read_bytes()
    with rows(gpt2) as passes:
        run = patch(gpt2, models.PAIR, "resid_pre", resume=str(finished), **HOOKED)
        assert same(run.wait(), whole)
    assert passes == [PLAIN_ROWS]
    assert (run.done, run.total) == (CELLS, CELLS)
    assert finished.read_bytes() == content


def test_a_cancelled_sweep_goes_on(gpt2: TransformerBridge, whole: PatchResult, tmp_path: Path) -> None:
    path = tmp_path / "sweep.journal"
    with Brake(named(gpt2, "blocks.1")) as brake:
        run = patch(gpt2, models.PAIR, "resid_pre", resume=path, **HOOKED)
        brake.arrive()
        brake.step()
        brake.step()
        with pytest.raises(PatchError, match="in use by another sweep"):
            sweep(gpt2, path)
        run.cancel()
        brake.let_go()
        partial = run.wait()
    done = int((partial.data["status"] == "measured").sum())
    assert 0 < done < CELLS
    with rows(gpt2) as passes:
        assert same(sweep(gpt2, path), whole)
    assert measured(passes) == CELLS - done


def test_whatever_is_cut_off_is_measured_again_and_nothing_else(
    gpt2: TransformerBridge, whole: PatchResult, finished: Path
) -> None:
    content = finished.read_bytes()
    start, size = record_size(finished)
    ends = [0, 1, 10, 22, 23, 40, start - 1, start, start + 1]
    ends += [start + n * size + rest for n, rest in ((0, size - 1), (1, 0), (1, 1), (5, 20), (11, 0), (11, size - 1))]
    for end in ends:
        finished.write_bytes(content[:end])
        with rows(gpt2) as passes:
            result = sweep(gpt2, finished)
        left = max(0, end - start) // size
        assert measured(passes) == CELLS - left, end
        assert close(result, whole), end
        assert len(finished.read_bytes()) == len(content), end


def test_what_was_torn_before_the_last_write_ended_is_dropped(
    gpt2: TransformerBridge, whole: PatchResult, finished: Path
) -> None:
    content = bytearray(finished.read_bytes())
    _, size = record_size(finished)
    content[-size - 30] ^= 1
    content[-size:] = bytes(size)
    finished.write_bytes(content)
    with rows(gpt2) as passes:
        assert close(sweep(gpt2, finished), whole)
    assert measured(passes) == 2


def test_a_damaged_journal_is_refused_and_kept(gpt2: TransformerBridge, finished: Path) -> None:
    content = finished.read_bytes()
    start, size = record_size(finished)
    for at, words in (
        (start + 3 * size + 30, "one of its first 12 records does not give its checksum"),
        (start, "one of its first 12 records"),
        (60, "its header does not give its checksum"),
    ):
        damaged = bytearray(content)
        damaged[at] ^= 1
        finished.write_bytes(damaged)
        with pytest.raises(FileError, match=rf"'sweep.journal' is damaged: {words}.*remove the file to begin anew"):
            sweep(gpt2, finished)
        assert finished.read_bytes() == damaged


@pytest.mark.parametrize("content", [b"my notes, long and dear\n", b"\x89HDF\r\n\x1a\n", b"\n", b"\xff" * 100])
def test_a_file_that_is_no_journal_is_refused_and_kept(gpt2: TransformerBridge, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"'mine\.txt' is not a journal of patchwidgets and is left as it is"):
        sweep(gpt2, path)
    assert path.read_bytes() == content


def test_what_cannot_be_a_journal_is_named(gpt2: TransformerBridge, tmp_path: Path) -> None:
    (tmp_path / "later").write_bytes(b"patchwidgets journal 2\nwho knows")
    with pytest.raises(FileError, match="in the format 'patchwidgets journal 2', and this version of patchwidgets"):
        sweep(gpt2, tmp_path / "later")
    with pytest.raises(FileError, match=r"journal '.*missing/one' cannot be opened: No such file or directory; give"):
        sweep(gpt2, tmp_path / "missing" / "one")
    with pytest.raises(FileError, match="cannot be opened: Is a directory"):
        sweep(gpt2, tmp_path)
    with pytest.raises(PatchError, match=r"resume must be the path of a journal, such as 'sweep.journal', not 5"):
        patch(gpt2, models.PAIR, "resid_pre", resume=5)


OTHER = PromptPair("w1 w2 w3 w4 w5 w7", "w1 w2 w9 w4 w8 w7", answer="w20", foil="w21")
SAMPLE = Dataset([models.PAIR, OTHER], name="texts")
SWAPPED = Dataset([models.PAIR, PromptPair("w1 w2 w3 w4 w5 w7", "w1 w2 w9 w4 w8 w5", answer="w20")], name="texts")

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "direction": ({}, {"direction": "noise"}, "direction is 'denoise' there and 'noise' here"),
    "metric": ({}, {"metric": "prob"}, r"metrics is \['logit_diff'\] there and \['prob'\] here"),
    "layers": ({}, {"layers": [0, 1]}, "cells is "),
    "window": ({}, {"window": 2}, "window is 1 there and 2 here"),
    "intervention": ({}, {"intervention": "zero"}, "intervention is 'patch' there and 'zero' here"),
    "seed": ({"intervention": Noise(3.0, 1)}, {"intervention": Noise(3.0, 1), "seed": 1}, "seed is 0 there and 1 here"),
    "settings": ({"intervention": Noise(1.0, 1)}, {"intervention": Noise(2.0, 1)}, "settings is "),
    "dataset": ({"intervention": Mean(SAMPLE)}, {"intervention": Mean(SWAPPED)}, "over is "),
    "standing": (
        {"standing": Standing("z", Vector(1.0), heads=[0])},
        {"standing": Standing("z", Vector(2.0), heads=[0])},
        "standing is .*there and .*here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_another_sweeps_journal_is_refused_by_what_differs(
    gpt2: TransformerBridge, tmp_path: Path, change: str
) -> None:
    first, second, words = CHANGES[change]
    path = tmp_path / "one.journal"
    patch(gpt2, models.PAIR, "resid_pre", resume=path, **first).wait()
    content = path.read_bytes()
    with pytest.raises(PatchError, match=rf"'one.journal' is the journal of another sweep: .*{words}"):
        patch(gpt2, models.PAIR, "resid_pre", resume=path, **second)
    assert path.read_bytes() == content


def test_other_prompts_and_other_weights_are_refused(gpt2: TransformerBridge, finished: Path) -> None:
    with pytest.raises(PatchError, match=r"journal of another sweep: prompts is .*; tokens is "):
        patch(gpt2, OTHER, "resid_pre", resume=finished)
    other = models.bridge("gpt2", seed=1)
    with pytest.raises(PatchError, match="journal of another sweep: the model's weights are others"):
        patch(other, models.PAIR, "resid_pre", resume=finished)


def test_a_model_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    model, path = models.bridge("gpt2"), tmp_path / "one.journal"
    sweep(model, path)
    content = path.read_bytes()
    weights: Any = model.original_model.get_input_embeddings().weight  # type: ignore[operator]
    assert weights.numel() // 256 == 5
    weights.data[models.WORDS.index("w6"), 3] += 0.1  # Entry 8 * 32 + 3 is none of those compared: every fifth is.
    with pytest.raises(PatchError, match=r"the plain runs give .* where they gave .* when the journal 'one.journal'"):
        sweep(model, path)
    assert path.read_bytes() == content


def test_a_metric_of_the_same_name_that_gives_other_numbers_is_refused(gpt2: TransformerBridge, tmp_path: Path) -> None:
    path = tmp_path / "one.journal"
    patch(gpt2, models.PAIR, "resid_pre", metric=lambda logits, tokens: logits[:, -1, 3], resume=path).wait()
    other = patch(gpt2, models.PAIR, "resid_pre", metric=lambda logits, tokens: logits[:, -1, 4], resume=path)
    with pytest.raises(PatchError, match="the model, or the metric, is another one"):
        other.wait()


EVERYTHING: dict[str, dict[str, Any]] = {
    "pairs": {"pair": SAMPLE, "metric": ["logit_diff", "prob"]},
    "samples": {"intervention": Noise(samples=3)},
    "mask": {"intervention": Mask(graded=True, absolute=True)},
    "resample": {"pair": SAMPLE, "intervention": Resample(samples=2)},
    "standing": {"standing": Standing("mlp_out", Noise(1.0, 2))},
    "noising": {"direction": "noise"},
    "joint": {"site": Joint({f"to {n}": [("z", {"layer": n, "head": h}) for h in range(2)] for n in range(3)})},
}


@pytest.mark.parametrize("options", EVERYTHING.values(), ids=EVERYTHING)
def test_half_a_journal_gives_the_numbers_of_a_whole_sweep(
    gpt2: TransformerBridge, tmp_path: Path, options: dict[str, Any]
) -> None:
    settings = {"pair": models.PAIR, "site": "resid_pre", "batch_size": 3, "engine": "hooked", **options}
    path = tmp_path / "one.journal"
    with rows(gpt2) as passes:
        expected = patch(gpt2, **settings).wait()
    assert same(patch(gpt2, **settings, resume=path).wait(), expected)
    total = int((expected.data["status"] == "measured").sum())
    start, size = record_size(path, total)
    path.write_bytes(path.read_bytes()[: start + total // 2 * size + 5])
    with rows(gpt2) as later:
        run = patch(gpt2, **settings, resume=path)
        assert close(run.wait(), expected)
    runs = expected.n * expected.provenance["samples"]
    assert sum(passes) - sum(later) >= total // 2 * runs
    assert (run.done, run.total) == (total, total)


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as a disk that is full does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_journal_and_not_the_numbers(
    gpt2: TransformerBridge, whole: PatchResult, finished: Path, tmp_path: Path
) -> None:
    start, size = record_size(finished)
    path = tmp_path / "full.journal"
    with (
        file_limit(start + 5 * size + 7),
        pytest.warns(UserWarning, match=r"'full.journal' cannot be written: File too"),
    ):
        result = sweep(gpt2, path)
    assert same(result, whole)
    assert path.stat().st_size == start + 4 * size  # Two chunks of two cells; the half-written third was taken back.
    with rows(gpt2) as passes:
        assert same(sweep(gpt2, path), whole)
    assert measured(passes) == CELLS - 4


def test_a_disk_that_is_full_from_the_start_ends_the_sweep(gpt2: TransformerBridge, tmp_path: Path) -> None:
    with file_limit(30), pytest.raises(FileError, match=r"'full.journal' cannot be written: File too large"):
        sweep(gpt2, tmp_path / "full.journal")
    assert (tmp_path / "full.journal").read_bytes() == b""
