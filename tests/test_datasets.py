"""Datasets hold what they were given, in order, and refuse every row that is not a pair by its number and column."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.errors import PatchError
from patchwidgets.prompts import PromptPair

CLEAN = ["A cat", "A dog", "A cow", "A hen"]
CORRUPTED = ["B cat", "B dog", "B cow", "B hen"]
ANSWERS = [" one", " two", 3, None]
KINDS = ["fur", "fur", "fur", "feather"]


def four(**options: Any) -> Dataset:
    return Dataset(Dataset.from_lists(CLEAN, CORRUPTED, ANSWERS), name="animals", **options)


def labelled() -> Dataset:
    return four(labels={"kind": KINDS, "legs": [4, 4, 4, 2]})


def test_a_dataset_is_the_sequence_of_its_pairs() -> None:
    data = labelled()
    assert len(data) == 4
    assert [pair.clean for pair in data] == CLEAN
    assert data[1] == data[-3] == PromptPair("A dog", "B dog", answer=" two")
    assert data[1] in data
    assert data.index(data[2]) == 2
    assert repr(data) == "Dataset('animals', 4 pairs, labels kind, legs)"
    with pytest.raises(IndexError):
        data[4]


def test_a_slice_is_a_dataset_with_its_labels() -> None:
    part = labelled()[3:1:-1]
    assert [pair.clean for pair in part] == ["A hen", "A cow"]
    assert dict(part.labels) == {"kind": ("feather", "fur"), "legs": (2, 4)}
    assert part.name == "animals"


def test_nothing_of_a_dataset_can_be_changed() -> None:
    data = labelled()
    with pytest.raises(AttributeError):
        data.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        data.labels["kind"] = ("x",) * 4  # type: ignore[index]
    kinds = list(KINDS)
    kept = four(labels={"kind": kinds})
    kinds[0] = "scales"
    assert kept.labels["kind"][0] == "fur"


def test_datasets_are_equal_by_content() -> None:
    assert labelled() == labelled()
    assert hash(labelled()) == hash(labelled())
    assert labelled() != four()
    assert copy.deepcopy(labelled()) == pickle.loads(pickle.dumps(labelled())) == labelled()


def test_filter_by_bools_of_any_library_and_by_a_function() -> None:
    data = labelled()
    for keep in ([False, True, False, True], np.array([0, 1, 0, 1], dtype=bool), pd.Series([False, True, False, True])):
        assert [pair.clean for pair in data.filter(keep)] == ["A dog", "A hen"]
    assert data.filter(lambda pair: pair.answer == 3).labels["legs"] == (4,)


def test_a_shuffle_is_a_permutation_fixed_by_its_seed() -> None:
    data = labelled()
    once = data.shuffled(1)
    assert once == data.shuffled(1)
    assert sorted(pair.clean for pair in once) == sorted(CLEAN)
    assert once.labels["kind"] == tuple("feather" if pair.clean == "A hen" else "fur" for pair in once)
    assert len({tuple(pair.clean for pair in data.shuffled(seed)) for seed in range(20)}) > 5


def test_a_sample_draws_no_row_twice() -> None:
    data = labelled()
    for seed in range(20):
        assert len(set(data.sample(3, seed))) == 3
    # Written down once: the same on every machine and every supported Python.
    assert [pair.clean for pair in data.sample(3, 7)] == ["A cow", "A cat", "A dog"]


def test_a_subset_keeps_the_order_asked_for() -> None:
    assert [pair.clean for pair in labelled().subset(np.array([-1, 0]))] == ["A hen", "A cat"]


def test_ids_and_texts_survive_json_lines_and_a_frame(tmp_path: Path) -> None:
    pairs = [
        PromptPair((1, 2), (1, 3), answer=5, foil=6),
        PromptPair("a\u2028b \u00e9\n", "c", answer=" \u732b"),
    ]
    data = Dataset(pairs, name="mixed", labels={"kind": ["ids", None], "share": [0.1, 1], "easy": [True, False]})
    path = data.to_jsonl(tmp_path / "mixed.jsonl")
    assert len(path.read_text(encoding="utf-8").split("\n")) == 3
    assert Dataset.from_jsonl(path) == data
    assert Dataset.from_dataframe(data.to_dataframe(), name="mixed") == data
    assert [child.name for child in tmp_path.iterdir()] == ["mixed.jsonl"]


def test_a_frame_has_a_column_for_every_field_and_label() -> None:
    frame = labelled().to_dataframe()
    assert list(frame.columns) == ["clean", "corrupted", "answer", "foil", "kind", "legs"]
    assert frame["answer"].tolist() == ANSWERS
    assert frame["legs"].sum() == 14


def test_a_file_may_begin_with_a_byte_order_mark_and_lack_foils(tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl"
    rows = [{"clean": "a", "corrupted": "b", "answer": "x", "n": i} for i in range(2)]
    path.write_text("\n".join([json.dumps(rows[0]), json.dumps(rows[1] | {"clean": "c"})]), encoding="utf-8-sig")
    data = Dataset.from_jsonl(path)
    assert (data.name, data[1].foil, data.labels["n"]) == ("two", None, (0, 1))


def test_a_pair_given_twice_is_warned_of_once() -> None:
    with pytest.warns(
        UserWarning, match=re.escape("row 2 of 'd' is the same pair as row 0 (and 1 more like it)")
    ) as told:
        data = Dataset([PromptPair("a", "b"), PromptPair("c", "d")] * 2, name="d")
    assert len(told) == 1
    assert len(data.subset([0, 2]).shuffled(0)[:2]) == 2


FRAME = pd.DataFrame({"clean": CLEAN, "corrupted": CORRUPTED, "answer": [" x"] * 4})
PAIR = PromptPair("a", "b")
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no pairs": (lambda: Dataset([], name="d"), "the dataset 'd' is empty; give at least one pair."),
    "one pair bare": (lambda: Dataset(PAIR), "expected several pairs, got one PromptPair; put it in a list."),
    "a text": (lambda: Dataset("ab"), "expected a list of PromptPairs, got 'ab'."),
    "a number": (lambda: Dataset(3), "expected a list of PromptPairs, got 3."),
    "a row of texts": (
        lambda: Dataset([PAIR, ("c", "d")]),
        "row 1 of 'dataset' is ('c', 'd'), not a PromptPair; write pw.",
    ),
    "a name": (lambda: Dataset([PAIR], name=""), "a dataset's name is a text, not ''."),
    "few labels": (
        lambda: four(labels={"kind": ["x"]}),
        "label 'kind' has 1 values for the 4 pairs of 'animals'; give one each.",
    ),
    "a label's name": (
        lambda: four(labels={"clean": CLEAN}),
        "'clean' cannot name a label; use a text other than clean,",
    ),
    "labels": (lambda: four(labels=KINDS), "labels map a column to one value per pair; got ['fur'"),
    "a text for labels": (lambda: four(labels={"kind": "abcd"}), "label 'kind' must be a list, not 'abcd'."),
    "a label NaN": (
        lambda: four(labels={"k": [1, 2, float("nan"), 4]}),
        "row 2, column 'k': the label is missing (NaN); fill",
    ),
    "a label inf": (
        lambda: four(labels={"k": [1, 2, 3, float("inf")]}),
        "row 3, column 'k': a label is a text, a finite number,",
    ),
    "a label list": (lambda: four(labels={"k": [1, 2, 3, [4]]}), "row 3, column 'k': a label is a text,"),
    "unequal lists": (
        lambda: Dataset.from_lists(CLEAN, CORRUPTED[:3], ANSWERS),
        "the lists of 'dataset' have unequal lengths: 4 clean, 3 corrupted, 4 answers; give one entry per pair",
    ),
    "unequal foils": (
        lambda: Dataset.from_lists(["a"], ["b"], ["c"], []),
        "have unequal lengths: 1 clean, 1 corrupted, 1 answers, 0 foils;",
    ),
    "empty lists": (lambda: Dataset.from_lists([], [], []), "the dataset 'dataset' is empty; give at least one pair."),
    "a text for a list": (lambda: Dataset.from_lists("ab", "cd", "ef"), "clean must be a list, not 'ab'."),
    "a wrong prompt": (
        lambda: Dataset.from_lists(["a", "c"], ["b", 3.5], ["x", "y"]),
        "row 1, column 'corrupted': corrupted must be a text or a list of token ids, not 3.5.",
    ),
    "a wrong answer": (lambda: Dataset.from_lists(["a"], ["b"], [2.5]), "row 0, column 'answer': answer must be"),
    "NaN in a list": (
        lambda: Dataset.from_lists(["a", float("nan")], ["b", "c"], ["x", "y"]),
        "row 1, column 'clean': the value is missing (NaN); fill it in or drop the row.",
    ),
    "no frame": (lambda: Dataset.from_dataframe([1, 2]), "expected a pandas DataFrame, got [1, 2]; convert it, or use"),
    "a missing column": (
        lambda: Dataset.from_dataframe(FRAME.rename(columns={"answer": "answers"})),
        "the data frame has no 'answer'; it has clean, corrupted, answers.",
    ),
    "a doubled column": (
        lambda: Dataset.from_dataframe(pd.concat([FRAME, FRAME], axis=1)),
        "the data frame has 2 columns 'clean'; keep",
    ),
    "a numbered column": (
        lambda: Dataset.from_dataframe(FRAME.assign(**{"k": 1}).rename(columns={"k": 0})),
        "column 0 of the data frame",
    ),
    "an empty frame": (lambda: Dataset.from_dataframe(FRAME[:0]), "the dataset 'dataset' is empty;"),
    "NaN in a frame": (
        lambda: Dataset.from_dataframe(FRAME.assign(answer=[" x", None, "y", "z"])),
        "row 1, column 'answer': ",
    ),
    "NA in a frame": (
        lambda: Dataset.from_dataframe(FRAME.assign(foil=[" x", "y", pd.NA, "z"])),
        "row 2, column 'foil': the value is missing",
    ),
    "keep too short": (
        lambda: four().filter([True]),
        "keep has 1 entries for the 4 pairs of 'animals'; give one each.",
    ),
    "keep by indices": (
        lambda: four().filter([0, 1, 2, 3]),
        "keep is 0 for row 0; give True or False, or use subset",
    ),
    "keep by no bool": (lambda: four().filter(lambda pair: pair.foil), "keep is None for row 0; give True or False,"),
    "keep nothing": (
        lambda: four().filter([False] * 4),
        "none of the 4 pairs of 'animals' is kept; loosen the filter.",
    ),
    "keep a text": (lambda: four().filter("yes"), "keep must be a list, not 'yes'."),
    "n too large": (lambda: four().sample(5, 0), "'animals' has 4 pairs, 5 cannot be drawn; ask for at most 4."),
    "n zero": (lambda: four().sample(0, 0), "n must be at least 1, not 0."),
    "n a float": (lambda: four().sample(2.0, 0), "n must be a whole number, not 2.0."),
    "seed": (lambda: four().shuffled(None), "seed must be a whole number, not None."),
    "index": (lambda: four().subset([4]), "index 4 is outside 'animals', which has 4 pairs."),
    "index twice": (
        lambda: four().subset([1, -3]),
        "row 1 is asked for twice; a pair counts once, leave the second out.",
    ),
    "no index": (lambda: four().subset([]), "no pair of 'animals' is chosen; choose at least one of its 4."),
    "empty slice": (lambda: four()[4:], "no pair of 'animals' is chosen;"),
    "a key": (lambda: four()["kind"], "an index must be a whole number, not 'kind'."),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_no_dataset_is_refused_in_words(wrong: str) -> None:
    make, told = REFUSED[wrong]
    with pytest.raises(PatchError, match=re.escape(told)):
        make()


GOOD = '{"clean": "a", "corrupted": "b", "answer": "x", "k": 1}\n'
BAD_LINES = {
    "": "the dataset 'bad' is empty;",
    GOOD + "\n" + GOOD: "line 2 is empty; delete it.",
    GOOD + '{"clean": "a"': "line 2 is not JSON (",
    GOOD + '["a", "b"]': "line 2 is ['a', 'b'], not an object;",
    GOOD + "[" * 100_000: "line 2 is not JSON (",
    '{"clean": "a", "corrupted": "b"}': "line 1 has no 'answer'; it has clean, corrupted.",
    '{"clean": "a", "clean": "b"}': "line 1: the key 'clean' stands there twice; keep one.",
    GOOD + '{"clean": "a", "corrupted": "b", "answer": NaN, "k": 1}': "line 2: NaN is no value of JSON;",
    '{"clean": "a", "corrupted": "b", "answer": 1e999}': "line 1, column 'answer': answer must be",
    '{"clean": "a", "corrupted": ["b"], "answer": 1}': "line 1, column 'corrupted': corrupted must be a text",
    GOOD + '{"clean": "a", "corrupted": "c", "answer": "x"}': "line 2 has no key 'k'; give a label in every line",
    GOOD + GOOD.replace('"k"', '"k": 2, "l"'): "line 2 alone has the key 'l'; give a label in every line",
    GOOD.replace("1", "[1]"): "line 1, column 'k': a label is a text,",
}


@pytest.mark.parametrize("text", BAD_LINES, ids=lambda text: text[-40:] or "empty")
def test_a_bad_line_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PatchError, match=re.escape(BAD_LINES[text])):
        Dataset.from_jsonl(path)


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PatchError, match=r"none\.jsonl cannot be read: No such file or directory; check the path"):
        Dataset.from_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(PatchError, match="cannot be read: Is a directory"):
        Dataset.from_jsonl(tmp_path)
    with pytest.raises(PatchError, match=r"there is no folder '.*none'; make it first"):
        four().to_jsonl(tmp_path / "none" / "a.jsonl")
    path = tmp_path / "latin.jsonl"
    path.write_bytes(GOOD.replace("a", "\u00e9").encode("latin-1"))
    with pytest.raises(PatchError, match="is not UTF-8 text"):
        Dataset.from_jsonl(path)


def test_continuations_and_sets_survive_a_file(tmp_path: Path) -> None:
    pairs = [
        PromptPair("A B", "C B", answer=Continuation(" New York"), foil=Continuation((3, 4))),
        PromptPair("D E", "F E", answer=(" a", 5), foil=7),
    ]
    data = Dataset(pairs)
    assert list(Dataset.from_jsonl(data.to_jsonl(tmp_path / "pairs.jsonl"))) == pairs


def test_a_position_of_its_own_has_no_column_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(PatchError, match=r"row 0 is read at=2, for which a file has no column; leave out at="):
        Dataset([PromptPair("A B C", "D B C", answer=" A", at=2)]).to_jsonl(tmp_path / "pairs.jsonl")
