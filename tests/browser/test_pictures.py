"""The Explorer in each of its states, light and dark, wide and narrow, beside the pictures that were looked at.

`make pictures` takes them anew; look at every one of them before it is committed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser import pictures
from tests.browser.harness import Lab, Notebook, Theme
from tests.browser.test_explorer import (
    FREE,
    HELD,
    click_cell,
    let_through,
    open_explorer,
    open_neuron,
    part,
    press,
    table,
    type_into,
)

pytestmark = pytest.mark.browser

LOOKS: list[tuple[Theme, int]] = [("light", 1400), ("dark", 1400), ("light", 760), ("dark", 760)]
HEIGHT = 4600
_LOOKS_AGAIN = 20
# Seconds and times of day are others every time, and rounding on every machine: what tells them takes its place unseen,
# and what tells of rounding takes the same place whether its lines are two or four.
STEADY = """
.pw-x-progress-text, .pw-shelf-detail, .pw-x-told > :last-child, .pw-origin { visibility: hidden !important; }
.pw-origin { height: 4em !important; overflow: hidden !important; }
*, *::before, *::after { transition: none !important; animation: none !important; caret-color: transparent !important; }
"""
SETTLED = """async () => {
    document.activeElement?.blur();
    await document.fonts.ready;
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
}"""


class Album:
    """Takes a picture of every state in every look and holds it against the one kept."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._seen: tuple[str, bytes] | None = None
        self.wrong: list[str] = []
        notebook.page.add_style_tag(content=STEADY)

    def take(self, state: str, css: str = ".pw-x-root") -> None:
        """Take a state; what differs is told when all are taken."""
        page = self._notebook.page
        for theme, width in LOOKS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            self._notebook.theme(theme)
            page.mouse.move(0, 0)
            page.evaluate("() => { document.activeElement?.blur(); return document.fonts.ready.then(() => 0); }")
            page.evaluate(
                "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"
            )
            root = part(self._notebook, ".pw-x-root")
            assert root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0, f"{state} is wider than {width}"
            name = f"{state}_{theme}_{width}"
            wrong = self._look(name, css)
            for _ in range(_LOOKS_AGAIN):  # A page that was resized may take a while to be drawn.
                if not wrong:
                    break
                page.wait_for_timeout(500)
                wrong = self._look(name, css)
            if wrong:
                self.wrong.append(f"{name}: {wrong}")
        page.set_viewport_size({"width": 1400, "height": HEIGHT})

    def _look(self, name: str, css: str) -> str:
        """Say what is wrong with what is seen now; of a picture to be kept, that it is still changing."""
        path = self._notebook.screenshot(f"state_{name}", part(self._notebook, css).first)
        if os.environ.get("PATCHWIDGETS_PICTURES") != "keep":
            difference = pictures.compare(path, name)
            return "" if difference.small else str(difference)
        before, self._seen = self._seen, (name, path.read_bytes())
        if before != self._seen:
            return "it is not what it was half a second before."
        pictures.keep(path, name)
        return ""


@contextmanager
def album(notebook: Notebook) -> Iterator[Album]:
    """Fail with every picture that differs once all are taken."""
    made = Album(notebook)
    yield made
    assert not made.wrong, "\n".join(made.wrong)


