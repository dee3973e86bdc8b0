"""Two models side by side: each number is that of `patch` on each alone, and what cannot be compared is said."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.explorer import against
from patchwidgets.presets import PRESETS
from tests import models
from tests.explorer.conftest import Brake, end_meanwhile
from tests.explorer.test_prompt_help import said

DEMO = PRESETS[0].pair


@pytest.fixture(scope="module")
def changed():
    """The embedded model with the weights of one of its heads scaled by hand."""
    made = pw.load_model()
    with torch.no_grad():
        made.original_model.transformer.h[2].attn.c_proj.weight.mul_(0.5)
    return made


@pytest.fixture
def both(model, changed):
    made = pw.explore(model, against=changed)
    made.wait()
    yield made
    made.close()


def test_every_number_is_that_of_patch_on_each_alone(both, model, changed):
    assert both.against is None
    both.run()
    shown = both.wait()
    alone = [pw.patch(each, DEMO, "resid_pre").wait() for each in (model, changed)]
    assert not np.allclose(alone[0].normalized, alone[1].normalized, atol=1e-2)
    np.testing.assert_allclose(shown.normalized, alone[0].normalized, atol=1e-5)
    np.testing.assert_allclose(both.against.normalized, alone[1].normalized, atol=1e-5)
    comparison = both._against.comparison
    assert comparison.box.layout.display is None
    for view, expected in zip((comparison.left, comparison.right), alone, strict=True):
        np.testing.assert_allclose(view.array("normalized"), expected.normalized.values[0], atol=1e-5)
        np.testing.assert_allclose(view.array("patched"), expected.data["patched"].values[0], atol=1e-4)
    assert comparison.left.limit == comparison.right.limit
    assert said(both._against.tokens) == ""


def test_what_is_known_of_two_models_of_one_name_is_said(both, model, changed):
    title = both._against.box.children[0]
    assert said(title).endswith("(the same name)")
    configs = [each.original_model.config for each in (model, changed)]
    for revisions, told in (
        (("a", "b"), "(the same name, another revision)"),
        (("a", "a"), "(the same name and revision)"),
    ):
        for config, revision in zip(configs, revisions, strict=True):
            config._commit_hash = revision
        try:
            explorer = pw.explore(model, against=changed)
            assert said(explorer._against.box.children[0]).endswith(told)
            explorer.close()
        finally:
            for config in configs:
                config._commit_hash = None


def test_one_minus_the_other(both, model, changed):
    both.run()
    both.wait()
    comparison = both._against.comparison
    comparison.mode.value = "minus"
    alone = [pw.patch(each, DEMO, "resid_pre").wait().normalized.values[0] for each in (model, changed)]
    np.testing.assert_allclose(comparison.single.array("normalized"), alone[0] - alone[1], atol=1e-5)


def test_settings_go_to_both_and_a_metric_runs_nothing(both, changed):
    both.settings = {"site": "z", "direction": "noise", "layers": [1, 2]}
    both.run()
    both.wait()
    expected = pw.patch(changed, DEMO, "z", direction="noise", layers=[1, 2]).wait()
    np.testing.assert_allclose(both.against.normalized, expected.normalized, atol=1e-5)
    run = both._against.run
    both._controls.metric.value = "prob"
    both.wait()
    assert both._against.run is run
    assert both._against.comparison.metric.value == "prob"
    assert both.against.metrics == ("prob",)
    both.settings = {"site": "resid_pre"}
    both.wait()
    assert both._against.run is not run
    both.settings = {"site": "z"}
    both.wait()
    assert both._against.run is run  # kept


def test_the_drilldown_is_the_first_models(both, select, model):
    both.run()
    both.wait()
    select(both._map.view, 2, 14)
    both.wait()
    heads = pw.patch(model, DEMO, "z", by=("layer", "pos", "head"), positions=[14]).wait()
    np.testing.assert_allclose(
        both._drilldown.heads.view.array("normalized"), heads.normalized.values[0][:, 0], atol=1e-5
    )


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_other_shapes_are_not_subtracted_and_other_tokens_are_told():
    """Both models read words; the second has no beginning-of-sequence token before them."""
    first, second = models.bridge("gpt2"), models.bridge("neox", seed=1)
    explorer = pw.explore(first, models.PAIR, against=second)
    explorer.run()
    explorer.wait()
    panel = explorer._against
    alone = pw.patch(second, models.PAIR, "resid_pre").wait()
    np.testing.assert_allclose(explorer.against.normalized, alone.normalized, atol=1e-5)
    panel.comparison.mode.value = "minus"
    lengths = [len(explorer.result.data["pos"]), len(alone.data["pos"])]
    assert lengths == [len(models.PAIR.clean.split()) + 1, len(models.PAIR.clean.split())]
    assert f"{lengths[0]} tokens in A and {lengths[1]} in B" in said(panel.tokens)
    assert "a column is not the same place" in said(panel.tokens)
    assert f"A has {lengths[0]} positions and B has {lengths[1]} positions" in said(panel.comparison.error)
    explorer.close()


class Read:
    """A pair as a model reads it, the same in both prompts."""

    def __init__(self, *texts: str) -> None:
        self.clean = self.corrupted = tuple(range(len(texts)))
        self._texts = texts

    def texts(self, _run: str) -> tuple[str, ...]:
        return self._texts


def test_what_cannot_be_seen_in_the_other_model_s_tokens_is_named():
    told = against.tokens_told(
        ("a", Read("x", "\u200b\n", " \u202eabc\u0000")), ("b", Read("x\u200b\n", " \u202eabc\u0000"))
    )
    assert "3 tokens in A and 2 in B. A: x|\u27e8200b\u27e9\u21b5|\u00b7\u27e8202e\u27e9abc\u27e80\u27e9 B:" in told
    assert not [c for c in told if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_what_the_other_model_cannot_do_is_said_and_the_first_goes_on():
    first, second = models.bridge("gpt2"), models.bridge("neox")
    explorer = pw.explore(first, models.PAIR, against=second)
    explorer.settings = {"site": "resid_mid"}
    explorer.run()
    assert explorer.wait() is not None
    assert explorer.against is None
    assert "resid_mid" in said(explorer._against.error)
    assert explorer._against.comparison.box.layout.display == "none"
    explorer.close()


def test_the_model_itself_and_what_is_none_are_refused(model):
    with pytest.raises(pw.PatchError, match="against is the model itself"):
        pw.explore(model, against=model)
    with pytest.raises(pw.PatchError, match="expected a model"):
        pw.explore(model, against=3)


@pytest.fixture
def brake(changed):
    """Stops both models: they are of one make."""
    made = Brake(changed.ln_final)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(made)
    yield made
    made.off()
    hook.remove()


@pytest.fixture
def midst(both, brake, monkeypatch):
    """Both models run, and the sweep of the other one waits before its first cell."""
    plan_of = against.plan_of

    def braked(*args):
        monkeypatch.setattr(against, "plan_of", plan_of)
        made = plan_of(*args)
        brake.on()
        return made

    monkeypatch.setattr(against, "plan_of", braked)
    both.run()
    both._run.wait()
    brake.until_reached()
    return both


def test_cancelled_in_the_first_models_sweep_nothing_of_the_other_is_begun(both, brake):
    brake.on()
    both.run()
    brake.until_reached()
    both.cancel()
    brake.off()
    assert (both.wait().data["status"] == "pending").any()
    assert both.against is None
    assert both._against.run is None


def test_cancelled_in_the_other_models_sweep_the_first_ones_result_stays(midst, brake):
    midst.cancel()
    brake.off()
    assert not (midst.wait().data["status"] == "pending").any()
    assert midst.against is None
    assert midst._against.run.cancelled


def test_the_other_models_sweep_is_planned_once_however_often_the_run_is_followed(both, brake, monkeypatch):
    planned, plan_of = [], against.plan_of
    monkeypatch.setattr(against, "plan_of", lambda *args: planned.append(args) or plan_of(*args))
    brake.on()
    run = both.run()
    brake.until_reached()
    for _ in range(3):
        both._against.follow(both.settings, both._screen.plan, None)
        both._against.follow(both.settings, both._screen.plan, run)
    brake.off()
    both.wait()
    both._against._first_arrived(run, np.empty(0, dtype=np.int64))
    both.wait()
    assert len(planned) == 1
    assert both.against is not None


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_sweep_of_the_other_model_that_is_being_planned_is_not_begun_after_the_end(both, hold, end):
    planning = hold(against, "plan_of")
    both.run()
    end_meanwhile(both, end, planning)
    assert both._against.run is None
    if end == "close":
        return
    assert both.against is None
    assert both.result is not None
    both.run()
    both.wait()
    assert both.against is not None


def test_pressed_again_before_the_cancelled_sweep_has_ended_it_is_measured(midst, brake):
    midst.cancel()
    midst.run()
    brake.off()
    midst.wait()
    assert midst.against is not None


def test_a_metric_that_was_not_measured_is_not_asked_of_the_other_model(model, changed):
    """The control says logit difference, which the pair on screen, without a foil, has not."""
    explorer = pw.explore(model, against=changed)
    explorer.settings = {"metric": "prob"}
    explorer.wait()
    explorer._entry.foil.field.value = ""
    explorer.wait()
    explorer.run()
    explorer.wait()
    assert explorer.against.metrics == ("prob",)
    explorer._controls.metric.value = "logit_diff"
    explorer.wait()
    assert "no foil" in explorer._entry.errors["foil"].value
    assert explorer.result.metrics == explorer.against.metrics == ("prob",)
    explorer.close()


def test_a_sweep_of_the_other_model_that_was_cancelled_is_measured_again(midst, brake):
    midst.cancel()
    brake.off()
    midst.wait()
    assert midst.against is None
    midst.run()
    midst.wait()
    assert midst.against is not None


def test_a_dataset_is_swept_on_the_first_model_alone(both):
    both.settings = {"dataset": {"name": "IOI, ABA", "n": 4, "seed": 0}}
    both.run()
    both.wait()
    assert both.result is not None
    assert both.against is None
    assert "choose one pair" in said(both._against.error)
