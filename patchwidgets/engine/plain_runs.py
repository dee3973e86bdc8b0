"""The plain runs of one pair, made once for many looks at it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from .baseline import RUNS, Baseline, record
from .gate import Disturbed, foreign_hooks
from .handle import ModelHandle
from .lanes import Lane
from .memory import budget_for, element_bytes
from .replay.parts import Stack
from .replay.tape import Tapes
from .unchanged import sums_of, untouched_state_of

_ROWS = 4
"""Both runs, each twice."""


class PlainRuns:
    """Both runs of a pair with activations, kept as long as the model computes as it did.

    `spare` are hooks that are wanted later: where they fit into a part of the free memory they are kept from the first
    time on.
    """

    def __init__(self, handle: ModelHandle, lane: Lane, base: str, spare: Sequence[str] = ()) -> None:
        self._handle, self._lane, self._base = handle, lane, base
        self._spare = [name for name in spare if name in handle.hooks]
        self._state: Hashable | None = None
        self._sums: tuple[float, ...] | None = None
        self._summing: Future[tuple[float, ...]] | None = None
        self._mixes: bool | None = None
        self._hooks: set[str] = set()
        self._baseline = Baseline()
        self._tapes: Tapes | None = None

    def forget(self) -> None:
        """Make them anew the next time."""
        self._state, self._sums, self._mixes, self._hooks = None, None, None, set()
        self._baseline, self._tapes = Baseline(), None

    def ahead(self) -> list[str]:
        """Return the hooks that are kept before they are asked for."""
        return self._spare if self._fits(self._spare) else []

    def with_hooks(self, hooks: Collection[str], stack: Stack | None = None) -> tuple[Baseline, Tapes | None]:
        """Return the runs with the hooks' activations, and for a model in parts the base run on tape.

        What is made of them is certain once `settle` was called. Call both with the handle's lock held.
        """
        state = untouched_state_of(self._handle)
        self._summing = None if state is None else _beside(self._handle)
        # A look through hooks needs no tape, and leaves the next look the one there was.
        mixes = self._mixes if stack is None else stack.way.mixes
        known = state is not None and state == self._state and self._hooks.issuperset(hooks)
        if known and mixes == self._mixes:
            return self._baseline, self._tapes
        wanted = {*hooks, *self.ahead(), *(self._hooks if state == self._state else ())}
        self.forget()
        tapes = None if mixes is None else Tapes(self._handle, self._base, mixes)
        self._baseline = record(self._handle, [(self._lane, run) for run in RUNS], wanted, recorder=tapes)
        if foreign_hooks(self._handle.hooks):
            state = None  # They came meanwhile, and may have acted on these runs.
        self._state, self._hooks, self._mixes, self._tapes = state, wanted, mixes, tapes
        return self._baseline, tapes

    def settle(self) -> None:
        """Raise Disturbed where a weight's data was written in place since these runs were made.

        A replayed run shows only what changed above its cell: below it stand these runs, right or wrong.
        """
        if self._summing is None:
            return
        sums = self._summing.result()
        if self._sums not in (None, sums):
            raise Disturbed("the model's weights were written to while it was looked at; look again.")
        self._sums, self._summing = sums, None

    def _fits(self, hooks: Sequence[str]) -> bool:
        """Return whether the hooks' activations are small beside what is free."""
        return (
            _ROWS * sum(map(self._numbers, hooks)) * element_bytes(self._handle) <= budget_for(self._handle.device) // 8
        )

    def _numbers(self, hook: str) -> int:
        tokens, config = max(len(self._lane.ids(run)) for run in RUNS), self._handle.bridge.cfg
        if hook.endswith(("hook_pattern", "hook_attn_scores")):
            return self._handle.n_heads * tokens**2
        wide = (config.d_mlp or 4 * config.d_model) if ".mlp." in hook else 0
        return tokens * max(config.d_model, self._handle.n_heads * config.d_head, wide)


def _beside(handle: ModelHandle) -> Future[tuple[float, ...]]:
    """Start reading all weights in a thread, beside what goes on here."""
    bridge, reader = handle.bridge, ThreadPoolExecutor(1, "patchwidgets-weights")
    try:
        return reader.submit(sums_of, bridge)
    finally:
        reader.shutdown(wait=False)
