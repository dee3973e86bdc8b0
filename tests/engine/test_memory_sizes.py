"""What the pieces of a sweep take of the memory, in bytes that can be counted by hand; and how much there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine import memory
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.memory import Room, budget_for, element_bytes, row_bytes, tape_bytes, text_bytes
from patchwidgets.errors import PatchError
from tests import models
from tests.engine.replaying import sweep

D_MODEL, D_HEAD, D_MLP, KV = 32, 8, 48, models.KV_HEADS
CPU = torch.device("cpu")


@pytest.mark.parametrize(("family", "heads"), [("gpt2", models.HEADS), ("llama", KV)])
def test_a_tape_holds_streams_attention_keys_and_values(
    family: str, heads: int, request: pytest.FixtureRequest
) -> None:
    handle = handle_of(request.getfixturevalue(family))
    layer = D_MODEL + D_MODEL + 2 * heads * D_HEAD
    assert tape_bytes(handle, 5) == 5 * (models.LAYERS * layer + D_MODEL) * 8
    assert tape_bytes(handle, 0) == 0


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_tape_takes_what_was_reckoned(family: str, request: pytest.FixtureRequest) -> None:
    made = sweep(request.getfixturevalue(family), models.PAIR, "z")
    tape = made.tapes[7]
    held = [*tape.inputs, *tape.attended, *tape.keys, *tape.values]
    assert sum(each.numel() * each.element_size() for each in held) == tape_bytes(made.task.handle, 7)


def test_heads_wider_than_the_stream_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.bridge("gpt2", seed=13)
    monkeypatch.setattr(model.cfg, "d_head", 20)
    assert tape_bytes(handle_of(model), 1) == (models.LAYERS * (32 + 4 * 20 + 2 * 4 * 20) + 32) * 8


def test_a_row_and_a_text_take_their_vectors_and_logits(
    gpt2: TransformerBridge, gpt2_float32: TransformerBridge
) -> None:
    for model, size in ((gpt2, 8), (gpt2_float32, 4)):
        handle = handle_of(model)
        assert element_bytes(handle) == size
        assert row_bytes(handle) == 12 * D_MODEL * size
        scores = 3 * models.HEADS * 7 * 7
        block = 7 * (6 * D_MODEL + 3 * D_MLP)
        assert text_bytes(handle, 7, 1) == (block + scores + 2 * models.VOCAB) * size
        assert text_bytes(handle, 7, 5) - text_bytes(handle, 7, 1) == 2 * 4 * models.VOCAB * size


def test_an_mlp_whose_width_is_not_told_counts_as_four_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.bridge("gpt2", seed=14)
    with_width = text_bytes(handle_of(model), 7, 1)
    monkeypatch.setattr(model.cfg, "d_mlp", None)
    assert text_bytes(handle_of(model), 7, 1) - with_width == 7 * 3 * (4 * D_MODEL - D_MLP) * 8


def told(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Let the system's files say something else; those that are not named are not there."""
    read = Path.read_text

    def reading(self: Path, *rest: Any, **options: Any) -> str:
        if str(self).startswith(("/proc/", "/sys/")):
            if str(self) not in files:
                raise FileNotFoundError(self)
            return files[str(self)]
        return read(self, *rest, **options)

    monkeypatch.setattr(Path, "read_text", reading)


MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\nBuffers: 5 kB\n"
FREE = 8_000_000 * 1024


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [
        (None, None, FREE), ("max", "5", FREE), ("3000000000\n", "1000000000\n", 2_000_000_000),
        (str(2 * FREE), "0", FREE), ("1000", "3000", 0), ("3000", None, FREE),
    ],
)  # fmt: skip
def test_half_of_what_is_free_may_be_taken(
    limit: str | None, used: str | None, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = {"/sys/fs/cgroup/memory.max": limit, "/sys/fs/cgroup/memory.current": used}
    told(monkeypatch, {"/proc/meminfo": MEMINFO, **{name: text for name, text in group.items() if text is not None}})
    assert budget_for(CPU) == free // 2


def test_where_nothing_says_how_much_is_free_a_guess_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for files in ({}, {"/proc/meminfo": "MemTotal: 16000000 kB\n"}):
        told(monkeypatch, files)
        assert budget_for(CPU) == 2_000_000_000


def test_a_graphics_card_tells_what_it_has_and_what_torch_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"mem_get_info": (1000, 9999), "memory_reserved": 600, "memory_allocated": 200}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert budget_for(torch.device("cuda", 0)) == (1000 + 600 - 200) // 2


def test_a_device_that_was_never_full_gets_all_runs_at_once() -> None:
    room = Room()
    assert room.most is None
    assert room.cut([1, 2, 3]) == [[1, 2, 3]]
    assert room.cut([]) == []


@pytest.mark.parametrize(
    ("tried", "most", "sizes"), [(2, 1, [1] * 5), (4, 2, [2, 2, 1]), (5, 2, [2, 2, 1]), (20, 10, [5])]
)
def test_a_device_that_was_full_gets_half_as_many(tried: int, most: int, sizes: list[int]) -> None:
    room = Room()
    room.shrink(tried)
    assert room.most == most
    pieces = room.cut([1, 2, 3, 4, 5])
    assert [len(piece) for piece in pieces] == sizes
    assert [each for piece in pieces for each in piece] == [1, 2, 3, 4, 5]
    assert Room().most is None


@pytest.mark.parametrize("tried", [0, 1])
def test_one_run_that_does_not_fit_is_an_error(tried: int) -> None:
    with pytest.raises(
        PatchError, match=r"^one patched run does not fit into the device's memory beside the model: free"
    ):
        Room().shrink(tried)


@pytest.mark.parametrize("card", [False, True])
def test_what_a_card_keeps_is_freed_where_there_is_one(card: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(1))
    Room().shrink(2)
    assert len(freed) == card


def test_memory_is_asked_of_the_system_as_it_is_now() -> None:
    assert memory._group_free() >= 0
    assert budget_for(CPU) > 0
