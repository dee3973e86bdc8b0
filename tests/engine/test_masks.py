"""Where attention is open: what the model closes stays as it is, whatever is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from patchwidgets.encoding import encode_pair
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.lanes import Lane
from patchwidgets.engine.masks import is_attention, kept_closed, open_at, open_attention
from patchwidgets.engine.plan import Target
from patchwidgets.prompts import PromptPair
from patchwidgets.sites import SITES
from tests import models
from tests.engine.plain import CLEAN, family_of
from tests.engine.replaying import target
from tests.engine.test_windows import SLIDING, open_in
from tests.families import HEADS, LAYERS

LENGTH = len(CLEAN)
PATTERN, SCORES, Z = (SITES[name].hook_name(1) for name in ("pattern", "attn_scores", "z"))


@pytest.mark.parametrize("name", SLIDING)
def test_a_layer_is_open_as_the_model_has_it(name: str) -> None:
    handle = handle_of(family_of(name).bridged)
    found = open_attention(handle, CLEAN)
    assert len(found) == LAYERS
    for layer, mask in enumerate(found):
        assert mask.shape == (HEADS, LENGTH, LENGTH)
        assert (mask == open_in(name, layer)).all(), layer
    assert not any(point.fwd_hooks for point in handle.hooks.values())


@contextmanager
def counted(model: Any) -> Iterator[list[tuple[int, ...]]]:
    """Yield the shapes of the texts that the model runs meanwhile."""
    texts: list[tuple[int, ...]] = []
    hook = model.original_model.register_forward_pre_hook(
        lambda module, args, kwargs: texts.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        yield texts
    finally:
        hook.remove()


@pytest.mark.parametrize("name", ["gptj", "opt"])
def test_a_model_that_shows_other_scores_than_it_uses_is_causal_and_is_not_run(name: str) -> None:
    model = family_of(name).bridged
    with counted(model) as texts:
        found = open_attention(handle_of(model), CLEAN)
    assert (1, LENGTH) not in texts
    assert len(found) == LAYERS
    for mask in found:
        assert mask.tolist() == torch.ones(HEADS, LENGTH, LENGTH).tril().bool().tolist()


def lane(*ids: int) -> Lane:
    handle = handle_of(family_of("mistral").bridged)
    other = [ids[0], 9, *ids[2:]]
    return Lane(0, encode_pair(PromptPair(list(ids), other, answer=7, foil=8), handle.tokenizer), 0, 0, "both")


SHORT, LONG = lane(1, 3, 4), lane(1, 3, 4, 5, 6, 7, 8)


def test_a_place_is_open_where_its_layer_is_on_a_text_of_its_length() -> None:
    handle = handle_of(family_of("mistral").bridged)
    where = open_at(handle, [SHORT, LONG, SHORT], "clean", [Z, PATTERN], matched=True)
    for each, length in ((SHORT, 3), (LONG, 7)):
        expected = open_in("mistral", 1)[:length, :length]
        assert (where(target("pattern", layer=1, head=0), each) == expected).all()
        assert where(target("pattern", layer=1), each).shape == (HEADS, length, length)
        assert (where(target("attn_scores", layer=1, head=1, dest=2), each) == expected[2]).all()
        assert bool(where(target("pattern", layer=1, head=1, dest=2, src=1), each))
        assert not bool(where(target("pattern", layer=1, head=1, dest=1, src=2), each))
    assert not bool(where(target("pattern", layer=1, head=0, dest=6, src=0), LONG))
    assert where(target("z", layer=1, head=0), LONG).tolist() is True


def test_the_model_is_run_once_a_length_and_only_for_attention() -> None:
    model = models.bridge("llama")
    handle_of(model).shape(SITES["attn_scores"])  # A pass of its own, once a model.
    for hooks, expected in (([Z], []), ([Z, SCORES], [(1, 3), (1, 7)]), ([PATTERN], [])):
        with counted(model) as texts:
            where = open_at(handle_of(model), [SHORT, LONG, SHORT], "clean", hooks, matched=True)
        assert sorted(texts) == expected
        assert bool(where(target("z", layer=1, head=0), LONG))


def test_another_window_is_found_anew() -> None:
    model: Any = family_of("mistral").bridged
    config, handle = model.original_model.config, handle_of(model)

    def opened() -> bool:
        where = open_at(handle, [LONG], "clean", [PATTERN], matched=True)
        return bool(where(target("pattern", layer=1, head=1, dest=6, src=4), LONG))

    before, found = config.sliding_window, opened()
    try:
        config.sliding_window = 2
        assert found
        assert not opened()
    finally:
        config.sliding_window = before
    assert opened()


def test_what_is_closed_is_kept() -> None:
    half = torch.tensor([True, False, True])

    def value(what: Target, lane: Lane, now: Tensor) -> Tensor:
        return now + 10

    guarded = kept_closed(value, lambda what, lane: half)
    now = torch.tensor([1.0, 2.0, 3.0])
    assert guarded(target("pattern", layer=0), SHORT, now).tolist() == [11, 2, 13]
    assert guarded(target("attn_scores", layer=0), SHORT, now).tolist() == [11, 2, 13]
    assert guarded(target("z", layer=0), SHORT, now).tolist() == [11, 12, 13]
    assert {name for name, site in SITES.items() if is_attention(site)} == {"pattern", "attn_scores"}
