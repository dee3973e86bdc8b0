"""Prompts become tokens position by position, or are refused in words; on a tokenizer small enough to read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from patchwidgets.encoding import encode_pair, encode_prompts, unknown_words, warn_unknown_words
from patchwidgets.errors import PatchError, PromptError
from patchwidgets.prompts import EncodedPair, PromptPair, check_pair

PIECES = ["<bos>", "<unk>", "the", " cat", " dog", " sat", "Mary", " Mary", "ann", " Anna", "s", "\n"]


class Pieces:
    """Cuts off the longest piece that fits; spaces belong to pieces, as in byte-pair vocabularies."""

    vocab_size = len(PIECES)
    context = 8

    def __init__(self, prepends_bos: bool = False, has_text: bool = True, bos: int | None = 0) -> None:
        self.prepends_bos = prepends_bos
        self.has_text = has_text
        self.bos = bos
        self.unk: int | None = 1

    def encode(self, text: str) -> list[int]:
        found = []
        while text:
            fits = [piece for piece in PIECES if text.startswith(piece)]
            piece = max(fits, key=len, default="")
            found.append(PIECES.index(piece) if piece else 1)
            text = text[len(piece) or 1 :]
        return found

    def encode_prompt(self, text: str, prepend_bos: bool) -> list[int]:
        return [0, *self.encode(text)] if prepend_bos else self.encode(text)

    def text(self, token: int) -> str:
        return PIECES[token] if self.has_text else str(token)


def encoded(clean: Any, corrupted: Any, tokenizer: Pieces | None = None, **options: Any) -> EncodedPair:
    return encode_prompts(PromptPair(clean, corrupted), tokenizer or Pieces(), **options)


def refusal(clean: Any, corrupted: Any, tokenizer: Pieces | None = None, **options: Any) -> PromptError:
    with pytest.raises(PromptError) as caught:
        encoded(clean, corrupted, tokenizer, **options)
    return caught.value


def test_a_pair_becomes_tokens_with_their_texts() -> None:
    pair = encoded("the cat sat", "the dog sat")
    assert (pair.clean, pair.corrupted) == ((2, 3, 5), (2, 4, 5))
    assert (pair.clean_text, pair.corrupted_text) == (("the", " cat", " sat"), ("the", " dog", " sat"))
    assert pair.differs == (False, True, False)
    assert (pair.length, pair.first_difference) == (3, 1)
    assert (pair.prepend_bos, pair.bos_at) == (False, None)


def test_the_first_difference_is_that_of_tokens_not_of_the_last_one() -> None:
    assert encoded("the cat sat dog", "Mary cat dog dog").first_difference == 0
    assert encoded("the cat sat", "the cat dog").first_difference == 2


@pytest.mark.parametrize(("default", "asked", "expected"), [(True, None, True), (False, None, False), (True, False, False), (False, True, True)])  # fmt: skip # noqa: E501
def test_prepend_bos_is_the_models_default_unless_asked(default: bool, asked: bool | None, expected: bool) -> None:
    pair = encoded("the cat", "the dog", Pieces(prepends_bos=default), prepend_bos=asked)
    assert pair.prepend_bos is expected
    assert pair.clean == ((0, 2, 3) if expected else (2, 3))
    assert pair.bos_at == (0 if expected else None)
    assert pair.first_difference == (2 if expected else 1)


def test_ids_are_used_verbatim_and_get_no_bos() -> None:
    pair = encoded([2, 3], [2, 4], Pieces(prepends_bos=True))
    assert (pair.clean, pair.prepend_bos, pair.bos_at) == ((2, 3), False, None)
    assert encoded([0, 3], [0, 4]).bos_at == 0
    assert encoded([0, 0, 3], [0, 0, 4]).clean == (0, 0, 3)


@pytest.mark.parametrize("ids", [(2, 3), np.array([2, 3]), torch.tensor([2, 3]), range(2, 4)])
def test_any_sequence_of_ids_will_do(ids: Any) -> None:
    assert encoded(ids, [2, 4]).clean == (2, 3)


def test_ids_of_numpy_are_ids() -> None:
    pair = PromptPair([np.int64(2), np.int64(3)], [2, 4], answer=np.int64(6), foil=7)  # type: ignore[arg-type]
    found = encode_pair(pair, Pieces())
    assert (found.clean, found.answer) == ((2, 3), 6)


def test_ids_need_no_text() -> None:
    pair = encode_pair(PromptPair([2, 3], [2, 4], answer=6, foil=7), Pieces(has_text=False))
    assert pair.clean_text == ("2", "3")
    assert (pair.answer, pair.foil, pair.answer_text, pair.foil_text) == (6, 7, "6", "7")


def test_unequal_lengths_show_both_readings() -> None:
    error = refusal("the cat sat", "the dog dog sat")
    assert "different lengths in tokens: 3 clean, 4 corrupted" in str(error)
    assert "change the corrupted prompt so that both have as many tokens" in str(error)
    assert "the| cat| sat" in str(error)
    assert "the| dog| dog| sat" in str(error)
    assert error.field == "corrupted"


def test_other_refusals_name_the_field_and_the_remedy() -> None:
    same = refusal("the cat", "the cat")
    assert (str(same), same.field) == (
        "the two prompts are the same tokens; change the fact you ask about in one.",
        "corrupted",
    )
    for text in ("", "   ", "\n"):
        for field, prompts in (("clean", (text, "the")), ("corrupted", ("the", text))):
            error = refusal(*prompts)
            assert str(error) == f"the {field} prompt is empty; type a text."
            assert error.field == field
    assert str(refusal([], [2])) == "the clean prompt is empty; type a text."
    long = refusal("the cat cat cat cat cat cat cat cat", "the")
    assert str(long) == "the clean prompt has 9 tokens and the model's context holds 8; shorten it."
    outside = refusal([2, 3], [2, 12])
    assert str(outside) == "corrupted: token id 12 is not in the vocabulary of 12 tokens."
    assert outside.field == "corrupted"
    assert "token id -1 is not in the vocabulary" in str(refusal([2, -1], [2, 3]))
    wordless = refusal("the", [2], Pieces(has_text=False))
    assert str(wordless) == "this model has no tokenizer; give the clean prompt as a list of token ids."
    without = refusal("the", "the cat", Pieces(bos=None), prepend_bos=True)
    assert "no BOS token; use prepend_bos=False" in str(without)


def test_a_typed_bos_beside_a_prepended_one_is_refused() -> None:
    error = refusal("the cat", "<bos>the cat", prepend_bos=True)
    assert "the corrupted prompt contains the BOS token '<bos>' and another is put before it" in str(error)
    assert "leave it out of the text, or use prepend_bos=False" in str(error)
    assert error.field == "corrupted"
    assert encoded("<bos>the cat", "<bos>the dog", prepend_bos=False).bos_at == 0


def asked(answer: Any, foil: Any = None, rate: Any = None, **options: Any) -> EncodedPair:
    pair = PromptPair("the cat sat", "the dog sat", answer=answer, foil=foil)
    return encode_pair(pair, Pieces(), rate=rate, **options)


def test_answers_are_literal() -> None:
    assert asked("Mary", " Mary").answer == 6
    assert asked(" Mary", "Mary").answer == 7
    assert asked("\n").answer_text == "\n"
    assert asked(3, 4).foil_text == " dog"
    assert asked(0).answer == 0
    assert (asked("Mary").foil, asked("Mary").foil_text) == (None, None)


def rate(prompt: Sequence[int], candidates: Sequence[int]) -> list[float]:
    """A model that likes later ids better after the clean prompt and earlier ones after the corrupted."""
    return [float(c if list(prompt) == [2, 3, 5] else -c) for c in candidates]


@pytest.mark.parametrize(
    ("answer", "foil", "fault", "remedy", "field"),
    [
        ("Anna", "Mary", "the answer 'Anna' is not in this model's vocabulary", "Did you mean ' Anna'?", "answer"),
        ("marys", " Mary", "the answer 'marys' is not in this model's vocabulary", "", "answer"),
        (" Marys", "Mary", "the answer ' Marys' is 2 tokens, ' Mary|s', not one", "Did you mean ' Mary'?", "answer"),
        ("xyz", "Mary", "the answer 'xyz' is not in this model's vocabulary", "Choose a single token", "answer"),
        ("", "Mary", "the answer is empty", "Choose a single token", "answer"),
        ("Mary", "marie", "the foil 'marie' is not in this model's vocabulary", "Did you mean ' Mary'?", "foil"),
        ("mary", None, "the answer 'mary' is not in this model's vocabulary", "Did you mean ' Mary'?", "answer"),
        ("Mary", "mary", "the foil 'mary' is not in this model's vocabulary", "Did you mean 'Mary'?", "foil"),
        ("Mary", "Mary", "answer and foil are the same token 'Mary'", "their difference is always 0", "foil"),
        (12, None, "answer 12 is not a token id of this vocabulary (0 to 11)", "", "answer"),
        ("Mary", -1, "foil -1 is not a token id of this vocabulary (0 to 11)", "", "foil"),
        (None, "Mary", "no answer given", "name the token the clean prompt should be continued with", "answer"),
    ],
)
def test_what_is_no_single_token_is_refused_with_the_likeliest_neighbour(
    answer: Any, foil: Any, fault: str, remedy: str, field: str
) -> None:
    with pytest.raises(PromptError) as caught:
        asked(answer, foil, rate)
    assert fault in str(caught.value)
    assert remedy in str(caught.value)
    assert caught.value.field == field


def test_a_missing_foil_matters_only_to_a_metric_that_compares() -> None:
    assert asked("Mary", needs_foil=False).foil is None
    with pytest.raises(PromptError, match=r"logit_diff compares two tokens and no foil is given.*logprob") as caught:
        asked("Mary", needs_foil=True)
    assert caught.value.field == "foil"


def test_the_unknown_token_itself_may_be_asked_for_by_name() -> None:
    assert asked("<unk>").answer == 1


def test_unknown_words_are_warned_of_in_every_prompt() -> None:
    pair, tokenizer = PromptPair("the? sat", "the cat?"), Pieces()
    found = encode_prompts(pair, tokenizer)
    assert unknown_words(pair, found, tokenizer) == ["clean", "corrupted"]
    with pytest.warns(UserWarning, match="does not know") as told:
        warn_unknown_words(pair, found, tokenizer)
    assert [str(item.message).split(" prompt")[0] for item in told] == ["the clean", "the corrupted"]
    assert "the|<unk>| sat" in str(told[0].message)


def test_ids_that_are_the_unknown_token_are_meant() -> None:
    pair, tokenizer = PromptPair([2, 1], [2, 3]), Pieces()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unknown_words(pair, encode_prompts(pair, tokenizer), tokenizer)


@pytest.mark.parametrize("wrong", [None, 3, 1.5, b"the", ["the"], [1.0], [[1, 2]], torch.tensor([[1, 2]]), [True], {"a": 1}])  # fmt: skip # noqa: E501
def test_a_pair_checks_the_type_of_its_prompts(wrong: Any) -> None:
    for field in ("clean", "corrupted"):
        prompts = {"clean": "the", "corrupted": "the", field: wrong}
        with pytest.raises(PromptError, match=f"{field} must be a text or a list of token ids, not ") as caught:
            PromptPair(**prompts)
        assert caught.value.field == field


@pytest.mark.parametrize("wrong", [{1, 2}, {1: "a", 2: "b"}])
def test_collections_without_an_order_are_no_prompts(wrong: Any) -> None:
    with pytest.raises(PromptError, match="clean must be a text or a list of token ids"):
        PromptPair(wrong, "the")


@pytest.mark.parametrize("wrong", [1.5, True, [1.5], ["the", None], {"the": 1}, b"the"])
def test_a_pair_checks_the_type_of_its_answers(wrong: Any) -> None:
    for field in ("answer", "foil"):
        with pytest.raises(PromptError, match=f"{field} must be a text, a token id, a list of those") as caught:
            PromptPair("the", "the", **{field: wrong})
        assert caught.value.field == field


def test_pairs_are_values() -> None:
    assert PromptPair([1, 2], "a", answer=3) == PromptPair((1, 2), "a", answer=3)
    assert hash(PromptPair([1, 2], "a")) == hash(PromptPair((1, 2), "a"))
    with pytest.raises(AttributeError):
        PromptPair("a", "b").clean = "c"  # type: ignore[misc]


def test_what_is_no_pair_is_refused_with_the_way_to_make_one() -> None:
    pair = PromptPair("a", "b")
    assert check_pair(pair) is pair
    with pytest.raises(PatchError, match=r"expected a PromptPair, got \('a', 'b'\); write pw.PromptPair\("):
        check_pair(("a", "b"))


def test_prompts_may_hold_anything_that_is_text() -> None:
    """Texts are shown in messages as their repr, shortened: no markup, no control characters, no page of text."""
    error = refusal("the cat\x1b[31m<script>" * 3, "the")
    assert "context holds 8" in str(error)
    assert len(str(refusal("the cat sat cat sat", "the dog"))) < 400
