"""What stands during the runs of a script, and the prompts that a draw takes activations from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..sites import SITES, Site
from .literals import Code, literal
from .settings import RUNS, Settings
from .values import Names, Where, closes, kept_closed, lines, names_line, names_of, outer, which

_PLURALS = {"pos": "positions", "head": "heads", "neuron": "neurons"}


def donors(settings: Settings, what: Mapping[str, Any], names: Names) -> list[str]:
    """Return the lines that draw other prompts: one for what is swept, one per run for what stands."""
    own = what["settings"]["run"]
    if names.number is None:
        taken = ", ".join(dict.fromkeys([settings.patch.base, own]))
        return [f"other = donor(prompts, [{taken}], {settings.draw})"]
    runs = RUNS if what["runs"] == "both" else (what["runs"],)
    found = []
    for run in runs:
        taken = ", ".join(dict.fromkeys([run, own]))
        found.append(f'"{run}": donor({names.prompts}, [{taken}], {settings.draw}{which(names)}),')
    return [f"{names.others} = {{", *(f"    {line}" for line in found), "}"]


def standing(settings: Settings) -> list[str]:
    """Return the lines that make `standing`: the hooks that stand in either run."""
    if not settings.standing:
        return []
    found: list[str] = []
    for stand in settings.standing:
        found += _stand(settings, stand)
    return ["", *found, 'standing = {"clean": [], "corrupted": []}', *_stands(settings), ""]


def _stand(settings: Settings, stand: Mapping[str, Any]) -> list[str]:
    """Return the function that writes what stands."""
    names, site = names_of(stand["number"]), SITES[stand["site"]]
    place = {axis: stand[plural] for axis, plural in _PLURALS.items() if stand[plural] is not None}
    if settings.tailed and "pos" in place:
        # Positions count from the end of the prompt, not of the text that continues it.
        place["pos"] = [Code(f"{i} - len(tail)") if i < 0 else i for i in place["pos"]]
    what = Where(_whole(site, place))
    extra = {"resample": ", name, other", "noise": ", name", "mean": ", name"}.get(stand["intervention"], "")
    written = [line.replace(f"{names.other}[name]", "other[name]") for line in lines(settings, stand, what, names)]
    return [
        f"def {names.stand}(activation, hook{extra}):",
        *(f"    {line}" for line in kept_closed(written, closes(stand, [site], settings))),
        "    return activation",
        "",
    ]


def _whole(site: Site, place: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an index that pays no heed to alignment."""
    return outer([":" if place.get(axis) is None else literal(place[axis]) for axis in site.axes])


def _stands(settings: Settings) -> list[str]:
    found = []
    for stand in settings.standing:
        names, site = names_of(stand["number"]), SITES[stand["site"]]
        kind = stand["intervention"]
        hook = names.stand
        if kind in ("noise", "mean"):
            hook = f"partial({hook}, name=name)"
        elif kind == "resample":
            hook = f"partial({hook}, name=name, other={names.others}[run])"
        runs = list(RUNS) if stand["runs"] == "both" else [stand["runs"]]
        pad = ""
        if len(runs) == 2:
            found.append('for run in ("clean", "corrupted"):')
            pad, run = "    ", "run"
        else:
            run = f'"{runs[0]}"'
            hook = hook.replace("[run]", f"[{run}]")
        if site.layered:
            found.append(f"{pad}for name in {names_line([site], stand['layers'])}:")
            found.append(f"{pad}    standing[{run}].append((name, {hook}))")
        else:
            hook = hook.replace("name=name", f'name="{site.hook}"')
            found.append(f'{pad}standing[{run}].append(("{site.hook}", {hook}))')
    return found


def stands_in(settings: Settings, run: str) -> bool:
    """Return whether anything stands in a run."""
    return any(stand["runs"] in (run, "both") for stand in settings.standing)
