"""What a climb runs: each piece of a block on as few rows as can differ, together, and never more than may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.engine.replay import climb
from patchwidgets.engine.replay.climb import Climb, Stopped
from patchwidgets.engine.replay.parts import Stack
from patchwidgets.sites import Site
from tests import models
from tests.engine.replaying import Sweep, sweep

LENGTH, STARTS = 7, [3, 4, 5, 6]
"""Of the prompts of models.PAIR, and where they can differ."""

Call = tuple[str, int, tuple[int, int]]
"""A piece of a block, its layer, and how many runs of how many rows it was given."""


class Log(list[Call]):
    """The calls of a stack's pieces."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for part in stack.parts:
            for name in ("project", "attend", "finish"):
                self._note(part, name, monkeypatch)

    def _note(self, part: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        piece = getattr(part, name)

        def calling(rows: Tensor, *rest: Any, **options: Any) -> Any:
            self.append((name, part.index, (rows.shape[0], rows.shape[1])))
            return piece(rows, *rest, **options)

        monkeypatch.setattr(part, name, calling)

    def of(self, layer: int) -> list[tuple[str, tuple[int, int]]]:
        """Return the calls in a layer."""
        return [(name, shape) for name, at, shape in self if at == layer]


def run(made: Sweep, cells: Sequence[int]) -> dict[int, Tensor]:
    """Replay cells of a sweep of one pair; return the logits read."""
    read, _, _ = made.replay.run([(cell, made.task.lanes[0]) for cell in cells])
    return {cell: logits for (cell, _), logits in read.items()}


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    """A model whose keys and values are its heads' own, and one whose heads share them."""
    return request.getfixturevalue(request.param)


ORDER = {"pattern": ("head", "dest")}
"""Site -> the axes of its activation after the batch, where they are not position and head."""


def by_hooks(model: TransformerBridge, made: Sweep, cells: Sequence[int]) -> dict[int, Tensor]:
    """Return the logits of the two answers of cells with TransformerLens's own hooks: clean into corrupted."""
    pair = made.task.plan.pair
    _, seen = model.run_with_cache(torch.tensor([pair.clean]))
    assert pair.answer is not None
    assert pair.foil is not None

    def hook_of(site: Site, place: Mapping[str, Any]) -> tuple[str, Any]:
        axes = ORDER.get(site.name, ("pos", "head"))
        at = (0, *(place.get(axis, slice(None)) for axis in axes[: len(site.axes) - 1]))

        def write(activation: Tensor, hook: object) -> Tensor:
            activation = activation.clone()
            activation[at] = seen[hook_name][at]
            return activation

        return (hook_name := site.hook_name(place.get("layer"))), write

    found = {}
    for cell in cells:
        hooks = [hook_of(site, place) for site, place in made.task.plan.targets(cell)]
        found[cell] = model.run_with_hooks(torch.tensor([pair.corrupted]), fwd_hooks=hooks)[
            :, -1, [pair.answer, pair.foil]
        ]
    return found


SWEEPS: list[tuple[str, Any]] = [
    ("resid_pre", None), ("resid_post", None), ("attn_out", None), ("mlp_out", None), ("z", ("layer", "pos", "head")),
    ("z", None), ("q", None), ("k", None), ("v", ("layer", "pos", "head")), ("pattern", ("layer", "head", "dest")),
    ("mlp_post", ("layer", "pos")), ("embed", None),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("site", "by"), SWEEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_runs_that_climb_together_give_what_hooks_give(
    model: TransformerBridge, site: str, by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sweep(model, models.PAIR, site, by)
    cells = made.task.plan.order.tolist()[::3]
    expected = by_hooks(model, made, cells)
    torch.testing.assert_close(run(made, cells), expected, rtol=0, atol=1e-9)
    monkeypatch.setattr(climb, "_ROWS", 3)
    monkeypatch.setattr(climb, "_NUMBERS", 2000)
    torch.testing.assert_close(run(made, cells), expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_a_set_over_several_layers_gives_what_hooks_give(model: TransformerBridge) -> None:
    sets = {
        "entering twice": [("resid_pre", {"layer": 1, "pos": 3}), ("mlp_out", {"layer": 0, "pos": 5})],
        "late": [("z", {"layer": 2, "pos": 4, "head": 1}), ("resid_post", {"layer": 1, "pos": 6})],
        "from the embedding": [("embed", {"pos": 3}), ("q", {"layer": 2, "head": 3}), ("mlp_out", {"layer": 2})],
    }
    made = sweep(model, models.PAIR, pw.Joint(sets))
    cells = list(range(len(sets)))
    torch.testing.assert_close(run(made, cells), by_hooks(model, made, cells), rtol=0, atol=1e-9)


@pytest.fixture
def stream(gpt2: TransformerBridge) -> Sweep:
    """Every layer and position of the stream entering the layers."""
    return sweep(gpt2, models.PAIR, "resid_pre")


def test_runs_from_one_position_share_every_call(stream: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(stream.stack, monkeypatch)
    run(stream, [stream.cell(layer=layer, pos=4) for layer in (0, 1, 1)])
    # One unpatched run climbs along from the first layer; what enters the second joins it there.
    assert log.of(0) == [("project", (1, 6)), ("attend", (2, 3)), ("finish", (1, 6))]
    assert log.of(1) == [("project", (1, 12)), ("attend", (4, 3)), ("finish", (1, 12))]
    # After the last layer's attention only the last position is read.
    assert log.of(2) == [("project", (1, 12)), ("attend", (4, 3)), ("finish", (1, 4))]


def test_runs_from_several_positions_attend_together_where_little_is_idle(
    stream: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [stream.cell(layer=2, pos=pos) for pos in (3, 6, 3)]
    log = Log(stream.stack, monkeypatch)
    run(stream, cells)
    # The unpatched run begins at 3 too: three runs of four rows, and one of a single row, padded.
    assert [name for name, _ in log.of(0) + log.of(1)] == []
    assert log.of(2) == [("project", (1, 13)), ("attend", (4, 4)), ("finish", (1, 4))]
    log.clear()
    monkeypatch.setattr(climb, "_IDLE", 0)
    run(stream, cells)
    assert log.of(2) == [("project", (1, 13)), ("attend", (3, 4)), ("attend", (1, 1)), ("finish", (1, 4))]


def test_what_is_idle_is_counted_in_numbers(stream: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row's are its scores in every head and three vectors of the stream's width."""
    cells, row = [stream.cell(layer=2, pos=pos) for pos in (3, 6)], LENGTH * models.HEADS + 3 * 32
    log = Log(stream.stack, monkeypatch)
    for idle, calls in ((3 * row, 1), (3 * row - 1, 2)):
        log.clear()
        monkeypatch.setattr(climb, "_IDLE", idle)
        run(stream, cells)
        assert [name for name, _ in log.of(2)].count("attend") == calls


def test_attention_keeps_to_its_numbers(stream: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's are the keys and values of all positions in every head."""
    row, text = LENGTH * models.HEADS + 3 * 32, 2 * LENGTH * models.HEADS * 8
    cells = [stream.cell(layer=2, pos=6)] * 3
    log = Log(stream.stack, monkeypatch)
    for numbers, runs in (
        (4 * (text + row), [4]),
        (4 * (text + row) - 1, [3, 1]),
        (2 * (text + row), [2, 2]),
        (1, [1] * 4),
    ):
        log.clear()
        monkeypatch.setattr(climb, "_NUMBERS", numbers)
        run(stream, cells)
        assert [shape for name, shape in log.of(2) if name == "attend"] == [(many, 1) for many in runs]
    # Runs that begin at two positions: each with all its rows, the idle ones too.
    both = [stream.cell(layer=2, pos=3), stream.cell(layer=2, pos=6)]  # And the unpatched run, from 3 on.
    for numbers, runs in ((3 * text + 12 * row, [(3, 4)]), (3 * text + 12 * row - 1, [(2, 4), (1, 1)])):
        log.clear()
        monkeypatch.setattr(climb, "_NUMBERS", numbers)
        run(stream, both)
        assert [shape for name, shape in log.of(2) if name == "attend"] == runs


@pytest.mark.parametrize(("rows", "sizes"), [(100, [16]), (12, [12, 4]), (8, [8, 8]), (7, [4] * 4), (1, [4] * 4)])
def test_modules_get_no_more_rows_than_may_be(
    stream: Sweep, rows: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(stream.stack, monkeypatch)
    monkeypatch.setattr(climb, "_ROWS", rows)
    run(stream, [stream.cell(layer=1, pos=3)] * 3)
    for name in ("project", "finish"):
        assert [shape for called, shape in log.of(1) if called == name] == [(1, size) for size in sizes]


ALL = [("project", (1, 6)), ("attend", (2, 3)), ("finish", (1, 6))]
"""Two runs of three rows, the patched and the unpatched one, through every piece."""


@pytest.mark.parametrize(
    ("site", "place", "entered"),
    [
        # What enters after the attention needs none in its layer, and comes out of it as one row.
        ("mlp_out", {"layer": 1, "pos": 4}, [("project", (1, 3)), ("attend", (1, 3)), ("finish", (1, 4))]),
        ("resid_post", {"layer": 1, "pos": 4}, [("project", (1, 3)), ("attend", (1, 3)), ("finish", (1, 4))]),
        # A query changes its own row only, but the heads must be run.
        ("q", {"layer": 1, "pos": 4, "head": 2}, [*ALL[:2], ("finish", (1, 4))]),
        ("k", {"layer": 1, "pos": 4, "head": 2}, ALL),
        ("resid_pre", {"layer": 1, "pos": 4}, ALL),
    ],
)
def test_only_what_can_differ_is_run(
    gpt2: TransformerBridge, site: str, place: dict[str, int], entered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sweep(gpt2, models.PAIR, site, tuple(place), intervention=pw.Zero())
    log = Log(made.stack, monkeypatch)
    run(made, [made.cell(**place)])
    assert log.of(0) == []
    assert log.of(1) == entered
    # After the last layer's attention only the last position is read.
    assert log.of(2) == [*ALL[:2], ("finish", (1, 2))]


def everywhere(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[:, :, 3].sum(-1)


@pytest.mark.parametrize(
    ("at", "metric", "finished"),
    [
        (-1, "logit_diff", [(1, 2)]), (-3, "logit_diff", [(1, 2)]), (-3, everywhere, [(1, 6)]),
        # Read before both runs begin: nothing is left to finish.
        (-4, "logit_diff", []),
    ],
)  # fmt: skip
def test_what_is_read_is_all_that_the_last_layer_finishes(
    gpt2: TransformerBridge, at: int, metric: Any, finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pw.PromptPair([1, 3, 4, 5, 6, 7, 8], [1, 3, 4, 9, 6, 10, 8], answer=11, foil=12, at=at)
    made = sweep(gpt2, pair, "mlp_out", metric=metric)
    log = Log(made.stack, monkeypatch)
    run(made, [made.cell(layer=1, pos=4)])
    assert [shape for name, shape in log.of(2) if name == "finish"] == finished


@pytest.mark.parametrize("calls", [0, 1, 4, 9])
def test_a_climb_asks_between_two_modules_whether_to_stop(
    stream: Sweep, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, asked = Log(stream.stack, monkeypatch), []
    cells = [(stream.cell(layer=0, pos=pos), stream.task.lanes[0]) for pos in STARTS]

    def stop() -> bool:
        asked.append(1)
        return len(asked) > calls

    with pytest.raises(Stopped):
        stream.replay.run(cells, stop)
    assert len(log) == min(calls, 3 * models.LAYERS)


def test_a_climb_that_is_not_stopped_asks_once_for_every_call(stream: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    log, asked = Log(stream.stack, monkeypatch), []
    made = Climb(
        stream.stack, stream.tapes[LENGTH], "corrupted", stream.task.value, True, (6, 6), lambda: bool(asked.append(1))
    )
    replay = stream.replay
    items = [replay.item((stream.cell(layer=1, pos=pos), stream.task.lanes[0])) for pos in (3, 5)]
    found = list(made.run(items, {}))
    assert [[item.start for item in group.items] for group, _ in found] == [[3], [5]]
    assert all(final.shape == (1, 1, 32) for _, final in found)
    assert len(asked) == len(log) + len(found)
