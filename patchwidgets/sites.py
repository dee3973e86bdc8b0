"""The vocabulary of places: each site is one TransformerLens hook name, with the axes it can be swept over."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import PatchError, unknown

AXES = ("layer", "pos", "head", "neuron", "dest", "src")

_RESIDUAL = (("layer", "pos"), ("layer",))
_HEADS = (("layer", "head"), ("layer", "pos", "head"))
_PATTERNS = (("layer", "head"), ("layer", "head", "dest"), ("layer", "head", "dest", "src"))
_NEURONS = (("layer", "neuron"), ("layer", "pos", "neuron"), ("layer", "pos"))


@dataclass(frozen=True)
class Site:
    """A place in the network whose activation can be replaced.

    Attributes:
        name: the field's word for it, e.g. "resid_pre".
        hook: TransformerLens's hook name with `{layer}` for the block, e.g. "blocks.{layer}.hook_resid_pre"; a site
            whose hook names no block exists once.
        axes: what the dimensions of the hooked activation after the batch mean, in order; "" for a vector dimension.
        by: the granularities a sweep may use, the default first.
        words: what the activation is, for sentences about a cell.
        own_row: whether what is written at one position changes only that position in the layer's output. Saying so
            saves work; it is never needed for the right number.
        in_place: whether the hook is shown the residual stream itself on its way into a norm, so that patching means
            writing into that very tensor. Elsewhere what is written must reach nothing but the hook's own reader.
    """

    name: str
    hook: str
    axes: tuple[str, ...]
    by: tuple[tuple[str, ...], ...]
    words: str
    own_row: bool = False
    in_place: bool = False

    @property
    def layered(self) -> bool:
        """Whether every layer has one."""
        return "{layer}" in self.hook

    def hook_name(self, layer: int | None = None) -> str:
        """Return the hook's name in block `layer`."""
        return self.hook.format(layer=layer)

    def granularity(self, by: object = None) -> tuple[str, ...]:
        """Return `by` as a tuple of axes, or the default; an unknown one is a PatchError.

        >>> SITES["z"].granularity()
        ('layer', 'head')
        """
        if by is None:
            return self.by[0]
        wanted = (by,) if isinstance(by, str) else by
        if isinstance(wanted, (tuple, list)) and tuple(wanted) in self.by:
            return tuple(wanted)
        known = "; ".join(str(option) for option in self.by)
        raise PatchError(f"site {self.name!r} cannot be swept by {by!r}. It can be swept by {known}.")


def _table(*sites: Site) -> dict[str, Site]:
    return {site.name: site for site in sites}


SITES: dict[str, Site] = _table(
    Site(
        "resid_pre", "blocks.{layer}.hook_resid_pre", ("pos", ""), _RESIDUAL, "the residual stream entering the layer"
    ),
    Site(
        "resid_mid",
        "blocks.{layer}.hook_resid_mid",
        ("pos", ""),
        _RESIDUAL,
        "the residual stream between the layer's attention and its MLP",
        in_place=True,
    ),
    Site(
        "resid_post", "blocks.{layer}.hook_resid_post", ("pos", ""), _RESIDUAL, "the residual stream leaving the layer"
    ),
    Site("attn_out", "blocks.{layer}.hook_attn_out", ("pos", ""), _RESIDUAL, "the attention output of the layer"),
    Site("mlp_out", "blocks.{layer}.hook_mlp_out", ("pos", ""), _RESIDUAL, "the MLP output of the layer"),
    Site("z", "blocks.{layer}.attn.hook_z", ("pos", "head", ""), _HEADS, "the output z of the head", True),
    Site("q", "blocks.{layer}.attn.hook_q", ("pos", "head", ""), _HEADS, "the query of the head", True),
    Site("k", "blocks.{layer}.attn.hook_k", ("pos", "head", ""), _HEADS, "the key of the head"),
    Site("v", "blocks.{layer}.attn.hook_v", ("pos", "head", ""), _HEADS, "the value of the head"),
    Site(
        "pattern",
        "blocks.{layer}.attn.hook_pattern",
        ("head", "dest", "src"),
        _PATTERNS,
        "the attention pattern of the head",
        True,
    ),
    Site(
        "attn_scores",
        "blocks.{layer}.attn.hook_attn_scores",
        ("head", "dest", "src"),
        _PATTERNS,
        "the attention scores of the head",
        True,
    ),
    Site(
        "mlp_pre", "blocks.{layer}.mlp.hook_pre", ("pos", "neuron"), _NEURONS, "the neuron's input, before activation"
    ),
    Site(
        "mlp_post",
        "blocks.{layer}.mlp.hook_post",
        ("pos", "neuron"),
        _NEURONS,
        "the neuron's output, after activation and gate",
    ),
    Site("embed", "hook_embed", ("pos", ""), (("pos",),), "the token's embedding"),
)


def get_site(name: object) -> Site:
    """Return the site called `name`; an unknown name is a PatchError with the nearest one."""
    if isinstance(name, str) and name in SITES:
        return SITES[name]
    raise unknown("site", name, SITES)


def layers_around(layer: int, window: int, n_layers: int) -> range:
    """Return the layers patched together with one: `window` of them, centred, fewer at the ends (Meng et al., A.2).

    >>> layers_around(4, 3, 12), layers_around(0, 3, 12)
    (range(3, 6), range(0, 2))
    """
    return range(max(0, layer - window // 2), min(n_layers, layer + (window + 1) // 2))
