"""Every corruption kind at one click in real JupyterLab: small maps on one scale, and the cells that all found."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.harness import Lab
from tests.browser.test_explorer import open_explorer, part, press, table

pytestmark = pytest.mark.browser

BY_HAND = """
import numpy as np
from patchwidgets.engine.handle import handle_of
from patchwidgets.explorer.kinds import pairs_of
made = pairs_of(handle_of(model), explorer.settings["clean"], " Mary")
maps = {kind: pw.patch(model, pair, "resid_pre").wait().normalized.values[0] for kind, pair in made.items()}
"""


def test_every_corruption_kind_side_by_side(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2600)
    notebook.wait_for("explorer._worker.idle")
    press(notebook, "Run every corruption kind")
    told = part(notebook, ".pw-x-kinds > .pw-x-bar")
    expect(told).to_contain_text("Cells found by 5 kinds at |recovered| \u2265 0.3", timeout=60_000)
    expect(part(notebook, ".pw-shelf-line")).to_have_count(6)
    cards = part(notebook, ".pw-x-multiples > .pw-x-card")
    expect(cards).to_have_count(6)
    bars = part(notebook, ".pw-x-multiples .pw-smallbar").all_inner_texts()
    assert len(set(bars)) == 1
    notebook.kernel_eval(f"exec({BY_HAND!r}, globals())")
    maps = {kind: np.array(values) for kind, values in notebook.kernel_eval("maps").items()}
    hits = sum((np.abs(values) >= 0.3).astype(int) for kind, values in maps.items() if kind != "BAB")
    drawn = table(notebook, ".pw-x-kinds > :last-child")
    assert hits.shape == (len(drawn), len(drawn[0]))
    for (row, col), count in np.ndenumerate(hits):
        text = drawn[row][col]
        word = {0: "none", 1: "one", 5: "all"}.get(int(count), "some")
        assert float(text.split()[0]) == pytest.approx(count / 5, abs=0.006), (row, col, text)
        assert word in text or "implied" in text, (row, col, text)
    grid = cards.nth(5).locator("[role=grid]")
    grid.focus()
    grid.press("Control+End")
    label = cards.nth(5).locator("[role=gridcell]").get_attribute("aria-label") or ""
    found = re.search(r"recovered (\u2212?[\d.]+)", label)
    assert found, label
    assert float(found.group(1).replace("\u2212", "-")) == pytest.approx(maps["ABA"][-1, -1], abs=0.006)
    notebook.screenshot("kinds", of=part(notebook, ".pw-x-kinds"))
