"""Sweeps on other processes: equal numbers, every cell once, whatever is lost, late, cancelled or refused.

What needs no process of its own is measured in this one, from pickled shards; the rest by two processes of a
ProcessPoolExecutor and by two workers of a dask.distributed cluster.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster

import patchwidgets as pw
from patchwidgets.engine import shards
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.model import loaded_from
from patchwidgets.engine.recipe import Kitchen, recipe_of, weights_of
from patchwidgets.engine.replay import climb
from patchwidgets.engine.run import Run
from patchwidgets.errors import PatchError
from patchwidgets.result import MEASURED, PatchResult
from tests import models
from tests.engine.executors import AtOnce, Fails, Held, Kills, spread

BY = ("layer", "pos", "head")
NEAR = 1e-8
PATIENCE = 120
"""More seconds than a sweep here takes, whatever else the machine does."""
SEVEN = pw.PromptPair([1, 3, 4, 9, 6, 7, 8], [1, 3, 5, 9, 6, 7, 8], answer=22, foil=23)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a folder."""
    where = tmp_path_factory.mktemp("models") / "tiny-llama"
    models.hugging_face("llama").save_pretrained(where)
    models.tokenizer().save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return pw.load_model(folder, dtype="float64")


def own(folder: Path) -> Any:
    """The model again, for a test that changes it."""
    return pw.load_model(folder, dtype="float64")


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Two processes of their own."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as found:
        yield found


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A dask cluster of two worker processes, which gives a task up as soon as its worker dies."""
    quiet = {"distributed.scheduler.allowed-failures": 0, "distributed.admin.log-format": "%(message)s"}
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, host="127.0.0.1",
            worker_dashboard_address=None, silence_logs=60,
        ) as cluster,
        Client(cluster) as found,
    ):  # fmt: skip
        yield found


@pytest.fixture(params=["pool", "dask"])
def workers(request: pytest.FixtureRequest) -> Executor:
    """Either kind of two other processes."""
    if request.param == "pool":
        return request.getfixturevalue("pool")
    return request.getfixturevalue("client").get_executor()


def told_of(run: Run) -> list[int]:
    """The cells a run tells of as measured, as they come."""
    told: list[int] = []
    run.subscribe(lambda run, cells: told.extend(cell for cell in cells.tolist() if run.status[cell] == MEASURED))
    return told


def assert_alike(found: PatchResult, expected: PatchResult) -> None:
    """Everything is equal but what tells of the workers, the numbers of plain and patched runs up to rounding."""
    assert found.data["status"].equals(expected.data["status"])
    assert found.data.coords.equals(expected.data.coords)
    assert set(found.data) == set(expected.data)
    for name in set(found.data) - {"status"}:
        np.testing.assert_allclose(found.data[name].values, expected.data[name].values, rtol=0, atol=NEAR)
    told = [{k: v for k, v in each.provenance.items() if k not in ("check", "executor")} for each in (found, expected)]
    assert told[0] == told[1]


def sweep(model: Any, what: Any, site: str = "z", **options: Any) -> PatchResult:
    """Measure, and assert that every cell was told of once."""
    run = pw.patch(model, what, site, **options)
    result = run.wait(PATIENCE)
    assert run.done == run.total == int((result.data["status"] == "measured").sum())
    return result


# Two worker processes, of either kind


@pytest.mark.parametrize("engine", [None, "hooked"])
def test_one_pair(model: Any, workers: Executor, engine: str | None) -> None:
    options: dict[str, Any] = {"by": BY, "metric": ["logit_diff", "kl_clean"], "engine": engine}
    expected = sweep(model, SEVEN, **options)
    found = sweep(model, SEVEN, **options, executor=workers)
    assert_alike(found, expected)
    assert found.engine == ("hooked" if engine else "replay")
    told = found.provenance["executor"]
    assert told["shards"] == told["measured"] == 4
    assert told["workers"] in (1, 2)  # A quick one may do all.
    assert told["retried"] == 0


@pytest.mark.parametrize("engine", [None, "hooked"])
def test_a_dataset(model: Any, workers: Executor, engine: str | None) -> None:
    options: dict[str, Any] = {"engine": engine, "metric": ["logit_diff", spread]}
    expected = sweep(model, models.five_pairs(), "resid_pre", **options)
    found = sweep(model, models.five_pairs(), "resid_pre", **options, executor=workers)
    assert_alike(found, expected)


def test_a_part_whose_runs_hardly_differ_is_told_of_with_the_whole(model: Any) -> None:
    """The third pair and its mirror image, one part of two, have a mean gap of zero; all four have not."""
    pairs = list(models.five_pairs())[:3]
    mirrored = replace(pairs[2], clean=pairs[2].corrupted, corrupted=pairs[2].clean)
    data = pw.Dataset([*pairs, mirrored])
    assert_alike(sweep(model, data, "resid_pre", executor=AtOnce()), sweep(model, data, "resid_pre"))


def test_the_embedded_model_in_other_processes(embedded: Any, pool: Executor) -> None:
    pair = pw.PromptPair(
        "When Mary and John went to the store, John gave a drink to",
        "When Anna and John went to the store, John gave a drink to", answer=" Mary", foil=" Anna",
    )  # fmt: skip
    expected = sweep(embedded, pair, "resid_pre")
    found = sweep(embedded, pair, "resid_pre", executor=pool)
    assert found.engine == "replay"
    np.testing.assert_allclose(found.data["patched"], expected.data["patched"], rtol=0, atol=1e-4)


def test_what_goes_wrong_on_a_worker_is_raised_as_it_is(model: Any, workers: Executor) -> None:
    run = pw.patch(model, SEVEN, "z", by=BY, metric=Fails(os.getpid()), executor=workers)
    with pytest.raises(PatchError, match=r"^the metric 'Fails' returned nan; it must return finite numbers"):
        run.wait(PATIENCE)
    assert run.done == 0


def test_a_cancelled_sweep_leaves_its_workers_fit(model: Any, workers: Executor) -> None:
    run = pw.patch(model, models.five_pairs(), "z", by=BY, executor=workers)
    for _ in run:
        if run.done:
            run.cancel()
            break
    result = run.wait(PATIENCE)
    assert 0 < run.done == int((result.data["status"] == "measured").sum())
    for what in (SEVEN, models.five_pairs()):
        assert_alike(sweep(model, what, by=BY, executor=workers), sweep(model, what, by=BY))


FORKED = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
import patchwidgets as pw

torch.set_num_threads(2)
big = torch.ones(1500, 1500)
big @ big
model = pw.load_model(sys.argv[1], dtype="float64")
pair = pw.PromptPair([1, 3, 4, 9, 6, 7, 8], [1, 3, 5, 9, 6, 7, 8], answer=22, foil=23)
expected = pw.patch(model, pair, "z").wait()
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    found = pw.patch(model, pair, "z", executor=pool).wait(60)
np.testing.assert_allclose(found.data["patched"], expected.data["patched"], rtol=0, atol=1e-8)
print("equal")
"""


