"""The vocabulary of sites is the contract's table."""

from __future__ import annotations

from typing import Any

import pytest

from patchwidgets.errors import PatchError
from patchwidgets.interventions import Patch
from patchwidgets.sites import SITES, get_site

RESIDUAL = (("layer", "pos"), ("layer",))
HEADS = (("layer", "head"), ("layer", "pos", "head"))
PATTERNS = (("layer", "head"), ("layer", "head", "dest"), ("layer", "head", "dest", "src"))
NEURONS = (("layer", "neuron"), ("layer", "pos", "neuron"), ("layer", "pos"))


@pytest.mark.parametrize(
    ("name", "hook", "by"),
    [
        ("resid_pre", "blocks.3.hook_resid_pre", RESIDUAL),
        ("resid_mid", "blocks.3.hook_resid_mid", RESIDUAL),
        ("resid_post", "blocks.3.hook_resid_post", RESIDUAL),
        ("attn_out", "blocks.3.hook_attn_out", RESIDUAL),
        ("mlp_out", "blocks.3.hook_mlp_out", RESIDUAL),
        ("z", "blocks.3.attn.hook_z", HEADS),
        ("q", "blocks.3.attn.hook_q", HEADS),
        ("k", "blocks.3.attn.hook_k", HEADS),
        ("v", "blocks.3.attn.hook_v", HEADS),
        ("pattern", "blocks.3.attn.hook_pattern", PATTERNS),
        ("attn_scores", "blocks.3.attn.hook_attn_scores", PATTERNS),
        ("mlp_pre", "blocks.3.mlp.hook_pre", NEURONS),
        ("mlp_post", "blocks.3.mlp.hook_post", NEURONS),
        ("embed", "hook_embed", (("pos",),)),
    ],
)
def test_a_site_is_transformerlens_hook_of_that_name(name: str, hook: str, by: tuple[tuple[str, ...], ...]) -> None:
    site = get_site(name)
    assert (site.name, site.hook_name(3), site.by) == (name, hook, by)
    assert site.granularity() == by[0]
    for granularity in by:
        assert site.granularity(granularity) == site.granularity(list(granularity)) == granularity


def test_one_axis_may_be_given_by_its_name() -> None:
    assert get_site("mlp_out").granularity("layer") == ("layer",)


@pytest.mark.parametrize("by", ["head", ("pos", "layer"), ("layer", "head"), (), 3, ("layer", "layer"), {"layer"}])
def test_another_granularity_is_refused_with_those_there_are(by: Any) -> None:
    with pytest.raises(PatchError) as caught:
        get_site("resid_pre").granularity(by)
    assert str(caught.value) == (
        f"site 'resid_pre' cannot be swept by {by!r}. It can be swept by ('layer', 'pos'); ('layer',)."
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [("resid_per", "resid_pre"), ("residpost", "resid_post"), ("attn", "attn_out"), ("MLP_OUT", "mlp_out")],
)
def test_an_unknown_site_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(PatchError) as caught:
        get_site(name)
    assert str(caught.value) == f"unknown site {name!r}; did you mean {near!r}? Known: {', '.join(SITES)}."


@pytest.mark.parametrize("name", [None, 3, "", "###", ["z"]])
def test_what_resembles_no_site_is_refused_with_all_of_them(name: Any) -> None:
    with pytest.raises(PatchError) as caught:
        get_site(name)
    assert str(caught.value) == f"unknown site {name!r}. Known: {', '.join(SITES)}."


@pytest.mark.parametrize(
    ("direction", "base", "source", "moved"),
    [("denoise", "corrupted", "clean", "recovered"), ("noise", "clean", "corrupted", "destroyed")],
)
def test_directions(direction: str, base: str, source: str, moved: str) -> None:
    patch = Patch(direction)
    assert (patch.base, patch.source, patch.moved) == (base, source, moved)


def test_an_unknown_direction_is_refused_with_the_nearest() -> None:
    with pytest.raises(PatchError, match="unknown direction 'denoising'; did you mean 'denoise'"):
        Patch("denoising")
