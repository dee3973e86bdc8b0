"""Prompts in fields of one line: every text is given back as it was, whatever signs it holds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patchwidgets.explorer.text import in_one_line, with_line_breaks
from patchwidgets.prompts import PromptPair

TEXTS = st.text() | st.text(alphabet="a \\\n\r\u21b5\u240d")


@given(TEXTS)
@example("press \u21b5")
@example("C:\\\n")
@example("\\\\\u21b5\r\n")
def test_what_is_shown_reads_as_the_text(text: str) -> None:
    shown = in_one_line(text)
    assert with_line_breaks(shown) == text
    assert not set(shown) & set("\n\r")


@given(TEXTS)
def test_a_text_without_line_breaks_and_their_signs_is_shown_as_it_is(text: str) -> None:
    plain = "".join(c for c in text if c not in "\n\r\u21b5\u240d")
    assert in_one_line(plain) == plain


@given(TEXTS)
def test_what_is_typed_and_shown_again_still_means_the_same(typed: str) -> None:
    meant = with_line_breaks(typed)
    assert with_line_breaks(in_one_line(meant)) == meant


@pytest.mark.parametrize("text", ["press \u21b5 to", "one\ntwo", "a \\\u21b5 b", "a\\\n\u21b5\u240d\rb"])
def test_an_edited_prompt_keeps_what_was_not_edited(explorer, text):
    entry = explorer._entry
    entry.set(PromptPair(text, f"{text} and"), explorer._handle.tokenizer.text)
    assert entry.pair.clean == text
    entry.clean.value += " here"
    assert entry.pair.clean == f"{text} here"
    assert entry.pair.corrupted == f"{text} and"


def test_an_answer_may_be_a_line_break_or_its_sign(explorer):
    choice = explorer._entry.answer
    choice.set("\n")
    assert choice.field.value == "\u21b5"  # the browser would show nothing of the line break itself
    assert choice.value == "\n"
    choice.field.value = "\\\u21b5"
    assert choice.value == "\u21b5"
    choice.field.value = "\u21b5\u21b5"
    assert choice.value == "\n\n"
