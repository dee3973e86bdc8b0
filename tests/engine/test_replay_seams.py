"""Blocks in pieces, by hand and of real models; the copies that they are made of, and what is fused in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformers.activations import NewGELUActivation

from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.replay.copies import Copies
from patchwidgets.engine.replay.fused import fuse
from patchwidgets.engine.replay.parts import Stack, take_apart
from patchwidgets.engine.replay.seams import NotReplayable, Part, first_of
from patchwidgets.engine.replay.tape import taping
from tests import models

TOKENS = torch.tensor([[1, 3, 4, 11, 6, 10, 8], [1, 9, 4, 12, 6, 7, 5]])


class Attention(nn.Module):
    """Adds its queries, keys and values, mixes them by a factor, and answers in a form of its own."""

    def __init__(self, form: Callable[[Tensor], Any] = lambda output: output, uses: str = "qkv") -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(2, 2) for _ in range(4))
        self.form, self.uses = form, uses

    def forward(self, hidden_states: Tensor) -> Any:
        mixed = torch.stack([getattr(self, name)(hidden_states) for name in self.uses]).sum(0).cumsum(1)
        return self.form(self.o(mixed))


class Inside(nn.Module):
    """Calls its attention by place or by name, and adds what it gives, doubled, to what came in."""

    def __init__(self, attention: nn.Module | None, named: bool = False) -> None:
        super().__init__()
        self.attn, self.named = attention, named
        self.seen: list[Any] = []

    def forward(self, rows: Tensor, extra: float = 0.0) -> Any:
        if self.attn is None:
            return rows
        output = self.attn(hidden_states=rows + extra) if self.named else self.attn(rows + extra)
        self.seen.append(output)
        return rows + 2 * first_of(output), None


class Block(nn.Module):
    """Holds what computes, as a bridge does."""

    original_component: Inside

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self.original_component = inside

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.original_component(*args, **kwargs)


def built(attention: nn.Module, **options: Any) -> tuple[Part, Block]:
    block = Block(Inside(attention, **options)).double()
    return Part(4, block, attention), block


ROWS = torch.arange(12.0).double().reshape(2, 3, 2)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("form", "others"),
    [(lambda output: output, None), (lambda output: (output,), 0), (lambda output: (output, 5, 6), 2)],
)
def test_the_pieces_of_a_block_make_the_block(form: Any, others: int | None, named: bool) -> None:
    attention = Attention(form)
    block = Block(Inside(attention, named)).double()
    expected, given = first_of(block(ROWS, 0.5)), first_of(block.original_component.seen.pop())
    mixed = sum(getattr(attention, name)(ROWS + 0.5) for name in "qkv").cumsum(1)  # type: ignore[union-attr]
    part = Part(4, block, attention)
    assert (part.index, part.projects, part.mixes) == (4, True, True)
    projected = part.project(ROWS, [0.5], {})
    for name, made in zip("qkv", projected, strict=True):
        torch.testing.assert_close(made, getattr(attention, name).module(ROWS + 0.5))
    torch.testing.assert_close(part.attend(ROWS, [], {"extra": 0.5}), given)
    torch.testing.assert_close(part.attend(ROWS, [0.5], {}, projected), given)
    torch.testing.assert_close(part.attend(ROWS, [0.5], {}, projected, mixing=True), mixed)
    torch.testing.assert_close(part.finish(ROWS, given, [0.5], {}), expected)
    torch.testing.assert_close(part.finish(ROWS, mixed, [], {"extra": 0.5}, mixing=True), expected)
    last = block.original_component.seen[-1]
    assert (len(last) - 1 if isinstance(last, tuple) else None) == others
    assert not others or list(last[1:]) == [None] * others


def test_queries_keys_and_values_given_are_taken_once() -> None:
    attention = Attention()
    part, _ = built(attention)
    zeros = [torch.zeros_like(ROWS)] * 3
    torch.testing.assert_close(part.attend(ROWS, [], {}, zeros, mixing=True), zeros[0])
    own = part.attend(ROWS, [], {}, mixing=True)
    assert own.abs().max() > 1
    torch.testing.assert_close(part.attend(ROWS, [], {}), attention.o.module(own))


def test_a_piece_that_fails_leaves_nothing_behind() -> None:
    attention = Attention(uses="qk")
    part, _ = built(attention)
    made = part.project(ROWS, [], {})
    with pytest.raises(NotReplayable, match=r"^attention 4 does not take its queries, keys and values from its parts$"):
        part.attend(ROWS, [], {}, made)
    # All were dropped: without any given the attention makes its own.
    torch.testing.assert_close(part.attend(ROWS, [], {}, mixing=True), (made[0] + made[1]).cumsum(1))
    with pytest.raises(TypeError):
        part.finish(ROWS, ROWS, [1, 2, 3], {})
    torch.testing.assert_close(part.attend(ROWS, [], {}), attention.o.module((made[0] + made[1]).cumsum(1)))


def test_a_block_must_hold_and_call_its_attention() -> None:
    attention = Attention()
    told = "^block 4 does not hold its attention as a part of its own$"
    with pytest.raises(NotReplayable, match=told):
        Part(4, Block(Inside(None)), attention)
    twice = Inside(attention)
    twice.other = attention
    with pytest.raises(NotReplayable, match=told):
        Part(4, Block(twice), attention)
    idle = Inside(attention)
    part = Part(4, Block(idle), attention)
    idle.attn = None
    for call in (part.project, part.attend):
        with pytest.raises(NotReplayable, match=r"^block 4 does not call its attention$"):
            call(ROWS, [], {})


def test_an_attention_without_parts_only_attends() -> None:
    whole = nn.Linear(2, 2)
    part, _ = built(whole)
    assert (part.projects, part.mixes) == (False, False)
    attended = part.attend(ROWS, [], {}, mixing=False)
    torch.testing.assert_close(attended, whole(ROWS))
    torch.testing.assert_close(part.finish(ROWS, attended, [], {}), ROWS + 2 * attended)
    torch.testing.assert_close(part.project(ROWS, [], {}), [])


@pytest.fixture(scope="module", params=["gpt2", "llama", "neox"])
def apart(request: pytest.FixtureRequest) -> tuple[TransformerBridge, Stack]:
    """A model, and the same in parts."""
    model = models.bridge(request.param)
    return model, take_apart(handle_of(model))


@torch.no_grad()
def test_the_pieces_of_a_models_blocks_give_its_activations(apart: tuple[TransformerBridge, Stack]) -> None:
    model, stack = apart
    handle, rows = handle_of(model), torch.tensor([0, 1])
    with taping(handle) as recorder:
        handle.forward(TOKENS, cache=recorder.cache)
    tape = recorder.tape([0, 1], mixes=False)
    _, seen = model.run_with_cache(TOKENS)
    for layer, part in enumerate(stack.parts):
        others = tape.sides[layer].cut(0, 2, None)
        stream = seen[f"blocks.{layer}.hook_resid_pre"]
        projected = part.project(stream, *others)
        for name, made in zip("qkv", projected, strict=True):
            torch.testing.assert_close(made, seen[f"blocks.{layer}.attn.hook_{name}"].flatten(2))
        mixed = part.attend(stream, *tape.arguments(layer, rows, 0), projected, mixing=True)
        torch.testing.assert_close(mixed, seen[f"blocks.{layer}.attn.hook_z"].flatten(2))
        attended = part.attend(stream, *tape.arguments(layer, rows, 0))
        torch.testing.assert_close(attended, seen[f"blocks.{layer}.hook_attn_out"])
        for given, mixing in ((mixed, True), (attended, False)):
            out = part.finish(stream, given, *others, mixing=mixing)
            torch.testing.assert_close(out, seen[f"blocks.{layer}.hook_resid_post"])
        # What is written where an attention leaves reaches the block, also where only its heads were run.
        point = stack.points[f"blocks.{layer}.hook_attn_out"]
        for given, mixing in ((mixed, True), (attended, False)):
            point.add_hook(lambda activation, hook: activation * 0)
            try:
                out = part.finish(stream, given, *others, mixing=mixing)
            finally:
                point.remove_hooks()
            moved = (out - seen[f"blocks.{layer}.hook_resid_post"]).abs().max()
            assert (moved > 0.1) == mixing


class Rule:
    """Keeps what a pass is about."""


class Tree(nn.Module):
    """Refers to its own parts, and to one outside, in every way there is."""

    def __init__(self, outside: nn.Module, rule: Rule) -> None:
        super().__init__()
        self.own, self.weight = nn.Linear(2, 2), nn.Parameter(torch.ones(2))
        self.listed, self.paired = [self.own, 3], (self.own, outside)
        self.by_name = {"own": self.own, "outside": outside, "number": 4}
        self.foreign: Any = outside.forward
        self.bound, self.hook_conversion = self.call, rule
        self.conversion_rule: Rule | None = None
        self.kept = torch.Size([1, 2])

    def call(self) -> nn.Module:
        return self.own


def test_copies_refer_to_copies_and_share_all_else() -> None:
    outside, rule = nn.Linear(2, 2), Rule()
    trees = [Tree(outside, rule), Tree(outside, rule)]
    trees[1].paired = (trees[0].own, outside)
    copies = Copies(trees)
    for tree in trees:
        new = copies[tree]
        assert type(new) is Tree
        assert new is not tree
        assert tree in copies
        assert tree.own in copies
        assert outside not in copies
        assert new.own is copies[tree.own] is new.call() is new.bound() is new.by_name["own"]
        assert new.own is not tree.own
        assert new.own.weight is tree.own.weight
        assert new.weight is tree.weight
        assert new.by_name == {"own": new.own, "outside": outside, "number": 4}
        assert type(new.listed) is list
        assert new.listed == [new.own, 3]
        assert type(new.paired) is tuple
        assert new.paired[1] is outside
        assert new.foreign.__self__ is outside
        assert new.kept is tree.kept
        assert new.conversion_rule is None
        new.listed.append(1)
        new.by_name["more"] = new._modules["more"] = nn.Linear(1, 1)
        assert len(tree.listed) == 2
        assert "more" not in tree.by_name
        assert "more" not in tree._modules
    assert copies[trees[1]].paired[0] is copies[trees[0].own]
    rules = {id(copies[tree].hook_conversion) for tree in trees}
    assert len(rules) == 1
    assert id(rule) not in rules


def test_what_is_fused_computes_the_same_and_keeps_its_hooks() -> None:
    model = models.bridge("gpt2", seed=1)
    block = Copies([*model.blocks])[model.blocks[1]]
    assert any(isinstance(module, NewGELUActivation) for module in block.modules())
    stream = torch.randn(1, 4, 32, dtype=torch.float64)
    expected = block(stream)
    fuse(block)
    assert not any(isinstance(module, NewGELUActivation) for module in block.modules())
    activations = [module for module in block.modules() if isinstance(module, nn.GELU)]
    assert [each.approximate for each in activations] == ["tanh"]
    torch.testing.assert_close(first_of(block(stream)), first_of(expected))
    for norm in (block.ln1, block.ln2):
        assert type(norm).__name__ == "_Norm"
        for point in (norm.hook_in, norm.hook_out):
            point.add_hook(lambda activation, hook: activation * 2)
        torch.testing.assert_close(norm(stream), 2 * norm.norm(2 * stream))
        norm.hook_in.remove_hooks()
        norm.hook_out.remove_hooks()


def test_a_norm_of_another_kind_stays_as_it_is() -> None:
    other = Copies([models.bridge("llama").blocks[0]])
    block = next(module for module in other._of.values() if type(module).__name__ == "BlockBridge")
    fuse(block)
    assert not any(type(module).__name__ == "_Norm" for module in block.modules())
    model = models.bridge("gpt2", seed=1)
    model.blocks[0].ln1.original_component.eps = 0.5
    block = Copies([model.blocks[0]])[model.blocks[0]]
    fuse(block)
    assert [type(module).__name__ for module in (block.ln1, block.ln2)] == ["NormalizationBridge", "_Norm"]
