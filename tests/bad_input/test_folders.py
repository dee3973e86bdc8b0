"""Folders, files and names that hold no whole model are refused by `load_model`, which names them and the remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import patchwidgets as pw
from patchwidgets.errors import ModelError
from tests import models
from tests.bad_input.given import ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama with a tokenizer, saved as Hugging Face saves them."""
    where = tmp_path / "llama"
    models.hugging_face("llama", torch.float32).save_pretrained(where)
    models.tokenizer().save_pretrained(where)
    return where


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def _fewer_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

    return change


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


FOLDERS: list[tuple[Callable[[Path], object], str]] = [
    (_no_weights, r"the folder '.*llama' could not be loaded: Error no file named model.safetensors"),
    (_cut_weights, r"the folder '.*llama' could not be loaded: .*incomplete metadata"),
    (
        _fewer_weights,
        r"lacks weights of LlamaForCausalLM, such as model.layers.1.mlp.up_proj.weight; they would be random numbers",
    ),
    (lambda folder: (folder / "config.json").unlink(), r"has no config.json; it does not hold a Hugging Face model"),
    (lambda folder: (folder / "config.json").write_text("{"), r"could not be loaded: .* is not a valid JSON file"),
    (_config(model_type="nosuch"), r"could not be loaded: .*model type `nosuch`"),
    (_config(is_encoder_decoder=True), r"this is an encoder-decoder model; only decoder-only"),
    (_config(model_type="bert", is_decoder=False), r"this is a model of the kind 'bert', which reads both ways"),
    (_no_tokenizer, r"the folder '.*llama' has no tokenizer that can be read .*; give one with tokenizer="),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), r"no tokenizer that can be read .*; give one with"),
]


@pytest.mark.parametrize(("spoil", "message"), FOLDERS, ids=ids(FOLDERS))
def test_folders_that_hold_no_whole_model(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        pw.load_model(folder)


WHERE: list[tuple[dict[str, Any], str]] = [
    ({"dtype": torch.int8}, r"unknown dtype torch.int8; use one of float64, float32, bfloat16, float16"),
    ({"dtype": torch.complex64}, r"unknown dtype torch.complex64; use one of"),
    ({"dtype": ["float32"]}, r"unknown dtype \['float32'\]; use one of"),
    ({"dtype": "Float32"}, r"unknown dtype 'Float32'; use one of"),
    ({"device": "cuda:99"}, r"there is no device 'cuda:99' on this machine; use for instance 'cpu' or 'cuda'"),
    ({"device": "gpu"}, r"there is no device 'gpu' on this machine"),
    ({"device": 3.5}, r"there is no device 3.5 on this machine"),
    ({"device": "meta"}, r"device 'meta' holds no numbers; use for instance 'cpu' or 'cuda'"),
    ({"revision": "main"}, r"revision= names a version on the Hub; it does not apply to a folder or a file"),
    ({"tokenizer": {"a": 1}}, r"tokenizer must be a transformers tokenizer, not \{'a': 1\}"),
]


@pytest.mark.parametrize(("options", "message"), WHERE, ids=ids(WHERE))
def test_settings_of_loading(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pw.load_model(**options)


def test_files_that_hold_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    (tmp_path / "model.safetensors").write_bytes(b"")
    table = [
        (tmp_path / "empty.gguf", r"the file 'empty.gguf' could not be read: "),
        (tmp_path / "broken.gguf", r"the file 'broken.gguf' could not be read: "),
        (tmp_path / "missing.gguf", r"there is no file '.*missing.gguf'"),
        (tmp_path / "model.safetensors", r"model.safetensors' is a file; give the folder it is in, with config.json"),
        (" ", r"the model's name is empty; give a Hub name, a folder or a .gguf file, or nothing at all"),
        ("model.pt", r"'model.pt' could not be loaded from the Hugging Face Hub: .* Check the name and the network"),
        (b"gpt2", r"expected a model from pw.load_model\(\), got 'bytes'"),
    ]
    for what, message in table:
        with warnings.catch_warnings(), pytest.raises(ModelError, match=message):
            pw.load_model(what)


LOADING = """
import sys, warnings
import patchwidgets as pw
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    try:
        print("ok", pw.load_model(name).cfg.n_layers)
    except pw.PatchError as error:
        print(type(error).__name__, error)
"""


def in_the_cache(cache: Path, name: str, spoil: Callable[[Path], object]) -> None:
    """Put a model where the Hub's client keeps what it has fetched under a name."""
    there = cache / f"models--{name.replace('/', '--')}"
    whole = there / "snapshots" / "abc"
    models.hugging_face("llama", torch.float32).save_pretrained(whole)
    models.tokenizer().save_pretrained(whole)
    (there / "refs").mkdir()
    (there / "refs" / "main").write_text("abc", encoding="utf-8")
    spoil(whole)


def test_names_on_the_hub_are_held_to_the_same(tmp_path: Path) -> None:
    """In a process of its own: the Hub's client decides once where its cache is."""
    table: dict[str, tuple[Callable[[Path], object], str]] = {
        "some/whole": (lambda folder: None, "ok 3"),
        "some/part": (
            _fewer_weights,
            "ModelError 'some/part' on the Hugging Face Hub lacks weights of LlamaForCausalLM, such as "
            "model.layers.1.mlp.up_proj.weight; they would be random numbers. Choose a whole language model.",
        ),
        "some/masked": (
            _config(model_type="bert", is_decoder=False),
            "ModelError this is a model of the kind 'bert', which reads both ways: a later token changes what it says "
            "earlier. Only decoder-only, left-to-right language models can be patched.",
        ),
    }
    for name, (spoil, _) in table.items():
        in_the_cache(tmp_path, name, spoil)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADING, *table], capture_output=True, text=True, env=environment
    )
    assert ran.stdout.splitlines() == [told for _, told in table.values()], ran.stderr
