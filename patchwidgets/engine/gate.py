"""Hooks that act on one thread only, are counted, and always come off."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from ..errors import PatchError
from .model import HookPoint

Edit = Callable[[Tensor], Tensor | None]


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
            point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]
    wrong = {name: fired[name] for name in edits if fired[name] != 1}
    if wrong:
        told = ", ".join(f"{name} {count} times" for name, count in wrong.items())
        raise PatchError(
            f"a hook must fire exactly once in a forward pass, but: {told}. The model does not compute this "
            "activation in the usual way, or its hooks were removed meanwhile; choose another site."
        )
