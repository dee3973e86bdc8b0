"""The heatmap: values by row and column, filled in while they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from traitlets import Bool, Bunch, Bytes, Dict, Enum, Float, Int, List, Unicode, observe

from ..errors import PatchError
from ..result import STATUSES, PatchResult
from .base import View, float_array, logger, position
from .columns import column_count, label_columns
from .still import still_map

_VALUES = ("normalized", "effect", "patched")
_DATA = (*_VALUES, "status")
_BOUNDS = ("low", "high")
UNSURE = 4
"""The mark of a cell whose interval includes zero; it may be added to a ring's."""
_MEANS = ("row_means", "col_means")
_LARGEST_LIMIT = 1e9
_MARKS = (0, 1, 2, UNSURE, UNSURE + 1, UNSURE + 2, 3, 8)


def _data_trait(name: str) -> Bytes:
    """A binary trait whose value is always the live array's, so that a page that reloads sees what has arrived."""
    return Bytes(b"").tag(sync=True, to_json=lambda _value, view: view._bytes(name))


class Heatmap(View):
    """A heatmap of R rows by C columns on a fixed symmetric scale around zero: `Heatmap(result)`, or of arrays.

    Of a PatchResult it shows the first metric, with its own words, and takes no rows, columns or arrays beside.
    Arrays have shape [R, C]: `normalized` (1 = all the way to the source run), `effect` and `patched` (in the metric's
    unit), `status` (codes of `STATUSES`). What is left out is NaN and pending. `quantity` says which of normalized and
    effect is coloured and printed; colours saturate at +-`limit`, or at +-`fixed_limit` where that is above 0: what a
    person has typed beside the colours; `show` keeps it as long as what is coloured has the same unit. `low` and `high`
    are the ends of a cell's interval in that quantity; `marks` are 1 and 2 for two kinds of ring, `UNSURE` for an
    interval that includes zero, a ring and that together, or 3 and 8 for a word alone. `words` holds the plain strings
    `title`, `unit`, `sentence`, `high`, `near_zero`, `negative`, `origin` and `note`, a line below the map; `implied`,
    `estimated`, `pending` and `unavailable` in it replace the key's own words, `mark_1` and so on tell the marks,
    `mark_1_short` in one word, `value` names plain values that stand in `effect`, `counted` names what a share counts,
    `effect` of `patched` of it, and `from_zero` leaves the negative colours out beside the map. `stages` [R, C] numbers
    the clusters that are outlined, from 1; the word `stages` tells of them. `row_keys` and `col_keys` name what rows
    and columns stand for, e.g. `{"layer": 3}`; they link views of one group. A separator is drawn below row `line`.
    `means` says whether the page shows `mean_sizes`. Where it `gathers`, Ctrl, Shift, Space or Shift+Space adds places,
    by flat index, to `gathered`. Arrays of another shape raise `PatchError`.

    Read values with `value` and `array`: the binary traits exist for the page alone.

    >>> map = Heatmap(["0", "1"], label_columns("head", ["0", "1"]), normalized=[[0.0, 1.0], [0.5, -0.2]],
    ...               effect=[[0.0, 2.0], [1.0, -0.4]], patched=[[1.0, 3.0], [2.0, 0.6]], status=[[0, 0], [0, 0]])
    >>> map.value(1, 0)
    {'normalized': 0.5, 'effect': 1.0, 'patched': 2.0, 'status': 'measured'}
    """

    rows = List(Unicode()).tag(sync=True)
    row_title = Unicode("layer").tag(sync=True)
    columns = Dict(default_value=label_columns("", [])).tag(sync=True)
    row_keys = List(Dict()).tag(sync=True)
    col_keys = List(Dict()).tag(sync=True)
    normalized = _data_trait("normalized")
    effect = _data_trait("effect")
    patched = _data_trait("patched")
    status = _data_trait("status")
    low = _data_trait("low")
    high = _data_trait("high")
    marks = Bytes(b"").tag(sync=True)
    stages = Bytes(b"").tag(sync=True)
    row_means = _data_trait("row_means")
    col_means = _data_trait("col_means")
    means = Bool(True).tag(sync=True)
    quantity = Enum(["normalized", "effect"], default_value="normalized").tag(sync=True)
    limit = Float(1.0).tag(sync=True)
    fixed_limit = Float(0.0).tag(sync=True)
    words = Dict(value_trait=Unicode(), key_trait=Unicode()).tag(sync=True)
    selected = List(Int()).tag(sync=True)
    gathers = Bool(False).tag(sync=True)
    gathered = List(Int()).tag(sync=True)
    line = Int(-1).tag(sync=True)
    compact = Bool(False).tag(sync=True)
    state = Enum(["empty", "running", "done", "cancelled", "error"], default_value="empty").tag(sync=True)

    def __init__(
        self,
        rows: Sequence[str] | PatchResult = (),
        columns: Mapping[str, Any] | None = None,
        *,
        normalized: ArrayLike | None = None,
        effect: ArrayLike | None = None,
        patched: ArrayLike | None = None,
        status: ArrayLike | None = None,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        marks: ArrayLike | None = None,
        stages: ArrayLike | None = None,
        **traits: Any,
    ) -> None:
        given = (normalized, effect, patched, status, low, high, marks, stages)
        if isinstance(rows, PatchResult):
            Heatmap.__init__(self, **{**_shown(rows, columns, *given), **traits})
            return
        self._lock = threading.RLock()
        self._arrays: dict[str, np.ndarray] = {}
        self._gatherers: list[Callable[[list[int]], None]] = []
        self._gathering: AbstractContextManager[object] = nullcontext()
        grid = {"rows": [str(row) for row in rows], "columns": dict(columns or label_columns("", []))}
        values = {"normalized": normalized, "effect": effect, "patched": patched, "status": status}
        self._fill(grid, values, {"low": low, "high": high})
        drawn = {"marks": _marks(marks, self.shape), "stages": _numbers(stages, self.shape)}
        super().__init__(kind="heatmap", **drawn, **grid, **traits)

    def _fill(
        self, grid: dict[str, Any], values: dict[str, ArrayLike | None], bounds: dict[str, ArrayLike | None]
    ) -> None:
        """Replaces the live arrays by copies of `values` for the rows and columns of `grid`."""
        shape = (len(grid["rows"]), column_count(grid["columns"]))
        arrays: dict[str, np.ndarray] = {}
        for name in _VALUES:
            given = values[name]
            arrays[name] = np.full(shape, np.nan, "<f4") if given is None else float_array(given, shape, name)
        codes = values["status"]
        arrays["status"] = np.full(shape, STATUSES.index("pending"), "u1") if codes is None else _codes(codes, shape)
        arrays |= {name: float_array(given, shape, name) for name, given in bounds.items() if given is not None}
        self._arrays = arrays

    def _bytes(self, name: str) -> bytes:
        with self._lock:
            if name in _MEANS:
                return self.mean_sizes(name[:3]).tobytes()
            return self._arrays[name].tobytes() if name in self._arrays else b""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._arrays["status"].shape

    def value(self, row: int, col: int) -> dict[str, Any]:
        """What the cell holds: `normalized`, `effect`, `patched` as floats, `status` as a word; `low`, `high`."""
        with self._lock:
            there = [name for name in (*_VALUES, *_BOUNDS) if name in self._arrays]
            numbers = {name: float(self._arrays[name][row, col]) for name in there}
            return {**numbers, "status": STATUSES[self._arrays["status"][row, col]]}

    def array(self, name: str) -> np.ndarray:
        """A copy of one live array: "normalized", "effect", "patched" or "status"."""
        with self._lock:
            return self._arrays[name].copy()

    def mean_sizes(self, axis: str) -> np.ndarray:
        """The mean of the absolute values per "row" or per "col"umn, [R] or [C]; NaN where no cell has a value.

        It is NaN as well where a cell is pending: implied cells are known first, and a mean of theirs would be 0.
        Values are those of `quantity`. A mean of values with their signs would call a row nothing whose cells undo
        each other.
        """
        with self._lock:
            sizes = np.abs(self._arrays[self.quantity].astype("f8"))
            pending = self._arrays["status"] == STATUSES.index("pending")
        there = np.isfinite(sizes)
        along = 1 if axis == "row" else 0
        count = there.sum(along)
        total = np.where(there, sizes, 0.0).sum(along)
        known = (count > 0) & ~(pending & ~there).any(along)
        return np.divide(total, count, out=np.full(count.shape, np.nan), where=known).astype("<f4")

    def _still(self) -> str:
        with self._lock:
            arrays = {name: values.copy() for name, values in self._arrays.items()}
        traits = {name: getattr(self, name) for name in ("rows", "row_title", "columns", "quantity", "limit")}
        return still_map({**traits, **arrays}, [self.words.get("title", "")])

    @observe("quantity")
    def _other_means(self, _change: object) -> None:
        for name in _MEANS:
            self.notify_change(Bunch(name=name, owner=self, old=None, new=None, type="change"))

    def show(
        self,
        rows: Sequence[str] | PatchResult,
        columns: Mapping[str, Any] | None = None,
        *,
        normalized: ArrayLike | None = None,
        effect: ArrayLike | None = None,
        patched: ArrayLike | None = None,
        status: ArrayLike | None = None,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        marks: ArrayLike | None = None,
        stages: ArrayLike | None = None,
        **traits: Any,
    ) -> None:
        """Replaces grid, values and any other traits in one message; the arguments are the constructor's."""
        if isinstance(rows, PatchResult):
            given = (normalized, effect, patched, status, low, high, marks, stages)
            self.show(**{**_shown(rows, columns, *given), **traits})
            return
        grid = {"rows": [str(row) for row in rows], "columns": dict(columns or label_columns("", []))}
        with self._lock, self.hold_sync():
            scale = self._scale
            values = {"normalized": normalized, "effect": effect, "patched": patched, "status": status}
            self._fill(grid, values, {"low": low, "high": high})
            for name, value in {
                "selected": [],
                "gathered": [],
                "marks": _marks(marks, self.shape),
                "stages": _numbers(stages, self.shape),
                **grid,
                **traits,
            }.items():
                setattr(self, name, value)
            if self._scale != scale:
                self.fixed_limit = 0.0
            for name in (*_DATA, *_BOUNDS, *_MEANS):
                self.notify_change(Bunch(name=name, owner=self, old=None, new=None, type="change"))

    def update_cells(
        self,
        indices: ArrayLike,
        normalized: ArrayLike,
        effect: ArrayLike,
        patched: ArrayLike,
        status: ArrayLike,
    ) -> None:
        """Merges values of some cells, given by flat row-major index, and sends just these to the page.

        Safe from any thread. An index outside the grid or arrays of unequal length raise `PatchError`.
        """
        at = np.array(indices, dtype="<i4").ravel()
        given = zip(_VALUES, (normalized, effect, patched), strict=True)
        new = {name: np.array(values, dtype="<f4").ravel() for name, values in given}
        new["status"] = _codes(np.array(status).ravel(), at.shape)
        for name, array in new.items():
            if array.shape != at.shape:
                raise PatchError(f"update_cells got {len(at)} indices and {len(array)} values of {name}.")
        # Merged and sent under one lock, so that a flush never overtakes the update it does not contain.
        with self._lock:
            count = self._arrays["status"].size
            if at.size and (at.min() < 0 or at.max() >= count):
                raise PatchError(f"update_cells got an index outside the {count} cells of this heatmap.")
            for name, array in new.items():
                self._arrays[name].flat[at] = array
            buffers = [at.tobytes(), *(new[name].tobytes() for name in _DATA), *map(self._bytes, _MEANS)]
            self.send({"type": "cells"}, buffers=buffers)

    def flush(self) -> None:
        """Sends the data traits whole, so that the saved widget state holds what the messages brought."""
        with self._lock:
            self.send_state([*_DATA, *_BOUNDS, *_MEANS])

    @property
    def _scale(self) -> tuple[str, str]:
        """What the limit is a limit of: normalized values are shares of a gap whatever they are called."""
        return self.quantity, self.words.get("unit", "") if self.quantity == "effect" else ""

    def outline(self, stages: ArrayLike | None, words: str) -> None:
        """Outlines other clusters of the same cells, [R, C], and tells of them in words."""
        with self._lock, self.hold_sync():
            self.stages = _numbers(stages, self.shape)
            self.words = {**self.words, "stages": words}

    def on_select(self, callback: Callable[[int, int], None]) -> Callable[[], None]:
        """Calls `callback(row, col)` after a cell was selected on the page; returns what ends that.

        `selected` is already set. The call may come in another thread than the kernel's main one.
        """
        return self._listen(callback)

    def on_gather(
        self, callback: Callable[[list[int]], None], *, lock: AbstractContextManager[object] | None = None
    ) -> None:
        """Calls `callback(places)` with the places that the page gathers now; it sets `gathered`, and may take fewer.

        `lock` is held from before the places are found: who holds it to show another grid comes before or after.
        """
        self._gatherers.append(callback)
        if lock is not None:
            self._gathering = lock

    def _gather(self, message: dict[str, Any]) -> None:
        """Gathers a place or lets it go; from a place named as well, [row, column], gathers all to this one.

        The first place takes the selected one along: who selects one and then adds another means both.
        """
        (rows, cols), start = self.shape, message.get("from")
        row, col = position(message, "row", rows), position(message, "col", cols)
        if row is None or col is None:
            return
        place = row * cols + col
        if start is None and place in self.gathered:
            places = [each for each in self.gathered if each != place]
        else:
            ends = (row, col) if start is None else _ends(start, rows, cols)
            if ends is None:
                return
            down, across = (range(min(a, b), max(a, b) + 1) for a, b in zip(ends, (row, col), strict=True))
            chosen = [self.selected[0] * cols + self.selected[1]] if start is None and self.selected else []
            there = self.gathered or [each for each in chosen if each < rows * cols]
            places = list(dict.fromkeys([*there, *(r * cols + c for r in down for c in across)]))
        before = self.gathered
        if not self._gatherers:
            self.gathered = places
        for listener in tuple(self._gatherers):
            try:
                listener(places)
            except Exception:
                logger.exception("A listener of %s failed", type(self).__name__)
        if self.gathered == before:
            self.send_state("gathered")  # The page shows what it has gathered before it is taken.

    def _handle(self, message: dict[str, Any]) -> None:
        rows, cols = self.shape
        row, col = position(message, "row", rows), position(message, "col", cols)
        if message.get("type") == "select" and row is not None and col is not None:
            self.selected = [row, col]
            self._tell(row, col)
        if message.get("type") == "gather" and self.gathers:
            with self._gathering:
                self._gather(message)
        if message.get("type") == "limit":
            self._fix_limit(message.get("value"))

    def _fix_limit(self, value: object) -> None:
        """Takes a limit typed on the page; 0 gives the scale back its own."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _LARGEST_LIMIT:
            self.fixed_limit = float(value)


def _ends(start: object, rows: int, cols: int) -> tuple[int, int] | None:
    """Return a message's [row, column] as a place of the map, None where it is none."""
    if not isinstance(start, list) or len(start) != 2:
        return None
    row, col = position({"row": start[0]}, "row", rows), position({"col": start[1]}, "col", cols)
    return None if row is None or col is None else (row, col)


