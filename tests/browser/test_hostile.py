"""Prompts and tokens made of markup, script, other directions and unseen characters: text, in its place, everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from patchwidgets.spelling import shown_token
from tests.browser.harness import Lab, Notebook
from tests.browser.hostile import MAKE, TOKENS, Watched
from tests.browser.test_explorer import check_drawn_values, open_explorer, part, press

pytestmark = pytest.mark.browser

ROOT = ".pw-x-root"
CLEAN = [*TOKENS.values()]
CORRUPTED = [CLEAN[-1] if token == TOKENS["Hebrew"] else token for token in CLEAN]
OPEN = """
pair = pw.PromptPair({clean!r}, {corrupted!r}, answer=model.tokenizer.convert_tokens_to_ids({answer!r}),
                     foil=model.tokenizer.convert_tokens_to_ids({foil!r}))
explorer = pw.explore(model, pair)
explorer
"""
AGAIN = """
def run_again(code):
    import contextlib, io
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue()
"""
VIEWS = """
from patchwidgets.views import AttentionView, PairStrip, Predictions, TokenStrip, label_columns
from patchwidgets.views.of_result import heatmap_of
from IPython.display import display
import numpy as np
words = list(tokens.values())
n = len(words)
rows = [{"token": word, "prob": 1 / n, "logit": 1.0, "mark": ""} for word in words]
tables = [{"name": name, "label": words[i], "rows": rows} for i, name in enumerate(("clean", "corrupted", "patched"))]
pairs = [{"value": float(i), "clean": word, "corrupted": word} for i, word in enumerate(words)]
columns = {**explorer._map.view.columns}
at = len(columns["clean"])
display(
    TokenStrip(columns), heatmap_of(explorer.result), Predictions(tables, title="".join(words)),
    AttentionView(columns, [{"name": "clean", "label": words[0]}], np.full((1, at, at), 1 / at), title=words[1]),
    PairStrip(pairs, title=words[0], unit=words[1], note="".join(words), mean=1.0),
)
"""


def open_hostile(lab: Lab, width: int = 1400) -> Notebook:
    opened = OPEN.format(
        clean="".join(CLEAN), corrupted="".join(CORRUPTED), answer=TOKENS["image"], foil=TOKENS["script"]
    )
    notebook = lab.open_notebook([f"tokens = {TOKENS!r}\n{MAKE}\n{AGAIN}\n{opened}", VIEWS], width=width, height=3000)
    notebook.run_cell(0)
    notebook.page.wait_for_selector(".pw-x-main .pw-heatmap canvas")
    notebook.settle("explorer._encoded is not None")
    return notebook


def test_whatever_a_token_says_it_is_text_in_its_place(lab: Lab) -> None:
    notebook = open_hostile(lab)
    watched = Watched(notebook.page)
    watched.check(ROOT, "empty")
    assert notebook.kernel_eval("explorer._encoded.clean_text[1:]") == CLEAN
    shown = part(notebook, ".pw-x-main > :first-child .pw-col > :first-child").all_text_contents()
    told = [re.sub("[\u2068\u2069]", "", shown_token(token)) for token in CLEAN]
    assert shown[1:] == told
    assert all(token.strip() and token.isprintable() for token in told if token not in CLEAN)

    press(notebook, "Run")
    notebook.settle("explorer.result is not None")
    watched.check(ROOT, "done")
    for name in ("image", "Arabic", "turned", "zalgo", "line break", "long"):
        notebook.kernel_eval(f"explorer._screen.select(1, {1 + [*TOKENS].index(name)})")
        notebook.settle("explorer._drilldown.run is not None")
        watched.check(ROOT, f"a cell at {name}")
    notebook.kernel_eval("explorer._drilldown.open_head(1, 1)")
    notebook.settle()
    expect(part(notebook, ".pw-x-card:has-text('Attention of head 1.1')")).to_be_visible()
    watched.check(ROOT, "a head")
    notebook.screenshot("hostile_1400", part(notebook, ROOT))
    for index in (1, 2):
        part(notebook, ".pw-x-pills").first.locator("button").nth(index).click()
        notebook.settle("explorer.result is not None")
    watched.check(ROOT, "answers picked")
    expect(part(notebook, ".pw-shelf-line").first).to_be_visible()
    for width in (1000, 760):
        notebook.page.set_viewport_size({"width": width, "height": 3000})
        watched.check(ROOT, f"{width} wide")
    notebook.screenshot("hostile_760", part(notebook, ROOT))

    notebook.page.set_viewport_size({"width": 1400, "height": 3000})
    notebook.run_cell(1)
    watched.check(".jp-Cell[data-windowed-list-index='1'] .pw-root", "the views alone")
    notebook.screenshot("hostile_views", notebook.output(1))


def test_a_published_page_of_hostile_texts(lab: Lab, browser: Browser, tmp_path: Path, artifacts: Path) -> None:
    """Its prompts, its columns, its code and where its numbers come from."""
    notebook = open_hostile(lab)
    press(notebook, "Run")
    notebook.settle("explorer.result is not None")
    page = tmp_path / "page.html"
    notebook.kernel_eval(f"str(explorer.to_html({str(page)!r}))")
    opened = browser.new_page(viewport={"width": 1180, "height": 1400})
    watched = Watched(opened)
    opened.goto(page.as_uri())
    for width in (1180, 700):
        opened.set_viewport_size({"width": width, "height": 1400})
        expect(opened.locator(".pw-heatmap canvas")).to_be_visible()
        watched.check("main", f"the page, {width} wide")
    for summary in opened.locator("summary").all():
        summary.click()
    watched.check("main", "all opened")
    assert opened.title() == "resid_pre by layer and token, clean into corrupted"
    opened.screenshot(path=artifacts / "hostile_page.png", full_page=True)
    opened.close()
    # The code is a text as well, and runs as it is.
    printed = notebook.kernel_eval("run_again(explorer.result.code())")
    check_code(notebook, printed)


def check_code(notebook: Notebook, printed: str) -> None:
    """Every number that the copied script prints is the result's."""
    lines = [line.split("\t") for line in printed.splitlines()]
    again = [float(line[-1]) for line in lines if len(line) == 5]
    expected = np.array(notebook.kernel_eval("explorer.result.normalized.values.tolist()"), dtype=float).ravel()
    assert again == pytest.approx(expected, abs=1e-3)


def test_ten_thousand_characters_are_refused_in_words_at_once(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1500)
    notebook.settle("explorer.settings")
    watched = Watched(notebook.page)
    field = part(notebook, ".pw-x-row input").first
    before = field.input_value()
    field.fill("store " * 1666 + "park")
    error = part(notebook, ".pw-x-row .pw-x-error").first
    expect(error).to_contain_text(re.compile(r"the clean prompt has 16\d\d tokens and the model's context holds \d+"))
    watched.check(ROOT, "ten thousand characters")
    field.fill("<b>" * 3334)
    expect(error).to_contain_text("the clean prompt")
    watched.check(ROOT, "ten thousand characters of markup")
    notebook.screenshot("hostile_long", part(notebook, ROOT))
    field.fill(before)
    expect(error).to_be_hidden()
    press(notebook, "Run")
    notebook.wait_for("explorer.result is not None")
    check_drawn_values(notebook)
