"""The Explorer widget: it holds the parts together, starts and cancels runs, and keeps what was computed."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ipywidgets as w
import numpy as np
import torch
import traitlets as t

from .. import words
from ..engine.handle import ModelHandle, handle_of
from ..engine.inspect import top_tokens
from ..engine.model import load_model
from ..engine.plan import Plan, make_plan
from ..engine.run import Run
from ..engine.sweep import start
from ..errors import PatchError, PromptError
from ..grid import Grid, Tokens, make_grid
from ..interventions import Patch
from ..metrics import METRICS, get_metrics
from ..presets import PRESETS
from ..prompts import EncodedPair, PromptPair, check_pair, encode_pair, encode_prompts, unknown_words
from ..result import PatchResult
from ..sites import get_site
from ..views import TokenStrip
from .controls import Controls
from .drilldown import Drilldown
from .kept import Kept, Pause
from .live import LiveMap
from .prompts import PromptEntry
from .text import Line

_PAUSE = 0.4
_OFFERED = 4


def explore(model: Any = None, pair: PromptPair | None = None) -> Explorer:
    """Return the Explorer on a model (the embedded one when None), opened with `pair` or the default demo.

    >>> explorer = explore()
    >>> result = explorer.run().wait()
    >>> explorer.result.metrics
    ('logit_diff',)
    """
    return Explorer(model, pair)


class Explorer(w.VBox):
    """Activation patching live in a notebook.

    Traits to use in the next cell: `result` (the PatchResult on screen, or None), `selection` (a DataFrame with the
    row of the selected cell, or None), `settings` (plain data: prompts, answer, foil, site, by, direction, metric;
    assigning it changes the Explorer).
    """

    result: Any = t.Instance(PatchResult, allow_none=True)
    selection = t.Any(None, allow_none=True)
    settings = t.Dict()

    def __init__(self, model: Any = None, pair: PromptPair | None = None) -> None:
        pair = PRESETS[0].pair if pair is None else check_pair(pair)
        self._model = load_model() if model is None else model
        self._handle: ModelHandle = handle_of(self._model)
        self._handle.check_ready()
        group = uuid.uuid4().hex
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patchwidgets-explorer")
        self._lock = threading.RLock()
        self._kept = Kept()
        self._run: Run | None = None
        self._plan: Plan | None = None
        self._grid: Grid | None = None
        self._encoded: EncodedPair | None = None
        self._pause = Pause()
        self._tasks: list[Future[None]] = []
        self._live = False
        self._entry = PromptEntry(self._prompts_changed, self._title())
        self._controls = Controls(self._handle, self._controls_changed, self._run_pressed, self.cancel)
        self._strip = TokenStrip(group=group)
        self._map = LiveMap(group)
        self._status, self._baselines, self._origin = Line("pw-x-error"), Line(), Line("pw-x-dim")
        self._drilldown = Drilldown(self._handle, group, self._submit)
        self._map.view.on_select(self._cell_selected)
        super().__init__(self._layout_parts())
        self.add_class("pw-x-root")
        self._entry.set(pair, self._handle.tokenizer.text)
        self._refresh()

    def run(self) -> Run:
        """Measure the cells of the present settings and return the run; what was measured before comes at once.

        Raises PatchError, also shown beside the field at fault, when the settings cannot be run.
        """
        self._pause.settle()
        self._settle_tasks()
        try:
            plan = self._make_plan()
        except PatchError as error:
            self._complain(error)
            raise
        return self._start(plan)

    def cancel(self) -> None:
        """Stop the run after the cells being measured now; what is measured stays."""
        if self._run is not None:
            self._run.cancel()

    def wait(self, timeout: float | None = None) -> PatchResult | None:
        """Wait until nothing is computing any more and return the result, None when nothing was run."""
        self._pause.settle()
        self._settle_tasks()
        if self._run is not None:
            self._run.wait(timeout)
        if self._drilldown.run is not None:
            self._drilldown.run.wait(timeout)
        return self.result

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the result on screen as one self-contained page and return its path."""
        if self.result is None:
            raise PatchError("there is no result yet; call run() and wait() first.")
        return self.result.to_html(path)

    def _title(self) -> Line:
        line = Line("pw-x-title")
        line.say((self._handle.name, "pw-x-name"), "  ", (self._handle.summary, "pw-x-dim"))
        return line

    def _layout_parts(self) -> list[w.Widget]:
        told = w.Box([self._controls.progress, self._baselines, self._origin])
        told.add_class("pw-x-told")
        main = w.Box([self._map.view, self._drilldown.box])
        main.add_class("pw-x-main")
        return [self._entry.box, self._strip, self._controls.box, self._status, told, main]

    # Changes of the settings

    def _prompts_changed(self, at_once: bool) -> None:
        self._pause.after(0.0 if at_once else _PAUSE, self._refresh)

    def _controls_changed(self) -> None:
        self._pause.after(0.0, self._replan)

    def _refresh(self) -> None:
        """Tokenize the prompts as they are now; then offer the model's own answers, on the worker thread."""
        tokenizer = self._handle.tokenizer
        try:
            pair = self._entry.pair
            encoded = encode_prompts(pair, tokenizer)
        except PromptError as error:
            self._encoded = None
            self._complain(error)
            return
        self._encoded = encoded
        self._entry.complain(None)
        unknown = unknown_words(pair, encoded, tokenizer)
        self._entry.warning.say(_unknown_text(unknown) if unknown else "")
        self._strip.columns = Tokens(encoded.clean_text, encoded.corrupted_text, encoded.bos_at).columns(
            range(encoded.length)
        )
        self._submit(lambda: self._offer(encoded))

    def _offer(self, encoded: EncodedPair) -> None:
        """Show the likeliest next tokens of both prompts and, where nothing was chosen, choose the first."""
        handle = self._handle
        with handle.lock:
            logits = handle.forward(torch.tensor([encoded.clean, encoded.corrupted], device=handle.device))
        with self._lock:
            if encoded is not self._encoded:
                return
            top = [[(i, handle.tokenizer.text(i), p) for i, p, _ in top_tokens(row, _OFFERED)] for row in logits]
            self._choose(self._entry.answer, top[0], avoid=None)
            self._choose(self._entry.foil, top[1], avoid=self._token(self._entry.answer.value))
        self._replan()

    def _choose(self, choice: Any, top: list[tuple[int, str, float]], avoid: int | None) -> None:
        if choice.auto and self._entry.preset_pair is None:
            best = next(((i, text) for i, text, _ in top if i != avoid), None)
            if best is not None:
                choice.set(*best)
        choice.offer(top, self._token(choice.value))

    def _token(self, value: str | int | None) -> int | None:
        """Return the id of an answer or foil when it is one token, else None."""
        if not isinstance(value, str):
            return value
        ids = self._handle.tokenizer.encode(value) if self._handle.tokenizer.has_text else []
        return ids[0] if len(ids) == 1 else None

    def _replan(self) -> None:
        """Show the grid of the present settings; run it when a run was asked for before."""
        try:
            plan = self._make_plan()
        except PatchError as error:
            self._complain(error)
            return
        self._entry.complain(None)
        self._status.say("")
        if self._live or self._kept.get(self._key(plan)) is not None:
            self._start(plan)
        else:
            self._show_blank(plan)

    def _make_plan(self) -> Plan:
        """Return the plan of the present settings; every metric that applies is measured, one is shown."""
        chosen = self._controls.settings
        pair = self._entry.pair
        shown = METRICS[chosen["metric"]]
        encoded = encode_pair(pair, self._handle.tokenizer, needs_foil=shown.needs_foil, rate=self._handle.rate)
        names = [m.name for m in METRICS.values() if encoded.foil is not None or not m.needs_foil]
        return make_plan(
            self._handle, encoded, get_site(chosen["site"]), tuple(chosen["by"]), Patch(chosen["direction"]),
            get_metrics(names), {},
        )  # fmt: skip

    def _complain(self, error: PatchError) -> None:
        field = error.field if isinstance(error, PromptError) else None
        self._entry.complain(field, str(error))
        self._status.say("" if field else str(error))
        if self._run is not None and not self._run.finished:
            self._run.cancel()

    # Runs

    def _run_pressed(self) -> None:
        try:
            self.run()
        except PatchError:
            return  # shown beside the field

    def _key(self, plan: Plan) -> tuple[Any, ...]:
        return (plan.pair, plan.site.name, plan.by, plan.patch)

    def _start(self, plan: Plan) -> Run:
        self._live = True
        key, metric = self._key(plan), self._controls.settings["metric"]
        with self._lock:
            run = self._kept.get(key)
            if run is not self._run and self._run is not None:
                self._run.cancel()
            if run is None:
                run = start(self._handle, plan)
                self._kept.put(key, run)
            same = run is self._run
            self._run, self._plan, self._grid = run, plan, _grid(plan)
        selected = list(self._map.view.selected) if same else []
        if not same:
            self._drilldown.close()
            self.selection = None
        self.settings = self._present_settings()
        self._show_strip(plan)
        self._map.follow(run, self._grid, metric)
        run.subscribe(self._arrived)
        self._controls.show(run)
        if selected:
            self._map.view.selected = selected
            self._cell_selected(*selected)
        return run

    def _arrived(self, run: Run, _cells: np.ndarray) -> None:
        """Follow the run's progress. On the run's thread."""
        if run is not self._run:
            return
        if run.error is not None:
            self._controls.show(run)
            self._status.say(str(run.error))
            self._map.view.state = "error"
            return
        result = run.snapshot().select(self._controls.settings["metric"])
        if np.isfinite(result.data["clean"].values).all():
            self._tell(result)
        if run.finished:
            self.result = result
        self._controls.show(run)

    def _tell(self, result: PatchResult) -> None:
        clean, corrupted = float(result.data["clean"][0]), float(result.data["corrupted"][0])
        name = result.metrics[0].replace("_", " ")
        self._baselines.say(
            f"{name}: clean ", (_signed(clean), "pw-x-clean"), ", corrupted ", (_signed(corrupted), "pw-x-corrupted")
        )
        small = words.small_gaps(result)
        self._status.say(*small)
        self._origin.say("" if small else f"{result.engine} engine, {result.check['controls']} control runs agree")

    def _show_blank(self, plan: Plan) -> None:
        with self._lock:
            if self._run is not None:
                self._run.cancel()
            self._run, self._plan, self._grid = None, plan, _grid(plan)
        self._drilldown.close()
        self.selection = None
        self.settings = self._present_settings()
        settings = {"direction": plan.patch.direction, "site": plan.site.name, "by": list(plan.by)}
        hook = self._handle.hook(plan.site, plan.labels["layer"][0]).name
        self._map.blank(self._grid, words.meaning({**settings, "hook_at": hook}))
        self._show_strip(plan)
        self._controls.show(None)
        for line in (self._baselines, self._origin):
            line.say("")

    def _show_strip(self, plan: Plan) -> None:
        """Show the tokens above the heatmap unless they are its columns."""
        self._strip.layout.display = "none" if "pos" in plan.by else None

    def _present_settings(self) -> dict[str, Any]:
        pair = self._entry.pair
        prompts = {"clean": pair.clean, "corrupted": pair.corrupted, "answer": pair.answer, "foil": pair.foil}
        return {**prompts, **self._controls.settings}

    @t.observe("settings")
    def _settings_assigned(self, change: dict[str, Any]) -> None:
        """Change the Explorer when its settings were assigned from outside."""
        new = change["new"]
        if new == self._present_settings():
            return
        pair = self._entry.pair
        fields = {name: new.get(name, getattr(pair, name)) for name in ("clean", "corrupted", "answer", "foil")}
        self._controls.apply(new)
        self._entry.set(PromptPair(**fields), self._handle.tokenizer.text)
        self._refresh()

    # Selection

    def _cell_selected(self, row: int, col: int) -> None:
        run, plan, grid = self._run, self._plan, self._grid
        if plan is None or grid is None:
            return
        cell = grid.key(row, col)
        if run is not None:
            frame = run.snapshot().select(self._controls.settings["metric"]).to_dataframe()
            self.selection = frame[np.logical_and.reduce([frame[axis] == i for axis, i in cell.items()])]
        self._drilldown.open(plan, self._controls.settings["metric"], cell)

    # The worker

    def _submit(self, task: Callable[[], None]) -> Future[None]:
        def guarded() -> None:
            try:
                task()
            except PatchError as error:
                self._complain(error)
            except Exception as error:
                self._status.say(f"{type(error).__name__}: {error}")
                raise

        future = self._worker.submit(guarded)
        self._tasks = [other for other in self._tasks if not other.done()] + [future]
        return future

    def _settle_tasks(self) -> None:
        for task in list(self._tasks):
            task.result()


def _grid(plan: Plan) -> Grid:
    return make_grid(plan.by, plan.labels, Tokens(plan.pair.clean_text, plan.pair.corrupted_text, plan.pair.bos_at))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")


def _unknown_text(fields: list[str]) -> str:
    return f"The {' and the '.join(fields)} prompt has a word this model does not know; it reads [UNK] there."
