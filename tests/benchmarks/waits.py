"""What a user waits for, in wall seconds: the first cells, what is behind a cell, a cancelled sweep's end."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from patchwidgets.encoding import encode_pair
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.inspect import Inspector
from patchwidgets.explorer.opened import LOOKED_AT, PARTS
from patchwidgets.interventions import Patch
from patchwidgets.result import MEASURED

from .cases import Case, load, prompts


def show(options: argparse.Namespace) -> None:
    """Print the waits of two sweeps at every length."""
    model = load(options.model)
    for length in options.lengths:
        for site, by in (("resid_pre", ("layer", "pos")), ("z", ("layer", "head"))):
            case = Case(site, by, *prompts(length, length // 3), length // 3)
            case.patch(model).wait()
            whole, first = zip(*(_first_cells(model, case) for _ in range(options.times)), strict=True)
            heads = statistics.median(_heads(model, case) for _ in range(options.times))
            looks = [_looks(model, case) for _ in range(options.times)]
            opened, next_one = (statistics.median(each) for each in zip(*looks, strict=True))
            stops = sorted(_stopping(model, case, share / 20, statistics.median(whole)) for share in range(1, 20))
            print(
                f"{case.name:22} {length:>4} tokens: whole {statistics.median(whole):.2f} s, first cells "
                f"{statistics.median(first):.2f} s, a cell opened {opened:.2f} s, the next ones {next_one:.2f} s, "
                f"heads at one token {heads:.2f} s, "
                f"cancel to stopped: median {stops[len(stops) // 2] * 1e3:.0f} ms, "
                f"95 % {stops[int(0.95 * len(stops))] * 1e3:.0f} ms",
                flush=True,
            )


def _first_cells(model: Any, case: Case) -> tuple[float, float]:
    """Return the seconds to the last cell and to the first that was measured."""
    began = time.perf_counter()
    first: list[float] = []

    def listener(run: Any, cells: Any) -> None:
        if len(cells) and (run.status[cells] == MEASURED).any():
            first.append(time.perf_counter() - began)

    run = case.patch(model)
    run.subscribe(listener)
    run.wait()
    return time.perf_counter() - began, first[0] if first else float("nan")


def _looks(model: Any, case: Case) -> tuple[float, float]:
    """Return the seconds until a cell's next tokens and parts are known: of the first cell opened, of later ones."""
    handle = handle_of(model)
    pair = encode_pair(case.pair, handle.tokenizer, needs_foil=True, prepend_bos=False)
    inspector = Inspector(handle, pair, Patch(), sites=LOOKED_AT)
    seconds = []
    layers = [handle.n_layers // 2, *range(1, handle.n_layers, 3)]
    for layer in layers:
        at = {"layer": layer, "pos": (case.at + case.tokens) // 2}
        began = time.perf_counter()
        inspector.look([("resid_pre", at), *((site, at) for site in PARTS)])
        seconds.append(time.perf_counter() - began)
    return seconds[0], statistics.median(seconds[1:])


def _heads(model: Any, case: Case) -> float:
    """Return the seconds that the heads of one token take, which the Explorer sweeps when a cell is opened."""
    began = time.perf_counter()
    heads = Case("z", ("layer", "pos", "head"), case.clean, case.corrupted, case.at)
    heads.patch(model, positions=[(case.at + case.tokens) // 2]).wait()
    return time.perf_counter() - began


def _stopping(model: Any, case: Case, share: float, whole: float) -> float:
    run = case.patch(model)
    time.sleep(share * whole)
    began = time.perf_counter()
    run.cancel()
    run.wait()
    return time.perf_counter() - began
