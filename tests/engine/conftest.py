"""Models the engine's tests share; a test that changes one builds its own."""

from __future__ import annotations

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from tests import models


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
