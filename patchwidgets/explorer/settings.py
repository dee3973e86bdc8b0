"""The Explorer's settings as plain data: what they are called, and the checks of what is assigned to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..alignment import Alignment
from ..answers import as_id, as_ids, check_ids
from ..encoding import encode_pair, encode_prompts
from ..engine.gradients import check_mask
from ..engine.handle import ModelHandle
from ..engine.patch import check_plan
from ..engine.plan import Plan, make_plan
from ..engine.values import Encode
from ..errors import PatchError, PromptError, quoted, unknown
from ..interventions import INTERVENTIONS, Mask, Patch, check_seed
from ..metrics import METRICS, get_metrics
from ..prompts import EncodedPair, PromptPair
from ..sites import Site, get_site
from .choices import Choices
from .sets import Asked, Sets
from .subsets import AXES, SubsetError, indices, why_none

PROMPTS = ("clean", "corrupted", "answer", "foil")
SETTINGS = (
    *PROMPTS, "alignment", "dataset", "site", "by", *AXES, "intervention", "direction", "metric", "seed",
)  # fmt: skip
"""What the settings of an Explorer hold."""
SHOWN = ("logit_diff", "logit", "logprob", "prob", "rank", "kl_clean", "kl_corrupted")
"""The metrics that can be chosen."""


def pair_of(settings: Mapping[str, Any]) -> PromptPair:
    """Return the prompts, the answer and the foil of settings."""
    return PromptPair(**{name: settings[name] for name in PROMPTS})


def align_of(settings: Mapping[str, Any]) -> object:
    """Return what `encode_prompts` is to align the prompts of settings by."""
    return "auto" if settings["alignment"] is None else settings["alignment"]


def plan_of(handle: ModelHandle, settings: Mapping[str, Any], choices: Choices, encode: Encode, sets: Sets) -> Plan:
    """Return the plan of settings; every metric that applies is measured, one is shown.

    `choices` tells which intervention is meant, `encode` gives the prompts of the dataset it may be made from, `sets`
    those of the dataset that is swept. May wait for the model: it tells which pairs of a dataset it answers, and the
    error for an answer that is no token suggests what it rates highest.
    """
    shown = METRICS[settings["metric"]]
    if settings["dataset"] is None:
        encoded = one_pair(handle, settings, shown.needs_foil)
    else:
        drawn = sets.read(settings["dataset"], needs_foil=shown.needs_foil)
        encoded = drawn.of(axes_of(settings), settings["direction"])
    foils = all(pair.foils for pair in encoded)
    names = [metric.name for metric in METRICS.values() if foils or not metric.needs_foil]
    # The first metric is the one whose gradient a mask follows.
    names.sort(key=lambda name: name != shown.name)
    site, by, patch = get_site(settings["site"]), tuple(settings["by"]), Patch(settings["direction"])
    what = choices.make(settings["intervention"], patch.direction)
    sizes = {"layers": handle.n_layers, "positions": len(encoded[0].ids(patch.base))}
    subsets = {AXES[name]: indices(name, settings[name], sizes[name]) for name in AXES}
    plan = make_plan(
        handle, encoded, site, by, patch, get_metrics(names), subsets, intervention=what, seed=seed_of(settings)
    )
    if isinstance(what, Mask):
        check_mask(plan.metrics[0], (), False, patch.base)
    check_plan(handle, plan, encode)
    return plan


def axes_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the axes along which a sweep tells places apart, whether it goes over them or is kept to some."""
    return (*settings["by"], *(AXES[name] for name in AXES if settings[name] is not None))


def one_pair(handle: ModelHandle, settings: Mapping[str, Any], needs_foil: bool) -> tuple[EncodedPair, ...]:
    """Return the pair of settings as tokens, by itself; raises PromptError where the Explorer cannot read it."""
    pair, align = pair_of(settings), align_of(settings)
    encoded = encode_pair(pair, handle.tokenizer, needs_foil=needs_foil, rate=handle.rate, align=align)
    if any(len(sequence) > 1 for sequence in (*encoded.answers, *encoded.foils)):
        raise PromptError("the Explorer reads one token; for several in a row use pw.patch, metric logprob.", "answer")
    return (encoded,)


