"""The Explorer widget: it holds the parts together, starts and cancels runs, and keeps what was computed."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as w
import traitlets as t
from IPython.display import display

from ..datasets import Dataset
from ..encoding import encode_prompts, unknown_words
from ..engine.handle import ModelHandle, handle_of
from ..engine.model import load_model
from ..engine.plan import Plan
from ..engine.run import Run
from ..errors import PatchError, PromptError
from ..interventions import Intervention
from ..presets import PRESETS
from ..prompts import EncodedPair, PromptPair, check_pair
from ..result import PatchResult
from .against import Against
from .choices import Choices
from .claims import Claims
from .corrupting import entered_now, kinds_asked
from .drawing import Drawing
from .drilldown import Drilldown
from .failing import why
from .form import Form
from .gathering import Gathering
from .kept import Pause
from .multiples import Multiples
from .offers import offer
from .saving import Saving, Shown
from .screen import Screen
from .settings import align_of, with_seed
from .shelf import HasShelf, Shelf
from .still import Still
from .subsets import without_hidden
from .suggesting import Suggesting
from .text import close_all, close_looks
from .worker import Deadline, Worker, wait_until_idle

_PAUSE = 0.4
_CLOSED = "this Explorer is closed; make another with pw.explore()."
_LOG = logging.getLogger(__name__)


class Explorer(HasShelf, w.VBox):
    """Activation patching live in a notebook.

    Traits to use in the next cell: `result` (the PatchResult on screen, or None), `selection` (a DataFrame with a row
    per gathered cell, in the order they were gathered, else the row of the selected cell, or None), `settings` (plain
    data: clean, corrupted, answer, foil, alignment, dataset, site, by, layers, positions, intervention, direction,
    metric, seed). Assigning some or all of the settings changes the Explorer; an answer or foil of None lets the model
    choose, an alignment of None is the one proposed, layers or positions of None are all; those that a site does not
    have come back with a site that has them. A dataset of None means the one pair; else it is {"name": ..., "n": ...,
    "seed": ...}, as the menu names it. An intervention is its word, which means its default, or {"name": "noise",
    "sigma": 1.5}. What nobody knows is a PatchError, and the settings stay. `intervention` is the object in use, and
    may be assigned. `shelf` lists the results that are kept.

    A function that observes a trait may be called in any thread and must not wait for the Explorer. What it raises is
    logged where the Explorer has set the trait.
    """

    result: Any = t.Instance(PatchResult, allow_none=True)
    selection = t.Any(None, allow_none=True)
    settings: Any = t.TraitType({})  # t.Any would let None pass unchecked.

    _closed = True

    def __init__(
        self,
        model: Any = None,
        pair: PromptPair | Dataset | None = None,
        *,
        dataset: Dataset | None = None,
        intervention: str | Intervention | None = None,
        against: Any = None,
    ) -> None:
        swept = pair if isinstance(pair, Dataset) else None
        pair = PRESETS[0].pair if pair is None or isinstance(pair, Dataset) else check_pair(pair)
        if pair.at != -1:
            raise PatchError("the Explorer reads the last position; give a pair without at=, or use pw.patch.")
        self._model = load_model() if model is None else model
        self._handle: ModelHandle = handle_of(self._model)
        self._handle.check_ready()
        group = uuid.uuid4().hex
        # Messages of the page come in several threads at once, beside the worker's and the sweeps': one lock holds
        # together what is on screen. Who holds it never waits for the model, nor for another thread.
        self._lock = lock = threading.RLock()
        self._worker, self._pause = Worker(), Pause()
        self._encoded: EncodedPair | None = None
        self._live = self._writing = False
        self._form = form = Form(
            self._handle, Choices(swept if dataset is None else dataset), swept or dataset, group, lock,
            self._prompts_changed, self._controls_changed, self._run_pressed, self.cancel,
        )  # fmt: skip
        self._entry, self._aligning, self._controls = form.entry, form.aligning, form.controls
        self._drilldown = Drilldown(self._handle, group, lock, self._worker.submit, form.prompts_of)
        self._drawing = Drawing()
        self._gathering = Gathering(self._handle, lock, self._worker.submit, form.prompts_of)
        claims = Claims()
        self._screen = Screen(
            group, lock, form.aligning, form.controls, self._drilldown, self._gathering, claims, self._publish
        )
        self._map = self._screen.map
        self._shelf = Shelf(self._handle, form, lock, self._enter)
        self._closed = False
        self._shown: dict[str, Any] = {}  # The settings that the result on screen was asked by.
        self._saving = Saving(self._on_screen)
        self._multiples = Multiples(
            lock, self._worker.submit, claims, lambda: entered_now(self._handle, form),
            lambda: kinds_asked(self._handle, form, self._pause.settle), lambda kind: form.plan(kind.settings),
            lambda plan, kind: self._shelf.run_of(plan, kind.settings, kind.name),
        )  # fmt: skip
        self._suggesting = Suggesting(
            self._handle, form.entry, form.aligning, lock, self._worker.submit, lambda: self._prompts_changed(True)
        )
        entered, *below = self._screen.layout(self._entry)
        self._against = None
        if against is not None:
            self._against = Against(self._handle, against, form.choices, swept or dataset, lock, self._worker.submit)
            below.append(self._against.box)
        panels = [self._drawing.box, self._multiples.box, self._saving.box, self._shelf.box]
        parts = [entered, self._suggesting.box, *below, *panels]
        super().__init__(parts)
        self._still = Still(group, lambda task: self._worker.submit(lambda: self._guarded(task)))
        self.observe(lambda change: self._keep_still(change["new"]), "result")
        self.observe(lambda _: self._saving.clear(), "result")
        for name in ("pw-x-root", self._still.mark):
            self.add_class(name)
        self._entry.set(pair, self._handle.tokenizer.text)
        if intervention is not None:
            self._controls.begin_with(intervention)
        if swept is not None:
            form.apply({**form.settings, "dataset": form.sets.asked(swept.name)})
        self._refresh()

    @property
    def intervention(self) -> Intervention:
        """The intervention in use. Assign an object such as `pw.Vector([...])`, or a word of the control."""
        present = self._form.settings
        return self._form.choices.make(present["intervention"], present["direction"])

    @intervention.setter
    def intervention(self, value: str | Intervention) -> None:
        self._controls.take(value)

    @property
    def against(self) -> PatchResult | None:
        """The other model's result by the settings on screen; None until it is whole, and where there is no other."""
        return None if self._against is None else self._against.result

    def run(self) -> Run:
        """Measure the cells of the present settings and return the run; what was measured before comes at once.

        Raises PatchError, also shown beside the field at fault, when the settings cannot be run.
        """
        if self._closed:
            raise PatchError(_CLOSED)
        self._pause.wait()
        self._worker.wait(Deadline(None))
        while True:
            asked = self._form.settings
            try:
                self._form.check()
                plan = self._form.plan(asked)
            except PatchError as error:
                with self._lock:
                    if asked != self._form.settings:
                        continue
                    self._complain(error)
                raise
            with self._lock:
                if self._closed:
                    raise PatchError(_CLOSED)
                if asked == self._form.settings:
                    self._live = True
                    return self._start(plan, asked)

    def cancel(self) -> None:
        """Stop what runs at the next layer: what is measured stays, cells on their way are dropped."""
        self._multiples.cancel()
        self._cancel_map()

    def _cancel_map(self) -> None:
        """Stop what runs for the map, and leave the kinds alone: they are of what was entered when they were asked."""
        if self._against is not None:
            self._against.cancel()
        self._gathering.cancel()
        self._screen.cancel()

    def wait(self, timeout: float | None = None) -> PatchResult | None:
        """Wait until nothing is computing any more and return the result.

        None when nothing was run, or when the run was cancelled before the clean and the corrupted run were made.

        Raises what went wrong in the run, and TimeoutError after `timeout` seconds; what computes then goes on.
        """
        try:
            others = [] if self._against is None else [self._against]
            places = (self._screen, self._drilldown, self._drilldown.neurons, self._gathering, self._multiples, *others)
            wait_until_idle(self._pause, self._worker, places, Deadline.after(timeout))
        except TimeoutError:
            raise TimeoutError(f"the Explorer was not done after {timeout} s; it goes on.") from None
        run = self._run
        if run is not None and run.error is not None:
            raise run.error
        return self.result

    @property
    def together(self) -> PatchResult | None:
        """What the gathered cells do, each alone and all patched together, in every metric; None before that."""
        return self._gathering.result

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the result on screen as one self-contained page and return its path."""
        if self.result is None:
            raise PatchError("there is no result yet; call run() and wait() first.")
        return self.result.to_html(path)

    def close(self) -> None:
        """Cancel what is running, end the Explorer's thread and take the widgets off the page; the result stays."""
        if not self._closed:
            with self._lock:
                self._closed = True
                self._pause.drop()
                self.cancel()
                self._suggesting.close()
                self._drilldown.close()
                self._multiples.close()
                self._drawing.close()
                self._guarded(self._still.close)
                self._worker.close()
            close_all(self.children)
            close_looks(self)
        super().close()

    def __repr__(self) -> str:
        return f"Explorer({self._handle.name!r})"

    def _ipython_display_(self) -> None:
        """Show the Explorer, and what a notebook keeps of it; IPython calls this."""
        self._still.display()
        display(self._repr_mimebundle_(), raw=True)

    @property
    def _run(self) -> Run | None:
        return self._screen.run

    def _publish(self, **traits: Any) -> None:
        for name, value in traits.items():
            self._assign(name, value)
        if traits.get("result") is not None:
            self._shelf.published()
        self._drawing.show(self.result, self._screen.cell, self._screen.others)

    def _assign(self, name: str, value: Any) -> None:
        """Set a trait; what goes wrong in a function that observes it is logged and stops nothing here."""
        try:
            setattr(self, name, value)
        except Exception:
            _LOG.exception("what observes the %s of an Explorer failed", name)

    def _keep_still(self, result: PatchResult | None) -> None:
        if self._run is not None and self._run.complete:
            self._still.keep(result)

    def _on_screen(self) -> Shown | None:
        with self._lock:  # Another result comes together with its settings and its cell.
            result, cell = self.result, self._screen.cell
            return None if result is None else Shown(result, self._shown, lambda: result.diagram(**cell))

    def _write_settings(self) -> None:
        with self._lock:
            self._writing = True
            try:
                self._assign("settings", self._form.settings)
            finally:
                self._writing = False
            self._multiples.compare()

    @t.validate("settings")
    def _check_settings(self, proposal: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._writing:
                return proposal["value"]
            given = with_seed(proposal["value"])
            settings = self._form.completed(given)
            said = without_hidden(given) if given.keys() == settings.keys() else given
            self._form.controls.subsets.forget(name for name, value in said.items() if value is None)
            return settings

    def _enter(self, settings: dict[str, Any]) -> None:
        """Assign settings, also those that the trait has: a prompt may have been typed in since, or no run be shown."""
        settings = without_hidden(settings)
        same = self._form.completed(settings) == self.settings
        self.settings = settings
        if same:
            self._settings_assigned({"new": self.settings})

    @t.observe("settings")
    def _settings_assigned(self, change: dict[str, Any]) -> None:
        """Change the Explorer when its settings were assigned from outside."""
        with self._lock:
            if self._writing:
                return
            entered = self._form.apply(change["new"])
        if entered:
            self._pause.after(0.0, self._refresh)
        else:
            self._controls_changed()

    def _prompts_changed(self, at_once: bool) -> None:
        self._pause.after(0.0 if at_once else _PAUSE, self._refresh)

    def _controls_changed(self) -> None:
        self._write_settings()
        if self._pause.pending:
            self._pause.settle()
        else:
            self._guarded(self._replan)

    def _refresh(self) -> None:
        """Tokenize the prompts as they are now; then offer the model's own answers, on the worker thread."""
        tokenizer = self._handle.tokenizer
        with self._lock:
            self._write_settings()
            if self._form.many.asked is not None:
                self._encoded = None
                self._controls.subsets.tell()
                self._worker.submit(lambda: self._guarded(self._replan))
                return
            try:
                pair = self._entry.pair
                encoded = self._encoded = encode_prompts(pair, tokenizer, align=align_of(self._form.settings))
            except PromptError as error:
                self._encoded = None
                self._entry.dim(True)
                self._aligning.dim(True)
                self._complain(error)
                return
            self._entry.warn_unknown(unknown_words(pair, encoded, tokenizer))
            self._aligning.show(encoded, (pair.clean, pair.corrupted))
            self._controls.subsets.tell()
        self._worker.submit(lambda: self._guarded(lambda: self._offer(encoded)))

    def _offer(self, encoded: EncodedPair) -> None:
        """Offer what the model would say after the prompts. On the worker thread."""
        offers = self._form.offers(encoded)
        with self._lock:
            if encoded is not self._encoded:
                return
            offer(self._entry, offers, self._handle)
            self._entry.dim(False)
            if not self._pause.pending:
                self._write_settings()
        self._replan()

    def _replan(self) -> None:
        """Show the map of the present settings; run it when a run was asked for before.

        Whoever changes the settings meanwhile plans again, so that what is half typed is left alone.
        """
        with self._lock:
            if self._pause.pending:
                return
            asked = self._form.settings
        try:
            self._form.check()
            plan: Plan | PatchError = self._form.plan(asked)
        except PatchError as error:
            plan = error
        with self._lock:
            if self._closed or self._pause.pending or asked != self._form.settings:
                return
            if isinstance(plan, PatchError):
                self._complain(plan)
            elif self._live or self._shelf.holds(plan):
                self._start(plan, asked)
            else:
                self._form.complain(None)
                self._screen.show(plan, asked["metric"], None)
                self._shelf.shown(asked, None)
                if self._against is not None:
                    self._against.follow(asked, plan, None)

    def _complain(self, error: PatchError) -> None:
        """Tell an error beside its field, or above the map, and stop the run it makes pointless."""
        self._screen.dim(True)
        self._screen.error.say(self._form.complain(error))
        self._cancel_map()

    def _start(self, plan: Plan, asked: dict[str, Any]) -> Run:
        self._form.complain(None)
        run = self._shelf.run_of(plan, asked)
        self._shown = asked
        self._write_settings()
        self._screen.show(plan, asked["metric"], run)
        self._shelf.shown(asked, run)
        if self._against is not None:
            self._against.follow(asked, plan, run)
        return run

    def _run_pressed(self) -> None:
        try:
            self.run()
        except PatchError:
            return  # shown beside the field
        except Exception as error:
            self._failed(error)

    def _guarded(self, task: Callable[[], None]) -> None:
        """Do a task and tell what went wrong with it."""
        try:
            task()
        except PatchError as error:
            with self._lock:
                self._complain(error)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        told = why(error, "the Explorer could not ask the model")
        with self._lock:
            self._screen.error.say(told)
