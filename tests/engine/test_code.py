"""`result.code()` is a script of TransformerLens's own hooks that prints the same numbers."""

from __future__ import annotations

import ast
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.model import load_model
from patchwidgets.engine.sweep import patch
from patchwidgets.metrics import tolerance
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models

IOI = PromptPair(
    "When Mary and John went to the store, John gave a drink to",
    "When Anna and John went to the store, John gave a drink to",
    answer=" Mary",
    foil=" Anna",
)


TOGETHER = """
import runpy, sys
for script in sys.argv[1:]:
    runpy.run_path(script)
    print("end of", script)
"""
"""Several scripts one after the other in one process: what takes time is importing torch."""


def run(results: list[PatchResult], folder: Path) -> list[list[str]]:
    """Run the results' scripts as files, in another process, without a network; return the lines each prints."""
    scripts = []
    for number, result in enumerate(results):
        scripts.append(folder / f"again{number}.py")
        scripts[-1].write_text(result.code(), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", TOGETHER, *map(str, scripts)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    printed = ran.stdout
    found = []
    for script in scripts:
        told, _, printed = printed.partition(f"end of {script}\n")
        found.append(told.strip().splitlines())
    return found


def assert_same_numbers(result: PatchResult, lines: list[str]) -> None:
    first = lines[0].removeprefix("base ").split(" source ")
    base, source = (ast.literal_eval(part) for part in first)
    patch = result.intervention
    frame = result.to_dataframe()
    allowed = {}
    for name in result.metrics:
        at_base, at_source = (float(result.data[run].sel(metric=name)) for run in (patch.base, patch.source))
        allowed[name] = tolerance(result.provenance["dtype"], at_source - at_base)
        assert base[name] == pytest.approx(at_base, abs=allowed[name])
        assert source[name] == pytest.approx(at_source, abs=allowed[name])
    assert len(lines) == 1 + len(frame)
    for line, (_, row) in zip(lines[1:], frame.iterrows(), strict=True):
        *where, metric, patched, normalized = line.split()
        assert [int(index) for index in where] == [row[axis] for axis in result.by]
        assert metric == row["metric"]
        assert float(patched) == pytest.approx(row["patched"], abs=allowed[metric])
        gap = abs(source[metric] - base[metric])
        assert math.isclose(float(normalized), row["normalized"], abs_tol=2 * allowed[metric] / min(gap, 1.0))


SWEEPS: list[tuple[str, dict[str, Any]]] = [
    ("resid_pre", {"metric": ["logit_diff", "prob", "logprob", "logit"], "layers": [0, 3]}),
    ("resid_mid", {"direction": "noise", "layers": [1]}),
    ("z", {"direction": "noise"}),
    ("k", {"by": ("layer", "pos", "head"), "positions": [1, -1], "heads": [2, 0], "metric": "prob"}),
    ("mlp_out", {"by": "layer"}),
]


def test_the_scripts_print_the_results_numbers(
    embedded: TransformerBridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the embedded model, and on a model from a folder that was given by a relative name."""
    folder = tmp_path / "tiny"
    models.hugging_face("llama", torch.float32).save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    model = load_model("tiny", dtype="float64")
    results = [patch(embedded, IOI, site, **options).wait() for site, options in SWEEPS]
    results.append(patch(model, models.PAIR, "v").wait())
    assert results[-1].provenance["dtype"] == "float64"
    for result, lines in zip(results, run(results, elsewhere), strict=True):
        assert_same_numbers(result, lines)
        assert "important" not in result.code()


def test_the_script_of_a_saved_result_is_the_same(embedded: TransformerBridge, tmp_path: Path) -> None:
    result = patch(embedded, IOI, "z").wait()
    assert PatchResult.load(result.save(tmp_path / "r.nc")).code() == result.code()


def test_a_model_that_was_made_in_memory_is_not_taken_for_another(gpt2: TransformerBridge) -> None:
    """Random weights of the architecture gpt2 are not the model gpt2: the script must not load that one."""
    with pytest.warns(UserWarning, match="in place"):
        model = load_model(models.hugging_face("gpt2"), tokenizer=models.tokenizer())
    result = patch(model, models.PAIR, "z").wait()
    script = result.code()
    assert "boot_transformers('gpt2'" not in script
    compile(script, "again.py", "exec")


def test_a_missing_foil_and_hostile_names_make_a_valid_script(gpt2: TransformerBridge) -> None:
    pair = PromptPair(models.PAIR.clean, models.PAIR.corrupted, answer="w20")
    result = patch(gpt2, pair, "z", metric="prob").wait()
    result.provenance["location"] = '/a/"quoted"\'s \\folder\n'
    tree = ast.parse(result.code())
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert '/a/"quoted"\'s \\folder\n' in strings
