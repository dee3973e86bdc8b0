"""Do the tests bite? Small faults are put into the engine one at a time, and the tests must notice.

`python -m tests.mutation` forks one process per fault; in it one module is compiled from a changed syntax tree, so
nothing on the disk changes. Left alone are messages, annotations, assertions and whatever a type checker alone reads.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

ENGINE = Path("patchwidgets/engine")
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Break: ast.Continue, ast.Continue: ast.Break,
}  # fmt: skip
ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
WARMED = ("hypothesis", "nbclient", "pytest", "scipy.stats", "seaborn", "transformer_lens", "transformers", "xarray")
"""What every fork would import for itself; the package under test is not among it."""

TESTS = {
    "answered": "datasets metrics bad_input",
    "baseline": "gates identities failures run standing metrics replay",
    "gate": "gates failures run threads interventions",
    "gradients": "inspect_draws bad_input interventions gradients",
    "handle": "handle load_model bad_input inspect failures run datasets identities ../bad_input/test_models threads",
    "hooked": "gates identities failures standing alignment metrics",
    "inspect": "inspect inspect_draws ../explorer/test_drilldown",
    "journal": "journal_records journal",
    "kinds": "load_model ../bad_input/test_models",
    "lanes": "plan gates identities datasets metrics alignment",
    "masks": "masks windows",
    "measuring": "measuring memory",
    "memory": "memory_sizes memory",
    "model": "load_model tokenizer_kept bad_input ../bad_input/test_models",
    "patch": "bad_input ../bad_input/test_asking run datasets metrics alignment standing",
    "places": "gates identities alignment standing",
    "plan": "plan gates identities bad_input ../bad_input/test_asking alignment property",
    "probe": "gates handle bad_input ../bad_input/test_models ../bad_input/test_asking identities",
    "provenance": "provenance datasets alignment code",
    "recipe": "executor",
    "replay.climb": "replay_climb replay_engine replay",
    "replay.copies": "replay_seams replay_proof",
    "replay.engine": "replay_engine replay",
    "replay.finals": "finals reuse",
    "replay.fused": "replay_seams replay_proof",
    "replay.groups": "replay_groups replay_climb",
    "replay.items": "replay_items replay_climb replay_engine",
    "replay.parts": "replay_parts replay_proof replay",
    "replay.proof": "replay_proof replay",
    "replay.seams": "replay_seams replay_proof",
    "replay.sides": "replay_sides replay_climb replay",
    "replay.sweeping": "replay_sweeping replay_judged replay",
    "replay.tape": "replay_tape replay_engine",
    "replay.waves": "replay_waves replay_sweeping",
    "run": "run waiting failures threads",
    "scaled": "executor",
    "scoring": "gates identities metrics alignment",
    "shards": "executor",
    "standing": "standing_positions standing ../bad_input/test_asking",
    "sweep": "gates run failures replay identities datasets standing_positions journal journal_replay metrics",
    "values": "identities datasets standing interventions",
}
"""The test files in tests/engine that know a module, the quick ones first."""


def file_of(module: str) -> Path:
    """Return the file of a module, such as "plan" or "replay.climb"."""
    return ENGINE.joinpath(*module.split(".")).with_suffix(".py")


@dataclass(frozen=True)
class Mutant:
    """One fault: the `variant`-th change of the `node`-th node of a module, walked breadth first."""

    module: str
    node: int
    variant: int
    line: int
    told: str

    @property
    def name(self) -> str:
        """What `--only` calls it."""
        return f"{self.module}:{self.node}.{self.variant}"

    def tree(self) -> ast.Module:
        """Return the module's syntax tree with the fault in it."""
        tree = ast.parse(file_of(self.module).read_text())
        old, parent = list(places(tree))[self.node]
        new = list(changes(old, parent))[self.variant]
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list) and any(each is old for each in value):
                value[[each is old for each in value].index(True)] = new
        return ast.fix_missing_locations(tree)


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield the nodes that faults may be put into, each with its parent."""
    todo: list[ast.AST] = [tree]
    for parent in todo:
        for node in ast.iter_child_nodes(parent):
            if not spared(node, parent):
                todo.append(node)
                yield node, parent


def spared(node: ast.AST, parent: ast.AST) -> bool:
    """Return whether a node says something to a person or to a type checker, and nothing to the program."""
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)):
        return True
    if node in (getattr(parent, "annotation", None), getattr(parent, "returns", None)):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    return (
        (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(parent, ast.Call) and ast.unparse(parent.func) == "warnings.warn")
        or (isinstance(node, ast.keyword) and node.arg == "strict")
    )


def changes(node: Any, parent: Any) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""

    def other(**fields: Any) -> ast.AST:
        changed = copy.deepcopy(node)
        for name, value in fields.items():
            setattr(changed, name, value)
        return changed

    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                yield other(ops=[*node.ops[:i], SWAPS[type(op)](), *node.ops[i + 1 :]])
        case ast.BoolOp() | ast.BinOp() | ast.AugAssign() if type(node.op) in SWAPS:
            yield other(op=SWAPS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=str()) if is_key(node, parent):
            yield ast.Constant(f"{node.value}?")
        case ast.Return() if node.value is not None and ast.unparse(node.value) != "None":
            yield other(value=ast.Constant(None))
        case ast.Slice():
            yield from (other(**{bound: None}) for bound in ("lower", "upper", "step") if getattr(node, bound))
        case ast.Break() | ast.Continue():
            yield SWAPS[type(node)]()
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and node.value is not None:
        first = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(first, (ast.Attribute, ast.Subscript)):
            yield ast.Pass()
    if node is getattr(parent, "test", None) or (isinstance(parent, ast.comprehension) and node in parent.ifs):
        # Where the turned condition is a fault of its own already, once is enough.
        turned = isinstance(node, ast.Compare) and len(node.ops) == 1 and not isinstance(node.ops[0], ORDERED)
        if not turned and not isinstance(node, ast.UnaryOp):
            yield ast.UnaryOp(ast.Not(), node)


def is_key(node: ast.AST, parent: Any) -> bool:
    """Return whether a text is looked up or compared rather than read by a person."""
    if isinstance(parent, ast.Dict):
        return node in parent.keys
    return isinstance(parent, (ast.Compare, ast.Subscript))


def mutants_of(module: str) -> list[Mutant]:
    """Return every fault that can be put into a module."""
    tree = ast.parse(file_of(module).read_text())
    return [
        Mutant(module, i, j, node.lineno, f"{ast.unparse(node)} -> {ast.unparse(ast.fix_missing_locations(new))}")
        for i, (node, parent) in enumerate(places(tree))
        for j, new in enumerate(changes(node, parent))
    ]  # fmt: skip


class Finder(MetaPathFinder):
    """Finds one module, and gives it code of its own."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.path = mutant, str(file_of(mutant.module).absolute())

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Answer for the mutant's module alone."""
        if fullname != ".".join((*ENGINE.parts, self.mutant.module)):
            return None
        code = compile(self.mutant.tree(), self.path, "exec", dont_inherit=True)
        loader = SourceFileLoader(fullname, self.path)
        loader.get_code = lambda fullname: code  # type: ignore[method-assign]
        return spec_from_file_location(fullname, self.path, loader=loader)


