"""What is behind a cell: the heads writing at its token, its layer's parts, a head's attention, the next tokens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import ipywidgets as w
import numpy as np

from ..engine.handle import ModelHandle
from ..engine.inspect import Cell, Inspection, Inspector
from ..engine.plan import Plan
from ..engine.run import Run
from ..engine.values import Encode
from ..errors import PatchError, in_words
from ..grid import Grid, Tokens, make_grid
from ..sites import get_site
from ..views import AttentionView, Heatmap, Predictions
from .behind import begin, plan_behind
from .failing import why
from .kept import key_of
from .lines import last_maker, note_of
from .live import LiveMap
from .looking import Look, look
from .neurons import Neurons
from .opened import LOOKED_AT, PARTS, Opened, Patches, drawn, open_cell, patches_of
from .outputs import empty_output
from .panels import empty_parts, empty_tables, part_values, prediction_tables
from .text import Line

_HINT = "Select a cell to see the heads behind it, and what the model would say."
_LOG = logging.getLogger(__name__)


class Drilldown:
    """The panel beside the heatmap, with an error line of its own.

    `lock` is the Explorer's; `submit` runs a function on the Explorer's worker thread; `encode` gives the prompts of
    the dataset that means and samples are made from.
    """

    def __init__(
        self,
        handle: ModelHandle,
        group: str,
        lock: threading.RLock,
        submit: Callable[[Callable[[], None]], None],
        encode: Encode,
    ) -> None:
        self._handle, self._lock, self._submit, self._encode = handle, lock, submit, encode
        self._opened: Opened | None = None
        self._about: Plan | None = None  # The sweep whose cells are looked at, or will be.
        self._inspector: tuple[Plan, Inspector] | None = None
        self._prepared: Inspector | None = None
        self._run: Run | None = None
        self._has_heads = False  # Whether the heads at the open cell are shown, or will be.
        self._seen: tuple[Patches, Inspection] | None = None
        self.hint = Line("pw-x-dim", "pw-x-hint", text=_HINT)
        self.path, self.about, self.error = Line("pw-x-path"), Line("pw-x-dim"), Line("pw-x-error")
        self.back = w.Button(description="Back to the cell", tooltip="close the head or the neuron")
        self.back.add_class("pw-x-back")
        self.back.on_click(lambda _: self._close_part())
        self.heads = LiveMap(group, compact=True)
        self.neurons = Neurons(handle, group, lock, submit, encode, self.open_neuron)
        self.parts = Heatmap([], None, group=group, compact=True)
        self.attention = AttentionView(group=group)
        self.output = Predictions(group=group, quantity="logit")
        self.predictions = Predictions(group=group, title="Next token")
        self.heads.view.on_select(self._head_selected)
        self._heads_card, self._parts_card = _card(self.heads.view), _card(self.parts)
        self._attention_card, self._output_card = _card(self.attention), _card(self.output)
        self._predictions_card = _card(self.predictions)
        head = w.Box([self.path, self.back])
        head.add_class("pw-x-crumb")
        head_cards = [self._attention_card, self._output_card]
        cards = [self._heads_card, self.neurons.box, self._parts_card, *head_cards, self._predictions_card]
        self.box = w.VBox([self.hint, head, self.about, self.error, *cards])
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
            self._about = self._inspector = self._prepared = None
            self.about.say("")
            self.neurons.close()
            self._show(None)
            self.hint.say(_HINT)

    def refuse(self, why: str) -> None:
        """Say why there is nothing to open."""
        with self._lock:
            self.close()
            self.hint.say(why)

    def prepare(self, plan: Plan) -> None:
        """Make what all cells of a sweep share, now that it is done: the first then opens as fast as the next."""
        with self._lock:
            self._about = plan
            self._submit(lambda: self._prepare(plan))

    def open(self, plan: Plan, metric: str, cell: Cell, about: Sequence[str | tuple[str, str]] = ()) -> None:
        """Open a cell of a sweep; a cell that is a head opens as that head.

        `about` tells, in parts of a line, in which pair of a dataset it is opened.
        """
        with self._lock:
            self._drop_heads()
            self._about = plan
            self.about.say(*about)
            opened = open_cell(self._handle, plan, metric, cell)
            position = opened.position
            self._has_heads = position is not None
            self.neurons.open(opened)
            if position is not None:
                self.heads.blank(self._heads_grid(opened), {"title": self._heads_title(opened, position)})
            # First what takes one look; the sweep of the heads would share the model, and the time, with it.
            self._show(opened)
            if position is not None:
                self._submit(lambda: self._sweep_heads(opened, position))

    def open_head(self, layer: int, head: int) -> None:
        """Open a head from the open cell; the head that a cell of z is, is that cell."""
        with self._lock:
            opened = self._opened
            if opened is not None:
                same = opened.own == (layer, head) and opened.plan.name == "z"
                self._show(replace(opened, chosen=None if same else (layer, head), neuron=None))

    def open_neuron(self, neuron: int) -> None:
        """Open a neuron of the open cell's layer, at the cell's token."""
        with self._lock:
            if self._opened is not None:
                self.heads.select(())
                self._show(replace(self._opened, chosen=None, neuron=neuron))

    def rescore(self, metric: str) -> None:
        """Show the same cell and head in another metric; nothing is run again."""
        with self._lock:
            if self._opened is None:
                return
            opened = self._opened = self._opened.in_metric(metric)
            self.neurons.rescore(metric)
            if self._run is not None and opened.position is not None:
                self._follow_heads(opened, opened.position, self._run, list(self.heads.view.selected))
            if self._seen is None:
                self._submit(lambda: self._look(opened))
            else:
                self.parts.show(**part_values(opened, *self._seen))

    def _close_part(self) -> None:
        with self._lock:
            if self._opened is not None:
                self.heads.select(())
                self._show(replace(self._opened, chosen=None, neuron=None))

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
        self.neurons.show_activation(None)
        self.neurons.mark(opened.neuron if opened else None)
        if opened is not None:
            self._show_empty(opened)
        self._arrange()
        if opened is not None:
            self._submit(lambda: self._look(opened))

    def _show_empty(self, opened: Opened) -> None:
        patches = patches_of(self._handle, opened)
        self.predictions.show(empty_tables(opened, patches), title=f"Next token{drawn(opened.plan)}")
        self.attention.show({}, [], np.empty((0, 0, 0)), title="")
        self.output.show(**empty_output(opened, patches))
        self.parts.show(**empty_parts(opened, patches))

    def _arrange(self) -> None:
        """Show the cards that have something to say about what is open."""
        opened = self._opened
        shown = {
            self.hint: opened is None,
            self.path: opened is not None,
            self.back: opened is not None and (opened.chosen is not None or opened.neuron is not None),
            self._heads_card: self._has_heads,
            self._parts_card: opened is not None and (opened.head is not None or opened.position is not None),
            self._attention_card: opened is not None and opened.head is not None,
            self._output_card: opened is not None and opened.head is not None,
            self._predictions_card: opened is not None,
        }
        for part, visible in shown.items():
            part.layout.display = None if visible else "none"

    def _drop_heads(self) -> None:
        if self._run is not None:
            self._run.cancel()
            self._run = None
        self._has_heads = False

    def _sweep_heads(self, opened: Opened, position: int) -> None:
        """Measure z of every head at the cell's token in every metric. On the worker thread."""
        plan, by = opened.plan, ("layer", "pos", "head")
        heads = plan_behind(self._handle, plan, "z", by, {"pos": [position]}, self._encode)
        with self._lock:
            now = self._opened
            if now is None or now.plan is not plan or now.cell != opened.cell:
                return
            run = heads if isinstance(heads, str) else begin(self._handle, heads, self._encode)
            if isinstance(run, str):
                self.error.say(f"Heads: {run}")
                self._has_heads = False
                self._arrange()
                return
            self._run = run
            self._follow_heads(now, position, run, [])
            run.subscribe(self._heads_arrived)

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
        return make_grid(("layer", "head"), labels, Tokens([], []))

    def _heads_title(self, opened: Opened, position: int) -> str:
        return f"Heads writing at '{opened.token(position)}', by layer"

    def _heads_arrived(self, run: Run, _cells: np.ndarray) -> None:
        """Tell what went wrong with the heads. On the sweep's thread."""
        with self._lock:
            if run is self._run and run.error is not None:
                self.error.say(in_words(run.error))

    def _look(self, opened: Opened) -> None:
        """Show next tokens, parts, and a head's attention and output. On the worker thread."""
        try:
            if opened is not self._opened:
                return
            found = look(self._handle, opened, self._inspector_of(opened.plan))
            with self._lock:
                if opened is self._opened:
                    self._show_seen(opened, found)
        except Exception as error:
            told = why(error, "looking into a cell failed")
            with self._lock:
                if opened is self._opened:
                    self.error.say(told)

    def _prepare(self, plan: Plan) -> None:
        """On the worker thread; what is wrong is told when a cell is opened."""
        for site in (*PARTS, "z"):
            if plan is not self._about:
                return
            with suppress(PatchError):
                self._handle.shape(get_site(site))
        if plan is not self._about:
            return
        inspector = self._inspector_of(plan)
        with self._lock:
            # Shown again, in another metric: to prepare it again would read every weight.
            if plan is not self._about or inspector is self._prepared:
                return
            self._prepared = inspector
        try:
            inspector.prepare()
        except PatchError:
            return
        except Exception:
            _LOG.exception("the first look into a cell could not be prepared")

    def _inspector_of(self, plan: Plan) -> Inspector:
        """Return what looks at a sweep's cells: the plain runs are made for the first one."""
        kept = self._inspector
        if kept is None or key_of(kept[0]) != key_of(plan):  # Over a dataset each opening has its own plan.
            inspector = Inspector(
                self._handle, plan.pair, plan.patch, intervention=plan.intervention, metric=plan.metrics[0],
                encode=self._encode, sites=sorted({*LOOKED_AT, *(site.name for site in plan.sites)}),
                seed=plan.seed,
            )  # fmt: skip
            kept = (plan, inspector)
            with self._lock:
                if self._about is not None and key_of(self._about) == key_of(plan):
                    self._inspector = kept
        return kept[1]

    def _show_seen(self, opened: Opened, found: Look) -> None:
        self._seen = (found.patches, found.seen)
        self.predictions.show(prediction_tables(opened, found.patches, found.seen, self._handle.tokenizer))
        self.parts.show(**part_values(opened, found.patches, found.seen))
        self.neurons.show_activation(found.activity)
        if found.output is not None:
            self.output.show(**found.output)
        if found.attention is not None:
            self.attention.show(**found.attention)


def _card(child: w.Widget) -> w.VBox:
    card = w.VBox([child])
    card.add_class("pw-x-card")
    return card
