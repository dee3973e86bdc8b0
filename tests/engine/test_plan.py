"""Which cells a sweep has, what each of them writes, and in what order they come."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, GPT2LMHeadModel

import patchwidgets as pw
from patchwidgets.engine.handle import ModelHandle, handle_of
from patchwidgets.engine.patch import encode, patch
from patchwidgets.engine.plan import Plan, choose, make_plan
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Patch, Zero
from patchwidgets.joint import Joint
from patchwidgets.metrics import get_metrics
from patchwidgets.result import IMPLIED, PENDING, UNAVAILABLE
from patchwidgets.sites import get_site
from tests import models

PAIR = pw.PromptPair("w1 w2 w3", "w1 w4 w3", answer="w20", foil="w21")
"""With a BOS, four positions; they differ at 2."""


@pytest.fixture(scope="module")
def deep() -> Iterator[ModelHandle]:
    """A model of six layers."""
    config = GPT2Config(n_layer=6, n_head=2, n_embd=8, n_inner=16, vocab_size=models.VOCAB, n_positions=models.CONTEXT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = GPT2LMHeadModel(config)
    built.set_attn_implementation("eager")
    yield handle_of(model := models.bridged(built.double().eval()))
    del model  # Until here, as a handle alone does not keep its model.


def plan(handle: ModelHandle, site: str | Joint, by: tuple[str, ...], **options: object) -> Plan:
    pairs = encode(handle, PAIR)
    where = site if isinstance(site, Joint) else get_site(site)
    return make_plan(handle, pairs, where, by, Patch("denoise"), get_metrics("logit_diff"), **options)  # type: ignore[arg-type]


def test_a_cell_writes_its_own_layer_and_nothing_else(deep: ModelHandle) -> None:
    made = plan(deep, "resid_pre", ("layer", "pos"))
    assert made.shape == (6, 4)
    assert made.cell(4 * 3 + 2) == {"layer": 3, "pos": 2}
    assert made.targets(4 * 3 + 2) == [(get_site("resid_pre"), {"layer": 3, "pos": 2})]
    assert made.name == "resid_pre"
    assert len(made.hooks) == 6


def test_layers_come_coarse_to_fine(deep: ModelHandle) -> None:
    made = plan(deep, "resid_pre", ("layer", "pos"))
    # Positions 0 and 1 are the same in both runs, so there is nothing to measure.
    cells = [tuple(made.cell(flat).values()) for flat in made.order.tolist()]
    assert cells == [(layer, pos) for layer in (0, 4, 2, 1, 3, 5) for pos in (2, 3)]
    assert (made.status == IMPLIED).sum() == 6 * 2


def test_a_window_is_centred_and_cut_off_at_the_ends(deep: ModelHandle) -> None:
    expected = {
        1: [[0], [1], [2], [3], [4], [5]],
        2: [[0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 5]],
        3: [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5]],
        4: [[0, 1], [0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5]],
    }
    for window, layers in expected.items():
        made = plan(deep, "resid_pre", ("layer",), window=window)
        assert [[place["layer"] for _, place in made.targets(flat)] for flat in range(6)] == layers


def test_a_subset_chooses_cells_on_a_swept_axis_and_confines_on_another(deep: ModelHandle) -> None:
    made = plan(deep, "z", ("layer", "head"), subsets={"layer": [-1, 0], "pos": [3, 2], "head": None})
    assert made.labels == {"layer": [0, 5], "head": [0, 1]}
    assert made.within == {"pos": [2, 3]}
    assert made.cell(3) == {"layer": 5, "head": 1}
    assert made.targets(3) == [(get_site("z"), {"pos": [2, 3], "layer": 5, "head": 1})]


def test_attention_looks_back_only(deep: ModelHandle) -> None:
    status = plan(deep, "pattern", ("layer", "head", "dest", "src"), intervention=Zero()).status
    after = np.triu(np.ones((4, 4), dtype=bool), 1)
    assert (status[:, :, after] == UNAVAILABLE).all()
    assert (status[:, :, ~after] == PENDING).all()


def test_only_a_patch_before_the_first_difference_is_known(deep: ModelHandle) -> None:
    status = plan(deep, "pattern", ("layer", "head", "dest")).status
    assert (status[..., :2] == IMPLIED).all()
    assert (status[..., 2:] == PENDING).all()
    assert (plan(deep, "z", ("layer", "pos", "head"), intervention=Zero()).status == PENDING).all()


def test_a_joint_is_a_row_of_its_sets(deep: ModelHandle) -> None:
    heads = [("z", {"layer": -1, "head": 0, "pos": -1}), ("z", {"layer": 4, "head": 1})]
    made = plan(deep, Joint({"last two": heads, "one": [("embed", {"pos": 2})]}), ("set",))
    assert made.name == "joint"
    assert made.labels == {"set": ["last two", "one"]}
    z, embed = get_site("z"), get_site("embed")
    assert made.targets(0) == [(z, {"layer": 5, "head": 0, "pos": 3}), (z, {"layer": 4, "head": 1})]
    assert made.targets(1) == [(embed, {"pos": 2})]
    assert made.order.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("chosen", "expected"), [(None, [0, 1, 2, 3]), (2, [2]), (-1, [3]), ([3, -4], [0, 3]), (np.array([1, 0]), [0, 1])]
)
def test_indices_count_from_either_end(chosen: object, expected: list[int]) -> None:
    assert choose("pos", chosen, 4) == expected


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (4, r"position 4 does not exist: there are 4 \(0 to 3\)"),
        (-5, r"position -5 does not exist: there are 4 \(0 to 3\)"),
        ([1, -3], r"positions names an index twice: \[1, -3\]"),
        ([], r"positions must be one or more whole numbers, not \[\]"),
        (1.0, r"positions must be one or more whole numbers, not 1.0"),
    ],
)
def test_indices_that_are_not_there_are_refused(chosen: object, told: str) -> None:
    with pytest.raises(PatchError, match=told):
        choose("pos", chosen, 4)


def test_every_draw_of_every_pair_is_a_run_of_its_own(gpt2: TransformerBridge) -> None:
    """Noise of no width draws, and changes nothing: every pair's number is its plain run's."""
    data = pw.Dataset([PAIR, pw.PromptPair("w5 w6 w7", "w5 w8 w7", answer="w9", foil="w10")])
    result = patch(gpt2, data, "z", intervention=pw.Noise(0.0, samples=3)).wait()
    plain = [patch(gpt2, pair, "z", layers=[0], heads=[0]).wait().corrupted for pair in data]
    found = result.data["patched_pairs"].transpose("pair", ...)
    for each, expected in zip(found.values, plain, strict=True):
        np.testing.assert_allclose(each, expected, rtol=0, atol=1e-9)
    assert abs(plain[0] - plain[1]) > 0.1
