"""The main job in real JupyterLab: two prompts typed, an answer picked, a heatmap that fills in, a head that opens."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.harness import Lab, Notebook

pytestmark = pytest.mark.browser

OPEN = "import patchwidgets as pw\nmodel = pw.load_model({what})\nexplorer = pw.explore(model)\nexplorer"
CLEAN = "When Lucy and Tom went to the park, Tom gave a book to"
CORRUPTED = "When Jane and Tom went to the park, Tom gave a book to"
SMOL_CLEAN = "When Mary and John went to the store, John gave a drink to"
SMOL_CORRUPTED = "When Mary and John went to the store, Mary gave a drink to"

# Makes every prompt of a batch cost time, so that a run of the small model can be watched and cancelled. It acts before
# the last norm, of which the replay engine has a copy.
SLOW = """
import time, torch
def slow(module, args):
    if getattr(module, "name", None) == model.ln_final.name: time.sleep(0.02 * len(args[0]))
slowed = torch.nn.modules.module.register_module_forward_pre_hook(slow)
"""
FAST = "slowed.remove()"

# Keeps every text the progress line has shown, with how many cells the heatmap had coloured by then.
WATCH = """() => {
    const line = document.querySelector(".pw-x-progress-text");
    const canvas = document.querySelector(".pw-x-main .pw-heatmap canvas");
    window.seen = [];
    new MutationObserver(() => window.seen.push([line.textContent.trim(), canvas.toDataURL()]))
        .observe(line, {childList: true, subtree: true, characterData: true});
}"""


def open_explorer(lab: Lab, what: str = "", **look: object) -> Notebook:
    notebook = lab.open_notebook([OPEN.format(what=what)], **look)
    notebook.run_cell(0)
    notebook.page.wait_for_selector(".pw-x-main .pw-heatmap canvas")
    return notebook


def part(notebook: Notebook, css: str) -> Locator:
    return notebook.output(0).locator(css)


def type_into(field: Locator, text: str) -> None:
    field.click()
    field.press("Control+a")
    field.press_sequentially(text, delay=5)


def press(notebook: Notebook, name: str) -> None:
    notebook.output(0).get_by_role("button", name=name, exact=True).click()


def click_cell(notebook: Notebook, view: str, row: int, col: int) -> None:
    """Click the middle of a cell of the heatmap at `view`, found from its drawn size."""
    plot = part(notebook, f"{view} .pw-plot").first
    plot.scroll_into_view_if_needed()
    rows, cols = (
        int(part(notebook, f"{view} [role=grid]").first.get_attribute(f"aria-{axis}count") or 0)
        for axis in ("row", "col")
    )
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": box["width"] * (col + 0.5) / cols, "y": box["height"] * (row + 0.5) / rows})


def table(notebook: Notebook, view: str) -> list[list[str]]:
    """Return the texts of a heatmap's table of values, opened for the purpose."""
    part(notebook, f"{view} .pw-textbutton").first.click()
    rows = part(notebook, f"{view} .pw-table tbody tr").all()
    texts = [row.locator("td:not(.pw-meancell)").all_inner_texts() for row in rows]
    part(notebook, f"{view} .pw-textbutton").first.click()
    return texts


def check_drawn_values(notebook: Notebook, alone: tuple[int, ...] = ()) -> None:
    """Every number in the heatmap's table is the kernel's, to the digits shown; those that stand `alone` have none."""
    expected = np.array(notebook.kernel_eval("explorer.result.normalized.values[0].tolist()"), dtype=float)
    status = np.array(notebook.kernel_eval("explorer.result.data['status'].values.tolist()"))
    for column in alone:
        expected, status = np.insert(expected, column, np.nan, 1), np.insert(status, column, "unavailable", 1)
    drawn = table(notebook, ".pw-x-main")
    assert (len(drawn), len(drawn[0])) == expected.shape
    for (row, col), value in np.ndenumerate(expected):
        text = drawn[row][col]
        if status[row, col] in ("implied", "unavailable"):
            assert status[row, col] in text
        if math.isfinite(value):
            number = float(text.split()[0].replace("\u2212", "-").rstrip(","))
            assert number == pytest.approx(value, abs=0.006), (row, col, text)


