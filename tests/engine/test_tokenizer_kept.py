"""The tokenizer that is given is the one that is used, as it is."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from patchwidgets import load_model
from tests import models


def loaded(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    with pytest.warns(UserWarning, match="in place"):
        return load_model(models.hugging_face("gpt2"), tokenizer=tokenizer).tokenizer  # type: ignore[return-value]


def test_one_with_a_name_keeps_its_name_and_its_settings() -> None:
    given = models.tokenizer()
    given.init_kwargs.update(name_or_path="mine")
    before = dict(given.init_kwargs)
    assert loaded(given) is given
    assert given.init_kwargs == before


def test_one_without_a_name_is_given_one_and_is_used_too() -> None:
    given = models.tokenizer()
    given.init_kwargs.pop("name_or_path", None)
    assert loaded(given) is given
    assert given.init_kwargs["name_or_path"]
