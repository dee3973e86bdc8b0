"""The same tables by other means: TransformerLens's patching, and naive batches."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from typing import Any

import pandas as pd
import torch
import transformer_lens.patching as tl
from torch import Tensor

from .cases import Case
from .clock import timed

ANSWER, FOIL = 11, 12
_HOOKS = {"pattern": "attn.hook_pattern", "mlp_post": "mlp.hook_post"}
_HOOKS |= {site: f"attn.hook_{site}" for site in ("z", "q", "k", "v")}

Cells = list[tuple[int, ...]]
Taken = tuple[float, dict[tuple[int, ...], float]]
"""CPU seconds of a whole table, and the metric of the cells that were measured."""


def difference(logits: Tensor) -> Tensor:
    """Return the logit difference of the last position, [run]."""
    return logits[:, -1, ANSWER] - logits[:, -1, FOIL]


def all_cells(model: Any, case: Case) -> Cells:
    """Return the cells of the whole table, those before the first difference included."""
    heads = model.cfg.n_key_value_heads if case.site in ("k", "v") else None
    sizes = {"layer": model.cfg.n_layers, "pos": case.tokens, "head": heads or model.cfg.n_heads}
    sizes["neuron"] = case.neurons or 0
    return list(product(*(range(sizes[axis]) for axis in case.by)))


def sample(cells: Cells, count: int) -> Cells:
    """Return some cells, the same every time."""
    return cells if len(cells) <= count else random.Random(0).sample(cells, count)


def hook_name(case: Case, layer: int) -> str:
    """Return TransformerLens's name of the activation."""
    return f"blocks.{layer}.{_HOOKS.get(case.site, f'hook_{case.site}')}"


def write(case: Case, cell: tuple[int, ...], activation: Tensor, row: int, source: Tensor) -> None:
    """Write the source's value of a cell into one row of an activation."""
    at = dict(zip(case.by, cell, strict=True))
    where: tuple[Any, ...]
    if case.site == "pattern":
        where = (at["head"],)
    else:
        where = (at.get("pos", slice(None)), *(at[axis] for axis in ("head", "neuron") if axis in at))
    activation[row][where] = source[where]


def transformer_lens(model: Any, case: Case, cells: Cells, chosen: Cells) -> Taken:
    """TransformerLens's generic_activation_patch, the loop under all its sweeps, over the chosen cells."""
    base, source = torch.tensor([case.corrupted]), torch.tensor([case.clean])
    found: dict[tuple[int, ...], float] = {}
    order = iter(chosen)

    def metric(logits: Tensor) -> Tensor:
        value = difference(logits)[0]
        found[next(order)] = float(value)
        return value

    def setter(activation: Tensor, index: list[int], clean: Tensor) -> Tensor:
        write(case, tuple(int(i) for i in index), activation, 0, clean[0])
        return activation

    def sweep(cache: Any) -> None:
        frame = pd.DataFrame(chosen, columns=list(case.by))
        name = hook_name(case, 0).split(".")[-1].removeprefix("hook_")
        tl.generic_activation_patch(model, base, cache, metric, setter, name, index_df=frame)

    return _extrapolated(lambda: _cached(model, case, source), sweep, len(cells), len(chosen), found)


def naive(model: Any, case: Case, cells: Cells, chosen: Cells, batch: int = 32) -> Taken:
    """Whole forward passes, `batch` cells in each."""
    base, source = torch.tensor([case.corrupted]), torch.tensor([case.clean])
    found: dict[tuple[int, ...], float] = {}

    def sweep(cache: Any) -> None:
        for begin in range(0, len(chosen), batch):
            some = chosen[begin : begin + batch]
            by_hook: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
            for row, cell in enumerate(some):
                by_hook.setdefault(hook_name(case, cell[0]), []).append((row, cell))

            def hook(activation: Tensor, hook: Any, by_hook: Any = by_hook) -> Tensor:
                for row, cell in by_hook[hook_name(case, hook.layer())]:
                    write(case, cell, activation, row, cache[hook_name(case, cell[0])][0])
                return activation

            logits = model.run_with_hooks(base.expand(len(some), -1), fwd_hooks=[(name, hook) for name in by_hook])
            found.update(zip(some, difference(logits).tolist(), strict=True))

    return _extrapolated(lambda: _cached(model, case, source), sweep, len(cells), len(chosen), found)


def _cached(model: Any, case: Case, source: Tensor) -> Any:
    ending = hook_name(case, 0)[len("blocks.0") :]
    return model.run_with_cache(source, names_filter=lambda name: name.endswith(ending))[1]


def _extrapolated(
    cache: Callable[[], Any], sweep: Callable[[Any], None], cells: int, chosen: int, found: dict[tuple[int, ...], float]
) -> Taken:
    """Time the source run, and the chosen cells as part of all."""
    with torch.no_grad():
        once, kept = timed(cache)
        seconds, _ = timed(lambda: sweep(kept))
    return once + seconds * cells / chosen, found
