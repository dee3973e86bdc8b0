"""The row of controls: what is patched, how finely, which way, which metric; Run, Cancel and the progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from ..engine.handle import ModelHandle
from ..engine.run import Run
from ..interventions import Intervention, Patch
from ..prompts import EncodedPair
from ..sites import SITES, Site
from ..spelling import counted
from .choices import Choices
from .parameters import Parameters
from .settings import SHOWN
from .subsets import Subsets
from .text import Line, named

_SITES = {
    "resid_pre": "resid pre",
    "resid_mid": "resid mid",
    "resid_post": "resid post",
    "attn_out": "attn",
    "mlp_out": "mlp",
    "attn_scores": "scores",
    "mlp_pre": "neurons in",
    "mlp_post": "neurons out",
}
_AXES = {"pos": "token", "dest": "to", "src": "from"}
METRIC_LABELS = {
    "logit_diff": "logit difference",
    "logprob": "log-probability",
    "prob": "probability",
    "kl_clean": "KL to clean",
    "kl_corrupted": "KL to corrupted",
}


class Controls:
    """The controls and their values; `on_change` is called when a value changes, the others by the buttons.

    `choices` are the entries of the intervention control; one that lacks something is not taken, and `told` says why.
    `pair` gives the prompts on show, whose tokens can be chosen by name.
    `lock` is the Explorer's: other threads wait while the controls are being set.
    """

    def __init__(
        self,
        handle: ModelHandle,
        choices: Choices,
        lock: threading.RLock,
        pair: Callable[[], EncodedPair | None],
        on_change: Callable[[], None],
        on_run: Callable[[], None],
        on_cancel: Callable[[], None],
    ) -> None:
        there = [site for site in SITES.values() if site.hook_name(0) in handle.hooks]
        self.site = w.ToggleButtons(
            options=[(_SITES.get(site.name, site.name), site.name) for site in there],
            tooltips=[f"{site.words} ({site.hook})" for site in there],
        )
        self.by = w.Dropdown(options=_granularities(str(self.site.value)), layout=w.Layout(width="auto"))
        self.intervention = w.Dropdown(options=choices.options, tooltip=choices.tooltip, layout=w.Layout(width="auto"))
        self.told = Line("pw-x-error", "pw-x-told-control")
        self.direction = w.ToggleButtons(
            options=[("Denoise", "denoise"), ("Noise", "noise")],
            tooltips=["put clean activations into the corrupted run", "put corrupted activations into the clean run"],
        )
        self.metric = w.Dropdown(
            options=[(METRIC_LABELS.get(name, name), name) for name in SHOWN], layout=w.Layout(width="auto"),
            tooltip="all metrics are measured at once: choosing another runs nothing, but where a mask follows it",
        )  # fmt: skip
        self._one_way(there[0])
        self.run = w.Button(description="Run", tooltip="measure every cell")
        self.cancel = w.Button(
            description="Cancel", tooltip="stop at the next layer; what is measured stays", disabled=True
        )
        self.undo = w.Button(description="Undo", tooltip="the settings before these (Ctrl+Z)", disabled=True)
        self.redo = w.Button(description="Redo", tooltip="the settings gone back from (Ctrl+Shift+Z)", disabled=True)
        self.bar = w.IntProgress(value=0, max=1, layout=w.Layout(width="auto"))
        self.progress = Line("pw-x-dim", "pw-x-progress-text")
        self._silent, self._lock = False, lock
        self._on_change, self._choices, self._pair = on_change, choices, pair
        self.subsets = Subsets(handle, lock, self._based, lambda: self._changed(None))
        self.parameters = Parameters(lock, self._parameter_changed, lambda: self._changed(None))
        self.site.observe(self._site_changed, "value")
        self.intervention.observe(self._intervention_changed, "value")
        self.direction.observe(lambda _: self.subsets.tell(), "value")
        for control in (self.by, self.direction, self.metric):
            control.observe(self._changed, "value")
        self.run.on_click(lambda _: on_run())
        self.cancel.on_click(lambda _: on_cancel())
        for control in (self.site, self.direction):
            control.add_class("pw-x-segmented")
        for control in (self.by, self.intervention, self.metric):
            control.add_class("pw-x-select")
        for control, name in ((self.by, "granularity"), (self.intervention, "intervention"), (self.metric, "metric")):
            named(control, name)
        named(self.bar, "cells measured")
        for control, name in ((self.run, "pw-x-run"), (self.cancel, "pw-x-cancel"), (self.bar, "pw-x-progress")):
            control.add_class(name)
        # Together, so that on a narrow page neither of the two stands on a line of its own.
        buttons = w.HBox([self.run, self.cancel, self.undo, self.redo])
        buttons.add_class("pw-x-buttons")
        what = w.Box([self.intervention, self.parameters.box])
        what.add_class("pw-x-intervention")
        row = w.Box([self.site, self.by, self.subsets.box, what, self.direction, self.metric, buttons])
        row.add_class("pw-x-bar")
        self.box = w.VBox([row, self.told, self.parameters.error, self.subsets.lines, self.bar])

    @property
    def settings(self) -> dict[str, Any]:
        """The controls' values, as plain data."""
        # The page sets the site before this side has exchanged the granularities: one of another site does not count.
        site, by = SITES[str(self.site.value)], self.by.value
        by = by if by in site.by else site.granularity()
        chosen = self._choices.plain(str(self.intervention.value))
        values = {name: getattr(self, name).value for name in ("direction", "metric")}
        seed = self.parameters.seed
        return {
            "site": site.name, "by": list(by), **self.subsets.settings, "intervention": chosen, **values, "seed": seed,
        }  # fmt: skip

    def apply(self, settings: dict[str, Any]) -> None:
        """Set the controls to `settings` without calling `on_change`."""
        with self._lock:
            self._silent = True
            try:
                self.parameters.seed = settings["seed"]
                self._offer(settings["intervention"])
                for name in ("site", "direction", "metric"):
                    getattr(self, name).value = settings[name]
                self.by.value = tuple(settings["by"])
                self.subsets.apply(settings)
            finally:
                self._silent = False

    def begin_with(self, intervention: object) -> None:
        """Make an intervention an entry and choose it, without calling back; raises PatchError where that cannot be."""
        with self._lock:
            silent, self._silent = self._silent, True
            try:
                self._offer(intervention)
            finally:
                self._silent = silent

    def take(self, intervention: object) -> None:
        """The same, calling back."""
        self.begin_with(intervention)
        self._changed(None)

    def _offer(self, intervention: object) -> None:
        """Choose an intervention, which becomes an entry where it is none yet."""
        name = self._choices.add(intervention)
        if self.intervention.options != tuple(self._choices.options):
            self.intervention.options = self._choices.options
        self.intervention.value = name
        self._show_parameters()
        self.told.say("")

    def _show_parameters(self) -> None:
        name = str(self.intervention.value)
        self.parameters.show(self._choices.entry(name), self._choices.default(name))

    def _parameter_changed(self, what: Intervention) -> None:
        """Take the intervention with another of its settings."""
        with self._lock:
            self._choices.add(what)
        self._changed(None)

    def on_step(self, step: Callable[[int], None]) -> None:
        """Call `step(-1)` for Undo and `step(1)` for Redo."""
        self.undo.on_click(lambda _: step(-1))
        self.redo.on_click(lambda _: step(1))

    def may_step(self, undo: bool, redo: bool) -> None:
        """Say whether there are settings to go back or forth to."""
        self.undo.disabled, self.redo.disabled = not undo, not redo

    def show(self, run: Run | None, beside: str = "", *, over: bool = True) -> None:
        """Show how far a run is, and what runs `beside` it; None shows an idle bar.

        `over` says whether it is over, and what it gave is there.
        """
        running = run is not None and not over
        self.run.disabled, self.cancel.disabled = running, not running
        if run is None:
            self.bar.max, self.bar.value = 1, 0
            self.progress.say("")
            return
        self.bar.max, self.bar.value = max(1, run.total), run.done if run.total else int(run.complete)
        self.progress.say("; ".join(filter(None, [progress_of(run, over), "" if over else beside])))

    def _site_changed(self, _change: object) -> None:
        """Offer the site's granularities; the one that was chosen stays where the site has it."""
        with self._lock:
            silent, self._silent = self._silent, True
            chosen, site = self.by.value, SITES[str(self.site.value)]
            self.by.options = _granularities(site.name)
            if chosen in site.by:
                self.by.value = chosen
            self._one_way(site)
            self.subsets.of_site(site)
            self._silent = silent
        self._changed(None)

    def _one_way(self, site: Site) -> None:
        """Say where there is nothing to choose: a site with one granularity."""
        self.by.disabled = len(site.by) == 1
        only = f"{site.name} can be swept in this way alone"
        self.by.tooltip = only if self.by.disabled else "how finely: what one cell of the map is"

    def _based(self) -> tuple[EncodedPair, str] | None:
        """Return the prompts on show and which run of them is patched."""
        pair = self._pair()
        return None if pair is None else (pair, Patch(str(self.direction.value)).base)

    def _intervention_changed(self, change: dict[str, Any]) -> None:
        """Take an entry, or go back to the one before and tell what the entry lacks."""
        with self._lock:
            if self._silent:
                return
            lacks = self._choices.lacks(change["new"])
            self.told.say(lacks)
            if lacks:
                self._silent = True
                self.intervention.value = change["old"]
                self._silent = False
                return
            self._show_parameters()
        self._changed(None)

    def _changed(self, _change: object) -> None:
        with self._lock:
            silent = self._silent
            if not silent:
                self.told.say("")
        if not silent:
            self._on_change()


def _granularities(site: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(" \u00d7 ".join(_AXES.get(axis, axis) for axis in by), by) for by in SITES[site].by]


def progress_of(run: Run, over: bool) -> str:
    """Return in words how far a run is, or that it is `over`."""
    seconds = run.seconds
    told = f"{run.done} of {counted(run.total, 'cell')}{run.counts.removeprefix('cells')}"
    if over:
        how = "failed after" if run.error else "cancelled after" if run.cancelled else "in"
        return f"{told}, {how} {seconds:.1f} s"
    if run.done:
        return f"{told}, about {seconds / run.done * (run.total - run.done):.0f} s left"
    return f"{told}, starting"
