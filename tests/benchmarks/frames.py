"""How smoothly a map of 48 layers and 500 tokens scrolls in headless Chromium: frames per second, and the slow ones."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from patchwidgets.publish.page import render_page
from patchwidgets.views import Heatmap, token_columns
from tests.browser.harness import launch_chromium

LAYERS, TOKENS = 48, 500
# Scrolls by so many pixels before every frame, to the end and back, and returns the milliseconds between frames.
SCROLL = """pixels => new Promise(done => {
    const node = document.querySelector("[role=grid]");
    const [times, frames] = [[], 240];
    let step = pixels;
    const frame = now => {
        times.push(now);
        const before = node.scrollLeft;
        node.scrollBy(step, step / 40);
        if (node.scrollLeft === before) step = -step;
        if (times.length <= frames) requestAnimationFrame(frame);
        else done(times.slice(1).map((time, i) => time - times[i]));
    };
    requestAnimationFrame(frame);
})"""


def show(_options: argparse.Namespace) -> None:
    """Print a line per size of the cells and speed of scrolling."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "large.html"
        file.write_text(render_page("Large", [large_map()]), encoding="utf-8")
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(file.as_uri())
        grid = page.locator("[role=grid]")
        for zoom in ("0", "+", "+", "+", "+"):
            grid.press(zoom)
            for pixels in (20, 200):
                print(
                    f"{_size(page):14} {pixels:>4} pixels a frame: {_told(page.evaluate(SCROLL, pixels))}", flush=True
                )
        browser.close()


def large_map() -> Heatmap:
    """Return a map of noise in which every cell has its own value."""
    values = np.random.default_rng(0).normal(0, 0.4, (LAYERS, TOKENS))
    status = np.zeros((LAYERS, TOKENS), int)
    status[:, : TOKENS // 3] = 1
    columns = token_columns([f" t{i}" for i in range(TOKENS)])
    rows = [str(i) for i in range(LAYERS)]
    return Heatmap(rows, columns, normalized=values, effect=values, patched=values, status=status, state="done")


def _size(page: Page) -> str:
    return page.evaluate("(b => `${b.width} x ${b.height} px`)(document.querySelector('.pw-cursor').style)")


def _told(intervals: list[float]) -> str:
    late = sorted(intervals)[int(0.95 * len(intervals))]
    rate = 1000 / statistics.mean(intervals)
    return f"{rate:.0f} frames a second, 95 % within {late:.0f} ms, all {max(intervals):.0f} ms"
