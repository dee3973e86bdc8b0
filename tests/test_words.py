"""What a result says about itself: the sentences are made from its settings."""

from __future__ import annotations

from typing import Any

import pytest
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets import words
from patchwidgets.engine.patch import patch
from patchwidgets.metrics import tolerance
from patchwidgets.result import PatchResult
from patchwidgets.sites import SITES
from patchwidgets.spelling import signed
from tests import models
from tests.engine.stepping import PATIENCE, Brake


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
    told = " ".join(denoised.describe().split())
    data = denoised.data
    for name in ("logit_diff", "prob"):
        clean, corrupted = (float(data[run].sel(metric=name)) for run in ("clean", "corrupted"))
        assert f"{name} {signed(clean, plus=True)} clean, {signed(corrupted, plus=True)} corrupted" in told
    assert "float64 on cpu" in told
    assert "raw weights" in told
    assert "replay engine" in told
    gaps = (float(data["clean"].sel(metric=name) - data["corrupted"].sel(metric=name)) for name in denoised.metrics)
    least = f"{max(tolerance('float64', gap) for gap in gaps):.1g}".replace("-", "\u2212")
    assert f"Effects below {least} are not resolved" in told
    remeasured = denoised.check["remeasured"]
    assert remeasured > 0
    assert f"Check: {remeasured} of the cells were measured again through hooks and agreed (largest differ" in told
    assert "important" not in told


def test_what_was_measured_through_hooks_says_so_and_how_it_was_checked(gpt2: TransformerBridge) -> None:
    result = patch(gpt2, models.PAIR, "z", engine="hooked").wait()
    told = " ".join(result.describe().split())
    assert "hooked engine" in told
    assert "unpatched rows run beside the patched ones gave the base run's logits again (largest difference" in told
    assert "measured again" not in told


def test_cells_that_were_measured_again_are_told_as_they_came_out(denoised: PatchResult) -> None:
    def told(**check: object) -> tuple[str, str]:
        found = {"controls": 1, "worst_logit_difference": 2e-6, "worst_difference": 3e-7, "wrong": [], **check}
        result = PatchResult(denoised.data, {**denoised.provenance, "check": found})
        return " ".join(result.describe().split()), words.origin(result)

    described, origin = told(remeasured=4)
    agreed = "Check: 4 of the cells were measured again through hooks and agreed (largest difference 3e\u221207)."
    assert agreed in described
    assert "4 cells measured again through hooks agreed within 3e\u221207; effects below" in origin
    described, origin = told(remeasured=4, wrong=[{"layer": 0, "pos": 3}], worst_difference=0.5)
    apart = (
        "Check: 1 of 4 replayed cells did not agree with the same cells through hooks; all were measured through hooks "
        "instead."
    )
    assert apart in described
    assert "agreed (largest" not in described
    assert "measured again through hooks agreed" not in origin
    assert "unpatched rows gave the base run's logits within 2e\u221206; effects below" in origin


def test_describe_is_sentences_on_lines_of_88_columns(denoised: PatchResult, noised: PatchResult) -> None:
    for result in (denoised, noised):
        lines = result.describe().splitlines()
        assert max(len(line) for line in lines) <= 88
        assert lines[0] == f"{words.meaning(result.provenance)['title']}."
        text = " ".join(lines)
        assert text.endswith(".")
        assert "control" not in text


@pytest.mark.parametrize(("batches", "told"), [(1, "in the one batch, "), (3, "in each of 3 batches, "), (0, None)])
def test_the_check_is_told_as_it_was(denoised: PatchResult, batches: int, told: str | None) -> None:
    check = {"controls": batches, "worst_logit_difference": 2e-6}
    result = PatchResult(denoised.data, {**denoised.provenance, "check": check})
    described = " ".join(result.describe().split())
    if told is None:
        assert "No batch of patches was run, so there was nothing to check." in described
        assert "unpatched rows" not in words.origin(result)
    else:
        assert f"Check: {told}unpatched rows" in described
        assert "(largest difference 2e\u221206)" in described
        assert "unpatched rows gave the base run's logits within 2e\u221206; effects below" in words.origin(result)


