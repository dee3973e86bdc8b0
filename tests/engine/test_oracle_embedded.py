"""The embedded model's full tables agree with `transformer_lens.patching` within the precision of float32."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.metrics import gap_too_small, tolerance
from patchwidgets.presets import PRESETS
from tests.engine import oracle

PAIR = PRESETS[0].pair
METRICS = tuple(oracle.scores(0, 1))

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")


@cache
def measured(
    model: TransformerBridge, site: str, by: tuple[str, ...], direction: str, answer: int, foil: int
) -> tuple[dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Return TransformerLens's table of every metric, and the two plain runs."""
    clean, corrupted = (model.to_tokens(text) for text in (PAIR.clean, PAIR.corrupted))
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    metrics = oracle.scores(answer, foil)
    return oracle.table(model, site, by, base, source, metrics), oracle.runs(model, base, source, metrics)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(("site", "by"), oracle.ALL_SWEEPS)
def test_every_table(embedded: TransformerBridge, site: str, by: tuple[str, ...], direction: str, engine: str) -> None:
    result = patch(embedded, PAIR, site, by=by, direction=direction, metric=METRICS).wait()
    assert result.engine == engine
    answer, foil = result.provenance["answer"]["token"], result.provenance["foil"]["token"]
    expected, plain = measured(embedded, site, by, direction, answer, foil)
    for name in METRICS:
        gap = plain[name][1] - plain[name][0]
        found = result.data["patched"].sel(metric=name).values
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=tolerance("float32", gap), err_msg=name)
        if gap_too_small(*plain[name]):
            assert np.isnan(result.normalized.sel(metric=name).values).all()
            continue
        shown = result.normalized.sel(metric=name).values
        by_hand = (expected[name] - plain[name][0]) / gap
        np.testing.assert_allclose(shown, by_hand, rtol=0, atol=3 * tolerance("float32", gap) / abs(gap))


def test_the_default_demo_is_a_staircase(embedded: TransformerBridge) -> None:
    """The name's own position carries everything at the bottom, the last one nearly everything at the top."""
    normalized = patch(embedded, PAIR, "resid_pre").wait().normalized.isel(metric=0)
    name = int(np.argmax(normalized["token"].values != normalized["token_corrupted"].values))
    assert float(normalized.sel(layer=0, pos=name)) == pytest.approx(1.0, abs=1e-3)
    assert float(normalized.sel(layer=3, pos=name)) < 0.9
    assert float(normalized.isel(pos=-1).max()) > 0.1
