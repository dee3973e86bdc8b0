"""What a sweep found: an xarray.Dataset with labelled axes, the baselines, and where every number comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .errors import PatchError, quoted
from .interventions import Intervention, Patch, restored
from .metrics import gap_too_small

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .diagram import Diagram

STATUSES = ("measured", "implied", "estimated", "pending", "unavailable")
"""The statuses of a cell in the order of their codes."""
MEASURED, IMPLIED, ESTIMATED, PENDING, UNAVAILABLE = range(5)


class PatchResult:
    """The effects of a sweep, cell by cell, with the two baselines and the settings that made them.

    `data` is an xarray.Dataset: `patched[metric, *axes]` in the metric's unit (NaN where pending or unavailable),
    `status[*axes]` as words, `clean[metric]` and `corrupted[metric]` the two runs; coordinates are the axes, with
    `token` and `token_corrupted` along `pos`.

    >>> patched, status = np.array([[0.5, 1.0]]), np.array([0, 0])
    >>> data = make_data(("layer",), {"layer": 2}, ("prob",), patched, status, [1.0], [0.0], [])
    >>> result = PatchResult(data, {"site": "resid_pre", "direction": "denoise", "metrics": ["prob"], "by": ["layer"]})
    >>> result.normalized.values
    array([[0.5, 1. ]])
    """

    def __init__(self, data: xr.Dataset, provenance: dict[str, Any], _held: object = None) -> None:
        self.data = data
        self.provenance = provenance
        self._held = _held  # What lets a later sweep of the same runs be quick; it goes with the result.

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' names."""
        return tuple(str(name) for name in self.data["metric"].values)

    @property
    def by(self) -> tuple[str, ...]:
        """The axes of a cell."""
        return tuple(str(name) for name in self.data["status"].dims)

    @property
    def intervention(self) -> Intervention:
        """What was written into the base run.

        The prompts of another dataset, which a Mean or a Resample takes from, are in it by their token ids.
        """
        if self.is_difference:
            raise PatchError("a difference has the interventions of both its results; ask each for its own.")
        return restored(self.provenance)

    @property
    def direction(self) -> Patch:
        """Which run was changed, and which it is compared with: `base`, `source`."""
        if self.is_difference and "direction" not in self.provenance:
            raise PatchError("a denoised result minus a noised one has no direction; each of the two has its own.")
        return Patch(self.provenance["direction"])

    @property
    def is_difference(self) -> bool:
        """Whether this is one result minus another, made by `minus`."""
        return "difference" in self.provenance

    @property
    def clean(self) -> float | xr.DataArray:
        """The metric of the clean run: a float for one metric, else one value per metric."""
        return self._baseline("clean")

    @property
    def corrupted(self) -> float | xr.DataArray:
        """The metric of the corrupted run: a float for one metric, else one value per metric."""
        return self._baseline("corrupted")

    def select(self, metric: str) -> PatchResult:
        """Return the result of one of its metrics alone."""
        if metric not in self.metrics:
            raise PatchError(f"the result has no metric {quoted(metric)}; it has {', '.join(self.metrics)}.")
        return PatchResult(self.data.sel(metric=[metric]), {**self.provenance, "metrics": [metric]}, self._held)

    def minus(self, other: PatchResult) -> PatchResult:
        """Return this result (A) minus another (B), in every metric that both have; `a - b` is the same.

        `effect`, `normalized`, `patched` and the two runs are A's minus B's, in float64. A cell that is not known in
        both is unavailable. The provenance holds what both share, and each whole under "difference". Raises PatchError,
        saying why, where their cells are not the same ones.
        """
        from . import difference

        return difference.minus(self, other)

    def __sub__(self, other: PatchResult) -> PatchResult:
        return self.minus(other)

    @property
    def effect(self) -> xr.DataArray:
        """`patched - base`, in the metric's unit."""
        if self.is_difference:
            return self.data["effect"]
        patched = self.data["patched"]
        return patched.copy(data=patched.values - self._beside(self.data[self.direction.base].values)).rename("effect")

    @property
    def normalized(self) -> xr.DataArray:
        """`(patched - base) / (source - base)`: 0 nothing moved, 1 all the way; NaN where the gap is too small."""
        if self.is_difference:
            return self.data["normalized"]
        base, source = self.data[self.direction.base].values, self.data[self.direction.source].values
        small = [gap_too_small(float(b), float(s)) for b, s in zip(base, source, strict=True)]
        effect, gap = self.effect, np.where(small, np.nan, source - base)
        return effect.copy(data=effect.values / self._beside(gap) + 0.0).rename("normalized")  # -0.0 becomes 0.0

    def _beside(self, values: np.ndarray) -> np.ndarray:
        """Return a number per metric with the axes of `patched`."""
        return values.reshape([-1 if axis == "metric" else 1 for axis in self.data["patched"].dims])

    @property
    def engine(self) -> str:
        """Which engine computed the cells."""
        return self.provenance["engine"]

    @property
    def check(self) -> dict[str, Any]:
        """How the numbers were checked while they were made."""
        return self.provenance["check"]

    @property
    def n(self) -> int:
        """The number of prompt pairs."""
        return int(self.data.sizes.get("pair", 1))

    def interval(self, confidence: float = 0.95, *, resamples: int = 2000, seed: int = 0) -> tuple[Any, Any]:
        """Return the bootstrap interval of the normalized effect over the pairs, (low, high), each [metric, *axes].

        Pairs are drawn with replacement; the effect is divided by the mean gap of the same draw. Raises PatchError for
        a single pair. Source: Efron and Tibshirani (1993), percentile intervals.
        """
        from . import stats

        each = self._each()
        base, source = (self.data[f"{run}_pairs"].values for run in (self.direction.base, self.direction.source))

        def bounds(metric: int, cells: np.ndarray) -> np.ndarray:
            drawn = {"confidence": confidence, "resamples": resamples, "seed": seed}
            return np.stack(stats.bootstrap_normalized(cells, base[metric], source[metric], **drawn))

        found = self._cell_by_cell(each, bounds, 2)
        like = self.data["patched"]
        return like.copy(data=found[:, 0]), like.copy(data=found[:, 1])

    def sign_flip(self, *, resamples: int = 10_000, seed: int = 0) -> xr.DataArray:
        """Return, per cell, how often pairs with signs flipped at random show a mean effect as large: a p-value."""
        from . import stats

        effects = self._each() - self.data[f"{self.direction.base}_pairs"]
        found = self._cell_by_cell(
            effects, lambda _, cells: stats.sign_flip(cells, resamples=resamples, seed=seed)[None], 1
        )
        return self.data["patched"].copy(data=found[:, 0]).rename("p")

    def _cell_by_cell(
        self, each: xr.DataArray, work: Callable[[int, np.ndarray], np.ndarray], numbers: int
    ) -> np.ndarray:
        """Return `work(metric, values [pair, cell])` -> [number, cell] as [metric, number, *by], NaN without values."""
        found = np.full([len(self.metrics), numbers, *self.data["status"].shape], np.nan)
        there = ~np.isin(self.data["status"].values, ("pending", "unavailable"))
        there &= np.isfinite(each.values).all((0, 1))  # What is implied has no value before the two runs are known.
        for metric in range(len(self.metrics) if there.any() else 0):
            found[metric][:, there] = work(metric, each.values[metric][:, there])
        return found

    def _each(self) -> xr.DataArray:
        if self.is_difference:
            raise PatchError("a difference has no values of single pairs; ask each of its two results.")
        if "patched_pairs" not in self.data:
            raise PatchError("this result is of one pair; an interval or a test over pairs needs a Dataset.")
        return self.data["patched_pairs"].transpose("metric", "pair", *self.by)

    def to_dataframe(self, *, pairs: bool = False) -> pd.DataFrame:
        """Return one row per cell and metric, row-major in `by`.

        Columns: the axes, `token` and `token_corrupted` where there is a position, `metric`, `patched`, `effect`,
        `normalized`, `status`; `kept` for a mask. With datasets `ci_low` and `ci_high`, the 95 % bootstrap interval of
        `normalized`; or, with `pairs`, one row per pair, each with its own `effect`, normalized by the mean gap.
        """
        if pairs:
            return self._pairs_dataframe()
        import pandas as pd

        cells = {"patched": self.data["patched"], "effect": self.effect, "normalized": self.normalized}
        cells |= {name: self.data[name] for name in ("status", "kept") if name in self.data}
        if "patched_pairs" in self.data:
            cells["ci_low"], cells["ci_high"] = self.interval()
        order = (*self.by, "metric")
        places = dict(zip(order, np.indices([self.data.sizes[axis] for axis in order]), strict=True))
        texts = [name for name in ("token", "token_corrupted") if name in self.data.coords]
        columns = {axis: self.data[axis].values[places[axis]] for axis in self.by}
        columns |= {name: self.data[name].values[places["pos"]] for name in texts}
        columns["metric"] = self.data["metric"].values[places["metric"]]
        for name, values in cells.items():
            there = values.transpose(*(axis for axis in order if axis in values.dims)).values
            there = there if "metric" in values.dims else there[..., None]
            columns[name] = np.broadcast_to(there, places["metric"].shape)
        # Not by xarray, which takes four times as long: the Explorer asks at every click.
        return pd.DataFrame({name: _plain(values.reshape(-1)) for name, values in columns.items()})

    def _pairs_dataframe(self) -> pd.DataFrame:
        each, base = self._each(), self.data[f"{self.direction.base}_pairs"]
        gap = self.data[self.direction.source] - self.data[self.direction.base]
        small = [
            gap_too_small(float(a), float(b))
            for a, b in zip(self.data["clean"].values, self.data["corrupted"].values, strict=True)
        ]
        effect = each - base
        normalized = effect / gap.where(~xr.DataArray(small, dims="metric")) + 0.0
        table = xr.Dataset({"patched": each, "effect": effect, "normalized": normalized, "status": self.data["status"]})
        frame = table.to_dataframe(dim_order=[*self.by, "metric", "pair"]).reset_index()
        texts = [name for name in ("token", "token_corrupted") if name in frame]
        return frame.loc[:, [*self.by, *texts, "metric", "pair", "patched", "effect", "normalized", "status"]]

    def stages(self, threshold: float = 0.5) -> pd.DataFrame:
        """Return the candidate stages: clusters of neighbouring cells that move `threshold` of the gap or more.

        One row per metric and cluster, with its bounds, its strongest and its mean normalized effect; see
        `patchwidgets.stages`. Cells are neighbours one layer or one token apart; heads and neurons have no order, so
        that theirs are neighbours along tokens only. Raises PatchError for a threshold that is no number above 0.
        """
        from . import stages

        return stages.table(self, threshold)

    def describe(self) -> str:
        """Return in plain words what a cell means, and what high, near-zero and negative cells mean."""
        from . import words

        return words.describe(self)

    def diagram(self, metric: str | None = None, **cell: Any) -> Diagram:
        """Return a drawing of a cell's experiment, e.g. `diagram(layer=3, pos=5)`; without a cell, of the whole sweep.

        It shows the three runs, what is put where, and the numbers in one metric, by default the first; `.svg()`,
        `.mermaid()` and `.save(path)` export it. Raises PatchError for a cell that the result does not have.
        """
        from .diagram import diagram

        return diagram(self, metric, **cell)

    def code(self) -> str:
        """Return a TransformerLens script that measures the same table without patchwidgets' engine."""
        from . import script

        if self.is_difference:
            raise PatchError("a difference is not measured; print the code of each of its two results.")
        return script.code(self)

    def plot(
        self, annot: bool | None = None, fmt: str = ".2f", cmap: Any = None, ax: Axes | None = None, **options: Any
    ) -> Axes:
        """Draw a seaborn heatmap centred on 0 and return its Axes; see `patchwidgets.plots.heatmap`."""
        from .plots import heatmap

        return heatmap(self, annot=annot, fmt=fmt, cmap=cmap, ax=ax, **options)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained page: no network, hover and select work. Returns its path."""
        from .publish import write_page

        return write_page(self, Path(path))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result, whole or not at all, and return the path.

        A name that ends in .zarr gives a Zarr folder (the extra `patchwidgets[zarr]`), any other a netCDF file (HDF5).
        Raises FileError where a folder is missing, or something that is no saved result would be replaced by a folder.
        """
        from . import store

        target = Path(path)
        store.write(self.data, self.provenance, target)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PatchResult:
        """Read a saved result: netCDF, a Zarr folder or a zip of one. No model and no torch are needed.

        Raises FileError, naming the file, for anything that is damaged or was not written by `save`.
        """
        from . import store

        return cls(*store.read(Path(path)))

    def __repr__(self) -> str:
        counts = {name: int((self.data["status"] == name).sum()) for name in STATUSES}
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        shape = " x ".join(f"{axis} {self.data.sizes[axis]}" for axis in self.by)
        p = self.provenance
        how = "difference" if self.is_difference else p["direction"]
        return f"PatchResult({p['site']}, {how}, {'+'.join(self.metrics)}: {shape}; {told})"

    def _baseline(self, run: str) -> float | xr.DataArray:
        values = self.data[run]
        return float(values.item()) if values.size == 1 else values


