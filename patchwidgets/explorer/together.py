"""Several cells of a sweep patched at once: the sweep that measures it, and what it says beside each cell alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from .. import words
from ..engine.handle import ModelHandle
from ..engine.plan import Plan, make_plan
from ..interventions import Mean, Noise, Patch, Resample, Vector, Zero
from ..joint import Joint
from ..metrics import METRICS, tolerance
from ..result import PatchResult
from ..spelling import counted, minus, shown_token, signed
from ..spread import CONFIDENCE, DRAWS, pair_effects

TOGETHER = "together"
"""The name of the set of all cells."""

SLIGHT = 0.005
"""A share of the gap that reads 0.00."""

_STREAM = ("resid_pre", "resid_mid", "resid_post")
_LINEAR = ("logit_diff", "logit")


def joint_plan(handle: ModelHandle, plan: Plan, cells: Sequence[int]) -> Plan:
    """Return the sweep of cells of `plan`, given by flat index: each alone, then all together, as it patches them.

    Raises PatchError where they cannot be patched together. May ask the model.
    """
    each = {name_of(plan, flat): _written(plan, flat) for flat in cells}
    joint = Joint({**each, TOGETHER: [target for targets in each.values() for target in targets]})
    return make_plan(
        handle, plan.pairs, joint, ("set",), plan.patch, plan.metrics, {}, intervention=plan.intervention,
        standing=plan.standing, seed=plan.seed,
    )  # fmt: skip


def name_of(plan: Plan, flat: int) -> str:
    """Return a cell by its axes: "layer 3, pos 5"."""
    return ", ".join(f"{axis} {index}" for axis, index in plan.cell(flat).items())


def _written(plan: Plan, flat: int) -> list[tuple[str, dict[str, int]]]:
    """Return what a cell writes, one place by one."""
    found = []
    for site, place in plan.targets(flat):
        indices = [index if isinstance(index, list) else [index] for index in place.values()]
        found += [(site.name, dict(zip(place, at, strict=True))) for at in product(*indices)]
    return found


@dataclass(frozen=True)
class Together:
    """A joint sweep's effects in one metric.

    Attributes:
        alone: each cell's own effect.
        joint: the effect of all together.
        interval: over a dataset the interval of `joint` minus the sum; None for one pair, or where it has no bounds.
        raw: whether the effects are in the metric's unit, as its gap is too small to divide by.
        resolved: the size below which a difference from the sum may be rounding.
    """

    alone: tuple[float, ...]
    joint: float
    interval: tuple[float, float] | None
    raw: bool
    resolved: float

    @property
    def total(self) -> float:
        """What the cells' own effects add up to."""
        return sum(self.alone)

    @property
    def excess(self) -> float:
        """How much more all together move than that."""
        return self.joint - self.total

    @property
    def resolves(self) -> bool:
        """Whether that is more than rounding."""
        return abs(self.excess) > self.resolved

    @property
    def unsure(self) -> bool:
        """Whether the interval of that difference includes 0."""
        return self.interval is not None and self.interval[0] <= 0 <= self.interval[1]


def together_of(result: PatchResult) -> Together:
    """Return what a joint sweep's first metric says; its last set is all cells together."""
    raw = bool(words.small_gaps(result))
    values = (result.effect if raw else result.normalized).values[0]
    clean, corrupted = float(result.data["clean"].values[0]), float(result.data["corrupted"].values[0])
    error = tolerance(result.provenance["dtype"], clean - corrupted) * len(values)
    return Together(
        tuple(map(float, values[:-1])), float(values[-1]), _interval(result, raw), raw,
        error if raw else error / abs(clean - corrupted),
    )  # fmt: skip


def spelled(value: float) -> str:
    """Return a number with two decimals, or with two digits that are not 0 where those would read 0.00.

    >>> spelled(0.256), spelled(-0.00031), spelled(0.0)
    ('0.26', '\u22120.00031', '0.00')
    """
    return signed(value) if abs(value) >= SLIGHT or not value else minus(f"{value:.2g}")


