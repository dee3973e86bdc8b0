"""The interventions as source text: what is written where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..sites import SITES, Site
from .literals import Code, assigned, call, literal
from .settings import Settings

ATTENTION = ("pattern", "attn_scores")


@dataclass(frozen=True)
class Where:
    """An index as source, one piece per axis; `here` in the run that is changed, `there` in the other.

    A Joint's is the name of a variable.
    """

    here: tuple[str, ...]
    there: tuple[str, ...] = ()
    joint: bool = False

    def batched(self, name: str, *, there: bool = False) -> str:
        """Return the place in an activation [batch, ...]."""
        pieces = self._pieces(there)
        return f"{name}[0][{pieces[0]}]" if self.joint else f"{name}[{', '.join(('0', *pieces))}]"

    def single(self, name: str, *, whole: bool = False) -> str:
        """Return the place in an activation without a batch."""
        pieces = self._pieces(False)
        return f"{name}[{', '.join(pieces)}]" if pieces else name

    def _pieces(self, there: bool) -> tuple[str, ...]:
        pieces = list(self.there if there and self.there else self.here)
        while pieces and pieces[-1] == ":":
            pieces.pop()
        return tuple(pieces)


def where(settings: Settings, site: Site, place: Mapping[str, Any]) -> Where:
    """Return the index of a place: axis -> index, list of indices, or the name of a loop's variable as Code."""
    here, there = [], []
    for axis in site.axes:
        value = place.get(axis)
        if not settings.aligned or axis not in ("pos", "dest", "src"):
            here.append(":" if value is None else literal(value))
            there.append(here[-1])
        elif value is None or isinstance(value, list):
            here.append("ours")
            there.append("theirs")
        else:
            here.append(literal(value))
            there.append(f"counterpart[{literal(value)}]")
    return Where(outer(here), outer(there) if settings.aligned else ())


def outer(pieces: list[str]) -> tuple[str, ...]:
    """Two lists of indices select pairs: the first one stands upright, to select all of one with all of the other."""
    lists = [i for i, piece in enumerate(pieces) if piece[0] == "[" or piece in ("ours", "theirs")]
    if len(lists) > 1:
        first = pieces[lists[0]]
        upright = ", ".join(f"[{item}]" for item in first[1:-1].split(", "))
        pieces[lists[0]] = f"[{upright}]" if first[0] == "[" else f"{first}[:, None]"
    return tuple(pieces)


def lines(settings: Settings, what: Mapping[str, Any], place: Where, names: Names) -> list[str]:
    """Return the lines that write an intervention's value into `activation`."""
    to, own = place.batched("activation"), what["settings"]
    kind = what["intervention"]
    if kind == "patch":
        return [f"{to} = {place.batched('cache[name]', there=True)}"]
    if kind == "resample":
        return [f"{to} = {place.batched(f'{names.other}[name]')}"]
    if kind == "zero":
        return [f"{to} = 0"]
    if kind == "scale":
        return [f"{to} *= {literal(own['factor'])}"]
    if kind == "vector":
        return [f"{to} {'+' if own['add'] else ''}= {names.vector}"]
    if kind == "noise":
        extra = "extra, " if settings.uneven else ""
        drawn = f"noise({literal(own['sigma'])}, name, activation, {extra}{settings.draw}{which(names)})"
        return [f"{to} += {place.single(drawn)}"]
    if kind == "mean":
        mean = f"{names.means}[name]" if own["per_position"] else f"{names.means}[name].expand_as(activation[0])"
        return [f"{to} = {place.single(mean)}"]
    size = place.single("gradients[name]") + (".abs()" if own["absolute"] else "")
    if not own["graded"]:
        return [f"{to} *= {size} > {literal(own['threshold'])}"]
    return [
        f"size = {size}",
        f"weight = torch.where(size > {literal(own['threshold'])}, size.clamp(min=0), 0)",
        f"{to} *= weight / (weight.max() or 1)",
    ]


class Names(NamedTuple):
    """What the values of an intervention are called in the script."""

    number: int | None
    stand: str
    other: str
    others: str
    vector: str
    means: str
    prompts: str


def which(names: Names) -> str:
    """Return the arguments by which the draws of something that stands are told from others."""
    return "" if names.number is None else f', "standing {names.number}"'


def names_of(number: int | None = None) -> Names:
    """Return the names of the values of what is swept or, with their number at the end, of one that stands."""
    end = "" if number is None else f"_{number}"
    return Names(number, *(f"{name}{end}" for name in Names._fields[1:]))


