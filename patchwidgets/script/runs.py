"""The part of a script that runs the model: the two plain runs, and one run per cell of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..sites import SITES, Site
from .literals import WIDTH, Code, assigned, indented, indices, literal
from .scores import formula, reads
from .settings import RUNS, Settings
from .standing import donors, standing, stands_in
from .values import Where, closes, kept_closed, lines, loop_place, names_line, names_of, where


def swept_sites(settings: Settings) -> list[Site]:
    """Return the sites the sweep writes to."""
    if settings.p["site"] != "joint":
        return [SITES[settings.p["site"]]]
    return list(dict.fromkeys(SITES[site] for cells in settings.p["sets"].values() for site, _ in cells))


def parameters(settings: Settings) -> list[str]:
    """Return the parameters of `runs`."""
    found = ["clean", "corrupted"]
    found += ["tail"] if settings.tailed else []
    found += ["extra"] if settings.uneven else []
    found += ["matched"] if settings.aligned else []
    if settings.what == "mask":
        found += [name for name in ("answer", "foil") if name in _followed(settings)]
        found += ["at"] if settings.at == "at" else []
    return [*found, *settings.counters]


def _followed(settings: Settings) -> list[str]:
    return reads([formula(settings.followed, settings.kind)])


def runs(settings: Settings) -> str:
    """Return the function `runs`."""
    body = [*_texts(settings), *standing(settings), *_sources(settings), *_cells(settings)]
    return (
        f"def runs({', '.join(parameters(settings))}):\n"
        '    """Yield the logits [pos, vocab] of the two plain runs, then of every patched run."""\n'
        f"{indented(chr(10).join(body))}"
    )


def _texts(settings: Settings) -> list[str]:
    found = []
    if settings.aligned and settings.tailed:
        base, source = settings.patch.base, settings.patch.source
        found += [
            f"ends = [(len({base}) + i, len({source}) + i) for i in range(len(tail))]",
            "matched = [*matched, *ends]",
        ]
    if settings.aligned:
        found += _alignment(settings)
    for number, stand in [(None, settings.p), *((s["number"], s) for s in settings.standing)]:
        if stand["intervention"] == "resample":
            found += donors(settings, stand, names_of(number))
    ids = "[*{run}, *tail]" if settings.tailed else "{run}"
    both = (f"torch.tensor([{ids.format(run=run)}]{settings.device})" for run in RUNS)
    return [*found, *(f"{run} = {text}" for run, text in zip(RUNS, both, strict=True))]


def _alignment(settings: Settings) -> list[str]:
    places = [loop_place(settings, settings.result.by)]
    if settings.p["site"] == "joint":
        places = [place for cells in settings.p["sets"].values() for _, place in cells]
    axes = [(place.get(axis), axis) for place in places for site in swept_sites(settings) for axis in site.axes]
    at = [value for value, axis in axes if axis in ("pos", "dest", "src")]
    found = []
    if any(value is not None and not isinstance(value, list) for value in at):
        found.append("counterpart = dict(matched)")
    chosen = next((value for value in at if isinstance(value, list)), None)
    if chosen is not None:
        found.append(f"matched = [both for both in matched if both[0] in {literal(chosen)}]")
    if any(value is None or isinstance(value, list) for value in at):
        found.append("ours, theirs = torch.tensor(matched).T")
    return found


def _plain(settings: Settings, run: str) -> str:
    if not stands_in(settings, run):
        return f"model({run})"
    return f'model.run_with_hooks({run}, fwd_hooks=standing["{run}"])'


def _sources(settings: Settings) -> list[str]:
    """Return the lines that run the two prompts as they are."""
    found = []
    for run in RUNS:
        if settings.what == "patch" and run == settings.patch.source:
            line = f"logits, cache = model.run_with_cache({run})"
            stands = [f'with model.hooks(fwd_hooks=standing["{run}"]):', f"    {line}"]
            found += stands if stands_in(settings, run) else [line]
            found.append(f'yield ("{run} run",), logits[0]')
        else:
            found.append(f'yield ("{run} run",), {_plain(settings, run)}[0]')
    if settings.what == "mask":
        given = [_GIVEN.get(name, name).format(at=settings.at) for name in _followed(settings) if name != "last"]
        given += ["at"] if settings.at == "at" else []
        found.append(f"gradients = gradients_of({', '.join([settings.patch.base, *given])})")
    return found


_GIVEN = {"clean_last": "model(clean)[0, {at}]", "corrupted_last": "model(corrupted)[0, {at}]"}


def gradients(settings: Settings) -> str:
    """Return the function that a mask's gradients come from."""
    followed, sites = formula(settings.followed, settings.kind), swept_sites(settings)
    given = [name for name in _followed(settings) if name != "last"] + (["at"] if settings.at == "at" else [])
    return (
        f"def gradients_of({', '.join(['tokens', *given])}):\n"
        f'    """Return the gradient of {settings.followed} with respect to every hook\'s activation."""\n'
        "    seen = {}\n\n"
        "    def keep(activation, hook, name):\n"
        "        seen[name] = activation.requires_grad_()\n"
        "        return activation\n\n"
        f"    names = {names_line(sites, None)}\n"
        "    with torch.enable_grad():\n"
        "        hooks = [(name, partial(keep, name=name)) for name in names]\n"
        f"        last = model.run_with_hooks(tokens, fwd_hooks=hooks)[0, {settings.at}]\n"
        f"        found = torch.autograd.grad({followed}, [seen[name] for name in names])\n"
        f"{indented(chr(10).join(_returned(sites)))}"
    )


