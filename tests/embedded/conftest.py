from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from patchwidgets.embedded import folder
from patchwidgets.embedded.evaluate import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import GPT2LMHeadModel


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are slower on many threads, and sums must not depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model() -> GPT2LMHeadModel:
    return load(folder())


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(folder())
