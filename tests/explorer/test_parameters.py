"""The settings of an intervention in their fields: shown, typed, refused, and what follows from each."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import patchwidgets as pw
from patchwidgets.explorer.parameters import read
from patchwidgets.explorer.saving import name_of
from patchwidgets.presets import PRESETS

DEMO = PRESETS[0].pair
TWO = pw.Dataset([DEMO, pw.PromptPair(DEMO.corrupted, DEMO.clean, answer=DEMO.foil)], name="two")


def values_of(explorer) -> dict[str, object]:
    return {name: field.value for name, field in explorer._controls.parameters.fields.items()}


def type_in(explorer, **values) -> None:
    for name, value in values.items():
        explorer._controls.parameters.fields[name].value = value


def measured(explorer):
    explorer.run()
    return explorer.wait()


@pytest.fixture
def noised(explorer):
    """An Explorer on Gaussian noise of three draws."""
    explorer.settings = {"site": "embed", "intervention": {"name": "noise", "sigma": 3.0, "samples": 3}}
    explorer.wait()
    return explorer


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("patch", {}),
        ("zero", {}),
        ("scale", {"factor": "0.5"}),
        ("noise", {"sigma": "3", "samples": "10", "seed": "0"}),
        ("mask", {"threshold": "0", "absolute": False, "graded": False}),
        ("mean", {"run": "corrupted"}),
        ("mean overall", {"run": "corrupted"}),
        ("resample", {"run": "corrupted", "samples": "1", "seed": "0"}),
    ],
)
def test_an_intervention_shows_its_own_settings_alone(model, name, shown):
    explorer = pw.explore(model, dataset=TWO)
    explorer._controls.intervention.value = "noise"
    explorer._controls.intervention.value = name
    assert values_of(explorer) == shown
    assert explorer._controls.parameters.box.layout.display == (None if shown else "none")
    assert explorer.settings["intervention"] == name
    explorer.close()


def test_a_value_that_is_entered_is_the_one_measured_and_told(explorer, model):
    explorer._controls.intervention.value = "scale"
    measured(explorer)
    type_in(explorer, factor="2.50")
    result = explorer.wait()
    assert values_of(explorer) == {"factor": "2.5"}
    assert explorer.settings["intervention"] == {"name": "scale", "factor": 2.5}
    assert explorer.intervention == pw.Scale(2.5)
    expected = pw.patch(model, DEMO, "resid_pre", intervention=pw.Scale(2.5)).wait()
    np.testing.assert_allclose(result.normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    assert "2.5" in result.code()
    assert "scale (factor 2.5) in the corrupted run" in explorer._map.view.words["title"]
    assert "scale (factor 2.5)" in explorer._shelf.view.entries[0]["name"]
    assert "scale_factor_2.5" in name_of(explorer.settings)


def test_noise_is_called_unlike_the_direction_and_keeps_its_word(noised):
    assert ("Gaussian noise", "noise") in noised._controls.intervention.options
    measured(noised)
    assert "Gaussian noise (sigma 3, samples 3) in the corrupted run" in noised._map.view.words["title"]
    assert noised.result.provenance["intervention"] == noised.settings["intervention"]["name"] == "noise"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ({"sigma": "-1"}, "Noise: sigma must be 0 or more"),
        ({"sigma": "1."}, "Noise: sigma must be a finite number, not &#x27;1.&#x27;"),
        ({"sigma": "1e999"}, "Noise: sigma must be a finite number, not inf"),
        ({"seed": "1.5"}, "Seed must be a whole number, not &#x27;1.5&#x27;."),
        ({"seed": "1e3"}, "Seed must be a whole number, not &#x27;1e3&#x27;."),
        ({"seed": "1" + 20 * "0"}, "Seed must be a whole number of 18 digits at most, not 100000000000000000000."),
        ({"seed": "<b>"}, "Seed must be a whole number, not &#x27;&lt;b&gt;&#x27;."),
        ({"samples": "2.5"}, "Samples must be a whole number, 1 or more, not 2.5"),
        ({"samples": "<b>"}, "Samples must be a whole number, 1 or more, not &#x27;&lt;b&gt;&#x27;"),
    ],
)
def test_what_cannot_be_used_is_told_and_harms_nothing(noised, typed, told):
    before, settings, shown = measured(noised), noised.settings, values_of(noised)
    type_in(noised, **typed)
    assert told in noised._controls.parameters.error.value
    assert noised.wait() is before
    assert noised.settings == settings
    assert "pw-x-stale" not in noised._screen._main._dom_classes
    with pytest.raises(pw.PatchError, match=r"must be"):
        noised.run()
    assert noised._screen.error.value == ""
    (name,) = typed
    type_in(noised, **{name: shown[name]})
    assert noised._controls.parameters.error.value == ""
    xr.testing.assert_identical(noised.wait().data, before.data)
    assert "pw-x-stale" not in noised._screen._main._dom_classes


def test_a_number_beyond_the_dtype_is_told_and_the_map_that_was_there_is_marked_as_old(noised):
    measured(noised)
    type_in(noised, sigma="1e99")
    noised.wait()
    assert "Noise: 1e+99 is beyond the numbers of float32" in noised._screen.error.value
    assert "pw-x-stale" in noised._screen._main._dom_classes
    type_in(noised, sigma="3")
    noised.wait()
    assert noised._screen.error.value == ""


def test_a_field_beside_one_that_cannot_be_used_still_counts(noised):
    type_in(noised, sigma="x", samples="2")
    assert values_of(noised) == {"sigma": "x", "samples": "2", "seed": "0"}
    assert noised.settings["intervention"] == {"name": "noise", "sigma": 3.0, "samples": 2}
    type_in(noised, sigma="1")
    assert noised.settings["intervention"] == {"name": "noise", "sigma": 1, "samples": 2}


def test_an_emptied_field_takes_the_default(noised):
    type_in(noised, samples="")
    assert values_of(noised) == {"sigma": "3", "samples": "10", "seed": "0"}
    assert noised.settings["intervention"] == "noise"


def test_another_intervention_lets_go_of_what_could_not_be_used(noised):
    type_in(noised, sigma="x")
    noised._controls.intervention.value = "zero"
    assert noised._controls.parameters.error.value == ""
    measured(noised)
    noised._controls.intervention.value = "noise"
    assert values_of(noised) == {"sigma": "3", "samples": "3", "seed": "0"}


def test_settings_fill_the_fields_and_a_word_means_the_default(explorer):
    explorer.settings = {"intervention": {"name": "noise", "sigma": 1.5}}
    assert values_of(explorer) == {"sigma": "1.5", "samples": "10", "seed": "0"}
    explorer.settings = {"intervention": "noise"}
    assert values_of(explorer) == {"sigma": "3", "samples": "10", "seed": "0"}
    assert explorer.settings["intervention"] == "noise"
    assert explorer.intervention == pw.Noise()


def test_undo_and_the_shelf_bring_the_values_back(explorer):
    explorer._controls.intervention.value = "scale"
    measured(explorer)
    type_in(explorer, factor="\u22122")
    for step, factor, shown in ((0, -2, "\u22122"), (-1, 0.5, "0.5"), (1, -2, "\u22122")):
        explorer._shelf.step(step)
        assert explorer.wait().provenance["settings"] == {"factor": factor}
        assert values_of(explorer) == {"factor": shown}
    assert explorer.settings["intervention"] == {"name": "scale", "factor": -2}
    explorer._shelf.view._handle({"type": "show", "id": explorer._shelf.view.entries[1]["id"]})
    assert explorer.wait().provenance["settings"] == {"factor": 0.5}
    assert explorer.settings["intervention"] == "scale"


def test_the_other_model_is_swept_with_the_same_values(model):
    other = pw.load_model()
    explorer = pw.explore(model, against=other, intervention=pw.Scale(0.25))
    measured(explorer)
    assert explorer.against.provenance["settings"] == {"factor": 0.25}
    type_in(explorer, factor="0.75")
    explorer.wait()
    assert explorer.against.provenance["settings"] == {"factor": 0.75}
    explorer.close()


def test_which_prompts_a_mean_is_of_is_chosen(model):
    explorer = pw.explore(model, dataset=TWO)
    explorer._controls.intervention.value = "mean"
    type_in(explorer, run="both")
    assert explorer.settings["intervention"] == {"name": "mean", "run": "both", "per_position": True}
    expected = pw.patch(model, DEMO, "resid_pre", intervention=pw.Mean(TWO, run="both")).wait()
    np.testing.assert_allclose(measured(explorer).normalized.values, expected.normalized.values, rtol=0, atol=1e-6)
    explorer.close()


@pytest.mark.parametrize("dataset", [None, TWO], ids=["alone", "beside another"])
def test_undo_brings_back_a_mean_over_its_own_dataset(model, dataset):
    own = pw.Dataset([pw.PromptPair(DEMO.corrupted, DEMO.clean, answer=DEMO.foil)], name="own")
    explorer = pw.explore(model, dataset=dataset)
    explorer.intervention = pw.Mean(own)
    expected = measured(explorer).normalized.values
    type_in(explorer, run="both")
    assert explorer.intervention == pw.Mean(own, run="both")
    explorer.wait()
    explorer._shelf.step(-1)
    assert explorer.intervention == pw.Mean(own)
    np.testing.assert_array_equal(explorer.wait().normalized.values, expected)
    explorer.close()


def test_a_setting_of_nothing_is_told_as_any_other(explorer):
    explorer._controls.intervention.value = "scale"
    type_in(explorer, factor="0")
    measured(explorer)
    assert "scale (factor 0)" in explorer._map.view.words["title"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), (" .5 ", 0.5), ("\u22121", -1), ("1e-3", 0.001), ("1.", "1."), ("", ""), ("1_0", "1_0")],
)
def test_a_number_is_read_as_it_is_written(text, value):
    assert read(text) == value


def test_another_seed_draws_others_and_goes_everywhere(noised, model):
    first, run = measured(noised), noised._run
    type_in(noised, seed="7")
    result = noised.wait()
    assert noised.settings["seed"] == result.provenance["seed"] == 7
    assert not np.allclose(result.data["patched"], first.data["patched"])
    asked = pw.patch(model, DEMO, "embed", intervention=pw.Noise(samples=3), seed=7).wait()
    np.testing.assert_allclose(result.data["patched"][0], asked.data["patched"][0], rtol=0, atol=1e-4)
    for told in (noised._map.view.words["title"], noised._shelf.view.entries[0]["name"]):
        assert "Gaussian noise (sigma 3, samples 3, seed 7) in the corrupted run" in told
    assert "noise_sigma_3_samples_3_seed_7" in name_of(noised.settings)
    assert "(7, *what)" in result.code()
    type_in(noised, seed="0")
    xr.testing.assert_identical(noised.wait().data, first.data)
    assert noised._run is run


def test_a_seed_is_kept_while_nothing_draws_and_changes_nothing_then(noised):
    noised.settings = {"seed": 7, "intervention": "zero"}
    result, run = measured(noised), noised._run
    assert result.provenance["seed"] is None
    assert "seed" not in name_of(noised.settings) + noised._map.view.words["title"]
    noised.settings = {"seed": 3}
    noised.wait()
    assert noised._run is run
    noised._controls.intervention.value = "noise"
    assert values_of(noised)["seed"] == "3"


def test_a_long_seed_is_told_in_full(noised):
    type_in(noised, seed="20260101000000001")
    noised.run()
    result = noised.wait()
    assert result.provenance["seed"] == noised.settings["seed"] == 20260101000000001
    assert "seed 20260101000000001)" in noised._map.view.words["title"]
    with pytest.raises(pw.PatchError, match="seed must be a whole number of 18 digits at most"):
        noised.settings = {"seed": 10**400}
    assert noised.settings["seed"] == 20260101000000001


def test_settings_from_before_there_was_a_seed_mean_0(noised):
    noised.settings = {"seed": 7}
    noised.settings = {name: value for name, value in noised.settings.items() if name != "seed"}
    assert noised.settings["seed"] == 0


def test_settings_with_a_seed_come_back_and_one_that_is_none_is_refused(noised, model):
    noised.settings = {"seed": 5}
    result = measured(noised)
    other = pw.explore(model)
    other.settings = noised.settings
    xr.testing.assert_identical(measured(other).data, result.data)
    assert values_of(other)["seed"] == "5"
    with pytest.raises(pw.PatchError, match=r"seed must be a whole number, not 1\.5"):
        other.settings = {"seed": 1.5}
    assert other.settings["seed"] == 5
    noised._controls.undo.click()
    assert noised.wait().provenance["seed"] == 0
    other.close()
