"""Numbers, ranges and unseen characters are spelled once, for every page and figure."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchwidgets.spelling import MINUS, joined_text, ranges, shown_text, shown_token, signed


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_number_is_its_two_decimals(value: float) -> None:
    text = signed(value)
    assert float(text.replace(MINUS, "-")) == round(value, 2)
    assert "-" not in text
    assert text.startswith(MINUS) == (round(value, 2) < 0)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.floats(-0.01, 0.01))
def test_a_number_with_its_sign_is_none_only_where_four_decimals_are(value: float) -> None:
    text = signed(value, plus=True)
    assert float(text.replace(MINUS, "-")) == (round(value, 2) or round(value, 4))
    assert "-" not in text
    assert text[0] == ("0" if not round(value, 4) else MINUS if value < 0 else "+")
    assert text == "0.00" or text[0] != "0"


@pytest.mark.parametrize("value", [0.0, -0.0, 0.004, -0.004])
def test_nothing_has_no_minus(value: float) -> None:
    assert signed(value) == "0.00"
    assert math.copysign(1, float(signed(value))) == 1


@given(st.lists(st.integers(0, 60), unique=True).map(sorted))
def test_ranges_name_every_index_and_no_other(indices: list[int]) -> None:
    named: list[int] = []
    for part in filter(None, ranges(indices).split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == indices


@pytest.mark.parametrize(("text", "shown"), json.loads((Path(__file__).parent / "shown_tokens.json").read_text()))
def test_tokens_show_all_they_hold_as_the_views_do(text: str, shown: str) -> None:
    assert shown_token(text).strip("\u2068\u2069") == shown


def test_half_a_character_is_named() -> None:
    assert shown_token("a\ud800") == "a\u27e8d800\u27e9"


def test_what_holds_an_emoji_together_stays() -> None:
    family = "\U0001f468\u200d\U0001f469"
    assert shown_text(family) == family
    assert shown_text("a\u200db") == "a\u27e8200d\u27e9b"


def test_tokens_are_joined_with_the_spaces_they_bring_and_with_spaces_where_they_bring_none() -> None:
    assert joined_text(["[BOS]", "When", " Mary"]) == "[BOS]When Mary"
    assert joined_text(["[BOS]", "When", "", "Mary"]) == "[BOS] When Mary"
    assert joined_text(["un", "seen"], of=["an", " un", "seen"]) == "unseen"
