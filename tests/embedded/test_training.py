"""The documented command makes the model's files again, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import GPT2LMHeadModel

from patchwidgets.embedded import folder
from patchwidgets.embedded.corpus import UNK, vocabulary
from patchwidgets.embedded.corpus.text import Doc, parse
from patchwidgets.embedded.train import build_model, encode, loss_of, main

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def train_in(where: Path) -> dict[str, str]:
    """Run the command for two steps; returns a digest of every file but the record, which holds the time taken."""
    command = [sys.executable, "-m", "patchwidgets.embedded.train", "--out", str(where), "--steps", "2"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    written = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in where.iterdir()}
    assert written.pop("card.json")
    return written


def test_a_few_steps_twice_give_the_same_bytes(tmp_path: Path) -> None:
    first, again = train_in(tmp_path / "a"), train_in(tmp_path / "b")
    assert sorted(first) == sorted(FILES)
    assert first == again
    record = json.loads((tmp_path / "a" / "card.json").read_text())["training"]
    assert (record["steps"], record["seed"]) == (2, 0)
    # The shipped config and tokenizer are what the command writes.
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder() / name).read_bytes() == (tmp_path / "a" / name).read_bytes(), name
    assert GPT2LMHeadModel.from_pretrained(tmp_path / "a").dtype == torch.float32


def test_an_older_torch_is_told_which_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package runs with torch from 2.6 on; only training asks for more."""
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "model")])
    told = f"training needs torch 2.9 or newer, which has torch.optim.Muon; this is {torch.__version__}.\n"
    assert (ended.value.code, capsys.readouterr().err) == (1, told)
    assert not (tmp_path / "model").exists()


def test_the_seed_decides_the_first_weights() -> None:
    first, again, other = (build_model(seed).transformer.h[0].attn.c_attn.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_fresh_model_expects_every_word_about_equally() -> None:
    docs = [parse("red dog sun red *dog"), parse("Mary and John went to the *store")]
    tokens, weights = encode(docs)
    with torch.no_grad():
        loss = float(loss_of(build_model(0).eval(), tokens, weights / weights.sum()))
    assert loss == pytest.approx(torch.tensor(float(len(vocabulary()))).log().item(), abs=0.3)


def test_unknown_words_and_padding_are_read_but_never_asked_for() -> None:
    doc = Doc(("When", UNK, "and", "John", "went"), (4,))
    tokens, weights = encode([doc, parse("red dog sun red moon red *dog")])
    assert tokens.shape == weights.shape == (2, 8)
    assert tokens[0, :3].tolist() == [vocabulary().index(t) for t in ("[BOS]", "When", UNK)]
    assert weights[0].tolist() == pytest.approx([0, 0.1, 0, 0.1, 0.1, 1, 0, 0])
