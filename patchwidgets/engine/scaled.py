"""A sweep on an executor: shards go out, what comes back goes into one run, and what is lost goes out again."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from typing import Any, NamedTuple

import numpy as np

from ..errors import PatchError, quoted
from ..interventions import Mask
from ..result import MEASURED, PENDING, PatchResult
from .baseline import RUNS, Baseline, record
from .handle import ModelHandle
from .measuring import Hooked
from .plan import Plan
from .recipe import recipe_of
from .replay.sweeping import Replayed
from .run import Run
from .shards import Reply, Sent, Shard, check_sendable, cut, glance_of, measure, prompts_of
from .sweep import Sweep, launch
from .values import Encode

_TRIES = 3
_ASK_SECONDS = 0.05
_UNKNOWN = 4
"""How many workers an executor is taken to have that does not say."""


def check_executor(executor: object) -> Executor:
    """Return `executor` when it is one; anything else is a PatchError."""
    if isinstance(executor, Executor):
        return executor
    hint = "give client.get_executor()" if hasattr(executor, "get_executor") else "such as a ProcessPoolExecutor"
    raise PatchError(f"executor must be a concurrent.futures.Executor, not {quoted(executor)}; {hint}.")


def start_on(
    executor: Executor, handle: ModelHandle, plan: Plan, batch_size: int | None, encode: Encode, resume: object,
    engine: str | None, memory: int | None,
) -> Run:  # fmt: skip
    """Start measuring the plan's cells on the executor's workers; the plain runs are made here.

    `memory` is what each worker may take. Raises PatchError for a model, or a metric, that workers cannot have.
    """
    sweep = _Scaled(executor, handle, plan, batch_size, encode, engine, memory)
    check_sendable(plan, sweep.sent)
    return launch(sweep, resume)


class _Crew(NamedTuple):
    """How many workers an executor has, and how many at most are on one machine."""

    workers: int
    beside: int


def _crew(executor: Any) -> _Crew:
    """Return what an executor tells of its workers; Python's own and dask's do. It decides the cut, and no number."""
    count = getattr(executor, "_max_workers", None)
    if isinstance(count, int) and count > 0:
        return _Crew(count, count)
    ask = getattr(getattr(executor, "_client", None), "nthreads", None)
    threads = ask() if ask else None
    if isinstance(threads, dict) and threads:
        machines = Counter(str(address).rpartition(":")[0] for address in threads)
        return _Crew(machines.total(), max(machines.values()))
    return _Crew(_UNKNOWN, _UNKNOWN)


class _Scaled(Sweep):
    """The work of a sweep whose cells are measured elsewhere."""

    def __init__(
        self, executor: Executor, handle: ModelHandle, plan: Plan, batch_size: int | None, encode: Encode,
        engine: str | None, memory: int | None,
    ) -> None:  # fmt: skip
        super().__init__(handle, plan, batch_size, encode, engine, memory)
        self.executor, self.crew = executor, _crew(executor)
        self.sent = Sent(
            recipe_of(handle), prompts_of(plan, encode), self.origin["versions"], batch_size, engine, memory,
            self.crew.beside,
        )  # fmt: skip
        self.engine = Hooked.name if engine == Hooked.name else Replayed.name
        self.why_hooked = "it was asked for" if engine == Hooked.name else None
        self.replies: dict[int, Reply] = {}
        self.shards = self.retried = 0

    def _choose_engine(self) -> None:
        """Leave the choice to the workers."""

    def _record(self) -> Baseline:
        """Make the plain runs; no activations are needed here."""
        rows = [(lane, run) for lane in self.lanes for run in RUNS]
        return record(self.handle, rows, whole=self.plan.whole, standing=self.standing, stop=self.stop)

    def _make_values(self) -> None:
        """Make none, but for a mask, whose weights are told."""
        if isinstance(self.plan.intervention, Mask):
            super()._make_values()

    def _measure_all(self, run: Run) -> None:
        order = self.plan.order[run.status[self.plan.order] == PENDING]
        if not len(order):
            return
        glance = glance_of(self.baseline, self.lanes)
        shards = cut(self.plan, order, glance, self.lanes, self.crew.workers, self.sent)
        self.shards = len(shards)
        left = Counter(shard.step for shard in shards)
        tables: dict[int, np.ndarray] = {}
        desk = _Desk(self.executor, run)
        try:
            for shard, reply in desk.replies(shards):
                self.retried = desk.lost
                self._note(shard, reply)
                shape = (*run.patched.shape[:2], len(shard.plan.order))
                table = tables.setdefault(shard.step, np.full(shape, np.nan))
                table[:, slice(*shard.items)] = reply.values
                left[shard.step] -= 1
                if not left[shard.step]:
                    self._keep(shard.plan.order, tables.pop(shard.step), run)
        finally:
            desk.close()
            for warning in dict.fromkeys(reply.warning for _, reply in sorted(self.replies.items())):
                if warning:
                    run.warn(warning)

    def _note(self, shard: Shard, reply: Reply) -> None:
        """Take over how a shard was measured: of all shards, the worst."""
        if reply.error is not None:
            raise reply.error
        self.replies[shard.number] = reply
        ours, its = self.check, reply.check
        ours.controls, ours.remeasured = ours.controls + its.controls, ours.remeasured + its.remeasured
        ours.worst, ours.apart = max(ours.worst, its.worst), max(ours.apart, its.apart)
        told = [reply for _, reply in sorted(self.replies.items())]
        ours.wrong = [cell for reply in told for cell in reply.check.wrong]
        hooked = [reply for reply in told if reply.engine == Hooked.name]
        if hooked:
            self.engine, self.why_hooked = Hooked.name, hooked[0].why_hooked

    def _keep(self, cells: np.ndarray, values: np.ndarray, run: Run) -> None:
        self._note_kept(cells)
        run.add(cells, values, MEASURED)
        self._write_down([(cells, values)], run)

    def report(self, run: Run) -> PatchResult:
        """Return what is measured so far as a result, which says by how many workers."""
        result = super().report(run)
        result.provenance["executor"] = {
            "kind": type(self.executor).__name__,
            "shards": self.shards,
            "measured": len(self.replies),
            "workers": len({reply.worker for reply in list(self.replies.values())}),
            "retried": self.retried,
        }
        return result


class _Desk:
    """Hands shards to an executor and takes each one's reply once, whatever the order and whatever is lost."""

    def __init__(self, executor: Executor, run: Run) -> None:
        self.executor, self.run = executor, run
        self.out: dict[Future[Reply], Shard] = {}
        self.tried: Counter[int] = Counter()
        self.lost = 0

    def replies(self, shards: list[Shard]) -> Iterator[tuple[Shard, Reply]]:
        """Yield shards with their replies as they come, until the run is cancelled; later ones are dropped.

        A shard whose worker is lost goes out again. Raises PatchError when it was lost too often, or nobody is left.
        """
        for shard in shards:
            self._hand_out(shard)
        while self.out and not self.run.cancelling:
            wait(self.out, timeout=_ASK_SECONDS, return_when=FIRST_COMPLETED)
            # Asked one by one: `wait` never returns those that an executor which is shut down cancels.
            done = [future for future in self.out if future.done()]
            back = sorted(((self.out.pop(future), future) for future in done), key=lambda each: each[0].number)
            lost = []
            for shard, future in back:
                if self.run.cancelling:
                    return
                trouble = _trouble(future)
                if trouble is None:
                    yield shard, future.result()
                else:
                    lost.append((shard, trouble))
            for shard, trouble in lost:  # After what did come back: nothing that is measured is thrown away.
                self._hand_out_again(shard, trouble)

    def close(self) -> None:
        """Take back what has not begun."""
        for future in self.out:
            future.cancel()
        self.out.clear()

    def _hand_out(self, shard: Shard) -> None:
        self.tried[shard.number] += 1
        try:
            self.out[self.executor.submit(measure, shard, uuid.uuid4().hex)] = shard
        except Exception as error:  # Every executor refuses in its own way.
            raise self._gone(error) from error

    def _hand_out_again(self, shard: Shard, trouble: BaseException) -> None:
        self.lost += 1
        if isinstance(trouble, BrokenExecutor):
            raise self._gone(trouble) from trouble
        if self.tried[shard.number] >= _TRIES:
            raise PatchError(
                f"executor=: {_TRIES} workers in turn were lost with the same shard ({_told(trouble)}); they may lack "
                f"memory, or cannot import what the sweep needs. {self._kept()}"
            ) from trouble
        self._hand_out(shard)

    def _gone(self, error: BaseException) -> PatchError:
        return PatchError(
            f"executor=: the {type(self.executor).__name__} takes no more work ({_told(error)}). When one of its "
            "processes dies, a process pool is broken for good; one dies at once when it cannot import the script, or "
            'the metric, that the sweep comes from: guard a script with if __name__ == "__main__", and define metrics '
            f"in a module. Make a new executor and sweep again. {self._kept()}"
        )

    def _kept(self) -> str:
        return (
            f"{self.run.done} of {self.run.total} cells are measured and kept: run.snapshot() has them, and with "
            "resume= the next sweep goes on from there."
        )


def _trouble(future: Future[Reply]) -> BaseException | None:
    """Return why no reply came back: what goes wrong while measuring is in the reply, all else is a lost worker."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _told(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