def closes(what: Mapping[str, Any], sites: Sequence[Site], settings: Settings) -> bool:
    """Return whether a write could open attention that is closed: to later tokens, or outside a window."""
    if not any(site.name in ATTENTION for site in sites):
        return False
    return what["intervention"] not in ("zero", "scale", "patch") or settings.aligned or any(
        site.name == "attn_scores" and what["intervention"] != "patch" for site in sites
    )  # fmt: skip


def kept_closed(written: list[str], closed: bool) -> list[str]:
    """Return the lines that write, where needed with attention kept as it was where it is closed."""
    return ["before = activation.clone()", *written, "keep_closed(activation, before, hook)"] if closed else written


def names_line(sites: Sequence[Site], layers: Sequence[int] | None) -> str:
    """Return the source of a list of the sites' hook names, in some layers or in all."""
    found = []
    for site in dict.fromkeys(sites):
        if not site.layered or layers is not None:
            found.append(literal([site.hook_name(layer) for layer in layers or [0]]))
        else:
            found.append(f'[f"{site.hook}" for layer in range(model.cfg.n_layers)]')
    return " + ".join(found)


SEED = '''
def seed(*what):
    """Return the seed of one random draw."""
    digest = hashlib.sha256("/".join(map(str, ({seed}, *what))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
'''
NOISE = '''
def noise(sigma, name, activation, {extra}number, sample{which}):
    """Return the Gaussian noise of a whole activation, [pos, ...]."""
    generator = torch.Generator().manual_seed(seed(number, sample, name{which}))
    {shape}
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return sigma * unit * drawn{cut}.to(activation)
'''
DONOR = '''
def donor(prompts, taken, number, sample{which}):
    """Return the activations on another prompt of as many tokens, drawn at random."""
    others = [ids for ids in prompts if len(ids) == len(taken[0]) and ids not in taken]
    chosen = random.Random(seed(number, sample, "donor"{which})).choice(others)
    return model.run_with_cache(torch.tensor([chosen]{device}))[1]
'''
MEANS = '''
def means_of(prompts, names):
    """Return the mean activation of every hook over the prompts{positions}."""
    texts = [torch.tensor([ids]{device}) for ids in prompts]
    caches = [model.run_with_cache(text, names_filter=names)[1] for text in texts]
    return {{name: {mean} for name in names}}
'''
WATCH = '''
scores = {}


def watch(activation, hook):
    """Keep the attention scores of a layer: where attention is closed they are at their lowest."""
    scores[hook.name.replace("hook_attn_scores", "hook_pattern")] = activation[0].detach().clone()


for block in model.blocks:
    block.attn.hook_attn_scores.add_perma_hook(watch)
'''
OPEN = '''
def open_in(name, now):
    """Return where attention may be: not to later tokens, nor outside a window."""
{found}    return torch.ones_like(now).tril().bool() & ({of} > torch.finfo({of}.dtype).min / 2)
'''
KEEP_CLOSED = '''
def keep_closed(activation, before, hook):
    """Leave attention as it was where it is closed."""
    open_ = open_in(hook.name, before[0])
    activation[0][~open_] = before[0][~open_]
'''
UNIT = '''
def unit_of_noise():
    """Return the standard deviation of all tokens' embeddings as they enter the residual stream."""
    found = []
    for tokens in torch.arange(model.cfg.d_vocab{device})[:, None].split(2048):
        entering, cache = model.run_with_cache(tokens, stop_at_layer=0)
        position = cache["hook_pos_embed"].double() if "hook_pos_embed" in cache else 0
        found.append(entering.double() - position)
    return torch.cat(found).std().item()
'''


