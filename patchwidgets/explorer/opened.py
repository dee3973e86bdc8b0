"""What is open in the drilldown, in data and in words: a cell, perhaps a head or a neuron of it, and their patches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..engine.handle import ModelHandle
from ..engine.inspect import Cell, misfit
from ..engine.places import Place
from ..engine.plan import Plan
from ..interventions import Noise, Resample
from ..sites import get_site
from ..spelling import shown_token
from .slots import column_of, columns_of

PARTS = ("resid_pre", "attn_out", "mlp_out", "resid_post")
_INPUTS = ("q", "k", "v", "pattern", "z")
LOOKED_AT = (*PARTS, *_INPUTS)
"""The sites that are patched behind a cell."""

Head = tuple[int, int]
Placed = tuple[str, Place]


@dataclass(frozen=True)
class Opened:
    """The cell that is open, and the head or the neuron opened from it.

    Attributes:
        own: the (layer, head) the cell itself is; None where it is no head, or one shared by several query heads.
        chosen: another head, opened from the map of heads.
        neuron: a neuron of the cell's layer, opened from the list of neurons.
    """

    plan: Plan
    metric: str
    cell: Cell
    own: Head | None = None
    chosen: Head | None = None
    neuron: int | None = None

    @property
    def head(self) -> Head | None:
        """The head whose inputs and attention are shown."""
        return None if self.neuron is not None else self.chosen or self.own

    @property
    def active(self) -> tuple[str, Cell] | None:
        """The neuron whose activation is shown, opened or the cell itself: its site, and its layer and number."""
        if self.neuron is not None:
            return "mlp_post", {"layer": self.cell["layer"], "neuron": self.neuron}
        if "neuron" not in self.cell:
            return None
        return self.plan.name, {axis: self.cell[axis] for axis in ("layer", "neuron")}

    def in_metric(self, metric: str) -> Opened:
        """Return the same in another metric."""
        return replace(self, metric=metric)

    @property
    def position(self) -> int | None:
        """The cell's token position in the run that is changed, or None where the cell spans all tokens."""
        return self.cell.get("pos", self.cell.get("dest"))

    @property
    def where(self) -> int | list[int] | None:
        """The cell's position, or those it is kept to; None for every one."""
        return self.plan.within.get("pos") if self.position is None else self.position

    @property
    def layer(self) -> int:
        """The layer of the head, or of the cell."""
        return self.head[0] if self.head else self.cell.get("layer", 0)

    def token(self, position: int) -> str:
        """Return the token at a position of the run that is changed, and its counterpart where that is another."""
        pair = self.plan.pair
        column = columns_of(pair)[column_of(pair, self.plan.patch.base, position)]
        texts = zip((pair.clean_text, pair.corrupted_text), column, strict=True)
        return "/".join(dict.fromkeys(shown_token(run[at]) for run, at in texts if at is not None))

    @property
    def placed(self) -> Placed:
        """The cell's own patch: its site and place, kept to the positions that were chosen."""
        return self.plan.name, {**self.plan.within, **self.cell}

    @property
    def path(self) -> list[str | tuple[str, str]]:
        """The way here, as parts of a line."""
        cell = self.cell
        told = [f"head {cell['layer']}.{cell['head']}"] if "head" in cell else []
        told += [f"layer {cell['layer']}"] if "layer" in cell and not told else []
        told += [f"neuron {cell['neuron']}"] if "neuron" in cell else []
        told += [self.token(cell[axis]) for axis in ("pos", "dest") if axis in cell]
        where = ", ".join(told) + (f" from {self.token(cell['src'])}" if "src" in cell else "")
        parts: list[str | tuple[str, str]] = [self.plan.name, " \u203a ", (where, "pw-x-here")]
        if self.chosen:
            parts += [" \u203a ", (f"head {name_of(self.chosen)}", "pw-x-here")]
        if self.neuron is not None:
            parts += [" \u203a ", (f"neuron {self.cell['layer']}.{self.neuron}", "pw-x-here")]
        return parts

    @property
    def title(self) -> str:
        """What the map of the parts shows."""
        what = f"Head {name_of(self.head)}" if self.head else f"Layer {self.layer}"
        where = "" if self.position is None else f" at '{self.token(self.position)}'"
        return f"{what}{where}, each patched alone"


