"""Saved results, netCDF or Zarr: numbers as arrays, texts and origin as JSON, and a checksum over all of it."""

from __future__ import annotations

import hashlib
import importlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .errors import FileError, PatchError, quoted
from .files import folder_written_whole, written_whole
from .interventions import DIRECTIONS
from .result import STATUSES

FORMAT = "patchwidgets result 1"
_FAMILY = FORMAT.rpartition(" ")[0]
_ATTRIBUTES = ("format", "provenance", "texts", "sha256")
_AS_STORED: dict[str, Any] = {"mask_and_scale": False, "decode_times": False}
# What a Zarr may hold. Others, old ones among them, can name codecs that unpickle, that is, run what they read.
_CODECS = {"bytes", "zstd"}
_DTYPES = {"bool", "float32", "float64", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))}


def write(data: xr.Dataset, provenance: Mapping[str, Any], target: Path) -> None:
    """Write a result whole or not at all: as Zarr (format 3) when the name ends in .zarr, else as netCDF (HDF5)."""
    stored = _encoded(data, provenance)
    if target.suffix != ".zarr":
        with written_whole(target) as partial:
            stored.to_netcdf(partial, engine="h5netcdf")
        return
    _need_zarr("saving to a Zarr folder")
    if target.exists() and not (target / "zarr.json").is_file():
        raise FileError(f"{target.name!r} is there and is not a Zarr folder; give another name, or move it away.")
    with folder_written_whole(target) as partial:
        stored.to_zarr(partial, mode="w-", zarr_format=3, consolidated=False)


def read(path: Path) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return a saved result's data and provenance; FileError for anything else. No model and no torch are needed."""
    name = path.name
    zarr = path.is_dir() or _starts_with(path, b"PK\x03\x04")
    attributes = _zarr_attributes(path) if zarr else _netcdf_attributes(path)
    _check_format(name, attributes.get("format"))
    try:
        texts, provenance = (json.loads(attributes[key]) for key in ("texts", "provenance"))
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{name!r} is damaged: its origin cannot be read ({error}). {_AGAIN}") from error
    _check_provenance(name, provenance)
    try:
        stored = _open_zarr(path) if zarr else _open_netcdf(path)
        data = _decoded(stored, texts)
        intact = stored.attrs.get("sha256") == _digest(stored)
    except PatchError:
        raise
    except Exception as error:
        raise FileError(f"{name!r} is damaged: {_one_line(error)}. {_AGAIN}") from error
    _check_axes(name, data, provenance)
    if not intact:
        raise FileError(f"{name!r} is damaged or was edited: its numbers do not give its checksum. {_AGAIN}")
    return data, provenance


_AGAIN = "Take another copy of it, or save the result again with result.save(path)."
_OURS = "Give a file that result.save(path) wrote."


def _encoded(data: xr.Dataset, provenance: Mapping[str, Any]) -> xr.Dataset:
    """Return what is written: statuses as codes, texts as JSON. HDF5 strings cannot hold every character."""
    words = {
        str(name): {"dims": list(variable.dims), "values": variable.values.tolist()}
        for name, variable in data.variables.items()
        if variable.dtype.kind in "OUT" and name != "status"
    }
    codes = {word: code for code, word in enumerate(STATUSES)}
    status = data["status"]
    numbers = np.array([codes[word] for word in status.values.ravel().tolist()], dtype=np.uint8).reshape(status.shape)
    meanings = {"flag_values": np.arange(len(STATUSES), dtype=np.uint8), "flag_meanings": " ".join(STATUSES)}
    stored = data.drop_vars(list(words)).drop_encoding().assign(status=(status.dims, numbers, meanings))
    for variable in stored.variables.values():
        variable.encoding["_FillValue"] = None  # NaN is a value here, not a mark of something that is missing.
    try:
        origin = json.dumps(provenance)
    except (TypeError, ValueError) as error:
        raise PatchError(
            f"the provenance cannot be saved: {error}. Keep to texts, numbers, lists and dicts."
        ) from error
    stored.attrs = {"format": FORMAT, "provenance": origin, "texts": json.dumps(words)}
    stored.attrs["sha256"] = _digest(stored)
    return stored


