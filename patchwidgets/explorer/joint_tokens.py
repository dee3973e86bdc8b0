"""What the model says next with all gathered cells patched together, beside the clean and the corrupted run."""

from __future__ import annotations

import threading
from collections.abc import Callable

import ipywidgets as w

from ..engine.handle import ModelHandle
from ..engine.inspect import Inspector
from ..engine.plan import Plan
from ..engine.values import Encode
from ..spelling import isolated, shown_text
from ..views import Predictions
from .cell_pairs import prompt_text
from .failing import why
from .opened import drawn
from .panels import token_tables, without_rows
from .text import Line


class JointTokens:
    """The tables of next tokens; over a dataset they are of one pair, the chosen one.

    `lock` is the Explorer's; `submit` runs a function on its worker thread.
    """

    def __init__(
        self, handle: ModelHandle, lock: threading.RLock, submit: Callable[[Callable[[], None]], None], encode: Encode
    ) -> None:
        self._handle, self._lock, self._submit, self._encode = handle, lock, submit, encode
        self._wanted: object | None = None
        self._joint: Plan | None = None
        self._chosen = 0
        self.view, self.error = Predictions(), Line("pw-x-error")
        self.box = w.VBox([self.view, self.error])
        self.box.add_class("pw-x-below")
        self.show(None)

    def show(self, joint: Plan | None) -> None:
        """Show what comes next with all cells of a joint sweep patched; None shows nothing."""
        with self._lock:
            self._joint = joint
            self._ask()

    def choose(self, pair: int) -> None:
        """Show another pair of a dataset, by its number from 0."""
        with self._lock:
            if pair != self._chosen:
                self._chosen = pair
                self._ask()

    def cancel(self) -> None:
        """Show nothing where nothing has been seen yet."""
        with self._lock:
            if self._wanted is not None:
                self.show(None)

    def _ask(self) -> None:
        joint, self._wanted = self._joint, None
        self.error.say("")
        self.box.layout.display = "none" if joint is None else None
        if joint is not None:
            at = min(self._chosen, len(joint.pairs) - 1)
            self.view.show(without_rows(runs_of(joint)), title=title_of(joint, at), note=_prompts(joint, at))
            wanted = self._wanted = object()
            self._submit(lambda: self._look(wanted, joint, at))

    def _look(self, wanted: object, joint: Plan, at: int) -> None:
        """Run one pair with all cells patched. On the worker thread."""
        if wanted is not self._wanted:
            return
        runs, told, pair = runs_of(joint), "", joint.pairs[at]
        tables = without_rows(runs)
        try:
            inspector = Inspector(
                self._handle, pair, joint.patch, intervention=joint.intervention, metric=joint.metrics[0],
                encode=self._encode, seed=joint.seed,
            )  # fmt: skip
            seen = inspector.together([(site.name, place) for site, place in joint.targets(joint.status.size - 1)])
            tables = token_tables(runs, seen.logits, pair, self._handle.tokenizer)
        except Exception as error:
            told = why(error, "the next tokens of gathered cells could not be looked at")
        with self._lock:
            if wanted is self._wanted:
                self._wanted = None
                self.view.show(tables)
                self.error.say(told)


def runs_of(joint: Plan) -> list[dict[str, str]]:
    """Return the three runs as views name them; the last set of a joint sweep is all of its cells."""
    many = joint.status.size - 1
    together = f"patched: {'both' if many == 2 else f'all {many}'} together"
    return [*({"name": name, "label": name} for name in ("clean", "corrupted")), {"name": "patched", "label": together}]


def title_of(joint: Plan, at: int) -> str:
    """Return what the tables are of: over a dataset of which pair."""
    n = len(joint.pairs)
    which = "" if n == 1 else f" in the first of {n} pairs" if at == 0 else f" in pair {at + 1} of {n}"
    return f"Next token{which}{drawn(joint)}"


def _prompts(joint: Plan, at: int) -> str:
    """Return the prompts of the pair where it is one of several."""
    if len(joint.pairs) == 1:
        return ""
    texts = [isolated(shown_text(prompt_text(joint.pairs[at], run))) for run in ("clean", "corrupted")]
    return f"Its prompts: {' / '.join(texts)}"
