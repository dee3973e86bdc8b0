"""Answers that are sets, continuations, or read elsewhere than at the end, against log-probabilities taken by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.answers import Continuation
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.metrics import METRICS
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

CLEAN, CORRUPTED = "w1 w2 w3 w4", "w1 w9 w3 w8"
HOOKS = {"resid_pre": "blocks.{}.hook_resid_pre", "z": "blocks.{}.attn.hook_z"}


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    return request.getfixturevalue(request.param)


def ids(text: str) -> list[int]:
    return [models.WORDS.index(word) for word in text.split()]


def tokens(model: TransformerBridge, prompt: str, tail: list[int]) -> Tensor:
    return torch.cat([models.tokens(model, prompt), torch.tensor([tail], dtype=torch.long)], 1)


def patched(
    model: TransformerBridge, site: str, cell: dict[str, int], tail: list[int], direction: str = "denoise"
) -> Tensor:
    """Return the logits [pos, vocab] of the base run, continued by `tail`, after one patch from the source run."""
    base, source = (CORRUPTED, CLEAN) if direction == "denoise" else (CLEAN, CORRUPTED)
    name = HOOKS[site].format(cell["layer"])
    index = (0, cell.get("pos", slice(None)), *([cell["head"]] if "head" in cell else []))
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens(model, source, tail))

        def put(activation: Tensor, hook: object) -> Tensor:
            activation[index] = cache[name][index]
            return activation

        return model.run_with_hooks(tokens(model, base, tail), fwd_hooks=[(name, put)])[0]


def said(logits: Tensor, answer: list[int]) -> float:
    """The log-probability of the answer's tokens one after another, at the end of logits [pos, vocab]."""
    spread = logits.log_softmax(-1)[-len(answer) :]
    return float(sum(spread[i, token] for i, token in enumerate(answer)))


def assert_cells(result: PatchResult, metric: str, value: Callable[[dict[str, int]], float]) -> None:
    table = result.data["patched"].sel(metric=metric)
    for where in np.ndindex(*table.shape):
        cell = dict(zip(result.by, where, strict=True))
        assert float(table.values[where]) == pytest.approx(value(cell), abs=1e-8), (metric, cell)


SWEEPS = [("resid_pre", ("layer", "pos")), ("resid_pre", ("layer",)), ("z", ("layer", "head"))]


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize(("site", "by"), SWEEPS)
@pytest.mark.parametrize(("answer", "foil"), [("w20 w22 w23", "w21"), ("w20", "w21 w24"), ("w20 w22", "w20 w23")])
def test_a_continuation_is_the_sum_of_its_log_probabilities(
    model: TransformerBridge, site: str, by: tuple[str, ...], answer: str, foil: str, direction: str
) -> None:
    """Each reading is a text of its own, patched at all its positions where a cell names none."""
    pair = PromptPair(CLEAN, CORRUPTED, answer=Continuation(answer), foil=Continuation(foil))
    result = patch(model, pair, site, by=by, direction=direction, metric=["logit_diff", "logprob", "prob"]).wait()

    known: dict[str, float] = {}

    def logprob(cell: dict[str, int], wanted: str) -> float:
        key = f"{cell} {wanted}"
        if key not in known:
            known[key] = said(patched(model, site, cell, ids(wanted)[:-1], direction), ids(wanted))
        return known[key]

    assert_cells(result, "logprob", lambda cell: logprob(cell, answer))
    assert_cells(result, "prob", lambda cell: float(np.exp(logprob(cell, answer))))
    assert_cells(result, "logit_diff", lambda cell: logprob(cell, answer) - logprob(cell, foil))
    for run, prompt in (("clean", CLEAN), ("corrupted", CORRUPTED)):
        with torch.no_grad():
            readings = [said(model(tokens(model, prompt, ids(each)[:-1]))[0], ids(each)) for each in (answer, foil)]
        plain = result.data[run].sel(metric=["logit_diff", "logprob"]).values
        np.testing.assert_allclose(plain, [readings[0] - readings[1], readings[0]], rtol=0, atol=1e-8)