def test_one_pair_in_every_state(lab: Lab) -> None:
    notebook = open_explorer(lab, height=HEIGHT)
    notebook.settle("explorer._encoded is not None")
    with album(notebook) as taken:
        taken.take("empty")
        field = part(notebook, ".pw-x-choice input").first
        type_into(field, "<b>Anna</b>")
        expect(part(notebook, ".pw-x-prompts > .pw-x-error").first).to_contain_text("<b>")
        taken.take("error")
        type_into(field, " Mary")
        notebook.settle("explorer.settings['answer'] == ' Mary'")
        running(notebook, taken)
        taken.take("done")
        click_cell(notebook, ".pw-x-main", 2, 14)
        notebook.settle("explorer._drilldown.run is not None")
        taken.take("cell")
        click_cell(notebook, ".pw-x-card:has-text('Heads writing at')", 1, 3)
        expect(part(notebook, ".pw-x-card:has-text('Attention of head')")).to_be_visible()
        notebook.settle()
        taken.take("head")
        press(notebook, "Back to the cell")
        open_neuron(notebook)
        taken.take("neuron", ".pw-x-side")
        check_limit(notebook)
        for count, control in enumerate(("Noise", "z", "Denoise"), 2):
            press(notebook, control)
            expect(part(notebook, ".pw-shelf-line")).to_have_count(count)
        for name in ("Compare run 4 as A", "Compare run 3 as B"):
            notebook.output(0).get_by_role("button", name=re.compile(f"^{name}")).click()
        expect(part(notebook, ".pw-x-maps .pw-heatmap:visible")).to_have_count(2)
        notebook.settle()
        cells = [text for row in table(notebook, ".pw-x-maps > :nth-child(1)") for text in row]
        assert "0.52 sufficient only" in cells
        taken.take("beside", ".pw-x-shelf")
        press(notebook, "A \u2212 B")
        expect(part(notebook, ".pw-x-maps .pw-heatmap:visible")).to_have_count(1)
        taken.take("minus", ".pw-x-shelf")


def check_limit(notebook: Notebook) -> None:
    """The end of the scale is a field that does not look like the Explorer's, below the unit."""
    limit, unit = (part(notebook, f".pw-x-main .pw-{name}").first.bounding_box() for name in ("limit", "unit"))
    assert limit is not None
    assert unit is not None
    assert limit["height"] == 19
    assert limit["y"] > unit["y"] + 12


def running(notebook: Notebook, taken: Album) -> None:
    """Hold a sweep after its first cells, take the picture, and let it go."""
    notebook.kernel_exec(HELD)
    press(notebook, "Run")
    try:
        expect(part(notebook, ".pw-x-progress-text")).to_contain_text("starting")
        let_through(notebook, 1)
        taken.take("running")
    finally:
        notebook.kernel_exec(FREE)
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")
    notebook.settle()


def test_small_multiples(lab: Lab) -> None:
    notebook = open_explorer(lab, height=HEIGHT)
    notebook.settle()
    with album(notebook) as taken:
        press(notebook, "Run every corruption kind")
        expect(part(notebook, ".pw-x-kinds > .pw-x-bar")).to_contain_text("Cells found by 5 kinds")
        notebook.settle()
        taken.take("kinds", ".pw-x-kinds")


def test_a_dataset(lab: Lab) -> None:
    notebook = open_explorer(lab, height=HEIGHT)
    notebook.settle()
    with album(notebook) as taken:
        part(notebook, ".pw-x-many select").select_option("IOI, ABA")
        expect(part(notebook, ".pw-x-prompts")).to_contain_text("32 pairs, 32 of them answered rightly")
        press(notebook, "Run")
        notebook.wait_for("explorer.result is not None and explorer.result.n == 32")
        click_cell(notebook, ".pw-x-main", 1, 10)
        expect(part(notebook, ".pw-dot")).to_have_count(32)
        notebook.settle("explorer._drilldown.run is not None")
        taken.take("dataset")


def kept(name: str) -> np.ndarray:
    return pictures.read(pictures.KEPT / f"{name}.png")


def test_letters_that_are_drawn_otherwise_are_no_difference() -> None:
    seen = kept("head_light_1400")
    lower = np.concatenate([seen[:3], seen[:-3]])
    noise = np.random.default_rng(0).normal(0, 12, seen.shape)
    for other in (lower, seen + noise, np.roll(seen, 2, axis=1)):
        assert pictures.differ(seen, other).small


def test_a_panel_that_is_gone_and_colours_that_are_turned_are() -> None:
    seen = kept("head_light_1400")
    height, width = seen.shape[:2]
    gone, turned, dark = seen.copy(), seen.copy(), kept("head_dark_1400")
    gone[height // 4 : height // 2, 2 * width // 3 :] = seen[0, 0]
    turned[..., [0, 2]] = seen[..., [2, 0]]
    for other in (gone, turned, seen[: height * 9 // 10], kept("cell_light_1400"), kept("empty_light_1400"), dark):
        assert not pictures.differ(seen, other).small


def test_the_pictures_stay_small() -> None:
    sizes = [path.stat().st_size for path in pictures.KEPT.glob("*.png")]
    assert sum(sizes) < 1_500_000