def _marks(marks: ArrayLike | None, shape: tuple[int, int]) -> bytes:
    if marks is None:
        return b""
    codes = np.array(marks)
    if codes.shape != shape or not np.isin(codes, _MARKS).all():
        raise PatchError(
            f"marks must hold 0, 1 or 2, each with or without {UNSURE}, or 3 or 8, in the shape {shape}; it has "
            f"the shape {codes.shape}."
        )
    return codes.astype("u1").tobytes()


def _numbers(stages: ArrayLike | None, shape: tuple[int, int]) -> bytes:
    """Return the clusters' numbers as the page reads them; nothing where there are no clusters."""
    if stages is None:
        return b""
    numbers = np.array(stages)
    if numbers.shape != shape:
        raise PatchError(f"stages has shape {numbers.shape}; its rows and columns ask for {shape}.")
    return numbers.astype("<i4").tobytes() if numbers.any() else b""


def _codes(status: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    codes = np.array(status)
    if codes.shape != shape:
        raise PatchError(f"status has shape {codes.shape}; its rows and columns ask for {shape}.")
    if codes.size and (codes.min() < 0 or codes.max() >= len(STATUSES)):
        raise PatchError(f"status holds codes outside 0..{len(STATUSES) - 1} ({', '.join(STATUSES)}).")
    return codes.astype("u1")


def _shown(result: PatchResult, *given: object) -> dict[str, Any]:
    """Return what is shown of a result, which brings its own grid and values: nothing may be given beside."""
    from .of_result import result_traits  # It draws upon this module.

    if any(each is not None for each in given):
        raise PatchError("a result brings its own rows, columns and values; leave these out.")
    return result_traits(result)