def test_what_follows_the_prompt_is_no_cell(gpt2: TransformerBridge) -> None:
    pair = PromptPair(CLEAN, CORRUPTED, answer=Continuation("w20 w22 w23"))
    result = patch(gpt2, pair, "resid_pre", metric=["logprob", "accuracy", "cross_entropy", "kl_clean"]).wait()
    assert result.data.sizes["pos"] == 5
    assert_cells(result, "cross_entropy", lambda cell: -float(result.data["patched"].sel(metric="logprob", **cell)))
    plain = gpt2(models.tokens(gpt2, CLEAN))[0, -1].log_softmax(-1).detach()

    def kl(cell: dict[str, int]) -> float:
        after = patched(gpt2, "resid_pre", cell, [])[-1].log_softmax(-1)
        return float((plain.exp() * (plain - after)).sum())

    assert_cells(result, "kl_clean", kl)
    # Everything patched is the clean run: its likeliest three in a row are an answer it gets right.
    best, text = [], models.tokens(gpt2, CLEAN)
    for _ in range(3):
        best.append(int(gpt2(torch.cat([text, torch.tensor([best], dtype=torch.long)], 1))[0, -1].argmax()))
    whole = PromptPair(CLEAN, CORRUPTED, answer=Continuation(best))  # type: ignore[arg-type]
    found = patch(gpt2, whole, "resid_pre", by="layer", metric="accuracy").wait()
    assert found.data["patched"].values.ravel().tolist() == [1.0] * 3
    assert found.clean == 1.0


def test_a_continuation_of_one_token_is_that_token(gpt2: TransformerBridge) -> None:
    one, other = (
        patch(gpt2, PromptPair(CLEAN, CORRUPTED, answer=answer, foil="w21"), "z", metric=list(METRICS)).wait()
        for answer in (Continuation("w20"), "w20")
    )
    np.testing.assert_array_equal(one.data["patched"], other.data["patched"])


@pytest.mark.parametrize("metric", ["logit", "rank"])
def test_several_tokens_in_a_row_have_no_single_logit(gpt2: TransformerBridge, metric: str) -> None:
    pair = PromptPair(CLEAN, CORRUPTED, answer=Continuation("w20 w22"))
    told = f"several tokens in a row have no single {metric}; use the metric logprob, or one token."
    with pytest.raises(PatchError, match=told):
        patch(gpt2, pair, "z", metric=["logprob", metric])


def test_a_set_means_any_of_its_tokens(model: TransformerBridge) -> None:
    pair = PromptPair(CLEAN, CORRUPTED, answer=["w20", "w25", "w26"], foil=("w21", "w22"))
    names = ["logit_diff", "logit", "logprob", "prob", "cross_entropy", "rank", "accuracy"]
    result = patch(model, pair, "resid_pre", metric=names).wait()
    answers, foils = ids("w20 w25 w26"), ids("w21 w22")

    @functools.cache
    def run(layer: int, pos: int) -> Tensor:
        return patched(model, "resid_pre", {"layer": layer, "pos": pos}, [])[-1]

    def last(cell: dict[str, int]) -> Tensor:
        return run(**cell)

    assert_cells(result, "logit_diff", lambda cell: float(last(cell)[answers].mean() - last(cell)[foils].mean()))
    assert_cells(result, "logit", lambda cell: float(last(cell)[answers].mean()))
    assert_cells(result, "prob", lambda cell: float(last(cell).softmax(0)[answers].sum()))
    assert_cells(result, "logprob", lambda cell: float(last(cell).softmax(0)[answers].sum().log()))
    assert_cells(result, "cross_entropy", lambda cell: -float(last(cell).softmax(0)[answers].sum().log()))
    assert_cells(result, "accuracy", lambda cell: float(int(last(cell).argmax()) in answers))
    ranks = lambda cell: last(cell).argsort(descending=True).tolist()  # noqa: E731
    assert_cells(result, "rank", lambda cell: 1.0 + min(ranks(cell).index(token) for token in answers))
    assert result.provenance["answer"]["tokens"] == [[token] for token in answers]


@pytest.mark.parametrize("at", [-3, -2, 2, 3])
def test_the_answer_may_be_read_elsewhere(model: TransformerBridge, at: int) -> None:
    pair = PromptPair(CLEAN, CORRUPTED, answer="w20", foil="w21", at=at)
    length = models.tokens(model, CLEAN).shape[1]
    result = patch(model, pair, "resid_pre", metric=["logit_diff", "logprob", "kl_clean"]).wait()
    answer, foil = models.answer_ids()

    @functools.cache
    def run(layer: int, pos: int) -> Tensor:
        return patched(model, "resid_pre", {"layer": layer, "pos": pos}, [])[at]

    def there(cell: dict[str, int]) -> Tensor:
        return run(**cell)

    assert_cells(result, "logit_diff", lambda cell: float(there(cell)[answer] - there(cell)[foil]))
    assert_cells(result, "logprob", lambda cell: float(there(cell).log_softmax(0)[answer]))
    plain = model(models.tokens(model, CLEAN))[0, at].log_softmax(-1).detach()
    after = lambda cell: there(cell).log_softmax(-1)  # noqa: E731
    assert_cells(result, "kl_clean", lambda cell: float((plain.exp() * (plain - after(cell))).sum()))
    later = range(at % length + 1, length)
    np.testing.assert_allclose(result.effect.sel(pos=list(later)).values, 0.0, rtol=0, atol=1e-9)
    assert result.provenance["at"] == (at if at < 0 else at - length)


