"""A dataset's sweep in blocks of pairs: the same numbers, known over ever more pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.datasets import Dataset
from patchwidgets.engine.blocks import BlockRun, _Block, block_ends, start_in_blocks
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.patch import encode, patch
from patchwidgets.engine.plan import Plan, make_plan
from patchwidgets.engine.replay import waves
from patchwidgets.engine.replay.engine import Replay
from patchwidgets.engine.run import Run
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Intervention, Mean, Noise, Patch
from patchwidgets.metrics import get_metrics
from patchwidgets.prompts import PromptPair
from patchwidgets.sites import get_site
from tests import models
from tests.engine.stepping import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

DATA = Dataset(
    [PromptPair(f"w1 w{i} w3 w4", f"w1 w{i + 20} w3 w4", answer="w2", foil="w5") for i in range(6, 17)], name="eleven"
)


def plan_of(
    model: TransformerBridge, data: Dataset, site: str, what: Intervention | None = None, **chosen: list[int]
) -> Plan:
    handle = handle_of(model)
    pairs = encode(handle, data)
    metrics = get_metrics(["logit_diff", "prob"])
    return make_plan(
        handle, pairs, get_site(site), get_site(site).by[0], Patch("denoise"), metrics, chosen, intervention=what
    )


def nothing(over: object) -> Any:
    raise AssertionError(over)


def test_blocks_double() -> None:
    assert [block_ends(n) for n in (1, 4, 5, 8, 9, 32)] == [
        [1], [4], [4, 5], [4, 8], [4, 8, 9], [4, 8, 16, 32],
    ]  # fmt: skip


@pytest.mark.parametrize("site", ["resid_pre", "z"])
def test_every_block_is_the_sweep_of_the_pairs_so_far(gpt2: TransformerBridge, site: str) -> None:
    plan = plan_of(gpt2, DATA, site)
    run = start_in_blocks(handle_of(gpt2), plan, nothing)
    assert isinstance(run, BlockRun)
    whole = {}
    for snapshot in run:
        if not (snapshot.data["status"] == "pending").any():
            whole[snapshot.n] = snapshot
    assert run.done == run.total == len(plan.order) * len(DATA)
    assert whole[11].n == 11
    for n, found in whole.items():
        asked = patch(gpt2, DATA[:n], site, metric=["logit_diff", "prob"]).wait()
        np.testing.assert_array_equal(found.data["status"], asked.data["status"])
        for name in ("patched", "patched_pairs", "clean_pairs", "corrupted_pairs", "clean", "corrupted"):
            np.testing.assert_allclose(found.data[name], asked.data[name], rtol=0, atol=1e-6)
        same = ("pairs", "n", "site", "direction", "tokens", "texts")
        assert [found.provenance[name] for name in same] == [asked.provenance[name] for name in same]
    assert whole[11].check["remeasured"] == asked.check["remeasured"] > 0
    assert repr(run) == f"Run(done, {run.total} of {run.total} cells in single pairs)"
    assert whole[11].check["worst_difference"] < 1e-4


def test_cancelled_between_blocks_the_pairs_that_are_done_stay(gpt2: TransformerBridge) -> None:
    run = start_in_blocks(handle_of(gpt2), plan_of(gpt2, DATA, "resid_pre"), nothing)
    for snapshot in run:
        if snapshot.n == 4 and not (snapshot.data["status"] == "pending").any():
            run.cancel()
    found = run.wait()
    assert found.n in (4, 8)  # the block that was nearly done may still end
    assert run.cancelled
    assert run.done < run.total
    assert (found.data["status"] != "pending").all()
    asked = patch(gpt2, DATA[: found.n], "resid_pre").wait()
    np.testing.assert_allclose(found.select("logit_diff").data["patched"], asked.data["patched"], rtol=0, atol=1e-6)


def test_cancelled_before_anything_it_is_empty(gpt2: TransformerBridge) -> None:
    run = BlockRun(handle_of(gpt2), plan_of(gpt2, DATA, "resid_pre"), nothing, [4, 11])
    run.cancel()
    found = run.start().wait()
    assert set(found.data["status"].values.ravel().tolist()) <= {"pending", "implied"}


def test_cancelled_with_nothing_to_measure_it_is_not_whole(gpt2: TransformerBridge) -> None:
    plan = plan_of(gpt2, DATA, "resid_pre", pos=[0])
    run = BlockRun(handle_of(gpt2), plan, nothing, [4, 8, 11])
    run.subscribe(lambda each, _cells: each.cancel() if np.isfinite(each.snapshot().clean).all() else None)
    found = run.start().wait(PATIENCE)
    assert run.total == 0
    assert (run.stopped, run.cancelled, run.complete) == (True, True, False)
    assert found.n == 4
    assert np.isfinite(found.clean).all()


def test_what_is_drawn_goes_in_one_block_with_the_draws_of_the_whole(gpt2: TransformerBridge) -> None:
    what = Noise(samples=2)
    run = start_in_blocks(handle_of(gpt2), plan_of(gpt2, DATA, "resid_pre", what), nothing)
    assert not isinstance(run, BlockRun)
    asked = patch(gpt2, DATA, "resid_pre", intervention=what).wait()
    np.testing.assert_allclose(
        run.wait().select("logit_diff").data["patched"], asked.data["patched"], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("per_position", [True, False])
def test_a_mean_over_the_sweeps_own_pairs_is_one_over_all_of_them(gpt2: TransformerBridge, per_position: bool) -> None:
    what = Mean(per_position=per_position)
    run = start_in_blocks(handle_of(gpt2), plan_of(gpt2, DATA, "resid_pre", what), nothing)
    asked = patch(gpt2, DATA, "resid_pre", intervention=what).wait()
    found = run.wait().select("logit_diff").data["patched"]
    np.testing.assert_allclose(found, asked.data["patched"], rtol=0, atol=1e-6)


def test_what_fails_in_a_later_block_is_raised(gpt2: TransformerBridge) -> None:
    run = BlockRun(handle_of(gpt2), plan_of(gpt2, DATA, "resid_pre"), nothing, [4, 11])
    seen = []

    def fail(_module: object, _args: object, _options: object) -> None:
        if any(n == 4 for n in seen):
            raise RuntimeError("the model broke")

    hook = gpt2.original_model.register_forward_pre_hook(fail, with_kwargs=True)
    run.subscribe(lambda each, cells: seen.append(4) if each.done == 4 * (each.total // 11) else None)
    try:
        with pytest.raises(RuntimeError, match="the model broke"):
            run.start().wait()
    finally:
        hook.remove()
    assert run.snapshot().n == 4


def _in_place(model: TransformerBridge) -> None:
    model.blocks[1].mlp.out.original_component.weight.data.mul_(3)


def _hooked(model: TransformerBridge) -> None:
    model.add_hook("blocks.1.hook_resid_pre", lambda activation, hook: activation * 1.3)


def _one_token(model: TransformerBridge) -> None:
    """Of the fourth pair alone."""
    model.embed.original_component.weight.data[models.WORDS.index("w29")] *= 2


@pytest.mark.parametrize("change", [_in_place, _hooked, _one_token])
def test_pairs_of_two_models_are_not_put_together(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is changed when the first block is done, and before the second begins."""
    model, show, shown = models.bridge("gpt2"), BlockRun._show, []

    def changing(run: BlockRun, part: Run) -> None:
        show(run, part)
        if part.done == part.total and not shown:
            shown.append(part.snapshot())
            change(model)

    run = BlockRun(handle_of(model), plan_of(model, DATA, "resid_pre"), nothing, [4, 8, 11])
    monkeypatch.setattr(BlockRun, "_show", changing)
    with pytest.raises(PatchError, match="the model was changed between the pairs of the dataset"):
        run.start().wait(PATIENCE)
    assert (run.complete, run.snapshot().n) == (False, 4)
    assert run.snapshot().data.identical(shown[0].data)


