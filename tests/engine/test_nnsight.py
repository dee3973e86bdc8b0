"""nnsight agrees: the three runs (clean, corrupted, corrupted with one activation put in), one trace per cell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import patchwidgets as pw
from patchwidgets.metrics import tolerance
from tests import models
from tests.engine.nnsight_runs import ANSWER, CLEAN, CORRUPTED, FAMILIES, FOIL, KINDS

TABLES = ["resid_post by layer", "resid_post by layer pos", "z by layer head", "z by layer pos head"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What nnsight measures, in a process of its own, on models that TransformerLens never touches."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.engine.nnsight_runs"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_three_runs_give_the_same_table(
    measured: dict[str, Any], family: str, kind: str, direction: str, table: str, engine: str
) -> None:
    theirs = measured[f"{family} {kind}"]
    site, by = table.split(" by ")
    pair = pw.PromptPair(CLEAN, CORRUPTED, answer=ANSWER, foil=FOIL)
    result = pw.patch(models.bridge(family, KINDS[kind]), pair, site, by=tuple(by.split()), direction=direction).wait()
    assert result.engine == engine
    allowed = tolerance(kind, theirs["clean"] - theirs["corrupted"])
    assert result.clean == pytest.approx(theirs["clean"], abs=allowed)
    assert result.corrupted == pytest.approx(theirs["corrupted"], abs=allowed)
    expected, found = np.array(theirs[direction][table]), result.data["patched"].values[0]
    base = theirs["corrupted" if direction == "denoise" else "clean"]
    assert np.abs(expected - base).max() > 0.1, "the patches move nothing: this table would show no mistake"
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


def test_a_whole_layer_at_all_positions_moves_everything(measured: dict[str, Any]) -> None:
    """So a table over layers alone is 1 throughout: a test of a tool, never a finding."""
    for family in FAMILIES:
        theirs = measured[f"{family} float64"]
        gap = theirs["clean"] - theirs["corrupted"]
        moved = (np.array(theirs["denoise"]["resid_post by layer"]) - theirs["corrupted"]) / gap
        np.testing.assert_allclose(moved, 1.0, rtol=0, atol=1e-8)
