"""Two sweeps in real JupyterLab: the first brought back, both held side by side, one subtracted from the other."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.axe import check_accessible
from tests.browser.harness import Lab, Notebook
from tests.browser.test_explorer import open_explorer, part, press, table

pytestmark = pytest.mark.browser

PANEL = "explorer._shelf.comparison"


def button(notebook: Notebook, name: str) -> None:
    notebook.output(0).get_by_role("button", name=re.compile(f"^{name}")).click()


def run_both(notebook: Notebook) -> None:
    """Run the demo denoised, then noised."""
    notebook.settle("explorer._encoded is not None")
    press(notebook, "Run")
    expect(part(notebook, ".pw-shelf-line")).to_have_count(1)
    press(notebook, "Noise")
    expect(part(notebook, ".pw-shelf-line")).to_have_count(2)


def check_drawn(notebook: Notebook, nth: int, expected: str) -> None:
    """Every number in the table of the nth map of the comparison is the kernel's, to the digits shown."""
    values = np.array(notebook.kernel_eval(f"({expected}).normalized.values[0].tolist()"), dtype=float)
    drawn = table(notebook, f".pw-x-maps > :nth-child({nth})")
    assert (len(drawn), len(drawn[0])) == values.shape
    for (row, col), value in np.ndenumerate(values):
        assert math.isfinite(value)
        number = float(drawn[row][col].split()[0].replace("\u2212", "-"))
        assert number == pytest.approx(value, abs=0.006), (row, col, drawn[row][col])


def test_two_runs_are_brought_back_compared_and_subtracted(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2400)
    run_both(notebook)
    lines = part(notebook, ".pw-shelf-line")
    expect(lines.nth(0)).to_contain_text("corrupted into clean")
    expect(lines.nth(0)).to_have_attribute("aria-current", "true")
    expect(lines.nth(1)).to_contain_text("52 cells in ")

    # Whatever computes would fail now: what is shown from here on was there already.
    notebook.kernel_exec(
        'def fail(*_): raise RuntimeError("the model was asked")\nmodel.original_model.register_forward_pre_hook(fail)'
    )
    button(notebook, "Bring back run 1")
    expect(lines.nth(1)).to_have_attribute("aria-current", "true")
    notebook.wait_for("explorer.settings['direction'] == 'denoise' and explorer.result is not None")
    expect(part(notebook, ".pw-x-main .pw-title").first).to_contain_text("clean into corrupted")
    drawn = table(notebook, ".pw-x-main")
    shown = notebook.kernel_eval("explorer.shelf[1].normalized.values[0].tolist()")
    for row, values in zip(drawn, shown, strict=True):
        for text, value in zip(row, values, strict=True):
            assert float(text.split()[0].replace("\u2212", "-")) == pytest.approx(value, abs=0.006)

    button(notebook, "Compare run 1 as A")
    expect(part(notebook, ".pw-shelf .pw-note")).to_have_text("Choose B to compare.")
    button(notebook, "Compare run 2 as B")
    expect(part(notebook, ".pw-x-maps .pw-heatmap:visible")).to_have_count(2)
    check_drawn(notebook, 1, "explorer.shelf[1]")
    check_drawn(notebook, 2, "explorer.shelf[0]")
    ticks = [part(notebook, f".pw-x-maps > :nth-child({nth}) .pw-tick").all_inner_texts() for nth in (1, 2)]
    assert ticks[0] == ticks[1] != []
    ringed = part(notebook, ".pw-x-compare .pw-x-dim")
    expect(ringed).to_contain_text("Ringed from 0.5 of the gap")
    marks = notebook.kernel_eval(f"list({PANEL}.left.marks)")
    rows = [text for row in table(notebook, ".pw-x-maps > :nth-child(1)") for text in row]
    assert [("sufficient only" in text, "necessary only" in text) for text in rows] == [
        (mark == 1, mark == 2) for mark in marks
    ]

    press(notebook, "A \u2212 B")
    expect(part(notebook, ".pw-x-maps .pw-heatmap:visible")).to_have_count(1)
    expect(part(notebook, ".pw-x-maps .pw-heatmap:visible .pw-title")).to_have_text(
        "resid_pre by layer and token: clean into corrupted minus corrupted into clean"
    )
    check_drawn(notebook, 3, "explorer.shelf[1] - explorer.shelf[0]")

    button(notebook, "Remove run 2")
    expect(lines).to_have_count(1)
    expect(part(notebook, ".pw-x-compare")).to_be_hidden()


