"""A cell that an earlier sweep has run is not run again where nothing it depends on has changed, and only there."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.datasets import Dataset
from patchwidgets.engine.blocks import start_in_blocks
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.patch import encode, patch
from patchwidgets.engine.plan import make_plan
from patchwidgets.engine.replay.engine import Replay
from patchwidgets.engine.replay.finals import _FINALS
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Noise, Patch, Scale, Vector, Zero
from patchwidgets.joint import Joint
from patchwidgets.metrics import get_metrics
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from patchwidgets.sites import get_site
from tests import models


@pytest.fixture(autouse=True)
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The cells that were run, in order, since the list was cleared last."""
    found: list[int] = []
    run = Replay.run

    def counting(engine: Replay, cells: Any, *rest: Any) -> Any:
        found.extend(dict.fromkeys(cell for cell, _ in cells))
        return run(engine, cells, *rest)

    monkeypatch.setattr(Replay, "run", counting)
    return found


@pytest.fixture
def model() -> TransformerBridge:
    """A model of the test's own."""
    return models.bridge()


def sweep(model: TransformerBridge, site: str = "resid_pre", **options: Any) -> PatchResult:
    """Sweep the pair, replayed."""
    return patch(model, options.pop("pair", models.PAIR), site, engine="replay", **options).wait()


def reused(result: PatchResult) -> int:
    """Return how many cells were taken from an earlier sweep."""
    return int(result.check["reused"])


