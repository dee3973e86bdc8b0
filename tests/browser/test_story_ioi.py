"""IOI on SmolLM2 in real JupyterLab: from an empty prompt to the head that carries the name, and the same from code."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.harness import Lab, Notebook
from tests.browser.measuring import Clicks, Measured, no_model_call, streaming, time_keys
from tests.browser.reading import number_of, small_table_of
from tests.browser.test_explorer import OPEN, WATCH, check_drawn_values, click_cell, part, press, table, type_into

pytestmark = [pytest.mark.browser, pytest.mark.smollm2]

CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPTED = "When Anna and John went to the store, John gave a drink to"
DONE = re.compile(r"cells, in [\d.]+ s")
HEADS = ".pw-x-card:has-text('Heads writing at')"


def test_from_an_empty_prompt_to_the_head_that_carries_the_name(
    lab: Lab, smollm2_folder: Path, measured: Measured
) -> None:
    notebook = lab.open_notebook([OPEN.format(what=repr(str(smollm2_folder))), ""], height=2600)
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    notebook.run_cell(0)
    notebook.page.wait_for_selector(".pw-x-main .pw-heatmap canvas")
    progress = part(notebook, ".pw-x-progress-text")
    type_both_prompts(notebook)
    choose_answers(notebook)

    # Stopped halfway, then from the beginning to the end.
    press(notebook, "Run")
    notebook.wait_for("explorer._run is not None and explorer._run.done > 20")
    press(notebook, "Cancel")
    expect(progress).to_contain_text("cancelled after")
    counts = notebook.kernel_eval("explorer.result.data['status'].to_series().value_counts().to_dict()")
    assert counts["pending"] > 0
    assert counts["measured"] > 20
    notebook.page.evaluate(WATCH)
    with streaming(notebook) as streamed:
        press(notebook, "Run")
        expect(progress).to_have_text(DONE, timeout=240_000)
    measured("a sweep of SmolLM2, resid_pre", str(streamed))
    assert len({picture for text, picture in notebook.page.evaluate("seen") if "left" in text}) >= 2
    check_drawn_values(notebook)

    open_the_cell(notebook, measured)
    open_the_head(notebook)
    run_the_code(notebook)
    another_metric_asks_nothing(notebook)


def type_both_prompts(notebook: Notebook) -> None:
    """Empty both fields, see that this is told, and type."""
    fields = part(notebook, ".pw-x-row input")
    for nth in (0, 1):
        fields.nth(nth).click()
        fields.nth(nth).press("Control+a")
        fields.nth(nth).press("Delete")
        expect(fields.nth(nth)).to_have_value("")
    expect(part(notebook, ".pw-x-row .pw-x-error").first).to_contain_text("the clean prompt is empty; type a text.")
    press(notebook, "Run")
    assert notebook.kernel_eval("explorer.result is None")
    type_into(fields.nth(0), CLEAN)
    type_into(fields.nth(1), CORRUPTED)


def choose_answers(notebook: Notebook) -> None:
    """Pick the answer and the foil among the model's own first choices."""
    notebook.wait_for(f"explorer.settings['clean'] == {CLEAN!r} and explorer._encoded is not None")
    pills = part(notebook, ".pw-x-pills")
    pills.nth(0).get_by_role("button", name="\u00b7Mary").click()
    pills.nth(1).get_by_role("button", name="\u00b7Anna").click()
    notebook.settle("explorer.settings['foil'] is not None")


def open_the_cell(notebook: Notebook, measured: Measured) -> None:
    """Look behind cells of the last column, of the deepest that still lacks the name at last; then with the keys."""
    clicks = Clicks(notebook)
    end = notebook.kernel_eval("len(explorer.result.data.pos) - 1")
    for layer in (29, 28, 27, 26, 25, 24, 23, 20, 19, 22, 21):
        click_cell(notebook, ".pw-x-main", layer, end)
        expect(part(notebook, ".pw-x-path")).to_contain_text(f"layer {layer}, ")
        clicks.wait()
    measured("click to drawn drilldown, SmolLM2, 15 tokens", str(clicks.times))
    grid = part(notebook, ".pw-x-main [role=grid]").first
    grid.focus()
    keys = time_keys(notebook, ["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"] * 5)
    measured("key to highlight, 30 layers by 15 tokens", str(keys))
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished", seconds=240)


