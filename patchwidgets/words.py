"""What a result says, in words made from its settings, and the script that measures it again."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from .interventions import Patch
from .metrics import METRICS, gap_too_small, tolerance
from .sites import SITES

if TYPE_CHECKING:
    from .result import PatchResult

_WHERE = {
    ("layer", "pos"): "at that token",
    ("layer",): "at every token",
    ("layer", "head"): "at every token",
    ("layer", "pos", "head"): "at that token",
}

_MOVES = {"denoise": "comes back", "noise": "is lost"}
_AXES = {"layer": "layer", "pos": "token", "head": "head"}

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


def meaning(provenance: dict[str, Any]) -> dict[str, str]:
    """Return the sentences for a sweep's settings.

    Keys: `title`, `unit` (what a normalized 1 is called), `sentence` (what a cell means), `high`, `near_zero`,
    `negative`.
    """
    patch, site = Patch(provenance["direction"]), SITES[provenance["site"]]
    by = tuple(provenance["by"])
    where = _WHERE[by]
    sentence = (
        f"A cell shows how much of the gap between the two runs {_MOVES[patch.direction]} "
        f"when {site.words}, {where}, is taken from the {patch.source} run and put into the {patch.base} run."
    )
    return {
        "title": f"{site.name} by {_and([_AXES[axis] for axis in by])}, {patch.source} into {patch.base}",
        "unit": patch.moved,
        "sentence": sentence,
        **_MEANING[patch.direction],
    }


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def origin(result: PatchResult) -> str:
    """Return one line that says where the numbers come from and how far they can be trusted."""
    check = result.check
    agreed = f"unpatched rows gave the base run's logits within {check['worst_logit_difference']:.1g}"
    unresolved = f"effects below {_resolution(result)} are not resolved."
    return "; ".join([_made_by(result), *([agreed] if check["controls"] else []), unresolved])


def _made_by(result: PatchResult) -> str:
    p = result.provenance
    return (
        f"{p['model']}, {p['weights']} weights, {p['dtype']} on {p['device']}; {p['engine']} engine, "
        f"TransformerLens {p['versions']['transformer-lens']}"
    )


def _resolution(result: PatchResult) -> str:
    """Return the size below which an effect may be rounding, for the metric with the widest gap."""
    dtype = result.provenance["dtype"]
    return f"{max(tolerance(dtype, _gap(result, i)) for i in range(len(result.metrics))):.1g}"


def _checked(result: PatchResult) -> str:
    check = result.check
    if not check["controls"]:
        return "No batch of patches was run, so there was nothing to check."
    batches = "the one batch" if check["controls"] == 1 else f"each of {check['controls']} batches"
    return (
        f"Check: in {batches}, unpatched rows run beside the patched ones gave the base run's logits again "
        f"(largest difference {check['worst_logit_difference']:.1g})."
    )


def baselines(result: PatchResult) -> str:
    """Return the two runs' metrics in one line."""
    told = [
        f"{name} {clean:+.2f} clean, {corrupted:+.2f} corrupted"
        for name, clean, corrupted in zip(
            result.metrics, result.data["clean"].values, result.data["corrupted"].values, strict=True
        )
    ]
    return "; ".join(told)


def describe(result: PatchResult) -> str:
    """Return what a cell of the result means, what its values mean, the baselines and the origin, in sentences.

    Every sentence begins a line; lines are wrapped at 88 columns.
    """
    said = meaning(result.provenance)
    lines = [f"{said['title']}.", said["sentence"]]
    lines += [_sentence(said[name]) for name in ("high", "near_zero", "negative")]
    lines += [f"The two runs: {baselines(result)}.", *small_gaps(result), f"Measured on {_made_by(result)}."]
    lines += [_checked(result), f"Effects below {_resolution(result)} are not resolved at this precision."]
    return "\n".join(textwrap.fill(line, 88, break_long_words=False, break_on_hyphens=False) for line in lines)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def small_gaps(result: PatchResult) -> list[str]:
    """Return a sentence for every metric whose two runs are too close to normalize."""
    return [
        f"{name}: the two runs hardly differ ({clean:.6g} clean, {corrupted:.6g} corrupted), so there is no normalized "
        "effect."
        for name, clean, corrupted in zip(
            result.metrics, result.data["clean"].values, result.data["corrupted"].values, strict=True
        )
        if gap_too_small(clean, corrupted)
    ]


