"""The gradients that masks follow, at every site of every family, against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from patchwidgets.engine.baseline import RUNS, record
from patchwidgets.engine.gate import hooked
from patchwidgets.engine.gradients import _gradients
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.lanes import Lane
from patchwidgets.engine.patch import encode
from patchwidgets.engine.scoring import reading_of
from patchwidgets.engine.values import Sources
from patchwidgets.metrics import METRICS
from patchwidgets.sites import SITES
from tests.engine.plain import PAIR, Family, family_of, lacks
from tests.families import FAMILIES

STEP = 1e-3
WHERE = [(name, site) for name in FAMILIES for site in SITES if site not in lacks(name)]


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    """A family in float64, its weights frozen."""
    return family_of(request.param, torch.float64)


@pytest.mark.parametrize(("family", "name"), WHERE, indirect=["family"])
def test_gradients_are_derivatives(family: Family, name: str) -> None:
    """Moving an activation a step in a random direction moves the metric by the gradient in that direction.

    A gradient of a copy beside the computation would be zero, and a mask made of it would remove everything. Most
    families take the softmax of attention in float32, which limits how well a difference of two runs is known.
    """
    site, handle = SITES[name], handle_of(family.bridged)
    (pair,) = encode(handle, PAIR)
    lane = Lane(0, pair, 0, 0, "both")
    hooks = [site.hook_name(layer) for layer in (range(handle.n_layers) if site.layered else [None])]

    def score(lane: Lane, logits: Tensor) -> Tensor:
        return METRICS["logit_diff"].score(reading_of(pair, logits, logits, (logits[0, 0], logits[0, 0])))

    with handle.lock:
        sources = Sources(handle, [lane], "corrupted", hooks, 0, lambda over: ())
        plain = record(handle, [(lane, run) for run in RUNS])
        gradients = _gradients(sources, METRICS["logit_diff"], plain)

    def moved(hook: str, by: Tensor) -> float:
        def edit(activation: Tensor) -> Tensor:
            return activation.add_(by) if site.in_place else activation + by

        with handle.lock, hooked(handle.hooks, {hook: edit}):
            logits = handle.forward(torch.tensor([pair.corrupted]), keep=1)
        return float(score(lane, logits))

    found, expected = [], []
    for hook in hooks:
        gradient = gradients[hook, lane]
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0), dtype=gradient.dtype)
        found.append((moved(hook, STEP * direction) - moved(hook, -STEP * direction)) / (2 * STEP))
        expected.append(float((gradient * direction).sum()))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)
    assert np.abs(expected).max() > 0.05
