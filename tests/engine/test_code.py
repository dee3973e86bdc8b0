"""`result.code()` is a script of TransformerLens's own hooks that prints the same numbers."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.engine.model import load_model
from patchwidgets.engine.patch import patch
from patchwidgets.interventions import Mask, Mean, Noise, Resample, Scale, Standing, Vector, Zero
from patchwidgets.joint import Joint
from patchwidgets.metrics import METRICS, tolerance
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models

IOI = PromptPair(
    "When Mary and John went to the store, John gave a drink to",
    "When Anna and John went to the store, John gave a drink to",
    answer=" Mary",
    foil=" Anna",
)
CLEAN, CORRUPTED = models.PAIR.clean, models.PAIR.corrupted
SETS = PromptPair(CLEAN, CORRUPTED, answer=["w20", "w22"], foil=["w21", "w23", "w24"])
LONG = PromptPair(CLEAN, CORRUPTED, answer=Continuation("w20 w3 w7"), foil=Continuation("w21 w5"))
BOTH = PromptPair(CLEAN, CORRUPTED, answer=["w20", "w22"], foil=Continuation("w21 w5"))
EARLY = PromptPair(CLEAN, CORRUPTED, answer="w20", foil="w21", at=-2)
UNEVEN = PromptPair("w1 w2 w3 w4 w6", "w1 w9 w7 w2 w3 w4 w6", answer="w20", foil="w21")
UNEVEN_LONG = PromptPair(UNEVEN.clean, UNEVEN.corrupted, answer=Continuation("w20 w3"), foil=Continuation("w21 w5 w6"))
FIRST = PromptPair("w5 w2 w3 w4 w1 w6", "w5 w2 w10 w4 w1 w7", answer="w25", foil="w26")
SECOND = PromptPair("w7 w2 w11 w4 w5 w6", "w7 w8 w3 w4 w5 w12", answer="w20", foil="w21")
DATASET = Dataset([models.PAIR, FIRST, EARLY, SECOND])
OTHERS = Dataset(
    [PromptPair(f"w{i} w2 w3 w4 w5 w6", f"w{i} w12 w3 w4 w5 w7", answer="w20") for i in range(10, 14)]
    + [PromptPair("w1 w2", "w1 w3", answer="w20")]
)
MIXED_ANSWERS = Dataset([SETS, LONG])
UNEVEN_PAIRS = Dataset([UNEVEN, models.PAIR])
DOUBLED = Dataset([DATASET[0], DATASET[1], DATASET[3], EARLY])
SAME = PromptPair(CLEAN, CLEAN, answer="w20", foil="w21")
CLOSE = PromptPair(CLEAN, CLEAN.replace("w1", "w3", 1), answer="w14")
WIDE = [0.25 * (i % 5) - 0.5 for i in range(32)]
EMBED, MLP_OUT = (
    Standing("embed", Noise(1.0, 2), "corrupted", positions=[1, 2]),
    Standing("mlp_out", Zero(), layers=[1]),
)
OVERALL = Mean(OTHERS, per_position=False)
MLP_2, K_2 = ("mlp_out", {"layer": 2}), ("k", {"layer": 2, "pos": 4})
EVERYTHING = list(METRICS)

Setting = tuple[Any, Any, dict[str, Any]]
"""What is swept: the pair or dataset, the site, and the options of `patch`."""

SITES: list[Setting] = [
    (SETS, "embed", {"metric": EVERYTHING}),
    (LONG, "resid_pre", {"metric": ["logit_diff", "logprob", "prob", "cross_entropy", "accuracy", "kl_clean"]}),
    (EARLY, "resid_mid", {"metric": EVERYTHING, "direction": "noise", "layers": [0, 2]}),
    (BOTH, "attn_out", {"by": "layer", "metric": ["logit_diff", "prob", "accuracy", "kl_corrupted"]}),
    (models.PAIR, "mlp_out", {"window": 2, "positions": [-1, 2], "metric": EVERYTHING}),
    (models.PAIR, "z", {"positions": [1, 3, 4]}),
    (models.PAIR, "q", {"by": ("layer", "pos", "head"), "positions": [2, 4], "heads": [0, 3]}),
    (models.PAIR, "k", {"direction": "noise"}),
    (models.PAIR, "pattern", {"by": ("layer", "head", "dest", "src"), "layers": [1], "heads": [2]}),
    (models.PAIR, "attn_scores", {"by": ("layer", "head", "dest"), "heads": [1]}),
    (models.PAIR, "mlp_pre", {"by": ("layer", "pos"), "neurons": [3, 5, 7]}),
    (models.PAIR, "mlp_post", {"neurons": [0, 1], "positions": [4]}),
]
INTERVENTIONS: list[Setting] = [
    (models.PAIR, "z", {"intervention": Zero()}),
    (models.PAIR, "resid_post", {"intervention": Scale(0.5), "direction": "noise", "by": "layer", "window": 3}),
    (models.PAIR, "attn_scores", {"intervention": Vector(0.3, add=True)}),
    (models.PAIR, "mlp_out", {"intervention": Vector(WIDE), "layers": [1]}),
    (models.PAIR, "z", {"intervention": Mean(OTHERS, "both", per_position=False), "by": ("layer", "pos", "head")}),
    (DATASET, "pattern", {"intervention": Mean(run="clean"), "by": ("layer", "head", "dest"), "heads": [2]}),
    (DATASET, "resid_pre", {"intervention": Resample(samples=2), "metric": ["logit_diff", "kl_clean"], "layers": [1]}),
    (models.PAIR, "v", {"intervention": Resample(OTHERS, "clean", 3), "seed": 7}),
    (
        models.PAIR,
        "pattern",
        {"intervention": Noise(0.5, 2), "by": ("layer", "head", "dest", "src"), "layers": 1, "heads": 1},
    ),
    (LONG, "mlp_post", {"intervention": Noise(1.0, 2), "by": ("layer", "pos"), "seed": 3, "window": 2}),
    (models.PAIR, "z", {"intervention": Mask(0.001, absolute=True)}),
    (DATASET, "mlp_post", {"intervention": Mask(graded=True), "by": ("layer", "pos"), "metric": ["kl_clean", "logit"]}),
]
COMBINATIONS: list[Setting] = [
    (DATASET, "resid_post", {"metric": ["logit_diff", "accuracy", "rank"], "positions": [2, 5]}),
    (MIXED_ANSWERS, "z", {"metric": ["logit_diff", "logprob", "accuracy"]}),
    (UNEVEN, "resid_pre", {"align": "auto"}),
    (UNEVEN_LONG, "z", {"align": "auto", "direction": "noise"}),
    (UNEVEN_LONG, "mlp_out", {"align": "auto", "by": "layer", "intervention": Noise(1.0, 2)}),
    (UNEVEN_PAIRS, "pattern", {"align": "auto"}),
    (UNEVEN, "attn_scores", {"align": "auto", "by": ("layer", "head", "dest", "src"), "heads": [1]}),
    (UNEVEN, "z", {"align": [(0, 0), (1, 2), (5, 7)], "positions": [2, 7], "direction": "denoise"}),
    (models.PAIR, "resid_post", {"standing": EMBED, "layers": [1]}),
    (DATASET, "z", {"standing": [MLP_OUT, Standing("z", Resample(OTHERS), heads=[1], positions=[-1, 2])]}),
    (LONG, "z", {"standing": [Standing("pattern", Vector(0.1), layers=0), Standing("k", OVERALL)]}),
    (LONG, "mlp_out", {"by": "layer", "standing": Standing("resid_pre", Scale(0.5), positions=[-1], layers=[1, 2])}),
    (models.PAIR, Joint({"a b": [("z", {"layer": 0, "head": 1}), MLP_2], "clean": [("embed", {"pos": -1})]}), {}),
    (UNEVEN, Joint({"x": [("pattern", {"layer": 0}), K_2], "y": [("embed", {"pos": 1})]}), {"align": "auto"}),
    (models.PAIR, Joint({"x": [("attn_scores", {"layer": 0}), MLP_2]}), {"intervention": Noise(1.0, 2)}),
    (models.PAIR, Joint({"x": [("z", {"layer": -1, "head": 1})]}), {"standing": MLP_OUT, "direction": "noise"}),
    (UNEVEN, "z", {"align": "auto", "standing": EMBED, "by": ("layer", "pos", "head"), "heads": [1]}),
    (LONG, "pattern", {"intervention": Noise(0.5, 1)}),
    (DATASET[:1], "z", {"intervention": Resample(DOUBLED), "standing": Standing("q", OVERALL)}),
    (DOUBLED, "resid_mid", {"by": "layer", "intervention": Resample(), "metric": ["prob", "kl_corrupted"]}),
    (DATASET[1:2], "mlp_pre", {"by": ("layer", "pos", "neuron"), "neurons": [1], "intervention": Mean(run="both")}),
    (SAME, "z", {"standing": Standing("embed", Noise(3.0, 2), "corrupted", positions=2), "metric": ["logit"]}),
    (CLOSE, "z", {"metric": ["rank", "prob"], "layers": [2]}),
    (models.PAIR, "resid_pre", {"by": "layer", "intervention": Scale(np.float64(0.5))}),
    (models.PAIR, "embed", {"intervention": Noise(1.0, 2), "standing": [EMBED, EMBED]}),
    (DATASET, "q", {"intervention": Resample(OTHERS), "standing": Standing("q", Resample(OTHERS), heads=[1])}),
]  # fmt: skip


SETTINGS = [*SITES, *INTERVENTIONS, *COMBINATIONS]
PLAIN = SETTINGS.index((models.PAIR, "k", {"direction": "noise"}))

EACH = """
import contextlib, io, json, runpy, sys
told = {}
for script in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(script)
    told[script] = printed.getvalue()
