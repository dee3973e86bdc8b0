"""The arrows between the rooms of the package: who may import whom. New files are judged as soon as they exist."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "patchwidgets"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")

VOCABULARY = {
    "alignment", "answers", "datasets", "encoding", "errors", "interventions", "joint", "metrics", "presets", "prompts",
    "sites", "spelling", "tokens",
}  # fmt: skip
DATA = VOCABULARY | {"files", "result", "stats"}
READERS = {"difference", "grid", "origins", "spread", "stages", "words"}

# A room is a module or a folder right under patchwidgets/. Each may import itself and the rooms named here.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "stats": {"errors"},
    "sites": {"errors"},
    "spelling": set(),
    "alignment": {"errors"},
    "tokens": {"errors"},
    "answers": {"errors", "tokens"},
    "joint": {"errors", "sites", "tokens"},
    "prompts": {"alignment", "answers", "errors"},
    "encoding": {"alignment", "answers", "errors", "prompts", "spelling", "tokens"},
    "datasets": {"answers", "errors", "files", "prompts"},
    "generators": {"datasets", "errors", "prompts"},
    "presets": {"errors", "prompts"},
    "interventions": {"answers", "datasets", "errors", "prompts"},
    "metrics": {"answers", "errors"},
    "result": VOCABULARY | {"files"},
    "store": {"errors", "files", "interventions", "result"},
    "grid": DATA,
    "spread": DATA,
    "stages": DATA,
    "difference": DATA,
    "origins": DATA | {"difference"},
    "words": DATA | {"difference", "origins"},
    "script": DATA | {"words"},
    "embedded": {"errors"},
    "engine": DATA | {"embedded"},
    "suggest": DATA | {"engine", "generators"},
    "views": DATA | READERS,
    "diagram": DATA | {"words"},
    "lettering": {"grid"},
    "plots": DATA | READERS | {"lettering"},
    "publish": DATA | READERS | {"plots", "views"},
    "explorer": DATA
    | READERS
    | {"diagram", "embedded", "engine", "generators", "plots", "publish", "suggest", "views"},
}
# PatchResult's methods may open these when they are called, and nothing else may be imported upwards.
DOORS = {"result": {"diagram", "difference", "plots", "publish", "script", "stages", "stats", "store", "words"}}

# Who may import a library: rooms, or single files.
LIBRARY_HOMES: dict[str, set[str]] = {
    "transformer_lens": {"engine/model.py"},
    "torch": {"embedded", "engine", "explorer", "suggest"},
    "transformers": {"embedded", "engine"},
    "anywidget": {"views", "explorer"},
    "ipywidgets": {"views", "explorer"},
}
# Inside a function these rooms may too: a metric is arithmetic on tensors, but its name can be read without torch.
LAZY_HOMES: dict[str, set[str]] = {"torch": {"metrics"}}


@dataclass(frozen=True)
class Import:
    """One imported module by its full name; `lazy` when the statement stands inside a function."""

    name: str
    line: int
    lazy: bool


def room_of(path: Path) -> str:
    """Return the room a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[Import]:
    """Return what a file imports when it runs; what only type checkers read is left out."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), path, lazy=False))


def _imports(node: ast.AST, path: Path, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = _absolute(child, path)
            # `from .. import embedded` names the module in its last part, `from ..errors import X` in its middle.
            yield from (Import(f"{module}.{alias.name}", child.lineno, lazy) for alias in child.names)
        yield from _imports(child, path, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _absolute(statement: ast.ImportFrom, path: Path) -> str:
    if not statement.level:
        return statement.module or ""
    package = ["patchwidgets", *path.relative_to(PACKAGE).parent.parts]
    parents = package[: len(package) - statement.level + 1]
    return ".".join([*parents, *([statement.module] if statement.module else [])])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} is a new room: give it a row in MAY_IMPORT, then tell CONTRIBUTING.md"
    wrong = []
    for found in imports_of(path):
        parts = found.name.split(".")
        if parts[0] != "patchwidgets" or len(parts) < 2 or parts[1] == room:
            continue
        doors = DOORS.get(room, set()) if found.lazy else set()
        if parts[1] not in MAY_IMPORT[room] | doors:
            wrong.append(f"line {found.line}: {room} may not import {found.name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_at_home(path: Path) -> None:
    room, file = room_of(path), path.relative_to(PACKAGE).as_posix()
    wrong = []
    for found in imports_of(path):
        library = found.name.split(".")[0]
        lazy_homes = LAZY_HOMES.get(library, set()) if found.lazy else set()
        if library in LIBRARY_HOMES and not {room, file} & (LIBRARY_HOMES[library] | lazy_homes):
            wrong.append(f"line {found.line}: {file} imports {library}, at home in {sorted(LIBRARY_HOMES[library])}")
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_circle() -> None:
    left = {room: set(below) for room, below in MAY_IMPORT.items()}
    while left:
        lowest = {room for room, below in left.items() if not below & left.keys()}
        assert lowest, f"these import each other: {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in lowest}


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (["patchwidgets"], ["torch", "transformers", "transformer_lens", "anywidget", "ipywidgets", "matplotlib"]),
        (["patchwidgets.result"], ["torch", "transformers", "anywidget", "ipywidgets", "matplotlib"]),
        (
            ["patchwidgets.plots", "patchwidgets.publish", "patchwidgets.views"],
            ["torch", "transformers", "transformer_lens"],
        ),
    ],
    ids=["the package", "a result", "the pictures of a result"],
)
def test_what_an_import_brings_along(modules: list[str], absent: list[str], tmp_path: Path) -> None:
    script = f"import sys, {', '.join(modules)}; print([name for name in {absent} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stdout + ran.stderr
