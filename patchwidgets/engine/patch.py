"""`patch`: from two prompts, or a dataset of them, to a running sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..answers import as_id
from ..datasets import Dataset
from ..encoding import encode_pair, encode_prompts, warn_unknown_words
from ..errors import PatchError, PromptError, quoted, unknown
from ..interventions import Intervention, Mean, Patch, Resample, Standing, check_seed, get_intervention
from ..joint import Joint
from ..metrics import Metric, get_metrics
from ..prompts import EncodedPair, PromptPair, check_pair
from ..sites import get_site
from .baseline import RUNS
from .finite import check_size
from .handle import ModelHandle, handle_of
from .lanes import lanes_of
from .plan import Plan, make_plan
from .run import Run
from .scaled import check_executor, start_on
from .standing import check_standing
from .sweep import ENGINES, start
from .values import Encode, Sources, check_drawn, check_vector


def patch(
    model: Any,
    pair: PromptPair | Dataset,
    site: str | Joint,
    *,
    by: str | tuple[str, ...] | None = None,
    direction: str = "denoise",
    metric: Any = "logit_diff",
    intervention: str | Intervention | None = None,
    layers: Any = None,
    positions: Any = None,
    heads: Any = None,
    neurons: Any = None,
    window: int = 1,
    standing: Standing | Iterable[Standing] = (),
    seed: int = 0,
    batch_size: int | None = None,
    prepend_bos: bool | None = None,
    align: Any = None,
    resume: Any = None,
    engine: str | None = None,
    memory: float | None = None,
    executor: Any = None,
) -> Run:
    """Start a sweep: change one cell of the base run at a time, and read the metric.

    `pair` is a PromptPair or a Dataset of them. `site` is one of `patchwidgets.sites.SITES`, `by` its granularity, e.g.
    ("layer", "pos"); or a Joint of named sets of cells. `direction="denoise"` changes the corrupted run, "noise" the
    clean one. `intervention` is what a cell becomes: by default the other run's activation; or "zero", "mean",
    "resample", "noise", "scale", "mask", or an object of `patchwidgets.interventions` with settings of its own.
    `metric` is a name, a function `(logits [run, pos, vocab], tokens [run, pos]) -> [run]`, or several of those.

    `layers`, `positions`, `heads` and `neurons` choose cells along a swept axis, and confine where a cell writes along
    any other. `window` patches so many layers together, centred on the cell's. `standing` interventions stay in place
    during every run. `seed` is where random draws start. `align="auto"`, an Alignment or a list of (clean, corrupted)
    positions compares prompts of unequal length. `batch_size` is the number of patched runs per forward pass (chosen by
    itself when None). `resume` is the path of a journal: what is measured is written there as it comes, and the same
    call goes on from it after the kernel was killed or the run cancelled. `engine` is "replay", which runs again only
    what a patch changes, or "hooked", which runs every patched prompt whole; None takes the first where it can be used.
    `memory` is about how many bytes the sweep may take beside the model, by default half of what is free; one cell
    always goes through. `executor` is a `concurrent.futures.Executor`, such as a ProcessPoolExecutor or dask's
    `client.get_executor()`: its workers load the model as it was loaded here, each once, and measure the cells;
    `memory` is then what each worker may take.

    Cells that a living result of the same model has are taken from it where nothing they depend on has changed: another
    metric, other answers, more layers or positions. `result.check["reused"]` counts them.

    Returns a Run at once; `run.wait()` gives the PatchResult with `patched[metric, *by]`. Raises PatchError for
    anything that cannot be done as asked, before anything runs. While a sweep runs, plain forward passes of the model
    in other threads are right; passes with hooks of your own (`run_with_cache`) belong after `run.wait()`, as their
    hooks see the sweep's activations too. Source: Vig et al., arXiv 2004.12265; Meng et al., arXiv 2202.05262.

    >>> import patchwidgets as pw
    >>> pair = pw.PromptPair("When Mary and John went to the store, John gave a drink to",
    ...                      "When Anna and John went to the store, John gave a drink to", answer=" Mary", foil=" Anna")
    >>> result = pw.patch(pw.load_model(), pair, "resid_pre").wait()
    >>> result.data["patched"].dims
    ('metric', 'layer', 'pos')
    """
    handle = handle_of(model)
    handle.check_ready()
    chosen, granularity = _site(site, by)
    metrics = get_metrics(metric)
    way, what = Patch(direction), get_intervention(intervention, direction)
    stands = _standing(standing)
    batch_size = None if batch_size is None else _number("batch_size", batch_size, least=1)
    if engine not in (None, *ENGINES):
        raise unknown("engine", engine, ENGINES)
    memory = None if memory is None else _bytes(memory)
    window, seed = _number("window", window, least=1), check_seed(seed)
    if prepend_bos is not None and not isinstance(prepend_bos, bool):
        raise PatchError(f"prepend_bos must be True, False or None, not {quoted(prepend_bos)}.")
    encoded = encode(
        handle,
        pair,
        prepend_bos=prepend_bos,
        align=align,
        needs_answer=any(m.needs_answer for m in metrics),
        needs_foil=any(m.needs_foil for m in metrics),
        may_be_equal=any(stand.runs != "both" for stand in stands),
    )
    subsets = {"layer": layers, "pos": positions, "head": heads, "neuron": neurons}
    plan = make_plan(
        handle, encoded, chosen, granularity, way, metrics, subsets, intervention=what, window=window, standing=stands,
        seed=seed,
    )  # fmt: skip
    drawn = (what, *(stand.intervention for stand in stands))
    _check_over(drawn, isinstance(pair, Dataset))
    others = {
        id(each.over): prompts_of(handle, each.over, prepend_bos)
        for each in drawn
        if isinstance(each, (Mean, Resample)) and each.over is not None
    }
    check_plan(handle, plan, lambda over: others[id(over)])
    go = start if executor is None else partial(start_on, check_executor(executor))
    return go(handle, plan, batch_size, lambda over: others[id(over)], resume, engine, memory)


def check_plan(handle: ModelHandle, plan: Plan, encode: Encode) -> None:
    """Raise PatchError where a plan's metrics or values cannot be had; `encode` gives another dataset's prompts."""
    _check_fit(handle, plan, plan.metrics)
    _check_drawn(handle, plan, encode)


def encode(handle: ModelHandle, given: object, **options: Any) -> tuple[EncodedPair, ...]:
    """Return a pair, or every pair of a Dataset, as the model's tokens; errors name the pair of a dataset."""
    if not isinstance(given, Dataset):
        pair = check_pair(given)
        encoded = encode_pair(pair, handle.tokenizer, rate=handle.rate, **options)
        warn_unknown_words(pair, encoded, handle.tokenizer)
        return (encoded,)
    found = _each(given, lambda pair: encode_pair(pair, handle.tokenizer, rate=handle.rate, **options), "the dataset")
    for pair, encoded in zip(given, found, strict=True):
        warn_unknown_words(pair, encoded, handle.tokenizer)
    return found


