"""What every intervention writes: one small function each, from the activation that is there to the one to be."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import PatchError
from ..interventions import Intervention, Mean, Noise, Patch, Resample, Scale, Vector, Zero
from ..prompts import EncodedPair
from ..sites import Site
from .baseline import RUNS, Baseline, Row, record
from .gate import Stop
from .handle import ModelHandle
from .lanes import Lane
from .masks import Open, kept_closed, open_at
from .places import index_in
from .plan import Target, hook_of

if TYPE_CHECKING:
    from .hooked import Value

Encode = Callable[[object], tuple[EncodedPair, ...]]
"""Encodes a Dataset for this model."""


class Sources:
    """What values are made of: a model, the lanes of a sweep, and which run is changed.

    `standing` is the number of the intervention among those that stand, from 1; 0 for the one that is swept. `stop` is
    asked while the model runs.
    """

    def __init__(
        self, handle: ModelHandle, lanes: Sequence[Lane], base: str, hooks: Sequence[str], seed: int, encode: Encode,
        standing: int = 0, stop: Stop | None = None,
    ) -> None:  # fmt: skip
        self.handle, self.lanes, self.base, self.hooks, self.seed = handle, lanes, base, hooks, seed
        self.standing, self.stop = standing, stop
        self.source = RUNS[1 - RUNS.index(base)]
        self.encode = encode

    def random(self, lane: Lane, *what: object) -> int:
        """Return a seed for one draw, the same in every run of the same sweep and another in whatever else draws."""
        which = (f"standing {self.standing}",) if self.standing else ()
        text = "/".join(map(str, (self.seed, lane.number, lane.sample, *what, *which)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def pairs_of(self, over: object | None) -> tuple[EncodedPair, ...]:
        """Return the pairs of another dataset, or of this sweep."""
        if over is not None:
            return self.encode(over)
        return tuple({lane.number: lane.pair for lane in self.lanes}.values())

    def open(self, *, matched: bool = False) -> Open:
        """Return where attention is open in the base runs. It may run the model."""
        return open_at(self.handle, self.lanes, self.base, self.hooks, matched=matched)

    def record(self, rows: Sequence[Row]) -> Baseline:
        """Run rows plainly and keep the hooks' activations; Stopped when `stop` says so meanwhile."""
        return record(self.handle, rows, self.hooks, stop=self.stop)


def make_value(what: Intervention, sources: Sources, baseline: Baseline) -> Value:
    """Return the function that gives an intervention's values. Call with the handle's lock held: it may run the model.

    `baseline` holds the source runs' activations where the intervention is a patch. Attention that the model closes
    gets the value it has.
    """
    maker: Callable[..., Value] | None = _MAKERS.get(type(what))
    if maker is None:
        raise PatchError(f"the intervention {what.name!r} has no values yet.")
    return kept_closed(maker(what, sources, baseline), sources.open(matched=isinstance(what, Patch)))


def _patch(what: Patch, sources: Sources, baseline: Baseline) -> Value:
    def value(target: Target, lane: Lane, now: Tensor) -> Tensor:
        run = baseline.activations[hook_of(target)][lane, sources.source]
        return run[index_in(*target, lane, sources.base, source=True)]

    return value


def _zero(what: Zero, sources: Sources, baseline: Baseline) -> Value:
    return lambda target, lane, now: torch.zeros_like(now)


def _scale(what: Scale, sources: Sources, baseline: Baseline) -> Value:
    return lambda target, lane, now: now * what.factor


def check_vector(
    what: Intervention, site: Site, shape: Sequence[int], by: Sequence[str] = (), neurons: Sequence[int] | None = None
) -> None:
    """Raise PatchError where a vector has not as many entries as the cells of a site of this shape.

    `neurons` are those that every cell is confined to, None meaning all.
    """
    if not isinstance(what, Vector) or isinstance(what.values, float):
        return
    entries, last = len(what.values), site.axes[-1]  # type: ignore[arg-type]
    if last in by or last in ("dest", "src"):
        raise PatchError(f"a cell of {site.name} is one number here and the vector has {entries}; give one number.")
    if neurons is not None and entries != len(neurons):
        raise PatchError(
            f"the vector has {entries} entries and neurons= names {len(neurons)} of {site.name}; give {len(neurons)}, "
            "or one number."
        )
    if neurons is None and entries != shape[-1]:
        raise PatchError(f"the vector has {entries} entries and {site.name} has {shape[-1]}; give as many.")


def _vector(what: Vector, sources: Sources, baseline: Baseline) -> Value:
    given = torch.tensor(what.values, dtype=torch.float64)

    def value(target: Target, lane: Lane, now: Tensor) -> Tensor:
        new = given.to(now)
        return now + new if what.add else new.expand_as(now)

    return value