def test_processes_that_are_forked(folder: Path, tmp_path: Path) -> None:
    """What Python's pools do by themselves on Linux, here after torch has started threads of its own."""
    script = tmp_path / "forked.py"
    script.write_text(FORKED, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(pw.__file__).parents[1]), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(script), str(folder)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "equal\n"


def test_a_dask_worker_that_is_killed(model: Any, client: Client, tmp_path: Path) -> None:
    expected = sweep(model, SEVEN, by=BY, metric=Kills(tmp_path / "killed", os.getpid()))
    run = pw.patch(
        model, SEVEN, "z", by=BY, metric=Kills(tmp_path / "killed", os.getpid()), executor=client.get_executor()
    )
    told = told_of(run)
    found = run.wait(PATIENCE)
    # Who sends the lost shard again depends on what dask knew of it: dask itself, or the sweep.
    assert (tmp_path / "killed").exists()
    assert sorted(told) == sorted(set(told))
    assert len(told) == run.done == run.total
    assert_alike(found, expected)


def test_dask_workers_that_are_killed_again_and_again(model: Any, client: Client, tmp_path: Path) -> None:
    metric = Kills(tmp_path / "killed", os.getpid(), always=True)
    run = pw.patch(model, SEVEN, "z", metric=metric, executor=client.get_executor())
    with pytest.raises(PatchError, match=r"3 workers in turn were lost with the same shard \(KilledWorker") as caught:
        run.wait(PATIENCE)
    assert f"0 of {run.total} cells are measured and kept" in str(caught.value)


