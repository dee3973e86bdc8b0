"""What a result says, in words made from its settings."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from . import difference
from .interventions import INTERVENTIONS, Patch
from .metrics import METRICS, gap_too_small
from .origins import NOT_MADE as NOT_MADE
from .origins import agreement as agreement
from .origins import checked, made_by, resolution
from .origins import made as made
from .origins import origin as origin
from .sites import SITES
from .spelling import MINUS, brief, counted, minus, ranges, shown_token, signed

if TYPE_CHECKING:
    from .result import PatchResult

_NEGATIVE = re.compile(r"(?<= )-(?=\d)")
_MOVES = {"denoise": "comes back", "noise": "is lost"}
_AXES = {"pos": "token", "dest": "destination", "src": "source"}

_MEANING = {
    "denoise": {
        "high": "near 1: sufficient here, given the rest of the corrupted run",
        "near_zero": "near 0: not sufficient by itself; what it carries may still be used",
        "negative": "negative: moves the answer further from the clean run",
    },
    "noise": {
        "high": "near 1: necessary on these prompts, given the rest of the clean run",
        "near_zero": "near 0: not necessary on these prompts; another part may do the same",
        "negative": "negative: moves the answer further from the corrupted run",
    },
}

_OTHER_MEANING = {
    "denoise": {
        "high": "near 1: the change by itself brings the clean run's answer back",
        "near_zero": "near 0: the change moves nothing between the two runs here",
        "negative": "negative: the change moves the answer further from the clean run",
    },
    "noise": {
        "high": "near 1: the change by itself brings the corrupted run's answer about",
        "near_zero": "near 0: the change moves nothing between the two runs here",
        "negative": "negative: the change moves the answer further from the corrupted run",
    },
}
_REMOVED = {
    "high": "near 1: what was there is necessary on these prompts, given the rest of the clean run",
    "near_zero": "near 0: not necessary on these prompts; another part may do the same",
}
"""Where the clean run loses something, as when it is noised."""


def meaning(provenance: dict[str, Any]) -> dict[str, str]:
    """Return the sentences for a sweep's settings.

    Keys: `title`, `unit` (what a normalized 1 is called), `sentence` (what a cell means), `high`, `near_zero`,
    `negative`.
    """
    if "difference" in provenance:
        return difference.meaning(provenance, [_parts(side) for side in provenance["difference"]])
    patch = Patch(provenance["direction"])
    by = tuple(provenance["by"])
    what = provenance.get("intervention", "patch")
    kind, settings = INTERVENTIONS[what], provenance.get("settings") or {}
    told = _NEGATIVE.sub(MINUS, kind.told(settings)).format(source=patch.source, base=patch.base)
    done = f"when {_places(provenance, by)} {told}"
    sentence = f"A cell shows how much of the gap between the two runs {_MOVES[patch.direction]} {done}."
    said = _MEANING[patch.direction] if what == "patch" else _OTHER_MEANING[patch.direction]
    if not kind.removes(settings):
        sentence = (
            f"A cell shows how far from the {patch.base} run (0) to the {patch.source} run (1) the answer moves {done}."
        )
    elif what != "patch" and patch.direction == "noise":
        said = {**said, **_REMOVED}
    return {
        "title": ", ".join(_parts(provenance)),
        "unit": patch.moved,
        "sentence": sentence,
        **said,
    }


def title(result: PatchResult) -> str:
    """Return what a result's map shows, to what it was kept, and what stands: "..., token 14 only"."""
    p = result.provenance
    window = f"windows of {p['window']} layers" if p.get("window", 1) > 1 else ""
    stood = [f"standing in {runs}: {what}" for runs, what in _stood(p)]
    return ", ".join(filter(None, [meaning(p)["title"], window, confined(result), *stood]))


def confined(result: PatchResult) -> str:
    """Return to which layers, tokens, heads or neurons a sweep was kept: "layers 1, 2 and token 14 only"; "" for none.

    Results that were saved before they held the sizes of their axes tell of axes that were not swept alone.
    """
    sizes = result.provenance.get("sizes") or {}
    swept = {axis: result.data[axis].values.tolist() for axis in result.by if axis in sizes}
    chosen = {axis: some for axis, some in swept.items() if len(some) < sizes[axis]}
    chosen |= result.provenance.get("within") or {}
    told = [f"{_AXES.get(axis, axis)}{'' if len(some) == 1 else 's'} {ranges(some)}" for axis, some in chosen.items()]
    return f"{_and(told)} only" if told else ""


