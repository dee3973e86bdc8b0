"""In real JupyterLab: cells gathered and patched together by keyboard and mouse; a prompt of markup, drawn."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.axe import check_accessible
from tests.browser.harness import Lab

pytestmark = pytest.mark.browser

OPEN = "import patchwidgets as pw\nmodel = pw.load_model()\nexplorer = pw.explore(model)\nexplorer"
MARKUP = '<img src=x onerror=\\"window.pwned=1\\"><script>window.pwned=1</script>'
DRAW = f'''
import copy, ipywidgets
import patchwidgets as pw
result = pw.patch(pw.load_model(), pw.PRESETS[0].pair, "resid_pre").wait()
provenance = copy.deepcopy(result.provenance)
provenance["prompts"] = {{"clean": "{MARKUP}", "corrupted": "</svg><b>bold</b>"}}
ipywidgets.HTML(pw.PatchResult(result.data, provenance).diagram(layer=2, pos=14).svg())
'''


def test_cells_are_gathered_and_patched_together(lab: Lab) -> None:
    notebook = lab.open_notebook([OPEN], height=1900)
    notebook.run_cell(0)
    notebook.page.set_default_timeout(30_000)
    page, root = notebook.page, notebook.output(0).locator(".pw-x-root")
    grid = root.locator(".pw-x-main .pw-heatmap [role=grid]").first
    grid.wait_for()
    notebook.kernel_eval("[explorer.run(), explorer.wait(), 1][2]")
    grid.focus()
    for key in ("Home", "Control+Home", "ArrowDown", *["ArrowRight"] * 4, " ", "ArrowDown", " "):
        page.keyboard.press(key)
    expect(root.locator(".pw-x-gathering .pw-x-card-title")).to_contain_text("2 cells gathered")
    box = root.locator(".pw-x-main .pw-heatmap canvas").first.bounding_box()
    assert box is not None
    rows, cols = notebook.kernel_eval("list(explorer._map.view.shape)")
    at = {"x": box["width"] * 14.5 / cols, "y": box["height"] * 3.5 / rows}
    root.locator(".pw-x-main .pw-heatmap .pw-plot").first.click(position=at, modifiers=["ControlOrMeta"])
    notebook.wait_for("len(explorer.selection) == 3")
    places = notebook.kernel_eval("explorer.selection[['layer', 'pos']].values.tolist()")
    assert places == [[1, 4], [2, 4], [3, 14]]
    root.get_by_role("button", name="Patch together").click()
    table = root.locator(".pw-x-table")
    table.wait_for()
    shown = [float(text.replace("\u2212", "-")) for text in table.locator("td").all_inner_texts()]
    script = "explorer.together.select('logit_diff').normalized.values[0].tolist()"
    *alone, joint = notebook.kernel_eval(script)
    own = notebook.kernel_eval("explorer.selection['normalized'].tolist()")
    assert alone == pytest.approx(own, abs=1e-4)
    assert shown == pytest.approx([*own, sum(own), joint, joint - sum(own)], abs=6e-3)
    said = root.locator(".pw-x-gathering .pw-predicted")
    expect(said).to_have_count(3)
    expect(said.nth(2).locator("caption")).to_have_text("patched: all 3 together")
    chances = notebook.kernel_eval("[row['prob'] for row in explorer._gathering.tokens.view.tables[2]['rows']]")
    percents = [float(text.strip("<%")) for text in said.nth(2).locator(".pw-percent").all_inner_texts()]
    assert percents == pytest.approx([100 * chance for chance in chances], abs=0.51)
    root.get_by_role("button", name="Draw the experiment").click()
    root.locator("svg.pw-diagram").wait_for()
    check_accessible(page, ".pw-x-root", "gathered and drawn")
    root.get_by_role("button", name="Clear", exact=True).first.click()
    expect(root.locator(".pw-x-gathering")).to_be_hidden()

    plot = root.locator(".pw-x-main .pw-heatmap .pw-plot").first
    for row, col, keys in ((3, 14, []), (1, 4, ["ControlOrMeta"])):  # the open cell is gathered with the next one
        plot.click(
            position={"x": box["width"] * (col + 0.5) / cols, "y": box["height"] * (row + 0.5) / rows}, modifiers=keys
        )
    notebook.wait_for("explorer.selection[['layer', 'pos']].values.tolist() == [[3, 14], [1, 4]]")
    told = "Drawn is the open cell, layer 3, pos 14; the other cell gathered is not."
    expect(root.locator(".pw-x-drawing")).to_contain_text(told)

    root.get_by_role("button", name="Clear", exact=True).first.click()
    grid.focus()
    for key in ("Control+Home", "Space", "ArrowRight", "ArrowRight", "ArrowDown", "Shift+Space"):
        page.keyboard.press(key)
    notebook.wait_for("len(explorer.selection) == 7")  # the open cell with the first one, then two rows of three
    check_accessible(page, ".pw-x-root", "a range gathered by keys")
    notebook.screenshot("gathered_by_keys", root)


def test_a_prompt_of_markup_is_drawn_as_text(lab: Lab) -> None:
    notebook = lab.open_notebook([DRAW])
    notebook.run_cell(0)
    drawing = notebook.output(0).locator("svg.pw-diagram")
    drawing.wait_for()
    assert notebook.page.evaluate("window.pwned") is None
    assert drawing.locator("img, script, b, a, foreignObject").count() == 0
    assert re.search(r"<img src=x", "".join(drawing.locator("text").all_text_contents()))
    label = drawing.get_attribute("aria-label")
    assert label is not None
    assert "<script>window.pwned=1</script>" in label
