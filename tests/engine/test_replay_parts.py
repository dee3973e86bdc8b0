"""A model taken apart: what it is taken apart for anew, what is refused, and the head that follows the blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.handle import ModelHandle, handle_of
from patchwidgets.engine.replay.parts import (
    Head,
    Stack,
    Way,
    forget,
    same,
    stack_of,
    take_apart,
)
from patchwidgets.engine.replay.seams import ENTRY, NotReplayable
from patchwidgets.engine.unchanged import fingerprint, hung_on
from tests import models
from tests.engine.plain import family_of

ROWS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
COLUMNS = torch.tensor([6, 1, 6])


@pytest.fixture
def own() -> TransformerBridge:
    """A model that the test may change."""
    return models.bridge("gpt2", seed=11)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_the_head_gives_all_logits_or_some_columns(bias: bool, cap: float | None) -> None:
    last = nn.Linear(5, 7, bias=bias).double()
    calls: list[int] = []

    def unembed(rows: Tensor) -> Tensor:
        calls.append(1)
        return last(rows)

    head = Head(lambda rows: 2 * rows, unembed, last.weight, last.bias, cap)
    logits = last(2 * ROWS)
    expected = logits if cap is None else cap * torch.tanh(logits / cap)
    torch.testing.assert_close(head(ROWS), expected)
    assert len(calls) == 1
    torch.testing.assert_close(head(ROWS, COLUMNS), expected[..., COLUMNS])
    assert len(calls) == 1, "some columns need no other logits"
    # What unembeds in another way is asked for all of them.
    torch.testing.assert_close(Head(head.norm, unembed, None, None, cap)(ROWS, COLUMNS), expected[..., COLUMNS])


@pytest.mark.parametrize(("name", "cap"), [("gpt2", None), ("gemma2", 30.0), ("bloom", None)])
@torch.no_grad()
def test_the_head_of_a_model_gives_its_logits(name: str, cap: float | None) -> None:
    model = family_of(name).bridged
    head = take_apart(handle_of(model)).head
    assert head.cap == (pytest.approx(cap) if cap is None else model.original_model.config.final_logit_softcapping)
    assert (head.cap is None) == (cap is None)
    tokens = torch.tensor([[1, 5, 7]])
    logits, seen = model.run_with_cache(tokens)
    final = seen[f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"]
    torch.testing.assert_close(head(final), logits)
    torch.testing.assert_close(head(final, COLUMNS), logits[..., COLUMNS])


@torch.no_grad()
def test_some_columns_are_made_of_their_own_weights_and_bias(own: Any) -> None:
    last = own.unembed.original_component
    last.bias.copy_(torch.arange(float(models.VOCAB)))
    head = take_apart(handle_of(own)).head
    assert head.weight is last.weight
    stream = torch.randn(2, 32, dtype=torch.float64)
    torch.testing.assert_close(head(stream, COLUMNS), head(stream)[..., COLUMNS])


def test_the_fastest_way_that_reaches_every_hook_is_taken() -> None:
    fast, slow = Way(True, True, {"blocks.0.a": "project"}), Way(False, False, {"blocks.0.a": "", "blocks.0.b": ""})
    stack = Stack([], {}, Head(abs, abs, None, None, None), 4, {}, [fast, slow])
    assert stack.way is fast
    assert stack.reaching(["blocks.0.a", "hook_embed"]).ways == [fast, slow]
    assert stack.reaching([]).way is fast
    assert stack.reaching(["blocks.0.b", "blocks.0.a"]).ways == [slow]
    assert stack.ways == [fast, slow]
    with pytest.raises(NotReplayable, match=r"^blocks\.0\.c is not in one part of a block alone$"):
        stack.reaching(["hook_embed", "blocks.0.b", "blocks.0.c", "blocks.0.d"])


def test_a_stack_knows_where_blocks_begin(gpt2: TransformerBridge) -> None:
    stack = take_apart(handle_of(gpt2))
    assert stack.heads == models.HEADS
    assert [part.index for part in stack.parts] == list(range(models.LAYERS))
    for layer in range(models.LAYERS):
        block = f"blocks.{layer}."
        assert {stack.begins[block + name] for name in ("hook_resid_pre", "hook_in")} == {ENTRY}
        others = ("hook_resid_post", "hook_mlp_out", "attn.hook_z", "hook_attn_out")
        assert not stack.begins.keys() & {block + name for name in others}
    assert "hook_embed" not in stack.points


def remove(name: str) -> Callable[[TransformerBridge, ModelHandle], None]:
    def change(model: TransformerBridge, handle: ModelHandle) -> None:
        delattr(model, name)

    return change


def spread(model: Any, handle: ModelHandle) -> None:
    model.original_model.transformer.h[1]._hf_hook = object()


def forgetful(model: TransformerBridge, handle: ModelHandle) -> None:
    handle.caches = False


def without_attention(model: TransformerBridge, handle: ModelHandle) -> None:
    del model.blocks[1]._modules["attn"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (remove("ln_final"), "the model has no ln_final"),
        (remove("unembed"), "the model has no unembed"),
        (remove("blocks"), "the model has no blocks"),
        (spread, "the model's modules are spread over devices"),
        (forgetful, "the model keeps no keys and values"),
        (without_attention, "not every block has an attention"),
    ],
)
def test_a_model_that_cannot_be_taken_apart_says_why(
    own: TransformerBridge, change: Callable[[TransformerBridge, ModelHandle], None], told: str
) -> None:
    handle = handle_of(own)
    change(own, handle)
    with pytest.raises(NotReplayable, match=f"^{told}$"):
        take_apart(handle)


def renew(model: TransformerBridge) -> None:
    weight = next(model.parameters())
    weight.data = weight.data.clone()


def set_plain(model: TransformerBridge) -> None:
    model.blocks[1].attn.some_setting = 3


def set_config(model: TransformerBridge) -> None:
    model.cfg.some_setting = "other"


def set_model_config(model: Any) -> None:
    model.original_model.config.some_setting = 0.5


def hang(model: TransformerBridge) -> None:
    model.blocks[1].mlp.register_forward_hook(lambda *told: None)


def hang_before(model: TransformerBridge) -> None:
    model.blocks[1].mlp.register_forward_pre_hook(lambda *told: None)


def override(model: TransformerBridge) -> None:
    model.blocks[1].mlp.forward = lambda rows: rows


def swap(model: TransformerBridge) -> None:
    model.blocks[1].add_module("more", nn.Dropout())


def unbuffer(model: TransformerBridge) -> None:
    model.blocks[1].register_buffer("more", torch.ones(1))


CHANGES = [renew, set_plain, set_config, set_model_config, hang, hang_before, override, swap, unbuffer]


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_computes_otherwise_is_another(own: TransformerBridge, change: Any) -> None:
    before = fingerprint(own)
    change(own)
    assert fingerprint(own) != before


def test_looking_at_a_model_changes_nothing(own: TransformerBridge) -> None:
    own.run_with_cache(torch.tensor([[1, 2, 3]]))  # The first time transformers leaves hooks of its own.
    before = fingerprint(own)
    own.run_with_cache(torch.tensor([[1, 2, 3]]))
    own.add_hook("blocks.1.hook_mlp_out", lambda activation, hook: activation)
    own.hook_dict["blocks.1.hook_mlp_out"].note = 3  # type: ignore[assignment]
    own.blocks[1].attn._private = 5
    own.blocks[1].attn.listed = [1]
    assert fingerprint(own) == before


def test_a_hook_of_somebody_else_is_named(own: TransformerBridge) -> None:
    assert hung_on(own) is None
    own.add_hook("blocks.1.hook_mlp_out", lambda activation, hook: activation)
    assert hung_on(own) is None
    for module, name in ((own.blocks[1].mlp, "mlp"), (own.ln_final, "ln_final")):
        for register in (module.register_forward_hook, module.register_forward_pre_hook):

            def theirs(*told: Any) -> None:
                pass

            theirs.__module__ = "transformers.utils"
            harmless = register(theirs)
            assert hung_on(own) is None
            hook = register(lambda *told: None)
            assert str(hung_on(own)).endswith(name)
            hook.remove()
            harmless.remove()


def test_a_model_is_proven_once_for_its_weights(own: TransformerBridge) -> None:
    handle, proven = handle_of(own), []

    def prove(handle: ModelHandle, stack: Stack) -> None:
        proven.append(stack)

    first = stack_of(handle, prove)
    assert stack_of(handle, prove) is first
    assert proven == [first]
    forget(handle)
    assert stack_of(handle, prove) is proven[1] is not first
    renew(own)
    assert stack_of(handle, prove) is proven[2]
    assert len(proven) == 3
    forget(handle)
    forget(handle)


def test_what_was_refused_once_is_not_tried_again(own: TransformerBridge) -> None:
    handle, asked = handle_of(own), []

    def refuse(handle: ModelHandle, stack: Stack) -> None:
        asked.append(1)
        raise NotReplayable("it is odd")

    for _ in range(2):
        with pytest.raises(NotReplayable, match=r"^it is odd$"):
            stack_of(handle, refuse)
    assert len(asked) == 1


def test_hooks_on_a_model_are_named_before_it_is_taken_apart(own: TransformerBridge) -> None:
    handle = handle_of(own)
    hook = own.blocks[2].register_forward_hook(lambda *told: None)
    with pytest.raises(NotReplayable, match=r"^the model's module blocks\.2 has a hook of its own$"):
        stack_of(handle, lambda handle, stack: None)
    hook.remove()
    own.add_hook("blocks.1.attn.hook_z", lambda activation, hook: activation)
    with pytest.raises(NotReplayable, match=r"^the model has hooks of its own at blocks\.1\.attn\.hook_z$"):
        stack_of(handle, lambda handle, stack: None)
    own.reset_hooks()
    assert len(stack_of(handle, lambda handle, stack: None).parts) == models.LAYERS


def test_the_parts_are_edited_at_their_own_hooks(gpt2: TransformerBridge) -> None:
    stack = take_apart(handle_of(gpt2))
    before = models.state(gpt2)
    point = stack.points["blocks.1.hook_mlp_out"]
    with stack.editing({"blocks.1.hook_mlp_out": lambda activation: activation * 3}):
        torch.testing.assert_close(point(ROWS), ROWS * 3)
        assert models.state(gpt2) == before
    torch.testing.assert_close(point(ROWS), ROWS)


def test_two_computations_agree_as_far_as_the_precision_goes() -> None:
    assert same(ROWS, ROWS + 0.9e-9)
    assert not same(ROWS, ROWS + 1e-7)
    assert not same(ROWS, ROWS[:1])
    assert not same(ROWS, ROWS * float("nan"))
    assert same(ROWS.float(), ROWS.float() + 0.9e-4)
