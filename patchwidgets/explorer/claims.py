"""Who wants which run: the map and the kinds may share one, and it goes on as long as either wants it."""

from __future__ import annotations

from ..engine.run import Run


class Claims:
    """The run that each part of the page wants; the Explorer's lock is held by whoever calls."""

    def __init__(self) -> None:
        self._wanted: dict[str, Run] = {}

    def want(self, part: str, run: Run | None) -> None:
        """Let a part want this run, or none; the one it wanted before is cancelled where no other part wants it."""
        before = self._wanted.pop(part, None)
        if run is not None:
            self._wanted[part] = run
        if before is not None and before not in self._wanted.values():
            before.cancel()

    def under_way(self, part: str) -> Run | None:
        """Return the run that a part wants, None once it is over."""
        run = self._wanted.get(part)
        return None if run is None or run.finished else run