def _noise(what: Noise, sources: Sources, baseline: Baseline) -> Value:
    unit = what.sigma * sources.handle.embedding_std
    # Continuations of one prompt have different lengths and share the noise of what they have in common.
    longest: dict[int, int] = defaultdict(int)
    for each in sources.lanes:
        longest[each.number] = max(longest[each.number], len(each.ids(sources.base)))

    def value(target: Target, lane: Lane, now: Tensor) -> Tensor:
        # Drawn for the whole activation, so that a place gets the same noise whichever cells ride along; and again
        # for every cell, as all draws of a sweep together may be larger than the model.
        site, place = target
        generator = torch.Generator().manual_seed(sources.random(lane, hook_of(target)))
        shape = _extents(sources.handle, site, longest[lane.number])
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
        own = drawn[tuple(map(slice, _extents(sources.handle, site, len(lane.ids(sources.base)))))]
        return now + unit * own[index_in(site, place, lane, sources.base)].to(now)

    return value


def _extents(handle: ModelHandle, site: Site, length: int) -> list[int]:
    """Return the shape of a site's activation on a text of so many tokens."""
    shape = zip(site.axes, handle.shape(site), strict=True)
    return [length if axis in ("pos", "dest", "src") else size for axis, size in shape]


def check_drawn(what: Intervention, sources: Sources, sites: Sequence[Site]) -> None:
    """Raise PatchError where other prompts cannot give what an intervention takes from them. Runs nothing."""
    if isinstance(what, Resample):
        _donors(what, sources)
    if isinstance(what, Mean):
        _averaged(what, sources)
        scattered = [site.name for site in sites if "dest" in site.axes]
        if scattered and not what.per_position:
            raise PatchError(f"{scattered[0]} has no mean over positions; use Mean(per_position=True).")


def _averaged(what: Mean, sources: Sources) -> list[Row]:
    """Return the runs whose mean is taken."""
    runs = RUNS if what.run == "both" else (what.run,)
    pairs = sources.pairs_of(what.over)
    lanes: list[Row] = [(Lane(i, pair, i, 0, "both"), run) for i, pair in enumerate(pairs) for run in runs]
    if what.per_position:
        if any(lane.tail for lane in sources.lanes):
            raise PatchError(
                "a mean at each position does not reach an answer of several tokens; use Mean(per_position=False), or "
                "the answer's first token."
            )
        wanted = {len(lane.ids(sources.base)) for lane in sources.lanes}
        found = {len(lane.ids(run)) for lane, run in lanes}
        if wanted != found or len(found) > 1:
            raise PatchError(
                f"a mean at each position needs prompts of one length: the {sources.base} prompts have "
                f"{_told(wanted)} tokens, those of the mean {_told(found)}. Use Mean(per_position=False)."
            )
    return lanes


def _mean(what: Mean, sources: Sources, baseline: Baseline) -> Value:
    lanes = _averaged(what, sources)
    seen = sources.record(lanes)
    means = {hook: _mean_of([rows[row] for row in lanes], what.per_position) for hook, rows in seen.activations.items()}

    def value(target: Target, lane: Lane, now: Tensor) -> Tensor:
        site, place = target
        if what.per_position:
            return means[hook_of(target)][index_in(site, place, lane, sources.base)]
        everywhere = means[hook_of(target)].expand(len(lane.ids(sources.base)), *means[hook_of(target)].shape)
        return everywhere[index_in(site, place, lane, sources.base)]

    return value


def _mean_of(activations: Sequence[Tensor], per_position: bool) -> Tensor:
    """Return the mean over prompts, [pos, ...], or over prompts and positions, [...]."""
    if per_position:
        return torch.stack(list(activations)).mean(0)
    return torch.cat(list(activations)).mean(0)


def _told(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _donors(what: Resample, sources: Sources) -> dict[tuple[int, int], Row]:
    """Return, per pair and sample, the run of another prompt of as many tokens that is drawn for it."""
    by_length: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    prompts = dict.fromkeys(pair.ids(what.run) for pair in sources.pairs_of(what.over))
    for ids in prompts:
        by_length[len(ids)].append(ids)
    homes = {pair.ids(what.run): pair for pair in sources.pairs_of(what.over)}
    donors: dict[tuple[int, int], Row] = {}
    for lane in sources.lanes:
        own = (lane.pair.ids(sources.base), lane.pair.ids(what.run))
        others = [ids for ids in by_length[len(lane.pair.ids(sources.base))] if ids not in own]
        if not others:
            raise PatchError(
                f"there is no other {what.run} prompt of {len(own[0])} tokens to resample from; "
                "give Resample(over=...) a Dataset that has one."
            )
        chosen = random.Random(sources.random(lane, "donor")).choice(others)
        if lane.tail:
            raise PatchError("resampling needs an answer of one token; use the first token of the answer.")
        donors[lane.number, lane.sample] = (Lane(0, homes[chosen], -1, 0, "both"), what.run)
    return donors


def _resample(what: Resample, sources: Sources, baseline: Baseline) -> Value:
    """Take the activation at the same position of another prompt of as many tokens."""
    donors = _donors(what, sources)
    seen = sources.record(list(dict.fromkeys(donors.values())))

    def value(target: Target, lane: Lane, now: Tensor) -> Tensor:
        donor = donors[lane.number, lane.sample]
        return seen.activations[hook_of(target)][donor][index_in(*target, lane, sources.base)]

    return value


_MAKERS: dict[type, Callable[..., Value]] = {
    Patch: _patch, Zero: _zero, Scale: _scale, Vector: _vector, Noise: _noise, Mean: _mean, Resample: _resample,
}  # fmt: skip
