"""A second model, or another checkpoint, beside the first: the same settings on both, their maps on one scale."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import numpy as np

from ..answers import Answer
from ..datasets import Dataset
from ..encoding import encode_prompts
from ..engine.blocks import start_in_blocks
from ..engine.handle import ModelHandle, handle_of
from ..engine.plan import Plan
from ..engine.run import Run
from ..errors import PatchError, in_words
from ..prompts import EncodedPair
from ..result import PatchResult
from ..spelling import counted, shown_token
from .choices import Choices, Prompts
from .comparing import Comparison
from .controls import progress_of
from .failing import why
from .kept import Entry, Kept, key_of
from .sets import Sets
from .settings import align_of, pair_of, plan_of
from .text import Line

_EXACT = ("clean", "corrupted")

Settings = dict[str, Any]


class Against:
    """The panel of the other model. Its sweep begins when the first model's is done; the drilldown is the first's.

    `choices` and `swept` are the Explorer's; `submit` does a task on its worker thread, `lock` is the Explorer's.
    """

    def __init__(
        self,
        first: ModelHandle,
        model: Any,
        choices: Choices,
        swept: Dataset | None,
        lock: threading.RLock,
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        self._model = model  # A handle alone does not keep its model.
        self._handle, self._first = handle_of(model), first
        if self._handle is first:
            raise PatchError("against is the model itself; give another model, or another checkpoint of it.")
        self._handle.check_ready()
        self._choices, self._prompts, self._sets = choices, Prompts(self._handle), Sets(self._handle, swept)
        self._lock, self._submit = lock, submit
        self._kept = Kept()
        self._asked: tuple[Settings, Plan, Run] | None = None
        self._run: Run | None = None
        self.comparison = Comparison()
        self.tokens, self.progress, self.error = Line("pw-x-warning"), Line("pw-x-dim"), Line("pw-x-error")
        title = Line("pw-x-title")
        other = _called_alike(first, self._handle) if first.name == self._handle.name else ""
        title.say("A: ", (first.name, "pw-x-name"), "B: ", (self._handle.name, "pw-x-name"), (other, "pw-x-dim"))
        about = Line("pw-x-dim", text=f"B has {self._handle.summary}. What is opened behind a cell is A's.")
        self.box = w.VBox([title, about, self.tokens, self.error, self.progress, self.comparison.box])
        self.box.add_class("pw-x-against")

    @property
    def run(self) -> Run | None:
        """The other model's sweep, while and after it runs."""
        return self._run

    @property
    def result(self) -> PatchResult | None:
        """What the other model gave by the settings on screen; None until it is whole."""
        with self._lock:
            asked, run = self._asked, self._run
        if asked is None or run is None or not (run.finished and run.complete):
            return None
        return run.snapshot().select(asked[0]["metric"])

    def follow(self, settings: Settings, plan: Plan, run: Run | None) -> None:
        """Measure the same on the other model once the first one's run is whole; None shows nothing."""
        with self._lock:
            cut = self._run is not None and not self._run.complete
            same = self._asked is not None and run is self._asked[2] and not cut
            self._asked = None if run is None else (settings, plan, run)
            if same:
                if self._run is not None:
                    self._show(settings)
                return
            if self._run is not None:
                self._run.cancel()
            self._run = None
            self.comparison.show(None, None)
            for line in (self.tokens, self.error, self.progress):
                line.say("")
        if run is not None:
            run.subscribe(self._first_arrived)

    def cancel(self) -> None:
        """Stop at the next layer: what is measured stays, what was not begun waits to be asked for again."""
        with self._lock:
            if self._run is None:
                self._asked = None
            else:
                self._run.cancel()

    def _first_arrived(self, run: Run, _cells: np.ndarray) -> None:
        """Go on when the first model's run is over. On that run's thread."""
        if not (run.finished and run.complete):
            return
        with self._lock:
            asked = self._asked
        if asked is not None and asked[2] is run:
            self._submit(lambda: self._begin(run))

    def _begin(self, first: Run) -> None:
        """Plan the other model's sweep and start it. On the worker thread: plans ask the model."""
        with self._lock:
            asked, begun = self._asked, self._run is not None
        if asked is None or asked[2] is not first or begun:
            return
        settings, told = asked[0], ""
        run: Run | None = None
        try:
            given = self._translated(settings)
            told = self._told(settings, given)
            made = plan_of(self._handle, given, self._choices, self._prompts, self._sets)
            with self._lock:
                if self._asked is None or self._asked[2] is not first:
                    return
                run = self._kept.get(key_of(made)) or start_in_blocks(self._handle, made, self._prompts)
                self._kept.put(made, settings, run)
                self._run = run
            error = ""
        except Exception as failed:
            told_why = why(failed, "the other model's sweep could not be begun")
            error = f"On {self._handle.name}: {told_why}"
        with self._lock:
            if self._asked is None or self._asked[2] is not first:
                return
            self.tokens.say(told)
            self.error.say(error)
        if run is not None:
            run.subscribe(self._arrived)

    def _arrived(self, run: Run, _cells: np.ndarray) -> None:
        """Show the other model's progress, and both maps when it is done. On that run's thread."""
        with self._lock:
            if run is not self._run or self._asked is None:
                return
            over = run.finished
            try:
                if run.error is not None:
                    self.error.say(f"On {self._handle.name}: {in_words(run.error)}")
                else:
                    self._show(self._asked[0])
            finally:
                self.progress.say(f"B: {progress_of(run, over)}")

    def _show(self, settings: Settings) -> None:
        """Show both maps, in the metric of the settings."""
        if self._asked is None or self._run is None or not (self._run.finished and self._run.complete):
            return
        runs = (self._asked[2], self._run)
        entries = [Entry(i, settings, None, run, time.time()) for i, run in enumerate(runs, start=1)]
        self.comparison.show(*entries)
        if settings["metric"] in [value for _, value in self.comparison.metric.options]:
            self.comparison.metric.value = settings["metric"]

    def _translated(self, settings: Settings) -> Settings:
        """Return settings as the other model reads them: a token picked on the first one by its text."""
        if settings["dataset"] is not None:
            raise PatchError(
                "over a dataset each model is swept on the pairs that it answers rightly, and two means over other "
                "pairs cannot be held against each other; choose one pair."
            )
        same = self._same_vocabulary(settings)
        if not same and settings["positions"] is not None:
            raise PatchError(
                "the tokens to sweep are chosen by their numbers in A, which are other tokens here; sweep all tokens."
            )
        if not same and any(not isinstance(settings[name], str) for name in _EXACT):
            raise PatchError("the prompts are token ids, which mean other tokens there; give them as text.")
        found = {name: settings[name] if same else self._text(settings[name]) for name in ("answer", "foil")}
        # Matches made by hand are of the first model's positions.
        alignment = settings["alignment"] if same else None
        return {**settings, **found, "alignment": alignment}

    def _text(self, value: Answer | None) -> Answer | None:
        if isinstance(value, tuple):
            return tuple(self._text(each) for each in value)  # type: ignore[return-value]
        if not isinstance(value, int):
            return value
        tokens, other = self._first.tokenizer, self._handle.tokenizer
        text = tokens.text(value)
        # Where the first model hears no leading space, the other one's token is the one that follows a word.
        deaf = tokens.has_text and tokens.encode(f" {text}") == tokens.encode(text)
        return f" {text}" if deaf and len(other.encode(f" {text}")) == 1 else text

    def _same_vocabulary(self, settings: Settings) -> bool:
        """Return whether both models read these prompts as the same tokens, of the same texts."""
        try:
            ours, theirs = self._read(self._first, settings), self._read(self._handle, settings)
        except PatchError:
            return False
        size = self._first.tokenizer.vocab_size == self._handle.tokenizer.vocab_size
        same = (ours.clean, ours.corrupted, ours.clean_text, ours.corrupted_text)
        return size and same == (theirs.clean, theirs.corrupted, theirs.clean_text, theirs.corrupted_text)

    def _read(self, handle: ModelHandle, settings: Settings) -> EncodedPair:
        return encode_prompts(pair_of(settings), handle.tokenizer, align=align_of({"alignment": None}))

    def _told(self, settings: Settings, given: Settings) -> str:
        """Return in words how the two models' tokens differ, "" where they are the same."""
        if given is settings or self._same_vocabulary(settings):
            return ""
        ours, theirs = self._read(self._first, settings), self._read(self._handle, settings)
        return tokens_told((self._first.name, ours), (self._handle.name, theirs))


