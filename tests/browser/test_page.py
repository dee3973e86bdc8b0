"""The page without a kernel in a real browser, from a file: hover, select, keyboard, table, colours, themes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from patchwidgets.presets import PRESETS
from patchwidgets.prompts import PromptPair
from patchwidgets.publish.page import render_page
from patchwidgets.views import AttentionView, Heatmap, Predictions, TokenStrip, label_columns, token_columns
from patchwidgets.views.columns import column_count

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent.parent
PALETTE = json.loads((ROOT / "patchwidgets" / "palette.json").read_text(encoding="utf-8"))
CLEAN = [" When", " Mary", " and", " John", " went", ",", " John", " gave", " to"]
CORRUPTED = [" When", " Anna", *CLEAN[2:]]
LAYERS, POSITIONS = 6, len(CLEAN)
HOSTILE = "<img src=x onerror=\"document.title='hit'\">"

# The colour of the middle of a cell's upper part, clear of its number.
PIXEL = """([row, col]) => {
    const canvas = document.querySelector(".pw-heatmap canvas");
    const [w, h] = [canvas.width / %d, canvas.height / %d];
    return [...canvas.getContext("2d").getImageData((col + 0.5) * w, (row + 0.18) * h, 1, 1).data].slice(0, 3);
}""" % (POSITIONS, LAYERS)  # noqa: UP031


def values() -> np.ndarray:
    """A staircase: the changed name high in the early layers, the last position in the late ones."""
    staircase = np.zeros((LAYERS, POSITIONS))
    staircase[:4, 1] = 1.0
    staircase[3, 6] = -0.5
    staircase[4:, 8] = [0.5, 1.7]
    return staircase


def page_html() -> str:
    columns = token_columns(CLEAN, CORRUPTED)
    status = np.zeros((LAYERS, POSITIONS), int)
    status[:, 0] = 1
    status[5, 4], status[5, 5] = 3, 4
    effect = np.where(status >= 3, np.nan, 8 * values())
    heatmap = Heatmap(
        [str(i) for i in range(LAYERS)],
        columns,
        normalized=effect / 8,
        effect=effect,
        patched=effect - 3,
        status=status,
        row_keys=[{"layer": i} for i in range(LAYERS)],
        col_keys=[{"pos": i} for i in range(POSITIONS)],
        words={"title": "resid_pre", "unit": "recovered", "high": "near 1: sufficient here", "sentence": HOSTILE},
        state="done",
        group="page",
    )
    z = np.array([[0.1, -0.2], [0.3, 0.0]])
    heads = Heatmap(
        ["0", "1"],
        label_columns("head", ["0", "1"]),
        normalized=z,
        effect=z,
        patched=z,
        status=np.zeros((2, 2)),
        row_keys=[{"layer": 0}, {"layer": 1}],
        col_keys=[{"head": 0}, {"head": 1}],
        compact=True,
        limit=0.5,
        group="page",
    )
    pattern = np.tril(np.ones((POSITIONS, POSITIONS))) / np.arange(1, POSITIONS + 1)[:, None]
    runs = {"clean": "clean", "corrupted": "corrupted"}
    attention = AttentionView(columns, runs, np.stack([pattern, pattern]), title="head 1.0", group="page")
    rows = [{"token": " Mary", "prob": 0.9, "logit": 12.0, "mark": "answer"}]
    predictions = Predictions([{"name": "clean", "label": "clean", "rows": rows}], title="Next token")
    views = [TokenStrip(columns, group="page"), heatmap]
    return render_page("A page", views, side=[heads, attention, predictions], intro=[HOSTILE])


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page from a file; any error in it, and any address but its own, fails the test."""
    file = tmp_path / "page.html"
    file.write_text(page_html(), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1180, "height": 1000}, color_scheme="light")
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: troubles.append(request.url) if request.url != file.as_uri() else None)
    opened.goto(file.as_uri())
    expect(opened.locator(".pw-heatmap").first).to_be_visible()
    yield opened
    title = opened.title()
    context.close()
    assert troubles == []
    assert title == "A page"  # the hostile texts stayed texts


