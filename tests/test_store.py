"""A saved result comes back as it was, from netCDF and from Zarr; anything else is refused by name and in words."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

from patchwidgets import store
from patchwidgets.errors import FileError, PatchError
from patchwidgets.result import PatchResult, make_data

KINDS = ["nc", "zarr"]
ODD = ["</script>", "日本", "a\nb", "", " ", "\\", '"', "\u202e", "\x00", "a\x00", "\U0001f9e9", "x" * 70_000]


def of_pairs() -> PatchResult:
    """A mask over two layers and every odd token, two metrics, three pairs, all five statuses."""
    size = len(ODD)
    rng = np.random.default_rng(0)
    status = np.arange(2 * size) % 5
    patched = np.where(status > 2, np.nan, rng.normal(size=(2, 2 * size)))
    patched[0, 0], patched[1, 1] = -0.0, 5e-324
    pairs = rng.normal(size=(2, 3, 2 * size)), rng.normal(size=(2, 3, 2))
    tokens = list(zip(ODD, reversed(ODD), strict=True))
    names = ("logit_diff", "<lambda>")
    data = make_data(
        ("layer", "pos"), {"layer": 2, "pos": size}, names, patched, status, [1.0, 2.0], [0.0, np.nan], tokens,
        {"layer": [3, 5]}, kept=rng.random(2 * size), pairs=pairs,
    )  # fmt: skip
    origin = {
        "site": "resid_pre",
        "direction": "noise",
        "metrics": list(names),
        "by": ["layer", "pos"],
        "texts": {"clean": ODD, "corrupted": ODD[::-1]},
        "pairs": [{"clean": [1, [2, [3]]], "alignment": None}] * 3,
        "check": {"worst_logit_difference": float("inf"), "controls": 3},
        "within": {"head": [0, 1], "half a letter": "\ud800"},
    }
    return PatchResult(data, origin)


def of_sets() -> PatchResult:
    """One number per named set; the names hold what HDF5's strings cannot."""
    labels = {"set": ODD}
    values = np.linspace(-1, 1, len(ODD))[None]
    data = make_data(("set",), {"set": len(ODD)}, ("prob",), values, np.zeros(len(ODD), int), [1.0], [0.0], [], labels)
    return PatchResult(data, {"site": "joint", "direction": "denoise", "metrics": ["prob"], "by": ["set"]})


MADE: dict[str, Callable[[], PatchResult]] = {"pairs": of_pairs, "sets": of_sets}


def same(one: PatchResult, other: PatchResult) -> bool:
    types = [{name: variable.dtype.kind for name, variable in each.data.variables.items()} for each in (one, other)]
    bits = all(
        one.data[name].values.tobytes() == other.data[name].values.tobytes()
        for name, kind in types[0].items()
        if kind not in "O"
    )
    return one.data.identical(other.data) and types[0] == types[1] and bits and one.provenance == other.provenance