def _decoded(stored: xr.Dataset, texts: Mapping[str, Any]) -> xr.Dataset:
    codes = stored["status"].values
    if codes.dtype.kind != "u" or (codes.size and codes.max() >= len(STATUSES)):
        raise ValueError("it holds a status that does not exist")
    data = stored.assign(status=(stored["status"].dims, np.array(STATUSES)[codes]))
    data.attrs = {}
    for variable in data.variables.values():
        variable.encoding = {}
    labels = {name: (entry["dims"], _words(name, entry["values"])) for name, entry in texts.items()}
    return data.assign_coords(labels)


def _words(name: str, values: list[Any]) -> np.ndarray:
    return np.array(values) if name == "metric" else np.array(values, dtype=object)


def _digest(stored: xr.Dataset) -> str:
    """Return a checksum of every number and every text, the same whichever format they are in."""
    found = hashlib.sha256()
    for key in _ATTRIBUTES[:-1]:
        found.update(json.dumps([key, str(stored.attrs[key])]).encode())
    for name in sorted(map(str, stored.variables)):
        variable = stored.variables[name]
        values = np.ascontiguousarray(variable.values.astype(variable.dtype.newbyteorder("<"), copy=False))
        found.update(json.dumps([name, list(variable.dims), values.dtype.str, list(values.shape)]).encode())
        found.update(values.tobytes())
    return found.hexdigest()


