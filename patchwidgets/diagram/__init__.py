"""The experiment, drawn: the clean, the corrupted and the patched run, what is put where, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import words
from ..errors import PatchError, quoted
from ..files import written_whole
from ..interventions import INTERVENTIONS, Patch
from ..metrics import METRICS
from ..sites import layers_around
from ..spelling import counted, joined_text, ranges
from .text import shown

if TYPE_CHECKING:
    import os

    from ..result import PatchResult

_NOT_MADE = f"{words.NOT_MADE[0].upper()}{words.NOT_MADE[1:]}."
RUNS = ("clean", "patched", "corrupted")
"""The rows of the drawing: the patched run stands between the two it is made from."""
_OTHER = {"clean": "corrupted", "corrupted": "clean"}


@dataclass(frozen=True)
class Diagram:
    """A patching experiment as plain data; in a notebook it is drawn.

    Attributes:
        title: what was patched, and which way.
        prompts: "clean" and "corrupted" -> the prompt's text.
        part: the component, and where it is; of a sweep as a whole, all of them.
        base, source: the run that is changed, and the other one.
        taken: whether the patched run takes the component from the source run; `change` says what becomes of it.
        metric: the metric's name, as it is shown.
        standing: a sentence for everything that stands meanwhile.
        numbers: "clean", "corrupted", "patched", "effect" and "normalized" -> their value, without those not known.
        compared: what the runs' metrics say together, in short parts.
        said: the metric's values and what they say, in sentences.
    """

    title: str
    prompts: Mapping[str, str]
    part: str
    base: str
    source: str
    taken: bool
    change: str
    metric: str
    numbers: Mapping[str, float]
    compared: tuple[str, ...]
    said: str
    standing: tuple[str, ...] = ()

    def svg(self) -> str:
        """Return the drawing as one SVG: no script, nothing fetched, readable on light and on dark pages."""
        from .svg import svg

        return svg(self)

    def mermaid(self) -> str:
        """Return the drawing as a Mermaid flowchart."""
        from .mermaid import mermaid

        return mermaid(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the drawing, whole or not at all, and return the path: Mermaid for .mmd and .mermaid, SVG for .svg.

        Raises PatchError for another ending.
        """
        target = Path(path)
        made = {".svg": self.svg, ".mmd": self.mermaid, ".mermaid": self.mermaid}.get(target.suffix.lower())
        if made is None:
            raise PatchError(f"a diagram is written as .svg, .mmd or .mermaid, not as {quoted(target.name)}.")
        with written_whole(target) as partial:
            partial.write_text(made(), encoding="utf-8")
        return target

    @property
    def alt(self) -> str:
        """The drawing in words, for who cannot see it."""
        runs = "; ".join(f"{run} prompt: {self.prompts[run]}" for run in ("clean", "corrupted"))
        done = f"In the {self.base} run {self.part} {self.change}."
        return " ".join([f"{self.title}. {runs}.", done, *self.standing, self.said])

    def __str__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg(), "text/plain": self.alt}


def diagram(result: PatchResult, metric: str | None = None, **cell: Any) -> Diagram:
    """Return a cell's experiment, or without a cell that of the whole sweep; see `PatchResult.diagram`."""
    if result.is_difference:
        raise PatchError("a difference is of two experiments; draw each of its two results.")
    result = result.select(result.metrics[0] if metric is None else metric)
    at = _cell(result, cell) if cell else {}
    p, way = result.provenance, result.direction
    kind = INTERVENTIONS[p.get("intervention", "patch")]
    taken = kind.name == "patch"
    told = kind.told(p.get("settings") or {}).format(source=way.source, base=way.base)
    change = f"is taken from the {way.source} run" if taken else told.replace(f" in the {way.base} run", "")
    numbers = _numbers(result, at)
    return Diagram(
        title=words.title(result),
        prompts={run: _prompt(p, run) for run in ("clean", "corrupted")},
        part=_part(result, at),
        base=way.base,
        source=way.source,
        taken=taken,
        change=change,
        metric=_metric(result.metrics[0]),
        numbers=numbers,
        compared=_compared(result, at, numbers, way),
        said=_said(result, at, numbers, way),
        standing=tuple(words.stands(p)),
    )


