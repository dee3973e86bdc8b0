"""What is behind a cell: the heads writing at its token, its layer's parts, a head's attention, the next tokens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets as w
import numpy as np

from ..engine.handle import ModelHandle
from ..engine.inspect import Cell, Inspection, inspect_cells, score, top_tokens
from ..engine.plan import Plan, make_plan
from ..engine.run import Run
from ..engine.sweep import start
from ..errors import PatchError
from ..grid import Grid, make_grid
from ..metrics import gap_too_small, get_metrics
from ..sites import get_site
from ..views import AttentionView, Heatmap, Predictions, label_columns
from ..words import meaning
from .lines import last_maker, note_of
from .live import LiveMap
from .opened import Opened, Patches, label_of, meant_by, name_of, open_cell, patches_of, tokens_of
from .text import Line

_TOP = 6
_HINT = "Select a cell to see the heads behind it, and what the model would say."
_LOG = logging.getLogger(__name__)


class Drilldown:
    """The panel beside the heatmap, with an error line of its own.

    `lock` is the Explorer's; `submit` runs a function on the Explorer's worker thread.
    """

    def __init__(
        self, handle: ModelHandle, group: str, lock: threading.RLock, submit: Callable[[Callable[[], None]], None]
    ) -> None:
        self._handle, self._lock, self._submit = handle, lock, submit
        self._opened: Opened | None = None
        self._run: Run | None = None
        self._seen: tuple[Patches, Inspection] | None = None
        self.hint = Line("pw-x-dim", "pw-x-hint", text=_HINT)
        self.path, self.error = Line("pw-x-path"), Line("pw-x-error")
        self.back = w.Button(description="Back to the cell", tooltip="close the head")
        self.back.add_class("pw-x-back")
        self.back.on_click(lambda _: self._close_head())
        self.heads = LiveMap(group, compact=True)
        self.parts = Heatmap([], None, group=group, compact=True)
        self.attention = AttentionView(group=group)
        self.predictions = Predictions(group=group, title="Next token")
        self.heads.view.on_select(self._head_selected)
        self._heads_card, self._parts_card = _card(self.heads.view), _card(self.parts)
        self._attention_card, self._predictions_card = _card(self.attention), _card(self.predictions)
        head = w.Box([self.path, self.back])
        head.add_class("pw-x-crumb")
        cards = [self._heads_card, self._parts_card, self._attention_card, self._predictions_card]
        self.box = w.VBox([self.hint, head, self.error, *cards])
        self.box.add_class("pw-x-side")
        self._arrange()

    @property
    def opened(self) -> Opened | None:
        """What is open."""
        return self._opened

    @property
    def run(self) -> Run | None:
        """The sweep of the heads, while and after it runs."""
        return self._run

    def close(self) -> None:
        """Show nothing; what is computing is dropped."""
        with self._lock:
            self._drop_heads()
            self._show(None)

    def open(self, plan: Plan, metric: str, cell: Cell) -> None:
        """Open a cell of a sweep; a cell that is a head opens as that head."""
        with self._lock:
            self._drop_heads()
            opened = open_cell(self._handle, plan, metric, cell)
            position = opened.position
            if position is not None:
                self.heads.blank(self._heads_grid(opened), {"title": self._heads_title(opened, position)})
                self._submit(lambda: self._sweep_heads(opened, position))
            self._show(opened)

    def open_head(self, layer: int, head: int) -> None:
        """Open a head from the open cell; the head that a cell of z is, is that cell."""
        with self._lock:
            opened = self._opened
            if opened is not None:
                same = opened.own == (layer, head) and opened.plan.name == "z"
                self._show(replace(opened, chosen=None if same else (layer, head)))

    def rescore(self, metric: str) -> None:
        """Show the same cell and head in another metric; nothing is run again."""
        with self._lock:
            if self._opened is None:
                return
            opened = self._opened = replace(self._opened, metric=metric)
            if self._run is not None and opened.position is not None:
                self._follow_heads(opened, opened.position, self._run, list(self.heads.view.selected))
            if self._seen is None:
                self._submit(lambda: self._look(opened))
            else:
                self._show_parts(opened, *self._seen)

    def _close_head(self) -> None:
        with self._lock:
            if self._opened is not None:
                self.heads.select(())
                self._show(replace(self._opened, chosen=None))

    def _head_selected(self, row: int, col: int) -> None:
        with self._lock:
            rows, cols = self.heads.view.row_keys, self.heads.view.col_keys
            if row < len(rows) and col < len(cols):
                self.heads.select((row, col))
                self.open_head(rows[row]["layer"], cols[col]["head"])

    def _show(self, opened: Opened | None) -> None:
        """Show what is open, empty at first: nothing of the cell before stays under the new title."""
        self._opened, self._seen = opened, None
        if not self._run or not self._run.error:
            self.error.say("")
        self.path.say(*(opened.path if opened else []))
        if opened is not None:
            self._show_empty(opened)
        self._arrange()
        if opened is not None:
            self._submit(lambda: self._look(opened))

    def _show_empty(self, opened: Opened) -> None:
        patches = patches_of(self._handle, opened)
        self.predictions.show([{**run, "rows": []} for run in _runs(opened, patches)[:3]])
        self.attention.show({}, [], np.empty((0, 0, 0)), title="")
        columns = label_columns("", [site for site, _ in patches.parts])
        scale = {"quantity": "normalized", "limit": 1.0, "state": "empty"}
        self.parts.show([str(opened.layer)], columns, **_parts_traits(opened, patches), **scale)

    def _arrange(self) -> None:
        """Show the cards that have something to say about what is open."""
        opened = self._opened
        shown = {
            self.hint: opened is None,
            self.path: opened is not None,
            self.back: opened is not None and opened.chosen is not None,
            self._heads_card: self._run is not None,
            self._parts_card: opened is not None and (opened.head is not None or opened.position is not None),
            self._attention_card: opened is not None and opened.head is not None,
            self._predictions_card: opened is not None,
        }
        for part, visible in shown.items():
            part.layout.display = None if visible else "none"

    def _drop_heads(self) -> None:
        if self._run is not None:
            self._run.cancel()
            self._run = None

    def _sweep_heads(self, opened: Opened, position: int) -> None:
        """Measure z of every head at the cell's token in every metric. On the worker thread: plans ask the model."""
        plan, by = opened.plan, ("layer", "pos", "head")
        heads: Plan | PatchError
        try:
            heads = make_plan(
                self._handle, plan.pair, get_site("z"), by, plan.patch, plan.metrics, {"pos": [position]},
                intervention=plan.intervention,
            )  # fmt: skip
        except PatchError as error:
            heads = error
        with self._lock:
            now = self._opened
            if now is None or now.plan is not plan or now.cell != opened.cell:
                return
            if isinstance(heads, PatchError):
                self.error.say(str(heads))
                return
            self._run = start(self._handle, heads)
            self._follow_heads(now, position, self._run, [])
            self._run.subscribe(self._heads_arrived)
            self._arrange()

    def _follow_heads(self, opened: Opened, position: int, run: Run, selected: list[int]) -> None:
        grid = self._heads_grid(opened)
        line = last_maker(self._handle, opened.plan.name, opened.cell)
        said = {
            "title": self._heads_title(opened, position),
            "note": note_of(line, self._handle.n_layers),
        }
        self.heads.follow(run, grid, opened.metric, line=line, said=said, selected=selected)

    def _heads_grid(self, opened: Opened) -> Grid:
        labels = {"layer": range(self._handle.n_layers), "head": range(self._handle.n_heads)}
        return make_grid(("layer", "head"), labels, tokens_of(opened.plan.pair))

    def _heads_title(self, opened: Opened, position: int) -> str:
        return f"Heads writing at '{opened.token(position)}', by layer"

    def _heads_arrived(self, run: Run, _cells: np.ndarray) -> None:
        """Tell what went wrong with the heads. On the sweep's thread."""
        with self._lock:
            if run is self._run and run.error is not None:
                self.error.say(_told(run.error))

    def _look(self, opened: Opened) -> None:
        """Run the opened cell's patches once and show next tokens, parts and attention. On the worker thread."""
        try:
            if opened is not self._opened:
                return
            patches = patches_of(self._handle, opened)
            plan = opened.plan
            seen = inspect_cells(
                self._handle, plan.pair, plan.patch, patches.cells, opened.head, intervention=plan.intervention,
                metric=plan.metrics[0],
            )  # fmt: skip
            with self._lock:
                if opened is self._opened:
                    self._show_seen(opened, patches, seen)
        except Exception as error:
            if not isinstance(error, PatchError):
                _LOG.exception("looking into a cell failed")
            with self._lock:
                if opened is self._opened:
                    self.error.say(_told(error))

    def _show_seen(self, opened: Opened, patches: Patches, seen: Inspection) -> None:
        self._seen = (patches, seen)
        self._show_predictions(opened, patches, seen)
        self._show_parts(opened, patches, seen)
        if opened.head is not None:
            self._show_attention(opened, opened.head, patches, seen)

    def _show_predictions(self, opened: Opened, patches: Patches, seen: Inspection) -> None:
        pair, tokenizer = opened.plan.pair, self._handle.tokenizer
        marks = {pair.answer: "answer", pair.foil: "foil"}
        self.predictions.show([
            {**run, "rows": [
                {"token": tokenizer.text(token), "prob": probability, "logit": logit, "mark": marks.get(token, "")}
                for token, probability, logit in top_tokens(logits, _TOP)
            ]}
            for run, logits in zip(_runs(opened, patches)[:3], seen.logits, strict=False)
        ])  # fmt: skip

    def _show_parts(self, opened: Opened, patches: Patches, seen: Inspection) -> None:
        if not patches.parts:
            return
        values = score(get_metrics(opened.metric), seen.logits, opened.plan.pair)[0]
        clean, corrupted = values[:2]
        base, source = (corrupted, clean) if opened.plan.patch.base == "corrupted" else (clean, corrupted)
        patched = values[3 : 3 + len(patches.parts)]
        effect, small = patched - base, gap_too_small(base, source)
        self.parts.show(
            [str(opened.layer)],
            label_columns("", [site for site, _ in patches.parts]),
            normalized=[effect * np.nan if small else effect / (source - base)],
            effect=[effect],
            patched=[patched],
            status=[np.zeros(len(effect), dtype=np.uint8)],
            **_parts_traits(opened, patches),
            quantity="effect" if small else "normalized",
            limit=float(np.abs(effect).max() or 1.0) if small else 1.0,
            state="done",
        )

    def _show_attention(self, opened: Opened, head: tuple[int, int], patches: Patches, seen: Inspection) -> None:
        assert seen.attention is not None
        rows = [0, 1, 2, *([len(seen.attention) - 1] if patches.own else [])]
        extra = {} if opened.position is None else {"dest": opened.position}
        columns = tokens_of(opened.plan.pair).columns(range(opened.plan.pair.length))
        title = f"Attention of head {name_of(head)}"
        self.attention.show(columns, _runs(opened, patches), seen.attention[rows], title=title, **extra)


def _runs(opened: Opened, patches: Patches) -> list[dict[str, str]]:
    """Return the runs as views name them: clean, corrupted, the patched one, and the cell's own if it is another."""
    placed = [patches.patched, *([patches.own] if patches.own else [])]
    plain = [{"name": name, "label": name} for name in ("clean", "corrupted")]
    return plain + [{"name": "patched", "label": f"patched: {label_of(opened, one)}"} for one in placed]


def _parts_traits(opened: Opened, patches: Patches) -> dict[str, Any]:
    said = {**meaning(meant_by(opened.plan)), "title": opened.title}
    return {
        "row_title": "layer",
        "row_keys": [{"layer": opened.layer}],
        "col_keys": [{} for _ in patches.parts],
        "words": said,
    }


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, PatchError) else f"{type(error).__name__}: {error}"


def _card(child: w.Widget) -> w.VBox:
    card = w.VBox([child])
    card.add_class("pw-x-card")
    return card
