"""Every family's tables agree with plain forward hooks on a model that TransformerLens never touched."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

import patchwidgets as pw
from patchwidgets.engine.gate import hooked
from patchwidgets.engine.handle import handle_of
from patchwidgets.errors import PatchError
from patchwidgets.sites import SITES
from tests.engine.plain import (
    CLEAN,
    CORRUPTED,
    PAIR,
    READ_ONLY,
    Family,
    Hook,
    difference,
    family_of,
    lacks,
    patterns,
)
from tests.families import ADDRESSES, FAMILIES, HEADS, LAYERS

FEW = {"pos": [2, 7], "neuron": [0, 29]}
"""What is taken of an axis where all of it would be too many cells."""

SWEPT = [(name, site) for name, table in ADDRESSES.items() for site in table if site in SITES]
LACKING = sorted((name, site) for name in FAMILIES for site in lacks(name))
ATTENDING = [name for name in FAMILIES if name not in READ_ONLY]


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> Family:
    """A family in float64."""
    return family_of(request.param, torch.float64)


@pytest.fixture(scope="module")
def rounded(request: pytest.FixtureRequest) -> Family:
    """A family in float32."""
    return family_of(request.param, torch.float32)


Shown = tuple[tuple[str, tuple[int, ...]], ...]
"""The axes of a table with the indices that are shown, so that tables can be kept by them."""


@cache
def _oracle(family: Family, site: str, labels: Shown, base: tuple[int, ...], source: tuple[int, ...]) -> np.ndarray:
    """Return the logit difference after each cell's patch, one plain run per cell, shaped like the labels."""
    values = []
    for layer in dict(labels).get("layer", [0]):
        hook = Hook(family.bare, ADDRESSES[family.name][site], layer)
        kept = hook.read(list(source))
        rest = {axis: indices for axis, indices in labels if axis != "layer"}
        for where in product(*rest.values()):
            values.append(hook.write(list(base), dict(zip(rest, where, strict=True)), kept))
    return np.array(values).reshape([len(indices) for _, indices in labels])


def _labels(family: Family, site: str, by: tuple[str, ...]) -> dict[str, list[int]]:
    address = ADDRESSES[family.name][site]
    shape = Hook(family.bare, address, 0).read(CLEAN).shape
    sizes = {"layer": LAYERS, **dict(zip(address.axes, shape, strict=False))}
    few = {axis: indices for axis, indices in FEW.items() if axis == "neuron" or len(by) > 2}
    return {axis: few[axis] if axis in few else list(range(sizes[axis])) for axis in by}


_WORDS = {"pos": "positions", "neuron": "neurons"}


def _assert_agrees(family: Family, site: str, by: tuple[str, ...], direction: str, engine: str) -> None:
    labels = _labels(family, site, by)
    chosen = {_WORDS[axis]: indices for axis, indices in labels.items() if axis in FEW and indices is FEW[axis]}
    base, source = (CORRUPTED, CLEAN) if direction == "denoise" else (CLEAN, CORRUPTED)
    shown = tuple((axis, tuple(indices)) for axis, indices in labels.items())
    expected = _oracle(family, site, shown, tuple(base), tuple(source))
    result = pw.patch(family.bridged, PAIR, site, by=by, direction=direction, **chosen).wait()
    assert result.engine == family.engine(engine)
    clean, corrupted = difference(family.bare, CLEAN), difference(family.bare, CORRUPTED)
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
def test_every_table_is_what_plain_hooks_measure(family: Family, site: str, direction: str, engine: str) -> None:
    for by in SITES[site].by:
        _assert_agrees(family, site, by, direction, engine)


@pytest.mark.parametrize(("rounded", "site"), SWEPT, indirect=["rounded"])
def test_so_it_is_in_float32(rounded: Family, site: str, engine: str) -> None:
    _assert_agrees(rounded, site, SITES[site].by[0], "denoise", engine)


@pytest.mark.parametrize(("family", "site"), LACKING, indirect=["family"])
def test_a_site_the_architecture_lacks_is_refused_by_name(family: Family, site: str) -> None:
    told = f"shows '{site}' but does not compute with it" if site in ("pattern", "attn_scores") else f"has no '{site}'"
    with pytest.raises(PatchError, match=told):
        pw.patch(family.bridged, PAIR, site)


@cache
def _attention_oracle(family: Family, by: tuple[str, ...], direction: str) -> tuple[list[int], np.ndarray]:
    """Return the layers, and the logit difference after each cell of their pattern's patch, by what it makes of z."""
    layers = [LAYERS - 1] if "src" in by else list(range(LAYERS))
    base, source = (CORRUPTED, CLEAN) if direction == "denoise" else (CLEAN, CORRUPTED)
    values = []
    for layer in layers:
        value = Hook(family.bare, ADDRESSES[family.name]["v"], layer).read(base)
        z = Hook(family.bare, ADDRESSES[family.name]["z"], layer)
        plain, other = patterns(family.bare, base, layer), patterns(family.bare, source, layer)
        sizes = {"head": HEADS, "dest": len(base), "src": len(base)}
        for where in product(*(range(sizes[axis]) for axis in by[1:])):
            if len(where) == 3 and where[2] > where[1]:
                values.append(np.nan)
                continue
            attention = plain.clone()
            attention[where] = other[where]
            head = where[0]
            new = attention[head] @ value[:, head * value.shape[1] // HEADS]
            values.append(z.change(base, {"head": head}, lambda now, new=new: new.to(now)))
    return layers, np.array(values)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("family", ATTENDING, indirect=True)
def test_attention_is_what_it_makes_of_the_values(family: Family, direction: str, engine: str) -> None:
    """A patched pattern acts through z = pattern @ v alone. Scores of a whole row of attention give that row of it."""
    base = CORRUPTED if direction == "denoise" else CLEAN
    allowed = family.allowed(difference(family.bare, CLEAN) - difference(family.bare, CORRUPTED))
    for by in SITES["pattern"].by:
        layers, expected = _attention_oracle(family, by, direction)
        assert np.nanmax(np.abs(expected - difference(family.bare, base))) > 1e-3
        for site in ("pattern", "attn_scores") if "src" not in by else ("pattern",):
            found = pw.patch(family.bridged, PAIR, site, by=by, direction=direction, layers=layers).wait()
            assert found.engine == family.engine(engine)
            told = f"{family.name} {site} {by} {direction}"
            values = found.data["patched"].values.ravel()
            np.testing.assert_allclose(values, expected, rtol=0, atol=allowed, err_msg=told)


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_the_hooks_lie_where_the_addresses_do(family: Family) -> None:
    """Changed there, an activation moves the logits alike. A patch of a row is the same before and after a norm."""

    def bend(activation: Tensor) -> Tensor:
        return activation.mul_(torch.linspace(0.5, 1.5, activation.shape[-1], dtype=activation.dtype))

    hooks = handle_of(family.bridged).hooks
    plain = difference(family.bare, CLEAN)
    for site, address in ADDRESSES[family.name].items():
        for layer in range(LAYERS if SITES[site].layered else 1):
            name = SITES[site].hook_name(layer)
            expected = Hook(family.bare, address, layer).run(CLEAN, bend)
            with hooked(hooks, {name: bend}), torch.no_grad():
                found = difference(family.bridged.original_model, CLEAN)
            assert found == pytest.approx(expected, abs=family.allowed(plain)), name
            assert abs(expected - plain) > 1e-4, name
