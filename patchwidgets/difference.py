"""Two results held against each other: one minus the other, and what is sufficient without being necessary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .errors import PatchError
from .interventions import INTERVENTIONS, Patch
from .result import ESTIMATED, IMPLIED, MEASURED, STATUSES, UNAVAILABLE, PatchResult, check_result

_AXES = {"pos": "positions", "dest": "destinations", "src": "sources"}
_ALONG_TOKENS = ("pos", "dest", "src")
_MINUS = " minus "
SUFFICIENT, NECESSARY = 1, 2
"""The codes of `one_way`: sufficient but not necessary, necessary but not sufficient."""


def misfit(a: PatchResult, b: PatchResult) -> str:
    """Return why the cells of two results are not the same ones, in a sentence; "" where they are."""
    if "difference" in a.provenance or "difference" in b.provenance:
        return "one of the two is a difference already; subtract the results it was made from."
    if a.by != b.by:
        return f"A is by {_listed(a.by)}, B by {_listed(b.by)}; measure both with the same by."
    for axis in a.by:
        labels = [result.data[axis].values.tolist() for result in (a, b)]
        if labels[0] != labels[1]:
            told = " and B ".join(f"has {_counted(axis, found)}" for found in labels)
            return f"A {told}: their cells are not the same ones."
    return _misplaced(a, b)


def _misplaced(a: PatchResult, b: PatchResult) -> str:
    """Return why equal positions are not the same places, where prompts are compared by an alignment."""
    aligned = any(result.provenance.get("alignment") for result in (a, b))
    if not (aligned and set(a.by) & set(_ALONG_TOKENS) and a.direction != b.direction):
        return ""
    bases = [result.direction.base for result in (a, b)]
    return (
        f"A's positions count the {bases[0]} prompt's tokens, B's the {bases[1]} prompt's, which is of another length."
    )


def minus(a: PatchResult, b: PatchResult) -> PatchResult:
    """Return A minus B as a result of its own, in every metric that both have.

    `effect`, `normalized` and `patched` are those of A minus those of B, in float64; a cell that is not known in both
    is unavailable. Provenance holds what the two share, and both whole under "difference". Raises PatchError where the
    cells are not the same ones, or no metric is.
    """
    both = (check_result(a), check_result(b))
    wrong = misfit(a, b)
    if wrong:
        raise PatchError(f"these results cannot be subtracted: {wrong}")
    metrics = [name for name in a.metrics if name in b.metrics]
    if not metrics:
        raise PatchError(
            f"these results cannot be subtracted: A has the metrics {_listed(a.metrics)}, B {_listed(b.metrics)}; "
            "measure one that both have."
        )
    codes, texts = _status(*both), _texts(*both)
    known = codes != UNAVAILABLE
    values = {
        "patched": [side.data["patched"] for side in both],
        "effect": [side.effect for side in both],
        "normalized": [side.normalized for side in both],
    }
    axes, coords = ("metric", *a.by), {"metric": metrics, **{axis: a.data[axis].values for axis in a.by}}
    variables: dict[str, Any] = {
        name: (axes, np.where(known, _taken(left, metrics) - _taken(right, metrics), np.nan))
        for name, (left, right) in values.items()
    }
    variables["status"] = (a.by, np.array(STATUSES)[codes])
    for run in ("clean", "corrupted"):
        variables[run] = ("metric", _taken(a.data[run], metrics) - _taken(b.data[run], metrics))
    if "pos" in a.by:
        for name, run in (("token", "clean"), ("token_corrupted", "corrupted")):
            labels = [texts[run][position] for position in a.data["pos"].values]
            coords[name] = ("pos", np.array(labels, dtype=object))
    return PatchResult(xr.Dataset(variables, coords=coords), _provenance(both, metrics, texts))


def _taken(values: xr.DataArray, metrics: Sequence[str]) -> np.ndarray:
    return values.sel(metric=list(metrics)).values


def _status(a: PatchResult, b: PatchResult) -> np.ndarray:
    """Return status codes [*by]: implied where both are, an estimate where either is, else measured."""
    found = [result.data["status"].values for result in (a, b)]
    unknown = [np.isin(status, ("pending", "unavailable")) for status in found]
    estimated = (found[0] == "estimated") | (found[1] == "estimated")
    implied = (found[0] == "implied") & (found[1] == "implied")
    return np.select([unknown[0] | unknown[1], estimated, implied], [UNAVAILABLE, ESTIMATED, IMPLIED], MEASURED)


def _texts(a: PatchResult, b: PatchResult) -> dict[str, list[str]]:
    """Return the tokens over the positions; both where the two results have different ones there."""
    found: dict[str, list[str]] = {}
    for run in ("clean", "corrupted"):
        texts = [result.provenance["texts"][run] for result in (a, b)]
        length = max(map(len, texts))
        padded = [[*each, *[""] * (length - len(each))] for each in texts]
        found[run] = ["/".join(dict.fromkeys(filter(None, both))) for both in zip(*padded, strict=True)]
    return found


def _provenance(both: Sequence[PatchResult], metrics: list[str], texts: dict[str, list[str]]) -> dict[str, Any]:
    first, second = (side.provenance for side in both)
    shared = {name: value for name, value in first.items() if name in second and second[name] == value}
    names = ("site", "model", "engine")
    told = {name: shared.get(name, f"{first.get(name)}{_MINUS}{second.get(name)}") for name in names}
    return {
        "bos_at": None,
        "n": 1,
        **shared,
        **told,
        "by": list(both[0].by),
        "metrics": metrics,
        "texts": texts,
        "check": {name: side.provenance.get("check") for name, side in zip("AB", both, strict=True)},
        "difference": [{**side.provenance, "baselines": _baselines(side, metrics)} for side in both],
    }


def _baselines(side: PatchResult, metrics: list[str]) -> dict[str, list[float]]:
    """Return every metric's value in the clean and in the corrupted run."""
    values = [_taken(side.data[run], metrics).tolist() for run in ("clean", "corrupted")]
    return {name: list(both) for name, both in zip(metrics, zip(*values, strict=True), strict=True)}