@pytest.mark.parametrize("standing", [False, True])
def test_plain_runs_are_made_again_only_where_the_model_may_be_another(standing: bool, monkeypatch: Any) -> None:
    """A hook of somebody else may do anything by now."""
    model, checked = models.bridge("gpt2"), []
    monkeypatch.setattr(_Block, "check_unchanged", lambda block, stop: checked.append(len(block.lanes)))
    if standing:
        model.add_hook("blocks.1.hook_resid_pre", lambda activation, hook: activation * 1.3)
    BlockRun(handle_of(model), plan_of(model, DATA, "resid_pre"), nothing, [4, 8, 11]).start().wait(PATIENCE)
    assert checked == ([4, 8] if standing else [])


def test_what_there_is_to_warn_of_is_told_of_a_first_block_that_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two answers are one to the model."""
    monkeypatch.setattr(waves, "_SECONDS", 0)
    monkeypatch.setattr(waves, "_LAST_SECONDS", 0)
    model = models.bridge("gpt2")
    weight = model.unembed.original_component.weight.data
    weight[models.WORDS.index("w2")] = weight[models.WORDS.index("w5")]
    run = BlockRun(handle_of(model), plan_of(model, DATA, "resid_pre"), nothing, [4, 11])
    run.subscribe(lambda each, cells: each.cancel() if each.done else None)
    with pytest.warns(UserWarning, match="the two runs hardly differ: logit_diff is 0 clean and 0 corrupted"):
        found = run.start().wait(PATIENCE)
    assert run.cancelled
    assert (found.data["status"] == "pending").any()


def test_what_every_block_warns_of_is_told_once(gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Replay.run

    def full(engine: Replay, cells: Any, *rest: Any) -> Any:
        if len(cells) > 1:
            raise torch.OutOfMemoryError("full")
        return replay(engine, cells, *rest)

    monkeypatch.setattr(Replay, "run", full)
    run = BlockRun(handle_of(gpt2), plan_of(gpt2, DATA, "resid_pre"), nothing, [4, 8, 11])
    with pytest.warns(UserWarning, match="the device's memory was full") as told:
        run.start().wait(PATIENCE)
    assert str(told[0].message).count("one patched run at once") == 1