def _plain(values: np.ndarray) -> np.ndarray:
    """Return values with texts as objects, as data frames have them."""
    return values.astype(object) if values.dtype.kind == "U" else values


def make_data(
    by: tuple[str, ...],
    sizes: dict[str, int],
    metrics: tuple[str, ...],
    patched: np.ndarray,
    status: np.ndarray,
    clean: list[float],
    corrupted: list[float],
    tokens: list[tuple[str, str]],
    labels: Mapping[str, Sequence[int] | Sequence[str]] | None = None,
    *,
    kept: np.ndarray | None = None,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
) -> xr.Dataset:
    """Return the labelled dataset of a sweep.

    `patched` is [metric, *by], `status` holds codes (indices into STATUSES) of shape [*by], `tokens` the clean and the
    corrupted text of every position of the prompt, `labels` the indices along an axis where a sweep covers only some.
    `kept` is a mask's mean weight, [cell]; `pairs` the values of every pair, [metric, pair, cell], and its two runs,
    [metric, pair, 2].
    """
    shape = tuple(sizes[axis] for axis in by)
    coords: dict[str, Any] = {"metric": list(metrics)}
    for axis in by:
        indices = list((labels or {}).get(axis, range(sizes[axis])))
        coords[axis] = np.asarray(indices, dtype=object if axis == "set" else np.int64)
    if "pos" in by and tokens:
        chosen = [tokens[pos] for pos in coords["pos"]]
        coords["token"] = ("pos", np.array([clean for clean, _ in chosen], dtype=object))
        coords["token_corrupted"] = ("pos", np.array([corrupted for _, corrupted in chosen], dtype=object))
    variables = {
        "patched": (("metric", *by), np.asarray(patched, dtype=np.float64).reshape(len(metrics), *shape)),
        "status": (by, np.array(STATUSES)[np.asarray(status)].reshape(shape)),
        "clean": ("metric", np.asarray(clean, dtype=np.float64)),
        "corrupted": ("metric", np.asarray(corrupted, dtype=np.float64)),
    }
    if kept is not None:
        variables["kept"] = (by, np.asarray(kept, dtype=np.float64).reshape(shape))
    if pairs is not None:
        each, plain = (np.asarray(values, dtype=np.float64) for values in pairs)
        variables["patched_pairs"] = (("metric", "pair", *by), each.reshape(*each.shape[:2], *shape))
        variables["clean_pairs"], variables["corrupted_pairs"] = (
            (("metric", "pair"), plain[:, :, run]) for run in range(2)
        )
        coords["pair"] = np.arange(each.shape[1])
    return xr.Dataset(variables, coords=coords)


def check_result(result: object) -> PatchResult:
    """Return `result` when it is a PatchResult; anything else is a PatchError."""
    if isinstance(result, PatchResult):
        return result
    raise PatchError(f"expected a PatchResult, got {quoted(result)}; pw.patch(...).wait() returns one.")