print(json.dumps(told))
"""
"""Several scripts one after the other in one process: what takes time is importing torch."""


def run(results: list[PatchResult], folder: Path) -> list[str]:
    """Run the results' scripts as files, in another process, without a network; return what each prints."""
    scripts = []
    for number, result in enumerate(results):
        scripts.append(folder / f"again{number}.py")
        scripts[-1].write_text(result.code(), encoding="utf-8")
    told = json.loads(python(["-c", EACH, *map(str, scripts)], folder))
    return [told[str(script)] for script in scripts]


def python(arguments: list[str], folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def here(script: str, **given: Any) -> str:
    """Run a script in this process, with what it leaves to be filled in, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, torch.no_grad():
        exec(compile(script, "again.py", "exec"), given)
    return printed.getvalue()


def assert_same_numbers(result: PatchResult, printed: str, setting: object = None) -> None:
    """The script prints the two runs, then every cell that can be measured, in the order of the data frame."""
    frame = result.to_dataframe()
    frame = frame[frame["status"] != "unavailable"]
    lines = [line.split("\t") for line in printed.splitlines()]
    plain = {run: {name: float(result.data[run].sel(metric=name)) for name in result.metrics} for run in RUNS}
    base = result.direction.base
    expected = [(f"{run} run", name, plain[run][name], float(run != base)) for run in RUNS for name in result.metrics]
    columns = [*result.by, "metric", "patched", "normalized"]
    expected += list(frame[columns].itertuples(index=False, name=None))
    assert len(lines) == len(expected)
    for line, row in zip(lines, expected, strict=True):
        assert line[:-2] == [str(value) for value in row[:-2]]
        clean, corrupted = (plain[run][row[-3]] for run in RUNS)
        gap = abs(clean - corrupted)
        allowed = tolerance(result.provenance["dtype"], gap)
        assert float(line[-2]) == pytest.approx(row[-2], abs=allowed), (line, row, setting)
        if gap > 1e-4 * max(1, abs(clean), abs(corrupted)):
            assert math.isclose(float(line[-1]), row[-1], abs_tol=2 * allowed / min(gap, 1.0)), (line, row, setting)
        else:
            assert math.isnan(float(line[-1]))


RUNS = ("clean", "corrupted")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    models.hugging_face("llama", torch.float32).save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> list[PatchResult]:
    """The results of all settings, on the tiny Llama in float64."""
    model = load_model(folder, dtype="float64")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the two runs hardly differ")
        return [patch(model, given, site, **options).wait() for given, site, options in SETTINGS]


def test_the_scripts_print_the_results_numbers(results: list[PatchResult], tmp_path: Path) -> None:
    for setting, result, printed in zip(SETTINGS, results, run(results, tmp_path), strict=True):
        assert_same_numbers(result, printed, setting)


def test_the_scripts_are_clean_python(results: list[PatchResult], folder: Path, tmp_path: Path) -> None:
    """Nothing unused, undefined or too long; no path but the model's own; no word that the project avoids."""
    for number, result in enumerate(results):
        script = result.code()
        strings = [node.value for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Constant)]
        assert [text for text in strings if isinstance(text, str) and text[:1] == "/" != text] == [str(folder)]
        assert "important" not in script
        (tmp_path / f"script{number}.py").write_text(script.replace(str(folder), "model"), encoding="utf-8")
    rules = ["--isolated", "--no-cache", "--line-length", "100", "--select", "E,F,W", "--target-version", "py311"]
    ran = subprocess.run([sys.executable, "-m", "ruff", "check", *rules, str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_plain_sweep_has_a_short_script(results: list[PatchResult]) -> None:
    """What the settings do not need is not there."""
    script = results[PLAIN].code()
    assert len(script.splitlines()) <= 70
    for word in ("standing", "seed", "noise", "prompts", "partial", "tail", "matched", "divergence", "pairs", "float("):
        assert word not in script.replace("float(value)", "")


def test_a_script_says_what_stands_and_what_is_taken_without_it(results: list[PatchResult]) -> None:
    for (_, _, options), result in zip(SETTINGS, results, strict=True):
        told = " ".join((ast.get_docstring(ast.parse(result.code())) or "").split())
        assert ("Standing in" in told) == bool(options.get("standing"))
        alone = result.code().count("# What these prompts give is taken from runs with nothing standing.")
        acting = [result.provenance, *result.provenance["standing"]]
        takes = sum(each["intervention"] in ("mean", "resample") for each in acting)
        assert alone == (takes if options.get("standing") else 0)
    stand = next(result for (_, _, options), result in zip(SETTINGS, results, strict=True)
                 if options.get("standing") is EMBED)  # fmt: skip
    told = " ".join((ast.get_docstring(ast.parse(stand.code())) or "").split())
    noise = "Gaussian noise (sigma 1, samples 2) at embed, positions 1, 2."
    assert f"Standing in the corrupted run meanwhile: {noise}" in told


def test_a_script_runs_alone_on_the_embedded_model(embedded: TransformerBridge, tmp_path: Path) -> None:
    metrics = ["logit_diff", "prob", "logprob", "logit", "rank", "kl_clean"]
    result = patch(embedded, IOI, "resid_pre", metric=metrics, layers=[0, 3]).wait()
    (tmp_path / "alone.py").write_text(result.code(), encoding="utf-8")
    assert_same_numbers(result, python(["alone.py"], tmp_path))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_scored_as_the_result_was(folder: Path, dtype: str) -> None:
    model = load_model(folder, dtype=dtype)
    metrics = ["logit_diff", "logprob", "kl_clean"]
    for pair in (models.PAIR, LONG):
        result = patch(model, pair, "z", metric=metrics, layers=[2]).wait()
        assert_same_numbers(result, here(result.code()))


def test_the_script_of_a_saved_result_is_the_same(results: list[PatchResult], tmp_path: Path) -> None:
    for number, result in enumerate(results[::7]):
        path = result.save(tmp_path / f"{number}.nc")
        assert PatchResult.load(path).code() == result.code()


def test_the_script_of_one_metric_follows_the_gradient_of_the_first(folder: Path) -> None:
    model = load_model(folder, dtype="float64")
    result = patch(model, models.PAIR, "z", intervention=Mask(), metric=["logit_diff", "prob"]).wait().select("prob")
    assert_same_numbers(result, here(result.code()))


def last_of_w20(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """A metric of the user's: a logit, and a number that only the right tokens give."""
    return logits[:, -1, 22] + tokens[:, 3]


def test_a_function_of_the_users_is_a_line_to_fill_in(folder: Path) -> None:
    model = load_model(folder, dtype="float64")
    for pair in (models.PAIR, LONG):
        result = patch(model, pair, "z", metric=[last_of_w20, "logprob"], layers=[1]).wait()
        script = result.code()
        assert script.count("# Put your own function here") == 1
        assert script.count("last_of_w20 = ...\n") == 1
        assert_same_numbers(result, here(script.replace("last_of_w20 = ...\n", ""), last_of_w20=last_of_w20))
    unnamed = patch(model, models.PAIR, "z", metric=lambda logits, tokens: logits[:, -1, 22], layers=[1]).wait()
    script = unnamed.code().replace("custom_metric = ...\n", "")
    assert_same_numbers(unnamed, here(script, custom_metric=lambda logits, tokens: logits[:, -1, 22]))


def test_a_model_that_was_made_in_memory_is_a_line_to_fill_in(gpt2: TransformerBridge) -> None:
    """Random weights of the architecture gpt2 are not the model gpt2: the script must not load that one."""
    with pytest.warns(UserWarning, match="in place"):
        model = load_model(models.hugging_face("gpt2"), tokenizer=models.tokenizer())
    result = patch(model, models.PAIR, "z", layers=[0]).wait()
    line = "model = ...  # the model was made in memory; put it here\n"
    assert result.code().count(line) == 1
    assert_same_numbers(result, here(result.code().replace(line, ""), model=model))


def test_hooks_of_the_users_are_named_where_they_belong(folder: Path) -> None:
    model = load_model(folder, dtype="float64")
    model.add_hook("blocks.1.hook_mlp_out", lambda activation, hook: activation * 2)
    with pytest.warns(UserWarning, match="has hooks at"):
        result = patch(model, models.PAIR, "z", layers=[0]).wait()
    model.reset_hooks()
    assert "\n# Hooks of yours were on the model, at blocks.1" in result.code()


def test_a_name_on_the_hub_is_loaded_with_its_revision(results: list[PatchResult]) -> None:
    origin = {**results[PLAIN].provenance, "location": "gpt2", "revision": "abc"}
    script = PatchResult(results[PLAIN].data, origin).code()
    loading = 'TransformerBridge.boot_transformers( "gpt2", device="cpu", dtype=torch.float64, revision="abc", )'
    assert loading in " ".join(script.split())
    assert "patchwidgets" not in script


HOSTILE = '/a/"quoted"\'s \\folder\n"""\u2028'


def test_hostile_names_make_a_valid_script(folder: Path) -> None:
    model = load_model(folder, dtype="float64")
    named = Dataset(list(OTHERS)[:4], name=HOSTILE)
    joint = Joint({HOSTILE: [("z", {"layer": 0})]})
    result = patch(
        model, PromptPair(CLEAN, CORRUPTED, answer="w20"), joint, metric="prob", intervention=Mean(named)
    ).wait()
    assert float(here(result.code()).rsplit("\t", 2)[1]) == pytest.approx(float(result.data["patched"][0, 0]), abs=1e-8)
    result.provenance["location"] = HOSTILE
    tree = ast.parse(result.code().encode("utf-8"))
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert strings.count(HOSTILE) == 2