def second_last(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits[torch.arange(len(logits)), -2, tokens[:, -1]]


def test_a_function_sees_all_logits_and_the_tokens_of_the_run(model: TransformerBridge) -> None:
    result = patch(model, PromptPair(CLEAN, CORRUPTED), "resid_pre", metric=[second_last, "kl_corrupted"]).wait()
    last = ids(CORRUPTED)[-1]
    assert_cells(result, "second_last", lambda cell: float(patched(model, "resid_pre", cell, [])[-2, last]))
    assert result.data["clean"].sel(metric="second_last").item() == pytest.approx(
        model(models.tokens(model, CLEAN))[0, -2, ids(CLEAN)[-1]].item(), abs=1e-8
    )


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_function_sees_the_prompt_alone_whatever_follows_it(gpt2: TransformerBridge, direction: str) -> None:
    """The last logits are those after the prompt, also where an answer of several tokens is read after them."""
    shapes = set()

    def at_the_end(logits: Tensor, tokens: Tensor) -> Tensor:
        shapes.add((logits.shape[1:], tokens.shape[1:]))
        return logits[:, -1, 22] + tokens[:, -1]

    long = PromptPair(CLEAN, CORRUPTED, answer=Continuation("w20 w22 w23"), foil=Continuation("w21 w5"))
    metrics = ["logprob", at_the_end]
    found = patch(gpt2, long, "resid_pre", direction=direction, metric=metrics).wait().data.sel(metric="at_the_end")
    plain = patch(gpt2, PromptPair(CLEAN, CORRUPTED), "resid_pre", direction=direction, metric=at_the_end).wait().data
    assert shapes == {((5, models.VOCAB), (5,))}
    np.testing.assert_allclose(found["patched"], plain["patched"][0], rtol=0, atol=1e-9)
    for run, prompt in (("clean", CLEAN), ("corrupted", CORRUPTED)):
        with torch.no_grad():
            expected = float(gpt2(models.tokens(gpt2, prompt))[0, -1, 22]) + ids(prompt)[-1]
        assert float(found[run]) == pytest.approx(expected, abs=1e-8)


def test_what_a_function_does_wrong_is_raised_by_wait(gpt2: TransformerBridge) -> None:
    before = models.state(gpt2)

    def broken(logits: Tensor, tokens: Tensor) -> Any:
        raise RuntimeError("no")

    run = patch(gpt2, models.PAIR, "z", metric=broken)
    with pytest.raises(PatchError, match="the metric 'broken' raised RuntimeError: no"):
        run.wait()
    assert models.state(gpt2) == before


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        (PromptPair(CLEAN, CORRUPTED, answer="w20 w22", foil="w21"), r"is 2 tokens, .*pw.Continuation\('w20 w22'\)"),
        (PromptPair(CLEAN, CORRUPTED, answer=["w20", "w20"], foil="w21"), "answer names the token 'w20' twice"),
        (PromptPair(CLEAN, CORRUPTED, answer=["w20", "w21"], foil="w21"), "share the token 'w21'; leave it out of one"),
        (PromptPair(CLEAN, CORRUPTED, answer=["w20", "zebra"], foil="w21"), "'zebra' is not in this model's vocab"),
        (PromptPair(CLEAN, CORRUPTED, answer=Continuation("w20 zebra"), foil="w21"), "has a word this model does not"),
        (PromptPair(CLEAN, CORRUPTED, answer=Continuation([5, 40]), foil="w21"), "answer 40 is not a token id"),  # type: ignore[arg-type]
        (PromptPair(CLEAN, CORRUPTED, answer=Continuation("w1 " * 13), foil="w21"), "context holds 16; shorten"),
        (PromptPair(CLEAN, CORRUPTED, answer=Continuation("w20 w22"), foil="w21", at=-2), "leave out at="),
        (PromptPair(CLEAN, CORRUPTED, answer="w20", foil="w21", at=5), "position at=5 does not exist: the prompts "),
        (PromptPair(CLEAN, CORRUPTED, answer="w20", foil="w21", at=-6), "position at=-6 does not exist"),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_read_are_refused(gpt2: TransformerBridge, pair: PromptPair, told: str) -> None:
    with pytest.raises(PatchError, match=told):
        patch(gpt2, pair, "z")
