"""Many threads, one model: the user's passes, two sweeps at once, and other people's hooks."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.result import PatchResult
from tests import models
from tests.engine.stepping import Brake, named

PLACES = ("embed", "pos_embed", "blocks.0.attn", "blocks.1.ln2", "blocks.2.mlp", "unembed")


HOOKED = "hooked"
"""The engine where a sweep is stopped in the middle of a forward pass: replaying has but one of the whole model."""


def sweep(model: TransformerBridge, site: str = "z", **options: Any) -> PatchResult:
    return patch(model, models.PAIR, site, **options).wait()


def batches() -> list[Tensor]:
    """The user's own inputs: other tokens, other lengths, one row and three."""
    random = torch.Generator().manual_seed(0)
    return [torch.randint(2, models.VOCAB, shape, generator=random) for shape in ((1, 5), (3, 9), (1, 16), (3, 7))]


def answers(model: TransformerBridge) -> list[Tensor]:
    with torch.no_grad():
        return [model(batch) for batch in batches()]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("site", ["resid_pre", "z"])
def test_the_users_passes_while_the_sweep_stands_in_the_middle_of_one(
    gpt2: TransformerBridge, site: str, place: str
) -> None:
    expected, table = answers(gpt2), sweep(gpt2, site).data["patched"].values
    with Brake(named(gpt2, place)) as brake:
        run = patch(gpt2, models.PAIR, site, batch_size=4, engine=HOOKED)
        brake.arrive()
        assert_same(answers(gpt2), expected)
        for _ in range(2):
            brake.step()
            assert_same(answers(gpt2), expected)
    np.testing.assert_allclose(run.wait().data["patched"].values, table, rtol=0, atol=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_a_whole_sweep_in_the_middle_of_one_of_the_users_passes(gpt2: TransformerBridge, place: str) -> None:
    expected, table = answers(gpt2), sweep(gpt2).data["patched"].values
    found: list[PatchResult] = []

    def meanwhile(module: torch.nn.Module, args: object) -> None:
        if threading.current_thread() is threading.main_thread():
            found.append(sweep(gpt2))

    hook = named(gpt2, place).register_forward_pre_hook(meanwhile)
    try:
        assert_same(answers(gpt2), expected)
    finally:
        hook.remove()
    assert len(found) == len(expected)
    for result in found:
        np.testing.assert_allclose(result.data["patched"].values, table, rtol=0, atol=1e-9)


@pytest.mark.parametrize("engine", ["replay", "hooked"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_many_passes_while_a_sweep_runs_freely(family: str, engine: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(family)
    by = ("layer", "pos", "head")
    expected, table = answers(model), sweep(model, by=by).data["patched"].values
    run = patch(model, models.PAIR, "z", by=by, batch_size=1, engine=engine)
    for _ in range(25):
        assert_same(answers(model), expected)
    np.testing.assert_allclose(run.wait().data["patched"].values, table, rtol=0, atol=1e-9)


def test_gradients_of_the_user_while_a_sweep_runs() -> None:
    model = models.bridge("gpt2")
    batch = batches()[0]

    def gradient() -> Tensor:
        model.zero_grad()
        model(batch)[0, -1, 3].backward()
        found = model.blocks[0].mlp.original_component.c_fc.weight.grad  # type: ignore[union-attr]
        assert isinstance(found, Tensor)
        return found.clone()

    expected = gradient()
    with Brake(model.blocks[1]) as brake:
        run = patch(model, models.PAIR, "z", engine=HOOKED)
        brake.arrive()
        assert torch.equal(gradient(), expected)
        brake.step()
        assert torch.equal(gradient(), expected)
    run.wait()


@pytest.mark.parametrize("engines", [("replay", "replay"), ("replay", "hooked"), ("hooked", "hooked")])
def test_two_sweeps_on_one_model_are_both_right(gpt2: TransformerBridge, engines: tuple[str, str]) -> None:
    first_alone = sweep(gpt2, "resid_pre", direction="denoise").data["patched"].values
    second_alone = sweep(gpt2, "z", direction="noise", by=("layer", "pos", "head")).data["patched"].values
    first = patch(gpt2, models.PAIR, "resid_pre", direction="denoise", batch_size=1, engine=engines[0])
    by = ("layer", "pos", "head")
    second = patch(gpt2, models.PAIR, "z", direction="noise", by=by, batch_size=2, engine=engines[1])
    np.testing.assert_allclose(second.wait().data["patched"].values, second_alone, rtol=0, atol=1e-9)
    np.testing.assert_allclose(first.wait().data["patched"].values, first_alone, rtol=0, atol=1e-9)


def test_two_sweeps_on_one_model_take_turns_and_two_models_do_not_wait(
    gpt2: TransformerBridge, llama: TransformerBridge
) -> None:
    expected = sweep(llama).data["patched"].values
    with Brake(gpt2.blocks[1]) as brake:
        first = patch(gpt2, models.PAIR, "z", engine=HOOKED)
        brake.arrive()
        second = patch(gpt2, models.PAIR, "z", engine=HOOKED)
        other = sweep(llama)
        assert not first.finished
        assert not second.finished
        assert brake.passes == 1
    np.testing.assert_allclose(other.data["patched"].values, expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(first.wait().data["patched"].values, second.wait().data["patched"].values)


ROWS = [pytest.param(slice(None), id="all"), pytest.param(0, id="first"), pytest.param(-1, id="last")]


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("at_pass", [0, 1, 2])
def test_hooks_of_another_thread_never_give_silently_wrong_numbers(
    gpt2: TransformerBridge, at_pass: int, rows: Any, direction: str
) -> None:
    """Pass 0 records the two plain runs, later ones measure: zeroed rows in either must be noticed, or do no harm."""
    expected = sweep(gpt2, "resid_pre", direction=direction).data

    def zero(activation: Tensor, hook: object) -> Tensor:
        activation = activation.clone()
        activation[rows] = 0.0
        return activation

    with Brake(gpt2.blocks[0]) as brake:
        run = patch(gpt2, models.PAIR, "resid_pre", direction=direction, batch_size=4, engine=HOOKED)
        brake.arrive()
        for _ in range(at_pass):
            brake.step()
        with gpt2.hooks(fwd_hooks=[("blocks.1.hook_resid_pre", zero)]):
            brake.step()
    with contextlib.suppress(PatchError):
        found = run.wait().data
        for name in ("patched", "clean", "corrupted"):
            np.testing.assert_allclose(found[name].values, expected[name].values, rtol=0, atol=1e-9)
    assert run.error is None or "another thread" in str(run.error)


def test_the_users_run_with_hooks_does_not_take_the_sweeps_hooks_away(gpt2: TransformerBridge) -> None:
    expected = sweep(gpt2, "resid_pre").data["patched"].values
    before = models.state(gpt2)["hooks"]
    with Brake(gpt2.blocks[1]) as brake:
        run = patch(gpt2, models.PAIR, "resid_pre", batch_size=4, engine=HOOKED)
        brake.arrive()
        for _ in range(3):
            gpt2.run_with_hooks(batches()[0], fwd_hooks=[("blocks.2.hook_resid_pre", lambda a, hook: a * 0)])
            gpt2.run_with_cache(batches()[1])
            gpt2.reset_hooks()
            brake.step()
    np.testing.assert_allclose(run.wait().data["patched"].values, expected, rtol=0, atol=1e-9)
    assert models.state(gpt2)["hooks"] == before


def test_taking_every_hook_away_is_an_error_not_a_table_of_zeros(gpt2: TransformerBridge) -> None:
    with Brake(gpt2.blocks[0]) as brake:
        run = patch(gpt2, models.PAIR, "resid_pre", engine=HOOKED)
        brake.arrive()
        brake.step()
        gpt2.reset_hooks(including_permanent=True)
    with pytest.raises(PatchError, match=r"a hook must fire exactly once.*hook_resid_pre 0 times.*removed meanwhile"):
        run.wait()