def settings_of(
    pair: PromptPair, alignment: list[list[int]] | None, dataset: Asked | None, controls: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a pair, the matches made by hand, the dataset and the values of the controls as settings."""
    prompts = {name: getattr(pair, name) for name in PROMPTS}
    return {**prompts, "alignment": alignment, "dataset": dataset, **controls}


def with_seed(given: Any) -> Any:
    """Return assigned settings; where all but the seed are given, they are from before there was one, and it is 0."""
    before = set(SETTINGS) - {"seed"}
    return {**given, "seed": 0} if isinstance(given, Mapping) and set(given) == before else given


def seed_of(settings: Mapping[str, Any]) -> int:
    """Return the seed of settings, 0 where their intervention draws nothing: there it does not count."""
    what = settings["intervention"]
    kind = INTERVENTIONS.get(what if isinstance(what, str) else what["name"])
    return settings["seed"] if kind is not None and kind.draws else 0


def completed(
    given: object, present: Mapping[str, Any], auto: Collection[str], handle: ModelHandle, choices: Choices, sets: Sets
) -> dict[str, Any]:
    """Return assigned settings, checked, with the present ones where nothing was given.

    An alignment goes with the prompts it was made for: other prompts bring their own proposal. `auto` names those of
    answer and foil that the model chose: for new prompts it chooses again. A granularity that the new site lacks gives
    way to the site's default. What nobody knows is a PatchError with the nearest name.
    """
    if not isinstance(given, Mapping):
        raise PatchError(f"settings must be a dict, not {quoted(given)}; assign {{'site': 'z'}}, for instance.")
    for name in given:
        if name not in present:
            raise unknown("setting", name, present)
    settings = {**present, **given}
    moved = any(settings[name] != present[name] for name in ("clean", "corrupted"))
    settings |= {name: None for name in auto if moved and name not in given}
    settings |= {"alignment": None} if moved and "alignment" not in given else {}
    pair = pair_of(settings)
    for name in PROMPTS:
        check_ids(getattr(pair, name), name, handle.tokenizer)
    alignment = _alignment(pair, settings["alignment"], handle)
    return settings_of(pair, alignment, sets.checked(settings["dataset"]), _controls(settings, given, handle, choices))


def _alignment(pair: PromptPair, given: object, handle: ModelHandle) -> list[list[int]] | None:
    """Return an alignment as plain matches, after the check that it fits the prompts."""
    if given is None:
        return None
    if not isinstance(given, (Alignment, list, tuple)):
        raise PatchError(f"alignment must be None or a list of [clean, corrupted] positions, not {quoted(given)}.")
    encoded = encode_prompts(pair, handle.tokenizer, align=given)
    columns = encoded.alignment or Alignment.one_to_one(encoded.length)
    return [list(match) for match in columns.matches]


def _controls(
    settings: Mapping[str, Any], given: Mapping[str, Any], handle: ModelHandle, choices: Choices
) -> dict[str, Any]:
    site, by, metric = get_site(settings["site"]), settings["by"], settings["metric"]
    handle.hook(site, 0)
    if "by" not in given and tuple(by) not in site.by:
        by = None
    if not isinstance(metric, str) or metric not in SHOWN:
        raise unknown("metric", metric, SHOWN)
    direction = Patch(settings["direction"]).direction
    what = choices.checked(settings["intervention"])
    subsets = {name: _subset(site, name, settings[name], name in given, handle) for name in AXES}
    return {
        "site": site.name, "by": list(site.granularity(by)), **subsets, "intervention": choices.spelled(what),
        "direction": direction, "metric": metric, "seed": check_seed(settings["seed"]),
    }  # fmt: skip


def _subset(site: Site, name: str, value: object, given: bool, handle: ModelHandle) -> list[int] | None:
    """Return chosen layers or positions, checked as far as no prompt is needed; None for all.

    What was chosen for another site gives way where the new one has nothing to choose from.
    """
    why = why_none(site, name)
    if value is None or (why and not given):
        return None
    if why:
        raise SubsetError(why, name)
    if name == "layers":
        return indices(name, value, handle.n_layers)
    ids = [one] if (one := as_id(value)) is not None else as_ids(value)
    if not ids:
        raise SubsetError(f"positions must be one or more whole numbers, not {quoted(value)}.", name)
    return sorted(set(ids)) if min(ids) >= 0 else list(ids)
