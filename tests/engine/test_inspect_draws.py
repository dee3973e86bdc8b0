"""A cell that is looked into shows the very draw, and the very mask, that its number in the table is from."""

from __future__ import annotations

from typing import Any

import pytest
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.inspect import inspect_cells, score
from patchwidgets.engine.patch import encode, patch
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Mask, Noise, Patch, Scale, Vector, Zero
from patchwidgets.metrics import get_metrics
from tests import models

CELLS: list[tuple[str, dict[str, int]]] = [
    ("z", {"layer": 1, "pos": 4, "head": 2}),
    ("z", {"layer": 0, "pos": 2, "head": 3}),
]


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(
    "what", [Noise(1.0, samples=1), Zero(), Scale(3.0), Vector(0.5), Mask(graded=True)], ids=lambda what: what.name
)
def test_what_is_shown_is_what_was_measured(gpt2: TransformerBridge, what: Any, direction: str) -> None:
    metrics, handle = get_metrics("logit_diff"), handle_of(gpt2)
    table = patch(gpt2, models.PAIR, "z", by=("layer", "pos", "head"), intervention=what, direction=direction).wait()
    pair = encode(handle, models.PAIR)[0]
    found = inspect_cells(handle, pair, Patch(direction), CELLS, intervention=what, metric=metrics[0])
    clean, corrupted, *patched = score(metrics, found, pair)[0].tolist()
    assert (clean, corrupted) == pytest.approx((table.clean, table.corrupted), abs=1e-9)
    expected = [float(table.data["patched"].sel(metric="logit_diff", **cell)) for _, cell in CELLS]
    assert patched == pytest.approx(expected, abs=1e-9)
    assert found.attention == ()


def test_a_mask_needs_its_metric(gpt2: TransformerBridge) -> None:
    handle = handle_of(gpt2)
    with pytest.raises(PatchError, match="needs the metric whose gradient it follows"):
        inspect_cells(handle, encode(handle, models.PAIR)[0], Patch("denoise"), CELLS, intervention=Mask())


def test_a_model_that_was_never_swept_can_be_looked_into() -> None:
    """Noise is drawn for a whole activation, whose shape is not asked for in the middle of a pass."""
    handle, metrics = handle_of(model := models.bridge("gpt2")), get_metrics("logit_diff")
    pair, what = encode(handle, models.PAIR)[0], Noise(1.0, samples=1)
    found = inspect_cells(handle, pair, Patch("denoise"), CELLS, intervention=what)
    table = patch(model, models.PAIR, "z", by=("layer", "pos", "head"), intervention=what).wait()
    expected = [float(table.data["patched"].sel(metric="logit_diff", **cell)) for _, cell in CELLS]
    assert score(metrics, found, pair)[0, 2:].tolist() == pytest.approx(expected, abs=1e-9)


def test_positions_without_a_counterpart_stay_as_they_are(gpt2: TransformerBridge) -> None:
    """A head is patched at all positions that have a counterpart, in the picture as in the table."""
    handle, metrics, align = handle_of(gpt2), get_metrics("logit_diff"), [(0, 0), (1, 1), (2, 2), (4, 3), (6, 6)]
    table = patch(gpt2, models.PAIR, "z", by=("layer", "head"), align=align).wait()
    pair = encode(handle, models.PAIR, align=align)[0]
    cells = [("z", {"layer": layer, "head": head}) for layer in range(2) for head in range(4)]
    found = inspect_cells(handle, pair, Patch("denoise"), cells)
    expected = table.data["patched"].sel(metric="logit_diff", layer=[0, 1]).values.ravel()
    assert score(metrics, found, pair)[0, 2:].tolist() == pytest.approx(expected.tolist(), abs=1e-9)