def centre(page: Page, row: int, col: int) -> dict[str, float]:
    box = page.locator(".pw-heatmap .pw-plot").first.bounding_box()
    assert box is not None
    return {"x": box["width"] * (col + 0.5) / POSITIONS, "y": box["height"] * (row + 0.5) / LAYERS}


def rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cells_have_the_palette_s_colours_in_both_themes(page: Page, theme: str, artifacts: Path) -> None:
    page.emulate_media(color_scheme=theme)
    expect(page.locator(f'.pw-heatmap[data-pw-theme="{theme}"]').first).to_be_visible()
    stops = PALETTE["diverging"][theme]
    assert page.evaluate(PIXEL, [0, 1]) == rgb(stops[16])
    assert page.evaluate(PIXEL, [4, 8]) == rgb(stops[12])
    assert page.evaluate(PIXEL, [3, 6]) == rgb(stops[4])
    assert page.evaluate(PIXEL, [0, 2]) == rgb(stops[8])
    page.screenshot(path=artifacts / f"page_{theme}.png", full_page=True)


def test_header_boxes_stand_exactly_over_their_columns(page: Page) -> None:
    boxes = page.evaluate(
        """() => {
            const root = document.querySelector(".pw-heatmap");
            const rect = node => { const { left, width } = node.getBoundingClientRect(); return [left, width]; };
            const columns = [...root.querySelectorAll(".pw-col")].map(rect);
            return { plot: rect(root.querySelector("canvas")), columns };
        }"""
    )
    left, width = boxes["plot"]
    for i, (x, w) in enumerate(boxes["columns"]):
        assert x == pytest.approx(left + i * width / POSITIONS, abs=0.01)
        assert w == pytest.approx(width / POSITIONS, abs=0.01)


def test_hover_tells_the_numbers_and_marks_the_position_everywhere(page: Page) -> None:
    page.locator(".pw-heatmap .pw-plot").first.hover(position=centre(page, 4, 8))
    tip = page.locator(".pw-tip:not([hidden])")
    expect(tip).to_contain_text("layer 4 · position 8 ' to'")
    expect(tip).to_contain_text("recovered0.50")
    expect(tip).to_contain_text("effect+4.00")
    expect(tip).to_contain_text("patched1.00")
    for view in (".pw-tokens", ".pw-heatmap", ".pw-attention"):
        expect(page.locator(f"{view} .pw-col").nth(8)).to_have_class(re.compile("pw-hot"))
    page.mouse.move(2, 2)
    expect(page.locator(".pw-hot")).to_have_count(0)
    expect(page.locator(".pw-tip:not([hidden])")).to_have_count(0)


def test_the_tooltip_stays_in_the_window(page: Page) -> None:
    page.set_viewport_size({"width": 700, "height": 500})
    page.locator(".pw-heatmap .pw-plot").first.hover(position=centre(page, 5, 8))
    box = page.locator(".pw-tip:not([hidden])").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 700
    assert box["y"] + box["height"] <= 500


def test_a_click_selects_and_the_keyboard_does_the_same(page: Page) -> None:
    page.locator(".pw-heatmap .pw-plot").first.click(position=centre(page, 3, 6))
    chosen = page.locator(".pw-heatmap .pw-rowlabel.pw-on").first
    expect(chosen).to_have_text("3")
    grid = page.locator(".pw-heatmap [role=grid]").first
    grid.press("ArrowUp")
    grid.press("ArrowLeft")
    expect(page.locator(".pw-heatmap [role=gridcell]").first).to_have_attribute(
        "aria-label", "layer 2, position 5 ',', recovered 0.00, measured"
    )
    grid.press("Enter")
    expect(chosen).to_have_text("2")


def test_the_table_has_the_numbers_and_the_statuses_in_words(page: Page) -> None:
    grid = page.locator(".pw-heatmap [role=grid]").first
    grid.press("t")
    last = page.locator(".pw-tablebox:visible tbody tr").nth(5).locator("th, td:not(.pw-meancell)")
    expect(last).to_have_text(
        ["5", "0.00 implied", "0.00", "0.00", "0.00", "pending", "unavailable", "0.00", "0.00", "1.70"]
    )
    page.locator(".pw-tablebox:visible").press("Escape")
    expect(grid).to_be_focused()