def shared(settings: Settings, sites: Sequence[Site]) -> list[str]:
    """Return the functions and values at the top of the script that the interventions need."""
    found: list[str] = []
    every = [SITES[stand["site"]] for stand in settings.standing] + list(sites)
    # What stands draws for itself: its number is part of the seed.
    more = ", *which" if any(stand["intervention"] in ("noise", "resample") for stand in settings.standing) else ""
    if settings.draws:
        found.append(SEED.format(seed=settings.p["seed"]))
    if settings.uses("noise"):
        found.append(UNIT.format(device=settings.device))
        flat = not any(site.name in ATTENTION for site in every)
        uneven = "[activation.shape[1] + extra, *activation.shape[2:]]" if flat else _SQUARE
        shape = f"shape = {uneven if settings.uneven else 'activation.shape[1:]'}"
        cut = "[: activation.shape[1]]" if flat else "[:, : activation.shape[2], : activation.shape[3]]"
        extra = "extra, " if settings.uneven else ""
        found.append(NOISE.format(which=more, extra=extra, shape=shape, cut=cut if settings.uneven else ""))
    if settings.uses("resample"):
        found.append(DONOR.format(which=more, device=settings.device))
    for per_position in (True, False):
        means = [each for each in settings.acting if each["intervention"] == "mean"]
        if any(each["settings"]["per_position"] == per_position for each in means):
            found.append(_means(settings, per_position))
    acting = [(settings.p, sites), *((stand, [SITES[stand["site"]]]) for stand in settings.standing)]
    found += _closing(settings, acting)
    return [text.strip("\n") for text in found]


def _closing(settings: Settings, acting: Sequence[tuple[Mapping[str, Any], Sequence[Site]]]) -> list[str]:
    """Return the functions that know where attention is closed, as far as a write could open it."""
    at = {site.name for what, sites in acting if closes(what, sites, settings) for site in sites}
    if "pattern" in at:
        # A model that does not compute with its scores shows none, and has no other mask than the causal one.
        return [WATCH, OPEN.format(found="    found = scores.get(name, now)\n", of="found"), KEEP_CLOSED]
    return [OPEN.format(found="", of="now"), KEEP_CLOSED] if "attn_scores" in at else []


_SQUARE = "[activation.shape[1], *(size + extra for size in activation.shape[2:])]"


def _means(settings: Settings, per_position: bool) -> str:
    made = "torch.stack([cache[name][0] for cache in caches]).mean(0)"
    if not per_position:
        made = made.replace("stack", "cat")
    text = MEANS.format(device=settings.device, mean=made, positions="" if per_position else " and positions")
    return text if per_position else text.replace("means_of", "overall_means_of")


def made(settings: Settings, sites: Sequence[Site]) -> list[str]:
    """Return the values that are made once: vectors, and means over prompts."""
    found = ["unit = unit_of_noise()"] if settings.uses("noise") else []
    for what, at, names in [(settings.p, sites, names_of()), *standing_names(settings)]:
        kind, own = what["intervention"], what["settings"]
        if kind == "vector":
            options = [f"dtype=torch.{settings.p['dtype']}", *([settings.device[2:]] if settings.device else [])]
            found.append(assigned(names.vector, own["values"]))
            found.append(f"{names.vector} = torch.tensor({names.vector}, {', '.join(options)})")
        if kind in ("mean", "resample"):
            if settings.standing:
                found.append("# What these prompts give is taken from runs with nothing standing.")
            found.append(_prompts(settings, what, names))
        if kind == "mean":
            maker = "means_of" if own["per_position"] else "overall_means_of"
            layers = what.get("layers") if what is not settings.p else None
            given, before = [names.prompts, names_line(at, layers)], len(names.means) + 3
            found.append(f"{names.means} = {call(maker, given, before)}")
    return found


def standing_names(settings: Settings) -> list[tuple[Mapping[str, Any], list[Site], Names]]:
    """Return what stands, with its site and the names of its values."""
    return [(stand, [SITES[stand["site"]]], names_of(stand["number"])) for stand in settings.standing]


def _prompts(settings: Settings, what: Mapping[str, Any], names: Names) -> str:
    if what["over"] is not None:
        return assigned(names.prompts, what["over"])
    run, source = what["settings"]["run"], "pairs" if len(settings.pairs) > 1 else "[pair]"
    own = [pair[run] for pair in settings.pairs] if run != "both" else []
    if what["intervention"] == "resample" and len({tuple(ids) for ids in own}) < len(own):
        return assigned(names.prompts, [list(ids) for ids in dict.fromkeys(map(tuple, own))])
    if run != "both":
        return f'{names.prompts} = [pair["{run}"] for pair in {source}]'
    return f'{names.prompts} = [pair[run] for pair in {source} for run in ("clean", "corrupted")]'


def loop_place(settings: Settings, by: Sequence[str]) -> dict[str, Any]:
    """Return the place of a swept cell: loop variables, and the indices every patch is confined to."""
    return {**settings.p["within"], **{axis: Code(axis) for axis in by}}
