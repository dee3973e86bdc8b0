"""The same numbers everywhere: on an accelerator where there is one, and on a model that is spread over several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

from patchwidgets import embedded
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.model import load_model
from patchwidgets.engine.patch import patch
from patchwidgets.engine.recipe import recipe_of
from patchwidgets.engine.sweep import ENGINES
from patchwidgets.errors import ModelError, PatchError
from patchwidgets.interventions import Noise, Vector, Zero
from patchwidgets.presets import PRESETS
from patchwidgets.result import PatchResult

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="not run: there is no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_CUDA)]
SWEEPS: list[tuple[str, dict[str, Any]]] = [
    ("resid_pre", {"metric": ["logit_diff", "kl_clean"]}),
    ("z", {"by": ("layer", "pos", "head"), "positions": [2, 12]}),
    ("pattern", {"intervention": Zero()}),
    ("attn_scores", {}),
    ("mlp_post", {"by": ("layer", "neuron"), "neurons": [0, 7], "intervention": Vector(0.5)}),
    ("embed", {"intervention": Noise(samples=2)}),
]


@pytest.fixture(scope="module")
def plain() -> TransformerBridge:
    """The embedded model in float64 on the CPU."""
    return load_model(device="cpu", dtype="float64")


@pytest.fixture(scope="module", params=DEVICES)
def placed(request: pytest.FixtureRequest) -> TransformerBridge:
    """The same on a device."""
    return load_model(device=request.param, dtype="float64")


def sweep(model: TransformerBridge, site: str, **options: Any) -> PatchResult:
    """Sweep the first preset's prompts."""
    return patch(model, PRESETS[0].pair, site, **options).wait()


def same(found: PatchResult, expected: PatchResult) -> None:
    """Compare two results to the precision of float64."""
    np.testing.assert_allclose(found.data["patched"], expected.data["patched"], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(found.data["status"], expected.data["status"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("site", "options"), SWEEPS, ids=[site for site, _ in SWEEPS])
def test_a_device_gives_the_cpus_numbers(
    plain: TransformerBridge, placed: TransformerBridge, site: str, options: dict[str, Any], engine: str
) -> None:
    """Random draws too: they are made on the CPU."""
    found = sweep(placed, site, engine=engine, **options)
    assert found.engine == engine
    same(found, sweep(plain, site, engine="hooked", **options))


@pytest.mark.parametrize("rest", ["disk", pytest.param("cuda", marks=NO_CUDA)])
def test_a_model_in_two_places_is_measured_through_hooks(plain: TransformerBridge, tmp_path: Path, rest: str) -> None:
    """Half of the blocks are elsewhere; nobody can replay them, and the numbers are the same."""
    names = ["wte", "wpe", "h.0", "h.1", "h.2", "h.3", "ln_f"]
    places = {f"transformer.{name}": rest if name in ("h.2", "h.3") else "cpu" for name in names}
    model = AutoModelForCausalLM.from_pretrained(
        embedded.folder(), attn_implementation="eager", dtype=torch.float64, local_files_only=True,
        device_map={**places, "lm_head": "cpu"}, offload_folder=tmp_path,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="in place"):
        spread = load_model(model, tokenizer=plain.tokenizer)
    for site, options in SWEEPS[:2]:
        found = sweep(spread, site, **options)
        assert (found.engine, found.provenance["why_hooked"]) == (
            "hooked",
            "the model's modules are spread over devices",
        )
        same(found, sweep(plain, site, engine="hooked", **options))


def test_a_map_of_devices_is_handed_on(plain: TransformerBridge) -> None:
    """As transformers takes it."""
    spread = load_model(embedded.folder(), dtype="float64", device_map={"": "cpu"})
    same(sweep(spread, "resid_pre"), sweep(plain, "resid_pre", engine="hooked"))


def test_a_map_and_a_device_are_two_answers(plain: TransformerBridge) -> None:
    """And neither moves a model that is loaded."""
    with pytest.raises(ModelError, match="give one of them"):
        load_model(device="cpu", device_map="auto")
    with pytest.raises(ModelError, match="loaded already"):
        load_model(plain, device_map="auto")
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model(embedded.folder(), device_map={"transformer.wte": "nowhere"})


def test_weights_that_are_not_in_memory_cannot_be_compared_with_a_workers() -> None:
    """So the workers are not asked."""
    model = load_model()
    model.blocks[0].mlp.out.original_component.weight = torch.nn.Parameter(torch.empty(160, 128, device="meta"))
    with pytest.raises(PatchError, match="not in memory"):
        recipe_of(handle_of(model))