def sides(result: PatchResult) -> list[PatchResult]:
    """Return the two results of a difference as far as it holds them: their provenance and their two runs' metrics."""
    found = []
    for provenance in result.provenance["difference"]:
        values = [provenance["baselines"][name] for name in result.metrics]
        runs = {run: ("metric", [both[i] for both in values]) for i, run in enumerate(("clean", "corrupted"))}
        data = xr.Dataset(runs, coords={"metric": list(result.metrics)})
        found.append(PatchResult(data, {**provenance, "metrics": list(result.metrics)}))
    return found


def of_both(result: PatchResult, say: Callable[[PatchResult], str]) -> str:
    """Return what is said of both results of a difference, once where it is the same."""
    first, second = map(say, sides(result))
    return first if first == second else f"A: {first.rstrip('.')}. B: {second}" if first or second else ""


def meaning(provenance: Mapping[str, Any], parts: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the sentences for a difference; `parts` are what each side's map shows, and what was changed in it."""
    maps, changes = zip(*parts, strict=True)
    both = provenance["difference"]
    told = [_listing(maps, changes, both, side) for side in (0, 1)]
    units = [_moved(side) for side in both]
    shared = f"{maps[0]}: " if maps[0] == maps[1] else ""
    sides = [
        f"{unit} in {letter}{_bracketed(name, letter)}" for unit, letter, name in zip(units, "AB", told, strict=True)
    ]
    than = f"in A than {units[1]} in B" if units[0] != units[1] else "in A than in B"
    return {
        "title": f"{shared}{told[0]}{_MINUS}{told[1]}",
        "unit": "A \u2212 B",
        "sentence": f"A cell shows how much is {sides[0]} minus how much is {sides[1]}.",
        "high": f"above 0: more is {units[0]} {than}",
        "near_zero": "near 0: as much in A as in B",
        "negative": f"below 0: less is {units[0]} {than}",
        "unavailable": "not known in both results",
    }


def _moved(side: Mapping[str, Any]) -> str:
    """Return what happens to the gap in one result; what takes nothing away neither recovers nor destroys."""
    kind = INTERVENTIONS[side.get("intervention", "patch")]
    return Patch(side["direction"]).moved if kind.removes(side.get("settings") or {}) else "moved"


def _bracketed(name: str, letter: str) -> str:
    return "" if name == letter else f" ({name})"


def told_apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str]:
    """Return of two provenances what tells their prompts and models apart, "" where nothing does."""
    first, second = (_listing(("", ""), ("", ""), (a, b), side) for side in (0, 1))
    return ("", "") if (first, second) == ("A", "B") else (first, second)


