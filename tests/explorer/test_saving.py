"""The Save row: files in the working directory that never replace another, and code to copy."""

from __future__ import annotations

import importlib.util
import json
import os
import threading

import pandas as pd
import pytest

import patchwidgets as pw

pytestmark = pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
NAME = "resid_pre_layer_pos_denoise_logit_diff"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def done(explorer):
    explorer.run()
    explorer.wait()
    return explorer


def press(explorer, name):
    explorer._saving.buttons[name].click()
    return explorer._saving.told.value


def test_each_kind_is_written_under_a_name_from_the_settings(done, here):
    endings = {
        "csv": "csv", "png": "png", "svg": "svg", "pdf": "pdf", "settings": "json", "code": "py", "result": "nc",
        "page": "html",
    }  # fmt: skip
    for name, ending in endings.items():
        path = here / f"{NAME}.{ending}"
        assert str(path) in press(done, name)
        assert path.stat().st_size > 0
    assert sorted(os.listdir(here)) == sorted(f"{NAME}.{ending}" for ending in endings.values())
    pd.testing.assert_frame_equal(pd.read_csv(here / f"{NAME}.csv"), done.result.to_dataframe(), check_dtype=False)
    assert json.loads((here / f"{NAME}.json").read_text()) == done.settings
    assert (here / f"{NAME}.py").read_text() == done.result.code()
    assert pw.PatchResult.load(here / f"{NAME}.nc").describe() == done.result.describe()
    assert (here / f"{NAME}.svg").read_text().lstrip().startswith("<?xml")
    assert (here / f"{NAME}.png").read_bytes().startswith(b"\x89PNG")
    assert (here / f"{NAME}.pdf").read_bytes().startswith(b"%PDF")


def test_the_settings_written_open_the_same_explorer(done, here, model):
    done.settings = {"site": "z", "direction": "noise"}
    done.wait()
    press(done, "settings")
    other = pw.explore(model)
    other.settings = json.loads((here / "z_layer_head_noise_logit_diff.json").read_text())
    other.wait()
    assert other.settings == done.settings
    other.close()


def test_nothing_is_overwritten(done, here):
    (here / f"{NAME}.csv").write_text("mine")
    assert f"{NAME}_2.csv" in press(done, "csv")
    assert f"{NAME}_3.csv" in press(done, "csv")
    assert (here / f"{NAME}.csv").read_text() == "mine"


def test_parquet_is_written_or_says_what_is_missing(done, here, monkeypatch):
    if importlib.util.find_spec("pyarrow"):
        press(done, "parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(here / f"{NAME}.parquet"), done.result.to_dataframe())
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pyarrow" else found(name, *more)
    )
    press(done, "parquet")
    assert "Parquet needs the package pyarrow: pip install pyarrow." in done._saving.error.value
    other = pw.explore(done._model)
    assert other._saving.buttons["parquet"].description == "Parquet (needs pyarrow)"
    other.wait()
    other.close()


def test_before_a_run_there_is_nothing_to_save(explorer, here):
    assert press(explorer, "csv") == ""
    assert "There is no whole result; press Run" in explorer._saving.error.value
    assert os.listdir(here) == []
    explorer.run()
    explorer.wait()
    press(explorer, "csv")
    assert explorer._saving.error.value == ""


def test_a_folder_that_cannot_be_written_is_told(done, here, monkeypatch):
    def full(*_args, **_more):
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    press(done, "csv")
    assert "no space left on device" in done._saving.error.value
    assert os.listdir(here) == []


def test_code_is_given_to_the_page_that_asks(explorer):
    sent = []
    explorer._saving.copy.send = lambda message: sent.append(message)
    explorer._saving.copy._handle({"type": "copy"})
    assert sent == [{"type": "text", "text": None}]
    assert "press Run, or wait" in explorer._saving.error.value
    explorer.run()
    explorer.wait()
    explorer._saving.copy._handle({"type": "copy"})
    assert sent[1]["text"] == explorer.result.code()


@pytest.mark.parametrize("name", ["csv", "settings", "mermaid"])
def test_what_is_saved_between_two_results_is_one_of_them(done, here, name):
    """Save is pressed while another thread brings another result: its name, its settings and its cells go together."""
    results = {"denoise": done.result}
    done.settings = {"direction": "noise"}
    results["noise"] = done.wait()
    inside, pressed = threading.Event(), threading.Event()

    def hold(_change):
        inside.set()
        pressed.wait(0.5)  # whoever saves must not get in between

    def save():
        inside.wait(60)
        press(done, name)
        pressed.set()

    other = threading.Thread(target=save)
    other.start()
    done._map.view.observe(hold, "words")
    done._controls.direction.value = "denoise"
    other.join()
    done.wait()
    (file,) = here.iterdir()
    direction = "noise" if "_noise_" in file.name else "denoise"
    if name == "csv":
        pd.testing.assert_frame_equal(pd.read_csv(file), results[direction].to_dataframe(), check_dtype=False)
    elif name == "settings":
        assert json.loads(file.read_text())["direction"] == direction
    else:
        assert file.read_text() == results[direction].diagram().mermaid()


def test_what_was_told_goes_with_the_result_it_was_of(done, here):
    for direction in ("noise", "denoise"):  # one that is measured, and one that is on the shelf
        assert "Written: " in press(done, "csv")
        done.settings = {"direction": direction}
        assert done._saving.told.value == ""
        done.wait()


def test_why_nothing_was_written_goes_when_there_is_a_result(explorer, here):
    press(explorer, "csv")
    assert "There is no whole result" in explorer._saving.error.value
    explorer.run()
    explorer.wait()
    assert explorer._saving.error.value == ""


def test_a_file_being_written_is_told_and_the_buttons_work(done, here, monkeypatch):
    told, written = [], pd.DataFrame.to_csv

    def write(*given, **more):
        told.append(done._saving.told.value)
        assert not any(button.disabled for button in done._saving.buttons.values())
        return written(*given, **more)

    monkeypatch.setattr(pd.DataFrame, "to_csv", write)
    assert "Written: " in press(done, "csv")
    assert len(told) == 1
    assert "Writing CSV \u2026" in told[0]