def test_another_destination_is_shown_when_its_row_is_clicked(page: Page) -> None:
    first = page.locator(".pw-map canvas").first
    box = first.bounding_box()
    assert box is not None
    first.click(position={"x": 3, "y": box["height"] * 1.5 / POSITIONS})
    expect(page.locator(".pw-dest")).to_have_text("from position 1 ' Mary' / ' Anna'")


def test_a_narrow_page_stacks_its_columns_and_scrolls_nothing_sideways(page: Page, artifacts: Path) -> None:
    page.set_viewport_size({"width": 700, "height": 1000})
    expect(page.locator(".pw-attention")).to_be_visible()
    main, side = (page.locator(f".pw-page-{part}").bounding_box() for part in ("main", "side"))
    assert main is not None
    assert side is not None
    assert side["y"] >= main["y"] + main["height"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=artifacts / "page_narrow.png", full_page=True)


def test_a_large_map_scrolls_under_its_labels_and_keeps_its_colours(browser: Browser, tmp_path: Path) -> None:
    rows, cols = 48, 200
    large = np.zeros((rows, cols))
    large[7, 150], large[47, 199] = -1.0, 1.0
    status = np.zeros((rows, cols), int)
    status[:, :20] = 1
    status[0, 199] = 3
    columns = token_columns([f" t{i}" for i in range(cols)])
    view = Heatmap(
        [str(i) for i in range(rows)],
        columns,
        normalized=large,
        effect=large,
        patched=large,
        status=status,
        state="done",
    )
    file = tmp_path / "large.html"
    file.write_text(render_page("Large", [view]), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="light")
    opened.goto(file.as_uri())
    pixel = PIXEL.replace(f"/ {POSITIONS}", f"/ {cols}").replace(f"/ {LAYERS}", f"/ {rows}").replace("0.18", "0.4")
    stops = PALETTE["diverging"]["light"]
    assert opened.evaluate(pixel, [7, 150]) == rgb(stops[0])
    assert opened.evaluate(pixel, [47, 199]) == rgb(stops[16])
    assert opened.evaluate(pixel, [3, 100]) == rgb(stops[8])
    assert opened.evaluate(pixel, [0, 199]) == [0, 0, 0]  # transparent: nothing is known there
    grid = opened.locator("[role=grid]")
    grid.press("Control+End")
    cell = opened.locator("[role=gridcell]")
    expect(cell).to_have_attribute("aria-label", "layer 47, position 199 ' t199', 1.00, measured")
    label, plot = opened.locator(".pw-rowlabels").bounding_box(), grid.bounding_box()
    assert label is not None
    assert plot is not None
    assert label["x"] == pytest.approx(plot["x"], abs=1)
    assert grid.evaluate("node => node.scrollLeft") > 0
    opened.close()


@pytest.mark.parametrize("width", [420, 760, 1400])
def test_no_title_of_a_part_is_cut_in_a_card(browser: Browser, tmp_path: Path, width: int, artifacts: Path) -> None:
    """The four parts of a layer in the Explorer's narrow column."""
    parts = label_columns("", ["resid_pre", "attn_out", "mlp_out", "resid_post"])
    row = np.array([[1.0, 0.25, -0.25, 0.5]])
    card = Heatmap(["3"], parts, normalized=row, effect=row, patched=row, status=[[0] * 4], compact=True, state="done")
    file = tmp_path / "parts.html"
    file.write_text(render_page("Parts", [TokenStrip(token_columns(CLEAN))], side=[card]), encoding="utf-8")
    for theme in ("light", "dark"):
        opened = browser.new_page(viewport={"width": width, "height": 400}, color_scheme=theme)
        opened.goto(file.as_uri())
        titles = opened.locator(".pw-heatmap .pw-token")
        named = ["".join(title.split()) for title in titles.all_text_contents()]
        assert named == ["resid_pre", "attn_out", "mlp_out", "resid_post"]
        assert titles.evaluate_all("all => all.every(one => one.scrollWidth <= one.clientWidth)")
        opened.screenshot(path=artifacts / f"parts_{theme}_{width}.png")
        opened.close()