def files_for(module: str) -> list[str]:
    """Return the test files for a module."""
    names = TESTS[module].split()
    return [os.path.normpath(f"tests/engine/{name if '/' in name else f'test_{name}'}.py") for name in names]


class Patience:
    """A pytest plugin: a test that takes too long ends the process."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def pytest_runtest_logstart(self) -> None:
        """Begin to count anew; nobody handles the signal, so it ends the process."""
        signal.alarm(self.seconds)


def outcome(tests: Sequence[str], mutant: Mutant | None, patience: int) -> str:
    """Return what becomes of the tests in a process of their own: survived, killed or timed out."""
    scratch = tempfile.mkdtemp(prefix="mutant-")
    child = os.fork()
    if child == 0:
        os.setsid()
        tempfile.tempdir = os.environ["TMPDIR"] = scratch
        if mutant is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            sys.meta_path.insert(0, Finder(mutant))
        signal.alarm(patience)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--tb=short", "-o", "addopts="]
        options += ["--import-mode=importlib", "-m", "not browser and not smollm2 and not weights"]
        options += ["--deselect=tests/engine/test_code.py::test_the_scripts_print_the_results_numbers"]
        code = 3
        try:
            code = int(importlib.import_module("pytest").main([*options, *tests], plugins=[Patience(patience)]))
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # What its tests started and left.
    shutil.rmtree(scratch, ignore_errors=True)
    if os.WIFSIGNALED(status):
        return "timed out" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
    if os.WEXITSTATUS(status) in (4, 5):
        raise SystemExit("pytest found nothing to run: a test file of the table is missing.")
    return "killed" if os.WEXITSTATUS(status) else "survived"


def main() -> None:
    """Draw faults, try each, and print a table and the survivors."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=main.__doc__)
    parser.add_argument("--sample", type=int, default=260, help="how many faults are drawn (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (%(default)s)")
    parser.add_argument("--all", action="store_true", help="every fault there is: hours")
    parser.add_argument("--modules", nargs="+", metavar="NAME", help="only these, such as plan values")
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="only these, as the report names them")
    parser.add_argument("--tests", nargs="+", metavar="FILE", help="these test files in place of the table's")
    parser.add_argument("--patience", type=int, default=20, metavar="SECONDS", help="per test (%(default)s)")
    parser.add_argument("--list", action="store_true", help="print the faults and try none")
    asked = parser.parse_args()
    there_are = (path.relative_to(ENGINE).with_suffix("").parts for path in ENGINE.rglob("*.py"))
    unknown = {".".join(parts) for parts in there_are if parts[-1] != "__init__"} ^ TESTS.keys()
    if unknown:
        raise SystemExit(f"the modules and the table TESTS differ: {', '.join(sorted(unknown))}.")
    modules = asked.modules or sorted(TESTS)
    found = [mutant for module in modules for mutant in mutants_of(module)]
    there = Counter(mutant.module for mutant in found)
    if asked.only:
        found = [mutant for mutant in found if mutant.name in asked.only]
    elif not asked.all:
        found = random.Random(asked.seed).sample(found, min(asked.sample, len(found)))
    if asked.list:
        print(*(f"{mutant.name}  line {mutant.line}  {mutant.told}" for mutant in found), sep="\n")
        return
    if not found:
        parser.error("there is no such fault; --list names them.")
    warm()
    tests = {module: asked.tests or files_for(module) for module in {mutant.module for mutant in found}}
    if outcome(sorted({path for paths in tests.values() for path in paths}), None, 10 * asked.patience) != "survived":
        raise SystemExit("the tests fail without any fault; mend that first.")
    became: dict[Mutant, str] = {}
    try:
        for number, mutant in enumerate(found, 1):
            began = time.monotonic()
            became[mutant] = outcome(tests[mutant.module], mutant, asked.patience)
            told = f"{number}/{len(found)} {became[mutant]} {mutant.name} {time.monotonic() - began:.0f} s"
            print(told, file=sys.stderr, flush=True)
    finally:
        report(became, there)