def right(model: TransformerBridge, result: PatchResult, site: str = "resid_pre", **options: Any) -> None:
    """Compare with the hooked engine, which keeps nothing."""
    expected = patch(model, options.pop("pair", models.PAIR), site, engine="hooked", **options).wait()
    np.testing.assert_allclose(result.data["patched"], expected.data["patched"], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(result.data["status"], expected.data["status"])


@pytest.mark.parametrize("metric", ["prob", ["rank", "kl_clean", "logit"]])
def test_another_metric_runs_nothing_again(model: TransformerBridge, replayed: list[int], metric: Any) -> None:
    """The final residuals are the same; only the head is applied to them."""
    first = sweep(model)
    measured = len(replayed)
    assert reused(first) == 0
    assert measured > 0
    replayed.clear()
    second = sweep(model, metric=metric)
    assert (reused(second), replayed) == (measured, [])
    assert "earlier sweep" in second.describe()
    right(model, second, metric=metric)


def test_other_answers_run_nothing_again(model: TransformerBridge, replayed: list[int]) -> None:
    """What is read of the last token's logits is no part of what was run."""
    first = sweep(model)
    pair = PromptPair(models.PAIR.clean, models.PAIR.corrupted, answer=12, foil=13)
    replayed.clear()
    second = sweep(model, pair=pair)
    assert (reused(second), replayed) == (int((first.data["status"] == "measured").sum()), [])
    right(model, second, pair=pair)


def test_a_refined_sweep_runs_the_new_cells_only(model: TransformerBridge, replayed: list[int]) -> None:
    """Some layers at some positions first, then all: what was known is not run again."""
    coarse = sweep(model, layers=[0], positions=[3, 5])
    assert len(replayed) == 2
    replayed.clear()
    fine = sweep(model)
    assert reused(fine) == 2
    assert len(replayed) == len(set(replayed)) == int((fine.data["status"] == "measured").sum()) - 2
    right(model, fine)
    del coarse


def test_the_same_writing_under_another_name(model: TransformerBridge, replayed: list[int]) -> None:
    """One position that every cell is confined to, and the same position as an axis."""
    held = sweep(model, by="layer", positions=[4])
    replayed.clear()
    assert reused(sweep(model, positions=[4])) == models.LAYERS
    assert replayed == []
    del held


def test_pairs_that_were_in_a_dataset(model: TransformerBridge, replayed: list[int]) -> None:
    """Texts are known by their tokens."""
    data = models.five_pairs()
    held = sweep(model, pair=data)
    replayed.clear()
    one = sweep(model, pair=data[1])
    assert reused(one) > 0
    assert replayed == []
    right(model, one, pair=data[1])
    del held


def _datasets() -> dict[str, Dataset]:
    base = [1, 3, 5, 9, 6, 7]
    return {
        "two lengths": Dataset(
            [
                PromptPair([1, 3, 4, 9, 6, 7], base, answer=22, foil=23),
                PromptPair([1, 3, 4, 9, 6, 7, 8], [1, 3, 5, 9, 6, 7, 8], answer=12, foil=13),
            ]
        ),
        "one base text, two answers": Dataset(
            [
                PromptPair([1, 3, 4, 9, 6, 7], base, answer=22, foil=23),
                PromptPair([1, 3, 5, 9, 8, 7], base, answer=12, foil=13),
            ]
        ),
        "one pair, two answers": Dataset(
            [
                PromptPair([1, 3, 4, 9, 6, 7], base, answer=22, foil=23),
                PromptPair([1, 3, 4, 9, 6, 7], base, answer=12, foil=13),
            ]
        ),
        "a set beside a token": Dataset(
            [
                PromptPair([1, 3, 4, 9, 6, 7], base, answer=[12, 14], foil=13),
                PromptPair([1, 3, 5, 9, 8, 7], base, answer=22, foil=23),
            ]
        ),
    }


@pytest.mark.parametrize("metrics", [("prob", "logit_diff"), ("logit_diff", "logit_diff"), ("logit", "kl_clean")])
@pytest.mark.parametrize("name", list(_datasets()))
def test_every_pair_is_read_at_its_own_answers(
    model: TransformerBridge, replayed: list[int], name: str, metrics: tuple[str, str]
) -> None:
    """Pairs may share a base text and not an answer; also when nothing was known before."""
    options: dict[str, Any] = {"pair": _datasets()[name], "by": ("layer",), "prepend_bos": False}
    first = sweep(model, metric=metrics[0], **options)
    assert first.engine == "replay"
    right(model, first, metric=metrics[0], **options)
    replayed.clear()
    second = sweep(model, metric=metrics[1], **options)
    assert (replayed, second.engine) == ([], "replay")
    right(model, second, metric=metrics[1], **options)


def test_a_joint_over_pairs_that_share_a_base_text(model: TransformerBridge) -> None:
    """Sets that write in one pair and not in the other are not read at the other's answer."""
    sets = {
        "s0": [("resid_pre", {"layer": 0, "pos": 2})], "s1": [("resid_pre", {"layer": 2})],
        "s2": [("mlp_out", {"layer": 0})], "s3": [("resid_pre", {"layer": 0, "pos": 3})],
    }  # fmt: skip
    options: dict[str, Any] = {"pair": _datasets()["one base text, two answers"], "prepend_bos": False}
    found = patch(model, options["pair"], Joint(sets), prepend_bos=False, engine="replay").wait()
    expected = patch(model, options["pair"], Joint(sets), prepend_bos=False, engine="hooked").wait()
    np.testing.assert_allclose(found.data["patched"], expected.data["patched"], rtol=0, atol=1e-8)


def test_a_replaced_forward_is_another_model(model: TransformerBridge) -> None:
    """Though the plain runs are the same to the last bit."""
    held = sweep(model, intervention=Scale(4.0))
    module = model.blocks[1].mlp.out
    highest: list[float] = []
    handle = module.register_forward_hook(lambda m, args, out: highest.append(float(out.detach().abs().max())))
    for text in (models.PAIR.clean, models.PAIR.corrupted):
        model(text)
    handle.remove()
    inner = module.original_component
    plain = inner.forward
    inner.forward = lambda *args, **kwargs: plain(*args, **kwargs).clamp(-1.01 * max(highest), 1.01 * max(highest))
    second = sweep(model, intervention=Scale(4.0))
    assert reused(second) == 0
    right(model, second, intervention=Scale(4.0))
    del held


def test_what_another_sweep_forgets_meanwhile_is_still_there(
    model: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known is held from the moment it is looked for."""
    held = sweep(model)
    recall = Replay.recall

    def forgetting(engine: Replay, *rest: Any) -> Any:
        engine.kept.drop()
        return recall(engine, *rest)

    monkeypatch.setattr(Replay, "recall", forgetting)
    second = sweep(model, metric="logit")
    assert reused(second) > 0
    right(model, second, metric="logit")
    del held


def test_known_cells_are_judged_too(model: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them are measured again through hooks."""
    held = sweep(model)
    assert sweep(model, metric="logit").check["remeasured"] == 2
    recall = Replay.recall

    def wrong(engine: Replay, *rest: Any) -> Any:
        read, whole = recall(engine, *rest)
        return {cell: logits + 1.0 for cell, logits in read.items()}, whole

    monkeypatch.setattr(Replay, "recall", wrong)
    with pytest.warns(UserWarning, match="through hooks"):
        second = patch(model, models.PAIR, "resid_pre", metric="logit").wait()
    assert (second.engine, reused(second)) == ("hooked", 0)
    right(model, second, metric="logit")
    del held


def test_a_function_of_all_logits_needs_them_all(model: TransformerBridge, replayed: list[int]) -> None:
    """A sweep that kept the last position's rows knows nothing of the others; the other way round it does."""

    def second_token(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return logits[:, 4, 7]

    held = sweep(model)
    replayed.clear()
    whole = sweep(model, metric=second_token)
    assert reused(whole) == 0
    assert replayed
    right(model, whole, metric=second_token)
    del held
    replayed.clear()
    again = sweep(model, metric="logprob")
    assert replayed == []
    right(model, again, metric="logprob")


def test_a_result_that_is_dropped_frees_what_it_kept(model: TransformerBridge, replayed: list[int]) -> None:
    """Nothing is kept behind the user's back."""
    first = sweep(model)
    assert [len(kept) for kept in _FINALS[model].values()] == [int((first.data["status"] == "measured").sum())]
    del first
    gc.collect()
    assert dict(_FINALS[model]) == {}
    replayed.clear()
    assert reused(sweep(model)) == 0
    assert replayed


def _in_place(model: TransformerBridge) -> None:
    with torch.no_grad():
        model.blocks[1].mlp.out.original_component.weight.mul_(1.5)


def _behind_its_back(model: TransformerBridge) -> None:
    model.blocks[1].mlp.out.original_component.weight.data *= 1.5


def _one_embedding(model: TransformerBridge) -> None:
    model.embed.original_component.weight.data[models.WORDS.index("w3")] *= 2


@pytest.mark.parametrize("change", [_in_place, _behind_its_back, _one_embedding])
def test_a_changed_model_is_run_again(model: TransformerBridge, change: Any) -> None:
    """Also where only the run that the values come from has changed, or the weights' versions do not tell."""
    held = sweep(model)
    change(model)
    second = sweep(model, metric="logit")
    assert reused(second) == 0
    right(model, second, metric="logit")
    del held


def test_an_intervention_is_known_by_its_settings(model: TransformerBridge) -> None:
    """Scaling by another factor is another thing; the same factor is the same."""
    held = [sweep(model, intervention=each) for each in (Zero(), Scale(0.5), Vector(2.0))]
    assert [reused(result) for result in held] == [0, 0, 0]
    for what, known in [(Zero(), True), (Scale(0.5), True), (Scale(0.25), False), (Vector(1.0), False)]:
        second = sweep(model, intervention=what, metric="prob")
        assert bool(reused(second)) is known
        right(model, second, intervention=what, metric="prob")
    assert reused(sweep(model, direction="noise")) == 0


def test_what_is_drawn_is_drawn_again(model: TransformerBridge) -> None:
    """Noise depends on more than a pair's two runs."""
    held = sweep(model, intervention=Noise(samples=2))
    assert reused(sweep(model, intervention=Noise(samples=2), metric="prob")) == 0
    del held


def test_cells_of_a_sweep_that_failed_its_check_are_not_kept(
    model: TransformerBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor those that came to light before it was known."""
    held = sweep(model)
    attend = Replay._logits

    def wrong(engine: Replay, *rest: Any) -> Any:
        return [logits + 1.0 for logits in attend(engine, *rest)]

    with monkeypatch.context() as spoiled:
        spoiled.setattr(Replay, "_logits", wrong)
        with pytest.warns(UserWarning, match="through hooks"):
            broken = patch(model, models.PAIR, "mlp_out", metric="logit").wait()
    assert (broken.engine, reused(broken)) == ("hooked", 0)
    assert reused(sweep(model)) == 0
    del held


def test_a_journal_takes_known_cells_too(model: TransformerBridge, replayed: list[int], tmp_path: Any) -> None:
    """A journal that was begun later is whole all the same."""
    held = sweep(model)
    replayed.clear()
    written = sweep(model, metric="prob", resume=tmp_path / "sweep.journal")
    assert replayed == []
    again = sweep(model, metric="prob", resume=tmp_path / "sweep.journal")
    np.testing.assert_array_equal(written.data["patched"], again.data["patched"])
    del held


def test_a_result_is_copied_and_sent_without_what_it_keeps(model: TransformerBridge) -> None:
    """It is for this process alone."""
    import copy

    first = sweep(model)
    assert copy.deepcopy(first)._held is None
    assert first.select("logit_diff")._held is first._held


def test_asking_for_an_unknown_engine_is_still_refused(model: TransformerBridge) -> None:
    """Known cells change nothing about what may be asked."""
    held = sweep(model)
    with pytest.raises(PatchError, match="engine"):
        patch(model, models.PAIR, "resid_pre", engine="replya")
    del held


def test_blocks_of_a_dataset_leave_their_cells_to_the_next_sweep(model: Any) -> None:
    handle = handle_of(model)
    site = get_site("z")
    plan = make_plan(
        handle, encode(handle, models.five_pairs()), site, site.by[0], Patch("denoise"), get_metrics(["logit_diff"]), {}
    )
    first, again = (start_in_blocks(handle, plan, lambda over: ()).wait() for _ in range(2))
    assert (first.check["reused"], again.check["reused"]) == (0, len(plan.order))
    np.testing.assert_allclose(again.data["patched"], first.data["patched"], rtol=0, atol=1e-12)


def test_known_cells_are_read_in_pieces_where_memory_is_full(
    model: TransformerBridge, replayed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, tried, recall = sweep(model), [], Replay.recall
    replayed.clear()

    def full(engine: Replay, known: Any, *rest: Any) -> Any:
        tried.append(len(known))
        if len(known) > 3:
            raise torch.OutOfMemoryError("full")
        return recall(engine, known, *rest)

    monkeypatch.setattr(Replay, "recall", full)
    with pytest.warns(UserWarning, match="the device's memory was full: the sweep went on with 3 patched runs at once"):
        second = sweep(model, metric="prob")
    assert (replayed, reused(second)) == ([], reused(second)) == ([], 12)
    assert tried == [12, 6, 3, 3, 3, 3]
    right(model, second, metric="prob")
    del held