def zeros(rows: int, columns: dict[str, Any], **more: Any) -> Heatmap:
    """A measured map without an effect anywhere."""
    values = np.zeros((rows, column_count(columns)))
    arrays = {"normalized": values, "effect": values, "patched": values, "status": values.astype(int)}
    return Heatmap([str(i) for i in range(rows)], columns, state="done", **{**arrays, **more})


def preset_columns(pair: PromptPair) -> dict[str, Any]:
    """A preset's words as tokens, with the beginning of sequence."""
    clean, corrupted = (re.findall(r" ?\w+|[^\w ]", str(text)) for text in (pair.clean, pair.corrupted))
    length = max(len(clean), len(corrupted))
    padded = [["<bos>", *words, *[""] * (length - len(words))] for words in (clean, corrupted)]
    return token_columns(*padded, bos=0)


def presets_html() -> str:
    """Every preset's map, and in the side column the cards the Explorer opens: parts, heads, one column, attention."""
    columns = [preset_columns(preset.pair) for preset in PRESETS]
    maps = [
        zeros(4, each, words={"title": preset.name, "unit": unit}, patched=np.full((4, column_count(each)), -20.0))
        for preset, each, unit in zip(PRESETS, columns, itertools.cycle(["recovered", "", "KL"]), strict=False)
    ]
    beyond = np.full((4, column_count(columns[0])), 7.5)
    maps.append(zeros(4, columns[0], normalized=beyond, words={"unit": "KL"}))
    parts = [
        zeros(1, label_columns("", names), compact=True, words={"title": "Layer 0 at 'to', each patched alone"})
        for names in (["resid_pre", "attn_out", "mlp_out", "resid_post"], ["resid_pre", "resid_mid", "mlp_out"])
    ]
    heads = [
        zeros(n, label_columns("head", [f"h{i}" for i in range(n)]), compact=True, words={"note": "Below: readers."})
        for n in (4, 8, 12)
    ]
    single = [zeros(4, label_columns("position", ["all"]), compact=compact) for compact in (False, True)]
    runs = [("clean", "clean"), ("corrupted", "corrupted"), ("patched", "patched: head 1.3"), ("patched", "patched")]
    attention = [
        AttentionView(each, [{"name": name, "label": label} for name, label in runs], np.full((4, n, n), 1 / n))
        for each in columns
        for n in [column_count(each)]
    ]
    return render_page("Presets", maps, side=[*parts, *heads, *single, *attention])


