"""What is behind a cell: the heads writing at its token, its layer's parts, a head's attention, the next tokens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import ipywidgets as w
import numpy as np

from ..engine.handle import ModelHandle
from ..engine.inspect import Cell, Inspection, inspect_cells, top_tokens
from ..engine.plan import Plan, make_plan
from ..engine.run import Run
from ..engine.sweep import score, start
from ..grid import Tokens, make_grid
from ..metrics import gap_too_small, get_metrics
from ..sites import get_site
from ..views import AttentionView, Heatmap, Predictions, label_columns
from ..words import meaning
from .live import LiveMap
from .text import Line, shown_token

_PARTS = ("resid_pre", "attn_out", "mlp_out", "resid_post")
_INPUTS = ("q", "k", "v", "z")
_TOP = 6


@dataclass(frozen=True)
class Opened:
    """The cell that is open, and the head opened from it."""

    plan: Plan
    metric: str
    cell: Cell
    head: tuple[int, int] | None = None

    @property
    def position(self) -> int | None:
        """The cell's token position, or None where the cell spans all tokens."""
        return self.cell.get("pos")

    def token(self, position: int) -> str:
        """Return the token at a position as it is shown."""
        clean, corrupted = (
            shown_token(texts[position]) for texts in (self.plan.pair.clean_text, self.plan.pair.corrupted_text)
        )
        return clean if clean == corrupted else f"{clean}/{corrupted}"


Placed = tuple[str, Cell]


@dataclass(frozen=True)
class Patches:
    """The patches behind an open cell: the one called "patched", parts each alone, and the cell's own if another."""

    patched: Placed
    parts: list[Placed]
    own: Placed | None

    @property
    def cells(self) -> list[Placed]:
        """All of them, in the order of the rows after the clean and the corrupted run."""
        return [self.patched, *self.parts, *([self.own] if self.own else [])]