def _parts(provenance: dict[str, Any]) -> tuple[str, str]:
    """Return what a sweep's map shows, and what was changed in it: "z by layer and head", "clean into corrupted"."""
    patch, patches = Patch(provenance["direction"]), provenance.get("intervention", "patch") == "patch"
    change = f"{patch.source} into {patch.base}" if patches else f"{_told(provenance)} in the {patch.base} run"
    return f"{provenance['site']} by {_and([str(_AXES.get(axis, axis)) for axis in provenance['by']])}", change


def _places(provenance: dict[str, Any], by: tuple[str, ...]) -> str:
    """Return what a cell writes: "the output z of the head, at that token,"."""
    if provenance["site"] == "joint":
        return "every cell of the set together"
    site = SITES[provenance["site"]]
    if "pos" in site.axes:
        where = "at that token" if "pos" in by else "at every token"
    elif {"dest", "src"} <= set(by):
        where = "from that token to that token"
    else:
        where = "to that token" if "dest" in by else "between all tokens"
    window = provenance.get("window", 1)
    around = f", in the {window} layers around that layer" if window > 1 else ""
    within = provenance.get("within") or {}
    if "pos" in within and where == "at every token":
        where = "at the tokens chosen"
    only = "".join(f", {_AXES.get(axis, axis)}s {_listed(indices)} only" for axis, indices in within.items())
    words = (
        site.words if "neuron" in by or "neuron" not in site.axes else site.words.replace("the neuron's", "the MLP's")
    )
    return f"{words}, {where}{around}{only},"


def _listed(indices: list[int]) -> str:
    return ", ".join(map(str, indices))


def _told(provenance: dict[str, Any]) -> str:
    """Return an intervention with its settings: "scale (factor 0.5)"; a seed other than 0 is among them."""
    given = provenance.get("settings") or {}
    settings = {name: value for name, value in given.items() if value is not None and value is not False}
    if INTERVENTIONS[provenance["intervention"]].draws and provenance.get("seed"):
        settings["seed"] = provenance["seed"]
    listed = ", ".join(f"{name.replace('_', ' ')} {_brief(value)}" for name, value in settings.items())
    return f"{INTERVENTIONS[provenance['intervention']].called()}{f' ({listed})' if listed else ''}"


def _brief(value: object) -> str:
    if value is True:
        return "yes"
    if isinstance(value, list):
        return f"of {counted(len(value), 'number')}"
    return brief(value) if isinstance(value, (int, float)) else str(value)


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def targets(result: PatchResult) -> str:
    """Return the answer and the foil that the metrics read: "answer \u00b7Mary, foil \u00b7Anna".

    "" where they read none, and over a dataset whose pairs have answers of their own.
    """
    if result.is_difference:
        return difference.of_both(result, targets)
    p, read = result.provenance, [METRICS[name] for name in result.metrics if name in METRICS]
    wanted = {"answer": any(one.needs_answer for one in read), "foil": any(one.needs_foil for one in read)}
    read_there = [name for name, needed in wanted.items() if needed]
    if any(pair[name] != p["pairs"][0][name] for pair in p.get("pairs") or [] for name in read_there):
        return ""
    there = [name for name in read_there if p.get(name)]
    return ", ".join(f"{name} {_target(p[name])}" for name in there)


def _target(target: dict[str, Any]) -> str:
    text = target["text"] or str(target["token"])
    parts = text.split(" or ")
    return " or ".join(map(shown_token, parts if len(parts) == len(target.get("tokens") or "1") else [text]))


def baselines(result: PatchResult) -> str:
    """Return the two runs' metrics in one line, or that they were not made."""
    if result.is_difference:
        return difference.of_both(result, baselines)
    if not made(result):
        return NOT_MADE
    return "; ".join(f"{name} {_two(clean, corrupted)}" for name, clean, corrupted in _runs(result))


def describe(result: PatchResult) -> str:
    """Return what a cell of the result means, what its values mean, the baselines and the origin, in sentences.

    Every sentence begins a line; lines are wrapped at 88 columns.
    """
    said = meaning(result.provenance)
    lines = [f"{title(result)}.", said["sentence"], *_aligned(result.provenance)]
    lines += [*stands(result.provenance), *_counted(result.provenance), *(result.provenance.get("notes") or [])]
    lines += [_sentence(said[name]) for name in ("high", "near_zero", "negative")]
    known = made(result)
    lines += [f"The two runs: {baselines(result)}." if known else _sentence(baselines(result))]
    lines += [*small_gaps(result), *reversed_gaps(result), *kept(result), f"Measured on {made_by(result)}."]
    lines += [checked(result)]
    lines += [f"Effects below {resolution(result)} are not resolved at this precision."] if known else []
    return "\n".join(textwrap.fill(line, 88, break_long_words=False, break_on_hyphens=False) for line in lines)


