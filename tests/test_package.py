"""What an installation brings: the wheel's size and files, declared dependencies, pins, one version everywhere."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import patchwidgets

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MEGABYTE = 1_000_000
VIEWS = {"Heatmap", "TokenStrip", "AttentionView", "Predictions", "token_columns"}
ENGINE = {"load_model", "patch", "Run", "right", "by_length", "suggest_corrupted", "explore", "Explorer"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network and without Node."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    built = subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": ""}, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files as an installation lays them."""
    target = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_is_pure_and_small(wheel: Path) -> None:
    assert wheel.name == f"patchwidgets-{PROJECT['version']}-py3-none-any.whl"
    assert wheel.stat().st_size <= 8 * MEGABYTE


def test_the_wheel_holds_the_package_and_nothing_else(unpacked: Path) -> None:
    files = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert {name.split("/")[0] for name in files} == {"patchwidgets", f"patchwidgets-{PROJECT['version']}.dist-info"}
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "patchwidgets").rglob("*") if path.is_file()}
    assert {name for name in files if name.startswith("patchwidgets/")} == {
        name for name in here if "__pycache__" not in name
    }
    for needed in ("static/widget.js", "static/widget.css", "static/page.js", "palette.json", "py.typed"):
        assert f"patchwidgets/{needed}" in files


def test_the_wheel_alone_has_a_model(unpacked: Path, tmp_path: Path) -> None:
    script = "import patchwidgets as pw; print(pw.__file__); print(pw.load_model().cfg.n_layers)"
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    file, layers = ran.stdout.split()[-2:]
    assert Path(file).is_relative_to(unpacked)
    assert int(layers) >= 1


def test_the_public_names_are_there_and_bring_no_model_library() -> None:
    """The words of an experiment can be written down, and a result looked at, before torch is imported."""
    words = [name for name in patchwidgets.__all__ if name not in ENGINE | VIEWS]
    script = f"""
import sys
import patchwidgets as pw
for name in {words}:
    getattr(pw, name)
pw.Standing("z", pw.Vector([1.0]), layers=[0])
pw.Joint({{"a": [("z", {{"layer": 0, "head": 1}})]}})
assert not {{"torch", "transformers", "transformer_lens", "ipywidgets", "anywidget"}} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert all(callable(getattr(patchwidgets, name)) for name in ENGINE)
    assert set(patchwidgets.__all__) == set(dir(patchwidgets))


def test_every_import_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    for extra in ("gguf", "zarr"):
        declared |= {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"][extra]}
    distributions = packages_distributions()
    undeclared = set()
    for path in (ROOT / "patchwidgets").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"patchwidgets"}:
                homes = {canonicalize_name(home) for home in distributions.get(name, [name])}
                if not homes & declared:
                    undeclared.add(f"{path.relative_to(ROOT)} imports {name}")
    assert not undeclared, "\n".join(sorted(undeclared))


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in pins)
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins.values())
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        name = canonicalize_name(requirement.name)
        if name != "patchwidgets":
            assert requirement.specifier.contains(pins[name], prereleases=True), requirement


def test_the_version_is_the_same_everywhere() -> None:
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation is not None
    front_end = json.loads((ROOT / "js" / "package.json").read_text())["version"]
    assert {patchwidgets.__version__, citation[1], front_end} == {PROJECT["version"]}
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()