def test_the_shelf_by_keyboard_and_undo(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2000)
    run_both(notebook)
    show = notebook.output(0).get_by_role("button", name=re.compile("^Bring back run 1"))
    show.focus()
    show.press("Enter")
    notebook.wait_for("explorer.settings['direction'] == 'denoise'")
    expect(show).to_be_focused()
    show.press("Control+z")
    notebook.wait_for("explorer.settings['direction'] == 'noise'")
    show.press("Control+Shift+z")
    notebook.wait_for("explorer.settings['direction'] == 'denoise'")
    show.press("Tab")
    notebook.page.keyboard.press("Tab")
    expect(part(notebook, ".pw-shelf-side:focus")).to_have_count(1)
    press(notebook, "Undo")
    notebook.wait_for("explorer.settings['direction'] == 'noise'")


def test_what_is_on_screen_is_saved_and_its_code_copied(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1600)
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press(notebook, "CSV")
    expect(part(notebook, ".pw-x-error").filter(has_text="There is no whole result")).to_be_visible()
    press(notebook, "Run")
    expect(part(notebook, ".pw-shelf-line")).to_have_count(1)
    notebook.wait_for("explorer.result is not None")
    press(notebook, "CSV")
    written = lab.workspace / "resid_pre_layer_pos_denoise_logit_diff.csv"
    expect(part(notebook, ".pw-x-line").filter(has_text=f"Written: {written}")).to_be_visible()
    assert written.read_text(encoding="utf-8") == notebook.kernel_eval(
        "explorer.result.to_dataframe().to_csv(index=False)"
    )
    button(notebook, "Copy code")
    expect(part(notebook, ".pw-x-save .pw-copy-button")).to_have_text("Copied")
    assert notebook.page.evaluate("navigator.clipboard.readText()") == notebook.kernel_eval("explorer.result.code()")
    told = part(notebook, ".pw-x-line").filter(has_text="Written: ")
    press(notebook, "CSV")
    expect(told).to_contain_text("_2.csv")
    press(notebook, "Noise")
    expect(told).to_have_count(0)


def test_a_shelf_is_cleared_and_brought_back_and_a_long_one_scrolls(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2400)
    run_both(notebook)
    lines, shelf = part(notebook, ".pw-shelf-line"), part(notebook, ".pw-shelf-list")
    button(notebook, "Clear: remove all runs but the one on screen")
    expect(lines).to_have_count(1)
    expect(lines).to_have_attribute("aria-current", "true")
    back = notebook.output(0).get_by_role("button", name="Bring back the run removed last")
    expect(back).to_be_focused()
    back.press("Enter")
    expect(lines).to_have_count(2)
    expect(back).to_have_count(0)
    short = shelf.evaluate("list => list.clientHeight")
    for count, site in enumerate(("z", "attn", "mlp", "q", "k", "v", "resid mid", "resid post", "embed"), 3):
        press(notebook, site)
        expect(lines).to_have_count(count)
    shown, whole = shelf.evaluate("list => [list.clientHeight, list.scrollHeight]")
    assert short < shown < whole - 20
    lines.last.scroll_into_view_if_needed()
    at = shelf.evaluate("list => list.scrollTop")
    assert at > 0
    button(notebook, "Compare run 1 as A")
    expect(part(notebook, ".pw-shelf .pw-note")).to_have_text("Choose B to compare.")
    assert shelf.evaluate("list => list.scrollTop") == at
    check_accessible(notebook.page, ".pw-x-shelf", "a long shelf")
