"""The views in real JupyterLab: partial updates, reload, two views of one model, keys that stay with the view."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.harness import Lab

pytestmark = pytest.mark.browser

MAKE = """
import numpy as np
from patchwidgets.views import Heatmap, label_columns
heads = label_columns("head", [str(i) for i in range(4)])
view = Heatmap([str(i) for i in range(3)], heads, state="running", words={"title": "z", "unit": "recovered"},
               normalized=np.zeros((3, 4)), effect=np.zeros((3, 4)), patched=np.zeros((3, 4)), status=np.zeros((3, 4)))
"""

TOP_LEFT = """index => {
    const canvas = document.querySelectorAll(".pw-heatmap canvas")[index];
    return [...canvas.getContext("2d").getImageData(canvas.width / 8, 6, 1, 1).data].slice(0, 3);
}"""
BLUE, ZERO = [9, 78, 151], [243, 245, 246]
TURNED = f"([f, i]) => eval(f)(i).join() === '{','.join(map(str, BLUE))}'"


def test_updates_reach_every_view_and_survive_a_reload(lab: Lab) -> None:
    notebook = lab.open_notebook([MAKE, "view", "view"])
    for cell in range(3):
        notebook.run_cell(cell)
    page = notebook.page
    expect(page.locator(".pw-heatmap canvas")).to_have_count(2)
    assert page.evaluate(TOP_LEFT, 0) == ZERO
    notebook.kernel_eval("view.update_cells([0], [1.0], [5.0], [3.0], [0])")
    for index in (0, 1):
        page.wait_for_function(TURNED, arg=[f"({TOP_LEFT})", index])
    notebook.save()
    page.reload()
    notebook.wait_ready()
    expect(page.locator(".pw-heatmap canvas")).to_have_count(2)
    page.wait_for_function(TURNED, arg=[f"({TOP_LEFT})", 0])


def test_arrows_and_enter_stay_with_the_view(lab: Lab) -> None:
    notebook = lab.open_notebook([MAKE, "view", "1 + 1"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    page = notebook.page
    page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.locator(".pw-heatmap .pw-plot").click(position={"x": 5, "y": 5})
    notebook.wait_for("view.selected == [0, 0]")
    active = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    before = page.evaluate(active)
    grid = page.locator(".pw-heatmap [role=grid]")
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowRight", "Enter"):
        grid.press(key)
    notebook.wait_for("view.selected == [1, 1]")
    assert page.evaluate(active) == before
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.mode") == "command"
    expect(grid).to_be_focused()


def test_a_typed_limit_is_the_kernel_s_and_outlives_another_run(lab: Lab) -> None:
    notebook = lab.open_notebook([MAKE, "view"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    page = notebook.page
    notebook.kernel_eval("view.update_cells([0], [0.25], [5.0], [3.0], [0])")
    field = page.get_by_label("end of the colours, plus and minus, recovered")
    field.fill("0.25")
    field.press("Enter")
    notebook.wait_for("view.fixed_limit == 0.25")
    page.wait_for_function(TURNED, arg=[f"({TOP_LEFT})", 0])
    values = "normalized=view.array('normalized'), effect=view.array('effect'), status=view.array('status')"
    notebook.kernel_eval(f"view.show(view.rows, view.columns, limit=1.0, {values})")
    expect(field).to_have_value("0.25")
    assert page.evaluate(TOP_LEFT, 0) == BLUE
    field.fill("")
    field.press("Enter")
    notebook.wait_for("view.fixed_limit == 0")
    expect(field).to_have_value("1")


def test_means_follow_the_cells(lab: Lab) -> None:
    notebook = lab.open_notebook([MAKE, "view"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    notebook.kernel_eval("view.update_cells([0, 5], [1.0, -0.4], [5.0, 1.0], [3.0, 1.0], [0, 0])")
    rows, cols = (notebook.page.locator(f".pw-{axis}means .pw-mean") for axis in ("row", "col"))
    expect(rows).to_have_text(["0.25", "0.10", "0.00"])
    expect(cols).to_have_text(["0.33", "0.13", "0.00", "0.00"])