def test_a_pool_whose_process_is_killed(model: Any, tmp_path: Path) -> None:
    """A pool is broken for good: what came back before is kept, and the same call goes on from it elsewhere."""
    journal = tmp_path / "sweep.journal"
    metric = Kills(tmp_path / "killed", os.getpid(), tuple(SEVEN.clean), shard=2)
    options: dict[str, Any] = {"by": BY, "metric": metric, "engine": "hooked"}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as doomed:
        doomed.submit(os.getpid).result()
        run = pw.patch(model, SEVEN, "z", **options, executor=doomed, resume=journal)
        told = told_of(run)
        with pytest.raises(
            PatchError, match=r"the ProcessPoolExecutor takes no more work \(BrokenProcessPool"
        ) as caught:
            run.wait(PATIENCE)
    assert 0 < run.done < run.total
    assert f"{run.done} of {run.total} cells are measured and kept: run.snapshot() has them" in str(caught.value)
    kept = run.snapshot()
    expected = sweep(model, SEVEN, **options)
    measured = kept.data["status"].values == "measured"
    assert measured.sum() == run.done == len(told) == len(set(told))
    np.testing.assert_allclose(
        kept.data["patched"].values[:, measured], expected.data["patched"].values[:, measured], rtol=0, atol=NEAR
    )
    again = AtOnce()
    assert_alike(sweep(model, SEVEN, **options, executor=again, resume=journal), expected)
    asked = sum(len(pickle.loads(task)[1][0].plan.order) for _, task in again.tasks)
    assert asked == run.total - run.done


# What comes back, in which order, and how often


def held(model: Any, what: Any, tasks: int, site: str = "z", **options: Any) -> tuple[Run, Held]:
    """Start a sweep whose shards wait for the test."""
    executor = Held()
    run = pw.patch(model, what, site, **options, executor=executor)
    executor.wait_for(tasks)
    return run, executor


@pytest.mark.parametrize(("what", "count"), [(SEVEN, 4), (models.five_pairs(), 8)], ids=["cells", "pairs"])
def test_the_order_in_which_shards_come_back_changes_nothing(model: Any, what: Any, count: int) -> None:
    found = []
    for seed in range(3):
        run, executor = held(model, what, count, by=BY)
        told = told_of(run)
        order = list(range(count))
        random.Random(seed).shuffle(order)
        for index in order:
            executor.do(index)
        found.append(run.wait(PATIENCE))
        assert sorted(told) == sorted(set(told))
        assert len(told) == run.total
    assert all(each.data.equals(found[0].data) for each in found)
    assert all(each.provenance == found[0].provenance for each in found)
    assert found[0].provenance["executor"] == {
        "kind": "Held", "shards": count, "measured": count, "workers": 1, "retried": 0,
    }  # fmt: skip
    assert_alike(found[0], sweep(model, what, by=BY))


def test_shards_cover_every_cell_of_every_pair_once(model: Any) -> None:
    run, executor = held(model, models.five_pairs(), 8, by=BY, metric=["logit", spread])
    run.cancel()
    sent = [pickle.loads(task)[1][0] for _, task in executor.tasks]
    done = Counter((cell, item) for shard in sent for cell in shard.plan.order.tolist() for item in range(*shard.items))
    assert set(done.values()) == {1}
    assert len(done) == run.total * 5
    for shard in sent:
        assert [pair.clean for pair in shard.plan.pairs] == [
            pair.clean for pair in models.five_pairs()[slice(*shard.items)]
        ]
    run.wait(PATIENCE)


