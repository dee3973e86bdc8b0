"""Facts on the embedded model in real JupyterLab: prompts of unequal length, aligned by hand, by mouse and by keys."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.harness import Lab, Notebook
from tests.browser.test_explorer import check_drawn_values, click_cell, open_explorer, part, press, type_into

pytestmark = pytest.mark.browser

# The same question without an Explorer, with the alignment that the person made.
AGAIN = """
asked = explorer.settings
pair = pw.PromptPair(asked["clean"], asked["corrupted"], answer=asked["answer"], foil=asked["foil"])
again = pw.patch(model, pair, "resid_pre", align=[(0, 0), (1, 1), (2, 2), (5, 4), (6, 5)]).wait()
"""


def token(notebook: Notebook, run: str, column: int) -> Locator:
    return part(notebook, ".pw-x-align .pw-col").nth(column).locator(f".pw-{run}")


def test_prompts_of_unequal_length_are_aligned_by_hand(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1750)
    fields = part(notebook, ".pw-x-row input")
    type_into(fields.nth(0), "The famous Eiffel Tower is in")
    type_into(fields.nth(1), "The Leaning Tower is in")
    told = part(notebook, ".pw-x-align .pw-x-dim")
    proposal = "Proposed: 2 shared at the start, 3 at the end, 1 paired between; 1 clean token without a counterpart."
    expect(told).to_contain_text(proposal)
    notebook.wait_for("explorer.settings['answer'] is not None and explorer.settings['foil'] is not None")
    expect(token(notebook, "corrupted", 2)).to_have_class(re.compile("pw-gap"))
    notebook.screenshot("explorer_aligned_proposed", part(notebook, ".pw-x-root"))

    token(notebook, "clean", 5).click()
    token(notebook, "corrupted", 1).click()
    press(notebook, "Pair")
    expect(part(notebook, ".pw-x-align .pw-x-error")).to_contain_text("'is' with 'The' would cross")
    notebook.screenshot("explorer_aligned_refused", part(notebook, ".pw-x-root"))
    token(notebook, "clean", 2).click()
    token(notebook, "corrupted", 3).click()
    press(notebook, "Pair")
    expect(told).to_contain_text("Edited by hand")
    notebook.wait_for("explorer.settings['alignment'] == [[0, 0], [1, 1], [2, 2], [4, 3], [5, 4], [6, 5]]")

    strip = part(notebook, ".pw-x-align [role=group]")
    strip.focus()
    for key in ("Home", *["ArrowRight"] * 4, "Enter", "u"):
        strip.press(key)
    expect(told).to_contain_text("2 clean and 1 corrupted tokens without a counterpart")
    assert notebook.kernel_eval("explorer.settings['alignment']") == [[0, 0], [1, 1], [2, 2], [5, 4], [6, 5]]

    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")
    notebook.kernel_exec(AGAIN)
    check_drawn_values(notebook, alone=(3, 4), of="again")
    click_cell(notebook, ".pw-x-main", 2, 3)
    expect(part(notebook, ".pw-x-hint")).to_contain_text("'Eiffel' stands in the clean prompt alone")
    click_cell(notebook, ".pw-x-main", 1, 7)
    expect(part(notebook, ".pw-x-path")).to_contain_text("layer 1, in")
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished")
    click_cell(notebook, ".pw-x-card:has-text('Heads writing at')", 0, 1)
    attention = part(notebook, ".pw-x-card:has-text('Attention of head 0.1')")
    expect(attention).to_contain_text("patched: head 0.1")
    notebook.settle("explorer._drilldown._seen is not None")
    check_drawn_attention(notebook, attention)
    shown = (
        part(notebook, ".pw-x-card:has-text('Next token') .pw-predicted")
        .nth(2)
        .locator("td.pw-percent")
        .all_inner_texts()
    )
    kernel = notebook.kernel_eval("[row['prob'] for row in explorer._drilldown.predictions.tables[2]['rows']]")
    assert [float(text.strip("<%")) for text in shown] == pytest.approx([100 * p for p in kernel], abs=0.51)
    for theme, width in (("light", 1400), ("dark", 1400), ("light", 760)):
        notebook.page.set_viewport_size({"width": width, "height": 2600})
        notebook.theme(theme)
        notebook.page.mouse.move(0, 0)
        notebook.screenshot(f"explorer_aligned_{theme}_{width}", part(notebook, ".pw-x-root"))
    press(notebook, "Reset")
    expect(told).to_contain_text(proposal)


def check_drawn_attention(notebook: Notebook, attention: Locator) -> None:
    """The attention's table holds the kernel's weights from the position shown, nothing where a run has no token."""
    view = "explorer._drilldown.attention"
    weights = np.array(
        notebook.kernel_eval(
            f"__import__('numpy').frombuffer({view}.patterns, dtype='<f4').reshape(-1, 8, 8)"
            f"[:len({view}.runs), {view}.dest].T"
        ),
        dtype=float,
    )
    attention.locator("[role=group]").press("t")
    rows = attention.locator(".pw-table tbody tr").all()
    drawn = [row.locator("td").all_inner_texts() for row in rows]
    attention.locator(".pw-tablebox").press("t")
    assert np.isnan(weights).sum() == 1 + 2 * (weights.shape[1] - 1)
    for place, weight in np.ndenumerate(weights):
        text = drawn[place[0]][place[1]]
        assert text == ("\u2013" if math.isnan(weight) else f"{weight:.2f}"), (place, text, weight)
