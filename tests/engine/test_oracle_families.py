"""Every family's tables agree with `transformer_lens.patching`, for every table that it has a function for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.metrics import tolerance
from tests.engine import oracle
from tests.engine.plain import family_of, lacks
from tests.families import FAMILIES

CLEAN, CORRUPTED = [3, 7, 11, 20, 33], [3, 7, 12, 20, 33]
ANSWER, FOIL = 17, 45
PAIR = pw.PromptPair(CLEAN, CORRUPTED, answer=ANSWER, foil=FOIL)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_table(name: str, dtype: str, direction: str) -> None:
    model = family_of(name, getattr(torch, dtype)).bridged
    clean, corrupted = torch.tensor([CLEAN]), torch.tensor([CORRUPTED])
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    metrics = {
        metric: score for metric, score in oracle.scores(ANSWER, FOIL).items() if metric in ("logit_diff", "prob")
    }
    plain = oracle.runs(model, base, source, metrics)
    swept = [(site, by) for site, by in oracle.ALL_SWEEPS if site not in lacks(name)]
    assert len(swept) >= 16
    for site, by in swept:
        expected = oracle.table(model, site, by, base, source, metrics)
        result = pw.patch(model, PAIR, site, by=by, direction=direction, metric=list(metrics)).wait()
        for metric, (at_base, at_source) in plain.items():
            found = result.data["patched"].sel(metric=metric).values
            allowed = tolerance(dtype, at_source - at_base)
            np.testing.assert_allclose(found, expected[metric], rtol=0, atol=allowed, err_msg=f"{site} by {by}")
