"""Every way to a model that `load_model` promises, without a network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

import patchwidgets
from patchwidgets.engine.model import load_model
from patchwidgets.engine.patch import patch
from patchwidgets.errors import ModelError
from tests import models


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with a tokenizer, saved as Hugging Face saves them."""
    where = tmp_path_factory.mktemp("models") / "tiny-llama"
    models.hugging_face("llama", torch.float32).save_pretrained(where)
    models.tokenizer().save_pretrained(where)
    return where


IDS = torch.tensor([[1, 3, 5, 7, 9]])


def plain() -> torch.Tensor:
    with torch.no_grad():
        return models.hugging_face("llama", torch.float32)(IDS).logits


def answers(model: TransformerBridge) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


@pytest.mark.usefixtures("_no_network")
def test_the_embedded_model_needs_no_network() -> None:
    model = load_model()
    assert isinstance(model, TransformerBridge)
    assert not model.training
    assert next(model.parameters()).dtype == torch.float32
    assert model.original_model.config._attn_implementation == "eager"
    assert model.cfg.default_prepend_bos
    with torch.no_grad():
        logits = model(model.to_tokens("When Mary and John went to the store, John gave a drink to"))
    assert model.to_string(logits[0, -1].argmax()).strip() == "Mary"


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder(folder: Path, as_text: bool) -> None:
    model = load_model(str(folder) if as_text else folder)
    assert torch.equal(answers(model), plain())
    assert not model.training
    assert model.to_tokens("w1 w2", prepend_bos=False).tolist() == [[3, 4]]
    result = patch(model, models.PAIR, "z").wait()
    assert (result.provenance["model"], result.provenance["location"]) == ("tiny-llama", str(folder))


def test_a_relative_folder_is_no_hub_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert torch.equal(answers(load_model("tiny-llama")), plain())
    assert torch.equal(answers(load_model("./tiny-llama")), plain())


def test_a_folder_with_another_tokenizer(folder: Path) -> None:
    other = models.tokenizer()
    assert load_model(folder, tokenizer=other).tokenizer is other


