"""What every test shares: no network for model hubs, no screen, and SmolLM2 for the tests that ask for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis.configuration import set_hypothesis_home_dir

os.environ["HF_HUB_OFFLINE"] = "1"
matplotlib.use("Agg")

from tests import smollm2

# Hypothesis takes notes from collection on; they are kept out of the checkout and go away with the process.
_NOTES = tempfile.TemporaryDirectory(prefix="hypothesis-")
set_hypothesis_home_dir(_NOTES.name)


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    """Whatever ran before: a test that draws without a seed of its own draws the same."""
    torch.manual_seed(0)


def _have(get: Callable[[], Path]) -> Path:
    try:
        return get()
    except smollm2.MissingModelError as error:
        told = str(error)
    pytest.fail(told, pytrace=False)


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """A local folder with SmolLM2-135M-Instruct in float32 safetensors and its tokenizer."""
    return _have(smollm2.folder)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The same model as the `.gguf` file it came in."""
    return _have(smollm2.gguf)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """The folder screenshots are kept in: `$PATCHWIDGETS_ARTIFACTS`, by default tests/artifacts."""
    named = os.environ.get("PATCHWIDGETS_ARTIFACTS")
    folder = Path(named) if named else Path(__file__).parent / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
