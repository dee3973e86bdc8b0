"""Every family's tables agree with plain forward hooks on a model that TransformerLens never touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import patchwidgets as pw
from patchwidgets.engine.gate import hooked
from patchwidgets.engine.handle import handle_of
from patchwidgets.errors import PatchError
from patchwidgets.metrics import tolerance
from patchwidgets.sites import SITES
from tests import models
from tests.families import ADDRESSES, FAMILIES, LAYERS, Address

CLEAN, CORRUPTED = [3, 7, 11, 20, 33, 41, 52, 9], [3, 7, 12, 20, 33, 42, 52, 9]
ANSWER, FOIL = 17, 45
PAIR = pw.PromptPair(CLEAN, CORRUPTED, answer=ANSWER, foil=FOIL)
FEW = {"pos": [2, 7], "neuron": [0, 29]}
"""What is taken of an axis where all of it would be too many cells."""

SWEPT = [(name, site) for name, table in ADDRESSES.items() for site in table if site in SITES]
LACKING = sorted({(name, site) for name in FAMILIES for _, site in SWEPT} - set(SWEPT))


@dataclass(frozen=True)
class Family:
    """One family twice: bridged, and as Hugging Face made it."""

    name: str
    dtype: str
    bridged: Any
    bare: PreTrainedModel

    def allowed(self, gap: float) -> float:
        # Hugging Face's NeoX rounds its attention to float32 in a float64 model too, and TransformerLens's does not.
        return tolerance("float32" if self.name == "neox" else self.dtype, gap)


@cache
def _family(name: str, dtype: torch.dtype) -> Family:
    bare, other = FAMILIES[name](dtype), FAMILIES[name](dtype)
    other.load_state_dict(bare.state_dict())
    with pytest.warns(UserWarning, match="in place"):
        bridged = pw.load_model(other, tokenizer=models.tokenizer())
    return Family(name, str(dtype).removeprefix("torch."), bridged, bare)


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    """A family in float64."""
    return _family(request.param, torch.float64)


@pytest.fixture(scope="module")
def rounded(request: pytest.FixtureRequest) -> Family:
    """A family in float32."""
    return _family(request.param, torch.float32)


def _difference(model: PreTrainedModel, ids: list[int]) -> float:
    last = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    return float(last[ANSWER] - last[FOIL])


class Hook:
    """Plain PyTorch at one address of one layer: `read` one run, then `write` parts of it into others."""

    def __init__(self, model: PreTrainedModel, address: Address, layer: int) -> None:
        self.model, self.address = model, address
        self.module = address.module(model, layer)

    def read(self, ids: list[int]) -> Tensor:
        """Return the activation of a run, [*axes, ...]."""
        found: list[Tensor] = []
        self.run(ids, lambda view: found.append(view.clone()))
        return found[0]

    def write(self, ids: list[int], cell: dict[str, int], source: Tensor) -> float:
        """Return the logit difference of a run in which one cell of the activation is `source`'s."""
        where = tuple(cell.get(axis, slice(None)) for axis in self.address.axes)

        def put(view: Tensor) -> None:
            view[where] = source[where]

        return self.run(ids, put)

    def run(self, ids: list[int], edit: Callable[[Tensor], object]) -> float:
        """Return the logit difference of a run in which `edit` was given the view of the activation, once."""
        calls = []

        def before(module: object, args: tuple[Tensor, ...]) -> None:
            calls.append(edit(self.address.view(args[0])))

        def after(module: object, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            calls.append(edit(self.address.view(output[0] if isinstance(output, tuple) else output)))

        if self.address.side == "in":
            handle = self.module.register_forward_pre_hook(before)
        else:
            handle = self.module.register_forward_hook(after)
        try:
            value = _difference(self.model, ids)
        finally:
            handle.remove()
        assert len(calls) == 1
        return value


def _oracle(family: Family, site: str, labels: dict[str, list[int]], base: list[int], source: list[int]) -> np.ndarray:
    """Return the logit difference after each cell's patch, one plain run per cell, shaped like the labels."""
    values = []
    for layer in labels.get("layer", [0]):
        hook = Hook(family.bare, ADDRESSES[family.name][site], layer)
        kept = hook.read(source)
        rest = {axis: indices for axis, indices in labels.items() if axis != "layer"}
        for where in product(*rest.values()):
            values.append(hook.write(base, dict(zip(rest, where, strict=True)), kept))
    return np.array(values).reshape([len(indices) for indices in labels.values()])


def _labels(family: Family, site: str, by: tuple[str, ...]) -> dict[str, list[int]]:
    address = ADDRESSES[family.name][site]
    shape = Hook(family.bare, address, 0).read(CLEAN).shape
    sizes = {"layer": LAYERS, **dict(zip(address.axes, shape, strict=False))}
    few = {axis: indices for axis, indices in FEW.items() if axis == "neuron" or len(by) > 2}
    return {axis: few[axis] if axis in few else list(range(sizes[axis])) for axis in by}


_WORDS = {"pos": "positions", "neuron": "neurons"}


def _assert_agrees(family: Family, site: str, by: tuple[str, ...], direction: str) -> None:
    labels = _labels(family, site, by)
    chosen = {_WORDS[axis]: indices for axis, indices in labels.items() if axis in FEW and indices is FEW[axis]}
    base, source = (CORRUPTED, CLEAN) if direction == "denoise" else (CLEAN, CORRUPTED)
    expected = _oracle(family, site, labels, base, source)
    result = pw.patch(family.bridged, PAIR, site, by=by, direction=direction, **chosen).wait()
    clean, corrupted = _difference(family.bare, CLEAN), _difference(family.bare, CORRUPTED)
    allowed = family.allowed(clean - corrupted)
    found = result.data["patched"].values[0]
    at_base = corrupted if direction == "denoise" else clean
    assert np.abs(expected - at_base).max() > 1e-3, "the patches move nothing: this table would show no mistake"
    assert found.shape == expected.shape
    assert result.clean == pytest.approx(clean, abs=allowed)
    assert result.corrupted == pytest.approx(corrupted, abs=allowed)
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed, err_msg=f"{family.name} {site} {by} {direction}")


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(("family", "site"), SWEPT, indirect=["family"])
def test_every_table_is_what_plain_hooks_measure(family: Family, site: str, direction: str) -> None:
    for by in SITES[site].by:
        _assert_agrees(family, site, by, direction)


