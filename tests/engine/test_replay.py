"""The replay engine: that it really ran, that it gives what hooks give, and that a wrong number of its is caught."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import patchwidgets as pw
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.replay import climb, parts
from patchwidgets.engine.replay.parts import NotReplayable, stack_of
from patchwidgets.engine.replay.proof import prove
from patchwidgets.engine.replay.sides import Sides
from patchwidgets.errors import PatchError
from patchwidgets.metrics import tolerance
from patchwidgets.result import MEASURED, PatchResult
from patchwidgets.sites import SITES
from tests import models
from tests.engine.plain import PAIR, READ_ONLY, Family, family_of, lacks
from tests.families import FAMILIES

ROUNDS = {"gptj"}
"""Computes its attention in float32 whatever its weights are: on a part of a prompt it rounds otherwise."""


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    """A family in float64."""
    return family_of(request.param, torch.float64)


def both(model: Any, pair: Any, site: Any, **options: Any) -> tuple[PatchResult, PatchResult]:
    """Return one sweep by each engine."""
    return tuple(pw.patch(model, pair, site, engine=name, **options).wait() for name in ("replay", "hooked"))  # type: ignore[return-value]


def assert_alike(fast: PatchResult, slow: PatchResult) -> None:
    assert (fast.engine, slow.engine) == ("replay", "hooked")
    np.testing.assert_array_equal(fast.data["status"].values, slow.data["status"].values)
    for i in range(len(fast.metrics)):
        found, expected = (result.data["patched"].values[i] for result in (fast, slow))
        allowed = tolerance(str(fast.provenance["dtype"]), float(np.nanmax(np.abs(expected))))
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - ROUNDS), indirect=True)
def test_every_site_of_every_family_is_replayed(family: Family) -> None:
    for name, site in SITES.items():
        if name in lacks(family.name) or (family.name in READ_ONLY and name in ("pattern", "attn_scores")):
            continue
        few = {"neurons": [0, 5]} if "neuron" in site.by[0] else {}
        assert_alike(*both(family.bridged, PAIR, name, **few))


def test_where_a_model_rounds_to_float32_float64_is_not_replayed() -> None:
    precise = pw.patch(models_of("gptj", torch.float64), PAIR, "z").wait()
    assert precise.engine == "hooked"
    assert "attention 0 gives something else" in precise.provenance["why_hooked"]
    assert pw.patch(models_of("gptj", torch.float32), PAIR, "z").wait().engine == "replay"


def models_of(name: str, dtype: torch.dtype) -> Any:
    return family_of(name, dtype).bridged


SETTINGS: list[dict[str, Any]] = [
    {"metric": ["logprob", "rank", "kl_clean"]},
    {"direction": "noise", "metric": "prob"},
    {"intervention": "zero"},
    {"intervention": pw.Noise(2.0, samples=3), "seed": 5},
    {"intervention": pw.Scale(0.3)},
    {"intervention": "mask"},
    {"positions": [1, 4]},
    {"layers": [1]},
    {"window": 2},
]


CHANGED = ["resid_pre", "attn_out", "z", "v", "pattern", "mlp_post", "resid_post"]


@pytest.mark.parametrize(
    ("site", "options"),
    [(site, each) for site in CHANGED for each in SETTINGS if site != "pattern" or "positions" not in each],
    ids=lambda value: value if isinstance(value, str) else " ".join(f"{k}={v}" for k, v in value.items())[:40],
)
def test_every_setting_is_replayed(gpt2: Any, site: str, options: dict[str, Any]) -> None:
    few = {"neurons": [0, 3]} if site == "mlp_post" else {}
    assert_alike(*both(gpt2, models.PAIR, site, **few, **options))


def test_sets_over_several_layers_and_sites_are_replayed(gpt2: Any) -> None:
    sets = {
        "heads": [("z", {"layer": 0, "head": 1}), ("z", {"layer": 1, "head": 3})],
        "later, earlier": [("mlp_out", {"layer": 0, "pos": 5}), ("resid_post", {"layer": 1, "pos": 3})],
        "mixed": [("k", {"layer": 1, "head": 0}), ("attn_out", {"layer": 0, "pos": 4}), ("mlp_pre", {"layer": 1})],
        "embedding and above": [("embed", {"pos": 3}), ("pattern", {"layer": 1, "head": 2})],
    }
    assert_alike(*both(gpt2, models.PAIR, pw.Joint(sets)))


def test_a_metric_of_all_positions_is_replayed(gpt2: Any) -> None:
    def spread(logits: Tensor, tokens: Tensor) -> Tensor:
        return (logits.log_softmax(-1).gather(2, tokens[:, :, None]).sum((1, 2)) + logits[:, 2].amax(-1)).detach()

    assert_alike(*both(gpt2, models.PAIR, "z", metric=["logit_diff", spread]))


def test_pairs_of_many_lengths_and_long_answers_are_replayed(gpt2: Any) -> None:
    pairs = [
        pw.PromptPair([1, 3, 4, 5], [1, 3, 6, 5], answer=pw.Continuation([7, 8]), foil=9),
        pw.PromptPair([1, 3, 4, 5, 6, 7], [1, 9, 4, 5, 6, 7], answer=(7, 10), foil=pw.Continuation([9, 9, 4])),
        pw.PromptPair([1, 2, 4, 5], [1, 3, 4, 8], answer=11, foil=9, at=-2),
    ]
    assert_alike(*both(gpt2, pw.Dataset(pairs), "z"))
    assert_alike(
        *both(gpt2, pw.Dataset(pairs), "v", intervention=pw.Mean(per_position=False, over=pw.Dataset(pairs[:2])))
    )


def test_aligned_prompts_are_replayed(gpt2: Any) -> None:
    pair = pw.PromptPair([1, 3, 4, 5, 6, 7, 8], [1, 3, 9, 10, 4, 6, 7, 8], answer=11, foil=12)
    for direction in ("denoise", "noise"):
        for site in ("resid_pre", "z", "mlp_out"):
            assert_alike(*both(gpt2, pair, site, align="auto", direction=direction))


def test_a_wrong_mask_of_one_kind_of_layer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models_of("gemma2", torch.float64)
    right = pw.patch(model, PAIR, "resid_pre", engine="hooked").wait()
    honest = Sides._cut
    stack_of(handle_of(model), prove)

    def blind(self: Sides, name: str, value: Any, *rest: Any) -> Any:
        cut = honest(self, name, value, *rest)
        # The window of the sliding layers is forgotten: every token before is attended to.
        windowed = name == "attention_mask" and bool(value[0, 0, -1, 0] < -1)
        return torch.zeros_like(cut) if windowed else cut

    monkeypatch.setattr(Sides, "_cut", blind)
    with pytest.warns(UserWarning, match=r"replayed runs did not agree .*\(a run without a patch\)"):
        result = pw.patch(model, PAIR, "resid_pre").wait()
    assert result.engine == "hooked"
    assert "did not agree" in result.provenance["why_hooked"]
    np.testing.assert_allclose(result.data["patched"].values, right.data["patched"].values, rtol=0, atol=1e-12)
    assert (result.data["status"].values == right.data["status"].values).all()


def test_a_patch_written_at_the_wrong_place_is_caught(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = pw.patch(gpt2, models.PAIR, "z", engine="hooked").wait()
    put = climb.Climb._put

    def askew(self: Any, activation: Tensor, target: Any, *rest: Any) -> None:
        site, place = target
        put(self, activation, (site, {**place, "head": (place["head"] + 1) % 4}), *rest)

    monkeypatch.setattr(climb.Climb, "_put", askew)
    told: list[int] = []
    run = pw.patch(gpt2, models.PAIR, "z")
    run.subscribe(lambda run, cells: told.extend(cells.tolist()))
    with pytest.warns(UserWarning, match=r"replayed runs did not agree .*layer 0 head"):
        result = run.wait()
    assert result.engine == "hooked"
    assert any(cell["layer"] == 0 for cell in result.check["wrong"])
    assert run.done == run.total == len(set(told))
    np.testing.assert_array_equal(result.data["patched"].values, right.data["patched"].values)


def test_a_prompt_that_is_the_beginning_of_the_other(gpt2: Any) -> None:
    pair = pw.PromptPair([3, 4, 5], [3, 4, 5, 6], answer=11, foil=12)
    for direction in ("denoise", "noise"):
        for site in ("z", "v", "pattern", "resid_pre", "mlp_out"):
            assert_alike(*both(gpt2, pair, site, align="auto", direction=direction))


@pytest.mark.parametrize("batch_size", [1, 2, 3, None])
def test_few_cells_and_short_prompts(gpt2: Any, batch_size: int | None) -> None:
    short = pw.PromptPair([3, 4], [3, 5], answer=11, foil=12)
    for options in ({}, {"layers": [2], "positions": [1]}, {"positions": [1]}):
        assert_alike(*both(gpt2, short, "resid_pre", batch_size=batch_size, **options))
    assert_alike(*both(gpt2, pw.Dataset([short, models.PAIR]), "z", batch_size=batch_size))


def test_a_model_changed_in_the_midst_of_a_sweep_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.bridge("gpt2", seed=7)
    changed: list[int] = []

    def change(run: Any, cells: Any) -> None:
        if run.done and not changed:
            changed.append(1)
            with torch.no_grad():
                for weight in model.blocks[1].parameters():
                    weight.data.mul_(0.5)

    run = pw.patch(model, models.PAIR, "z", by=("layer", "pos", "head"), batch_size=4)
    run.subscribe(change)
    with pytest.raises(PatchError, match="the model was changed"):
        run.wait()


def test_somebodys_hook_on_a_module_is_left_to_the_hooked_engine() -> None:
    model = models.bridge("gpt2", seed=8)
    hook = model.blocks[1].mlp.register_forward_hook(lambda module, args, output: output * 1.5)
    with_hook = pw.patch(model, models.PAIR, "z").wait()
    assert with_hook.engine == "hooked"
    assert "mlp has a hook of its own" in with_hook.provenance["why_hooked"]
    hook.remove()
    assert pw.patch(model, models.PAIR, "z").wait().engine == "replay"


def test_taking_a_model_apart_only_reads_it() -> None:
    model = models.bridge("gpt2", seed=9)
    handle = handle_of(model)
    before = {id(module): {k: id(v) for k, v in vars(module).items()} for module in model.modules()}
    kinds = {type(module): dict(vars(type(module))) for module in model.modules()}
    parts.take_apart(handle)
    assert before == {id(module): {k: id(v) for k, v in vars(module).items()} for module in model.modules()}
    assert kinds == {type(module): dict(vars(type(module))) for module in model.modules()}


def test_a_sweep_that_cannot_be_replayed_says_why(gpt2: Any) -> None:
    stands = pw.Standing("z", pw.Zero(), layers=0)
    assert "stands in place" in pw.patch(gpt2, models.PAIR, "z", standing=stands).wait().provenance["why_hooked"]
    with pytest.raises(PatchError, match="cannot be replayed: something stands in place"):
        pw.patch(gpt2, models.PAIR, "z", standing=stands, engine="replay").wait()
    with pytest.raises(PatchError, match="unknown engine 'replays'; did you mean 'replay'"):
        pw.patch(gpt2, models.PAIR, "z", engine="replays")


def test_the_parts_share_the_weights_and_not_the_hooks(gpt2: Any) -> None:
    stack = stack_of(handle_of(gpt2), prove)
    weights = {p.data_ptr() for p in gpt2.parameters()} | {b.data_ptr() for b in gpt2.original_model.buffers()}
    for part in stack.parts:
        assert {p.data_ptr() for p in part._block.parameters()} <= weights
    mine = {id(point) for point in gpt2.hook_dict.values()}
    assert not mine & {id(point) for point in stack.points.values()}


def test_other_peoples_hooks_do_not_reach_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.bridge("gpt2", seed=3)
    expected = pw.patch(model, models.PAIR, "z").wait().data["patched"].values
    attend = parts.Part.attend

    def disturbed(self: parts.Part, *args: Any, **kwargs: Any) -> Tensor:
        with model.hooks(fwd_hooks=[(f"blocks.{self.index}.attn.hook_z", lambda z, hook: z * 0)]):
            return attend(self, *args, **kwargs)

    monkeypatch.setattr(parts.Part, "attend", disturbed)
    result = pw.patch(model, models.PAIR, "z").wait()
    assert result.engine == "replay"
    np.testing.assert_array_equal(result.data["patched"].values, expected)


def test_new_weights_are_taken_apart_anew() -> None:
    model = models.bridge("gpt2", seed=4)
    before = pw.patch(model, models.PAIR, "resid_post", intervention="zero").wait()
    model.enable_compatibility_mode()
    fast, slow = both(model, models.PAIR, "resid_post", intervention="zero")
    assert_alike(fast, slow)
    assert fast.provenance["weights"] == "processed"
    with torch.no_grad():
        model.original_model.transformer.h[1].mlp.original_component.c_fc.original_component.weight.mul_(3)
    inplace, slow = both(model, models.PAIR, "resid_post", intervention="zero")
    assert_alike(inplace, slow)
    tables = [result.data["patched"].values for result in (before, fast, inplace)]
    assert np.abs(tables[1] - tables[2]).max() > 1e-3


def test_a_model_that_is_dropped_is_freed() -> None:
    model = models.bridge("gpt2", seed=5)
    assert pw.patch(model, models.PAIR, "z").wait().engine == "replay"
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_cancel_stops_between_two_modules_and_loses_nothing(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pw.patch(gpt2, models.PAIR, "z", by=("layer", "pos", "head")).wait()
    runs: list[Any] = []
    asked: list[int] = []
    started, ask = threading.Event(), climb.Climb._ask

    def cancelling(self: climb.Climb) -> None:
        started.wait(60)
        if runs[0].done:
            asked.append(1)
        if len(asked) == 3:
            runs[0].cancel()
        ask(self)

    monkeypatch.setattr(climb.Climb, "_ask", cancelling)
    runs.append(pw.patch(gpt2, models.PAIR, "z", by=("layer", "pos", "head")))
    started.set()
    result = runs[0].wait()
    assert len(asked) == 3
    measured = result.data["status"].values == "measured"
    assert 0 < measured.sum() < (whole.data["status"].values == "measured").sum()
    assert measured.sum() == runs[0].done
    np.testing.assert_allclose(
        result.data["patched"].values[:, measured], whole.data["patched"].values[:, measured], rtol=0, atol=1e-9
    )


def test_every_cell_is_told_of_exactly_once(gpt2: Any) -> None:
    told: list[int] = []
    run = pw.patch(gpt2, models.PAIR, "z", by=("layer", "pos", "head"))
    run.subscribe(lambda run, cells: told.extend(cells.tolist()))
    result = run.wait()
    assert result.engine == "replay"
    late = [cell for cell in told if run.status[cell] == MEASURED]
    assert len(late) == len(set(late))


def test_a_block_that_is_not_its_parts_is_not_replayed() -> None:
    model = models.bridge("gpt2", seed=6)
    stack = parts.take_apart(handle_of(model))
    stack.parts[1], stack.parts[0] = stack.parts[0], stack.parts[1]
    with pytest.raises(NotReplayable, match="attention 0 gives something else"):
        prove(handle_of(model), stack)