def test_the_main_job(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1500)
    fields = part(notebook, ".pw-x-row input")
    type_into(fields.nth(0), CLEAN)
    type_into(fields.nth(1), CORRUPTED)
    pills = part(notebook, ".pw-x-pills")
    pills.nth(0).get_by_role("button", name="Lucy").click()
    pills.nth(1).get_by_role("button", name="Jane").click()
    notebook.wait_for("explorer.settings['clean'].startswith('When Lucy') and explorer.settings['foil'] is not None")
    columns = part(notebook, ".pw-x-main .pw-heatmap").first
    expect(columns).to_contain_text("Lucy")
    expect(columns).to_contain_text("Jane")

    notebook.kernel_eval(f"exec({SLOW!r}, globals())")
    notebook.page.evaluate(WATCH)
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in", timeout=60_000)
    seen = notebook.page.evaluate("seen")
    running = [picture for text, picture in seen if "left" in text]
    assert len(running) >= 2, [text for text, _ in seen]
    assert len(set(running)) >= 2, "the heatmap did not change while the run went on"
    notebook.kernel_eval(f"exec({FAST!r}, globals())")

    check_drawn_values(notebook)
    assert notebook.kernel_eval("float(explorer.result.normalized.sel(layer=0, pos=2).item())") == pytest.approx(
        1.0, abs=1e-4
    )

    click_cell(notebook, ".pw-x-main", 2, 14)
    expect(part(notebook, ".pw-x-path")).to_contain_text("layer 2, to")
    notebook.wait_for("explorer.selection is not None and explorer.selection.iloc[0].pos == 14")
    heads = ".pw-x-card:has-text('Heads writing at')"
    expect(part(notebook, heads).first).to_be_visible()
    expect(part(notebook, ".pw-x-card:has-text('Next token')")).to_contain_text("this cell")
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished")
    click_cell(notebook, heads, 1, 1)
    attention = part(notebook, ".pw-x-card:has-text('Attention of head 1.1')")
    expect(attention).to_contain_text("patched: head 1.1")
    expect(part(notebook, ".pw-x-path")).to_contain_text("head 1.1")
    press(notebook, "Back to the cell")
    expect(attention).to_be_hidden()


def test_cancel_keeps_what_was_measured_and_the_kernel_stays_free(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1500)
    notebook.wait_for("explorer.settings")
    notebook.kernel_eval(f"exec({SLOW!r}, globals())")
    press(notebook, "z")
    part(notebook, ".pw-x-bar select").first.select_option(index=1)
    notebook.wait_for("explorer.settings['by'] == ['layer', 'pos', 'head']")
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("left")
    assert notebook.kernel_eval("1 + 1") == 2
    press(notebook, "Cancel")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cancelled after")
    counts = notebook.kernel_eval("explorer.result.data['status'].to_series().value_counts().to_dict()")
    assert counts["pending"] > 0
    assert counts["measured"] > 0
    notebook.kernel_eval(f"exec({FAST!r}, globals())")
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in", timeout=60_000)
    assert notebook.kernel_eval("int((explorer.result.data['status'] == 'pending').sum())") == 0


def test_errors_are_told_beside_the_field(lab: Lab) -> None:
    notebook = open_explorer(lab, height=900)
    type_into(part(notebook, ".pw-x-choice input").first, "<b>Anna</b>")
    error = part(notebook, ".pw-x-prompts > .pw-x-error").first
    expect(error).to_contain_text("<b>")
    press(notebook, "Run")
    expect(error).to_contain_text("<b>")
    notebook.screenshot("explorer_error")
    assert part(notebook, ".pw-x-root b").count() == 0


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
    check_drawn_values(notebook, alone=(3, 4))
    click_cell(notebook, ".pw-x-main", 2, 3)
    expect(part(notebook, ".pw-x-hint")).to_contain_text("'Eiffel' stands in the clean prompt alone")
    click_cell(notebook, ".pw-x-main", 1, 7)
    expect(part(notebook, ".pw-x-path")).to_contain_text("layer 1, in")
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished")
    click_cell(notebook, ".pw-x-card:has-text('Heads writing at')", 0, 1)
    attention = part(notebook, ".pw-x-card:has-text('Attention of head 0.1')")
    expect(attention).to_contain_text("patched: head 0.1")
    notebook.wait_for("explorer._drilldown._seen is not None and explorer._worker.idle")
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


