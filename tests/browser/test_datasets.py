"""A dataset of 32 pairs in real JupyterLab: means, intervals and single pairs on screen are the kernel's."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.harness import Lab, Notebook
from tests.browser.test_explorer import click_cell, open_explorer, part, press, table

pytestmark = pytest.mark.browser

# Every pair swept by itself, and the draws of pairs made by a plain loop.
BY_HAND = """
import numpy as np
data = pw.right(model, __import__("patchwidgets.generators").generators.ioi(32, "ABA"))
alone = [pw.patch(model, pair, "resid_pre").wait() for pair in data]
patched = np.stack([one.data["patched"].values[0] for one in alone])
clean, corrupted = (np.array([getattr(one, run) for one in alone]) for run in ("clean", "corrupted"))
effects, gaps = patched - corrupted[:, None, None], clean - corrupted
rows = np.random.default_rng(0).integers(0, len(data), (20_000, len(data)))
drawn = np.stack([effects[r].mean(0) / gaps[r].mean() for r in rows])
low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
"""
RESOLVED = 1e-4  # of the gap, in float32
NUMBER = r"(-?\d+\.\d+)"


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(NUMBER, text.replace("\u2212", "-"))]


def open_dataset(notebook: Notebook) -> None:
    part(notebook, ".pw-x-many select").select_option("IOI, ABA")
    expect(part(notebook, ".pw-x-prompts")).to_contain_text("32 pairs, 32 of them answered rightly")
    expect(part(notebook, ".pw-x-row").first).to_be_hidden()
    press(notebook, "Run")
    notebook.wait_for("explorer.result is not None and explorer.result.n == 32")
    expect(part(notebook, ".pw-x-main .pw-note").first).to_have_text("Means over 32 pairs.")


def check_table(notebook: Notebook, drawn: list[str]) -> None:
    """Mean and interval of every cell are the data frame's, and exactly those whose interval holds zero are marked.

    What lies within the resolution of zero is zero as far as the precision tells.
    """
    columns = ["normalized", "ci_low", "ci_high"]
    frame = notebook.kernel_eval(f"explorer.result.to_dataframe()[{columns}].values.tolist()")
    implied = notebook.kernel_eval("(explorer.result.to_dataframe()['status'] == 'implied').tolist()")
    for text, (mean, low, high), known in zip(drawn, frame, implied, strict=True):
        if not known:
            assert numbers(text) == pytest.approx([mean, low, high], abs=0.006), text
            assert ("unsure" in text) == (low <= RESOLVED and high >= -RESOLVED), text


def test_a_dataset_of_32_pairs(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1800)
    notebook.settle()
    open_dataset(notebook)
    notebook.kernel_exec(BY_HAND)
    mean, low, high = (
        np.array(notebook.kernel_eval(text)) for text in ("(effects.mean(0) / gaps.mean()).tolist()", "low", "high")
    )
    implied = np.array(notebook.kernel_eval("(explorer.result.data['status'].values == 'implied').tolist()"))
    drawn = table(notebook, ".pw-x-main")
    assert mean.shape == (len(drawn), len(drawn[0]))
    for place, value in np.ndenumerate(mean):
        text = drawn[place[0]][place[1]]
        if implied[place]:
            assert text == "0.00 implied"
            continue
        shown = numbers(text)
        assert shown[0] == pytest.approx(value, abs=0.006), (place, text)
        # Other draws of the same pairs: the ends agree to a fraction of the interval.
        slack = 0.006 + 0.1 * (high[place] - low[place])
        assert shown[1:] == pytest.approx([low[place], high[place]], abs=slack), (place, text)
        if min(abs(low[place]), abs(high[place])) > slack:
            assert ("unsure" in text) == bool(low[place] < 0 < high[place]), (place, text)
    assert any("unsure" in text for row in drawn for text in row)
    check_table(notebook, [text for row in drawn for text in row])
    expect(part(notebook, ".pw-x-main .pw-key").first).to_contain_text("the 95% interval over 32 pairs includes 0")

    click_cell(notebook, ".pw-x-main", 1, 10)
    dots = part(notebook, ".pw-dot")
    expect(dots).to_have_count(32)
    each = notebook.kernel_eval("(effects[:, 1, 10] / gaps.mean()).tolist()")
    for i in (0, 7, 31):
        label = dots.nth(i).get_attribute("aria-label") or ""
        assert numbers(label)[0] == pytest.approx(each[i], abs=0.006)
        assert notebook.kernel_eval(f"data[{i}].clean") in label
    note = part(notebook, ".pw-pairs .pw-note").inner_text()
    assert numbers(note)[0] == pytest.approx(np.mean(each), abs=0.006)
    assert f"Above 0 in {sum(value > 1e-4 for value in each)} of 32 pairs" in note

    strip = part(notebook, ".pw-dots")
    strip.focus()
    strip.press("End")
    greatest = int(np.argmax(each))
    expect(part(notebook, ".pw-pairs .pw-tip")).to_contain_text(f"pair {greatest + 1} of 32")
    expect(part(notebook, ".pw-pairs .pw-tip")).to_contain_text("of its own gap")
    data_start = notebook.kernel_eval(f"data[{greatest}].clean[:32]")
    strip.press("Enter")
    notebook.wait_for(f"explorer._drilldown.opened.plan.pair.given[0] == data[{greatest}].clean")
    expect(part(notebook, ".pw-x-side")).to_contain_text(f"Pair {greatest + 1} of 32: {data_start}")
    notebook.screenshot("dataset")

    part(notebook, ".pw-x-many select").select_option("one pair")
    expect(part(notebook, ".pw-x-row").first).to_be_visible()
    expect(dots).to_have_count(0)