def _returned(sites: Sequence[Site]) -> list[str]:
    """Return the lines that give the gradients back; nothing depends on attention that is closed."""
    each = "{name: gradient[0] for name, gradient in zip(names, found)}"
    if not any(site.name == "pattern" for site in sites):
        return [f"return {each}"]
    others = [] if len(sites) == 1 else ['if name.endswith("hook_pattern"):']
    pad = "    " * len(others)
    return [
        f"found = {each}",
        "for name, gradient in found.items():",
        *(f"    {line}" for line in [*others, f"{pad}gradient[~open_in(name, gradient)] = 0"]),
        "return found",
    ]


def _cells(settings: Settings) -> list[str]:
    if settings.p["site"] == "joint":
        return _joint_cells(settings)
    result, by, site = settings.result, settings.result.by, swept_sites(settings)[0]
    found, pad = [], ""
    for axis in by:
        found.append(f"{pad}for {axis} in {_along(settings, axis)}:")
        pad += "    "
    place = where(settings, site, loop_place(settings, by))
    written = kept_closed(lines(settings, settings.p, place, names_of()), closes(settings.p, [site], settings))
    named, window = any("name" in line for line in written), settings.p["window"]
    cell = literal(tuple(Code(axis) for axis in result.by))
    inner = [
        *([f'name = {"f" if site.layered else ""}"{site.hook}"'] if window == 1 else []),
        "",
        f"def write(activation, hook{', name' if named and window > 1 else ''}):",
        *(f"    {line}" for line in _short_lines(written, WIDTH - len(pad) - 8)),
        "    return activation",
        "",
        *_hooks(settings, site, named),
        f"patched = model.run_with_hooks({settings.patch.base}, fwd_hooks=hooks)",
        f"yield {cell}, patched[0]",
    ]
    return [*found, *(f"{pad}{line}" if line else "" for line in inner)]


def _short_lines(written: Sequence[str], width: int) -> list[str]:
    """Return the lines, those that are too long in two: first the new value, then the place it is written to."""
    found: list[str] = []
    for line in written:
        place, sign, value = line.partition("= ")
        found += [line] if len(line) <= width else [f"new = {value}", f"{place}{sign}new"]
    return found


def _hooks(settings: Settings, site: Site, named: bool) -> list[str]:
    stands = f'*standing["{settings.patch.base}"], ' if settings.standing else ""
    window = settings.p["window"]
    if window == 1:
        return [f"hooks = [{stands}(name, write)]"]
    first, end = f"max(0, layer - {window // 2})", f"min(model.cfg.n_layers, layer + {(window + 1) // 2})"
    write = "partial(write, name=name)" if named else "write"
    comprehension = f"(name, {write}) for name in names"
    return [
        f"around = range({first}, {end})",
        f'names = [f"{site.hook.format(layer="{near}")}" for near in around]',
        f"hooks = [{stands}*({comprehension})]" if stands else f"hooks = [{comprehension}]",
    ]


def _along(settings: Settings, axis: str) -> str:
    """Return the indices of an axis to loop over: those whose cells can be measured."""
    status = settings.result.data["status"]
    there = (status != "unavailable").any([other for other in status.dims if other != axis]).values
    values = [int(i) for i, known in zip(status[axis].values, there, strict=True) if known]
    if axis != "src" or "dest" not in settings.result.by:
        return indices(values)
    found = indices(values)
    return "range(dest + 1)" if found.startswith("range") else f"[src for src in {found} if src <= dest]"


def _joint_cells(settings: Settings) -> list[str]:
    names, sites = names_of(), swept_sites(settings)
    place = Where(("to",), ("of",) if settings.aligned else (), joint=True)
    written = lines(settings, settings.p, place, names)
    if closes(settings.p, sites, settings):
        written = kept_closed(written, True)
        if any("dest" not in site.axes for site in sites):
            written[-1] = f"if hook.name.endswith({_SCORES}):"
            written.append("    keep_closed(activation, before, hook)")
    arguments = ["to", *(["of"] if settings.aligned else [])]
    named = ["name"] if any("name" in line for line in written) else []
    bound = ", ".join(f"{name}={name}" for name in [*named, *arguments])
    stands = f'*standing["{settings.patch.base}"], ' if settings.standing else ""
    loop = f"for name, {', '.join(arguments)} in places"
    return [
        *(line[4:] for line in assigned("sets", _sets(settings), 4).splitlines()),
        "",
        f"def write(activation, hook, {', '.join([*named, *arguments])}):",
        *(f"    {line}" for line in written),
        "    return activation",
        "",
        "for chosen, places in sets.items():",
        f"    hooks = [(name, partial(write, {bound})) {loop}]",
        *([f"    hooks = [{stands}*hooks]"] if stands else []),
        f"    patched = model.run_with_hooks({settings.patch.base}, fwd_hooks=hooks)",
        "    yield (chosen,), patched[0]",
    ]


_SCORES = '("hook_pattern", "hook_attn_scores")'


def _sets(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    status = settings.result.data["status"]
    found = {}
    for name, cells in settings.p["sets"].items():
        if status.sel(set=name) == "unavailable":
            continue
        found[name] = []
        for site_name, place in cells:
            site = SITES[site_name]
            index = where(settings, site, place)
            sides = [index.here, index.there] if settings.aligned else [index.here]
            written = [Code(f"np.s_[{', '.join(_short(side))}]") for side in sides]
            found[name].append((site.hook_name(place.get("layer")), *written))
    return found


def _short(pieces: Sequence[str]) -> list[str]:
    kept = list(pieces)
    while len(kept) > 1 and kept[-1] == ":":
        kept.pop()
    return kept