def _each(
    pairs: Iterable[PromptPair], read: Callable[[PromptPair], EncodedPair], where: str
) -> tuple[EncodedPair, ...]:
    found = []
    for number, pair in enumerate(pairs):
        try:
            found.append(read(pair))
        except PromptError as error:
            raise PromptError(f"pair {number} of {where}: {error}", error.field) from error
        except PatchError as error:
            raise PatchError(f"pair {number} of {where}: {error}") from error
    return tuple(found)


def prompts_of(handle: ModelHandle, over: Dataset, prepend_bos: bool | None = None) -> tuple[EncodedPair, ...]:
    """Return the prompts of another dataset, whose answers do not matter."""
    asked = [replace(pair, answer=None, foil=None, at=-1) for pair in over]
    options = {"prepend_bos": prepend_bos, "align": "auto", "may_be_equal": True}
    return _each(asked, lambda pair: encode_prompts(pair, handle.tokenizer, **options), f"the dataset {over.name!r}")


def _check_fit(handle: ModelHandle, plan: Plan, metrics: Sequence[Metric]) -> None:
    """Raise PatchError where a metric cannot read the answers, or an intervention fits neither cells nor dtype."""
    long = any(len(sequence) > 1 for pair in plan.pairs for sequence in (*pair.answers, *pair.foils))
    for metric in metrics:
        if metric.single and long:
            raise PatchError(
                f"several tokens in a row have no single {metric.name}; use the metric logprob, or one token."
            )
    for stand in plan.standing:
        check_standing(handle, stand, plan.pairs)
    check_size(plan.intervention, handle)
    one = [(plan.site, plan.by)] if not isinstance(plan.site, Joint) else []
    sets = plan.site.cells if isinstance(plan.site, Joint) else ()
    for site, by in [*one, *((site, tuple(place)) for cells in sets for site, place in cells)]:
        check_vector(plan.intervention, site, handle.shape(site), by, plan.within.get("neuron"))


def _check_drawn(handle: ModelHandle, plan: Plan, encode: Encode) -> None:
    """Raise PatchError where other prompts cannot give the means or the samples that are asked of them."""
    lanes = lanes_of(plan.pairs, plan.samples, plan.metrics)
    swept = [(plan.intervention, plan.patch.base, plan.sites)]
    standing = [
        (stand.intervention, run, [get_site(stand.site)])
        for stand in plan.standing
        for run in (RUNS if stand.runs == "both" else (stand.runs,))
    ]
    for what, base, at in [*swept, *standing]:
        check_drawn(what, Sources(handle, lanes, base, (), plan.seed, encode), at)


def _site(site: object, by: object) -> tuple[Any, tuple[str, ...]]:
    if not isinstance(site, Joint):
        found = get_site(site)
        return found, found.granularity(by)
    if by not in (None, "set", ("set",)):
        raise PatchError(f"a Joint is swept by its sets; leave out by={by!r}.")
    return site, ("set",)


def _standing(given: object) -> tuple[Standing, ...]:
    stands = (given,) if isinstance(given, Standing) else given
    if not isinstance(stands, Iterable) or isinstance(stands, str):
        raise PatchError(f"standing must be a Standing or a list of them, not {quoted(given)}.")
    found = tuple(stands)
    wrong = [stand for stand in found if not isinstance(stand, Standing)]
    if wrong:
        raise PatchError(f'standing must hold Standing("z", Zero(), ...), not {quoted(wrong[0])}.')
    return found


def _check_over(interventions: Iterable[Intervention], has_dataset: bool) -> None:
    for each in interventions:
        if not isinstance(each, (Mean, Resample)):
            continue
        if each.over is None and not has_dataset:
            raise PatchError(
                f"{each.name} needs other prompts and a single pair has none; give {type(each).__name__}(over=dataset) "
                "or sweep a Dataset."
            )
        if each.over is not None and not isinstance(each.over, Dataset):
            raise PatchError(f"{each.name}: over must be a Dataset, not {quoted(each.over)}.")


def _bytes(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 1e6 or value == float("inf"):
        raise PatchError(f"memory must be a number of bytes, 1e6 or more, not {quoted(value)}.")
    return int(value)


def _number(name: str, value: object, *, least: int) -> int:
    found = as_id(value)
    if found is None or found < least:
        raise PatchError(f"{name} must be a whole number, {least} or more, not {quoted(value)}.")
    return found
