"""The page without a kernel, as text: whole, closed, and safe whatever the tokens say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable

import numpy as np
import pytest

from patchwidgets.publish.page import STATIC, render_page
from patchwidgets.views import Heatmap, TokenStrip, token_columns

HOSTILE = "</script><script>document.title='hit'</script><!--<img src=x onerror=alert(1)>"


def page(text: str = HOSTILE) -> str:
    columns = token_columns([text, " gave"], [" a", " gave"])
    values = np.array([[0.25, -1.0]])
    arrays = {"normalized": values, "effect": values, "patched": values, "status": [[0, 0]]}
    view = Heatmap(["0"], columns, **arrays, words={"title": text})
    return render_page(text, [view], side=[TokenStrip(columns)], intro=[text], details=[(text, text)])


def states(text: str) -> list[dict]:
    [found] = re.findall(r'<script type="application/json" id="pw-state">(.*?)</script>', text, re.S)
    return json.loads(found)


def test_data_cannot_end_a_script_or_become_markup() -> None:
    text = page()
    assert text.count("<script") == 2
    assert text.count("</script") == 2
    assert "<img" not in re.sub(r"<script>.*</script>", "", text, flags=re.S)
    assert states(text)[0]["state"]["columns"]["clean"][0] == HOSTILE


def test_the_state_holds_the_values_and_nothing_of_jupyter() -> None:
    heatmap, strip = states(page())
    data = {buffer["path"][0]: base64.b64decode(buffer["data"]) for buffer in heatmap["buffers"]}
    assert np.frombuffer(data["normalized"], "<f4").tolist() == [0.25, -1.0]
    assert set(data) == {
        "normalized", "effect", "low", "high", "marks", "stages", "patched", "status", "row_means", "col_means",
    }  # fmt: skip
    assert strip["state"]["kind"] == "tokens"
    assert not [name for name in heatmap["state"] if name.startswith("_") or name == "layout"]


def test_nothing_is_fetched_and_the_page_forbids_it() -> None:
    text = page("plain")
    assert not re.search(r"\bsrc\s*=|\bhref\s*=|url\(|@import|https?://|\bimport\s*\(|\beval\b", text)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none';")
    for part, name in (("script-src", "page.js"), ("style-src", "widget.css")):
        digest = base64.b64encode(hashlib.sha256((STATIC / name).read_bytes()).digest()).decode()
        assert f"{part} 'sha256-{digest}'" in policy


def test_the_page_says_its_language_and_title() -> None:
    text = render_page("A & B", [])
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>A &amp; B</title>" in text


@pytest.mark.parametrize("script", ["widget.js", "page.js"])
def test_all_views_weigh_at_most_150_kilobytes(script: str, record_property: Callable[[str, object], None]) -> None:
    """What a notebook loads, and what a page has in it."""
    sizes = {name: (STATIC / name).stat().st_size / 1000 for name in (script, "widget.css")}
    told = " + ".join(f"{name} {size:.1f}" for name, size in sizes.items())
    record_property("measured: bundle of all views", f"{told} = {sum(sizes.values()):.1f} kB")
    assert sum(sizes.values()) <= 150
