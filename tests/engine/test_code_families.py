"""The scripts of what depends on a family: where a window closes attention, and what noise is measured in."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import patchwidgets as pw
from patchwidgets.interventions import Mask, Noise, Standing, Vector
from patchwidgets.joint import Joint
from tests import models
from tests.engine.plain import PAIR
from tests.engine.test_code import assert_same_numbers, here
from tests.families import FAMILIES

SETTINGS: list[tuple[Any, dict[str, Any]]] = [
    ("pattern", {"intervention": Vector(0.2)}),
    ("pattern", {"intervention": Mask(graded=True)}),
    ("pattern", {"intervention": Noise(0.5, 2), "by": ("layer", "head", "dest"), "heads": [1]}),
    ("attn_scores", {"intervention": Vector(0.5, add=True)}),
    ("attn_scores", {"intervention": Mask(1e-3, absolute=True)}),
    ("embed", {"intervention": Noise(1.0, 2), "metric": ["logit_diff", "prob"]}),
    ("z", {"standing": Standing("pattern", Vector(0.2), layers=[0, 1], heads=[2])}),
    (Joint({"x": [("pattern", {"layer": 0, "head": 1}), ("mlp_out", {"layer": 1})]}), {"intervention": Mask()}),
    (Joint({"x": [("pattern", {"layer": 0}), ("attn_scores", {"layer": 1})]}), {"intervention": Noise(0.5, 1)}),
]


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gemma3", "bloom", "opt"])
def test_the_script_prints_the_results_numbers(name: str, tmp_path: Path) -> None:
    """The weights of tiny models are made for a precision that their files keep."""
    FAMILIES[name]().save_pretrained(tmp_path)
    models.tokenizer().save_pretrained(tmp_path)
    model = pw.load_model(tmp_path, dtype="float64")
    for site, options in SETTINGS:
        if name == "opt" and site != "embed":
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the two runs hardly differ")
            result = pw.patch(model, PAIR, site, **options).wait()
        assert_same_numbers(result, here(result.code()), (site, options))
