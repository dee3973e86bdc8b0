"""The experiment drawn in the Explorer: the selected cell's, else the sweep's, and as files."""

from __future__ import annotations

import pytest


@pytest.fixture
def measured(explorer):
    explorer.run()
    explorer.wait()
    return explorer


def test_folded_it_draws_nothing_and_unfolded_what_is_on_screen(explorer, select):
    drawing = explorer._drawing
    assert drawing.picture.value == ""
    drawing.open.value = True
    assert "when its run is over" in drawing.hint.value
    explorer.run()
    explorer.wait()
    assert drawing.hint.value == ""
    assert drawing.picture.value == explorer.result.diagram().svg()
    select(explorer._map.view, 2, 14)
    explorer.wait()
    assert drawing.picture.value == explorer.result.diagram(layer=2, pos=14).svg()
    explorer.settings = {"metric": "prob"}
    explorer.wait()
    assert explorer.result.metrics == ("prob",)
    assert drawing.picture.value == explorer.result.diagram(layer=2, pos=14).svg()
    drawing.open.value = False
    assert drawing.picture.value == ""


def test_the_selected_cell_is_drawn_whatever_is_gathered(measured, select):
    drawing = measured._drawing
    drawing.open.value = True
    for row, col in ((1, 4), (3, 14)):
        measured._map.view._handle({"type": "gather", "row": row, "col": col})
    assert drawing.picture.value == measured.result.diagram().svg()
    assert "Drawn is the sweep, as no cell is open; the 2 cells gathered are not." in drawing.hint.value
    select(measured._map.view, 2, 14)
    assert drawing.picture.value == measured.result.diagram(layer=2, pos=14).svg()
    assert "Drawn is the open cell, layer 2, pos 14; the 2 other cells gathered are not." in drawing.hint.value
    select(measured._map.view, 3, 14)
    assert "Drawn is the open cell, layer 3, pos 14; the other cell gathered is not." in drawing.hint.value
    measured._gathering.clear_button.click()
    assert drawing.hint.value == ""


def test_a_new_map_draws_its_own(measured, select):
    measured._drawing.open.value = True
    select(measured._map.view, 2, 14)
    measured.settings = {"site": "z", "by": ["layer", "head"]}
    measured.wait()
    assert measured._drawing.picture.value == measured.result.diagram().svg()
    select(measured._map.view, 2, 1)
    measured.wait()
    assert measured._drawing.picture.value == measured.result.diagram(layer=2, head=1).svg()


def test_the_files_hold_what_is_drawn(measured, select, tmp_path):
    select(measured._map.view, 2, 14)
    measured.wait()
    drawn = measured.result.diagram(layer=2, pos=14)
    for name, made in (("diagram", drawn.svg()), ("mermaid", drawn.mermaid())):
        path = measured._saving.write(name, tmp_path)
        assert path.read_text(encoding="utf-8") == made
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".mmd", ".svg"]
