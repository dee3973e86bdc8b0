"""Reads and clicks a heatmap as a person does, wherever it is drawn."""

from __future__ import annotations

from playwright.sync_api import Locator


def table_of(view: Locator) -> list[list[str]]:
    """Return the texts of a heatmap's table of values, opened for the purpose."""
    view.locator(".pw-textbutton").first.click()
    texts = _texts(view)
    view.locator(".pw-textbutton").first.click()
    return texts


def small_table_of(view: Locator) -> list[list[str]]:
    """Return the same of a small heatmap, which has no button for it but the key."""
    view.locator("[role=grid]").press("t")
    texts = _texts(view)
    view.locator(".pw-tablebox").press("t")
    return texts


def _texts(view: Locator) -> list[list[str]]:
    rows = view.locator(".pw-table tbody tr").all()
    return [row.locator("td:not(.pw-meancell)").all_inner_texts() for row in rows]


def number_of(text: str) -> float:
    """Return the number a table's cell begins with."""
    return float(text.split()[0].replace("\u2212", "-").rstrip(","))


def click_cell_of(view: Locator, row: int, col: int) -> None:
    """Click the middle of a cell of a heatmap, found from its drawn size."""
    plot = view.locator(".pw-plot").first
    plot.scroll_into_view_if_needed()
    rows, cols = (int(view.locator("[role=grid]").first.get_attribute(f"aria-{a}count") or 0) for a in ("row", "col"))
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": box["width"] * (col + 0.5) / cols, "y": box["height"] * (row + 0.5) / rows})