def test_cells_come_while_others_are_measured(model: Any) -> None:
    run, executor = held(model, SEVEN, 4, by=BY)
    counts = []
    for index in range(4):
        executor.do(index)
        while run.done == (counts[-1] if counts else 0):
            next(iter(run))
        counts.append(run.done)
        snapshot = run.snapshot()
        assert int((snapshot.data["status"] == "measured").sum()) == run.done
        assert len(set(np.nonzero(snapshot.data["status"].values == "measured")[0].tolist())) == models.LAYERS
    assert counts[-1] == run.total
    run.wait(PATIENCE)


def test_cancel_takes_back_what_has_not_begun_and_drops_what_is_late(model: Any) -> None:
    run, executor = held(model, SEVEN, 4, by=BY)
    executor.do(2)
    while not run.done:
        next(iter(run))
    done = run.done
    begun, task = executor.tasks[0]
    assert begun.set_running_or_notify_cancel()
    run.cancel()
    result = run.wait(PATIENCE)
    assert run.cancelled
    assert [future.cancelled() for future, _ in executor.tasks] == [False, True, False, True]
    begun.set_result(executor.answer(task))
    assert run.done == done == int((run.snapshot().data["status"] == "measured").sum())
    expected = sweep(model, SEVEN, by=BY)
    measured = result.data["status"].values == "measured"
    np.testing.assert_allclose(
        result.data["patched"].values[:, measured], expected.data["patched"].values[:, measured], rtol=0, atol=NEAR
    )
    assert result.provenance["executor"]["measured"] == 1


def test_a_shard_whose_worker_was_thought_lost_counts_once(model: Any) -> None:
    """It goes out again; what the first worker still does goes nowhere."""
    run, executor = held(model, SEVEN, 4, by=BY)
    told = told_of(run)
    late = executor.tasks[1][1]
    executor.lose(1, ConnectionError("no heartbeat"))
    executor.wait_for(5)
    executor.answer(late)
    for index in (4, 3, 2, 0):
        executor.do(index)
    result = run.wait(PATIENCE)
    assert len(told) == len(set(told)) == run.total
    assert result.provenance["executor"]["retried"] == 1
    assert_alike(result, sweep(model, SEVEN, by=BY))
    tickets = [pickle.loads(task)[1][1] for _, task in executor.tasks]
    assert len(set(tickets)) == 5


def test_a_shard_that_is_lost_three_times_is_given_up(model: Any) -> None:
    run, executor = held(model, SEVEN, 4, by=BY)
    executor.do(3)
    for index, tasks in ((0, 5), (4, 6)):
        executor.lose(index, ConnectionError("no heartbeat"))
        executor.wait_for(tasks)
    executor.lose(5, ConnectionError("no heartbeat"))
    with pytest.raises(PatchError, match=r"3 workers in turn were lost .*\(ConnectionError: no heartbeat\)"):
        run.wait(PATIENCE)
    assert 0 < run.done < run.total
    assert executor.tasks[1][0].cancelled()


def test_what_came_back_beside_a_loss_is_kept(model: Any) -> None:
    run, executor = held(model, SEVEN, 4, by=BY)
    answers = [executor.answer(task) for _, task in executor.tasks[:3]]
    for (future, _), answer in zip(executor.tasks[:3], answers, strict=True):
        future.set_result(answer)
    executor.lose(3, BrokenProcessPool("a process died"))
    with pytest.raises(PatchError, match=r"takes no more work \(BrokenProcessPool: a process died\)"):
        run.wait(PATIENCE)
    assert run.done == run.total * 3 // 4


def test_an_executor_that_is_shut_down(model: Any) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(PatchError, match=r"the ThreadPoolExecutor takes no more work \(RuntimeError: cannot schedule"):
        pw.patch(model, SEVEN, "z", executor=executor).wait()


def test_an_executor_that_is_shut_down_meanwhile(model: Any) -> None:
    """It cancels what waits, and tells nobody."""
    executor, gate = ThreadPoolExecutor(1), threading.Event()
    executor.submit(gate.wait, PATIENCE)
    run = pw.patch(model, SEVEN, "z", by=BY, executor=executor)
    while not executor._work_queue.qsize():
        time.sleep(0.005)
    executor.shutdown(wait=False, cancel_futures=True)
    gate.set()
    with pytest.raises(PatchError, match="the ThreadPoolExecutor takes no more work"):
        run.wait(PATIENCE)


