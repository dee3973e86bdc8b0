"""Whatever is asked of the engine, every cell is what one plain run with one hook measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.alignment import propose
from patchwidgets.datasets import Dataset
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Intervention, Scale, Vector, Zero
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from patchwidgets.sites import SITES
from tests import models
from tests.engine.reference import Change, Reference, around

TOKENS = st.integers(2, models.VOCAB - 1)
SIZES = {"layer": models.LAYERS, "head": models.HEADS, "neuron": 48}
WORDS = {"layer": "layers", "pos": "positions", "head": "heads", "neuron": "neurons"}
EXAMPLES = 80


def margin(logits: Tensor, tokens: Tensor) -> Tensor:
    """A metric of my own: reads all positions and the tokens."""
    return logits.mean(1).amax(-1) + 0.01 * tokens.sum(-1)


SCORES: dict[str, Callable[[Tensor, Case], float]] = {
    "logit_diff": lambda row, case: row[case.answer] - row[case.foil],
    "logit": lambda row, case: row[case.answer],
    "logprob": lambda row, case: row.log_softmax(0)[case.answer],
    "prob": lambda row, case: row.softmax(0)[case.answer],
    "cross_entropy": lambda row, case: -row.log_softmax(0)[case.answer],
    "rank": lambda row, case: 1 + (row > row[case.answer]).sum(),
}
"""What a metric is of one row of logits, written out again."""

CHANGES: list[tuple[Intervention | None, Change | None]] = [
    *[(None, None)] * 4,
    (Zero(), torch.zeros_like),
    (Scale(-1.5), lambda now: -1.5 * now),
    (Vector(0.5, add=True), lambda now: now + 0.5),
]
"""What is done, and the same to one entry; None is a patch."""


@dataclass(frozen=True)
class Couple:
    """Two prompts, and which positions are each other's counterparts: as `patch` takes it."""

    clean: list[int]
    corrupted: list[int]
    align: list[tuple[int, int]] | str | None

    def runs(self, direction: str) -> tuple[list[int], list[int]]:
        """Return the base run and the source run."""
        return (self.corrupted, self.clean) if direction == "denoise" else (self.clean, self.corrupted)

    def counterparts(self, direction: str) -> dict[int, int]:
        """Return base position -> source position."""
        if self.align is None:
            return {i: i for i in range(len(self.clean))}
        matches = propose(self.clean, self.corrupted).matches if isinstance(self.align, str) else self.align
        return {j: i for i, j in matches} if direction == "denoise" else dict(matches)


@dataclass(frozen=True)
class Case:
    """Something to ask of the engine."""

    family: str
    couples: list[Couple]
    site: str
    by: tuple[str, ...]
    direction: str
    change: tuple[Intervention | None, Change | None]
    chosen: dict[str, list[int]]
    window: int
    metrics: list[str]
    at: int
    batch_size: int | None
    answer: int = 20
    foil: int = 21

    @property
    def matched(self) -> list[int]:
        """The base positions that have a counterpart in every pair."""
        return sorted(set.intersection(*(set(couple.counterparts(self.direction)) for couple in self.couples)))

    def size(self, axis: str) -> int:
        """How many indices the axis has."""
        if axis == "head" and self.family == "llama" and self.site in ("k", "v"):
            return models.KV_HEADS
        return SIZES.get(axis, len(self.couples[0].runs(self.direction)[0]))

    def labels(self, axis: str) -> list[int]:
        """The indices of the axis that are swept."""
        return sorted(self.chosen.get(axis, range(self.size(axis))))


UNEQUAL = Couple([3, 4, 5, 6, 7, 8], [3, 4, 9, 10, 5, 6, 7, 11], "auto")


@st.composite
def couples(draw: st.DrawFn, alike: Couple | None = None) -> Couple:
    """Two prompts; `alike` others that are in the same dataset."""
    fixed = len(alike.clean) if alike else None
    clean = draw(st.lists(TOKENS, min_size=fixed or 2, max_size=fixed or 9))
    align: list[tuple[int, int]] | str | None = alike.align if alike else None
    if align or (alike is None and draw(st.booleans())):
        fixed = len(alike.corrupted) if alike else None
        corrupted = draw(st.lists(TOKENS, min_size=fixed or 2, max_size=fixed or 9))
        align = align or draw(st.one_of(st.just("auto"), alignments(len(clean), len(corrupted))))
    else:
        corrupted = list(clean)
        for position in draw(st.sets(st.integers(0, len(clean) - 1), min_size=1, max_size=3)):
            corrupted[position] = draw(TOKENS)
    if clean == corrupted:
        corrupted = [*corrupted[:-1], 1]
    return Couple(clean, corrupted, align)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    first = draw(couples())
    several = [first]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        other = draw(couples(first))
        if other not in several:  # A dataset has every pair once.
            several.append(other)
    shortest = min(len(ids) for couple in several for ids in (couple.clean, couple.corrupted))
    site, by = draw(st.sampled_from([(site, by) for site in SITES.values() for by in site.by]))
    case = Case(
        draw(st.sampled_from(["gpt2", "llama"])), several, site.name, by,
        draw(st.sampled_from(["denoise", "noise"])), draw(st.sampled_from(CHANGES)), {},
        draw(st.sampled_from([1, 1, 1, 2, 3, 4])) if "layer" in by else 1,
        draw(st.lists(st.sampled_from([*SCORES, "margin"]), min_size=1, max_size=3, unique=True)),
        draw(st.integers(-shortest, -1)), draw(st.sampled_from([None, 1, 3, 50])),
    )  # fmt: skip
    axes = [axis for axis in (*by, *site.axes) if axis in WORDS]
    for axis in dict.fromkeys(axes):
        few = axis in ("layer", "neuron") and axis in by
        if few or draw(st.booleans()):
            inside = range(case.size(axis))
            if axis == "pos" and axis not in by and case.change[0] is None:
                inside = case.matched  # type: ignore[assignment]
            if inside:
                case.chosen[axis] = draw(st.lists(st.sampled_from(inside), min_size=1, max_size=2, unique=True))
    return case


