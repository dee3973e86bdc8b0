"""Models the engine's tests share, where a test that changes one builds its own; and what both engines must pass."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine import patch as patching
from patchwidgets.engine.replay import finals
from patchwidgets.engine.run import Run
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


NOT_REPLAYED = (
    "it was asked for",
    "something stands in place during all runs",
    # GPT-J in float64, which rounds its attention to float32.
    "attention 0 gives something else on a part of a prompt",
)
"""Why a sweep of the files in BOTH may not be replayed."""
BUILT = "the model keeps no keys and values"
"""Why those of the circuits built by hand never are."""


@pytest.fixture(scope="module", autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The engine that `patch` takes when nothing is said: "replay" falls back by itself where it must, "hooked" never.

    None in the other files, where `patch` chooses. What a fixture of a file measures must ask for this one. A file in
    which nothing was replayed though it was to be, or for another reason than those above, has not tested the engine.
    """
    asked: str | None = getattr(request, "param", None)
    if asked is None:
        yield asked
        return
    seen: set[tuple[str, str | None]] = set()
    start = patching.start

    def watched(handle: Any, plan: Any, batch_size: Any, encode: Any, resume: Any, engine: Any, memory: Any) -> Any:
        chosen = engine or ("hooked" if asked == "hooked" else None)
        run = start(handle, plan, batch_size, encode, resume, chosen, memory)
        report = run._report

        def noting(run: Run) -> Any:
            result = report(run)
            seen.add((result.engine, result.provenance["why_hooked"]))
            return result

        run._report = noting
        return run

    with pytest.MonkeyPatch.context() as replaced:
        replaced.setattr(patching, "start", watched)
        yield asked
    if asked == "replay" and seen and seen != {("hooked", BUILT)}:
        assert any(engine == "replay" for engine, _ in seen), seen
        assert {why for engine, why in seen if engine == "hooked"} <= set(NOT_REPLAYED)


@pytest.fixture(scope="module", autouse=True)
def _anew(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let every sweep run all its cells, though a result of another test is alive that has them."""
    with pytest.MonkeyPatch.context() as replaced:
        if not request.module.__name__.endswith((".test_reuse", ".test_counts", ".test_finals")):
            replaced.setattr(finals, "_CERTAIN", ())
        yield


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
