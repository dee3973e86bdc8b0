"""How the cost grows with the prompt, the layers and the pairs."""

from __future__ import annotations

import argparse

import patchwidgets as pw

from .cases import Case, load, prompts
from .clock import median


def show(options: argparse.Namespace) -> None:
    """Print the CPU seconds of resid_pre by layer and position, one thing changed at a time."""
    model = load(options.model)
    for length in (15, 64, 256):
        case = Case("resid_pre", ("layer", "pos"), *prompts(length, length // 3), length // 3)
        _line(f"{length} tokens", lambda case=case: case.patch(model).wait(), 1 if length > 64 else options.times)
    for pairs in (1, 8, 64):
        data = pw.Dataset([Case("", (), *prompts(15, 5, seed), 5).pair for seed in range(pairs)])
        _line(
            f"{pairs} pairs of 15 tokens",
            lambda data=data: pw.patch(model, data, "resid_pre", prepend_bos=False).wait(),
            options.times if pairs < 64 else 1,
        )
    if options.model == "gpt2":
        for layers in (6, 12, 24):
            other = load("gpt2", layers)
            case = Case("resid_pre", ("layer", "pos"), *prompts(15, 5), 5)
            _line(f"{layers} layers", lambda case=case, other=other: case.patch(other).wait(), options.times)


def _line(name: str, work: object, times: int) -> None:
    work()  # type: ignore[operator]
    seconds, noise, result = median(work, times)  # type: ignore[arg-type]
    measured = int((result.data["status"].values == "measured").sum())
    print(f"{name:24} {seconds:>8.2f} s {noise:>5.0%} {measured:>6} cells {result.engine}", flush=True)
