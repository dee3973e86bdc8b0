"""The table that stands where no map can be drawn: the map's numbers, as text."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from patchwidgets.publish.still import still_of
from patchwidgets.result import STATUSES, PatchResult, make_data
from patchwidgets.views.still import MOST_CELLS

HOSTILE = "</th><script>hit()</script>"


class Read(HTMLParser):
    """The texts of a table's cells, row by row, and every tag there is."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = self.at_head = False
        self.tags: set[str] = set()
        self.grounds: list[str] = []
        self.heads: list[tuple[str | None, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        self.inside, self.at_head = tag in ("td", "th"), tag == "th"
        if tag == "th":
            self.heads.append((dict(attrs).get("scope"), ""))
        if self.inside:
            self.rows[-1].append("")
            self.grounds += [value for name, value in attrs if name == "style" and value]

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.at_head = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data
            if self.at_head:
                self.heads[-1] = (self.heads[-1][0], self.heads[-1][1] + data)


def result(values: np.ndarray, status: np.ndarray, texts: tuple[list[str], list[str]]) -> PatchResult:
    """A sweep of resid_pre by layer and position whose gap is 2, with these normalized values."""
    layers, count = values.shape
    sizes, tokens = {"layer": layers, "pos": count}, list(zip(*texts, strict=True))
    data = make_data(("layer", "pos"), sizes, ("logit",), 2 * values[None], status, [2.0], [0.0], tokens)
    return PatchResult(data, {
        "site": "resid_pre", "direction": "denoise", "by": ["layer", "pos"], "metrics": ["logit"], "bos_at": None,
        "model": "tiny", "weights": "raw", "dtype": "float32", "device": "cpu", "engine": "hooked",
        "location": "native", "check": {"controls": 1, "worst_logit_difference": 0.0},
        "versions": {"transformer-lens": "4.3.0"},
        "tokens": {"clean": [*range(count)], "corrupted": [9, *range(1, count)]},
        "texts": {"clean": texts[0], "corrupted": texts[1]}, "answer": {"token": 1, "text": "a"}, "foil": None,
        "revision": None,
    })  # fmt: skip


def test_the_numbers_are_the_result_s_under_its_tokens() -> None:
    codes = {name: code for code, name in enumerate(STATUSES)}
    values = np.array([[0.0, 0.256, -1.4], [np.nan, -0.001, np.nan]])
    status = np.array(
        [
            [codes["implied"], codes["measured"], codes["measured"]],
            [codes["pending"], codes["measured"], codes["unavailable"]],
        ]
    )
    read = Read(still_of(result(values, status, ([" Mary", HOSTILE, "\n"], [" Anna", HOSTILE, "\n"]))))
    assert read.rows == [
        ["clean", "\u00b7Mary", HOSTILE, "\u21b5"],
        ["corrupted", "\u00b7Anna", HOSTILE, "\u21b5"],
        ["0", "0", "0.26", "\u22121.40"],
        ["1", "", "0.00", "\u00d7"],
    ]
    assert [(scope, text) for scope, text in read.heads if scope == "row"] == [
        ("row", "clean"), ("row", "corrupted"), ("row", "0"), ("row", "1")
    ]  # fmt: skip
    assert [text for scope, text in read.heads if scope == "col"] == [
        "\u00b7Mary",
        HOSTILE,
        "\u21b5",
        "\u00b7Anna",
        HOSTILE,
        "\u21b5",
    ]
    assert "<p>answer a</p>" in still_of(result(values, status, ([" Mary", "b", "c"], [" Anna", "b", "c"])))
    assert read.tags == {"p", "table", "thead", "tbody", "tr", "th", "td"}
    zero, weak, strong, small = read.grounds
    assert zero == small, "a value that rounds to 0 has the colour of 0"
    assert zero != weak != strong
    assert strong.startswith("background-color:#8f3b02"), "beyond the scale's end the colour is the end's"


def test_a_map_without_tokens_names_its_prompts() -> None:
    values = np.zeros((1, 1, 1, 2))
    data = make_data(
        ("layer", "head"), {"layer": 1, "head": 2}, ("logit",), values[0], values[0, 0].astype(int), [2.0], [0.0], []
    )
    given = result(values[0, 0], values[0, 0].astype(int), ([" a", HOSTILE], [" b", HOSTILE])).provenance
    html = still_of(PatchResult(data, given | {"site": "z", "by": ["layer", "head"]}))
    assert Read(html).heads == [("col", "layer"), ("col", "h0"), ("col", "h1"), ("row", "0")]
    assert Read(html).rows == [["layer", "h0", "h1"], ["0", "0.00", "0.00"]]
    assert "<p>corrupted: \u00b7b &lt;/th&gt;&lt;script&gt;" in html


@pytest.mark.parametrize("more", [0, 1])
def test_a_huge_map_is_told_in_words(more: int) -> None:
    count = MOST_CELLS // 10 + more
    texts = ["a"] * count
    html = still_of(result(np.zeros((10, count)), np.zeros((10, count), int), (texts, texts)))
    assert ("<table>" in html) == (more == 0)
    assert (f"The map of 10 rows and {count} columns is too large" in html) == (more == 1)
