"""The settings: always whole, checked when assigned, and no more changed than was asked for."""

from __future__ import annotations

import pytest

import patchwidgets as pw
from patchwidgets.interventions import Patch
from patchwidgets.presets import PRESETS
from tests import models

DEMO = PRESETS[0].pair


def test_they_are_whole_from_the_start(model):
    explorer = pw.explore(model)
    assert explorer.settings == {
        "clean": DEMO.clean, "corrupted": DEMO.corrupted, "answer": " Mary", "foil": " Anna",
        "alignment": None, "dataset": None,
        "site": "resid_pre", "by": ["layer", "pos"], "layers": None, "positions": None, "intervention": "patch",
            "direction": "denoise", "metric": "logit_diff", "seed": 0,
    }  # fmt: skip
    explorer.close()


@pytest.mark.parametrize(
    ("assigned", "told"),
    [
        ({"sight": "z"}, "unknown setting 'sight'; did you mean 'site'"),
        ({"site": "resid_per"}, "unknown site 'resid_per'; did you mean 'resid_pre'"),
        ({"site": None}, "unknown site None"),
        ({"direction": "denoising"}, "unknown direction 'denoising'; did you mean 'denoise'"),
        ({"metric": "logit_dif"}, "unknown metric 'logit_dif'; did you mean 'logit_diff'"),
        ({"metric": ["logit"]}, "unknown metric"),
        ({"by": ["layer", "head"]}, "cannot be swept by"),
        ({"by": 3}, "cannot be swept by"),
        ({"clean": 3.5}, "clean must be a text or a list of token ids"),
        ({"answer": 3.5}, "answer must be a text, a token id, a list of those"),
        ("z", "settings must be a dict"),
        (None, "settings must be a dict, not None"),
        ({"answer": -1}, "answer -1 is not a token id of this vocabulary"),
        ({"answer": 10**9}, "answer 1000000000 is not a token id"),
        ({"foil": [2, -5]}, "foil -5 is not a token id"),
        ({"clean": [2**63]}, "clean 9223372036854775808 is not a token id"),
        ({"corrupted": [-1]}, "corrupted -1 is not a token id"),
    ],
)
def test_what_nobody_knows_is_refused_and_the_settings_stay(explorer, assigned, told):
    before = explorer.settings
    with pytest.raises(pw.PatchError, match=told.replace("[", r"\[")):
        explorer.settings = assigned
    assert explorer.settings == before
    assert explorer._controls.settings["site"] == "resid_pre"
    explorer.run()
    explorer.wait()


def test_a_site_the_model_lacks_is_refused():
    explorer = pw.explore(models.bridge("neox"), models.PAIR)
    with pytest.raises(pw.PatchError, match="has no 'resid_mid'"):
        explorer.settings = {"site": "resid_mid"}
    assert explorer.settings["site"] == "resid_pre"
    explorer.close()


def test_controls_alone_leave_the_prompts_alone(explorer):
    explorer._entry.clean.value = DEMO.clean.replace("Mary", "Lucy")
    explorer.wait()
    answer = explorer.settings["answer"]
    explorer.settings = {"site": "z", "direction": "noise"}
    explorer.wait()
    assert explorer.settings["by"] == ["layer", "head"]
    assert explorer.settings["answer"] == answer
    assert explorer._entry.answer.auto
    explorer.settings = {**explorer.settings, "metric": "prob"}
    assert explorer._entry.answer.auto
    assert explorer._controls.metric.value == "prob"


def test_new_prompts_bring_new_answers_unless_they_are_given(explorer):
    texts = {"clean": DEMO.clean.replace("Mary", "Lucy"), "corrupted": DEMO.corrupted}
    explorer.settings = texts
    explorer.wait()
    assert explorer._entry.answer.field.value.strip() == "Lucy"
    explorer.settings = {**texts, "clean": DEMO.clean.replace("Mary", "Tom"), "answer": " John"}
    explorer.wait()
    assert explorer.settings["answer"] == " John"
    assert not explorer._entry.answer.auto
    explorer.settings = {"answer": None}
    explorer.wait()
    assert explorer._entry.answer.field.value.strip() == "Tom"


def test_what_is_typed_is_in_the_settings_when_it_cannot_be_run(explorer):
    before = explorer.settings
    explorer._entry.clean.value = "When Mary"
    explorer.wait()
    assert explorer.settings["clean"] == "When Mary"
    explorer.settings = before
    explorer.wait()
    assert explorer._entry.clean.value == DEMO.clean
    assert explorer._entry.errors["corrupted"].value == ""


def test_an_emptied_field_stays_empty_until_the_prompts_change(explorer):
    entry = explorer._entry
    entry.answer.field.value = ""
    explorer.wait()
    assert entry.answer.field.value == ""
    assert "no answer given" in entry.errors["answer"].value
    explorer._controls.direction.value = "noise"
    explorer.wait()
    assert entry.answer.field.value == ""
    entry.clean.value = DEMO.clean.replace("Mary", "Lucy")
    explorer.wait()
    assert entry.answer.field.value.strip() == "Lucy"
    assert entry.errors["answer"].value == ""


def test_a_granularity_that_the_next_site_has_is_kept(explorer):
    explorer._controls.by.value = ("layer",)
    explorer._controls.site.value = "attn_out"
    assert explorer.settings["by"] == ["layer"]
    explorer._controls.site.value = "z"
    assert explorer.settings["by"] == ["layer", "head"]


def test_half_of_a_character_is_told_and_stops_nothing(explorer):
    explorer.settings = {"answer": "\ud800"}
    explorer.wait()
    assert "half of a character" in explorer._entry.errors["answer"].value
    explorer.settings = {"answer": " Mary"}
    explorer.wait()
    assert explorer._entry.errors["answer"].value == ""


@pytest.mark.parametrize("none", [None, {"name": "patch", "direction": "denoise"}])
def test_no_intervention_is_a_patch_in_the_direction_chosen(explorer, none):
    explorer.settings = {"direction": "noise", "intervention": none}
    assert explorer.settings["intervention"] == "patch"
    assert explorer.intervention == Patch("noise")
    explorer.intervention = None
    assert explorer.settings["intervention"] == "patch"
