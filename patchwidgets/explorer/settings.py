"""The Explorer's settings as plain data: what they are called, and the checks of what is assigned to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..encoding import encode_pair
from ..engine.gradients import check_mask
from ..engine.handle import ModelHandle
from ..engine.plan import Plan, make_plan
from ..errors import PatchError, PromptError, quoted, unknown
from ..interventions import Mask, Patch, get_intervention
from ..metrics import METRICS, get_metrics
from ..prompts import PromptPair
from ..sites import get_site

PROMPTS = ("clean", "corrupted", "answer", "foil")
CONTROLS = ("site", "by", "intervention", "direction", "metric")

OFFERED = ("patch", "zero", "scale", "noise", "mask")
"""The interventions that need nothing but the two prompts."""


SHOWN = ("logit_diff", "logit", "logprob", "prob", "rank", "kl_clean", "kl_corrupted")
"""The metrics that can be chosen."""


def pair_of(settings: Mapping[str, Any]) -> PromptPair:
    """Return the prompts, the answer and the foil of settings."""
    return PromptPair(**{name: settings[name] for name in PROMPTS})


def plan_of(handle: ModelHandle, settings: Mapping[str, Any]) -> Plan:
    """Return the plan of settings; every metric that applies is measured, one is shown.

    May wait for the model: the error for an answer that is no token suggests what the model rates highest.
    """
    shown, tokenizer = METRICS[settings["metric"]], handle.tokenizer
    encoded = encode_pair(pair_of(settings), tokenizer, needs_foil=shown.needs_foil, rate=handle.rate)
    if any(len(sequence) > 1 for sequence in (*encoded.answers, *encoded.foils)):
        raise PromptError("the Explorer reads one token; for several in a row use pw.patch, metric logprob.", "answer")
    names = [metric.name for metric in METRICS.values() if encoded.foils or not metric.needs_foil]
    # The first metric is the one whose gradient a mask follows.
    names.sort(key=lambda name: name != shown.name)
    site, by, patch = get_site(settings["site"]), tuple(settings["by"]), Patch(settings["direction"])
    what = get_intervention(settings["intervention"], patch.direction)
    plan = make_plan(handle, encoded, site, by, patch, get_metrics(names), {}, intervention=what)
    if isinstance(what, Mask):
        check_mask(plan.metrics[0], (), False, patch.base)
    return plan


def settings_of(pair: PromptPair, controls: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pair and the values of the controls as settings."""
    return {**{name: getattr(pair, name) for name in PROMPTS}, **controls}


def completed(given: object, present: Mapping[str, Any], auto: Collection[str], handle: ModelHandle) -> dict[str, Any]:
    """Return assigned settings, checked, with the present ones where nothing was given.

    `auto` names those of answer and foil that the model chose: for new prompts it chooses again. A granularity that the
    new site lacks gives way to the site's default. What nobody knows is a PatchError with the nearest name.
    """
    if not isinstance(given, Mapping):
        raise PatchError(f"settings must be a dict, not {quoted(given)}; assign {{'site': 'z'}}, for instance.")
    for name in given:
        if name not in present:
            raise unknown("setting", name, present)
    settings = {**present, **given}
    moved = any(settings[name] != present[name] for name in ("clean", "corrupted"))
    settings |= {name: None for name in auto if moved and name not in given}
    pair = pair_of(settings)
    return settings_of(pair, _controls(settings, "by" in given, handle))


def _controls(settings: Mapping[str, Any], by_given: bool, handle: ModelHandle) -> dict[str, Any]:
    site, by, metric = get_site(settings["site"]), settings["by"], settings["metric"]
    handle.hook(site, 0)
    if not by_given and tuple(by) not in site.by:
        by = None
    if not isinstance(metric, str) or metric not in SHOWN:
        raise unknown("metric", metric, SHOWN)
    direction = Patch(settings["direction"]).direction
    what = settings["intervention"]
    if what not in OFFERED:
        raise unknown("intervention", what, OFFERED)
    return {
        "site": site.name, "by": list(site.granularity(by)), "intervention": what, "direction": direction,
        "metric": metric,
    }  # fmt: skip