def _called_alike(first: ModelHandle, other: ModelHandle) -> str:
    """Return what is known of two models of one name: a name says nothing of the weights."""
    one, two = first.revision, other.revision
    known = one is not None and two is not None
    return "(the same name and revision)" if known and one == two else f"(the same name{', another revision' * known})"


def tokens_told(a: tuple[str, EncodedPair], b: tuple[str, EncodedPair]) -> str:
    """Return how two models read one pair differently: its tokens, and so what a column means."""
    (_, one), (_, other) = a, b
    said = []
    for run in ("clean", "corrupted"):
        texts = [[text.strip() for text in pair.texts(run)] for pair in (one, other)]
        if texts[0] != texts[1]:
            read = " B: ".join("|".join(map(shown_token, pair.texts(run))) for pair in (one, other))
            said.append(
                f"The {run} prompt is {counted(len(texts[0]), 'token')} in A and {len(texts[1])} in B. A: {read}."
            )
    if not said:
        return "The two models have vocabularies of their own; they cut these prompts at the same places."
    lengths = [(len(pair.clean), len(pair.corrupted)) for pair in (one, other)]
    columns = (
        "so a column is not the same place" if lengths[0] != lengths[1] else "so look whether a column is the same"
    )
    return " ".join([*said, f"The models cut the text differently, {columns} in both maps."])