def unit(metric: str) -> str:
    """Return the unit of a metric's raw effect."""
    return METRICS[metric].unit


def _gap(result: PatchResult, i: int) -> float:
    return float(result.data["clean"][i] - result.data["corrupted"][i])


_SCRIPT = '''"""{title}, measured with TransformerLens alone."""
import torch
{imports}

model = {load}{processing}
clean = torch.tensor([{clean}], device={device!r})
corrupted = torch.tensor([{corrupted}], device={device!r})
answer, foil = {answer}, {foil}
base, source = {base}, {source}
metrics = {{
{metrics}
}}


def score(logits):
    return {{name: metric(logits[0, -1]).item() for name, metric in metrics.items()}}


with torch.no_grad():
    base_logits = model(base)
    source_logits, cache = model.run_with_cache(source)
    base_score, source_score = score(base_logits), score(source_logits)
    print("base", base_score, "source", source_score)
{loops}
{pad}name = f"{hook}"

{pad}def put(activation, hook):
{pad}    activation[{where}] = cache[name][{where}]
{pad}    return activation

{pad}patched = score(model.run_with_hooks(base, fwd_hooks=[(name, put)]))
{pad}for metric, value in patched.items():
{pad}    gap = source_score[metric] - base_score[metric]
{pad}    print({axes}, metric, value, (value - base_score[metric]) / gap if gap else float("nan"))
'''

_PROCESSING = {
    "raw": "",
    "processed": "\nmodel.enable_compatibility_mode()  # the default processing; give the options you used",
}

_METRIC_CODE = {
    "logit_diff": "lambda last: last[answer] - last[foil]",
    "logit": "lambda last: last[answer]",
    "logprob": "lambda last: last.log_softmax(-1)[answer]",
    "prob": "lambda last: last.softmax(-1)[answer]",
}


def code(result: PatchResult) -> str:
    """Return a script that measures the result's cells one by one with TransformerLens's own hooks."""
    p, patch, site = result.provenance, result.intervention, SITES[result.provenance["site"]]
    imports, load = _loading(p)
    loops, pad = "", "    "
    for axis in result.by:
        loops += f"{pad}for {axis} in {[int(i) for i in result.data[axis].values]}:\n"
        pad += "    "
    return _SCRIPT.format(
        title=meaning(p)["title"], imports=imports, load=load, processing=_PROCESSING[p["weights"]], device=p["device"],
        clean=p["tokens"]["clean"], corrupted=p["tokens"]["corrupted"],
        answer=p["answer"]["token"], foil=None if p["foil"] is None else p["foil"]["token"],
        base=patch.base, source=patch.source,
        metrics="\n".join(f"    {name!r}: {_METRIC_CODE[name]}," for name in result.metrics),
        loops=loops.rstrip("\n"), pad=pad, hook=site.hook, axes=", ".join(result.by),
        where=", ".join(["0", *(axis if axis in result.by else ":" for axis in site.axes if axis)]),
    )  # fmt: skip


def _loading(p: dict[str, Any]) -> tuple[str, str]:
    """Return the import and the expression that load the model again."""
    where = p["location"]
    if where == "embedded" or where.endswith(".gguf") or where.startswith(("/", ".")):
        target = "" if where == "embedded" else f"{where!r}, "
        return (
            "from patchwidgets import load_model",
            f"load_model({target}device={p['device']!r}, dtype={p['dtype']!r})",
        )
    if where in ("in memory", "native"):
        return "", "...  # the model was made in memory; put it here"
    revision = f", revision={p['revision']!r}" if p["revision"] else ""
    return (
        "from transformer_lens.model_bridge import TransformerBridge",
        f"TransformerBridge.boot_transformers({where!r}, device={p['device']!r}, dtype=torch.{p['dtype']}{revision})",
    )
