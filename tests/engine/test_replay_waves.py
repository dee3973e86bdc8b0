"""The order in which cells are replayed: coarse to fine, for about a second, within the memory, every cell once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, GPT2LMHeadModel

import patchwidgets as pw
from patchwidgets.engine.replay.waves import Waves
from tests import models
from tests.engine.replaying import Sweep, sweep

LAYERS, WIDTH, LENGTH, NUMBER = 6, 8, 7, 8
"""Of the model: layers and width; how many tokens a prompt has; the bytes of a float64."""
STARTS = [3, 4, 5, 6]
"""Where the prompts of models.PAIR can differ."""
ROW = 12 * WIDTH * NUMBER
"""What a row takes while it climbs."""


@pytest.fixture(scope="module")
def deep() -> TransformerBridge:
    """A model of six layers."""
    config = GPT2Config(
        n_layer=LAYERS, n_head=2, n_embd=WIDTH, n_inner=16, vocab_size=models.VOCAB, n_positions=models.CONTEXT
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = GPT2LMHeadModel(config)
    built.set_attn_implementation("eager")
    return models.bridged(built.double().eval())


def waves_of(made: Sweep, order: np.ndarray | None = None) -> Waves:
    return Waves(made.replay, made.task, made.task.plan.order if order is None else order)


def costs(made: Sweep, cells: list[int]) -> list[int]:
    """What cells of a layer and a position cost: rows times blocks."""
    at = [made.task.plan.cell(cell) for cell in cells]
    return [(LAYERS - cell["layer"]) * (LENGTH - cell["pos"]) for cell in at]


@pytest.fixture
def grid(deep: TransformerBridge) -> Sweep:
    """A sweep of every layer and position."""
    return sweep(deep, models.PAIR, "resid_pre")


@pytest.fixture
def coarse_to_fine(grid: Sweep) -> list[int]:
    """Its cells as they should come: every fourth position, every second, the rest; so do layers, the last first."""
    return [grid.cell(layer=layer, pos=pos) for pos in (3, 5, 4, 6) for layer in (5, 1, 3, 4, 2, 0)]


def test_positions_and_layers_come_coarse_to_fine(grid: Sweep, coarse_to_fine: list[int]) -> None:
    waves = waves_of(grid)
    assert waves.left
    assert waves.next(1e9) == coarse_to_fine
    assert not waves.left
    assert waves.next(1e9) == []


def test_a_cell_costs_its_rows_times_its_blocks(grid: Sweep, deep: TransformerBridge) -> None:
    waves = waves_of(grid)
    for layer, pos, cost in ((0, 3, 24), (2, 3, 16), (5, 3, 4), (0, 6, 6), (5, 6, 1)):
        assert waves.cost([grid.cell(layer=layer, pos=pos)]) == cost
    assert waves.cost([grid.cell(layer=0, pos=3), grid.cell(layer=5, pos=6)]) == 25
    many = sweep(deep, models.five_pairs(), "resid_pre")
    assert waves_of(many).cost([many.cell(layer=4, pos=2)]) == 5 * 2 * 4


@pytest.mark.parametrize("rate", [1.0, 4.0, 24.0, 25.0, 40.0, 69.9, 70.0])
def test_a_wave_takes_what_a_second_holds_and_the_last_three(
    grid: Sweep, coarse_to_fine: list[int], rate: float
) -> None:
    waves, queue = waves_of(grid), list(coarse_to_fine)
    while waves.left:
        left = sum(costs(grid, queue))
        wave = waves.next(rate)
        assert wave == queue[: len(wave)]
        assert wave
        queue = queue[len(wave) :]
        if left <= 3 * rate:
            assert not queue
        else:
            assert len(wave) == 1 or sum(costs(grid, wave)) <= rate
            assert sum(costs(grid, [*wave, *queue[:1]])) > rate
    assert queue == []


def test_what_leads_comes_first_and_only_once(grid: Sweep, coarse_to_fine: list[int]) -> None:
    waves = waves_of(grid)
    early, late = grid.cell(layer=0, pos=6), grid.cell(layer=5, pos=4)
    first = waves.next(11.0, [early, late])  # 6 + 3; the next would cost 4.
    assert first == [early, late]
    assert waves.taken([late, early])
    assert waves.taken([])
    assert not waves.taken([early, grid.cell(layer=0, pos=3)])
    rest = [*waves.next(30.0, [late, early]), *(cell for _ in range(24) for cell in waves.next(30.0, [early]))]
    assert rest == [cell for cell in coarse_to_fine if cell not in first]


@pytest.mark.parametrize(
    ("share", "pos"), [(0.001, []), (4 / 210, [3]), (0.03, [3, 5]), (0.047, [3, 5, 4]), (1, [3, 5, 4, 6])]
)
def test_the_cheapest_enter_last_and_keep_to_their_share(grid: Sweep, share: float, pos: list[int]) -> None:
    assert sum(costs(grid, grid.task.plan.order.tolist())) == 210
    waves = waves_of(grid)
    found = waves.cheapest(share)
    assert found == [grid.cell(layer=5, pos=p) for p in pos]
    assert waves.taken(found)
    # What was spent counts: the last wave takes exactly what is left.
    rate = (210 - sum(costs(grid, found))) / 3
    rest = waves.next(rate)
    assert not waves.left
    assert sorted([*found, *rest]) == sorted(grid.task.plan.order.tolist())


def test_the_cheapest_keep_to_the_memory_and_the_batch_size(deep: TransformerBridge) -> None:
    few = waves_of(sweep(deep, models.PAIR, "resid_pre", batch_size=2))
    assert len(few.cheapest(1)) == 2
    # They are of 4, 2, 3 and 1 rows.
    found = [len(memory_of(deep, 2 * rows * ROW).cheapest(1)) for rows in (1, 4, 5, 6, 8, 9, 10)]
    assert found == [1, 1, 1, 2, 2, 3, 4]


def memory_of(deep: TransformerBridge, memory: int, **options: Any) -> Waves:
    """Return the waves of a sweep that is given so much memory, whatever its tapes take."""
    return waves_of(sweep(deep, models.PAIR, "resid_pre", **options).given(memory=memory))


@pytest.mark.parametrize(
    ("metric", "logits"),
    [("logit_diff", 0), ("kl_clean", 1), (lambda logits, tokens: logits[:, :, 3].sum(-1), LENGTH)],
    ids=["two logits", "one position", "all positions"],
)
def test_a_wave_keeps_to_the_memory(deep: TransformerBridge, metric: Any, logits: int) -> None:
    kept = logits * models.VOCAB * NUMBER
    # The first cells are of four rows each.
    for count in (1, 2, 5):
        held = count * (4 * ROW + kept)
        assert len(memory_of(deep, 2 * held, metric=metric).next(1e9)) == count
        assert len(memory_of(deep, 2 * held - 2, metric=metric).next(1e9)) == max(1, count - 1)
    assert len(memory_of(deep, 0, metric=metric).cheapest(1)) == 1


@pytest.mark.parametrize(("batch_size", "most"), [(1, 1), (4, 1), (5, 1), (9, 1), (10, 2), (16, 3), (None, 24)])
def test_a_wave_keeps_to_the_batch_size(deep: TransformerBridge, batch_size: int | None, most: int) -> None:
    made = sweep(deep, models.five_pairs(), "resid_pre", batch_size=batch_size)
    waves, found = waves_of(made), []
    while waves.left:
        found.append(waves.next(1e9))
    assert max(map(len, found)) == most
    assert sorted(cell for wave in found for cell in wave) == sorted(made.task.plan.order.tolist())


def placed(made: Sweep) -> set[tuple[int, ...]]:
    """Return the indices of each cell, the layer it enters and the position."""
    waves = waves_of(made)
    return {(*made.task.plan.cell(cell).values(), *waves._at[cell]) for cell in made.task.plan.order.tolist()}


def test_a_cell_enters_where_it_first_writes(deep: TransformerBridge) -> None:
    few: dict[str, Any] = {"layer": [0, 2, 5]}
    assert placed(sweep(deep, models.PAIR, "resid_mid", "layer", **few)) == {(0, 0, 3), (2, 2, 3), (5, 5, 3)}
    assert placed(sweep(deep, models.PAIR, "resid_mid", "layer", window=2, **few)) == {(0, 0, 3), (2, 1, 3), (5, 4, 3)}
    assert placed(sweep(deep, models.PAIR, "resid_mid", "layer", window=3, **few)) == {(0, 0, 3), (2, 1, 3), (5, 4, 3)}
    assert placed(sweep(deep, models.PAIR, "resid_mid", "layer", window=5, **few)) == {(0, 0, 3), (2, 0, 3), (5, 3, 3)}
    assert placed(sweep(deep, models.PAIR, "resid_mid", "layer", pos=[6, 4], **few)) == {
        (0, 0, 4),
        (2, 2, 4),
        (5, 5, 4),
    }
    assert placed(sweep(deep, models.PAIR, "embed")) == {(pos, 0, pos) for pos in STARTS}
    zero = sweep(deep, models.PAIR, "z", ("layer", "head"), intervention=pw.Zero(), layer=[1], head=[0])
    assert placed(zero) == {(1, 0, 1, 0)}
    by_dest = sweep(deep, models.PAIR, "pattern", ("layer", "head", "dest"), layer=[3], head=[1])
    assert placed(by_dest) == {(3, 1, dest, 3, dest) for dest in STARTS}


def test_pairs_that_differ_elsewhere_begin_with_the_first(deep: TransformerBridge) -> None:
    pairs = [pw.PromptPair([1, 3, 4, 5, 6], [1, 3, 4, n, 6], answer=7, foil=8) for n in (9, 10)]
    pairs.insert(1, pw.PromptPair([1, 3, 4, 5, 6], [1, 9, 4, 5, 6], answer=7, foil=8))
    assert placed(sweep(deep, pw.Dataset(pairs), "resid_mid", "layer", layer=[2])) == {(2, 2, 1)}


SETS = {"A": (0, 6), "B": (1, 4), "C": (3, 3), "D": (5, 3), "E": (4, 5)}
"""Name -> the layer and the position that a set writes to first."""


def joint() -> pw.Joint:
    return pw.Joint(
        {
            name: [("mlp_out", {"layer": layer, "pos": pos}), ("mlp_out", {"layer": 5, "pos": 6})]
            for name, (layer, pos) in SETS.items()
        }
    )


def test_sets_enter_where_any_of_their_cells_does(deep: TransformerBridge) -> None:
    made = sweep(deep, models.PAIR, joint())
    assert list(waves_of(made)._at.values()) == list(SETS.values())


def test_the_corners_are_the_nearest_to_the_first_and_the_last(grid: Sweep, deep: TransformerBridge) -> None:
    assert waves_of(grid).corners() == [grid.cell(layer=0, pos=3), grid.cell(layer=5, pos=6)]
    made = sweep(deep, models.PAIR, joint())
    assert waves_of(made).corners() == [list(SETS).index("B"), list(SETS).index("E")]
    alone = np.array([grid.cell(layer=2, pos=4)])
    assert waves_of(grid, alone).corners() == alone.tolist()


def test_a_prompt_that_ends_before_the_start_counts_as_one_row(deep: TransformerBridge) -> None:
    pairs = [
        pw.PromptPair([1, 3, 4], [1, 9, 4], answer=7, foil=8),
        pw.PromptPair([1, 3, 4, 5, 6, 7], [1, 3, 4, 5, 9, 7], answer=7, foil=8),
    ]
    made = sweep(deep, pw.Dataset(pairs), pw.Joint({"embedding": [("mlp_out", {"layer": 4})]}))
    waves = waves_of(made)
    assert waves._at == {0: (4, 1)}
    assert waves.cost([0]) == 2 * (2 + 5)
    assert waves._rows_from(4) == 1 + 2
