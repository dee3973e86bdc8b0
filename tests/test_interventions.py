"""Interventions are small values that check their own settings; a name stands for one with its defaults."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from patchwidgets.datasets import Dataset
from patchwidgets.errors import PatchError
from patchwidgets.interventions import (
    INTERVENTIONS,
    Mask,
    Mean,
    Noise,
    Patch,
    Resample,
    Scale,
    Standing,
    Vector,
    Zero,
    get_intervention,
    restored,
)
from patchwidgets.prompts import PromptPair

DATA = Dataset([PromptPair("a b", "a c")])


def test_the_direction_says_which_run_is_changed() -> None:
    denoise, noise = Patch("denoise"), Patch("noise")
    assert (denoise.base, denoise.source, denoise.moved) == ("corrupted", "clean", "recovered")
    assert (noise.base, noise.source, noise.moved) == ("clean", "corrupted", "destroyed")


def test_every_intervention_has_one_word_and_a_sentence() -> None:
    assert list(INTERVENTIONS) == ["patch", "zero", "mean", "resample", "noise", "scale", "mask", "vector"]
    assert all("{base}" in kind.words for kind in INTERVENTIONS.values())


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_what_is_meant_by_a_name(direction: str) -> None:
    for value in (None, "patch", Patch(direction)):
        assert get_intervention(value, direction) == Patch(direction)
    named = {"zero": Zero(), "mean": Mean(), "resample": Resample(), "noise": Noise(), "scale": Scale(), "mask": Mask()}
    for name, what in named.items():
        assert get_intervention(name, direction) == what
        assert get_intervention(what, direction) is what


def test_defaults_are_those_of_the_papers() -> None:
    assert (Noise().sigma, Noise().samples) == (3.0, 10)
    assert (Mean().run, Mean().per_position, Resample().samples) == ("corrupted", True, 1)


@pytest.mark.parametrize(
    "what",
    [Zero(), Mean(DATA), Resample(DATA, samples=2), Noise(1.0), Scale(2), Mask(graded=True), Vector([1, 2]), Vector(3)],
)
def test_settings_are_plain_data(what: Any) -> None:
    settings = what.settings()
    assert json.loads(json.dumps(settings)) == settings
    assert set(settings) == set(vars(what))


def test_a_vector_takes_numbers_of_any_kind() -> None:
    for values in ([1, 2.5], (1, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5])):
        assert Vector(values) == Vector((1.0, 2.5))
        assert hash(Vector(values)) == hash(Vector((1.0, 2.5)))
    assert Vector(2).values == Vector(np.float32(2.0)).values == 2.0


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "direction": (lambda: Patch("up"), "unknown direction 'up'"),
    "two directions": (lambda: get_intervention(Patch("denoise"), "noise"), "and direction='noise' disagree; leave"),
    "a name": (lambda: get_intervention("zeros", "noise"), "unknown intervention 'zeros'; did you mean 'zero'?"),
    "a number": (lambda: get_intervention(0, "noise"), "unknown intervention 0"),
    "a class": (lambda: get_intervention(Zero, "noise"), r"Zero is a class; write intervention=Zero\(\)\."),
    "a vector by name": (lambda: get_intervention("vector", "noise"), r"a vector has no default; give intervention=V"),
    "sigma": (lambda: Noise(-1.0), "Noise: sigma must be 0 or more, not -1[.]$"),
    "a NaN": (lambda: Noise(float("nan")), "Noise: sigma must be a finite number, not nan"),
    "a bool": (lambda: Noise(True), "Noise: sigma must be a finite number, not True"),
    "no samples": (lambda: Noise(samples=0), "samples must be a whole number, 1 or more, not 0"),
    "too many samples": (lambda: Noise(samples=10_001), "samples must be 10000 at most, not 10001: every draw is"),
    "half a sample": (lambda: Resample(samples=1.5), "samples must be a whole number, 1 or more, not 1.5"),  # type: ignore[arg-type]
    "factor": (lambda: Scale("half"), "Scale: factor must be a finite number, not 'half'"),  # type: ignore[arg-type]
    "infinity": (lambda: Scale(float("inf")), "Scale: factor must be a finite number, not inf"),
    "a very long number": (lambda: Scale(10**400), "Scale: factor must be a finite number, not 1000"),
    "a very long entry": (lambda: Vector([10**400]), "Vector: values must be numbers, not "),
    "threshold": (lambda: Mask(None), "Mask: threshold must be a finite number, not None"),  # type: ignore[arg-type]
    "run": (lambda: Mean(run="clear"), "unknown run 'clear'; did you mean 'clean'?"),
    "both": (lambda: Resample(run="both"), "unknown run 'both'"),
    "no numbers": (lambda: Vector([]), r"Vector: values must be a list of finite numbers, not \[\]"),
    "words": (lambda: Vector("abc"), "Vector: values must be numbers, not 'abc'"),  # type: ignore[arg-type]
    "a table": (lambda: Vector([[1.0]]), r"Vector: values must be a list of finite numbers, not \[\[1.0\]\]"),  # type: ignore[list-item]
    "NaN inside": (lambda: Vector([1.0, float("nan")]), "Vector: values must be a list of finite numbers"),
    "standing patch": (lambda: Standing("z", Patch()), "a patch cannot stand; sweep it, or stand Mean"),
    "runs": (lambda: Standing("z", Zero(), runs="corrupt"), "unknown runs 'corrupt'; did you mean 'corrupted'?"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", REFUSED)
def test_settings_that_mean_nothing_are_refused(wrong: str) -> None:
    make, told = REFUSED[wrong]
    with pytest.raises(PatchError, match=told):
        make()


@pytest.mark.parametrize(
    "what", [Zero(), Mean(), Resample(samples=2), Noise(1.0), Scale(2), Mask(graded=True), Vector([1, 2], add=True)]
)
def test_an_intervention_comes_back_from_what_a_result_tells(what: Any) -> None:
    told = json.loads(json.dumps({"direction": "noise", "intervention": what.name, "settings": what.settings()}))
    assert restored(told) == what


def test_a_patch_comes_back_with_its_direction() -> None:
    for told in ({"direction": "noise"}, {"direction": "noise", "intervention": "patch", "settings": {}}):
        assert restored(told) == Patch("noise")


def test_the_prompts_of_another_dataset_come_back_as_ids() -> None:
    def back(what: Any, over: list[list[int]]) -> list[tuple[Any, Any]]:
        told = {"direction": "noise", "intervention": what.name, "settings": what.settings(), "over": over}
        return [(pair.clean, pair.corrupted) for pair in restored(told).over]  # type: ignore[attr-defined]

    assert back(Mean(DATA), [[1, 2], [3]]) == [((1, 2), (1, 2)), ((3,), (3,))]
    assert back(Mean(DATA, run="both"), [[1, 2], [3, 4]]) == [((1, 2), (3, 4))]