@pytest.mark.parametrize(("dtype", "expected"), [("float64", torch.float64), (torch.bfloat16, torch.bfloat16), (None, torch.float32)])  # fmt: skip # noqa: E501
def test_dtype_and_device_are_as_asked(folder: Path, dtype: Any, expected: torch.dtype) -> None:
    model = load_model(folder, dtype=dtype, device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {expected}
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert model(IDS).dtype == expected
    result = patch(model, models.PAIR, "resid_pre", by="layer", layers=0).wait()
    assert result.provenance["dtype"] == str(expected).removeprefix("torch.")
    assert result.normalized.values.item() == pytest.approx(1.0, abs=0.1 if expected == torch.bfloat16 else 1e-3)


def test_a_hugging_face_model_is_bridged_in_place_and_says_so() -> None:
    hugging_face = models.hugging_face("llama", torch.float32).train()
    with pytest.warns(UserWarning, match=r"bridged in place.*Use the model that load_model returns") as told:
        model = load_model(hugging_face, tokenizer=models.tokenizer())
    assert Path(told[0].filename) == Path(__file__)
    assert model.original_model is hugging_face
    assert not model.training
    assert torch.equal(answers(model), plain())


def test_a_tokenizer_that_was_never_saved_will_do() -> None:
    """TransformerLens reloads tokenizers by name when they put no BOS; one made in memory has no name."""
    tokenizer = models.tokenizer()
    tokenizer.init_kwargs.pop("add_bos_token")
    tokenizer.init_kwargs.pop("name_or_path")
    with pytest.warns(UserWarning, match="bridged in place"):
        model = load_model(models.hugging_face("llama", torch.float32), tokenizer=tokenizer)
    assert model.to_tokens("w1 w2", prepend_bos=False).tolist() == [[3, 4]]


def test_a_bridge_is_passed_through(gpt2: TransformerBridge) -> None:
    before = models.state(gpt2)
    assert load_model(gpt2) is gpt2
    assert models.state(gpt2) == before


def test_a_name_that_the_hub_cannot_give(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(ModelError) as caught:
        load_model("nobody/no-such-model")
    assert "'nobody/no-such-model' could not be loaded from the Hugging Face Hub" in str(caught.value)
    assert "Check the name and the network, or give a local folder" in str(caught.value)
    assert caught.value.__cause__ is not None


class HookedTransformer(torch.nn.Module):
    """By this name TransformerLens before 4 called its models."""


def test_what_cannot_be_loaded_is_named_with_the_remedy(folder: Path, gpt2: TransformerBridge, tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    broken.mkdir()
    (broken / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "text.gguf").write_text("not a model", encoding="utf-8")
    sdpa = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=8, n_positions=8))
    sdpa.set_attn_implementation("sdpa")
    table: list[tuple[Any, dict[str, Any], str]] = [
        (empty, {}, "has no config.json; it does not hold a Hugging Face model"),
        (broken, {}, f"the folder '{broken}' could not be loaded: "),
        (tmp_path / "missing", {}, f"there is no folder '{tmp_path / 'missing'}'; give a folder with config.json"),
        ("./missing", {}, "there is no folder './missing'"),
        (tmp_path / "missing.gguf", {}, f"there is no file '{tmp_path / 'missing.gguf'}'"),
        (tmp_path / "text.gguf", {}, "the file 'text.gguf' could not be read: "),
        (models.hugging_face(), {}, "give the model's tokenizer too: pw.load_model(model, tokenizer=tokenizer)"),
        (sdpa, {"tokenizer": models.tokenizer()}, 'call model.set_attn_implementation("eager")'),
        (HookedTransformer(), {}, "HookedTransformer is the model class of TransformerLens before 4"),
        (torch.nn.Linear(2, 2), {}, "Linear is not a Hugging Face language model"),
        (3, {}, "expected a model from pw.load_model(), got 'int'"),
        (folder, {"dtype": "float33"}, "unknown dtype 'float33'; use one of float64, float32, bfloat16, float16"),
        (folder, {"dtype": "int8"}, "unknown dtype 'int8'"),
        (gpt2, {"dtype": "float32"}, "device=, device_map= and dtype= do not apply to a model that is loaded already"),
        (gpt2, {"revision": "main"}, "revision= names a version on the Hub"),
        (folder, {"device": "nonsense"}, "nonsense"),
    ]
    for what, options, message in table:
        with pytest.raises(ModelError) as caught:
            load_model(what, **options)
        assert message in str(caught.value)


def test_an_encoder_decoder_is_refused() -> None:
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    config._attn_implementation = "eager"
    with pytest.raises(ModelError, match="only decoder-only language models can be patched"):
        load_model(T5ForConditionalGeneration(config), tokenizer=models.tokenizer())


def test_importing_the_package_imports_no_torch() -> None:
    import subprocess
    import sys

    script = "import sys, patchwidgets; print([m for m in ('torch', 'ipywidgets', 'anywidget') if m in sys.modules])"
    env = {"PYTHONPATH": str(Path(patchwidgets.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("what", [None, "folder"])
def test_a_revision_of_what_has_none_is_refused(what: str | None, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="revision= names a version on the Hub"):
        load_model(None if what is None else tmp_path, revision="main")


def test_a_refused_hugging_face_model_is_not_bridged() -> None:
    model = models.hugging_face("gpt2")
    before = list(model.modules())
    with pytest.raises(ModelError, match="do not apply to a model that is loaded already"):
        load_model(model, tokenizer=models.tokenizer(), dtype="float32")
    assert list(model.modules()) == before


def test_a_second_tokenizer_for_a_bridge_is_refused(gpt2: TransformerBridge) -> None:
    with pytest.raises(ModelError, match="has its tokenizer already"):
        load_model(gpt2, tokenizer=models.tokenizer())