def _interval(result: PatchResult, raw: bool) -> tuple[float, float] | None:
    """Return the bootstrap interval over the pairs of what all together move beyond the sum."""
    from .. import stats  # scipy takes a while to import

    if "patched_pairs" not in result.data:
        return None
    effects = pair_effects(result)
    excess = effects[:, -1] - effects[:, :-1].sum(1)
    drawn = {"confidence": CONFIDENCE, "resamples": DRAWS}
    if raw:
        low, high = stats.bootstrap(excess, **drawn)
    else:
        runs = (result.direction.base, result.direction.source)
        base, source = (result.data[f"{run}_pairs"].transpose("metric", "pair").values[0] for run in runs)
        low, high = stats.bootstrap_normalized(excess + base, base, source, **drawn)
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def told(found: Together, plan: Plan, metric: str) -> list[str]:
    """Return what the joint effect and the sum say, in sentences that follow from the settings."""
    unit = f" ({words.unit(metric)})" if found.raw else " of the gap"
    sentences = [_excess(found, plan, unit)]
    if found.interval is not None:
        low, high = (spelled(end) for end in found.interval)
        pairs = counted(len(plan.pairs), "pair")
        over = f"Over {pairs} the {CONFIDENCE:.0%} interval of that difference is {low} to {high}"
        sentences.append(f"{over}, which includes 0: it is not told apart from none." if found.unsure else f"{over}.")
    if plan.samples > 1 or isinstance(plan.intervention, (Noise, Resample)):
        means = f"a mean of {plan.samples} random draws" if plan.samples > 1 else "one random draw"
        sentences.append(f"Every effect is {means}: some of the difference is chance.")
    if metric not in _LINEAR and found.resolves:
        name = METRICS[metric].name.replace("_", " ") if metric in METRICS else metric
        sentences.append(
            f"Effects in {name} need not add up even of parts that act apart: it is no linear function of the logits."
        )
    return sentences


def _excess(found: Together, plan: Plan, unit: str) -> str:
    if not found.resolves:
        return "Together they move what their own effects add up to, as far as the precision resolves."
    more, patches = found.excess > 0, isinstance(plan.intervention, Patch)
    depends = "what the change of one does depends on the change of the other"
    if found.raw:
        told = (
            f"Together they move the metric to {spelled(abs(found.excess))}{unit} {'above' if more else 'below'} what "
            "their own effects add up to"
        )
        return _with_why(told, depends, found, plan)
    verb = ("recover" if plan.patch.direction == "denoise" else "destroy") if patches else "move the answer by"
    if abs(found.excess) < SLIGHT:
        return f"Together they {verb} what their own effects add up to, but for {spelled(abs(found.excess))}{unit}."
    told = (
        f"Together they {verb} {spelled(abs(found.excess))}{unit} {'more' if more else 'less'} than their own effects "
        "add up to"
    )
    if not patches:
        return _with_why(told, depends, found, plan)
    why = {
        ("recover", True): "a cell recovers more where the others are in place as well",
        ("recover", False): "a cell recovers less where the others are in place as well",
        ("destroy", True): "while the others are intact, losing a cell costs less",
        ("destroy", False): "once the others are lost, losing a cell costs less",
    }
    return _with_why(told, why[verb, more], found, plan)


def _with_why(told: str, why: str, found: Together, plan: Plan) -> str:
    """Return a sentence with its reason, but where the difference may be chance."""
    chance = found.unsure or isinstance(plan.intervention, (Noise, Resample))
    return f"{told}." if chance else f"{told}: {why}."


def overwritten(plan: Plan, cells: Sequence[int]) -> list[str]:
    """Return a sentence where of two cells the upper layer's patch replaces what the lower one put there.

    That is so of the residual stream, which every layer reads and hands on, for interventions that do not build on what
    they find.
    """
    what = plan.intervention
    sets = isinstance(what, (Patch, Zero, Mean, Resample)) or (isinstance(what, Vector) and not what.add)
    if plan.name not in _STREAM or not sets:
        return []
    layers: dict[int | None, set[int]] = defaultdict(set)
    for flat in cells:
        cell = plan.cell(flat)
        layers[cell.get("pos")].add(cell["layer"])
    return [_told(plan, at, sorted(found)) for at, found in sorted(layers.items(), key=str) if len(found) > 1]


def _told(plan: Plan, at: int | None, layers: Sequence[int]) -> str:
    *lower, upper = layers
    one = len(lower) == 1
    named = f"layer {lower[0]}" if one else f"layers {', '.join(map(str, lower[:-1]))} and {lower[-1]}"
    whole = not plan.within and all(pair.alignment is None for pair in plan.pairs)
    if at is None and whole:
        return f"Layer {upper} overwrites all that {named} put{'s' if one else ''} there: nothing of that is left."
    token = "" if at is None or len(plan.pairs) > 1 else shown_token(plan.pair.texts(plan.patch.base)[at])
    where = f"At '{token}' layer" if token else "At the same tokens, layer"
    left = "of that" if one else "of those"
    return (
        f"{where} {upper} overwrites what {named} put{'s' if one else ''} there: {left} remains only what other tokens "
        "read in between."
    )