@pytest.fixture(params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A saved result of many parts, as a netCDF file or a Zarr folder."""
    return of_pairs().save(tmp_path / f"one.{request.param}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("made", MADE)
def test_everything_comes_back_to_the_bit(tmp_path: Path, kind: str, made: str) -> None:
    original = MADE[made]()
    path = original.save(str(tmp_path / f"one.{kind}"))
    assert path.is_dir() == (kind == "zarr")
    assert same(PatchResult.load(path), original)
    assert same(original, MADE[made]())
    again = PatchResult.load(PatchResult.load(path).save(tmp_path / f"two.{'nc' if kind == 'zarr' else 'zarr'}"))
    assert same(again, original)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_zip_of_a_zarr_is_read(tmp_path: Path) -> None:
    original = of_pairs()
    folder = original.save(tmp_path / "one.zarr")
    archive = shutil.make_archive(str(tmp_path / "one.zarr"), "zip", folder)
    assert same(PatchResult.load(archive), original)


def test_no_file_holds_a_pickle_or_anything_to_run(saved: Path) -> None:
    files = [saved] if saved.is_file() else [path for path in saved.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes().lower()
        assert b"pickle" not in content
        assert b"numpy" not in content
    if saved.is_file():
        with h5py.File(saved) as file:
            kinds = {name: file[name].dtype.kind for name in file}
        assert set(kinds.values()) <= set("fiu"), kinds
    else:
        members = [json.loads(path.read_text()) for path in saved.glob("*/zarr.json")]
        assert {codec["name"] for member in members for codec in member["codecs"]} <= {"bytes", "zstd"}
        assert {member["data_type"] for member in members} <= {"float64", "int64", "uint8"}


def test_a_file_explains_itself_to_other_programs(saved: Path) -> None:
    how: dict[str, Any] = {"engine": "h5netcdf"} if saved.is_file() else {"engine": "zarr", "consolidated": False}
    with xr.open_dataset(saved, **how) as data:
        assert data["status"].attrs["flag_meanings"].split() == [
            "measured", "implied", "estimated", "pending", "unavailable",
        ]  # fmt: skip
        assert data["patched"].dims == ("metric", "layer", "pos")
        assert data["layer"].values.tolist() == [3, 5]
        assert json.loads(data.attrs["texts"])["metric"]["values"] == ["logit_diff", "<lambda>"]


def test_loading_needs_no_torch(saved: Path, tmp_path: Path) -> None:
    script = (
        "import sys, patchwidgets as pw\n"
        f"pw.PatchResult.load({str(saved)!r}).to_dataframe()\n"
        "print(sorted({'torch', 'transformers', 'transformer_lens', 'anywidget'} & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)},
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


def test_netcdf_alone_needs_no_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = of_sets().save(tmp_path / "one.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(PatchError, match=r"saving to a Zarr folder needs the package zarr.*pip install 'patch"):
        of_sets().save(tmp_path / "two.zarr")
    with pytest.raises(PatchError, match="reading a Zarr needs the package zarr"):
        PatchResult.load(path)
    assert same(PatchResult.load(of_sets().save(tmp_path / "two.nc")), of_sets())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one.zarr", "two.nc"]


def test_a_cut_file_is_damaged_wherever_it_is_cut(tmp_path: Path) -> None:
    path = of_sets().save(tmp_path / "one.nc")
    content = path.read_bytes()
    cuts = sorted({*range(1, 200, 13), *range(200, len(content), len(content) // 60), len(content) - 1})
    for cut in cuts:
        path.write_bytes(content[:cut])
        with pytest.raises(FileError, match=r"^'one\.nc' is (damaged|not a saved result).*save\(path\)"):
            PatchResult.load(path)


def test_a_zarr_folder_that_lacks_a_part_or_has_a_cut_one_is_damaged(tmp_path: Path) -> None:
    whole = of_pairs().save(tmp_path / "whole.zarr")
    parts = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    assert len(parts) > 15
    for part in parts:
        for size in (None, 0, (whole / part).stat().st_size // 2):
            path = tmp_path / "cut.zarr"
            shutil.copytree(whole, path)
            if size is None:
                (path / part).unlink()
            else:
                (path / part).write_bytes((whole / part).read_bytes()[:size])
            with pytest.raises(FileError, match=r"'cut\.zarr' is |no file '.*cut\.zarr'"):
                PatchResult.load(path)
            shutil.rmtree(path)


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    path = of_pairs().save(tmp_path / "one.nc")
    with h5py.File(path, "r+") as file:
        file["patched"][0, 0, 1] += 1e-9
    with pytest.raises(FileError, match=r"'one\.nc' is damaged or was edited: its numbers do not give its checksum"):
        PatchResult.load(path)


def edited(path: Path, change: Callable[[xr.Dataset], xr.Dataset]) -> Path:
    """Write the file again with another content, its checksum right."""
    with xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as opened:
        data = change(opened.load())
    for variable in data.variables.values():
        variable.encoding = {"_FillValue": None}
    path.unlink()
    data.to_netcdf(path, engine="h5netcdf")
    return path


def origin(**changes: Any) -> Callable[[xr.Dataset], xr.Dataset]:
    provenance = {**of_pairs().provenance, **changes}
    kept = {key: value for key, value in provenance.items() if value is not ...}
    return lambda data: data.assign_attrs(provenance=json.dumps(kept))


def texts(change: Callable[[dict[str, Any]], object]) -> Callable[[xr.Dataset], xr.Dataset]:
    def edit(data: xr.Dataset) -> xr.Dataset:
        found = json.loads(data.attrs["texts"])
        change(found)
        return data.assign_attrs(texts=json.dumps(found))

    return edit


DAMAGES: dict[str, tuple[Callable[[xr.Dataset], xr.Dataset], str]] = {
    "a later format": (
        lambda data: data.assign_attrs(format="patchwidgets result 2"),
        "is in the format 'patchwidgets result 2', and this version of patchwidgets reads 'patchwidgets result 1'; ",
    ),
    "no format": (lambda data: data.assign_attrs(format="x"), "is not a result saved by patchwidgets"),
    "a number as its format": (lambda data: data.assign_attrs(format=2), "is not a result saved by patchwidgets"),
    "an origin that is no JSON": (
        lambda data: data.assign_attrs(provenance="{'site': __import__('os')}"),
        "is damaged: its origin cannot be read",
    ),
    "an origin that is a list": (lambda data: data.assign_attrs(provenance="[]"), "its provenance is no table"),
    "an origin that is a number": (lambda data: data.assign_attrs(provenance=5), "its origin cannot be read"),
    "no direction": (origin(direction=...), "its provenance gives None for 'direction'"),
    "another direction": (origin(direction="sideways"), "its direction is 'sideways'"),
    "no axes": (origin(by="layer"), "its provenance gives 'layer' for 'by'"),
    "other axes": (origin(by=["layer", "head"]), "'patched' has the axes metric, layer, pos, not metric, layer, head"),
    "axes in another order": (
        lambda data: data.assign(status=data["status"].transpose()), "'status' has the axes pos, layer, not layer, pos"
    ),
    "other metrics": (origin(metrics=["prob", "logit"]), "its metrics are not those of its provenance"),
    "no values": (lambda data: data.drop_vars("patched"), "'patched' is missing, not metric, layer, pos"),
    "no baseline": (lambda data: data.drop_vars("clean"), "'clean' is missing"),
    "no layers": (lambda data: data.drop_vars("layer"), "'layer' is missing"),
    "pairs without their runs": (lambda data: data.drop_vars("clean_pairs"), "'clean_pairs' is missing"),
    "pairs without numbers": (lambda data: data.drop_vars("pair"), "is damaged or was edited"),
    "a mask of another shape": (lambda data: data.assign(kept=data["kept"][0]), "'kept' has the axes pos, not layer,"),
    "a status that is not": (lambda data: data.assign(status=data["status"] + 9), "a status that does not exist"),
    "statuses in words": (
        lambda data: data.assign(status=data["status"].astype(str).astype(object)), "a status that does not exist"
    ),
    "too few tokens": (texts(lambda found: found["token"]["values"].pop()), "is damaged: "),
    "no metric names": (texts(lambda found: found.pop("metric")), "'metric' is missing"),
    "texts of another kind": (texts(lambda found: found.update(token=5)), "is damaged: "),
    "another text": (texts(lambda found: found["token"]["values"].__setitem__(0, "x")), "do not give its checksum"),
    "no texts": (lambda data: data.assign_attrs(texts="null"), "is damaged: "),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_said(tmp_path: Path, damage: str) -> None:
    change, words = DAMAGES[damage]
    path = edited(of_pairs().save(tmp_path / "one.nc"), change)
    with pytest.raises(FileError, match=r"^'one\.nc' ") as told:
        PatchResult.load(path)
    assert words in str(told.value)
    assert str(told.value).endswith(("result.save(path).", "result.save(path) wrote.", "or a later one."))


def test_an_edit_that_changes_nothing_is_read(tmp_path: Path) -> None:
    path = edited(of_pairs().save(tmp_path / "one.nc"), lambda data: data)
    assert same(PatchResult.load(path), of_pairs())


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("layer,pos\n0,1\n", encoding="utf-8")
    (tmp_path / "csv.zarr").write_text("layer,pos\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "pickled").write_bytes(pickle.dumps({"patched": 1}))
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a"] = np.arange(3)
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "other.zarr", zarr_format=3, consolidated=False)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    for name, words in {
        "empty": "'empty' is empty",
        "text": "'text' is not a saved result: neither netCDF",
        "csv.zarr": "'csv.zarr' is not a saved result",
        "folder": "there is no file '.*folder': it is a folder that holds no Zarr",
        "pickled": "'pickled' is not a saved result",
        "plain.h5": "'plain.h5' is not a result saved by patchwidgets",
        "other.nc": "'other.nc' is not a result saved by patchwidgets",
        "other.zarr": "'other.zarr' is not a result saved by patchwidgets",
        "other.zip": "'other.zip' is damaged or is not a saved result",
        "missing.nc": "there is no file '.*missing.nc'",
    }.items():
        with pytest.raises(FileError, match=words):
            PatchResult.load(tmp_path / name)


class Runs:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    import numcodecs

    trap = tmp_path / "sprung"
    path = of_sets().save(tmp_path / "one.zarr")
    old = zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    old.attrs.update(json.loads((path / "zarr.json").read_text())["attributes"])
    (tmp_path / "old.zarr" / "patched").mkdir()
    about = {
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None, "order": "C",
        "compressor": None, "filters": [numcodecs.Pickle().get_config()],
    }  # fmt: skip
    (tmp_path / "old.zarr" / "patched" / ".zarray").write_text(json.dumps(about))
    stream = io.BytesIO()
    pickle.dump(np.array([Runs(trap)], dtype=object), stream)
    (tmp_path / "old.zarr" / "patched" / "0").write_bytes(stream.getvalue())
    with pytest.raises(FileError, match="it is a folder that holds no Zarr of format 3"):
        PatchResult.load(tmp_path / "old.zarr")
    member = path / "patched" / "zarr.json"
    about = json.loads(member.read_text())
    for change, words in (
        ({"codecs": [{"name": "pickle"}]}, "it has the codec 'pickle', which is not read"),
        ({"data_type": "variable_length_bytes"}, "it has data of type 'variable_length_bytes'"),
        ({"node_type": "group"}, "it has a 'group' inside"),
        ({"storage_transformers": [{"name": "x"}]}, "it has a storage transformer"),
    ):
        member.write_text(json.dumps({**about, **change}))
        with pytest.raises(FileError, match=f"'one.zarr' is not a result saved by patchwidgets: {words}"):
            PatchResult.load(path)
    assert not trap.exists()


def test_a_write_that_fails_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: xr.Dataset, target: Path, **options: object) -> None:
        if saved.is_dir():
            Path(target).mkdir()
            target = Path(target) / "half"
        Path(target).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    for method in ("to_netcdf", "to_zarr"):
        monkeypatch.setattr(xr.Dataset, method, full)
    with pytest.raises(OSError, match="No space left"):
        of_sets().save(saved)
    assert same(PatchResult.load(saved), of_pairs())
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_again_replaces(saved: Path) -> None:
    of_sets().save(saved)
    assert same(PatchResult.load(saved), of_sets())
    assert list(saved.parent.iterdir()) == [saved]


def test_what_is_no_saved_result_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.tex").write_text("years of work", encoding="utf-8")
    (tmp_path / "file.zarr").write_text("a file", encoding="utf-8")
    for name in ("mine.zarr", "file.zarr"):
        with pytest.raises(FileError, match=f"'{name}' is there and is not a Zarr folder; give another name"):
            of_sets().save(tmp_path / name)
    (tmp_path / "mine.zarr").rename(tmp_path / "mine")
    with pytest.raises(FileError, match="mine' is a folder; give the name of a file"):
        of_sets().save(tmp_path / "mine")
    with pytest.raises(FileError, match=r"there is no folder '.*nowhere'; make it first"):
        of_sets().save(tmp_path / "nowhere" / "one.zarr")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_a_provenance_that_is_no_plain_data_is_refused(tmp_path: Path) -> None:
    result = of_sets()
    broken = PatchResult(result.data, {**copy.deepcopy(result.provenance), "settings": {"vector": np.zeros(2)}})
    with pytest.raises(PatchError, match=r"the provenance cannot be saved: .*ndarray.*Keep to texts"):
        broken.save(tmp_path / "one.nc")
    assert not list(tmp_path.iterdir())


def test_the_format_is_named_in_the_file(saved: Path) -> None:
    if saved.is_file():
        with h5py.File(saved) as file:
            assert file.attrs["format"] == store.FORMAT
    else:
        assert json.loads((saved / "zarr.json").read_text())["attributes"]["format"] == store.FORMAT
