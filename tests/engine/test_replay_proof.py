"""The proof of a model's parts: a part that gives anything else is refused, by a sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.replay.parts import Head, Stack, take_apart
from patchwidgets.engine.replay.proof import prove
from patchwidgets.engine.replay.seams import ATTEND, ENTRY, FINISH, PROJECT, NotReplayable, Part
from patchwidgets.engine.replay.sides import Prefix
from patchwidgets.sites import SITES
from tests import models

LAYERS, WIDTH = models.LAYERS, 8
"""Of the models; how many tokens the proof runs."""
BEGIN = {"resid_pre": ENTRY, "q": PROJECT, "k": PROJECT, "v": PROJECT, "pattern": ATTEND, "attn_scores": ATTEND}
END = dict.fromkeys(("resid_mid", "mlp_out", "mlp_pre", "mlp_post", "resid_post"), FINISH)
PHASES: list[dict[str, str]] = [
    {**BEGIN, "z": FINISH, "attn_out": FINISH, **END},
    {**BEGIN, "z": ATTEND, "attn_out": ATTEND, **END},
    {**BEGIN, "q": ATTEND, "k": ATTEND, "v": ATTEND, "z": ATTEND, "attn_out": ATTEND, **END},
]
"""Where each site is, in each of three ways to run a block, the fastest first."""


@pytest.fixture
def stack(gpt2: TransformerBridge) -> Stack:
    """A model in parts that are not proven yet."""
    return take_apart(handle_of(gpt2))


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_every_hook_has_its_place_in_every_way(family: str) -> None:
    handle = handle_of(model := models.bridge(family))
    stack = take_apart(handle)
    before = models.state(model)
    prove(handle, stack)
    assert models.state(model) == before
    assert [(way.projects, way.mixes) for way in stack.ways] == [(True, True), (True, False), (False, False)]
    for way, expected in zip(stack.ways, PHASES, strict=True):
        for name, phase in expected.items():
            if family == "neox" and name == "resid_mid":
                continue  # Attention and MLP are in parallel.
            found = {way.phases[SITES[name].hook_name(layer)] for layer in range(LAYERS)}
            assert found == {phase}, name
    assert not any(point.fwd_hooks for point in stack.points.values())
    del model


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, tuple[int, ...]]]:
    """Which piece of which block was called, and the shape of the rows it was given."""
    told: list[tuple[str, int, tuple[int, ...]]] = []

    def counted(name: str) -> None:
        piece = getattr(Part, name)

        def calling(self: Part, rows: Tensor, *rest: Any, **options: Any) -> Any:
            told.append((name, self.index, tuple(rows.shape[:2])))
            return piece(self, rows, *rest, **options)

        monkeypatch.setattr(Part, name, calling)

    for name in ("project", "attend", "finish"):
        counted(name)
    return told


def test_the_model_runs_once_and_every_piece_at_two_cuts(
    gpt2: TransformerBridge, stack: Stack, calls: list[tuple[str, int, tuple[int, ...]]]
) -> None:
    texts: list[Tensor] = []
    hook = gpt2.original_model.register_forward_pre_hook(
        lambda module, args, kwargs: texts.append(kwargs["input_ids"]), with_kwargs=True
    )
    prove(handle_of(gpt2), stack)
    hook.remove()
    (tokens,) = texts
    assert tokens.shape == (2, WIDTH)
    assert tokens[0].tolist() == tokens[1].tolist()[::-1] == sorted(tokens[0].tolist())
    assert len(set(tokens[0].tolist())) == WIDTH
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) == models.VOCAB - 1
    for layer in range(LAYERS):
        of = [(name, shape) for name, at, shape in calls if at == layer]
        without = [("attend", (2, 7)), ("finish", (1, 14)), ("attend", (2, 3)), ("finish", (1, 6))]
        way = [("project", (1, 14)), *without[:2], ("project", (1, 6)), *without[2:]]
        assert of == [*without, *way, *way]


def test_columns_all_over_the_vocabulary_are_compared(
    gpt2: TransformerBridge, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    head = Head.__call__

    def calling(self: Head, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        asked.append(columns if columns is None else columns.tolist())
        return head(self, rows, columns)

    monkeypatch.setattr(Head, "__call__", calling)
    prove(handle_of(gpt2), stack)
    assert asked == [None, list(range(0, models.VOCAB, models.VOCAB // 16))]


def test_a_short_context_is_enough() -> None:
    for context in (1, 2, 3):
        model = models.bridge("gpt2", seed=context)
        handle = handle_of(model)
        handle.tokenizer.context = context
        prove(handle, stack := take_apart(handle))
        assert len(stack.ways) >= 1


def corrupt(stack: Stack, layer: int, name: str, change: Callable[[Any], Any], when: Any = None) -> None:
    """Let a piece of one block give something else, where `when` of its options says so."""
    part = stack.parts[layer]
    piece = getattr(part, name)

    def wrong(*args: Any, **options: Any) -> Any:
        made = piece(*args, **options)
        return change(made) if when is None or when(options) else made

    setattr(part, name, wrong)


def off(made: Tensor) -> Tensor:
    return made + 1e-6


def fail(made: Tensor) -> Tensor:
    raise ValueError("no such row")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("attend", off, "attention 1 gives something else on a part of a prompt"),
        ("finish", off, "block 1 does not treat every token by itself after its attention"),
        ("attend", fail, "its blocks do not run on a part of a prompt: ValueError: no such row"),
        ("finish", fail, "its blocks do not run on a part of a prompt: ValueError: no such row"),
        ("attend", lambda made: made[:, 1:], "attention 1 gives something else on a part of a prompt"),
    ],
)
def test_a_piece_that_gives_something_else_is_named(
    gpt2: TransformerBridge, stack: Stack, name: str, change: Callable[[Tensor], Tensor], told: str
) -> None:
    corrupt(stack, 1, name, change)
    with pytest.raises(NotReplayable, match=f"^{told}$"):
        prove(handle_of(gpt2), stack)
    assert not any(point.fwd_hooks for point in stack.points.values())


def test_one_wrong_row_is_enough(gpt2: TransformerBridge) -> None:
    for row, position in ((0, 0), (1, -1)):
        stack = take_apart(handle_of(gpt2))

        def one(made: Tensor, at: tuple[int, int] = (row, position)) -> Tensor:
            made = made.clone()
            made[at] += 1e-6
            return made

        corrupt(stack, 2, "attend", one)
        with pytest.raises(NotReplayable, match="attention 2"):
            prove(handle_of(gpt2), stack)


def test_a_head_that_gives_something_else_is_refused(gpt2: TransformerBridge, stack: Stack) -> None:
    honest = stack.head
    assert honest.weight is not None
    told = "^the logits are not the unembedded final norm$"
    for changed in (
        replace(honest, norm=lambda rows: honest.norm(rows) + 1e-5),
        replace(honest, cap=50.0),
        replace(honest, unembed=lambda rows: honest.unembed(rows) + 1e-5),
        replace(honest, weight=honest.weight * 1.001),
    ):
        stack.head = changed
        with pytest.raises(NotReplayable, match=told):
            prove(handle_of(gpt2), stack)
    stack.head = honest
    prove(handle_of(gpt2), stack)


WAYS = [(True, True), (True, False), (False, False)]


@pytest.mark.parametrize(
    ("name", "when", "left"),
    [
        ("attend", lambda options: options["mixing"], WAYS[1:]),
        ("finish", lambda options: options["mixing"], WAYS[1:]),
        ("project", None, WAYS[2:]),
    ],
    ids=["heads", "what follows heads", "projection"],
)
def test_a_faster_way_that_is_wrong_is_left_out(
    gpt2: TransformerBridge, stack: Stack, name: str, when: Any, left: list[tuple[bool, bool]]
) -> None:
    change = (lambda made: [made[0] + 0.1, *made[1:]]) if name == "project" else off
    corrupt(stack, 1, name, change, when)
    prove(handle_of(gpt2), stack)
    assert [(way.projects, way.mixes) for way in stack.ways] == left
    assert {SITES["z"].hook_name(1), SITES["mlp_out"].hook_name(2)} <= stack.way.phases.keys()


@pytest.mark.parametrize(("attribute", "left"), [("projects", WAYS[2:]), ("mixes", WAYS[1:])])
def test_every_part_must_know_a_way(gpt2: TransformerBridge, stack: Stack, attribute: str, left: Any) -> None:
    setattr(stack.parts[1], attribute, False)
    prove(handle_of(gpt2), stack)
    assert [(way.projects, way.mixes) for way in stack.ways] == left


def test_runs_that_begin_later_must_attend_to_the_base_runs_keys(
    gpt2: TransformerBridge, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, late = Prefix.__init__, []

    def forgetful(self: Prefix, keys: Tensor, values: Tensor, start: int, asked: Tensor | None = None) -> None:
        late.append(None if asked is None else asked.tolist())
        made(self, keys, values, start)

    monkeypatch.setattr(Prefix, "__init__", forgetful)
    prove(handle_of(gpt2), stack)
    assert [(way.projects, way.mixes) for way in stack.ways] == WAYS[2:]
    # In the plain way all begin together; where rows are projected apart the second begins one later.
    assert late[: 2 * LAYERS] == [None] * 2 * LAYERS
    assert late[2 * LAYERS] == [[False] * 7, [True, *[False] * 6]]


def test_a_hook_that_fires_twice_has_no_place(gpt2: TransformerBridge, stack: Stack) -> None:
    name = SITES["mlp_out"].hook_name(1)
    corrupt(stack, 1, "finish", lambda made: (stack.points[name](made), made)[1])
    prove(handle_of(gpt2), stack)
    for way in stack.ways:
        assert name not in way.phases
        assert SITES["mlp_out"].hook_name(0) in way.phases


def test_a_hook_that_sees_no_batch_of_the_rows_has_no_place(gpt2: TransformerBridge, stack: Stack) -> None:
    name = SITES["z"].hook_name(1)
    corrupt(stack, 1, "attend", lambda made: (stack.points[SITES["mlp_out"].hook_name(1)](made[:1]), made)[1])
    prove(handle_of(gpt2), stack)
    assert all(SITES["mlp_out"].hook_name(1) not in way.phases for way in stack.ways)
    assert all(name in way.phases for way in stack.ways)
