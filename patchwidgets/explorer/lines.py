"""The line in the map of heads: which heads can have made a cell, and which read from it."""

from __future__ import annotations

from ..engine.handle import ModelHandle
from ..engine.inspect import Cell
from ..sites import get_site

_BEFORE_ATTENTION = ("resid_pre", "q", "k", "v", "pattern", "attn_scores")
_MLP = ("mlp_pre", "mlp_post", "mlp_out")


def last_maker(handle: ModelHandle, site: str, cell: Cell) -> int:
    """Return the last layer whose heads can have made a cell of a site, -1 for none."""
    if "layer" not in cell:
        return -1
    # With attention and MLP in parallel an MLP does not read the heads of its own layer.
    parallel = not handle.has(get_site("resid_mid"))
    before = site in _BEFORE_ATTENTION or (site in _MLP and parallel)
    return cell["layer"] - 1 if before else cell["layer"]


def note_of(line: int, layers: int) -> str:
    """Return what the line means, for a map of so many layers with the line below row `line`."""
    if line < 0:
        return "All of these heads can read from this cell."
    if line >= layers - 1:
        return "All of these heads can have made this cell; none reads from it."
    return "Above the line: heads that can have made this cell. Below: heads that can read from it."