def _listing(maps: Sequence[str], changes: Sequence[str], both: Sequence[Mapping[str, Any]], side: int) -> str:
    """Return of one side what it does not share with the other; its letter where they share everything named here."""
    answers, prompts = ([told(p) for p in both] for told in (_answers, _prompts))
    aligned = [_aligned(p) for p in both]
    named = [
        maps,
        changes,
        aligned,
        answers if answers[0] != answers[1] else prompts,
        [str(p.get("model")) for p in both],
    ]
    found = [pair[side] for pair in named if pair[0] != pair[1]]
    return ", ".join(found) or "AB"[side]


def _aligned(provenance: Mapping[str, Any]) -> str:
    columns = provenance.get("alignment")
    if not columns:
        return "no alignment"
    return "aligned " + " ".join(f"{'-' if a is None else a}:{'-' if b is None else b}" for a, b in columns)


def _answers(provenance: Mapping[str, Any]) -> str:
    texts = [(provenance.get(name) or {}).get("text") for name in ("answer", "foil")]
    return " over ".join(f"'{text}'" for text in texts if text)


def _prompts(provenance: Mapping[str, Any]) -> str:
    given = [(provenance.get("prompts") or {}).get(run) for run in ("clean", "corrupted")]
    return " / ".join(f"'{text}'" for text in given if isinstance(text, str))


def misfit_two_ways(a: PatchResult, b: PatchResult) -> str:
    """Return why two results are not the denoising and the noising of the same cells, in a sentence; "" if they are."""
    wrong = misfit(a, b)
    if wrong:
        return wrong
    first, second = a.provenance, b.provenance
    if any(p.get("intervention", "patch") != "patch" for p in (first, second)):
        return "sufficient and necessary are said of patches from the other run; one of these is another intervention."
    if {a.direction.direction, b.direction.direction} != {"denoise", "noise"}:
        return f"both {first['direction']}; sufficient is seen by denoising, necessary by noising."
    same = ("model", "site", "tokens", "answer", "foil", "standing", "window", "within", "at")
    other = [name for name in same if first.get(name) != second.get(name)]
    if other:
        return f"they differ in {_listed(other)}; compare the same question denoised and noised."
    return ""


def one_way(a: PatchResult, b: PatchResult, metric: str, threshold: float) -> np.ndarray:
    """Return the cells that act in one direction alone, as codes [*by]: SUFFICIENT, NECESSARY, 0 for the others.

    A cell is sufficient when denoising it recovers at least `threshold` of the gap, necessary when noising it destroys
    as much. What is not known in both is 0. Raises PatchError where `misfit_two_ways` tells why.
    """
    wrong = misfit_two_ways(a, b)
    if wrong:
        raise PatchError(f"these results do not tell what is sufficient but not necessary: {wrong}")
    if not 0 < threshold <= 1:
        raise PatchError(f"threshold must be above 0 and at most 1, not {threshold:.9g}.")
    values = {result.direction.direction: result.normalized.sel(metric=metric).values for result in (a, b)}
    known = np.isfinite(values["denoise"]) & np.isfinite(values["noise"])
    enough = {name: found >= threshold for name, found in values.items()}
    codes = np.select(
        [enough["denoise"] & ~enough["noise"], enough["noise"] & ~enough["denoise"]], [SUFFICIENT, NECESSARY], 0
    )
    return np.where(known, codes, 0).astype(np.uint8)


def one_way_words(threshold: float) -> dict[int, str]:
    """Return what the codes of `one_way` say, in words that carry the threshold."""
    enough, less = f"at least {threshold:g}", f"less than {threshold:g}"
    return {
        SUFFICIENT: f"sufficient here, given the rest of the corrupted run ({enough} recovered), "
        f"but not necessary on these prompts ({less} destroyed)",
        NECESSARY: f"necessary on these prompts, given the rest of the clean run ({enough} destroyed), "
        f"but not sufficient by itself ({less} recovered)",
    }


def _counted(axis: str, labels: Sequence[object]) -> str:
    name = _AXES.get(axis, f"{axis}s")
    if all(isinstance(label, int) for label in labels) and list(labels) == list(range(len(labels))):
        return f"{len(labels)} {name}"
    listed = ", ".join(map(str, labels[:6]))
    return f"the {name} {listed}{', ...' if len(labels) > 6 else ''}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
