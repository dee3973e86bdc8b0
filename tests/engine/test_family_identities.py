"""Identities of the mathematics, in float64, on every family and every site of the vocabulary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.patch import encode, patch
from patchwidgets.engine.plan import make_plan
from patchwidgets.engine.sweep import start
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Noise, Patch, Scale, Standing, Vector
from patchwidgets.joint import Joint
from patchwidgets.metrics import get_metrics
from patchwidgets.prompts import PromptPair
from patchwidgets.result import IMPLIED, PENDING
from patchwidgets.sites import SITES
from tests.engine import plain
from tests.engine.plain import Family, family_of, lacks
from tests.families import FAMILIES, HEADS, LAYERS

DIRECTIONS = ("denoise", "noise")
HARMLESS = {
    "patched from a run of itself": {},
    "scale 1": {"intervention": Scale(1.0)},
    "noise of 0 sigma": {"intervention": Noise(0.0, samples=2)},
    "nothing added": {"intervention": Vector(0.0, add=True)},
}
EVERY = [(name, site) for name in FAMILIES for site in SITES]


@pytest.fixture
def having(request: pytest.FixtureRequest) -> tuple[Family, str]:
    """A family and a site."""
    return family_of(request.param[0]), request.param[1]


def lacked(family: Family, site: str) -> bool:
    """Whether the model lacks the site; then it says so by name."""
    if site not in lacks(family.name):
        return False
    with pytest.raises(PatchError, match=f"'{site}'"):
        patch(family.bridged, plain.PAIR, site)
    return True


def normalized(family: Family, site: str | Joint, **options: object) -> np.ndarray:
    return patch(family.bridged, plain.PAIR, site, **options).wait().normalized.values[0]  # type: ignore[arg-type]


def assert_same(found: np.ndarray, expected: np.ndarray | float, told: str = "") -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8, err_msg=told)


def few(site: str) -> dict[str, object]:
    """Neurons to choose, where there are any."""
    return {"neurons": [0, 29]} if "neuron" in SITES[site].axes else {}


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
@pytest.mark.parametrize("engine", ["hooked"], indirect=True)  # Where something stands there is no other.
@pytest.mark.parametrize("having", EVERY, indirect=True)
def test_what_changes_nothing_has_no_effect(having: tuple[Family, str], engine: str) -> None:
    family, site = having
    if lacked(family, site):
        return
    # Two equal prompts are a pair only if something could stand in one of them; here that changes nothing either.
    same = PromptPair(plain.CLEAN, plain.CLEAN, answer=plain.ANSWER, foil=plain.FOIL)
    standing = Standing("embed", Scale(1.0), runs="clean")
    for told, options in HARMLESS.items():
        for by in SITES[site].by[: 1 if options else None]:
            result = patch(family.bridged, same, site, by=by, standing=standing, **few(site), **options).wait()  # type: ignore[arg-type]
            assert result.engine == engine
            known = result.data["status"].values != "unavailable"
            assert (result.data["status"].values[known] == "measured").all()
            assert_same(result.effect.values[0][known], 0.0, f"{told} {by}")


@pytest.mark.parametrize("having", EVERY, indirect=True)
def test_the_parts_of_a_place_together_are_the_place(having: tuple[Family, str]) -> None:
    """All positions, all heads, all neurons, all rows or columns of attention."""
    family, name = having
    if lacked(family, name):
        return
    site, handle = SITES[name], handle_of(family.bridged)
    at = {"layer": 1} if site.layered else {}
    sets = {"whole": [(name, at)]}
    for axis in filter(None, site.axes):
        positional = axis in ("pos", "dest", "src")
        size = len(plain.CLEAN) if positional else handle.size(site, axis)
        sets[axis] = [(name, {**at, axis: index}) for index in range(size)]
    for direction in DIRECTIONS:
        found = normalized(family, Joint(sets), direction=direction)
        assert abs(found[0]) > 1e-4
        assert_same(found, found[0], direction)


@pytest.mark.parametrize("having", EVERY, indirect=True)
def test_naming_every_index_is_naming_none(having: tuple[Family, str]) -> None:
    family, name = having
    if lacked(family, name):
        return
    site, handle = SITES[name], handle_of(family.bridged)
    by = site.by[0]
    sizes = {"positions": ("pos", len(plain.CLEAN)), "heads": ("head", None), "neurons": ("neuron", None)}
    plain_table = normalized(family, name, by=by)
    for word, (axis, size) in sizes.items():
        if axis in site.axes:
            every = list(range(size or handle.size(site, axis)))
            assert_same(normalized(family, name, by=by, **{word: every}), plain_table, word)


@pytest.mark.parametrize("having", EVERY, indirect=True)
def test_implied_cells_are_zero_when_they_are_measured_all_the_same(having: tuple[Family, str], engine: str) -> None:
    family, name = having
    if lacked(family, name):
        return
    handle, site = handle_of(family.bridged), SITES[name]
    for by in site.by:
        subsets = {"layer": [0, LAYERS - 1]} if site.layered else {}
        subsets |= {"neuron": [0, 29]} if "neuron" in site.axes else {}
        subsets |= {"head": [0, 1]} if len(by) > 3 else {}
        pairs = encode(handle, plain.PAIR, needs_foil=True)
        plan = make_plan(handle, pairs, site, by, Patch(), get_metrics("logit_diff"), subsets)
        implied = np.flatnonzero(plan.status.ravel() == IMPLIED)
        assert len(implied) > 0 or not {"pos", "dest"} & set(by)
        pending = np.where(plan.status == IMPLIED, PENDING, plan.status).astype(plan.status.dtype)
        result = start(handle, replace(plan, status=pending, order=implied), engine=family.engine(engine)).wait()
        assert not len(implied) or result.engine == family.engine(engine)
        assert (result.data["status"].values.ravel()[implied] == "measured").all()
        assert_same(result.effect.values[0].ravel()[implied], 0.0, str(by))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_all_of_a_residual_layer_moves_everything(name: str, direction: str) -> None:
    family = family_of(name)
    for site in sorted({"resid_pre", "resid_mid", "resid_post"} - lacks(name)):
        run = patch(family.bridged, plain.PAIR, site, by="layer", direction=direction, metric=["logit_diff", "logprob"])
        assert_same(run.wait().normalized.values, 1.0, site)
    everything = Joint({"all": [("embed", {})], "each": [("embed", {"pos": pos}) for pos in range(len(plain.CLEAN))]})
    assert_same(normalized(family, everything, direction=direction), 1.0)
    last = normalized(family, "resid_post", direction=direction, layers=-1)[0]
    assert_same(last, [*[0.0] * (len(plain.CLEAN) - 1), 1.0])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_all_heads_together_are_the_attention_output(name: str, direction: str) -> None:
    family = family_of(name)
    heads = {str(layer): [("z", {"layer": layer, "head": head}) for head in range(HEADS)] for layer in range(LAYERS)}
    out = normalized(family, "attn_out", by="layer", direction=direction)
    assert_same(normalized(family, Joint(heads), direction=direction), out)
    assert np.abs(out).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in FAMILIES if "pattern" not in lacks(name)])
def test_all_rows_of_attention_are_the_head(name: str) -> None:
    family, length = family_of(name), len(plain.CLEAN)
    for site in plain.ATTENTION:
        rows = {
            f"{layer}.{head}": [(site, {"layer": layer, "head": head, "dest": dest}) for dest in range(length)]
            for layer in range(LAYERS)
            for head in range(HEADS)
        }
        assert_same(normalized(family, Joint(rows)), normalized(family, site).ravel(), site)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_window_is_its_layers_together(name: str) -> None:
    """An even window reaches one layer further down than up; what lies outside the model is left out."""
    family = family_of(name)
    reach = {2: [[0], [0, 1], [1, 2]], 3: [[0, 1], [0, 1, 2], [1, 2]], 2 * LAYERS: [[0, 1, 2]] * 3}
    for site in ("mlp_out", "z"):
        by = SITES[site].by[0]
        assert_same(normalized(family, site, window=1), normalized(family, site))
        for window, layers in reach.items():
            where = [{by[1]: index} for index in range(len(plain.CLEAN) if by[1] == "pos" else HEADS)]
            sets = {
                f"{layer} {place}": [(site, {"layer": other, **place}) for other in layers[layer]]
                for layer in range(LAYERS)
                for place in where
            }
            found = normalized(family, site, window=window)
            assert_same(found.ravel(), normalized(family, Joint(sets)), f"{site} {window}")
