"""Every family's tables agree with `transformer_lens.patching`, for every table that it has a function for."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.metrics import tolerance
from tests.engine import oracle
from tests.engine.plain import Family, family_of, lacks
from tests.families import FAMILIES

CLEAN, CORRUPTED = [3, 7, 11, 20, 33], [3, 7, 12, 20, 33]
ANSWER, FOIL = 17, 45
PAIR = pw.PromptPair(CLEAN, CORRUPTED, answer=ANSWER, foil=FOIL)
METRICS = {name: score for name, score in oracle.scores(ANSWER, FOIL).items() if name in ("logit_diff", "prob")}


def _runs(direction: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the base run and the source run."""
    clean, corrupted = torch.tensor([CLEAN]), torch.tensor([CORRUPTED])
    return (corrupted, clean) if direction == "denoise" else (clean, corrupted)


@cache
def _table(family: Family, site: str, by: tuple[str, ...], direction: str) -> dict[str, np.ndarray]:
    return oracle.table(family.bridged, site, by, *_runs(direction), METRICS)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_table(name: str, dtype: str, direction: str, engine: str) -> None:
    family = family_of(name, getattr(torch, dtype))
    plain = oracle.runs(family.bridged, *_runs(direction), METRICS)
    swept = [(site, by) for site, by in oracle.ALL_SWEEPS if site not in lacks(name)]
    assert len(swept) >= 16
    for site, by in swept:
        expected = _table(family, site, by, direction)
        result = pw.patch(family.bridged, PAIR, site, by=by, direction=direction, metric=list(METRICS)).wait()
        assert result.engine == family.engine(engine)
        for metric, (at_base, at_source) in plain.items():
            found = result.data["patched"].sel(metric=metric).values
            allowed = tolerance(dtype, at_source - at_base)
            np.testing.assert_allclose(found, expected[metric], rtol=0, atol=allowed, err_msg=f"{site} by {by}")
