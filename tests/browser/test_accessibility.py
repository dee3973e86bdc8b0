"""What axe-core finds in every state of the Explorer, in each view alone and in a published page, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.axe import check_accessible
from tests.browser.harness import Lab, Theme
from tests.browser.test_explorer import (
    FREE,
    HELD,
    click_cell,
    let_through,
    open_explorer,
    part,
    press,
    type_into,
)
from tests.browser.test_page import page_html

pytestmark = pytest.mark.browser

VIEWS = """
import numpy as np
from patchwidgets.views import AttentionView, CopyButton, Heatmap, Predictions, TokenStrip, label_columns, token_columns
columns = token_columns([" When", " Mary", " gave"], [" When", " Anna", " gave"])
numbers = np.array([[0.0, 0.9, 0.1], [-0.4, 0.2, 1.7]])
status = np.array([[1, 0, 2], [0, 3, 4]])
tables = [{"name": "clean", "label": "clean", "rows": [{"token": " Mary", "prob": 0.9, "logit": 12.0, "mark": ""}]}]
views = {
    "heatmap": Heatmap(["0", "1"], columns, normalized=numbers, effect=numbers, patched=numbers, status=status,
                       words={"title": "resid_pre", "unit": "recovered", "high": "near 1: sufficient"}, state="done"),
    "compact heatmap": Heatmap(["0", "1"], label_columns("head", ["h0", "h1", "h2"]), normalized=numbers, compact=True,
                               effect=numbers, patched=numbers, status=status, state="done"),
    "tokens": TokenStrip(columns),
    "attention": AttentionView(columns, {"clean": "clean"}, np.tril(np.full((3, 3), 0.3))[None], title="head 1.0"),
    "predictions": Predictions(tables, title="Next token"),
    "copy": CopyButton("Copy code", hint="copy a script"),
}
from IPython.display import display
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_state_of_the_explorer(lab: Lab, theme: Theme) -> None:
    notebook = open_explorer(lab, theme=theme, height=2600)
    notebook.settle("explorer._encoded is not None")

    def check(state: str) -> None:
        check_accessible(notebook.page, ".pw-x-root", state)

    check("empty")
    field = part(notebook, ".pw-x-choice input").first
    type_into(field, "<b>Anna</b>")
    expect(part(notebook, ".pw-x-prompts > .pw-x-error").first).to_contain_text("<b>")
    expect(part(notebook, ".pw-x-main.pw-x-stale")).to_have_css("opacity", re.compile(r"0\.4"))
    check("error")
    type_into(field, " Mary")
    notebook.settle("explorer.settings['answer'] == ' Mary'")

    notebook.kernel_exec(HELD)
    press(notebook, "Run")
    let_through(notebook, 4)
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("left")
    check("running")
    notebook.kernel_exec(FREE)
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")
    check("done")

    click_cell(notebook, ".pw-x-main", 2, 14)
    notebook.settle("explorer._drilldown.run is not None")
    check("a cell open")
    click_cell(notebook, ".pw-x-card:has-text('Heads writing at')", 1, 3)
    expect(part(notebook, ".pw-x-card:has-text('Attention of head')")).to_be_visible()
    check("a head open")

    press(notebook, "Noise")
    expect(part(notebook, ".pw-shelf-line")).to_have_count(2)
    check("two runs on the shelf")
    for name in ("Compare run 1 as A", "Compare run 2 as B"):
        notebook.output(0).get_by_role("button", name=re.compile(f"^{name}")).click()
    expect(part(notebook, ".pw-x-maps .pw-heatmap:visible")).to_have_count(2)
    check("two runs side by side")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_alone(lab: Lab, theme: Theme) -> None:
    notebook = lab.open_notebook([VIEWS, "display(*views.values())"], theme=theme, height=2000)
    for cell in (0, 1):
        notebook.run_cell(cell)
    roots = notebook.output(1).locator(".pw-root")
    expect(roots).to_have_count(notebook.kernel_eval("len(views)"))
    check_accessible(notebook.page, ".jp-OutputArea-output .pw-root", "views alone")
    for grid in notebook.output(1).locator("[role=grid]").all():
        grid.press("t")
    expect(notebook.output(1).locator(".pw-tablebox:visible")).to_have_count(2)
    check_accessible(notebook.page, ".jp-OutputArea-output .pw-root", "tables")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_published_page(browser: Browser, tmp_path: Path, theme: Theme) -> None:
    """The whole page is ours: what is asked of pages as such is asked of it."""
    file = tmp_path / "page.html"
    file.write_text(page_html(), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1180, "height": 1000}, color_scheme=theme)
    opened.goto(file.as_uri())
    expect(opened.locator(".pw-heatmap").first).to_be_visible()
    check_accessible(opened, "html", "page")
    opened.close()