def open_the_head(notebook: Notebook) -> None:
    """Open the heads that move the answer most until one reads from the name; that one points to it."""
    drawn = [[number_of(text) for text in row] for row in small_table_of(part(notebook, HEADS))]
    heads = np.array(notebook.kernel_eval("explorer._drilldown.run.snapshot().normalized.values[0, :, 0].tolist()"))
    assert np.abs(np.array(drawn) - heads).max() <= 0.006
    strongest = [divmod(int(i), heads.shape[1]) for i in np.argsort(-heads, axis=None)[:3]]
    for layer, head in strongest:
        click_cell(notebook, HEADS, layer, head)
        attention = part(notebook, f".pw-x-card:has-text('Attention of head {layer}.{head}')")
        expect(attention).to_be_visible()
        weights = read_attention(attention)
        if "Mary" in max(weights, key=lambda token: weights[token]):
            break
    else:
        raise AssertionError(f"none of the heads {strongest} reads from the name")
    output = part(notebook, f".pw-x-card:has-text('Where head {layer}.{head} points') .pw-run-clean")
    assert "Mary" in output.locator("tbody").inner_text()
    difference = number_of(output.locator("tfoot .pw-percent").inner_text())
    told = notebook.kernel_eval("explorer._drilldown.output.tables[0]['difference']")
    assert difference == pytest.approx(told, abs=0.006)
    assert difference > 0
    notebook.page.mouse.move(0, 0)
    notebook.screenshot("explorer_smollm2", part(notebook, ".pw-x-root"))


def read_attention(attention: Locator) -> dict[str, float]:
    """Return tokens and the clean run's weights from the position shown, from the card's table."""
    attention.locator("[role=group]").press("t")
    rows = attention.locator(".pw-table tbody tr").all()
    found = {row.locator("th").inner_text(): number_of(row.locator("td").first.inner_text()) for row in rows}
    attention.locator(".pw-tablebox").press("t")
    return found


def run_the_code(notebook: Notebook) -> None:
    """Paste the copied code into the next cell and run it: every number on screen is among what it prints."""
    notebook.output(0).get_by_role("button", name=re.compile("^Copy code")).click()
    expect(part(notebook, ".pw-x-save .pw-copy-button")).to_have_text("Copied")
    notebook.page.locator('.jp-Cell[data-windowed-list-index="1"] .cm-content').click()
    notebook.page.keyboard.press("Control+v")
    pasted = "window.jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.source"
    assert notebook.page.evaluate(pasted) == notebook.kernel_eval("explorer.result.code()")
    (printed,) = notebook.run_cell(1)
    lines = [line.split("\t") for line in printed["text"].splitlines()]
    again = {(layer, pos): float(normalized) for layer, pos, _, _, normalized in filter(of_a_cell, lines)}
    drawn = table(notebook, ".pw-x-main > :first-child")
    assert len(again) == sum(len(row) for row in drawn)
    for (layer, pos), value in again.items():
        shown = number_of(drawn[int(layer)][int(pos)])
        assert math.isclose(shown, value, abs_tol=0.006), (layer, pos, shown, value)


def of_a_cell(line: list[str]) -> bool:
    """Return whether a printed line is a cell's: those of the two plain runs have no position."""
    return len(line) == 5


def another_metric_asks_nothing(notebook: Notebook) -> None:
    """Another metric, and Run once more: the map and the panel have other numbers, and the model is not asked."""
    notebook.settle("explorer._drilldown.run is not None")
    before = table(notebook, ".pw-x-main > :first-child")
    with no_model_call(notebook):
        notebook.output(0).get_by_label("metric", exact=True).first.select_option(label="probability")
        notebook.wait_for("explorer.result is not None and explorer.result.metrics == ('prob',)")
        press(notebook, "Run")
        notebook.settle()
        after = table(notebook, ".pw-x-main > :first-child")
    assert after != before
    check_drawn_values(notebook)
