"""Hooks that act on one thread only, are counted, and always come off."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import PatchError
from .model import HookPoint

Edit = Callable[[Tensor], Tensor | None]
Stop = Callable[[], bool]
"""Whether to leave off."""

_WIRING = (__name__, "transformer_lens.model_bridge.component_setup")
"""Modules whose hooks are no one else's: this one, and the one that wires a bridge's parts to each other."""
_PATTERN = "_pattern"


@contextmanager
def hooked(points: Mapping[str, HookPoint], edits: Mapping[str, Edit]) -> Iterator[None]:
    """Apply `edits[name]` to the activation at `points[name]` in every forward pass of the calling thread.

    Other threads' passes go through untouched. On leaving, every hook is removed, also after an exception, and each
    must have fired once: a hook that never fires would leave a table of silent zeros. Hooks are registered as
    permanent so that another thread's `run_with_hooks`, which clears ordinary hooks when it ends, does not take them
    away.
    """
    thread = threading.get_ident()
    fired: Counter[str] = Counter()
    handles = []

    def gated(name: str, edit: Edit) -> Callable[..., Tensor | None]:
        def hook(activation: Tensor, hook: object) -> Tensor | None:
            if threading.get_ident() != thread:
                return None
            fired[name] += 1
            return edit(activation)

        return hook

    try:
        for name, edit in edits.items():
            handles.append((points[name], points[name].add_hook(gated(name, edit), is_permanent=True)))
        yield
    finally:
        for point, handle in handles:
            handle.hook.remove()
            with contextlib.suppress(ValueError):
                point.fwd_hooks.remove(handle)
    wrong = {name: fired[name] for name in edits if fired[name] != 1}
    if wrong:
        told = ", ".join(f"{name} {count} times" for name, count in wrong.items())
        raise PatchError(
            f"a hook must fire exactly once in a forward pass, but: {told}. The model does not compute this "
            "activation in the usual way, or its hooks were removed meanwhile; choose another site."
        )


def joined(first: dict[str, Edit], second: dict[str, Edit]) -> dict[str, Edit]:
    """Return the edits of both, the first's before the second's where they are at one hook."""

    def both(one: Edit, other: Edit) -> Edit:
        def edit(activation: Tensor) -> Tensor | None:
            changed = one(activation)
            again = other(activation if changed is None else changed)
            return changed if again is None else again

        return edit

    shared = {name: both(first[name], second[name]) for name in first.keys() & second.keys()}
    return {**first, **second, **shared}


@contextmanager
def letting_go(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Drop what attentions keep of a pass and nobody reads, each as it ends: their last patterns.

    They are [batch, head, dest, src] in every layer; an attention that makes queries, keys and values in one product
    holds on to its own until the next pass.
    """

    def drop(module: nn.Module, args: object, output: object) -> None:
        let_go(module)

    handles = [module.register_forward_hook(drop) for module in modules if hasattr(module, _PATTERN)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def let_go(attention: Any) -> None:
    """Drop the last pattern of an attention, if it keeps one."""
    if getattr(attention, _PATTERN, None) is not None:
        setattr(attention, _PATTERN, None)


def foreign_hooks(points: Mapping[str, HookPoint]) -> list[str]:
    """Return the names of the points that carry hooks of somebody else."""

    def foreign(handle: Any) -> bool:
        return getattr(handle.user_hook, "__module__", None) not in _WIRING

    names = {id(point): name for name, point in points.items() if any(map(foreign, point.fwd_hooks))}
    return list(names.values())  # One name per point: a bridge lists most points under several.


def open_scores(scores: Tensor) -> Tensor:
    """Return which entries of [head, dest, src] attention may have: no other value may be written than is there."""
    size = scores.shape[-1]
    causal = torch.ones(size, size, dtype=torch.bool, device=scores.device).tril()
    return causal.expand_as(scores) & (scores > torch.finfo(scores.dtype).min / 2)


_SLACK = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}


def slack(expected: Tensor) -> float:
    """Return how far a second computation of the same activation may be from the first."""
    return _SLACK[expected.dtype] * max(1.0, float(expected.abs().max()))


def check_control(found: Tensor, expected: Tensor) -> float:
    """Return how far rows that must equal `expected` are from it; beyond what precision allows, raise Disturbed."""
    worst = float((found - expected).abs().max())
    if not worst <= slack(expected):
        raise Disturbed(
            "a row without a patch gave other logits than the base run: the model was changed, or another thread's "
            "hooks acted on it, while the sweep ran. Remove them and run the sweep again."
        )
    return worst


class Stopped(Exception):
    """Runs were asked to stop on their way."""


class Disturbed(PatchError):
    """Something else acted on the model during a forward pass of the sweep."""


_ATTEMPTS = 3
_T = TypeVar("_T")


def undisturbed(lock: AbstractContextManager[object], measure: Callable[[], _T]) -> _T:
    """Measure with the model's lock held, again when something else acted on the model meanwhile."""
    attempt = 1
    while True:
        try:
            with lock:
                return measure()
        except Disturbed:
            if attempt == _ATTEMPTS:
                raise
            attempt += 1
