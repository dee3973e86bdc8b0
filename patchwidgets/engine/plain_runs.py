"""The plain runs of one pair, made once for many looks at it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

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
        # Every weight's sum as the kept runs were made, and as they were looked at last.
        self._made: Future[tuple[float, ...]] | None = None
        self._now: Future[tuple[float, ...]] | None = None
        self._mixes: bool | None = None
        self._hooks: set[str] = set()
        self._baseline = Baseline()
        self._tapes: Tapes | None = None

    def forget(self) -> None:
        """Make them anew the next time."""
        self._state, self._made, self._now, self._mixes, self._hooks = None, None, None, None, set()
        self._baseline, self._tapes = Baseline(), None

    def ahead(self) -> list[str]:
        """Return the hooks that are kept before they are asked for."""
        return self._spare if self._fits(self._spare) else []

    def with_hooks(self, hooks: Collection[str], stack: Stack | None = None) -> tuple[Baseline, Tapes | None]:
        """Return the runs with the hooks' activations, and for a model in parts the base run on tape.

        What is made of them is certain where `certain` was entered before, and left. Call with the handle's lock held.
        """
        state = untouched_state_of(self._handle)
        now = None if state is None else _beside(self._handle)
        # A look through hooks needs no tape, and leaves the next look the one there was.
        mixes = self._mixes if stack is None else stack.way.mixes
        known = state is not None and state == self._state and self._hooks.issuperset(hooks)
        if known and mixes == self._mixes:
            self._now = now
            return self._baseline, self._tapes
        wanted = {*hooks, *self.ahead(), *(self._hooks if state == self._state else ())}
        self.forget()
        tapes = None if mixes is None else Tapes(self._handle, self._base, mixes)
        self._baseline = record(self._handle, [(self._lane, run) for run in RUNS], wanted, recorder=tapes)
        if foreign_hooks(self._handle.hooks):
            state = None  # They came meanwhile, and may have acted on these runs.
        self._state, self._hooks, self._mixes, self._tapes = state, wanted, mixes, tapes
        self._made = self._now = now
        return self._baseline, tapes

    @contextmanager
    def certain(self) -> Iterator[None]:
        """Raise Disturbed where a weight's data was written in place since the runs used inside were made.

        A replayed run shows only what changed above its cell: below it stand these runs, right or wrong. What raises
        inside leaves no runs to later looks: nothing has compared them with a second computation.
        """
        try:
            yield
            if self._made is not None and self._now is not None and self._made.result() != self._now.result():
                raise Disturbed("the model's weights were written to while it was looked at; look again.")
        except BaseException:
            self.forget()
            raise
        self._now = None

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