# Every sheet that scrolls although its columns could be narrower, and every view with something outside itself.
TOO_WIDE = """async () => {
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    const found = [];
    for (const root of document.querySelectorAll(".pw-root:not([hidden])")) {
        const name = root.parentElement.dataset.pwView;
        if (root.scrollWidth > root.clientWidth) found.push(`view ${name}: ${root.scrollWidth} in ${root.clientWidth}`);
        const sheet = root.querySelector(".pw-scroll");
        if (!sheet) continue;
        const narrowest = root.querySelector(".pw-coltitle") ? 30 : 14;
        const column = parseFloat(root.querySelector(".pw-col").style.width);
        if (sheet.scrollWidth > sheet.clientWidth && column > narrowest)
            found.push(`sheet ${name}: ${sheet.scrollWidth} in ${sheet.clientWidth}, columns of ${column}`);
    }
    return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_map_fits_in_its_place_at_every_width(
    browser: Browser, tmp_path: Path, theme: Literal["light", "dark"], artifacts: Path
) -> None:
    file = tmp_path / "presets.html"
    file.write_text(presets_html(), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme=theme)
    opened.goto(file.as_uri())
    expect(opened.locator(".pw-attention").last).to_be_visible()
    troubles = {}
    for width in [*range(600, 1400, 37), 760, 1400]:
        opened.set_viewport_size({"width": width, "height": 900})
        if found := opened.evaluate(TOO_WIDE):
            troubles[width] = found
        if width in (760, 1400):
            opened.screenshot(path=artifacts / f"presets_{theme}_{width}.png")
    opened.close()
    assert troubles == {}


def test_a_switch_of_theme_that_moves_the_page_for_a_moment_leaves_maps_that_fit(page: Page) -> None:
    """JupyterLab takes one theme's style sheet away before the other's is there: widths change and change back."""
    page.evaluate(
        """async () => {
            const column = document.querySelector(".pw-page-main");
            document.body.dataset.jpThemeLight = "false";
            column.style.minWidth = "1100px";
            await Promise.resolve(); // the views see the new theme now
            if (document.querySelector(".pw-heatmap").dataset.pwTheme !== "dark") throw new Error("not seen yet");
            column.style.minWidth = "";
        }"""
    )
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.querySelector('.pw-heatmap').clientWidth") < 900


def test_a_saved_page_says_what_it_can_and_its_title_once(browser: Browser, tmp_path: Path) -> None:
    """Nothing opens without a kernel: a cell is selected."""
    file = tmp_path / "titled.html"
    map_ = zeros(2, token_columns(CLEAN), words={"title": "z by layer"})
    file.write_text(render_page("z by layer", [map_]), encoding="utf-8")
    opened = browser.new_page()
    opened.goto(file.as_uri())
    expect(opened.get_by_text("z by layer", exact=True).filter(visible=True)).to_have_count(1)
    expect(opened.locator(".pw-keys")).to_contain_text("Enter select")
    expect(opened.locator("[role=grid]")).to_have_attribute("aria-label", re.compile("^z by layer: "))
    opened.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_belongs_to_earlier_prompts_is_dim_and_takes_no_clicks(page: Page, theme: str) -> None:
    """The two parts of the Explorer that it marks as stale; without motion where none is wanted."""
    page.emulate_media(reduced_motion="reduce")
    styles = page.evaluate(
        """light => {
            document.body.dataset.jpThemeLight = light;
            const root = document.createElement("div");
            root.className = "pw-x-root";
            const parts = ["pw-x-main", "pw-x-told", "pw-x-main pw-x-stale", "pw-x-told pw-x-stale"].map(name => {
                const part = document.createElement("div");
                part.className = name;
                return part;
            });
            root.append(...parts);
            document.body.append(root);
            return parts.map(part => {
                const { opacity, pointerEvents, transitionDuration, transitionProperty } = getComputedStyle(part);
                const moves = transitionProperty !== "none" && parseFloat(transitionDuration) > 0;
                return [Number(opacity), pointerEvents, moves];
            });
        }""",
        str(theme == "light").lower(),
    )
    dim = [0.4 if theme == "light" else 0.45, "none", False]
    assert styles == [[1, "auto", False], [1, "auto", False], dim, dim]


# The colour of a cell of a map that is drawn where it is seen, and none where it is not drawn.
DRAWN = """([row, col, cellW, cellH]) => {
    const canvas = document.querySelector(".pw-heatmap canvas");
    const { left, top } = canvas.style;
    const x = col * cellW + cellW / 2 - parseFloat(left), y = row * cellH + cellH * 0.15 - parseFloat(top);
    const dpr = canvas.width / parseFloat(canvas.style.width);
    return [...canvas.getContext("2d").getImageData(x * dpr, y * dpr, 1, 1).data];
}"""


@pytest.fixture
def huge(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page with one map of 48 layers and 500 tokens, every cell at one end of the scale or the other."""
    columns = token_columns([f" t{i}" for i in range(500)])
    values = np.where(checkers(), 1.0, -1.0)
    heatmap = Heatmap([str(i) for i in range(48)], columns, normalized=values, status=np.zeros((48, 500)), state="done")
    file = tmp_path / "huge.html"
    file.write_text(render_page("Huge", [heatmap]), encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="light")
    opened.goto(file.as_uri())
    yield opened
    opened.close()


