"""A whole story by keyboard alone: prompts, answer and foil, a run, a cell, its head, back, and the code run again."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.harness import Lab, Notebook
from tests.browser.test_explorer import CLEAN, CORRUPTED, OPEN, part, table

pytestmark = pytest.mark.browser

# What has the focus: whether the selector finds it, what it is called, and whether it is seen to have the focus.
FOCUSED = """css => {
    const node = document.activeElement;
    const ours = Boolean(node.closest(".pw-x-root"));
    const grid = node.getAttribute("role") === "grid";
    const cursor = grid && document.getElementById(node.getAttribute("aria-activedescendant"));
    const style = getComputedStyle(cursor || node);
    const seen = cursor ? style.opacity === "1" : style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    return [node.matches(css), ours, ours && seen, node.outerHTML.slice(0, 200)];
}"""


def go_to(notebook: Notebook, css: str, key: str = "Tab", most: int = 80) -> None:
    """Press a key until what `css` names has the focus; whatever of ours is passed shows that it has the focus."""
    passed = []
    for _ in range(most):
        notebook.page.keyboard.press(key)
        found, ours, seen, what = notebook.page.evaluate(FOCUSED, css)
        assert seen or not ours, f"the focus cannot be seen on {what}"
        passed.append(what)
        if found:
            return
    raise AssertionError(f"{most} times {key} and not at {css}:\n" + "\n".join(passed))


def spoken(notebook: Notebook) -> list[str]:
    """Return what the accessibility tree says of the active cell of the focused grid: place, value, status."""
    session = notebook.page.context.new_cdp_session(notebook.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()

    def told(node: dict[str, Any]) -> dict[str, Any]:
        return {each["name"]: each["value"] for each in node.get("properties", [])}

    focused = [n for n in nodes if n["role"]["value"] == "grid" and told(n).get("focused", {}).get("value")]
    assert len(focused) == 1, "no grid has the focus"
    (active,) = told(focused[0])["activedescendant"]["relatedNodes"]
    (cell,) = [n for n in nodes if n.get("backendDOMNodeId") == active["backendDOMNodeId"]]
    assert cell["role"]["value"] == "gridcell"
    # A cell of a cluster says so last.
    return re.sub(r", candidate stage \d+$", "", cell["name"]["value"]).rsplit(", ", 2)


def told(notebook: Notebook, layer: int, position: int) -> str:
    """Return the value of a cell as it is to be said, from the kernel's result."""
    value = notebook.kernel_eval(f"float(explorer.result.normalized.sel(layer={layer}, pos={position}).item())")
    return f"recovered {value:.2f}".replace("-", "\u2212")


def test_the_main_job_by_keyboard(lab: Lab) -> None:
    notebook = lab.open_notebook([OPEN.format(what=""), ""], height=1600)
    notebook.run_cell(0)
    notebook.page.wait_for_selector(".pw-x-main .pw-heatmap canvas")
    keys = notebook.page.keyboard
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    notebook.settle("explorer.settings")

    for name, text in (("clean", CLEAN), ("corrupted", CORRUPTED)):
        go_to(notebook, f".pw-x-row:has(.pw-x-{name}) input")
        keys.press("Control+a")
        keys.type(text, delay=5)
    # Until the names of both prompts are offered, the buttons may be made anew under the keys.
    expect(part(notebook, ".pw-x-pills").nth(1).get_by_role("button", name="Jane")).to_be_visible()
    notebook.settle()
    for nth, name in ((1, "Lucy"), (2, "Jane")):
        pill = part(notebook, ".pw-x-pills").nth(nth - 1).get_by_role("button", name=name)
        expect(pill).to_be_visible()
        pill.evaluate("node => node.classList.add('wanted')")
        go_to(notebook, ".wanted")
        keys.press("Enter")
        pill.evaluate("node => node.classList.remove('wanted')")
        expect(pill).to_have_class(re.compile("mod-active"))
    go_to(notebook, ".pw-x-run")
    keys.press("Enter")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")

    go_to(notebook, ".pw-x-main [role=grid]")
    keys.press("Control+End")
    for key in ("ArrowUp", "ArrowLeft", "ArrowRight"):
        keys.press(key)
    assert spoken(notebook) == ["layer 2, position 14 'to'", told(notebook, 2, 14), "measured"]
    keys.press("c")
    expect(part(notebook, ".pw-x-main .pw-told").first).to_contain_text("copied")
    copied = np.float32(notebook.page.evaluate("navigator.clipboard.readText()"))
    assert copied == np.float32(notebook.kernel_eval("float(explorer.result.normalized.values[0, 2, 14])"))
    keys.press("Enter")
    expect(part(notebook, ".pw-x-path")).to_contain_text("layer 2, to")
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished")

    go_to(notebook, ".pw-x-card:has(.pw-title) [role=grid][aria-label*=Heads]")
    keys.press("Control+Home")
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        keys.press(key)
    attention = part(notebook, ".pw-x-card:has-text('Attention of head 1.1')")
    expect(attention).to_be_visible()
    go_to(notebook, "button[title='close the head or the neuron']", "Shift+Tab")
    keys.press("Enter")
    expect(attention).to_be_hidden()

    go_to(notebook, ".pw-x-save .pw-copy-button")
    keys.press("Enter")
    expect(part(notebook, ".pw-x-save .pw-copy-button")).to_have_text("Copied")
    run_what_is_copied(notebook)


def run_what_is_copied(notebook: Notebook) -> None:
    """Go to the next cell by JupyterLab's keys, paste and run: the numbers printed are those on screen."""
    keys = notebook.page.keyboard
    for key in ("Escape", "ArrowDown", "Enter", "Control+v", "Control+Enter"):
        keys.press(key)
    source = "window.jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.source"
    assert notebook.page.evaluate(source) == notebook.kernel_eval("explorer.result.code()")
    drawn = table(notebook, ".pw-x-main > :first-child")
    count = sum(len(row) for row in drawn)
    printed = notebook.output(1).locator("pre")
    expect(printed).to_have_text(re.compile(rf"(.*\n){{{count}}}"), timeout=120_000)
    lines = [line.split("\t") for line in printed.inner_text().splitlines()]
    again = {(int(line[0]), int(line[1])): float(line[4]) for line in lines if len(line) == 5}
    assert len(again) == count
    for (layer, position), value in again.items():
        shown = float(drawn[layer][position].split()[0].replace("\u2212", "-"))
        assert math.isclose(shown, value, abs_tol=0.006), (layer, position)