def test_what_a_control_lacks_is_told_beside_it(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1300)
    control = part(notebook, ".pw-x-bar select").nth(1)
    control.select_option(label="mean (needs a dataset)")
    told = part(notebook, ".pw-x-told-control")
    expect(told).to_contain_text("mean needs a dataset: pw.explore(model, dataset=...).")
    expect(control).to_have_value("patch")
    assert notebook.kernel_eval("explorer.settings['intervention']") == "patch"
    notebook.screenshot("explorer_needs_dataset", part(notebook, ".pw-x-root"))
    notebook.kernel_eval("setattr(explorer, 'intervention', pw.Vector([0.0] * model.cfg.d_model))")
    expect(control.locator("option:checked")).to_have_text("vector of 128 numbers")
    expect(told).to_be_hidden()


@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 1400), ("light", 760)])
def test_pictures_of_the_embedded_model(lab: Lab, theme: str, width: int) -> None:
    notebook = open_explorer(lab, theme=theme, width=width, height=1750)
    notebook.wait_for("explorer.settings")
    notebook.screenshot(f"explorer_empty_{theme}_{width}")
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")
    click_cell(notebook, ".pw-x-main", 2, 14)
    heads = ".pw-x-card:has-text('Heads writing at')"
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished")
    click_cell(notebook, heads, 1, 3)
    expect(part(notebook, ".pw-x-card:has-text('Attention of head')")).to_be_visible()
    notebook.page.mouse.move(0, 0)
    limit, unit = (part(notebook, f".pw-x-main .pw-{name}").first.bounding_box() for name in ("limit", "unit"))
    assert limit is not None
    assert unit is not None
    assert limit["height"] == 19, "the end of the scale looks like a field of the Explorer's"
    assert limit["y"] > unit["y"] + 12
    notebook.screenshot(f"explorer_head_{theme}_{width}", part(notebook, ".pw-x-root"))


@pytest.mark.smollm2
def test_the_main_job_on_smollm2(lab: Lab, smollm2_folder: Path) -> None:
    notebook = open_explorer(lab, repr(str(smollm2_folder)), height=2000)
    fields = part(notebook, ".pw-x-row input")
    type_into(fields.nth(0), SMOL_CLEAN)
    type_into(fields.nth(1), SMOL_CORRUPTED)
    pills = part(notebook, ".pw-x-pills")
    pills.nth(0).get_by_role("button", name="\u00b7Mary").click()
    pills.nth(1).get_by_role("button", name="\u00b7John").click()
    notebook.wait_for("explorer.settings['foil'] is not None and explorer._encoded is not None", seconds=60)
    notebook.page.evaluate(WATCH)
    press(notebook, "z")
    part(notebook, ".pw-x-bar select").first.select_option(index=1)
    notebook.wait_for("explorer.settings['by'] == ['layer', 'pos', 'head']")
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("left", timeout=30_000)
    notebook.wait_for("explorer._run.done > 40", seconds=120)
    press(notebook, "Cancel")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cancelled after", timeout=30_000)
    counts = notebook.kernel_eval("explorer.result.data['status'].to_series().value_counts().to_dict()")
    assert counts["pending"] > 0
    assert counts["measured"] > 40
    press(notebook, "resid pre")
    notebook.wait_for("explorer.settings['by'] == ['layer', 'pos']")
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in", timeout=240_000)
    assert len({picture for text, picture in notebook.page.evaluate("seen") if "left" in text}) >= 2
    check_drawn_values(notebook)
    end = notebook.kernel_eval("len(explorer.result.data.pos) - 1")
    click_cell(notebook, ".pw-x-main", 21, end)
    expect(part(notebook, ".pw-x-path")).to_contain_text("layer 21")
    expect(part(notebook, ".pw-x-card:has-text('Next token')")).to_contain_text("this cell", timeout=30_000)
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished", seconds=240)
    click_cell(notebook, ".pw-x-card:has-text('Heads writing at')", 23, 3)
    expect(part(notebook, ".pw-x-card:has-text('Attention of head 23.3')")).to_be_visible(timeout=30_000)
    notebook.page.mouse.move(0, 0)
    notebook.screenshot("explorer_smollm2", part(notebook, ".pw-x-root"))