class Drilldown:
    """The panel beside the heatmap. `submit` runs a function on the Explorer's worker thread."""

    def __init__(self, handle: ModelHandle, group: str, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        self._handle, self._submit = handle, submit
        self._opened: Opened | None = None
        self._run: Run | None = None
        self.hint = Line(
            "pw-x-dim", "pw-x-hint", text="Select a cell to see the heads behind it, and what the model would say."
        )
        self.path = Line("pw-x-path")
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
        self.box = w.VBox([self.hint, head, *cards])
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
        self._open(None)

    def open(self, plan: Plan, metric: str, cell: Cell) -> None:
        """Open a cell of a sweep; a cell that is a head opens as that head."""
        whole = self._handle.heads(plan.site) == self._handle.n_heads
        head = (cell["layer"], cell["head"]) if "head" in cell and whole else None
        self._open(Opened(plan, metric, cell, head))

    def open_head(self, layer: int, head: int) -> None:
        """Open a head from the open cell."""
        if self._opened is not None:
            self._open(Opened(self._opened.plan, self._opened.metric, self._opened.cell, (layer, head)), heads=False)

    def _close_head(self) -> None:
        if self._opened is not None:
            self.heads.view.selected = []
            self._open(Opened(self._opened.plan, self._opened.metric, self._opened.cell), heads=False)

    def _head_selected(self, row: int, col: int) -> None:
        key = self.heads.view.row_keys[row] | self.heads.view.col_keys[col]
        self.open_head(key["layer"], key["head"])

    def _open(self, opened: Opened | None, *, heads: bool = True) -> None:
        self._opened = opened
        if heads and self._run is not None:
            self._run.cancel()
            self._run = None
        if opened is None:
            self._arrange()
            return
        self.path.say(*_path(opened))
        if heads and opened.position is not None:
            self._sweep_heads(opened, opened.position)
        self._arrange()
        self._submit(lambda: self._look(opened))

    def _arrange(self) -> None:
        """Show the cards that have something to say about what is open."""
        opened = self._opened
        shown = {
            self.hint: opened is None,
            self.path: opened is not None,
            self.back: opened is not None and opened.head is not None and "head" not in opened.cell,
            self._heads_card: opened is not None and opened.position is not None,
            self._parts_card: opened is not None and (opened.head is not None or opened.position is not None),
            self._attention_card: opened is not None and opened.head is not None,
            self._predictions_card: opened is not None,
        }
        for part, visible in shown.items():
            part.layout.display = None if visible else "none"

    def _sweep_heads(self, opened: Opened, position: int) -> None:
        """Measure z of every head at the cell's token, and show the cells as they arrive."""
        plan = opened.plan
        by = ("layer", "pos", "head")
        site = get_site("z")
        heads = make_plan(
            self._handle, plan.pair, site, by, plan.patch, get_metrics(opened.metric), {"pos": [position]}
        )
        grid = make_grid(("layer", "head"), heads.labels, _tokens(plan))
        layer = opened.cell["layer"]
        title = f"Heads writing at {opened.token(position)}, by layer"
        self.heads.blank(grid, {**meaning(_settings(heads)), "title": title}, line=layer)
        self._run = start(self._handle, heads)
        self.heads.follow(self._run, grid, opened.metric, line=layer, title=title)

    def _look(self, opened: Opened) -> None:
        """Run the opened cell's patches once and show next tokens, parts and attention. On the worker thread."""
        if opened is not self._opened:
            return
        patches = _patches(self._handle, opened)
        seen = inspect_cells(self._handle, opened.plan.pair, opened.plan.patch, patches.cells, opened.head)
        if opened is not self._opened:
            return
        self._show_predictions(opened, patches, seen)
        if patches.parts:
            self._show_parts(opened, patches, seen)
        if opened.head is not None:
            self._show_attention(opened, patches, seen)

    def _show_predictions(self, opened: Opened, patches: Patches, seen: Inspection) -> None:
        pair, tokenizer = opened.plan.pair, self._handle.tokenizer
        marks = {pair.answer: "answer", pair.foil: "foil"}
        runs = {"clean": "clean", "corrupted": "corrupted", "patched": f"patched: {_label(opened, patches.patched)}"}
        self.predictions.show([
            {"name": name, "label": label, "rows": [
                {"token": tokenizer.text(token), "prob": probability, "logit": logit, "mark": marks.get(token, "")}
                for token, probability, logit in top_tokens(logits, _TOP)
            ]}
            for (name, label), logits in zip(runs.items(), seen.logits, strict=False)
        ])  # fmt: skip

    def _show_parts(self, opened: Opened, patches: Patches, seen: Inspection) -> None:
        values = score(get_metrics(opened.metric), seen.logits, opened.plan)[0]
        clean, corrupted = values[:2]
        base, source = (corrupted, clean) if opened.plan.patch.base == "corrupted" else (clean, corrupted)
        patched = values[3 : 3 + len(patches.parts)]
        effect, small = patched - base, gap_too_small(base, source)
        layer = patches.parts[0][1]["layer"]
        where = "" if opened.position is None else f" at {opened.token(opened.position)}"
        what = f"Head {_name(opened.head)}" if opened.head else f"Layer {layer}"
        said = {**meaning(_settings(opened.plan)), "title": f"{what}{where}, each patched alone"}
        self.parts.show(
            [str(layer)],
            label_columns("", [site for site, _ in patches.parts]),
            normalized=[effect * np.nan if small else effect / (source - base)],
            effect=[effect],
            patched=[patched],
            status=[np.zeros(len(effect), dtype=np.uint8)],
            quantity="effect" if small else "normalized",
            limit=float(np.abs(effect).max() or 1.0) if small else 1.0,
            row_title="layer",
            row_keys=[{"layer": layer}],
            col_keys=[{} for _ in effect],
            state="done",
            words=said,
        )

    def _show_attention(self, opened: Opened, patches: Patches, seen: Inspection) -> None:
        assert opened.head is not None
        assert seen.attention is not None
        rows = [0, 1, 2]
        runs = [
            {"name": "clean", "label": "clean"},
            {"name": "corrupted", "label": "corrupted"},
            {"name": "patched", "label": f"patched: {_label(opened, patches.patched)}"},
        ]
        if patches.own is not None:
            rows.append(len(seen.attention) - 1)
            runs.append({"name": "patched", "label": f"patched: {_label(opened, patches.own)}"})
        extra = {} if opened.position is None else {"dest": opened.position}
        columns = _tokens(opened.plan).columns(range(opened.plan.pair.length))
        title = f"Attention of head {_name(opened.head)}"
        self.attention.show(columns, runs, seen.attention[rows], title=title, **extra)


def _name(head: tuple[int, int]) -> str:
    return f"{head[0]}.{head[1]}"


def _card(child: w.Widget) -> w.VBox:
    card = w.VBox([child])
    card.add_class("pw-x-card")
    return card


def _tokens(plan: Plan) -> Tokens:
    return Tokens(plan.pair.clean_text, plan.pair.corrupted_text, plan.pair.bos_at)


def _settings(plan: Plan) -> dict[str, object]:
    return {"direction": plan.patch.direction, "site": plan.site.name, "by": list(plan.by), "hook_at": plan.site.hook}


def _patches(handle: ModelHandle, opened: Opened) -> Patches:
    """Return what to run: "patched" is the opened cell's own patch, and once a head is opened, that head's."""
    own = (opened.plan.site.name, opened.cell)
    if opened.head is None:
        at = {"layer": opened.cell["layer"], "pos": opened.position}
        there = [site for site in _PARTS if get_site(site).hook_name(at["layer"]) in handle.hooks]
        return Patches(own, [] if opened.position is None else [(site, at) for site in there], None)
    parts = [(site, _head_cell(handle, opened, site)) for site in _INPUTS]
    if "head" in opened.cell:
        return Patches(own, parts, None)
    return Patches(("z", _head_cell(handle, opened, "z")), parts, own)


def _head_cell(handle: ModelHandle, opened: Opened, site: str) -> Cell:
    """Return the cell of one of the opened head's activations; keys and values are shared by a group of heads."""
    assert opened.head is not None
    layer, head = opened.head
    shared = handle.n_heads // handle.heads(get_site(site))
    at = {} if opened.position is None else {"pos": opened.position}
    return {"layer": layer, **at, "head": head // shared}


def _path(opened: Opened) -> list[str | tuple[str, str]]:
    site = opened.plan.site.name
    parts: list[str | tuple[str, str]] = [site, " \u203a ", (_where(opened, opened.cell), "pw-x-here")]
    if opened.head and "head" not in opened.cell:
        parts += [" \u203a ", (f"head {_name(opened.head)}", "pw-x-here")]
    return parts


def _where(opened: Opened, cell: Cell) -> str:
    told = f"head {cell['layer']}.{cell['head']}" if "head" in cell else f"layer {cell['layer']}"
    return f"{told}, {opened.token(cell['pos'])}" if "pos" in cell else told


def _label(opened: Opened, placed: Placed) -> str:
    """Return which patch a patched run is: the opened cell's, or the opened head's output."""
    if placed == (opened.plan.site.name, opened.cell):
        return "this cell"
    return f"head {placed[1]['layer']}.{placed[1]['head']}"