@pytest.mark.parametrize(("rounded", "site"), SWEPT, indirect=["rounded"])
def test_so_it_is_in_float32(rounded: Family, site: str) -> None:
    _assert_agrees(rounded, site, SITES[site].by[0], "denoise")


@pytest.mark.parametrize(("family", "site"), LACKING, indirect=["family"])
def test_a_site_the_architecture_lacks_is_refused_by_name(family: Family, site: str) -> None:
    with pytest.raises(PatchError, match=f"has no '{site}'"):
        pw.patch(family.bridged, PAIR, site)


def _hook_name(site: str, layer: int) -> str:
    """TransformerLens's name."""
    if site == "embed":
        return "hook_embed"
    part = "attn." if site in ("q", "k", "v", "z") else "mlp." if site in ("mlp_pre", "mlp_post") else ""
    return f"blocks.{layer}.{part}hook_{site.removeprefix('mlp_') if part == 'mlp.' else site}"


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_the_hooks_lie_where_the_addresses_do(family: Family) -> None:
    """Changed there, an activation moves the logits alike. A patch of a row is the same before and after a norm."""

    def bend(activation: Tensor) -> Tensor:
        return activation.mul_(torch.linspace(0.5, 1.5, activation.shape[-1], dtype=activation.dtype))

    hooks = handle_of(family.bridged).hooks
    plain = _difference(family.bare, CLEAN)
    for site, address in ADDRESSES[family.name].items():
        for layer in range(1 if site == "embed" else LAYERS):
            name = _hook_name(site, layer)
            assert site not in SITES or site == "embed" or SITES[site].hook_name(layer) == name
            expected = Hook(family.bare, address, layer).run(CLEAN, bend)
            with hooked(hooks, {name: bend}), torch.no_grad():
                found = _difference(family.bridged.original_model, CLEAN)
            assert found == pytest.approx(expected, abs=family.allowed(plain)), name
            assert abs(expected - plain) > 1e-4, name
