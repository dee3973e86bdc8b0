"""Where a result's numbers come from, as plain data that travels with them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..answers import as_id
from ..interventions import Intervention, Mean, Noise, Patch, Resample, Standing
from ..joint import Joint
from ..prompts import EncodedPair
from ..spelling import ELLIPSIS
from .baseline import RUNS
from .gate import foreign_hooks
from .handle import ModelHandle
from .plan import Plan
from .values import Encode

_PACKAGES = ("patchwidgets", "torch", "transformer-lens", "transformers")


def make_provenance(handle: ModelHandle, plan: Plan, encode: Encode) -> dict[str, Any]:
    """Return the settings of a sweep as JSON-ready data. `encode` gives the prompts of another dataset."""
    pair = plan.pair
    shared = shared_tokens(plan.pairs, plan.patch.base)
    return {
        "model": handle.name,
        "location": handle.location,
        "revision": handle.revision,
        "dtype": handle.dtype,
        "device": str(handle.device),
        "weights": "processed" if getattr(handle.bridge, "compatibility_mode", False) else "raw",
        "hooks_on_model": foreign_hooks(handle.hooks),
        **_what(handle, plan),
        "by": list(plan.by),
        "intervention": plan.intervention.name,
        "settings": {} if isinstance(plan.intervention, Patch) else plan.intervention.settings(),
        "over": _over(plan.intervention, encode),
        "sizes": _sizes(handle, plan),
        "within": plan.within,
        "window": plan.window,
        "standing": [_standing(stand, encode) for stand in plan.standing],
        "direction": plan.patch.direction,
        "metrics": [metric.name for metric in plan.metrics],
        "units": {metric.name: metric.unit for metric in plan.metrics},
        "n": len(plan.pairs),
        "samples": plan.samples,
        "notes": _notes(plan),
        "seed": plan.seed if _draws(plan) else None,
        "prepend_bos": pair.prepend_bos,
        "bos_at": pair.bos_at,
        "at": pair.at,
        "prompts": {"clean": pair.given[0], "corrupted": pair.given[1]},
        "tokens": {"clean": list(pair.clean), "corrupted": list(pair.corrupted)},
        "texts": texts_of(shared),
        "varied": varied_at(shared),
        "alignment": None if pair.alignment is None else pair.alignment.to_json(),
        "answer": _target(pair.answers, pair.answer, pair.answer_text),
        "foil": _target(pair.foils, pair.foil, pair.foil_text),
        "pairs": [_pair(each) for each in plan.pairs] if len(plan.pairs) > 1 else None,
        "engine": "hooked",
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _what(handle: ModelHandle, plan: Plan) -> dict[str, Any]:
    if isinstance(plan.site, Joint):
        sets = {name: [[site, place] for site, place in cells] for name, cells in plan.site.sets.items()}
        return {"site": "joint", "hook": None, "hook_at": None, "sets": sets}
    layer = plan.labels["layer"][0] if "layer" in plan.labels else None
    point = handle.hook(plan.site, layer)  # type: ignore[arg-type]
    return {"site": plan.site.name, "hook": plan.site.hook, "hook_at": point.name}


def _sizes(handle: ModelHandle, plan: Plan) -> dict[str, int]:
    """Return how many indices the axes of the cells have in all, of which the sweep may be over some."""
    if isinstance(plan.site, Joint):
        return {}
    tokens = max(len(pair.ids(plan.patch.base)) for pair in plan.pairs)
    return {axis: tokens if axis in ("pos", "dest", "src") else handle.size(plan.site, axis) for axis in plan.by}


def _notes(plan: Plan) -> list[str]:
    """Return what a reader of the numbers must know of how they were made, a sentence each."""
    found = []
    patterns = any(site.name == "pattern" for site in plan.sites)
    if patterns and isinstance(plan.intervention, Patch) and any(pair.alignment for pair in plan.pairs):
        found.append(
            "Rows of a patched pattern need not sum to 1: positions without a counterpart keep the attention they had, "
            "and nothing is renormalized."
        )
    acting = (plan.intervention, *(stand.intervention for stand in plan.standing))
    takes = [what.name for what in acting if isinstance(what, (Mean, Resample))]
    if takes and (plan.standing and (len(plan.standing) > 1 or isinstance(plan.intervention, (Mean, Resample)))):
        found.append(
            f"What {' and '.join(dict.fromkeys(takes))} takes comes from runs of the model with nothing standing."
        )
    return found


def _over(what: Intervention, encode: Encode) -> list[list[int]] | None:
    """Return the token ids of the other dataset's prompts that a mean is over or a draw is from, in their order."""
    if not isinstance(what, (Mean, Resample)) or what.over is None:
        return None
    runs = RUNS if what.run == "both" else (what.run,)
    found = [pair.ids(run) for pair in encode(what.over) for run in runs]
    return [list(ids) for ids in (dict.fromkeys(found) if isinstance(what, Resample) else found)]


