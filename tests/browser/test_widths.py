"""The Explorer at the widths people have: the map, the drilldown beside or below it, and what stands beside a map."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.harness import Lab, Notebook
from tests.browser.test_explorer import click_cell, open_explorer, part, press

pytestmark = pytest.mark.browser

HEADS = ".pw-x-card:has-text('Heads writing at')"


def box(found: Locator) -> dict[str, float]:
    there = found.bounding_box()
    assert there is not None
    x, y, width, height = there["x"], there["y"], there["width"], there["height"]
    return {"x": x, "y": y, "width": width, "right": x + width, "bottom": y + height}


def widen(notebook: Notebook, width: int) -> None:
    notebook.page.set_viewport_size({"width": width, "height": 2600})
    root = part(notebook, ".pw-x-root").first
    notebook.page.wait_for_function("node => node.scrollWidth <= node.clientWidth", arg=root.element_handle())


def test_the_drilldown_has_its_share_of_the_page_and_tells_beside_its_maps(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2600)
    notebook.settle()
    press(notebook, "Run")
    notebook.settle("explorer.result is not None")
    click_cell(notebook, ".pw-x-main", 2, 14)
    notebook.settle("explorer._drilldown.run is not None")
    cards = part(notebook, ".pw-x-side > .pw-x-card:visible")
    last = cards.filter(has_text="Next token")
    whole, side, heads = (part(notebook, css).first for css in (".pw-x-main", ".pw-x-side", HEADS))
    widen(notebook, 1400)
    assert box(side)["width"] > 0.35 * box(whole)["width"]
    assert box(last)["x"] == box(heads)["x"]
    beside(notebook)
    widen(notebook, 1000)
    assert box(side)["width"] == pytest.approx(box(whole)["width"], abs=1)
    assert box(last)["x"] > box(heads)["right"]
    widen(notebook, 700)
    assert box(last)["x"] == box(heads)["x"]
    beside(notebook)


def test_the_drawn_experiment_is_whole_or_scrolls_in_its_box(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2600)
    notebook.settle()
    press(notebook, "Run")
    notebook.settle("explorer.result is not None")
    notebook.output(0).get_by_role("button", name="Draw the experiment").click()
    drawing, around = part(notebook, ".pw-x-drawing svg"), part(notebook, ".pw-x-drawing .widget-html-content").last
    drawing.wait_for()
    for width in (1400, 700):
        widen(notebook, width)
        assert box(drawing)["right"] <= box(part(notebook, ".pw-x-root").first)["right"]
        assert around.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
    widen(notebook, 560)
    assert box(around)["right"] <= box(part(notebook, ".pw-x-root").first)["right"]
    assert around.evaluate("node => node.scrollWidth - node.clientWidth") > 0


def beside(notebook: Notebook) -> None:
    """A cell of the small map is told of beside the map, on the page."""
    plot = part(notebook, f"{HEADS} .pw-plot")
    plot.scroll_into_view_if_needed()
    plot.hover(position={"x": 8, "y": 8})
    tip = part(notebook, f"{HEADS} .pw-tip")
    expect(tip).to_contain_text("layer 0")
    told, sheet = box(tip), box(part(notebook, f"{HEADS} .pw-scroll"))
    apart = (
        told["right"] <= sheet["x"]
        or told["x"] >= sheet["right"]
        or told["bottom"] <= sheet["y"]
        or told["y"] >= sheet["bottom"]
    )
    assert apart, (told, sheet)
    assert told["x"] >= 0
    assert told["right"] <= notebook.page.evaluate("innerWidth")
    notebook.page.mouse.move(2, 2)
    expect(tip).to_be_hidden()
