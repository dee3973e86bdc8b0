"""What a sweep found: an xarray.Dataset with labelled axes, the baselines, and where every number comes from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .errors import FileError, PatchError, quoted
from .files import written_whole
from .interventions import Patch
from .metrics import gap_too_small

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

STATUSES = ("measured", "implied", "estimated", "pending", "unavailable")
"""The statuses of a cell in the order of their codes."""
MEASURED, IMPLIED, ESTIMATED, PENDING, UNAVAILABLE = range(5)
_TEXTS = ["token", "token_corrupted"]
FORMAT = "patchwidgets result 1"


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

    def __init__(self, data: xr.Dataset, provenance: dict[str, Any]) -> None:
        self.data = data
        self.provenance = provenance

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' names."""
        return tuple(str(name) for name in self.data["metric"].values)

    @property
    def by(self) -> tuple[str, ...]:
        """The axes of a cell."""
        return tuple(str(name) for name in self.data["status"].dims)

    @property
    def intervention(self) -> Patch:
        """What was written into the base run."""
        return Patch(self.provenance["direction"])

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
        return PatchResult(self.data.sel(metric=[metric]), {**self.provenance, "metrics": [metric]})

    @property
    def effect(self) -> xr.DataArray:
        """`patched - base`, in the metric's unit."""
        return (self.data["patched"] - self.data[self.intervention.base]).rename("effect")

    @property
    def normalized(self) -> xr.DataArray:
        """`(patched - base) / (source - base)`: 0 nothing moved, 1 all the way; NaN where the gap is too small."""
        base, source = self.data[self.intervention.base], self.data[self.intervention.source]
        small = [gap_too_small(float(b), float(s)) for b, s in zip(base.values, source.values, strict=True)]
        gap = (source - base).where(~xr.DataArray(small, dims="metric"))
        return (self.effect / gap + 0.0).rename("normalized")  # + 0.0 turns -0.0 into 0.0

    @property
    def engine(self) -> str:
        """Which engine computed the cells."""
        return self.provenance["engine"]

    @property
    def check(self) -> dict[str, Any]:
        """How the numbers were checked while they were made."""
        return self.provenance["check"]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per cell and metric, row-major in `by`.

        Columns: the axes, `token` and `token_corrupted` where there is a position, `metric`, `patched`, `effect`,
        `normalized`, `status`.
        """
        table = xr.Dataset({"patched": self.data["patched"], "effect": self.effect, "normalized": self.normalized})
        table["status"] = self.data["status"]
        frame = table.to_dataframe(dim_order=[*self.by, "metric"]).reset_index()
        texts = [name for name in ("token", "token_corrupted") if name in frame]
        return frame.loc[:, [*self.by, *texts, "metric", "patched", "effect", "normalized", "status"]]

    def describe(self) -> str:
        """Return in plain words what a cell means, and what high, near-zero and negative cells mean."""
        from . import words

        return words.describe(self)

    def code(self) -> str:
        """Return a TransformerLens script that measures the same table without patchwidgets' engine."""
        from . import words

        return words.code(self)

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
        """Write the result as netCDF (HDF5), whole or not at all, and return the path."""
        target = Path(path)
        data = self.data.assign_attrs(format=FORMAT, provenance=json.dumps(self.provenance))
        data = data.assign(status=data["status"].astype(object)).drop_vars(_TEXTS, errors="ignore")
        with written_whole(target) as partial:
            data.to_netcdf(partial, engine="h5netcdf")
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PatchResult:
        """Read a saved result; no model and no torch are needed. Raises FileError for anything else."""
        source = Path(path)
        if not source.is_file():
            raise FileError(f"there is no file {str(source)!r}.")
        try:
            with xr.open_dataset(source, engine="h5netcdf") as opened:
                data = opened.load()
            form, provenance = data.attrs.pop("format", None), json.loads(data.attrs.pop("provenance", "null"))
        except Exception as error:
            raise FileError(f"{source.name!r} is damaged or is not a saved result: {error}") from error
        if form != FORMAT or not isinstance(provenance, dict) or not {"patched", "status"} <= set(data):
            raise FileError(f"{source.name!r} is not a result saved by patchwidgets (expected format {FORMAT!r}).")
        return cls(_with_texts(data.assign(status=data["status"].astype(str)), provenance), provenance)

    def __repr__(self) -> str:
        counts = {name: int((self.data["status"] == name).sum()) for name in STATUSES}
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        shape = " x ".join(f"{axis} {self.data.sizes[axis]}" for axis in self.by)
        p = self.provenance
        return f"PatchResult({p['site']}, {p['direction']}, {'+'.join(self.metrics)}: {shape}; {told})"

    def _baseline(self, run: str) -> float | xr.DataArray:
        values = self.data[run]
        return float(values.item()) if values.size == 1 else values


def _with_texts(data: xr.Dataset, provenance: dict[str, Any]) -> xr.Dataset:
    """Label positions by their tokens. They are kept in the provenance: HDF5 strings cannot hold every character."""
    if "pos" not in data.dims:
        return data
    texts = ([provenance["texts"][run][p] for p in data["pos"].values] for run in ("clean", "corrupted"))
    return data.assign_coords({name: ("pos", np.array(t, dtype=object)) for name, t in zip(_TEXTS, texts, strict=True)})


def make_data(
    by: tuple[str, ...],
    sizes: dict[str, int],
    metrics: tuple[str, ...],
    patched: np.ndarray,
    status: np.ndarray,
    clean: list[float],
    corrupted: list[float],
    tokens: list[tuple[str, str]],
    labels: dict[str, list[int]] | None = None,
) -> xr.Dataset:
    """Return the labelled dataset of a sweep.

    `patched` is [metric, *by], `status` holds codes (indices into STATUSES) of shape [*by], `tokens` the clean and the
    corrupted text of every position of the prompt, `labels` the indices along an axis where a sweep covers only some.
    """
    shape = tuple(sizes[axis] for axis in by)
    coords: dict[str, Any] = {"metric": list(metrics)}
    for axis in by:
        coords[axis] = np.asarray((labels or {}).get(axis, range(sizes[axis])), dtype=np.int64)
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
    return xr.Dataset(variables, coords=coords)


def check_result(result: object) -> PatchResult:
    """Return `result` when it is a PatchResult; anything else is a PatchError."""
    if isinstance(result, PatchResult):
        return result
    raise PatchError(f"expected a PatchResult, got {quoted(result)}; pw.patch(...).wait() returns one.")