@dataclass(frozen=True)
class Patches:
    """The patches behind what is open: the one called "patched", parts each alone, and the cell's own if another.

    `left` says of parts that the intervention cannot be made at why not.
    """

    patched: Placed
    parts: list[Placed]
    own: Placed | None
    left: list[str] = field(default_factory=list)

    @property
    def cells(self) -> list[Placed]:
        """All of them, in the order of the rows after the clean and the corrupted run."""
        return [self.patched, *self.parts, *([self.own] if self.own else [])]


def open_cell(handle: ModelHandle, plan: Plan, metric: str, cell: Cell) -> Opened:
    """Return a cell of a sweep as opened; a cell that is a head is open as that head."""
    whole = handle.heads(get_site(plan.name)) == handle.n_heads
    return Opened(plan, metric, cell, (cell["layer"], cell["head"]) if "head" in cell and whole else None)


def patches_of(handle: ModelHandle, opened: Opened) -> Patches:
    """Return what to run: "patched" is the opened cell's own patch, and once a head or neuron is opened, that one's."""
    own = opened.placed
    if opened.neuron is not None:
        at = {"layer": opened.layer, "pos": opened.position, "neuron": opened.neuron}
        patches = patches_of(handle, replace(opened, neuron=None, own=None, chosen=None))
        return replace(patches, patched=("mlp_post", at))
    if opened.head is None:
        there = [site for site in PARTS if get_site(site).hook_name(opened.layer) in handle.hooks]
        at = {"layer": opened.layer, "pos": opened.position}
        return Patches(own, [] if opened.position is None else [(site, at) for site in there], None)
    there = [site for site in _INPUTS if get_site(site).hook_name(opened.layer) in handle.hooks]
    parts = [(site, _head_cell(handle, opened.head, opened.where, site)) for site in there]
    if opened.chosen is None:
        return Patches(own, parts, None)
    return Patches(("z", _head_cell(handle, opened.chosen, opened.where, "z")), parts, own)


def fitting(handle: ModelHandle, opened: Opened) -> Patches:
    """Return what to run, without the parts that the intervention cannot be made at. May run the model."""
    patches = patches_of(handle, opened)
    why = {site: misfit(handle, opened.plan.intervention, (site, cell)) for site, cell in patches.parts}
    return replace(
        patches, parts=[placed for placed in patches.parts if not why[placed[0]]], left=[*filter(None, why.values())]
    )


def label_of(opened: Opened, placed: Placed) -> str:
    """Return which patch a patched run is: the opened cell's, the opened head's output, or the opened neuron's."""
    if opened.neuron is not None:
        return f"neuron {opened.cell['layer']}.{opened.neuron}"
    if opened.chosen is None or placed == opened.placed:
        return "this cell"
    return f"head {name_of(opened.chosen)}"


def drawn(plan: Plan) -> str:
    """Return what is shown of a patch that is drawn at random, for a title; "" where nothing is drawn."""
    if not isinstance(plan.intervention, (Noise, Resample)):
        return ""
    draws = plan.samples
    return f", patched: {f'mean of {draws} draws' if draws > 1 else 'one random draw'}"


def name_of(head: Head) -> str:
    """Return a head as layer.head."""
    return f"{head[0]}.{head[1]}"


def meant_by(plan: Plan) -> dict[str, object]:
    """Return of a plan what the sentences about its cells are made from."""
    what = plan.intervention
    settings = {} if what.name == "patch" else what.settings()
    return {
        "direction": plan.patch.direction, "site": plan.name, "by": list(plan.by), "intervention": what.name,
        "settings": settings,
    }  # fmt: skip


def _head_cell(handle: ModelHandle, head: Head, where: int | list[int] | None, site: str) -> Place:
    """Return the cell of one of a head's activations; keys and values are shared by a group of heads."""
    shared = handle.n_heads // handle.heads(get_site(site))
    at = {} if where is None else {"dest" if site == "pattern" else "pos": where}
    return {"layer": head[0], **at, "head": head[1] // shared}