@st.composite
def alignments(draw: st.DrawFn, clean: int, corrupted: int) -> list[tuple[int, int]]:
    """Some matches in order."""
    count = draw(st.integers(1, min(clean, corrupted)))
    sides = [sorted(draw(st.sets(st.integers(0, n - 1), min_size=count, max_size=count))) for n in (clean, corrupted)]
    return list(zip(*sides, strict=True))


@cache
def model_of(family: str) -> TransformerBridge:
    """A tiny model in float64. Not a fixture: Hypothesis would print all of it with a failing case."""
    return models.bridge(family)


def ask(model: TransformerBridge, case: Case) -> PatchResult:
    pairs = [PromptPair(c.clean, c.corrupted, answer=case.answer, foil=case.foil, at=case.at) for c in case.couples]
    metrics: list[Any] = [margin if name == "margin" else name for name in case.metrics]
    asked = pairs[0] if len(pairs) == 1 else Dataset(pairs)
    return patch(
        model, asked, case.site, by=case.by, direction=case.direction, metric=metrics, intervention=case.change[0],
        window=case.window, batch_size=case.batch_size, align=case.couples[0].align,
        **{WORDS[axis]: chosen for axis, chosen in case.chosen.items()},
    ).wait()  # fmt: skip


def scored(logits: Tensor, tokens: list[int], case: Case) -> list[float]:
    row = logits[0, case.at]
    own = {"margin": margin(logits, torch.tensor([tokens]))[0]}
    return [float(own[name] if name in own else SCORES[name](row, case)) for name in case.metrics]


def expected_status(case: Case, cell: dict[str, int]) -> str:
    at = {axis: index for axis, index in cell.items() if axis in ("pos", "dest", "src")}
    if at.get("src", 0) > at.get("dest", 0) and "dest" in at:
        return "unavailable"
    if case.change[0] is not None:
        return "measured"
    if any(index not in case.matched for index in at.values()):
        return "unavailable"
    return "implied" if any(known(case, at[axis]) for axis in at.keys() - {"src"}) else "measured"


def known(case: Case, position: int) -> bool:
    """Whether both runs have done the same up to a position, in every pair."""
    return all(
        couple.counterparts(case.direction)[position] == position
        and couple.clean[: position + 1] == couple.corrupted[: position + 1]
        for couple in case.couples
    )


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@example(
    case=Case("llama", [UNEQUAL], "pattern", ("layer", "head"), "denoise", CHANGES[0], {}, 2, ["logit_diff"], -1, 3)
)
@example(case=Case("gpt2", [UNEQUAL], "pattern", ("layer", "head"), "noise", CHANGES[-1], {}, 1, ["prob"], -2, None))
@given(case=cases())
def test_every_cell_is_what_one_run_with_one_hook_measures(case: Case, engine: str) -> None:
    model = model_of(case.family)
    result = ask(model, case)
    assert result.engine == engine or not (result.data["status"] == "measured").any()
    for run in ("clean", "corrupted"):
        plain = [plain_values(model, getattr(couple, run), case) for couple in case.couples]
        np.testing.assert_allclose(result.data[run].values, np.mean(plain, 0), rtol=0, atol=1e-8)
    labels = [case.labels(axis) for axis in case.by]
    assert [result.data[axis].values.tolist() for axis in case.by] == labels
    for place, where in zip(product(*(range(len(each)) for each in labels)), product(*labels), strict=True):
        cell = dict(zip(case.by, where, strict=True))
        status = result.data["status"].values[place]
        assert status == expected_status(case, cell), cell
        found = result.data["patched"].values[(slice(None), *place)]
        if status == "unavailable":
            assert np.isnan(found).all()
            continue
        expected = np.mean([patched_values(model, couple, case, cell) for couple in case.couples], 0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8, err_msg=str(cell))


def plain_values(model: TransformerBridge, ids: list[int], case: Case) -> list[float]:
    with torch.no_grad():
        return scored(model(torch.tensor([ids])), ids, case)


def patched_values(model: TransformerBridge, couple: Couple, case: Case, cell: dict[str, int]) -> list[float]:
    base, source = couple.runs(case.direction)
    reference = Reference(model, base, source, couple.counterparts(case.direction), case.change[1])
    confined = {axis: chosen for axis, chosen in case.chosen.items() if axis not in case.by}
    written = {axis: [index] for axis, index in cell.items() if axis != "layer"}
    layers = around(cell["layer"], case.window, models.LAYERS) if "layer" in cell else [None]
    return scored(reference.logits(SITES[case.site], layers, {**confined, **written}), base, case)


def test_a_position_with_nothing_to_be_written_is_refused() -> None:
    """Else its effect would be a 0 that nothing was measured for."""
    gpt2 = model_of("gpt2")
    pair = PromptPair([3, 4, 5, 6], [3, 9, 4, 5, 6], answer=20, foil=21)
    told = "position 1 of the corrupted prompt has no counterpart in the clean one; leave it out of positions"
    with pytest.raises(PatchError, match=told):
        patch(gpt2, pair, "z", align="auto", positions=[1, 4])
    assert patch(gpt2, pair, "z", align="auto", positions=[1, 4], intervention="zero").wait()
