"""Numbers beyond the model's dtype: refused where a setting is one, told where logits are not; nothing is harmed."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.finite import check_logits
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.inspect import inspect_cells
from patchwidgets.engine.patch import encode
from patchwidgets.engine.patch import patch as start
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Intervention, Noise, Patch, Scale, Standing, Vector
from tests import models

BEYOND: list[tuple[dict[str, Any], str, str, str]] = [
    ({"intervention": Noise(sigma=1e99)}, "Noise", "1e+99", "sigma"),
    ({"intervention": Scale(-1e300)}, "Scale", "-1e+300", "factor"),
    ({"intervention": Scale(10**300)}, "Scale", "1e+300", "factor"),
    ({"intervention": Vector(1e300)}, "Vector", "1e+300", "values"),
    ({"intervention": Vector([1.0, -1e39] * 16)}, "Vector", "-1e+39", "values"),
    ({"standing": Standing("embed", Noise(sigma=1e99))}, "Noise", "1e+99", "sigma"),
]


@pytest.mark.parametrize(("settings", "kind", "number", "field"), BEYOND)
def test_a_setting_that_is_no_number_of_the_dtype_is_refused_before_anything_runs(
    gpt2_float32: TransformerBridge, settings: dict[str, Any], kind: str, number: str, field: str
) -> None:
    told = f"{kind}: {number} is beyond the numbers of float32, the model's dtype (up to 3.4e+38); bring {field} nearer"
    with pytest.raises(PatchError, match=f"^{re.escape(told)} to 0.$"):
        start(gpt2_float32, models.PAIR, "resid_pre", **settings)


def test_the_same_setting_is_fine_in_a_wider_dtype(gpt2: TransformerBridge) -> None:
    result = start(gpt2, models.PAIR, "resid_pre", intervention=Vector(1e39)).wait()
    assert np.isfinite(result.data["patched"]).all()


def test_whole_numbers_too_long_for_the_model_are_taken_as_floats(gpt2: TransformerBridge) -> None:
    assert isinstance(Scale(3).factor, int)
    long = start(gpt2, models.PAIR, "z", intervention=Scale(10**30)).wait()
    assert long.data.identical(start(gpt2, models.PAIR, "z", intervention=Scale(1e30)).wait().data)


@pytest.mark.parametrize("engine", ["replay", "hooked"])
@pytest.mark.parametrize(
    ("what", "named"),
    [
        (Scale(1e38), r"Scale's factor (1e+38)"),
        (Noise(sigma=3e38), r"Noise's sigma (3e+38)"),
        (Vector(-3e38), r"Vector's values (-3e+38)"),
    ],
)
def test_logits_that_a_large_number_breaks_are_told_with_both_causes(
    gpt2_float32: TransformerBridge, engine: str, what: Intervention, named: str
) -> None:
    told = (
        f"a patched run gave logits that are not finite: {named} may be too large for float32; keep it nearer to 0. "
        "If that is not the cause, check the model's dtype."
    )
    with pytest.raises(PatchError, match=f"^{re.escape(told)}$"):
        start(gpt2_float32, models.PAIR, "resid_pre", intervention=what, engine=engine).wait()


def test_what_stands_is_told_too(gpt2_float32: TransformerBridge) -> None:
    with pytest.raises(PatchError, match="with what stands in the runs; give numbers nearer to 0 there"):
        start(gpt2_float32, models.PAIR, "resid_pre", standing=Standing("resid_pre", Scale(1e38))).wait()


def test_a_small_setting_is_not_blamed(gpt2_float32: TransformerBridge) -> None:
    told = "a patched run gave logits that are not finite; check the model's dtype."
    for what in (Scale(0.5), Vector([0.1, -1.0]), Patch()):
        with pytest.raises(PatchError, match=f"^{re.escape(told)}$"):
            check_logits([torch.zeros(2), torch.tensor([0.0, torch.inf])], [what], handle_of(gpt2_float32))


def test_a_closer_look_tells_it_as_a_sweep_does(gpt2_float32: TransformerBridge) -> None:
    handle = handle_of(gpt2_float32)
    (pair,) = encode(handle, models.PAIR)
    with pytest.raises(PatchError, match=r"Scale's factor \(1e\+38\) may be too large"):
        inspect_cells(
            handle, pair, Patch(), [("resid_pre", {"layer": 1, "pos": 4})], head=(1, 0), intervention=Scale(1e38)
        )


def test_neither_the_model_nor_other_results_are_harmed(gpt2_float32: TransformerBridge) -> None:
    before = models.state(gpt2_float32)
    first = start(gpt2_float32, models.PAIR, "z").wait()
    table, origin = first.data.copy(deep=True), json.dumps(first.provenance)
    for what in (Noise(sigma=1e99), Noise(sigma=3e38), Scale(1e38)):
        with pytest.raises(PatchError):
            start(gpt2_float32, models.PAIR, "z", intervention=what).wait()
    again = start(gpt2_float32, models.PAIR, "z", engine="hooked").wait()
    np.testing.assert_allclose(again.data["patched"], table["patched"], rtol=0, atol=1e-4)
    assert first.data.identical(table)
    assert json.dumps(first.provenance) == origin
    assert models.state(gpt2_float32) == before