def warm() -> None:
    """Import, and use once, what every fork needs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in WARMED:
        importlib.import_module(name)
    models = importlib.import_module("tests.models")
    for family in models.FAMILIES:
        models.bridge(family)
    assert not any(name.startswith("patchwidgets.engine") for name in sys.modules)


def report(became: dict[Mutant, str], there: Counter[str]) -> None:
    """Print how many faults were noticed per module, and those that were not."""
    print(f"{'module':16}{'faults':>8}{'tried':>8}{'killed':>8}{'timed out':>11}{'survived':>10}{'noticed':>9}")
    groups = {module: [what for mutant, what in became.items() if mutant.module == module] for module in there}
    for module, group in [*groups.items(), ("all", list(became.values()))]:
        counts, possible = Counter(group), there[module] if module != "all" else there.total()
        share = f"{1 - counts['survived'] / len(group):9.0%}" if group else ""
        print(
            f"{module:16}{possible:8}{len(group):8}{counts['killed']:8}{counts['timed out']:11}"
            f"{counts['survived']:10}{share}"
        )
    for mutant in sorted((m for m, what in became.items() if what == "survived"), key=lambda m: (m.module, m.line)):
        source = file_of(mutant.module).read_text().splitlines()[mutant.line - 1].strip()
        print(f"\n{file_of(mutant.module)}:{mutant.line}  ({mutant.name})\n    {source}\n    {mutant.told[:300]}")


if __name__ == "__main__":
    main()