def _standing(stand: Standing, encode: Encode) -> dict[str, Any]:
    chosen = {name: _whole(getattr(stand, name)) for name in ("layers", "positions", "heads", "neurons")}
    return {
        "site": stand.site,
        "intervention": stand.intervention.name,
        "settings": stand.intervention.settings(),
        "over": _over(stand.intervention, encode),
        "runs": stand.runs,
        **chosen,
    }


def _draws(plan: Plan) -> bool:
    acting = (plan.intervention, *(stand.intervention for stand in plan.standing))
    return any(isinstance(what, (Noise, Resample)) for what in acting)


def _whole(chosen: object) -> list[int] | None:
    """Return chosen indices as they were given, one or several, as a list of ints."""
    one = as_id(chosen)
    if chosen is None or one is not None:
        return None if one is None else [one]
    return [index for index in map(as_id, chosen) if index is not None]  # type: ignore[call-overload]


def _target(target: tuple[tuple[int, ...], ...], token: int | None, text: str | None) -> dict[str, Any] | None:
    return {"token": token, "tokens": [list(each) for each in target], "text": text} if target else None


def _pair(pair: EncodedPair) -> dict[str, Any]:
    return {
        "clean": list(pair.clean),
        "corrupted": list(pair.corrupted),
        "answer": [list(each) for each in pair.answers],
        "foil": [list(each) for each in pair.foils],
        "at": pair.at,
        "alignment": None if pair.alignment is None else pair.alignment.to_json(),
    }


Shared = dict[str, list[str | None]]
"""Per run the tokens over the positions of the base run, None where the pairs of a dataset hold different ones."""


def shared_tokens(pairs: Sequence[EncodedPair], base: str) -> Shared:
    """Return the tokens over the positions of the base run, and their counterparts in the other run."""
    other = "clean" if base == "corrupted" else "corrupted"
    length = max(len(pair.ids(base)) for pair in pairs)
    return {
        base: [_shared([_at(pair, base, p) for pair in pairs]) for p in range(length)],
        other: [_shared([_beside(pair, base, p) for pair in pairs]) for p in range(length)],
    }


def texts_of(shared: Shared) -> dict[str, list[str]]:
    """Return what is read at every position: an ellipsis where the pairs hold different tokens."""
    return {run: [ELLIPSIS if text is None else text for text in texts] for run, texts in shared.items()}


def varied_at(shared: Shared) -> dict[str, list[int]]:
    """Return per run the positions at which the pairs hold different tokens."""
    return {run: [i for i, text in enumerate(shared[run]) if text is None] for run in RUNS}


def _at(pair: EncodedPair, run: str, position: int) -> str:
    texts = pair.texts(run)
    return texts[position] if position < len(texts) else ""


def _beside(pair: EncodedPair, base: str, position: int) -> str:
    if position >= len(pair.ids(base)):
        return ""
    found = pair.counterpart(base, position)
    return "" if found is None else _at(pair, "clean" if base == "corrupted" else "corrupted", found)


def _shared(texts: list[str]) -> str | None:
    return texts[0] if len(set(texts)) == 1 else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
