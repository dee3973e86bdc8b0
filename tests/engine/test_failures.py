"""What goes wrong while a sweep runs is raised to whoever waits, and leaves the model as it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.engine.replay.seams import Part
from patchwidgets.engine.run import Run
from patchwidgets.errors import ModelError, PatchError
from patchwidgets.result import PatchResult
from tests import models


def start(model: TransformerBridge, **options: Any) -> Run:
    return patch(model, models.PAIR, "z", batch_size=4, **options)


class BrokenError(RuntimeError):
    """What the tests break the model with."""


@contextmanager
def broken(module: torch.nn.Module, at_pass: int) -> Iterator[None]:
    """Make `module` raise in the engine's thread, in that forward pass and in no other."""
    passes = 0

    def fail(module: torch.nn.Module, args: object) -> None:
        nonlocal passes
        if threading.current_thread() is not threading.main_thread():
            passes += 1
            if passes == at_pass:
                raise BrokenError("the model broke")

    hook = module.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        hook.remove()


def by_wait(run: Run) -> PatchResult:
    return run.wait()


def by_iteration(run: Run) -> PatchResult:
    return list(run)[-1]


def by_await(run: Run) -> PatchResult:
    async def main() -> PatchResult:
        return await run

    return asyncio.run(main())


@pytest.mark.parametrize("finish", [by_wait, by_iteration, by_await])
@pytest.mark.parametrize("at_pass", [1, 2, 3])
def test_an_exception_is_raised_and_leaves_the_model_clean(
    gpt2: TransformerBridge, at_pass: int, finish: Callable[[Run], PatchResult]
) -> None:
    batch = torch.tensor([[1, 5, 6], [1, 7, 8]])
    before, output, table = models.state(gpt2), gpt2(batch), start(gpt2).wait().data["patched"].values
    with broken(gpt2.blocks[1].mlp, at_pass):
        run = start(gpt2, engine="hooked")
        with pytest.raises(BrokenError, match="the model broke"):
            finish(run)
    assert (run.finished, run.done) == (True, 4 * max(0, at_pass - 2))
    assert repr(run).startswith("Run(failed")
    assert models.state(gpt2) == before
    assert torch.equal(gpt2(batch), output)
    np.testing.assert_allclose(start(gpt2).wait().data["patched"].values, table, rtol=0, atol=1e-9)


@contextmanager
def broken_part(at_call: int) -> Iterator[list[int]]:
    """Make the second halves of a model's parts raise in that call, 0 meaning never and -1 every time."""
    calls, finish = [0], Part.finish

    def fail(self: Part, *given: Any, **named: Any) -> torch.Tensor:
        calls[0] += 1
        if at_call in (calls[0], -1):
            raise BrokenError("the model broke")
        return finish(self, *given, **named)

    with pytest.MonkeyPatch.context() as replaced:
        replaced.setattr(Part, "finish", fail)
        yield calls


