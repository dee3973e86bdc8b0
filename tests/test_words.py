"""What a result says about itself: the sentences are made from its settings."""

from __future__ import annotations

import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets import words
from patchwidgets.engine.sweep import patch
from patchwidgets.result import PatchResult
from patchwidgets.sites import SITES
from tests import models


@pytest.fixture(scope="module")
def gpt2() -> TransformerBridge:
    return models.bridge("gpt2")


@pytest.fixture(scope="module")
def denoised(gpt2: TransformerBridge) -> PatchResult:
    return patch(gpt2, models.PAIR, "resid_pre", metric=["logit_diff", "prob"]).wait()


@pytest.fixture(scope="module")
def noised(gpt2: TransformerBridge) -> PatchResult:
    return patch(gpt2, models.PAIR, "z", direction="noise").wait()


def test_denoising_speaks_of_sufficiency(denoised: PatchResult) -> None:
    said = words.meaning(denoised.provenance)
    assert said["title"].startswith("resid_pre by layer")
    assert said["title"].endswith("clean into corrupted")
    assert said["unit"] == "recovered"
    assert "comes back" in said["sentence"]
    assert "is taken from the clean run and put into the corrupted run" in said["sentence"]
    assert "at that token" in said["sentence"]
    assert "sufficient here, given the rest of the corrupted run" in said["high"]
    assert "not sufficient by itself" in said["near_zero"]
    assert "necessary" not in " ".join(said.values())


def test_noising_speaks_of_necessity(noised: PatchResult) -> None:
    said = words.meaning(noised.provenance)
    assert said["title"].startswith("z by layer")
    assert said["title"].endswith("corrupted into clean")
    assert said["unit"] == "destroyed"
    assert "is lost" in said["sentence"]
    assert "is taken from the corrupted run and put into the clean run" in said["sentence"]
    assert "at every token" in said["sentence"]
    assert "necessary on these prompts" in said["high"]
    assert "sufficient" not in " ".join(said.values())


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_every_setting_has_words_and_none_says_important(site: str, direction: str) -> None:
    for by in SITES[site].by:
        hook = SITES[site].hook_name(0)
        said = words.meaning({"site": site, "direction": direction, "by": list(by), "hook_at": hook})
        assert set(said) == {"title", "unit", "sentence", "high", "near_zero", "negative"}
        assert all(said.values())
        assert "important" not in " ".join(said.values()).lower()


def test_describe_tells_meaning_baselines_and_origin(denoised: PatchResult) -> None:
    told = denoised.describe()
    data = denoised.data
    for name in ("logit_diff", "prob"):
        clean, corrupted = (float(data[run].sel(metric=name)) for run in ("clean", "corrupted"))
        assert f"{name} {clean:+.2f} clean, {corrupted:+.2f} corrupted" in told
    assert "float64 on cpu" in told
    assert "raw weights" in told
    assert "hooked engine" in told
    assert "effects below 1e-08 are not resolved" in told.replace("2e-08", "1e-08").replace("3e-08", "1e-08")
    assert f"{denoised.check['controls']} control runs" in told
    assert "important" not in told


def test_units_are_the_metrics_own() -> None:
    found = [words.unit(name) for name in ("logit_diff", "logit", "logprob", "prob")]
    assert found == ["logits", "logits", "nats", "probability"]
