"""`result.code()`: a script of TransformerLens's own hooks that measures a result's cells again, one by one."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from ..metrics import METRICS, gap_too_small
from ..words import meaning, stands
from .literals import WIDTH, Code, assigned, call, literal
from .runs import gradients, parameters, runs, swept_sites
from .scores import custom_name, formula, helpers, reads
from .settings import Settings
from .values import made, shared

if TYPE_CHECKING:
    from ..result import PatchResult

__all__ = ["code"]


def code(result: PatchResult) -> str:
    """Return a script that measures the result's cells one by one with TransformerLens's own hooks.

    It prints, between tabs, the cell, the metric, its value and the normalized effect; first the two plain runs. What a
    script cannot know, a function of the user's or a model made in memory, is a line to fill in.
    """
    settings = Settings(result)
    sites = swept_sites(settings)
    above = [_model(settings.p), "torch.set_grad_enabled(False)", *_customs(settings), "", _data(settings)]
    functions = [*shared(settings, sites), *helpers(_formulas(settings), settings.kind), _score(settings)]
    if settings.what == "mask":
        functions.append(gradients(settings))
    values = made(settings, sites)
    body = "\n\n\n".join(["\n".join(above), *functions, *(["\n".join(values)] if values else []), runs(settings)])
    whole = "\n\n\n".join([body, _measure(settings), _main(settings)])
    return f"{_title(settings)}\n\n{_imports(whole, settings.p)}\n\n{whole}\n"


def _customs(settings: Settings) -> list[str]:
    """Return two lines for every function of the user's, which a script cannot know."""
    found = []
    for name in settings.asked:
        if name not in METRICS:
            found.append("# Put your own function here: (logits [run, pos, vocab], tokens [run, pos]) -> [run].")
            found.append(f"{custom_name(name)} = ...")
    return found


def _title(settings: Settings) -> str:
    patch = settings.patch
    told = (
        f"Prints the cell, the metric, its value, and the normalized effect: 0 is the {patch.base} run, 1 the "
        f"{patch.source} run."
    )
    said = [f"{meaning(settings.p)['title']}, measured with TransformerLens alone.", *stands(settings.p), told]
    lines = (textwrap.fill(line.replace("\\", "\\\\").replace('"', "'"), WIDTH - 4) for line in said)
    return '"""' + "\n\n".join(lines) + '\n"""'


_MODULES = {
    "hashlib": "hashlib.", "random": "random.", "partial": "partial(", "islice": "islice(", "np": "np.s_",
}  # fmt: skip


def _imports(text: str, p: dict[str, Any]) -> str:
    used = {name for name, sign in _MODULES.items() if sign in text}
    standard = [f"import {name}" for name in ("hashlib", "random") if name in used]
    standard += ["from functools import partial"] if "partial" in used else []
    standard += ["from itertools import islice"] if "islice" in used else []
    others = ["import numpy as np"] if "np" in used else []
    others += ["import torch", *_loading(p)[0]]
    return "\n".join([*standard, *([""] if standard else []), *others])


_PROCESSING = {
    "raw": [],
    "processed": ["model.enable_compatibility_mode()  # the default processing; give the options you used"],
}


def _model(p: dict[str, Any]) -> str:
    lines = [f"model = {_loading(p)[1]}", *_PROCESSING[p["weights"]]]
    if p["hooks_on_model"]:
        lines.append(f"# Hooks of yours were on the model, at {', '.join(p['hooks_on_model'])}: put them on here.")
    return "\n".join(lines)


def _loading(p: dict[str, Any]) -> tuple[list[str], str]:
    """Return the imports and the expression that load the model again."""
    where, before = p["location"], len("model = ")
    if where == "embedded" or where.endswith(".gguf") or where.startswith(("/", ".")):
        target = [] if where == "embedded" else [literal(where)]
        options = [*target, f'device="{p["device"]}"', f'dtype="{p["dtype"]}"']
        return ["from patchwidgets import load_model"], call("load_model", options, before)
    if where in ("in memory", "native"):
        return [], "...  # the model was made in memory; put it here"
    options = [literal(where), f'device="{p["device"]}"', f"dtype=torch.{p['dtype']}"]
    options += [f'revision="{p["revision"]}"'] if p["revision"] else []
    loading = call("TransformerBridge.boot_transformers", options, before)
    return ["from transformer_lens.model_bridge import TransformerBridge"], loading


def _data(settings: Settings) -> str:
    pairs = [settings.data(pair) for pair in settings.pairs]
    return assigned("pair", pairs[0]) if len(pairs) == 1 else assigned("pairs", pairs)


def _formulas(settings: Settings) -> list[str]:
    return [formula(name, settings.kind) for name in settings.asked]


def _read(settings: Settings) -> list[str]:
    return reads(formula(name, settings.kind) for name in settings.metrics)


def _score(settings: Settings) -> str:
    entries = {name: Code(formula(name, settings.kind)) for name in settings.metrics}
    returned = literal(entries, len("    return "), 4)
    return f'def score({", ".join(_read(settings))}):\n    """Return the metrics of one run."""\n    return {returned}'


