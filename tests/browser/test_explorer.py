"""The main job in real JupyterLab: two prompts typed, an answer picked, a heatmap that fills in, a head that opens."""

from __future__ import annotations

import math
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

# Makes every prompt of a batch cost time, so that a run of the small model can be watched and cancelled.
SLOW = """
import time
def slow(module, args, options): time.sleep(0.02 * len(options["input_ids"]))
slowed = model.original_model.register_forward_pre_hook(slow, with_kwargs=True)
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
    texts = [row.locator("td").all_inner_texts() for row in rows]
    part(notebook, f"{view} .pw-textbutton").first.click()
    return texts


def check_drawn_values(notebook: Notebook) -> None:
    """Every number in the heatmap's table is the kernel's, to the digits shown."""
    expected = np.array(notebook.kernel_eval("explorer.result.normalized.values[0].tolist()"), dtype=float)
    status = np.array(notebook.kernel_eval("explorer.result.data['status'].values.tolist()"))
    drawn = table(notebook, ".pw-x-main")
    assert (len(drawn), len(drawn[0])) == expected.shape
    for (row, col), value in np.ndenumerate(expected):
        text = drawn[row][col]
        if status[row, col] == "implied":
            assert "implied" in text
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
    part(notebook, "select").nth(1).select_option(index=1)
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
    type_into(part(notebook, ".pw-x-row input").nth(1), "When <b>Anna</b>")
    error = part(notebook, ".pw-x-row .pw-x-error").nth(1)
    expect(error).to_contain_text("different lengths")
    press(notebook, "Run")
    expect(error).to_contain_text("different lengths")
    notebook.screenshot("explorer_error")
    assert part(notebook, ".pw-x-root b").count() == 0


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
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("left", timeout=30_000)
    notebook.wait_for("explorer._run.done > 40", seconds=120)
    press(notebook, "Cancel")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cancelled after", timeout=30_000)
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in", timeout=240_000)
    assert len({picture for text, picture in notebook.page.evaluate("seen") if "left" in text}) >= 3
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
