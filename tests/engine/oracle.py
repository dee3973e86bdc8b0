"""Independent measurements of a sweep's cells: TransformerLens's own patching and hooks, one run per cell."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
import transformer_lens.patching as tl
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

Score = Callable[[Tensor], Tensor]

LAYER_POS, LAYER, LAYER_HEAD, LAYER_POS_HEAD = ("layer", "pos"), ("layer",), ("layer", "head"), ("layer", "pos", "head")

SWEEPS: dict[tuple[str, tuple[str, ...]], Callable[..., Tensor]] = {
    ("resid_pre", LAYER_POS): tl.get_act_patch_resid_pre,
    ("resid_mid", LAYER_POS): tl.get_act_patch_resid_mid,
    ("attn_out", LAYER_POS): tl.get_act_patch_attn_out,
    ("mlp_out", LAYER_POS): tl.get_act_patch_mlp_out,
    ("z", LAYER_HEAD): tl.get_act_patch_attn_head_out_all_pos,
    ("q", LAYER_HEAD): tl.get_act_patch_attn_head_q_all_pos,
    ("k", LAYER_HEAD): tl.get_act_patch_attn_head_k_all_pos,
    ("v", LAYER_HEAD): tl.get_act_patch_attn_head_v_all_pos,
    ("z", LAYER_POS_HEAD): tl.get_act_patch_attn_head_out_by_pos,
    ("q", LAYER_POS_HEAD): tl.get_act_patch_attn_head_q_by_pos,
    ("k", LAYER_POS_HEAD): tl.get_act_patch_attn_head_k_by_pos,
    ("v", LAYER_POS_HEAD): tl.get_act_patch_attn_head_v_by_pos,
}
"""TransformerLens's function for each of our tables that it has one for."""


def _generic(name: str, setter: Callable[..., Tensor], axes: list[str]) -> Callable[..., Tensor]:
    def sweep(model: TransformerBridge, base: Tensor, cache: object, metric: Score) -> Tensor:
        return tl.generic_activation_patch(model, base, cache, metric, setter, name, axes)

    return sweep


def _whole_layer(activation: Tensor, index: list[int], other: Tensor) -> Tensor:
    """Write in place, as TransformerLens's setters do: at resid_mid this is what moves the residual stream itself."""
    activation[:] = other
    return activation


SWEEPS |= {
    (name, LAYER): _generic(name, _whole_layer, ["layer"])
    for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
}
SWEEPS["resid_post", LAYER_POS] = _generic("resid_post", tl.layer_pos_patch_setter, ["layer", "pos"])

ALL_SWEEPS = sorted(SWEEPS)


def scores(answer: int, foil: int | None) -> dict[str, Score]:
    """The metrics, written out again: logits [1, pos, vocab] -> a number."""
    found: dict[str, Score] = {
        "logit": lambda logits: logits[0, -1, answer],
        "logprob": lambda logits: logits[0, -1].log_softmax(0)[answer],
        "prob": lambda logits: logits[0, -1].softmax(0)[answer],
        "cross_entropy": lambda logits: -logits[0, -1].log_softmax(0)[answer],
        "rank": lambda logits: 1 + logits[0, -1].argsort(descending=True).tolist().index(answer) + 0 * logits[0, -1, 0],
        "accuracy": lambda logits: (logits[0, -1].argmax() == answer).double(),
    }
    if foil is not None:
        found["logit_diff"] = lambda logits: logits[0, -1, answer] - logits[0, -1, foil]
    return found


def table(
    model: TransformerBridge, site: str, by: tuple[str, ...], base: Tensor, source: Tensor, metrics: dict[str, Score]
) -> dict[str, np.ndarray]:
    """Return TransformerLens's table for every metric from one sweep of its own.

    Its table is float32 whatever the model; the numbers here are caught inside the metric, in the order of its cells.
    """
    seen: dict[str, list[float]] = {name: [] for name in metrics}

    def metric(logits: Tensor) -> Tensor:
        for name, score in metrics.items():
            seen[name].append(score(logits).item())
        return logits.new_zeros(())

    with torch.no_grad():
        _, cache = model.run_with_cache(source)
        shape = SWEEPS[site, by](model, base, cache, metric).shape
    return {name: np.array(values).reshape(shape) for name, values in seen.items()}


def runs(
    model: TransformerBridge, base: Tensor, source: Tensor, metrics: dict[str, Score]
) -> dict[str, tuple[float, float]]:
    """Return each metric of the two plain runs, each run alone."""
    with torch.no_grad():
        first, second = model(base), model(source)
    return {name: (score(first).item(), score(second).item()) for name, score in metrics.items()}


def cells(
    model: TransformerBridge, site: str, base: Tensor, source: Tensor, score: Score, where: list[dict[str, int]]
) -> np.ndarray:
    """Return the metric after each patch by plain `run_with_hooks`, one run per cell."""
    hook = {"z": "attn.hook_z", "q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v"}.get(site, f"hook_{site}")
    names = {f"blocks.{cell['layer']}.{hook}" for cell in where}
    found = []
    with torch.no_grad():
        _, cache = model.run_with_cache(source, names_filter=lambda name: name in names)
        for cell in where:
            name = f"blocks.{cell['layer']}.{hook}"

            def put(activation: Tensor, hook: object, cell: dict[str, int] = cell, name: str = name) -> Tensor:
                patched = activation.clone()
                index = (0, cell.get("pos", slice(None)), *([cell["head"]] if "head" in cell else []))
                patched[index] = cache[name][index]
                return patched

            found.append(score(model.run_with_hooks(base, fwd_hooks=[(name, put)])).item())
    return np.array(found)


def every_cell(by: tuple[str, ...], sizes: dict[str, int]) -> list[dict[str, int]]:
    """Return all cells of a table, row-major in `by`."""
    return [dict(zip(by, where, strict=True)) for where in product(*(range(sizes[axis]) for axis in by))]