@pytest.mark.parametrize("at", ["first", "second", "middle", "last"])
def test_an_exception_of_a_replay_is_raised_and_leaves_the_model_clean(gpt2: TransformerBridge, at: str) -> None:
    batch = torch.tensor([[1, 5, 6], [1, 7, 8]])
    before, output, whole = models.state(gpt2), gpt2(batch), start(gpt2, engine="replay").wait()
    with broken_part(0) as calls:
        start(gpt2, engine="replay").wait()
    last = calls[0]
    assert last > 4
    with broken_part({"first": 1, "second": 2, "middle": last // 2, "last": last}[at]):
        run = start(gpt2, engine="replay")
        with pytest.raises(BrokenError, match="the model broke"):
            run.wait()
    assert (run.finished, run.done < run.total) == (True, True)
    assert run.done > 0 or at in ("first", "second")
    assert repr(run).startswith("Run(failed")
    assert models.state(gpt2) == before
    assert torch.equal(gpt2(batch), output)
    expected, done = whole.data["patched"].values.ravel(), np.isfinite(run.patched).ravel()
    np.testing.assert_allclose(run.patched.ravel()[done], expected[done], rtol=0, atol=1e-9)
    again = start(gpt2, engine="replay").wait()
    np.testing.assert_allclose(again.data["patched"].values.ravel(), expected, rtol=0, atol=1e-9)


def test_what_breaks_in_the_proof_is_a_reason_not_to_replay() -> None:
    model = models.bridge("gpt2")
    with broken_part(-1):
        result = start(model).wait()
    assert result.engine == "hooked"
    assert "BrokenError: the model broke" in result.provenance["why_hooked"]


def test_a_hook_of_the_user_that_raises_is_raised_too(gpt2: TransformerBridge) -> None:
    before = models.state(gpt2)

    def fail(activation: torch.Tensor, hook: object) -> None:
        raise BrokenError("the user's hook broke")

    with gpt2.hooks(fwd_hooks=[("blocks.2.hook_mlp_out", fail)]):
        with pytest.warns(UserWarning, match="the model has hooks at blocks.2.hook_mlp_out"):
            run = start(gpt2)
        with pytest.raises(BrokenError, match="user's hook broke"):
            run.wait()
    assert models.state(gpt2) == before


def test_the_users_own_hooks_are_part_of_the_model_and_stay() -> None:
    """A head switched off by a hook that stands before, during and after the sweep."""
    model = models.bridge("gpt2")

    def off(activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation = activation.clone()
        activation[:, :, 2] = 0.0
        return activation

    model.add_hook("blocks.1.attn.hook_z", off)
    before = models.state(model)
    with pytest.warns(UserWarning, match=r"hooks at blocks.1.attn.hook_z.*remove them with model.reset_hooks\(\)"):
        result = start(model).wait()
    assert models.state(model) == before
    assert result.provenance["hooks_on_model"] == ["blocks.1.attn.hook_z"]
    with torch.no_grad():
        last = model(models.tokens(model, str(models.PAIR.clean)))[0, -1]
    answer, foil = models.answer_ids()
    assert foil is not None
    assert result.clean == pytest.approx(float(last[answer] - last[foil]), abs=1e-9)


def test_flags_and_modes_of_every_kind_stay_as_they_were() -> None:
    model = models.bridge("llama")
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    before = models.state(model)
    start(model).wait()
    assert models.state(model) == before
    with torch.no_grad():
        start(model).wait()
    assert torch.is_grad_enabled()
    assert models.state(model) == before


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_hook_that_never_fires_is_an_error_not_a_table_of_zeros(direction: str) -> None:
    """An attention layer that is computed in some other way than through its heads."""
    model = models.bridge("gpt2")
    attention = model.blocks[1].attn
    # Past the component's own __setattr__, which would hand the attribute on to the module it wraps.
    vars(attention)["forward"] = lambda hidden_states, *args, **kwargs: (torch.zeros_like(hidden_states), None)
    before = models.state(model)
    with pytest.raises(PatchError, match=r"fire exactly once.*blocks\.1\.attn\.hook_z 0 times.*choose another site"):
        start(model, direction=direction)
    assert models.state(model) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_an_error(value: float) -> None:
    hugging_face = models.hugging_face("llama")
    hugging_face.lm_head.weight.data[7, 0] = value
    model = models.bridged(hugging_face)
    run = start(model)
    with pytest.raises(ModelError, match="logits are not finite on these prompts; check its weights and its dtype"):
        run.wait()


def test_a_model_that_answers_otherwise_each_time_is_noticed() -> None:
    """Dropout left on in one block, behind the back of `model.training`."""
    hugging_face = models.hugging_face("gpt2")
    hugging_face.transformer.h[1].resid_dropout = hugging_face.transformer.h[1].mlp.dropout
    model = models.bridged(hugging_face)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
            module.train()
    assert not model.training
    with pytest.raises(PatchError):
        start(model).wait()