def _cell(result: PatchResult, cell: Mapping[str, Any]) -> dict[str, int]:
    """Return where a cell is in the result's arrays; raise PatchError for one that is not there."""
    unknown = [axis for axis in cell if axis not in result.by]
    missing = [axis for axis in result.by if axis not in cell]
    if unknown or missing:
        listed = ", ".join(f"{axis}=..." for axis in result.by)
        raise PatchError(f"a cell of this result is named by {', '.join(result.by)}; call diagram({listed}).")
    at = {}
    for axis in result.by:
        found = np.flatnonzero([label == cell[axis] for label in result.data[axis].values.tolist()])
        if not len(found):
            raise PatchError(f"the result has no {axis} {quoted(cell[axis])}.")
        at[axis] = int(found[0])
    return at


def _numbers(result: PatchResult, at: Mapping[str, int]) -> dict[str, float]:
    """Return what is known of the two runs and of the cell."""
    found = {run: float(result.data[run].values[0]) for run in ("clean", "corrupted")}
    if at:
        cells = {"patched": result.data["patched"], "effect": result.effect, "normalized": result.normalized}
        found |= {name: float(values.isel({"metric": 0, **at})) for name, values in cells.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _prompt(provenance: Mapping[str, Any], run: str) -> str:
    given = (provenance.get("prompts") or {}).get(run)
    one = provenance.get("n", 1) == 1
    text = (
        given
        if isinstance(given, str) and one
        else joined_text(provenance["texts"][run], provenance["texts"][_OTHER[run]])
    )
    return text if one else f"{provenance['n']} prompts, such as they share: {text}"


def _part(result: PatchResult, at: Mapping[str, int]) -> str:
    site, window = result.provenance["site"], result.provenance.get("window", 1)
    if not at:
        many, over = result.data["status"].size, f" in windows of {window} layers" if window > 1 else ""
        return f"{site}{over}, each of {counted(many, 'cell')} by {', '.join(result.by)}, one at a time"
    named = [f"{axis} {result.data[axis].values[i]}" for axis, i in at.items()]
    if window > 1:
        named[result.by.index("layer")] = _window(result, int(result.data["layer"].values[at["layer"]]))
    if "pos" in at and "token" in result.data.coords:
        texts = (str(result.data[name].values[at["pos"]]) for name in ("token", "token_corrupted"))
        named.append("'" + "/".join(dict.fromkeys(filter(None, texts))) + "'")
    confined = result.provenance.get("within") or {}
    named += [f"{axis} {', '.join(map(str, some))} only" for axis, some in confined.items()]
    return f"{site} at {', '.join(named)}"


def _window(result: PatchResult, layer: int) -> str:
    """Return the layers that are patched together with one; results saved without their model's size say how many."""
    window, of = result.provenance["window"], (result.provenance.get("sizes") or {}).get("layer")
    layers = f"layers {ranges(layers_around(layer, window, of))}" if of else f"{window} layers"
    return f"{layers} around layer {layer}"


def _metric(name: str) -> str:
    return METRICS[name].name.replace("_", " ") if name in METRICS else name


def _said(result: PatchResult, at: Mapping[str, int], numbers: Mapping[str, float], way: Patch) -> str:
    metric = _metric(result.metrics[0])
    runs = ", ".join(f"{shown(numbers[run])} {run}" for run in ("clean", "corrupted") if run in numbers)
    mean = f", mean of {result.n} pairs" if result.n > 1 else ""
    told = f"{metric}{mean}: {runs}." if runs else _NOT_MADE
    if not at:
        return f"{told} {_range(result, way)}" if runs else told
    if "patched" not in numbers:
        return f"{told} This cell is {result.data['status'].isel(at).item()}."
    told = f"{metric}{mean}: {runs}, {shown(numbers['patched'])} patched; effect {shown(numbers['effect'])}."
    return f"{told} Normalized: {shown(numbers['normalized'])} {way.moved}." if "normalized" in numbers else told


def _compared(result: PatchResult, at: Mapping[str, int], numbers: Mapping[str, float], way: Patch) -> tuple[str, ...]:
    if not at:
        return (_range(result, way),)
    if "effect" not in numbers:
        return (f"This cell is {result.data['status'].isel(at).item()}.",)
    effect = f"effect = patched \u2212 {way.base} = {shown(numbers['effect'])}"
    if "normalized" not in numbers:
        return effect, "The two runs hardly differ: there is no normalized effect."
    return effect, f"effect / ({way.source} \u2212 {way.base}) = {shown(numbers['normalized'])} {way.moved}"


def _range(result: PatchResult, way: Patch) -> str:
    values = result.normalized.values
    known = values[np.isfinite(values)]
    if not known.size:
        return "There is no normalized effect." if words.made(result) else _NOT_MADE
    return f"Normalized: from {shown(float(known.min()))} to {shown(float(known.max()))} {way.moved}."