def stands(provenance: dict[str, Any]) -> list[str]:
    """Return a sentence for everything that stands while the sweep runs."""
    return [f"Standing in {runs} meanwhile: {what}." for runs, what in _stood(provenance)]


def _stood(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Return for everything that stands in which runs, and what it is and where: "noise (sigma 3) at embed"."""
    found = []
    for stand in provenance.get("standing") or []:
        runs = "both runs" if stand["runs"] == "both" else f"the {stand['runs']} run"
        where = "".join(f", {name} {_listed(stand[name])}" for name in _CHOICES if stand.get(name) is not None)
        found.append((runs, f"{_told(stand)} at {stand['site']}{where}"))
    return found


_CHOICES = ("layers", "positions", "heads", "neurons")


def _counted(provenance: dict[str, Any]) -> list[str]:
    """Return what the numbers are means over, where they are."""
    n, samples = provenance.get("n", 1), provenance.get("samples", 1)
    over = [f"{n} prompt pairs"] if n > 1 else []
    over += [f"{samples} random draws"] if samples > 1 else []
    return [f"Numbers are means over {' and '.join(over)}."] if over else []


def _aligned(provenance: dict[str, Any]) -> list[str]:
    """Return a sentence on positions without a counterpart, where prompts are compared by an alignment."""
    found = [pair["alignment"] for pair in provenance.get("pairs") or [provenance] if pair.get("alignment")]
    if not found:
        return []
    left = "A patch leaves positions without a counterpart as they are, and a cell there is unavailable."
    if provenance.get("pairs"):
        n = len(provenance["pairs"])
        return [f"In {len(found)} of {n} pairs the positions are matched by an alignment. {left}"]
    clean, corrupted = (sum(column[side] is not None for column in found[0]) for side in (0, 1))
    matched = sum(None not in column for column in found[0])
    are = "is" if matched == 1 else "are"
    told = f"{matched} of the clean prompt's {clean} positions and of the corrupted prompt's {corrupted} {are} matched"
    return [f"By the alignment, {told}. {left}"]


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _runs(result: PatchResult) -> list[tuple[str, float, float]]:
    """Return every metric with its value in the clean and in the corrupted run."""
    return list(zip(result.metrics, result.data["clean"].values, result.data["corrupted"].values, strict=True))


def _two(clean: float, corrupted: float) -> str:
    return f"{signed(clean, plus=True)} clean, {signed(corrupted, plus=True)} corrupted"


def small_gaps(result: PatchResult) -> list[str]:
    """Return a sentence for every metric whose two runs are too close to normalize."""
    if result.is_difference:
        return list(dict.fromkeys(line for side in difference.sides(result) for line in small_gaps(side)))
    return [
        f"{name}: the two runs hardly differ ({minus(f'{clean:.6g} clean, {corrupted:.6g} corrupted')}), so there is "
        "no normalized effect."
        for name, clean, corrupted in _runs(result)
        if gap_too_small(clean, corrupted)
    ]


_RISES = ("logit_diff", "logit", "logprob", "prob", "accuracy")
"""Metrics that are higher where the answer is likelier."""


def reversed_gaps(result: PatchResult) -> list[str]:
    """Return a sentence for every metric by which the corrupted run favours the answer more than the clean one."""
    if result.is_difference:
        return []
    return [
        f"{name}: the corrupted run favours the answer more ({_two(clean, corrupted)}); check answer and foil. 1 still "
        "means all the way to the source run."
        for name, clean, corrupted in _runs(result)
        if name in _RISES and corrupted > clean and not gap_too_small(clean, corrupted)
    ]


def kept(result: PatchResult) -> list[str]:
    """Return a sentence on how much of the activations a mask keeps; nothing for other interventions."""
    if "kept" not in result.data:
        return []
    weights = result.data["kept"].values
    known = weights[np.isfinite(weights)]
    if not known.size:
        return []
    spread = f"{known.mean():.0%} of a cell's entries on average, {known.min():.0%} to {known.max():.0%}"
    return [f"The mask keeps {spread}."]


def unit(metric: str) -> str:
    """Return the unit of a metric's raw effect; a function of the user's has none."""
    return METRICS[metric].unit if metric in METRICS else metric