def test_threads_of_this_process_are_workers_too(model: Any) -> None:
    with ThreadPoolExecutor(3) as executor:
        assert_alike(sweep(model, SEVEN, by=BY, executor=executor), sweep(model, SEVEN, by=BY))


# Whatever a sweep can be

DONORS = pw.Dataset([pw.PromptPair([1, 3, 4, n, 6, 7], [1, 3, 5, n, 6, 7]) for n in (15, 16, 17)])


@pytest.mark.parametrize(
    "options",
    [
        {"intervention": "zero"},
        {"intervention": pw.Noise(0.5, samples=2)},
        {"intervention": "mean"},
        {"intervention": pw.Mean(over=DONORS)},
        {"intervention": pw.Resample(over=DONORS)},
        {"intervention": "resample"},
        {"intervention": pw.Mask(graded=True)},
        {"standing": pw.Standing("resid_pre", pw.Mean(over=DONORS), layers=0, positions=[1])},
        {"metric": ["rank", "accuracy", "prob"], "direction": "noise"},
        {"site": pw.Joint({f"{n}": [("z", {"layer": n % 3, "head": n // 3})] for n in range(12)})},
        {"site": "resid_post", "by": ("layer",), "window": 2},
        {"batch_size": 3, "memory": 1e9},
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_every_kind_of_sweep(model: Any, options: dict[str, Any]) -> None:
    data = models.five_pairs()
    expected = sweep(model, data, **options)
    for workers in (1, 3):
        assert_alike(sweep(model, data, **options, executor=AtOnce(workers)), expected)


def test_pairs_of_many_lengths_and_long_answers(model: Any) -> None:
    pairs = [
        pw.PromptPair([1, 3, 4, 5], [1, 3, 6, 5], answer=pw.Continuation([7, 8]), foil=9),
        pw.PromptPair([1, 3, 4, 5, 6, 7], [1, 9, 4, 5, 6, 7], answer=(7, 10), foil=pw.Continuation([9, 9, 4])),
        pw.PromptPair([1, 2, 4, 5], [1, 3, 4, 8], answer=11, foil=9, at=-2),
    ]
    data = pw.Dataset(pairs)
    assert_alike(sweep(model, data, executor=AtOnce(3)), sweep(model, data))


def test_a_journal_is_the_same_with_and_without_workers(model: Any, tmp_path: Path) -> None:
    executor = Held()
    run = pw.patch(model, SEVEN, "z", by=BY, executor=executor, resume=tmp_path / "journal")
    executor.wait_for(4)
    executor.do(1)
    while not run.done:
        next(iter(run))
    done = run.done
    run.cancel()
    run.wait(PATIENCE)
    expected = sweep(model, SEVEN, by=BY)
    run = pw.patch(model, SEVEN, "z", by=BY, resume=tmp_path / "journal")
    told = told_of(run)
    assert_alike(run.wait(PATIENCE), expected)
    assert done <= len(told) == run.total
    whole = sweep(model, SEVEN, by=BY, executor=Held(), resume=tmp_path / "journal")
    assert_alike(whole, expected)
    assert whole.provenance["executor"]["shards"] == 0


def test_the_worst_of_all_shards_is_told(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One shard whose replay is wrong is measured through hooks on its worker, and the whole result says so."""
    expected = sweep(model, SEVEN, by=BY, engine="hooked")
    run, executor = held(model, SEVEN, 4, by=BY)
    executor.do(3)
    put = climb.Climb._put

    def askew(self: Any, activation: Any, target: Any, *rest: Any) -> None:
        site, place = target
        put(self, activation, (site, {**place, "head": (place["head"] + 1) % 4}), *rest)

    with monkeypatch.context() as broken:
        broken.setattr(climb.Climb, "_put", askew)
        executor.do(2)
    executor.do(1)
    executor.do(0)
    with pytest.warns(UserWarning, match=r"^replayed runs did not agree with the same runs through hooks"):
        result = run.wait(PATIENCE)
    assert result.engine == "hooked"
    assert result.provenance["why_hooked"].startswith("replayed runs did not agree")
    assert result.check["wrong"]
    assert result.check["worst_difference"] > 1e-3
    assert result.check["remeasured"] >= 8
    np.testing.assert_allclose(result.data["patched"], expected.data["patched"], rtol=0, atol=NEAR)


# Models and their recipes


def test_what_a_model_was_loaded_from(folder: Path, model: Any, embedded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded_from(embedded) == (None, None, None, None)
    assert recipe_of(handle_of(embedded)).told == "the embedded model"
    monkeypatch.chdir(folder.parent)
    words = models.tokenizer()
    relative = pw.load_model(folder.name, tokenizer=words)
    assert loaded_from(relative) == (str(folder), None, words, None)
    recipe = recipe_of(handle_of(relative))
    assert (recipe.what, recipe.dtype, recipe.device, recipe.processed) == (str(folder), "float32", "cpu", False)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert recipe != recipe_of(handle_of(model))  # In float64.


def test_a_process_keeps_one_model(folder: Path, model: Any) -> None:
    kitchen = Kitchen()
    first, second = recipe_of(handle_of(model)), recipe_of(handle_of(pw.load_model(folder)))
    made = kitchen.model(first)
    assert kitchen.model(pickle.loads(pickle.dumps(first))) is made
    assert made is not model
    gone = weakref.ref(made)
    del made
    assert next(kitchen.model(second).parameters()).dtype == torch.float32
    gc.collect()
    assert gone() is None


def test_threads_that_need_a_model_at_once_get_one(model: Any) -> None:
    kitchen, recipe, found = Kitchen(), recipe_of(handle_of(model)), []
    threads = [threading.Thread(target=lambda: found.append(kitchen.model(recipe))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(each) for each in found}) == 1


def test_a_model_in_another_precision_than_it_was_loaded_in(folder: Path) -> None:
    moved = pw.load_model(folder).to(torch.float64)
    assert_alike(sweep(moved, SEVEN, executor=AtOnce()), sweep(moved, SEVEN))


def test_processed_weights_are_processed_there_too(folder: Path) -> None:
    processed = own(folder)
    processed.enable_compatibility_mode()
    found = sweep(processed, SEVEN, intervention="zero", executor=AtOnce())
    assert found.provenance["weights"] == "processed"
    assert_alike(found, sweep(processed, SEVEN, intervention="zero"))


@pytest.mark.parametrize("option", ["fold_ln", "center_writing_weights", "fold_value_biases"])
def test_weights_processed_in_another_way_are_refused(option: str) -> None:
    processed = pw.load_model()
    processed.enable_compatibility_mode(**{option: False})
    with pytest.raises(PatchError, match="is not this model, which was processed with options of its own, or changed"):
        pw.patch(processed, SEVEN, "z", executor=AtOnce()).wait()


@pytest.mark.parametrize("where", ["a head", "one matrix", "everywhere a little"])
def test_a_model_that_was_changed_is_refused(folder: Path, where: str) -> None:
    changed = own(folder)
    with torch.no_grad():
        if where == "a head":
            changed.blocks[1].attn.o.weight[:, 8:16] = 0
        elif where == "one matrix":
            changed.blocks[2].mlp.out.weight *= 1.001
        else:
            for parameter in changed.parameters():
                parameter += 1e-6
    message = rf"what a worker loads from '{folder}' is not this model, which was changed after it was loaded\. Save "
    with pytest.raises(PatchError, match=message):
        pw.patch(changed, SEVEN, "z", executor=AtOnce()).wait()


def test_a_change_that_no_glance_at_the_weights_shows(folder: Path) -> None:
    """Every worker's plain runs are held against these."""
    model = own(folder)
    embedding = model.original_model.get_input_embeddings()
    weight = next(embedding.parameters())
    before = weights_of(handle_of(model))
    for column in range(weight.shape[1]):
        with torch.no_grad():
            weight[9, column] += 0.5
            if weights_of(handle_of(model)) == before:
                break
            weight[9, column] -= 0.5
    assert weights_of(handle_of(model)) == before
    with pytest.raises(PatchError, match="is not this model, which was changed after it was loaded"):
        pw.patch(model, SEVEN, "z", executor=AtOnce()).wait()


def test_a_folder_that_changed_meanwhile_is_loaded_anew(tmp_path: Path) -> None:
    results = []
    for seed in range(2):
        models.hugging_face("gpt2", seed=seed).save_pretrained(tmp_path)
        models.tokenizer().save_pretrained(tmp_path)
        model = pw.load_model(tmp_path, dtype="float64")
        results.append(sweep(model, SEVEN, executor=AtOnce()))
        assert_alike(results[-1], sweep(model, SEVEN))
    assert not results[0].data.equals(results[1].data)


# What is refused, before anything runs


def refused(message: str, model: Any, executor: Any = None, **options: Any) -> None:
    asked = AtOnce()
    with pytest.raises(PatchError, match=message):
        pw.patch(model, SEVEN, "z", **options, executor=executor or asked)
    assert not asked.tasks


def test_a_model_that_was_handed_over(gpt2: Any) -> None:
    refused(r"the workers cannot make the model 'gpt2', which was handed over in memory\. Load it by its name", gpt2)
    with pytest.warns(UserWarning, match="bridged in place"):
        bridged = pw.load_model(models.hugging_face(), tokenizer=models.tokenizer())
    refused("handed over in memory", bridged)


@pytest.mark.filterwarnings("ignore:the model has hooks")
def test_hooks_on_the_model(folder: Path) -> None:
    model = own(folder)
    model.add_hook("blocks.1.hook_resid_pre", lambda activation, hook: activation * 2)
    refused(r"the model has hooks at blocks\.1\.hook_resid_pre, and the workers' models have none\. Remove", model)


def test_metrics_that_cannot_be_sent(model: Any) -> None:
    def local(logits: Any, tokens: Any) -> Any:
        return logits[:, -1, 5]

    remedy = r"cannot be sent to the workers, as it is a lambda .*Define it with def in a module"
    refused(rf"the metric 'local' {remedy}", model, metric=["logit", local])
    refused(rf"the metric '<lambda>' {remedy}", model, metric=lambda logits, tokens: logits[:, -1, 5])


def test_what_is_no_executor(model: Any, client: Client) -> None:
    refused(
        r"executor must be a concurrent\.futures\.Executor, not 4; such as a ProcessPoolExecutor", model, executor=4
    )
    refused(
        r"executor must be a concurrent\.futures\.Executor, .*; give client\.get_executor\(\)", model, executor=client
    )


def test_other_versions_on_a_worker_are_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, executor = held(model, SEVEN, 4, by=BY)
    future, task = executor.tasks[0]
    shard = pickle.loads(task)[1][0]
    shard.sent.versions["torch"] = "1.0"
    future.set_result(shards.measure(shard, ""))
    with pytest.raises(PatchError, match=r"a worker has torch .* \(here 1\.0\); install the same versions everywhere"):
        run.wait(PATIENCE)


def test_errors_that_are_no_patch_errors_keep_their_story(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, recipe: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Kitchen, "model", broken)
    with pytest.raises(OSError, match="the disk is gone") as caught:
        pw.patch(model, SEVEN, "z", executor=AtOnce()).wait()
    assert "in broken" in caught.value.__notes__[0]


def test_a_module_that_was_tampered_with_is_refused(folder: Path) -> None:
    """Plain runs need not show it."""
    tampered = pw.load_model(folder, tokenizer=models.tokenizer())
    module = tampered.blocks[1].mlp.out.original_component
    handle = module.register_forward_hook(lambda module, args, output: output * 1.2)
    with pytest.raises(PatchError, match="a hook or a forward of its own"):
        recipe_of(handle_of(tampered))
    handle.remove()
    assert recipe_of(handle_of(tampered)).what == str(folder)
    plain = module.forward
    module.forward = lambda *args: plain(*args)
    with pytest.raises(PatchError, match="a hook or a forward of its own"):
        recipe_of(handle_of(tampered))