def test_answer_and_foil_are_told_where_a_metric_reads_them(gpt2: TransformerBridge, denoised: PatchResult) -> None:
    answer, foil = (str(denoised.provenance[name]["text"]) for name in ("answer", "foil"))
    assert words.targets(denoised) == f"answer {answer}, foil {foil}"
    assert words.targets(denoised.select("prob")) == f"answer {answer}"
    other = pw.PromptPair("w1 w2 w7 w4 w5 w6", "w1 w2 w9 w4 w8 w6", answer=models.PAIR.answer, foil="w22")
    same = pw.PromptPair(other.clean, other.corrupted, answer=models.PAIR.answer, foil=models.PAIR.foil)
    for pairs, told in (([models.PAIR, other], ""), ([models.PAIR, same], f"answer {answer}, foil {foil}")):
        assert words.targets(patch(gpt2, pw.Dataset(pairs), "mlp_out", layers=[0]).wait()) == told
    assert words.targets(patch(gpt2, models.PAIR, "z", metric="kl_clean").wait()) == ""
    assert words.targets(denoised - denoised) == f"answer {answer}, foil {foil}"


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ({"remeasured": 2}, "replay engine, 2 cells agree with hooks"),
        (
            {"remeasured": 2, "reused": 52, "controls": 0},
            "replay engine, 52 cells of an earlier sweep, 2 cells measured again agree with hooks",
        ),
        ({"reused": 1, "controls": 0}, "replay engine, 1 cell of an earlier sweep"),
        ({"reused": 3}, "replay engine, 3 cells of an earlier sweep, 1 control run agrees"),
        ({"controls": 0}, ""),
    ],
)
def test_what_was_checked_now_and_what_an_earlier_sweep_measured(
    denoised: PatchResult, check: dict[str, object], told: str
) -> None:
    found = {"controls": 1, "worst_logit_difference": 0.0, "worst_difference": 0.0, "wrong": [], **check}
    assert words.agreement(PatchResult(denoised.data, {**denoised.provenance, "check": found})) == told


def test_of_one_cell_the_words_are_in_the_singular(gpt2: TransformerBridge) -> None:
    result = patch(gpt2, models.PAIR, "resid_pre", layers=[1], positions=[6]).wait()
    assert result.diagram().part == "resid_pre, each of 1 cell by layer, pos, one at a time"
    said = words.describe(result).replace("\n", " ")
    assert "Check: 1 of the cells was measured again through hooks and agreed" in said
    check = {**result.check, "reused": 1, "controls": 1}
    again = PatchResult(result.data, {**result.provenance, "check": check})
    assert "1 cell was not run again: an earlier sweep" in words.describe(again).replace("\n", " ")
    assert "1 cell measured again through hooks agreed" in words.origin(again)


def test_units_are_the_metrics_own() -> None:
    found = [words.unit(name) for name in ("logit_diff", "logit", "logprob", "prob")]
    assert found == ["logits", "logits", "nats", "probability"]


def test_what_stands_and_what_was_averaged_is_told(gpt2: TransformerBridge) -> None:
    stand = pw.Standing("z", pw.Scale(0.5), runs="corrupted", layers=[1], heads=[2])
    data = pw.Dataset([models.PAIR, pw.PromptPair("w1 w2 w7 w4 w5 w6", "w1 w2 w9 w4 w8 w6", answer="w20", foil="w21")])
    told = patch(gpt2, data, "mlp_out", intervention=pw.Noise(samples=3), standing=stand).wait().describe()
    assert "Standing in the corrupted run meanwhile: scale (factor 0.5) at z, layers 1, heads 2." in told
    assert "Numbers are means over 2 prompt pairs and 3 random draws." in told
    assert "means over" not in patch(gpt2, models.PAIR, "z").wait().describe()


@pytest.mark.parametrize(
    ("what", "title"),
    [
        (pw.Noise(sigma=3.0, samples=2), "Gaussian noise (sigma 3, samples 2)"),
        (pw.Scale(1e9), "scale (factor 1e+09)"),
        (pw.Scale(-0.5), "scale (factor \u22120.5)"),
        (pw.Mask(threshold=1000000000.0, absolute=True), "mask (threshold 1e+09, absolute yes)"),
    ],
)
def test_settings_are_told_without_needless_decimals(denoised: PatchResult, what: Any, title: str) -> None:
    settings = {"intervention": what.name, "settings": what.settings()}
    said = words.meaning({**denoised.provenance, **settings})
    assert f", {title} in the corrupted run" in said["title"]


