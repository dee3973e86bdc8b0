"""The tokenizer that is given is the one that is used, as it is."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from patchwidgets import load_model
from tests import models


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def loaded(tokenizer: PreTrainedTokenizerFast) -> Any:
    with pytest.warns(UserWarning, match="in place"):
        return load_model(models.hugging_face("gpt2"), tokenizer=tokenizer)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of a tokenizer that does not say whether it puts a BOS, as most do not."""
    plain = models.tokenizer()
    del plain.init_kwargs["add_bos_token"]
    plain.save_pretrained(tmp_path / "words")
    return tmp_path / "words"


@pytest.mark.parametrize("said", [True, False, None])
@pytest.mark.parametrize("name", ["mine", "nobody/made-this-one-up", None])
def test_it_is_the_very_one_and_says_of_itself_what_it_said(name: str | None, said: bool | None) -> None:
    """A name in memory is nobody's on the Hub: nothing is asked for by it, and nothing of it is on the disk."""
    given = models.tokenizer()
    for key, value in (("name_or_path", name), ("add_bos_token", said)):
        given.init_kwargs[key] = value
        if value is None:
            del given.init_kwargs[key]
    before = dict(given.init_kwargs)
    model = loaded(given)
    assert model.tokenizer is given
    assert given.init_kwargs == before
    assert model.to_tokens("w1 w2").tolist() == [[1, 3, 4]]
    assert model.to_tokens("w1 w2", prepend_bos=False).tolist() == [[3, 4]]


def test_what_was_added_to_it_survives(saved: Path) -> None:
    """The one on the disk, by whose name it could be loaded again, does not have it."""
    given = PreTrainedTokenizerFast.from_pretrained(saved)
    assert given.init_kwargs["name_or_path"] == str(saved)
    given.add_tokens(["novel"])
    model = loaded(given)
    assert model.tokenizer is given
    assert model.to_tokens("w1 novel", prepend_bos=False).tolist() == [[3, models.VOCAB]]


def test_beside_a_folder_with_another_it_is_taken_too(saved: Path) -> None:
    models.hugging_face("gpt2", torch.float32).save_pretrained(saved)
    given = PreTrainedTokenizerFast.from_pretrained(saved)
    given.add_tokens(["novel"])
    model: Any = load_model(saved, tokenizer=given)
    assert model.tokenizer is given
    without: Any = load_model(saved).tokenizer
    assert "novel" not in without.get_vocab()


def test_a_name_on_the_hub_with_a_tokenizer_of_ones_own(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the working directory is what transformers takes a name to be before it asks the Hub."""
    models.hugging_face("gpt2", torch.float32).save_pretrained(saved)
    given = PreTrainedTokenizerFast.from_pretrained(saved)
    given.add_tokens(["novel"])
    monkeypatch.chdir(saved.parent)
    monkeypatch.setattr(Path, "is_dir", lambda path: False)
    model: Any = load_model("words", tokenizer=given)
    assert model.tokenizer is given
