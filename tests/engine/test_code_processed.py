"""The script of a result measured on processed weights processes them too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from patchwidgets.engine.model import load_model
from patchwidgets.engine.patch import patch
from patchwidgets.metrics import tolerance
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models
from tests.engine.test_code import assert_same_numbers, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    model = models.hugging_face("gpt2", torch.float32)
    # Norms of a fresh model are 1 and 0: nothing would change by folding them.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "ln_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    return folder


def sweep(folder: Path, *, processed: bool) -> PatchResult:
    model = load_model(str(folder))
    if processed:
        model.enable_compatibility_mode(disable_warnings=True)
    pair = PromptPair(models.PAIR.clean, models.PAIR.corrupted, answer="w20", foil="w21")
    return patch(model, pair, "z", metric=["logit", "logit_diff"], layers=[0, 2]).wait()


def test_the_script_processes_the_weights_as_they_were(folder: Path, tmp_path: Path) -> None:
    raw, processed = (sweep(folder, processed=chosen) for chosen in (False, True))
    assert (raw.provenance["weights"], processed.provenance["weights"]) == ("raw", "processed")
    assert "enable_compatibility_mode" not in raw.code()
    assert processed.code().count("model.enable_compatibility_mode()") == 1
    # A single logit depends on the centring of the unembedding: the raw script would print other numbers.
    plain, centred = (result.select("logit") for result in (raw, processed))
    assert abs(plain.clean - centred.clean) > 10 * tolerance("float32", plain.clean - plain.corrupted)
    for result, lines in zip((raw, processed), run([raw, processed], tmp_path), strict=True):
        assert_same_numbers(result, lines)
