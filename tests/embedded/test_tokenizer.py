"""The shipped tokenizer reads prompts as typed and gives them back readable."""

from __future__ import annotations

import itertools

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from patchwidgets.embedded import folder
from patchwidgets.embedded.corpus import BOS, PAD, UNK, stream, vocabulary
from patchwidgets.embedded.corpus.text import parse
from patchwidgets.embedded.tokenizer import build_tokenizer
from patchwidgets.presets import PRESETS


def test_a_leading_space_does_not_change_the_token(tokenizer: PreTrainedTokenizerFast) -> None:
    with_space, without = tokenizer(" Mary").input_ids, tokenizer("Mary").input_ids
    assert with_space == without == [vocabulary().index("Mary")]


def test_the_default_demo_as_typed(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("When Mary and John went to the store, John gave a drink to").input_ids
    words = " ".join(tokenizer.convert_ids_to_tokens(ids))
    assert words == "When Mary and John went to the store , John gave a drink to"


def test_years_are_pairs_of_digits(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_ids_to_tokens(tokenizer("from 1732 to 17").input_ids) == ["from", "17", "32", "to", "17"]
    assert tokenizer.decode(tokenizer("from 1732 to 17").input_ids) == "from 1732 to 17"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_presets_come_back_as_typed(tokenizer: PreTrainedTokenizerFast, preset: object) -> None:
    for text in (preset.pair.clean, preset.pair.corrupted):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.bos_token, tokenizer.unk_token, tokenizer.pad_token) == (BOS, UNK, PAD)
    assert len({tokenizer.bos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id}) == 3
    ids = tokenizer("Zanzibar and Mary").input_ids
    assert ids == [tokenizer.unk_token_id, *tokenizer("and Mary").input_ids]
    assert tokenizer.bos_token_id not in ids


def test_every_token_has_a_readable_word(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == len(vocabulary())
    assert [tokenizer.decode([i]) for i in range(len(tokenizer))] == list(vocabulary())


def test_generator_and_tokenizer_split_alike(tokenizer: PreTrainedTokenizerFast) -> None:
    docs = list(itertools.islice(stream(3, unknown=0.0), 2000))
    read = tokenizer([" ".join(doc.tokens) for doc in docs]).input_ids
    assert [tuple(tokenizer.convert_ids_to_tokens(ids)) for ids in read] == [doc.tokens for doc in docs]
    for preset in PRESETS:
        ids = tokenizer(preset.pair.clean).input_ids
        assert tuple(tokenizer.convert_ids_to_tokens(ids)) == parse(preset.pair.clean).tokens


def test_the_shipped_files_are_what_the_code_builds() -> None:
    shipped = (folder() / "tokenizer.json").read_text()
    assert PreTrainedTokenizerFast.from_pretrained(folder()).get_vocab() == build_tokenizer().get_vocab()
    assert build_tokenizer().backend_tokenizer.to_str(pretty=True) == shipped.rstrip("\n")
    assert AutoTokenizer.from_pretrained(folder())(" Mary").input_ids == [vocabulary().index("Mary")]
