"""Every corruption kind at one click in real JupyterLab: small maps on one scale, and the cells that all found."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.harness import Lab, Notebook, Theme
from tests.browser.test_explorer import open_explorer, part, press, table

pytestmark = pytest.mark.browser

NAMES_BY_HAND = """
from patchwidgets.engine.handle import handle_of
from patchwidgets.explorer.ioi_kinds import pairs_of
made = pairs_of(handle_of(model), explorer.settings["clean"], " Mary")
"""
TOKENS_BY_HAND = """
found = pw.suggest_corrupted(model, "The capital of France is", answer=" Paris")
best = found.loc[found.groupby("pos")["moved"].idxmax()].sort_values("moved", ascending=False)
entered = pw.preset("Capitals").pair
best = best[(best["moved"] >= 1) & (best["corrupted"] != entered.corrupted)][:6]
made = {"as entered": entered} | {
    f"{row.pos} '{row.token}' \u2192 '{row.replacement}'":
        pw.PromptPair(entered.clean, row.corrupted, answer=" Paris", foil=row.foil)
    for row in best.itertuples()
}
"""
SWEPT_BY_HAND = """
done = {kind: pw.patch(model, pair, "resid_pre").wait() for kind, pair in made.items()}
maps = {kind: result.normalized.values[0] for kind, result in done.items()}
reach = {kind: (result.data["status"] == "measured").values.astype(int) for kind, result in done.items()}
"""
LOOKS: list[tuple[Theme, int]] = [("light", 1400), ("dark", 1400), ("light", 760), ("dark", 760)]


def by_hand(notebook: Notebook, made: str, spared: str = "") -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return every kind's map, how many found each cell, and how many reach it, but for a kind that is not counted."""
    notebook.kernel_exec(made + SWEPT_BY_HAND)
    maps = {kind: np.array(values) for kind, values in notebook.kernel_eval("maps").items()}
    reach = [np.array(values) for kind, values in notebook.kernel_eval("reach").items() if kind != spared]
    hits = [(np.abs(values) >= 0.3).astype(int) for kind, values in maps.items() if kind != spared]
    return maps, np.sum(hits, 0), np.sum(reach, 0)


def check_counted(notebook: Notebook, hits: np.ndarray, reached: np.ndarray) -> None:
    """Every cell of the map below tells how many found it of how many reach it."""
    drawn = table(notebook, ".pw-x-kinds > :last-child")
    assert hits.shape == (len(drawn), len(drawn[0]))
    for (row, col), count in np.ndenumerate(hits):
        text, of = drawn[row][col], int(reached[row, col])
        if not of:
            assert text == "0.00 implied", (row, col, text)
            continue
        word = "none" if count == 0 else "all" if count == of > 1 else "one" if count == 1 else "some"
        assert text == f"{count / of:.2f} ({count} of {of}) {word}", (row, col, text)


def value_at(notebook: Notebook, card: int, key: str) -> float:
    """Return what a small map says of the cell that a key leads to."""
    found = part(notebook, ".pw-x-multiples > .pw-x-card").nth(card)
    grid = found.locator("[role=grid]")
    grid.focus()
    grid.press(key)
    label = found.locator("[role=gridcell]").get_attribute("aria-label") or ""
    value = re.search(r"recovered (\u2212?[\d.]+)", label)
    assert value, label
    return float(value.group(1).replace("\u2212", "-"))


def test_every_corruption_kind_side_by_side(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2600)
    notebook.settle()
    press(notebook, "Run every corruption kind")
    told = part(notebook, ".pw-x-kinds > .pw-x-bar")
    expect(told).to_contain_text("Cells found by 5 kinds at |recovered| \u2265 0.3")
    expect(part(notebook, ".pw-shelf-line")).to_have_count(6)
    expect(part(notebook, ".pw-x-multiples > .pw-x-card")).to_have_count(6)
    bars = part(notebook, ".pw-x-multiples .pw-smallbar").all_inner_texts()
    assert len(set(bars)) == 1
    maps, hits, reached = by_hand(notebook, NAMES_BY_HAND, spared="BAB")
    check_counted(notebook, hits, reached)
    assert value_at(notebook, 5, "Control+End") == pytest.approx(maps["ABA"][-1, -1], abs=0.006)
    notebook.screenshot("kinds", of=part(notebook, ".pw-x-kinds"))

    names = part(notebook, ".pw-shelf-detail").all_inner_texts()
    assert [name.split(" \u00b7 ")[0] for name in reversed(names)] == [f"kind: {kind}" for kind in maps]
    press(notebook, "mlp")
    dimmed = part(notebook, ".pw-x-kinds .pw-x-stale")
    expect(dimmed).to_have_count(3)
    for each in dimmed.all():
        expect(each).to_have_css("opacity", "0.4")
        expect(each).to_have_css("pointer-events", "auto")
    expect(part(notebook, ".pw-x-kinds")).to_contain_text("Not of what is entered now: resid_pre, ")
    press(notebook, "resid pre")
    expect(dimmed).to_have_count(0)
    expect(part(notebook, ".pw-x-multiples")).to_have_css("opacity", "1")


def test_a_prompt_of_facts_has_kinds_of_its_own(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2600)
    notebook.settle()
    part(notebook, ".pw-x-head select").last.select_option(label="Capitals")
    notebook.settle("explorer.settings['clean'] == 'The capital of France is'")
    press(notebook, "Run every corruption kind")
    told = part(notebook, ".pw-x-kinds > .pw-x-bar")
    expect(told).to_contain_text("Cells found by")
    notebook.settle("explorer._multiples._stopped")
    maps, hits, reached = by_hand(notebook, TOKENS_BY_HAND)
    cards = part(notebook, ".pw-x-multiples > .pw-x-card")
    expect(cards).to_have_count(len(maps))
    expect(told).to_contain_text(f"Cells found by {len(maps)} kinds")
    titles = [(card.locator(".pw-title").text_content() or "").split(", foil")[0] for card in cards.all()]
    assert titles == list(maps)
    assert len(set(np.unique(reached))) > 2
    check_counted(notebook, hits, reached)
    for i, values in enumerate(maps.values()):
        assert value_at(notebook, i, "Control+End") == pytest.approx(values[-1, -1], abs=0.006)
        assert value_at(notebook, i, "Home") == pytest.approx(values[-1, 0], abs=0.006)
    for theme, width in LOOKS:
        notebook.page.set_viewport_size({"width": width, "height": 2600})
        notebook.theme(theme)
        notebook.page.evaluate("() => document.activeElement?.blur()")
        root = part(notebook, ".pw-x-root")
        assert root.evaluate("node => node.scrollWidth - node.clientWidth") <= 0, f"wider than {width}"
        notebook.screenshot(f"kinds_of_tokens_{theme}_{width}", of=part(notebook, ".pw-x-kinds"))
