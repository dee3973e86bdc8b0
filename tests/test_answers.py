"""Answers are one token, any of several, or several in a row; what they mean to a tokenizer small enough to read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from patchwidgets.answers import Continuation, Target, as_id, as_ids, check_answer, resolve, told
from patchwidgets.errors import PatchError, PromptError
from patchwidgets.prompts import PromptPair
from tests.test_prompts import Pieces


def meant(value: Any, tokenizer: Pieces | None = None) -> Target:
    answer = check_answer(value, "answer")
    assert answer is not None
    return resolve(answer, "answer", tokenizer or Pieces(), [2], None)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (" Mary", ((7,),)),
        (6, ((6,),)),
        (np.int64(6), ((6,),)),
        (torch.tensor(6), ((6,),)),
        ([" Mary", 4], ((7,), (4,))),
        ((" Mary",), ((7,),)),
        (frozenset([6]), ((6,),)),
        (Continuation(" Marys"), ((7, 10),)),
        (Continuation("Mary"), ((6,),)),
        (Continuation([5, 5]), ((5, 5),)),  # type: ignore[arg-type]
        (Continuation(np.array([5, 3])), ((5, 3),)),  # type: ignore[arg-type]
    ],
)
def test_what_an_answer_means(value: Any, target: Target) -> None:
    assert meant(value) == target


def test_the_texts_of_answers() -> None:
    assert told(((7,), (4,)), Pieces()) == " Mary or  dog"
    assert told(((7, 10),), Pieces()) == " Marys"


def test_a_pair_keeps_answers_in_one_form() -> None:
    pair = PromptPair("a", "b", answer=[" x", np.int64(3)], foil=Continuation(torch.tensor([1, 2])))  # type: ignore[list-item, arg-type]
    assert pair.answer == (" x", 3)
    assert pair.foil == Continuation((1, 2))
    assert hash(pair) == hash(PromptPair("a", "b", answer=(" x", 3), foil=Continuation((1, 2))))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "answer is an empty list; give one token or more"),
        ([1.5], r"a list of those \(any of them\), a Continuation or None, not \[1.5\]"),
        ([None], "answer must be a text, a token id, a list of those"),
        ([[1, 2]], "answer must be a text, a token id, a list of those"),
        ([Continuation("a")], "answer must be a text, a token id, a list of those"),
        (True, "answer must be a text, a token id, a list of those .* not True"),
        (" Marys", "the answer ' Marys' is 2 tokens, ' Mary|s', not one. .*Continuation"),
        ([" Mary", " Marys"], "the answer ' Marys' is 2 tokens"),
        ([7, " Mary"], "answer names the token 7 twice; name each once"),
        (12, r"answer 12 is not a token id of this vocabulary \(0 to 11\)"),
        (Continuation((3, 12)), "answer 12 is not a token id"),
        (Continuation(" Mary x"), "the answer ' Mary x' has a word this model does not know; it reads"),
        (Continuation(""), "the answer is empty; give a text"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(value: Any, said: str) -> None:
    with pytest.raises(PromptError, match=said) as caught:
        meant(value)
    assert caught.value.field == "answer"


@pytest.mark.parametrize("value", [None, 5, [], ["a"], [1.0], {"a": 1}])
def test_what_is_no_continuation_is_refused(value: Any) -> None:
    with pytest.raises(PatchError, match="a Continuation is a text or a list of token ids, not"):
        Continuation(value)


def test_texts_need_a_tokenizer() -> None:
    wordless = Pieces(has_text=False)
    assert meant(Continuation((3, 4)), wordless) == ((3, 4),)
    for value, said in (("Mary", "give the answer as a token id"), (Continuation("Mary"), "answer as token ids")):
        with pytest.raises(PromptError, match=said):
            meant(value, wordless)


def test_numbers_of_any_library() -> None:
    assert (as_id(np.int8(3)), as_id(torch.tensor(3)), as_id(True), as_id(1.0), as_id("1")) == (3, 3, None, None, None)
    assert as_ids(range(3)) == as_ids(np.arange(3)) == as_ids(torch.arange(3)) == (0, 1, 2)
    assert (as_ids("12"), as_ids(b"12"), as_ids([1, None]), as_ids({1, 2}), as_ids(5)) == (None,) * 5
