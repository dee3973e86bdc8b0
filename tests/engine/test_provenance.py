"""What a result says of where its numbers come from, to the letter."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.engine import provenance
from patchwidgets.engine.patch import patch
from patchwidgets.interventions import Mean, Noise, Resample, Standing, Zero
from tests import models

DATA = pw.Dataset(
    [
        pw.PromptPair("w1 w2", "w1 w3", answer="w20", foil="w21"),
        pw.PromptPair("w1 w2 w4", "w5 w2 w4", answer="w20", foil="w22"),
    ]
)
OTHERS = pw.Dataset([pw.PromptPair("w7 w8", "w7 w9"), pw.PromptPair("w6 w8", "w7 w9")])
BOS = 1


def ids(text: str) -> list[int]:
    return [BOS, *(models.WORDS.index(word) for word in text.split())]


def of(model: TransformerBridge, *asked: Any, **options: Any) -> dict[str, Any]:
    return patch(model, *asked, **options).wait().provenance


def test_a_sweep_of_one_pair(gpt2: TransformerBridge) -> None:
    found = of(gpt2, models.PAIR, "resid_pre", metric=["logit_diff", "prob"])
    check = found.pop("check")
    assert 0 < check.pop("remeasured") <= 12
    assert check.pop("worst_difference") <= 1e-9
    assert check.pop("worst_logit_difference") <= 1e-9
    assert check.pop("controls") > 0
    assert check == {"wrong": [], "reused": 0}
    versions = found.pop("versions")
    assert list(versions) == ["patchwidgets", "torch", "transformer-lens", "transformers"]
    assert versions["transformer-lens"] == version("transformer-lens")
    answer, foil = models.answer_ids()
    assert found == {
        "model": "gpt2",
        "location": "gpt2",
        "revision": None,
        "dtype": "float64",
        "device": "cpu",
        "weights": "raw",
        "hooks_on_model": [],
        "site": "resid_pre",
        "hook": "blocks.{layer}.hook_resid_pre",
        "hook_at": gpt2.hook_dict["blocks.0.hook_resid_pre"].name,
        "by": ["layer", "pos"],
        "intervention": "patch",
        "settings": {},
        "over": None,
        "sizes": {"layer": 3, "pos": 7},
        "within": {},
        "window": 1,
        "standing": [],
        "direction": "denoise",
        "metrics": ["logit_diff", "prob"],
        "units": {"logit_diff": "logits", "prob": "probability"},
        "n": 1,
        "samples": 1,
        "seed": None,
        "prepend_bos": True,
        "bos_at": 0,
        "at": -1,
        "prompts": {"clean": models.PAIR.clean, "corrupted": models.PAIR.corrupted},
        "tokens": {"clean": ids("w1 w2 w3 w4 w5 w6"), "corrupted": ids("w1 w2 w9 w4 w8 w6")},
        "texts": {
            "clean": ["[BOS]", "w1", "w2", "w3", "w4", "w5", "w6"],
            "corrupted": ["[BOS]", "w1", "w2", "w9", "w4", "w8", "w6"],
        },
        "varied": {"clean": [], "corrupted": []},
        "alignment": None,
        "answer": {"token": answer, "tokens": [[answer]], "text": "w20"},
        "foil": {"token": foil, "tokens": [[foil]], "text": "w21"},
        "pairs": None,
        "notes": [],
        "engine": "replay",
        "why_hooked": None,
    }


def test_a_sweep_through_hooks_says_why(gpt2: TransformerBridge) -> None:
    asked = of(gpt2, models.PAIR, "z", engine="hooked")
    assert (asked["engine"], asked["why_hooked"]) == ("hooked", "it was asked for")
    fell_back = of(gpt2, models.PAIR, "z", standing=Standing("z", Zero(), layers=0))
    assert (fell_back["engine"], fell_back["why_hooked"]) == ("hooked", "something stands in place during all runs")
    for found in (asked, fell_back):
        check = found["check"]
        assert (check["remeasured"], check["worst_difference"], check["wrong"]) == (0, 0.0, [])
        assert check["controls"] > 0


def test_a_sweep_of_several_pairs_names_each(gpt2: TransformerBridge) -> None:
    found = of(gpt2, DATA, "z")
    w20, w21, w22 = (models.WORDS.index(word) for word in ("w20", "w21", "w22"))
    assert found["n"] == 2
    assert found["pairs"] == [
        {
            "clean": ids("w1 w2"), "corrupted": ids("w1 w3"), "answer": [[w20]], "foil": [[w21]], "at": -1,
            "alignment": None,
        },
        {
            "clean": ids("w1 w2 w4"), "corrupted": ids("w5 w2 w4"), "answer": [[w20]], "foil": [[w22]], "at": -1,
            "alignment": None,
        },
    ]  # fmt: skip
    # The last position is the second pair's alone.
    assert found["texts"] == {"clean": ["[BOS]", "w1", "w2", "…"], "corrupted": ["[BOS]", "…", "…", "…"]}
    assert found["varied"] == {"clean": [3], "corrupted": [1, 2, 3]}


def test_the_texts_of_the_other_run_are_the_counterparts(gpt2: TransformerBridge) -> None:
    pair = pw.PromptPair("w1 w2 w3", "w1 w4 w5 w3", answer="w20", foil="w21")
    found = of(gpt2, pair, "resid_pre", align=[(0, 0), (1, 1), (2, 2), (3, 4)])
    assert found["texts"] == {"clean": ["[BOS]", "w1", "w2", "", "w3"], "corrupted": ["[BOS]", "w1", "w4", "w5", "w3"]}
    found = of(gpt2, pair, "resid_pre", align=[(0, 0), (1, 1), (2, 2), (3, 4)], direction="noise")
    assert found["texts"] == {"clean": ["[BOS]", "w1", "w2", "w3"], "corrupted": ["[BOS]", "w1", "w4", "w3"]}


def test_every_prompt_of_a_mean_is_named_and_every_donor_once(gpt2: TransformerBridge) -> None:
    over = of(gpt2, DATA, "z", intervention=Mean(over=OTHERS, per_position=False))["over"]
    assert over == [ids("w7 w9"), ids("w7 w9")]
    over = of(gpt2, DATA, "z", intervention=Mean(over=OTHERS, run="both", per_position=False))["over"]
    assert over == [ids("w7 w8"), ids("w7 w9"), ids("w6 w8"), ids("w7 w9")]
    short = pw.Dataset([DATA[0]])
    assert of(gpt2, short, "z", intervention=Resample(over=OTHERS))["over"] == [ids("w7 w9")]


def test_what_stands_is_named_with_its_indices(gpt2: TransformerBridge) -> None:
    stand = Standing("z", Zero(), heads=1, layers=(0, 2), runs="clean")
    assert of(gpt2, models.PAIR, "z", standing=stand)["standing"] == [
        {
            "site": "z", "intervention": "zero", "settings": {}, "over": None, "runs": "clean", "layers": [0, 2],
            "positions": None, "heads": [1], "neurons": None,
        }
    ]  # fmt: skip


def test_a_seed_is_named_where_something_is_drawn(gpt2: TransformerBridge) -> None:
    assert of(gpt2, models.PAIR, "z", seed=5)["seed"] is None
    drawn = of(gpt2, models.PAIR, "z", seed=5, intervention=Noise(samples=2))
    assert (drawn["seed"], drawn["samples"]) == (5, 2)
    stand = Standing("embed", Noise(samples=3), positions=[1], runs="corrupted")
    assert of(gpt2, models.PAIR, "z", seed=6, standing=stand)["seed"] == 6


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert provenance._version("a-package-that-nobody-wrote") == "unknown"


@pytest.mark.parametrize(("layers", "hook"), [(None, "blocks.0.hook_resid_pre"), ([2], "blocks.2.hook_resid_pre")])
def test_the_hook_is_that_of_the_first_layer_swept(gpt2: TransformerBridge, layers: Any, hook: str) -> None:
    found = of(gpt2, models.PAIR, "resid_pre", layers=layers)
    assert found["hook_at"] == gpt2.hook_dict[hook].name
