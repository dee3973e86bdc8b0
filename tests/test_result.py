"""A result holds its numbers, its origin and its meaning, and survives a file unchanged."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.errors import FileError, PatchError
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult, check_result, make_data
from tests import models

METRICS = ["logit_diff", "prob"]


@pytest.fixture(scope="module")
def gpt2() -> TransformerBridge:
    return models.bridge("gpt2")


@pytest.fixture(scope="module")
def result(gpt2: TransformerBridge) -> PatchResult:
    return patch(gpt2, models.PAIR, "z", by=("layer", "pos", "head"), metric=METRICS, layers=[0, 2]).wait()


@pytest.fixture(scope="module")
def single(gpt2: TransformerBridge) -> PatchResult:
    return patch(gpt2, models.PAIR, "mlp_out", direction="noise").wait()


def test_a_row_per_cell_and_metric_row_major(result: PatchResult) -> None:
    frame = result.to_dataframe()
    expected = [
        "layer",
        "pos",
        "head",
        "token",
        "token_corrupted",
        "metric",
        "patched",
        "effect",
        "normalized",
        "status",
    ]
    assert list(frame.columns) == expected
    assert len(frame) == 2 * 7 * 4 * 2
    keys = list(frame[["layer", "pos", "head", "metric"]].itertuples(index=False, name=None))
    assert keys == [(la, p, h, m) for la in (0, 2) for p in range(7) for h in range(4) for m in METRICS]
    assert list(frame.index) == list(range(len(frame)))
    for _, row in frame.iterrows():
        where = {axis: row[axis] for axis in ("metric", "layer", "pos", "head")}
        assert row["patched"] == float(result.data["patched"].sel(where))
        assert row["effect"] == float(result.effect.sel(where))
        assert row["normalized"] == float(result.normalized.sel(where))
        assert row["status"] == ("implied" if row["pos"] < 3 else "measured")
    at_three = frame[frame["pos"] == 3]
    assert set(at_three["token"]) == {"w3"}
    assert set(at_three["token_corrupted"]) == {"w9"}


def test_without_positions_there_are_no_tokens(gpt2: TransformerBridge) -> None:
    frame = patch(gpt2, models.PAIR, "z").wait().to_dataframe()
    assert list(frame.columns) == ["layer", "head", "metric", "patched", "effect", "normalized", "status"]
    assert list(frame["layer"].head(5)) == [0, 0, 0, 0, 1]
    assert pd.api.types.is_integer_dtype(frame["head"])


def test_baselines_are_floats_for_one_metric_and_labelled_for_several(result: PatchResult, single: PatchResult) -> None:
    assert isinstance(single.clean, float)
    assert isinstance(single.corrupted, float)
    assert isinstance(result.clean, xr.DataArray)
    assert isinstance(result.corrupted, xr.DataArray)
    assert list(result.clean["metric"].values) == METRICS
    assert float(result.clean.sel(metric="logit_diff")) == pytest.approx(single.clean, abs=1e-12)


def test_what_is_exactly_zero_has_no_sign(result: PatchResult) -> None:
    implied = result.normalized.values[:, result.data["status"].values == "implied"]
    assert not np.signbit(implied).any()


def test_provenance_tells_the_whole_origin(result: PatchResult, gpt2: TransformerBridge) -> None:
    p = result.provenance
    assert json.loads(json.dumps(p)) == p
    assert (p["site"], p["by"], p["direction"], p["metrics"]) == ("z", ["layer", "pos", "head"], "denoise", METRICS)
    assert (p["dtype"], p["device"], p["weights"], p["engine"], p["n"]) == ("float64", "cpu", "raw", "replay", 1)
    assert p["hook"] == "blocks.{layer}.attn.hook_z"
    assert p["tokens"]["clean"] == gpt2.to_tokens(models.PAIR.clean)[0].tolist()
    assert p["texts"]["corrupted"] == ["[BOS]", "w1", "w2", "w9", "w4", "w8", "w6"]
    assert (p["prepend_bos"], p["bos_at"]) == (True, 0)
    for name, word in (("answer", "w20"), ("foil", "w21")):
        token = models.WORDS.index(word)
        assert p[name] == {"token": token, "tokens": [[token]], "text": word}
    assert set(p["versions"]) == {"patchwidgets", "torch", "transformer-lens", "transformers"}
    assert p["versions"]["transformer-lens"].startswith("4.")
    assert result.check["controls"] >= 1
    assert 0 <= result.check["worst_logit_difference"] < 1e-9


def same(one: PatchResult, other: PatchResult) -> bool:
    return one.data.identical(other.data) and one.provenance == other.provenance


def test_a_file_brings_everything_back(result: PatchResult, single: PatchResult, tmp_path: Path) -> None:
    for number, original in enumerate((result, single)):
        path = original.save(tmp_path / f"{number}.nc")
        assert path == tmp_path / f"{number}.nc"
        loaded = PatchResult.load(str(path))
        assert same(loaded, original)
        pd.testing.assert_frame_equal(loaded.to_dataframe(), original.to_dataframe())
        assert loaded.describe() == original.describe()
        assert repr(loaded) == repr(original)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.nc", "1.nc"]


def test_a_partial_result_is_saved_with_its_gaps(gpt2: TransformerBridge, tmp_path: Path) -> None:
    run = patch(gpt2, models.PAIR, "resid_pre", batch_size=1)
    run.cancel()
    partial = run.wait()
    assert set(partial.data["status"].values.ravel()) >= {"implied", "pending"}
    loaded = PatchResult.load(partial.save(tmp_path / "partial.nc"))
    assert same(loaded, partial)
    pending = loaded.data["status"].values == "pending"
    assert np.isnan(loaded.data["patched"].values[:, pending]).all()
    frame = loaded.to_dataframe()
    assert frame.loc[frame["status"] == "pending", ["patched", "effect", "normalized"]].isna().all(axis=None)


HOSTILE = ["</script>", "<b>", "日本", "a\nb", "", " ", "\\", '"', "é", "\u202e", "\x00", "x" * 70_000]


@pytest.mark.parametrize("text", HOSTILE, ids=[ascii(text[:9]) for text in HOSTILE])
def test_any_token_text_survives_a_file(single: PatchResult, tmp_path: Path, text: str) -> None:
    provenance = copy.deepcopy(single.provenance)
    provenance["texts"]["clean"][4] = text
    pairs = list(zip(provenance["texts"]["clean"], provenance["texts"]["corrupted"], strict=True))
    sizes = {"layer": 3, "pos": 7}
    codes = np.zeros((3, 7), dtype=int)
    data = make_data(
        ("layer", "pos"), sizes, ("logit_diff",), single.data["patched"].values, codes, [1.0], [0.0], pairs
    )
    original = PatchResult(data, provenance)
    loaded = PatchResult.load(original.save(tmp_path / "hostile.nc"))
    assert same(loaded, original)
    assert loaded.data["token"].values[4] == text


def test_a_write_that_fails_leaves_the_old_file(
    single: PatchResult, result: PatchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = single.save(tmp_path / "kept.nc")
    kept = path.read_bytes()

    def full(self: xr.Dataset, target: Path, **options: object) -> None:
        Path(target).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(OSError, match="No space left"):
        result.save(path)
    assert path.read_bytes() == kept
    assert [item.name for item in tmp_path.iterdir()] == ["kept.nc"]


def test_saving_again_replaces(single: PatchResult, result: PatchResult, tmp_path: Path) -> None:
    path = single.save(tmp_path / "one.nc")
    result.save(path)
    assert same(PatchResult.load(path), result)


def test_a_folder_that_is_not_there_is_named(single: PatchResult, tmp_path: Path) -> None:
    with pytest.raises((PatchError, OSError), match="nowhere"):
        single.save(tmp_path / "nowhere" / "one.nc")


def netcdf(path: Path, **attributes: str) -> Path:
    xr.Dataset({"a": ("x", [1.0])}, attrs=attributes).to_netcdf(path, engine="h5netcdf")
    return path


def test_files_that_are_no_result_are_refused_by_name(single: PatchResult, tmp_path: Path) -> None:
    whole = single.save(tmp_path / "whole.nc").read_bytes()
    (tmp_path / "truncated.nc").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.nc").write_bytes(b"")
    (tmp_path / "text.nc").write_text("not a result", encoding="utf-8")
    netcdf(tmp_path / "foreign.nc")
    netcdf(tmp_path / "newer.nc", format="patchwidgets result 2", provenance="{}")
    netcdf(tmp_path / "bare.nc", format="patchwidgets result 1")
    netcdf(tmp_path / "garbled.nc", format="patchwidgets result 1", provenance="{not json")
    netcdf(tmp_path / "hollow.nc", format="patchwidgets result 1", provenance="{}")
    for name in ("truncated", "empty", "text", "foreign", "newer", "bare", "garbled", "hollow"):
        with pytest.raises(FileError, match=f"'{name}.nc' is"):
            PatchResult.load(tmp_path / f"{name}.nc")
    with pytest.raises(FileError, match=r"there is no file '.*missing\.nc'"):
        PatchResult.load(tmp_path / "missing.nc")
    with pytest.raises(FileError, match="there is no file"):
        PatchResult.load(tmp_path)


def test_looking_at_a_saved_result_needs_no_torch_and_no_widgets(single: PatchResult, tmp_path: Path) -> None:
    path = single.save(tmp_path / "one.nc")
    script = (
        "import sys\n"
        "import patchwidgets as pw\n"
        f"result = pw.PatchResult.load({str(path)!r})\n"
        "result.to_dataframe(), result.describe(), result.code(), repr(result), result.clean\n"
        "heavy = {'torch', 'transformers', 'transformer_lens', 'anywidget', 'ipywidgets'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "result.plot()\n"
        "print(sorted(heavy & set(sys.modules) - {'ipywidgets'}))\n"  # Seaborn itself imports ipywidgets.
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "MPLBACKEND": "Agg", "HOME": str(tmp_path)},
    )
    assert ran.stdout.split() == ["[]", "[]"]


def test_ids_stand_for_tokens_when_there_is_no_tokenizer() -> None:
    model = TransformerBridge.boot_native(
        {
            "n_layers": 2,
            "n_heads": 2,
            "d_model": 16,
            "d_head": 8,
            "n_ctx": 8,
            "d_vocab": 30,
            "act_fn": "gelu",
            "seed": 0,
        }
    ).eval()
    result = patch(model, PromptPair([3, 4, 5], [3, 6, 5], answer=7, foil=8), "resid_pre").wait()
    frame = result.to_dataframe()
    assert list(frame["token"].head(3)) == ["3", "4", "5"]
    assert list(frame["token_corrupted"].head(3)) == ["3", "6", "5"]
    assert result.provenance["answer"] == {"token": 7, "tokens": [[7]], "text": "7"}


def test_the_repr_counts_the_cells(single: PatchResult) -> None:
    assert repr(single) == "PatchResult(mlp_out, noise, logit_diff: layer 3 x pos 7; 12 measured, 9 implied)"


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(PatchError, match=r"expected a PatchResult, got None; pw.patch\(...\).wait\(\) returns one"):
        check_result(None)