def checkers() -> np.ndarray:
    """A pattern in which no shift of a few rows or columns is itself."""
    row, col = np.indices((48, 500))
    return (row * row + 3 * col + (col // 7) * (row // 5)) % 5 < 2


def seen_cells(page: Page) -> list[list[float]]:
    """Return [row, column, width, height] of cells in view: the corners and the middle."""
    return page.evaluate(
        """() => {
            const grid = document.querySelector("[role=grid]");
            const { width, height } = document.querySelector(".pw-cursor").style;
            const [w, h] = [parseFloat(width) - 1, parseFloat(height) - 1];
            const box = grid.getBoundingClientRect();
            const [plot, header, labels, means] = ["plot", "header", "rowlabels", "rowmeans"].map(
                name => document.querySelector(`.pw-${name}`).getBoundingClientRect());
            const xs = [labels.right, (labels.right + means.left) / 2, means.left].map(x => (x - plot.left) / w);
            const ys = [header.bottom, Math.min(box.bottom, plot.bottom)].map(y => (y - plot.top) / h);
            const [left, middle, right] = [Math.ceil(xs[0]), Math.floor(xs[1]), Math.floor(xs[2]) - 1];
            const [top, bottom] = [Math.ceil(ys[0]), Math.floor(ys[1]) - 1];
            const places = [[top, left], [top, right], [bottom, left], [bottom, right], [bottom, middle]];
            return places.map(place => [...place, w, h]);
        }"""
    )


def check_seen(page: Page) -> None:
    """Every cell in view that is looked at has the colour of its value."""
    high = checkers()
    stops = PALETTE["diverging"]["light"]
    for row, col, width, height in seen_cells(page):
        colour = page.evaluate(DRAWN, [row, col, width, height])
        assert colour == [*rgb(stops[16 if high[int(row), int(col)] else 0]), 255], (row, col)


def test_a_huge_map_is_drawn_wherever_it_is_scrolled_to(huge: Page) -> None:
    grid = huge.locator("[role=grid]")
    check_seen(huge)
    for _ in range(4):
        grid.press("+")
    drawn = huge.evaluate("(c => c.width * c.height)(document.querySelector('canvas'))")
    assert drawn < 500 * 48 * 71 * 48 / 4
    check_seen(huge)
    for left, top in ((9000, 0), (20000, 900), (10**6, 10**6), (300, 400)):
        grid.evaluate(
            "(node, [x, y]) => new Promise(done => { node.scrollTo(x, y); setTimeout(done, 100); })", [left, top]
        )
        check_seen(huge)


def test_the_keyboard_s_cell_is_in_view_under_any_zoom_and_labels_stay(huge: Page) -> None:
    grid, cursor = huge.locator("[role=grid]"), huge.locator(".pw-cursor")
    for keys in (["Control+End"], ["+", "+", "+"], ["Home"], ["Control+Home"], ["PageDown", "End"], ["-"] * 9):
        for key in keys:
            grid.press(key)
        cell, header, labels, means = (
            part.bounding_box()
            for part in (cursor, *(huge.locator(f".pw-{name}") for name in ("header", "rowlabels", "rowmeans")))
        )
        assert cell
        assert header
        assert labels
        assert means
        assert cell["x"] >= labels["x"] + labels["width"] - 2, keys
        assert cell["x"] + cell["width"] <= means["x"] + 3, keys
        assert cell["y"] >= header["y"] + header["height"] - 2, keys
        assert cell["y"] + cell["height"] <= 802, keys
    assert huge.locator(".pw-col:visible").count() < 110  # so small that only every fifth has a name
    expect(huge.locator("[role=gridcell]")).to_have_attribute("aria-colindex", "500")


@pytest.mark.parametrize(("width", "scale"), [(700, 1), (590, 2)])
def test_narrow_and_at_200_percent_nothing_is_out_of_reach(
    browser: Browser, tmp_path: Path, artifacts: Path, width: int, scale: int
) -> None:
    """A browser at 200 % shows a page of 1180 pixels on half as many, each of two by two."""
    file = tmp_path / "page.html"
    file.write_text(page_html(), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 500}, device_scale_factor=scale, color_scheme="light"
    )
    opened = context.new_page()
    opened.goto(file.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button in opened.locator(".pw-heatmap button:visible, .pw-heatmap input:visible").all():
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    opened.locator(".pw-heatmap .pw-plot").first.click(position=centre(opened, 4, 8))
    expect(opened.locator(".pw-heatmap .pw-rowlabel.pw-on").first).to_have_text("4")
    assert opened.evaluate(PIXEL, [3, 6]) == rgb(PALETTE["diverging"]["light"][4])
    opened.screenshot(path=artifacts / f"page_{width}_at_{scale}.png", full_page=True)
    context.close()
