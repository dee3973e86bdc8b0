"""The table of sweeps: ours beside TransformerLens, nnsight, naive batches and the floor."""

from __future__ import annotations

import argparse
from typing import Any

from . import peers
from .cases import Case, cases, load
from .clock import Peak, matmul_rate, median
from .floor import floor_flops
from .traced import nnsight

_COLUMNS = (
    ("sweep", -28), ("tokens", 6), ("from", 4), ("cells", 6), ("ours s", 8), ("noise", 6), ("engine", 7), ("TL s", 9),
    ("x", 6), ("nnsight s", 9), ("x", 6), ("naive s", 9), ("x", 6), ("floor s", 8), ("x", 5), ("MB", 6), ("apart", 8),
)  # fmt: skip


def show(options: argparse.Namespace) -> None:
    """Print a row for every sweep.

    ~ marks a peer extrapolated from a sample of its cells; x is the peer's time over ours, or ours over the floor's;
    "apart" is the largest difference from the cells that the peers measured.
    """
    model = load(options.model)
    print(" ".join(f"{name:{'<' if width < 0 else '>'}{abs(width)}}" for name, width in _COLUMNS))
    for case in cases(options.lengths, options.only):
        print(row(model, case, options), flush=True)


def row(model: Any, case: Case, options: argparse.Namespace) -> str:
    """Measure one sweep and return its line."""
    every = peers.all_cells(model, case)
    chosen = peers.sample(every, options.sample)
    case.patch(model, engine=options.engine).wait()
    with Peak() as peak:
        ours, noise, result = median(lambda: case.patch(model, engine=options.engine).wait(), options.times)
    assert result.check["reused"] == 0
    tl_seconds, tl = peers.transformer_lens(model, case, every, chosen)
    naive_seconds, naive = peers.naive(model, case, every, peers.sample(every, max(32, options.sample)))
    traced = nnsight(options.model, case, every, chosen)
    floor = floor_flops(model, case) / matmul_rate()
    found = result.data["patched"].values[0]
    apart = max(
        abs(float(found[cell]) - value)
        for seen in (tl, naive, traced[1] if traced else {})
        for cell, value in seen.items()
    )
    mark = "~" if len(chosen) < len(every) else ""
    by_nnsight = f"{mark + format(traced[0], '.1f'):>9} {traced[0] / ours:>6.1f}" if traced else f"{'-':>9} {'-':>6}"
    memory = f"{peak.bytes / 1e6:.0f}" if peak.bytes else "?"
    return (
        f"{case.name:28} {case.tokens:>6} {case.at:>4} {len(every):>6} {ours:>8.2f} {noise:>6.0%} {result.engine:>7} "
        f"{mark + format(tl_seconds, '.1f'):>9} {tl_seconds / ours:>6.1f} {by_nnsight} "
        f"{mark + format(naive_seconds, '.1f'):>9} {naive_seconds / ours:>6.1f} {floor:>8.2f} {ours / floor:>5.1f} "
        f"{memory:>6} {apart:>8.1e}"
    )
