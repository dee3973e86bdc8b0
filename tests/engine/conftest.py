"""Models the engine's tests share, where a test that changes one builds its own; and what both engines must pass."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine import patch as patching
from patchwidgets.engine.sweep import ENGINES
from tests import models

BOTH = {
    "alignment", "datasets", "families", "family_identities", "family_interventions", "gates", "identities",
    "induction", "interventions", "metrics", "nnsight", "oracle", "oracle_embedded", "oracle_families",
    "oracle_smollm2", "property", "windows",
}  # fmt: skip
"""The files whose every sweep either engine must get right."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let the files in BOTH run once with each engine, but for tests that say themselves which."""
    said = any("engine" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if metafunc.module.__name__.rpartition(".test_")[2] in BOTH and not said:
        metafunc.parametrize("engine", ENGINES, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The engine that `patch` takes when nothing is said: "replay" falls back by itself where it must, "hooked" never.

    None in the other files, where `patch` chooses. What a fixture of a file measures must ask for this one.
    """
    asked: str | None = getattr(request, "param", None)
    if asked != "hooked":
        yield asked
        return
    start = patching.start

    def through_hooks(*given: Any) -> Any:
        *others, chosen = given
        return start(*others, chosen or "hooked")

    with pytest.MonkeyPatch.context() as replaced:
        replaced.setattr(patching, "start", through_hooks)
        yield asked


@pytest.fixture(scope="session")
def gpt2() -> TransformerBridge:
    """A tiny GPT-2 in float64."""
    return models.bridge("gpt2")


@pytest.fixture(scope="session")
def llama() -> TransformerBridge:
    """A tiny Llama in float64 with two key/value heads for four query heads."""
    return models.bridge("llama")


@pytest.fixture(scope="session")
def neox() -> TransformerBridge:
    """A tiny GPT-NeoX in float64: attention and MLP in parallel, no BOS by default."""
    return models.bridge("neox")


@pytest.fixture(scope="session")
def gpt2_float32() -> TransformerBridge:
    """The tiny GPT-2 in float32."""
    return models.bridge("gpt2", torch.float32)


@pytest.fixture(scope="session")
def embedded() -> TransformerBridge:
    """The embedded model."""
    from patchwidgets import load_model

    return load_model()


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """A process started in the background ignores Ctrl-C, and hands that down; the test does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