def _measure(settings: Settings) -> str:
    """Return the function that reads the metrics of every run of one pair."""
    read, counters = _read(settings), settings.counters
    own = list(settings.data(settings.pairs[0]))
    lines = _runs_called(settings, read)
    given = [f"logits[{settings.at}]" if name == "last" else name for name in read]
    if settings.half:
        lines += [f"        {name} = {name}.float()" for name in _logits(read)]
    if settings.tailed:
        lines += [f"        {name} = {_ENDS[name]}" for name in read if name in _ENDS]
        if settings.kind == "mixed":
            lines = [
                line.replace("len(answer)", "len(answer[0])").replace("len(foil)", "len(foil[0])") for line in lines
            ]
    if "tokens" in read:
        base = settings.patch.base
        lines += [
            f'        ids = {settings.patch.source} if cell == ("{settings.patch.source} run",) else {base}',
            f"        tokens = torch.tensor([ids]{settings.device})",
            *(["        logits = logits[: len(ids)]"] if settings.tailed else []),
        ]
    return "\n".join(
        [
            f"def measure({', '.join([*counters, *own])}):",
            '    """Return (cell, metric) -> value, for the two plain runs and every cell."""',
            "    table = {}",
            *lines,
            f"        for name, value in score({', '.join(given)}).items():",
            "            table[*cell, name] = float(value)",
            "    return table",
        ]
    )


_ENDS = {"steps": "logits[-len(answer) :]", "foil_steps": "foil_logits[-len(foil) :]"}


def _logits(read: list[str]) -> list[str]:
    return ["logits", *(["foil_logits"] if "foil_steps" in read else [])]


def _tail(settings: Settings, name: str) -> str:
    return f"{name}[:-1]" if settings.kind == "row" else f"{name}[0][:-1]"


def _runs_called(settings: Settings, read: list[str]) -> list[str]:
    """Return the lines that start `runs` and go over what it yields."""
    found = []
    answered = _call(settings, "answer")
    plain = [name for name in ("clean_last", "corrupted_last") if name in read]
    if plain:
        at = "-len(answer)" if settings.tailed else settings.at
        raised = ".float()" if settings.half else ""
        names = [name if name in plain else "_" for name in ("clean_last", "corrupted_last")]
        found.append(f"    plain = islice({answered}, 2)")
        found.append(f"    {', '.join(names)} = [logits[{at}]{raised} for _, logits in plain]")
    if "foil_steps" not in read:
        return [*found, f"    for cell, logits in {answered}:"]
    if settings.uneven:
        found.append("    longest = max(len(answer), len(foil))")
    found += [f"    answered = {answered}", f"    foiled = {_call(settings, 'foil')}"]
    return [*found, "    for (cell, logits), (_, foil_logits) in zip(answered, foiled):"]


def _call(settings: Settings, name: str) -> str:
    """Return the call of `runs` for the prompts continued by the answer, or by the foil."""
    names = parameters(settings)
    given = [_tail(settings, name) if each == "tail" else each for each in names]
    if "extra" in given:
        given[given.index("extra")] = f"longest - len({name})"
    return f"runs({', '.join(given)})"


def _main(settings: Settings) -> str:
    """Return the lines that measure and print."""
    base, source = settings.patch.base, settings.patch.source
    lines = ["table = measure(**pair)"]
    if settings.many:
        given, loops = ", ".join([*settings.counters, "**pair"]), "for pair in pairs"
        if "number" in settings.counters:
            loops = "for number, pair in enumerate(pairs)"
        if len(settings.pairs) == 1:
            loops = f"for sample in range({settings.p['samples']})"
        elif "sample" in settings.counters:
            loops += f" for sample in range({settings.p['samples']})"
        tables = f"tables = [measure({given}) {loops}]"
        if len(tables) > WIDTH:
            tables = (
                f"tables = [\n    measure({given})\n    {loops.replace(' for sample', chr(10) + '    for sample')}\n]"
            )
        lines = [tables, "table = {key: sum(each[key] for each in tables) / len(tables) for key in tables[0]}"]
    lines += [
        "for (*cell, metric), value in table.items():",
        f'    base, source = table["{base} run", metric], table["{source} run", metric]',
    ]
    return "\n".join([*lines, *_printed(settings)])


def _printed(settings: Settings) -> list[str]:
    data = settings.result.data
    runs = zip(data["clean"].values, data["corrupted"].values, strict=True)
    if not any(gap_too_small(float(clean), float(corrupted)) for clean, corrupted in runs):
        return ['    print(*cell, metric, value, (value - base) / (source - base), sep="\\t")']
    return [
        "    small = abs(source - base) < 1e-4 * max(1, abs(source), abs(base))",
        '    normalized = float("nan") if small else (value - base) / (source - base)',
        '    print(*cell, metric, value, normalized, sep="\\t")',
    ]
