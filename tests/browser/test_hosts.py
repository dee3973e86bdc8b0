"""Beside JupyterLab: the Explorer in Notebook 7 and Voila, the views in marimo; the numbers shown are the result's."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

import patchwidgets as pw
from tests.browser.harness import Traffic, is_foreign
from tests.browser.hosts import MarimoServer, NotebookSeven
from tests.browser.reading import click_cell_of, number_of, table_of
from tests.browser.test_explorer import OPEN

pytestmark = pytest.mark.browser

MARIMO = Path(__file__).resolve().parents[2] / "notebooks" / "in_marimo.py"
HEADS = ".pw-x-card:has-text('Heads writing at')"


@pytest.fixture(scope="module")
def model():
    return pw.load_model()


@pytest.fixture(scope="module")
def pair() -> pw.PromptPair:
    return pw.PRESETS[0].pair


@pytest.fixture(scope="module")
def marimo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarimoServer]:
    with MarimoServer(MARIMO, tmp_path_factory.mktemp("marimo")) as server:
        yield server


def check_map(view: Locator, result: pw.PatchResult) -> None:
    """Every number in the map's table is the result's, measured here, to the digits shown."""
    expected = result.normalized.values[0]
    drawn = table_of(view)
    assert (len(drawn), len(drawn[0])) == expected.shape
    for (row, col), value in np.ndenumerate(expected):
        assert math.isfinite(value)
        assert number_of(drawn[row][col]) == pytest.approx(float(value), abs=0.006), (row, col, drawn[row][col])


def run_and_open(root: Locator, result: pw.PatchResult) -> None:
    """Press Run, compare the map, open a cell and a head behind it."""
    root.get_by_role("button", name="Run", exact=True).click()
    expect(root.locator(".pw-x-progress-text")).to_contain_text("cells, in")
    check_map(root.locator(".pw-x-main .pw-heatmap").first, result)
    click_cell_of(root.locator(".pw-x-main"), 2, 14)
    expect(root.locator(".pw-x-path")).to_contain_text("layer 2, to")
    expect(root.locator(HEADS).first).to_be_visible()
    expect(root.locator(".pw-x-card:has-text('Next token')")).to_contain_text("this cell")
    click_cell_of(root.locator(HEADS).first, 1, 1)
    expect(root.locator(".pw-x-card:has-text('Attention of head 1.1')")).to_contain_text("patched: head 1.1")


def test_notebook_7(seven: NotebookSeven, model, pair: pw.PromptPair) -> None:
    notebook = seven.open_notebook([OPEN.format(what="")], name="seven.ipynb", height=1900)
    notebook.run_cell(0)
    root = notebook.page.locator(".pw-x-root")
    expect(root.locator(".pw-x-main .pw-heatmap canvas").first).to_be_visible()
    run_and_open(root, pw.patch(model, pair, "resid_pre").wait())
    notebook.page.mouse.move(0, 0)
    for theme, width in (("light", 1400), ("dark", 1400), ("dark", 760)):
        notebook.page.set_viewport_size({"width": width, "height": 1900})
        notebook.theme(theme)
        notebook.screenshot(f"notebook7_{theme}_{width}")


def test_voila(seven: NotebookSeven, model, pair: pw.PromptPair) -> None:
    seven.write([OPEN.format(what="")], "voila.ipynb")
    opened = seven.open_voila("voila.ipynb", height=1900)
    root = opened.page.locator(".pw-x-root")
    expect(root.locator(".pw-x-main .pw-heatmap canvas").first).to_be_visible(timeout=120_000)
    expect(opened.page.get_by_text("load_model")).to_have_count(0)
    expect(opened.page.get_by_text("An Explorer was here")).to_be_hidden()
    run_and_open(root, pw.patch(model, pair, "resid_pre").wait())
    opened.page.mouse.move(0, 0)
    opened.screenshot("voila")


@pytest.fixture
def page(marimo: MarimoServer, browser: Browser) -> Iterator[Page]:
    context: BrowserContext = browser.new_context(viewport={"width": 1400, "height": 1900})
    context.route(is_foreign, lambda route: route.abort())
    page, traffic = context.new_page(), Traffic()
    traffic.watch(page)
    page.goto(marimo.url, timeout=120_000)
    yield page
    context.close()
    traffic.verify()


def test_marimo(page: Page, model, pair: pw.PromptPair, artifacts: Path) -> None:
    """marimo's menu chooses the direction, the map follows, and a click in it runs the cells that read the choice."""
    view = page.locator(".pw-heatmap")
    expect(view.locator("canvas").first).to_be_visible(timeout=120_000)
    results = {to: pw.patch(model, pair, "resid_pre", direction=to).wait() for to in ("denoise", "noise")}
    check_map(view, results["denoise"])
    page.get_by_label("Direction").select_option("noise")
    expect(view).to_contain_text("destroyed")
    check_map(view, results["noise"])

    click_cell_of(view, 1, 10)
    value = float(results["noise"].normalized.sel(layer=1, pos=10).item())
    expect(page.get_by_text(re.compile(r"Layer 1, position 10"))).to_be_visible()
    expect(page.locator("body")).to_contain_text(f"{value:.4f} of the gap")
    expect(page.locator(".pw-tokens")).to_contain_text("Anna")

    with torch.no_grad():
        logits, cache = model.run_with_cache(pair.clean)
    weights = cache["blocks.1.attn.hook_pattern"][0, 1, 10]
    attention = page.locator(".pw-attention")
    expect(attention).to_contain_text("Attention of head 1.1")
    attention.locator("[role=group]").press("t")
    rows = [row.locator("td").all_inner_texts() for row in attention.locator(".pw-table tbody tr").all()]
    assert [float(row[0]) for row in rows] == pytest.approx(weights.tolist(), abs=0.006)
    attention.locator(".pw-tablebox").press("t")
    told = page.locator(".pw-predicted").first.locator("td.pw-percent").all_inner_texts()
    likeliest = logits[0, -1].softmax(-1).topk(5).values
    assert [float(text.strip("<%")) for text in told] == pytest.approx((100 * likeliest).tolist(), abs=0.51)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    for scheme, width in (("light", 1400), ("dark", 1400), ("light", 760)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 1900})
        page.screenshot(path=artifacts / f"marimo_{scheme}_{width}.png", full_page=True)