def _starts_with(path: Path, mark: bytes) -> bool:
    if not path.exists():
        raise FileError(f"there is no file {str(path)!r}.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise FileError(f"{path.name!r} cannot be read: {_one_line(error)}.") from error
    if not start:
        raise FileError(f"{path.name!r} is empty. {_AGAIN}")
    return start.startswith(mark)


def _netcdf_attributes(path: Path) -> dict[str, Any]:
    import h5py

    if not _starts_with(path, b"\x89HDF\r\n\x1a\n"):
        raise FileError(f"{path.name!r} is not a saved result: neither netCDF (HDF5) nor Zarr. {_OURS}")
    try:
        with h5py.File(path, "r") as file:
            return {key: file.attrs[key] for key in _ATTRIBUTES if key in file.attrs}
    except Exception as error:
        raise FileError(f"{path.name!r} is damaged: {_one_line(error)}. {_AGAIN}") from error


def _open_netcdf(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf", **_AS_STORED) as opened:
        return opened.load()


def _zarr_attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a Zarr folder or zip, after a look at everything it asks its reader to do."""
    name = path.name
    if path.is_dir() and not (path / "zarr.json").is_file():
        raise FileError(f"there is no file {str(path)!r}: it is a folder that holds no Zarr of format 3. {_OURS}")
    try:
        with nullcontext() if path.is_dir() else zipfile.ZipFile(path) as archive:
            root = zipfile.Path(archive) if archive else path
            about = json.loads((root / "zarr.json").read_text(encoding="utf-8"))
            members = list(_members(root))
        attributes = about["attributes"] if about["node_type"] == "group" else None
        wrong = next((problem for member in members for problem in _foreign(member)), None)
    except Exception as error:
        raise FileError(f"{name!r} is damaged or is not a saved result: {_one_line(error)}. {_AGAIN}") from error
    if not isinstance(attributes, dict):
        raise FileError(f"{name!r} is not a result saved by patchwidgets: it is not a Zarr group. {_OURS}")
    _check_format(name, attributes.get("format"))
    if wrong:
        raise FileError(f"{name!r} is not a result saved by patchwidgets: it has {wrong}, which is not read. {_OURS}")
    return attributes


def _members(root: Path | zipfile.Path) -> Iterator[dict[str, Any]]:
    for member in root.iterdir():
        if member.is_dir():
            yield json.loads((member / "zarr.json").read_text(encoding="utf-8"))


def _foreign(member: Mapping[str, Any]) -> Iterator[str]:
    if member["node_type"] != "array":
        yield f"a {quoted(member['node_type'])} inside"
        return
    if member["data_type"] not in _DTYPES:
        yield f"data of type {quoted(member['data_type'])}"
    yield from (f"the codec {quoted(codec['name'])}" for codec in member["codecs"] if codec["name"] not in _CODECS)
    if member.get("storage_transformers"):
        yield "a storage transformer"


def _open_zarr(path: Path) -> xr.Dataset:
    _need_zarr("reading a Zarr")
    from zarr.storage import LocalStore, ZipStore

    store = LocalStore(path, read_only=True) if path.is_dir() else ZipStore(path, mode="r")
    try:
        with xr.open_dataset(store, engine="zarr", zarr_format=3, consolidated=False, **_AS_STORED) as opened:  # type: ignore[arg-type]
            return opened.load()
    finally:
        store.close()


def _need_zarr(doing: str) -> None:
    try:
        importlib.import_module("zarr")
    except ImportError as error:
        raise PatchError(
            f"{doing} needs the package zarr, which is not installed; pip install 'patchwidgets[zarr]', "
            "or use a file whose name ends in .nc."
        ) from error


def _check_format(name: str, found: object) -> None:
    if found == FORMAT:
        return
    if isinstance(found, str) and found.rpartition(" ")[0] == _FAMILY:
        raise FileError(
            f"{name!r} is in the format {quoted(found)}, and this version of patchwidgets reads {FORMAT!r}; "
            "install the version that wrote it, or a later one."
        )
    raise FileError(f"{name!r} is not a result saved by patchwidgets (expected format {FORMAT!r}). {_OURS}")


def _check_provenance(name: str, found: object) -> None:
    sides = found.get("difference", []) if isinstance(found, dict) else []
    texts = ("site",) if sides else ("site", "direction")
    lists = ("metrics", "by")
    if not isinstance(found, dict):
        raise FileError(f"{name!r} is damaged: its provenance is no table of settings. {_AGAIN}")
    for key in (*texts, *lists):
        value = found.get(key)
        fine = isinstance(value, str) if key in texts else isinstance(value, list) and all(map(_is_text, value))
        if not fine:
            raise FileError(f"{name!r} is damaged: its provenance gives {quoted(value)} for {key!r}. {_AGAIN}")
    if found.get("direction", DIRECTIONS[0]) not in DIRECTIONS:
        raise FileError(f"{name!r} is damaged: its direction is {quoted(found['direction'])}. {_AGAIN}")
    if "difference" in found:
        _check_sides(name, sides)


def _check_sides(name: str, sides: object) -> None:
    """Check the two provenances of a difference."""
    if (
        not isinstance(sides, list)
        or len(sides) != 2
        or any(not isinstance(p, dict) or "difference" in p for p in sides)
    ):
        raise FileError(f"{name!r} is damaged: a difference holds the settings of two results. {_AGAIN}")
    for side in sides:
        _check_provenance(name, side)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _check_axes(name: str, data: xr.Dataset, provenance: Mapping[str, Any]) -> None:
    by = tuple(provenance["by"])
    needed = {"patched": ("metric", *by), "status": by, "clean": ("metric",), "corrupted": ("metric",)}
    needed |= {axis: (axis,) for axis in ("metric", *by)}
    if "patched_pairs" in data:
        needed |= {"patched_pairs": ("metric", "pair", *by)}
        needed |= {f"{run}_pairs": ("metric", "pair") for run in ("clean", "corrupted")}
    if "kept" in data:
        needed["kept"] = by
    if "difference" in provenance:
        needed |= {"effect": ("metric", *by), "normalized": ("metric", *by)}
    for variable, axes in needed.items():
        found = data[variable].dims if variable in data.variables else None
        if found != axes:
            told = "is missing" if found is None else f"has the axes {', '.join(map(str, found))}"
            raise FileError(f"{name!r} is damaged: {variable!r} {told}, not {', '.join(axes)}. {_AGAIN}")
    if data["metric"].values.tolist() != provenance["metrics"]:
        raise FileError(f"{name!r} is damaged: its metrics are not those of its provenance. {_AGAIN}")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text[:200] or type(error).__name__).rstrip(".")