def test_the_middle_of_a_layer_is_told_in_words(denoised: PatchResult) -> None:
    said = words.meaning({**denoised.provenance, "site": "resid_mid"})
    where = "when the residual stream between the layer's attention and its MLP, at that token, is taken from"
    assert where in said["sentence"]
    assert not any("hook" in site.words for site in SITES.values())


SET_OR_ADDED = [
    (pw.Vector(0.5), "is set to a given vector in the clean run", True),
    (pw.Vector(0.5, add=True), "has a given vector added in the clean run", False),
    (pw.Scale(0.5), "is multiplied by 0.5 in the clean run", True),
    (pw.Scale(2.0), "is multiplied by 2 in the clean run", False),
    (pw.Scale(-1), "is multiplied by \u22121 in the clean run", False),
    (pw.Zero(), "is set to zero in the clean run", True),
]


@pytest.mark.parametrize(("what", "done", "removes"), SET_OR_ADDED, ids=repr)
def test_what_was_done_is_told_plainly(gpt2: TransformerBridge, what: Any, done: str, removes: bool) -> None:
    """Only of what was taken away can it be said that it is necessary."""
    result = patch(gpt2, models.PAIR, "z", direction="noise", intervention=what, layers=[0]).wait()
    said = words.meaning(result.provenance)
    assert done in said["sentence"]
    assert ("necessary" in said["high"]) == ("necessary" in said["near_zero"]) == removes
    assert ("is lost" in said["sentence"]) == removes
    assert "sufficient" not in " ".join(said.values())
    if not removes:
        assert "how far from the clean run (0) to the corrupted run (1) the answer moves when" in said["sentence"]


def test_rows_of_a_pattern_that_need_not_sum_to_1_are_told(gpt2: TransformerBridge) -> None:
    """An aligned patch leaves the attention to what has no counterpart; the row is then more, or less, than 1."""
    uneven = pw.PromptPair("w1 w2 w3 w4 w6", "w1 w9 w7 w2 w3 w4 w6", answer="w20", foil="w21")
    result = patch(gpt2, uneven, "pattern", align="auto").wait()
    told = "Rows of a patched pattern need not sum to 1: positions without a counterpart keep the attention they had"
    assert [told in note for note in result.provenance["notes"]] == [True]
    assert told in " ".join(result.describe().split())
    for site, pair, options in (("pattern", models.PAIR, {}), ("z", uneven, {"align": "auto"})):
        assert patch(gpt2, pair, site, **options).wait().provenance["notes"] == []


def test_where_a_mean_under_what_stands_comes_from_is_told(gpt2: TransformerBridge) -> None:
    over = pw.Dataset([models.PAIR])
    stand = pw.Standing("z", pw.Zero(), layers=[0], heads=[1])
    result = patch(gpt2, models.PAIR, "mlp_out", intervention=pw.Mean(over), standing=stand).wait()
    assert "What mean takes comes from runs of the model with nothing standing." in result.describe().split("\n")
    assert patch(gpt2, models.PAIR, "mlp_out", intervention=pw.Mean(over)).wait().provenance["notes"] == []


def test_of_a_sweep_cancelled_before_its_two_runs_no_numbers_are_told(gpt2: TransformerBridge) -> None:
    with Brake(gpt2.blocks[0]) as brake:
        run = patch(gpt2, models.PAIR, "resid_pre")
        brake.arrive()
        run.cancel()
        brake.let_go()
        result = run.wait(PATIENCE)
    assert not words.made(result)
    assert words.baselines(result) == "the two runs were not made"
    assert words.origin(result).endswith("; the two runs were not made.")
    drawn = result.diagram()
    assert drawn.said == "The two runs were not made."
    assert drawn.compared == (drawn.said,)
    assert result.diagram(layer=0, pos=0).said.startswith(f"{drawn.said} This cell is ")
    told = [result.describe(), drawn.svg(), drawn.alt, result.diagram().mermaid()]
    assert "\nThe two runs were not made.\n" in told[0]
    assert "not resolved" not in told[0]
    assert not any("nan" in each or ": ." in each for each in told)
