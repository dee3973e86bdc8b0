"""Looks at patches are replayed and share their plain runs; what they show is what whole forward passes give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.encoding import encode_pair
from patchwidgets.engine import inspect, plain_runs
from patchwidgets.engine.baseline import record
from patchwidgets.engine.handle import ModelHandle, handle_of
from patchwidgets.engine.inspect import Cell, Inspection, Inspector
from patchwidgets.interventions import Intervention, Noise, Patch, Zero
from patchwidgets.prompts import PromptPair
from tests import models
from tests.engine.plain import READ_ONLY, ROUNDS, family_of, lacks
from tests.families import FAMILIES

PAIR = PromptPair([3, 7, 11, 20, 33, 14, 25, 9], [3, 7, 12, 20, 33, 15, 25, 9], answer=17, foil=30)
HEAD = (1, 2)
CELLS: list[tuple[str, Cell]] = [
    ("embed", {"pos": 2}),
    ("resid_pre", {"layer": 0, "pos": 5}),
    ("resid_pre", {"layer": 1, "pos": 2}),
    ("resid_post", {"layer": 1, "pos": 6}),
    ("attn_out", {"layer": 1, "pos": 5}),
    ("mlp_out", {"layer": 0, "pos": 7}),
    ("z", {"layer": 1, "head": 2}),
    ("z", {"layer": 0, "head": 1, "pos": 6}),
    ("q", {"layer": 1, "head": 2, "pos": 6}),
    ("k", {"layer": 1, "head": 1, "pos": 2}),
    ("pattern", {"layer": 1, "head": 2}),
    ("pattern", {"layer": 1, "head": 2, "dest": 6}),
    ("mlp_out", {"layer": 2}),
]


@contextmanager
def passes(model: Any) -> Iterator[list[int]]:
    """Yield how many texts each forward pass of the model meanwhile holds."""
    found: list[int] = []
    hook = model.original_model.register_forward_pre_hook(
        lambda module, args, kwargs: found.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        yield found
    finally:
        hook.remove()


def inspector(
    handle: ModelHandle, direction: str = "denoise", what: Intervention | None = None, **more: Any
) -> Inspector:
    pair = encode_pair(PAIR, handle.tokenizer, needs_foil=True)
    return Inspector(handle, pair, Patch(direction), intervention=what, **more)


def through_hooks(looker: Inspector, cells: list[tuple[str, Cell]], head: tuple[int, int] | None) -> Inspection:
    """Look through whole forward passes: a hook is watched that no replayed run shows."""
    unseen = {"ln_final.hook_in": lambda activation, run: activation[:, -1]}
    return looker.look(cells, head, watch=unseen)


def assert_same(found: Inspection, expected: Inspection) -> None:
    for one, other in zip(found.logits, expected.logits, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8)
    for one, other in zip(found.attention, expected.attention, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ROUNDS])
def test_replayed_patches_show_what_whole_passes_do(name: str, direction: str) -> None:
    model = family_of(name).bridged
    handle = handle_of(model)
    cells = [(site, cell) for site, cell in CELLS if site not in lacks(name)]
    head = None if name in READ_ONLY else HEAD
    looker = inspector(handle, direction)
    with passes(model) as made:
        found = looker.look(cells, head)
    assert max(made) == 4, "more than the plain runs was run whole"
    expected = through_hooks(looker, cells, head)
    assert len(found.logits) == 2 + len(cells)
    assert_same(found, expected)


@pytest.mark.parametrize("what", [Zero(), Noise(1.0, samples=3)], ids=["zero", "noise"])
def test_other_interventions_are_replayed_too(gpt2: TransformerBridge, what: Intervention) -> None:
    looker = inspector(handle_of(gpt2), what=what)
    found, expected = looker.look(CELLS[1:10], HEAD), through_hooks(looker, CELLS[1:10], HEAD)
    assert_same(found, expected)
    assert len(found.logits[2]) == (3 if isinstance(what, Noise) else 1)
    assert not np.allclose(found.attention[0], found.attention[2 + 1])


def test_plain_runs_are_made_once() -> None:
    model = models.bridge("llama")
    looker = inspector(handle_of(model), sites=("resid_pre", "z", "pattern"))
    first = looker.look(CELLS[1:3])
    for cells, head in ((CELLS[1:3], None), (CELLS[6:8], (0, 3)), (CELLS[2:4], None)):
        with passes(model) as made:
            looker.look(cells, head)
        # resid_post is none of the sites that were asked for.
        assert made == ([] if cells != CELLS[2:4] else [4])
    with passes(model) as made:
        again = looker.look(CELLS[1:3])
    assert made == []
    assert all(torch.equal(one, other) for one, other in zip(first.logits, again.logits, strict=True))


def test_a_look_through_hooks_leaves_the_plain_runs_for_the_next() -> None:
    model = models.bridge("gpt2")
    looker = inspector(handle_of(model), sites=("resid_pre", "z", "pattern"))
    with passes(model) as made:
        looker.prepare()
    assert made[-1] == 4
    expected = looker.look(CELLS[1:3])
    through_hooks(looker, CELLS[1:3], HEAD)
    with passes(model) as made:
        looker.prepare()
        found = looker.look(CELLS[1:3])
    assert made == []
    assert_same(found, expected)


def test_a_changed_model_is_run_again() -> None:
    """Below the cells: nothing that is replayed would tell."""
    model: Any = models.bridge("gpt2")
    looker, cells = inspector(handle_of(model), sites=("resid_pre",)), [("resid_pre", {"layer": 2, "pos": 5})]
    before = looker.look(cells)
    with torch.no_grad():
        model.original_model.transformer.h[0].mlp.c_fc.weight.mul_(1.5)
    with passes(model) as made:
        after = looker.look(cells)
    assert 4 in made
    assert not torch.allclose(before.logits[0], after.logits[0])
    assert_same(after, inspector(handle_of(model)).look(cells))


def test_what_was_looked_at_through_hooks_is_replayed_the_next_time() -> None:
    model: Any = models.bridge("gpt2")
    looker = inspector(handle_of(model), sites=("resid_pre",))
    expected = through_hooks(looker, CELLS[1:3], None)
    looker.look(CELLS[1:3])  # Makes the tape.
    with passes(model) as made:
        assert_same(looker.look(CELLS[1:3]), expected)
    assert made == []


@pytest.mark.parametrize("rows", [slice(None), slice(3, 4)], ids=["all", "one token's"])
def test_a_write_to_a_weights_data_below_the_cell_is_seen(rows: slice) -> None:
    model: Any = models.bridge("llama")
    looker = inspector(handle_of(model), sites=("resid_pre",))
    before = looker.look(CELLS[2:3])
    model.original_model.get_input_embeddings().weight.data[rows] *= 1.5
    after = looker.look(CELLS[2:3])
    assert not torch.allclose(before.logits[0], after.logits[0])
    assert_same(after, inspector(handle_of(model)).look(CELLS[2:3]))


def test_a_write_to_a_weights_data_between_two_looks_at_several_cells_is_seen() -> None:
    """The token is in the clean prompt alone: the unpatched row beside the patched one does not tell."""
    model: Any = models.bridge("llama")
    looker = inspector(handle_of(model), sites=("resid_pre",))
    before = looker.together(CELLS[1:3])
    model.original_model.get_input_embeddings().weight.data[PAIR.clean[2]] *= 1.5
    after = looker.together(CELLS[1:3])
    assert not torch.allclose(before.logits[0], after.logits[0])
    assert_same(after, inspector(handle_of(model)).together(CELLS[1:3]))


@pytest.mark.parametrize("way", ["replayed", "_patched"])
def test_a_write_after_a_look_that_failed_is_seen(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = models.bridge("llama")
    looker, cells = inspector(handle_of(model), sites=("resid_pre",)), CELLS[2:3]
    watch = None if way == "replayed" else {"ln_final.hook_in": lambda activation, run: activation}

    def fail(*_arguments: Any) -> Any:
        raise RuntimeError("the look broke")

    with monkeypatch.context() as broken:
        broken.setattr(inspect, way, fail)
        with pytest.raises(RuntimeError, match="the look broke"):
            looker.look(cells, watch=watch)
    model.original_model.get_input_embeddings().weight.data *= 1.5
    assert_same(looker.look(cells), inspector(handle_of(model)).look(cells))


def test_runs_prepared_before_a_write_to_a_weights_data_are_prepared_anew() -> None:
    model: Any = models.bridge("llama")
    looker = inspector(handle_of(model), sites=("resid_pre",))
    looker.prepare()
    model.original_model.get_input_embeddings().weight.data *= 1.5
    looker.prepare()
    with passes(model) as made:
        found = looker.look(CELLS[2:3])
    assert made == []
    assert_same(found, inspector(handle_of(model)).look(CELLS[2:3]))


def test_a_model_with_hooks_of_its_own_is_looked_at_through_hooks() -> None:
    model: Any = models.bridge("gpt2")
    plainly = inspector(handle_of(model), sites=("resid_pre",))
    before = plainly.look(CELLS[1:3])
    point = model.hook_dict["blocks.2.hook_resid_pre"]
    point.add_hook(lambda activation, hook: activation * 0.5, is_permanent=True)
    try:
        for _ in range(2):
            with passes(model) as made:
                found = plainly.look(CELLS[1:3])
            assert made == [4, 3]
            assert not torch.allclose(found.logits[0], before.logits[0])
    finally:
        point.remove_hooks(including_permanent=True)
    assert_same(plainly.look(CELLS[1:3]), before)


def test_plain_runs_that_a_hook_came_into_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook comes once the model was found untouched, and is gone before the next look."""
    model: Any = models.bridge("gpt2")
    looker, cells = inspector(handle_of(model), sites=("resid_pre",)), [("resid_pre", {"layer": 2, "pos": 5})]
    point = model.hook_dict["blocks.0.hook_resid_pre"]

    def disturbed(*arguments: Any, **options: Any) -> Any:
        point.add_hook(lambda activation, hook: activation * 0.5, is_permanent=True)
        return record(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(plain_runs, "record", disturbed)
        looker.look(cells)
    point.remove_hooks(including_permanent=True)
    assert_same(looker.look(cells), inspector(handle_of(model)).look(cells))


def test_plain_runs_that_were_disturbed_are_made_again() -> None:
    model: Any = models.bridge("gpt2")
    looker = inspector(handle_of(model), sites=("resid_pre",))
    expected = looker.look(CELLS[1:3])
    kept = looker._plain._baseline.read
    for row in kept:
        kept[row] = kept[row] + 1.0
    assert_same(looker.look(CELLS[1:3]), expected)


def test_what_does_not_fit_is_kept_when_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.bridge("gpt2")
    monkeypatch.setattr("patchwidgets.engine.plain_runs.budget_for", lambda device: 0)
    looker = inspector(handle_of(model), sites=("resid_pre", "z"))
    looker.look(CELLS[1:3])
    kept = set(looker._plain._hooks)
    assert kept == {"blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"}
    looker.look(CELLS[6:7])
    assert looker._plain._hooks == kept | {"blocks.1.attn.hook_z"}


def test_many_draws_climb_in_several_batches(gpt2: TransformerBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise(1.0, samples=7)
    expected = inspector(handle_of(gpt2), what=noise).look(CELLS[1:4], HEAD)
    monkeypatch.setattr("patchwidgets.engine.replay.looking._TOKENS", 20)
    assert_same(inspector(handle_of(gpt2), what=noise).look(CELLS[1:4], HEAD), expected)
