"""What the caller's thread has torch do by default changes no number of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.inspect import Inspector
from patchwidgets.engine.patch import encode
from patchwidgets.engine.recipe import recipe_of
from patchwidgets.interventions import Patch
from tests import models

PAIR = pw.PromptPair([1, 2, 3, 4, 5], [1, 2, 9, 4, 5], answer=22, foil=23)
"""Token ids: TransformerLens's tokenizing wants the default device to be one that holds numbers."""

SWEEPS: list[dict[str, Any]] = [
    {"site": "z"},
    {"site": "resid_pre", "engine": "hooked"},
    {"site": "resid_pre", "intervention": "noise"},
    {"site": "pattern", "intervention": "mask"},
]


@contextmanager
def wide() -> Iterator[None]:
    """Numbers are made in float64 where nothing else is said."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def repeatable() -> Iterator[None]:
    """Only algorithms that give the same again."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "another default device": lambda: torch.device("meta"),
    "another default dtype": wide,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": repeatable,
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_numbers_are_those_of_a_plain_call(family: str, around: str) -> None:
    """From a model's first sweep on, when it is looked at."""
    expected = [pw.patch(models.bridge(family, torch.float32), PAIR, **each).wait() for each in SWEEPS[:1]]
    model = models.bridge(family, torch.float32)
    with AROUND[around]():
        found = [pw.patch(model, PAIR, **each).wait() for each in SWEEPS]
    expected += [pw.patch(model, PAIR, **each).wait() for each in SWEEPS[1:]]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.data["patched"], other.data["patched"], rtol=0, atol=1e-5)
        assert one.engine == other.engine


def test_a_look_in_a_thread_with_another_default_device() -> None:
    """Looks are made in the caller's own thread."""
    model = models.bridge("gpt2")
    handle = handle_of(model)
    inspector = Inspector(handle, encode(handle, PAIR)[0], Patch("denoise"), intervention=pw.Noise(samples=2))
    cells = [("z", {"layer": 1, "head": 2}), ("mlp_out", {"layer": 1, "pos": 2})]
    expected = inspector.look(cells, (1, 1))
    with torch.device("meta"):
        found = inspector.look(cells, (1, 1))
    for one, other in zip(found.logits, expected.logits, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_a_recipe_with_another_default_device(tmp_path: Path) -> None:
    models.hugging_face("gpt2", torch.float32).save_pretrained(tmp_path)
    model = pw.load_model(tmp_path, tokenizer=models.tokenizer())
    expected = recipe_of(handle_of(model))
    with torch.device("meta"):
        assert recipe_of(handle_of(model)) == expected


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_candidates_are_rated_with_another_default_device(family: str) -> None:
    model = models.bridge(family)
    expected = handle_of(model).rate([1, 2, 3], [4, 5])
    with torch.device("meta"):
        assert handle_of(model).rate([1, 2, 3], [4, 5]) == expected
