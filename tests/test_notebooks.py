"""Every notebook of notebooks/ runs from top to bottom without an error, and is committed as its author means it."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a copy of its folder; the first error ends it with the cell and the traceback."""
    copy = folder / "notebooks"
    shutil.copytree(NOTEBOOKS, copy, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "*.html"))
    notebook = nbformat.read(copy / path.name, as_version=4)
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(copy)}})
    return client.execute()


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS / "explorer.ipynb" in PATHS


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    outputs = [output for cell in execute(path, tmp_path).cells for output in cell.get("outputs", [])]
    noisy = [output["text"] for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not [text for text in noisy if "Warning" in text or "Traceback" in text]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_it_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    # A lesson whose pictures are read where nothing runs says so in its metadata.
    if not notebook.metadata.get("patchwidgets", {}).get("keep_outputs", False):
        assert [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_the_page_variant_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "explorer.html"
    monkeypatch.setenv("PATCHWIDGETS_PAGE", str(page))
    execute(NOTEBOOKS / "explorer.ipynb", tmp_path)
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
