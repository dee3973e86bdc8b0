"""The life of a page: two Explorers, two views of one, a reload, a kernel that ends or is stopped, a saved file."""

from __future__ import annotations

import re

import nbformat
import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.harness import Lab, LabServer, Notebook
from tests.browser.reading import click_cell_of, number_of, table_of
from tests.browser.server import wait_until
from tests.browser.test_explorer import FREE, HELD, OPEN, check_drawn_values, let_through, press, type_into

pytestmark = pytest.mark.browser

GONE = "The kernel behind this has ended"
CLEAN = "When Lucy and Tom went to the park, Tom gave a book to"
MAP = "from patchwidgets.views.of_result import heatmap_of\nheatmap_of(explorer.result)"
NO_STATE = "widget model not found"  # What the widget manager writes to the console when it has none for an output.
RUNNING = "() => document.querySelector('.pw-x-progress-text').textContent.includes('left')"


def opened(lab: Lab, *more: str, height: int = 1500) -> Notebook:
    """Open a notebook whose first cell makes an Explorer; every cell is run."""
    notebook = lab.open_notebook([OPEN.format(what=""), *more], height=height)
    for cell in range(1 + len(more)):
        notebook.run_cell(cell)
    notebook.page.set_default_timeout(60_000)
    expect(root(notebook).locator(".pw-x-main .pw-heatmap canvas").first).to_be_visible()
    notebook.settle("explorer._encoded is not None")
    return notebook


def root(notebook: Notebook, cell: int = 0) -> Locator:
    return notebook.output(cell).locator(".pw-x-root")


def done(place: Locator) -> None:
    expect(place.locator(".pw-x-progress-text")).to_contain_text("cells, in")


def pixels(place: Locator) -> str:
    return place.locator(".pw-x-main .pw-heatmap canvas").first.evaluate("canvas => canvas.toDataURL()")


def restart(notebook: Notebook) -> None:
    notebook.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    notebook.wait_ready()


def test_two_explorers_do_not_know_of_each_other(lab: Lab) -> None:
    notebook = opened(lab, "other = pw.explore(model)\nother", height=2400)
    notebook.settle("other._encoded is not None", name="other")
    first, second = root(notebook), root(notebook, 1)
    before = pixels(second), notebook.kernel_eval("other.settings")
    type_into(first.locator(".pw-x-row input").first, CLEAN)
    notebook.wait_for("explorer.settings['clean'].startswith('When Lucy')")
    press(notebook, "Run")
    done(first)
    check_drawn_values(notebook)
    click_cell_of(first.locator(".pw-x-main"), 1, 10)
    expect(first.locator(".pw-x-path")).to_contain_text("layer 1")
    expect(first.locator(".pw-hot").first).to_be_attached()
    expect(second.locator(".pw-hot")).to_have_count(0)
    expect(second.locator(".pw-x-path:visible")).to_have_count(0)
    expect(second.locator(".pw-shelf-line")).to_have_count(0)
    expect(second.locator(".pw-x-row input").first).to_have_value(before[1]["clean"])
    assert (pixels(second), notebook.kernel_eval("other.settings")) == before
    assert notebook.kernel_eval("(other.result, other.selection, other.shelf) == (None, None, [])")
    notebook.screenshot("life_two_explorers")


def test_two_views_of_one_explorer_follow_each_other(lab: Lab) -> None:
    notebook = opened(lab, "explorer", height=2400)
    first, second = root(notebook), root(notebook, 1)
    type_into(second.locator(".pw-x-row input").first, CLEAN)
    expect(first.locator(".pw-x-row input").first).to_have_value(CLEAN)
    notebook.settle("explorer.settings['clean'].startswith('When Lucy')")
    press(notebook, "Run")
    for view in (first, second):
        done(view)
    check_drawn_values(notebook)
    assert table_of(first.locator(".pw-x-main")) == table_of(second.locator(".pw-x-main"))
    click_cell_of(second.locator(".pw-x-main"), 1, 10)
    for view in (first, second):
        expect(view.locator(".pw-x-path")).to_contain_text("layer 1")
        expect(view.locator(".pw-x-card:has-text('Next token')")).to_contain_text("this cell")
    notebook.screenshot("life_two_views")


def test_a_reloaded_page_shows_what_it_showed_and_is_live(lab: Lab) -> None:
    notebook = opened(lab)
    press(notebook, "Run")
    done(root(notebook))
    click_cell_of(root(notebook).locator(".pw-x-main"), 1, 10)
    expect(root(notebook).locator(".pw-x-path")).to_contain_text("layer 1")
    shown = table_of(root(notebook).locator(".pw-x-main"))
    notebook.save()
    notebook.page.reload()
    notebook.wait_ready()
    done(root(notebook))
    assert table_of(root(notebook).locator(".pw-x-main")) == shown
    expect(root(notebook).locator(".pw-x-path")).to_contain_text("layer 1")
    expect(root(notebook).locator(".pw-x-card:has-text('Next token')")).to_contain_text("this cell")
    notebook.screenshot("life_reloaded")
    click_cell_of(root(notebook).locator(".pw-x-main"), 2, 14)
    expect(root(notebook).locator(".pw-x-path")).to_contain_text("layer 2")
    press(notebook, "Noise")
    expect(root(notebook).locator(".pw-shelf-line")).to_have_count(2)
    done(root(notebook))
    check_drawn_values(notebook)


def test_a_restarted_kernel_leaves_a_picture_that_says_so(lab: Lab) -> None:
    notebook = opened(lab)
    press(notebook, "Run")
    done(root(notebook))
    shown = table_of(root(notebook).locator(".pw-x-main"))
    restart(notebook)
    told = "node => getComputedStyle(node, '::before').content"
    expect(root(notebook)).to_have_class(re.compile("jupyter-widgets-disconnected"))
    assert GONE in root(notebook).evaluate(told)
    chains = root(notebook).locator(".jupyter-widgets-disconnected").all()
    assert {chain.evaluate(told) for chain in chains} == {"none"}
    assert table_of(root(notebook).locator(".pw-x-main")) == shown
    click_cell_of(root(notebook).locator(".pw-x-main"), 1, 10)
    notebook.screenshot("life_restarted")
    notebook.theme("dark")
    notebook.screenshot("life_restarted_dark")
    notebook.run_cell(0)
    expect(root(notebook)).to_have_count(1)
    expect(root(notebook)).not_to_have_class(re.compile("disconnected"))
    press(notebook, "Run")
    done(root(notebook))
    check_drawn_values(notebook)


def test_a_tab_closed_during_a_run_leaves_the_run_alone(lab: Lab, lab_server: LabServer) -> None:
    notebook = opened(lab)
    notebook.save()
    notebook.kernel_exec(HELD)
    press(notebook, "Run")
    let_through(notebook, 4)
    notebook.page.wait_for_function(RUNNING)
    notebook.page.close()
    lab.notebooks.remove(notebook)
    [kernel] = lab_server.request("api/kernels")
    wait_until(lambda: lab_server.request(f"api/kernels/{kernel['id']}")["execution_state"] == "idle", "the kernel", 30)
    again = lab.open_file("test.ipynb", height=1500, again=True)
    assert [each["id"] for each in lab_server.request("api/kernels")] == [kernel["id"]]
    expect(root(again).locator(".pw-x-main .pw-heatmap canvas").first).to_be_visible()
    again.kernel_exec(FREE)
    done(root(again))
    check_drawn_values(again)
    assert again.kernel_eval("int((explorer.result.data['status'] == 'pending').sum())") == 0
    click_cell_of(root(again).locator(".pw-x-main"), 1, 10)
    expect(root(again).locator(".pw-x-path")).to_contain_text("layer 1")
    again.screenshot("life_closed_tab")


def test_an_interrupt_cancels_the_run_and_the_explorer_lives(lab: Lab) -> None:
    notebook = lab.open_notebook([OPEN.format(what=""), "explorer.run().wait()"], height=1800)
    notebook.run_cell(0)
    notebook.settle("explorer._encoded is not None")
    notebook.kernel_exec(HELD)
    notebook.kernel_eval("let_through(20)")  # While a cell runs nothing else can be asked of the kernel.
    page = notebook.page
    page.evaluate(
        """() => {
            window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
            void window.jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    page.wait_for_function(RUNNING)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()")
    wait_until(lambda: notebook.outputs(1), "the interrupted cell", 60)
    notebook.kernel_exec(FREE)
    expect(root(notebook).locator(".pw-x-progress-text")).to_contain_text("cancelled after")
    assert [output["ename"] for output in notebook.outputs(1)] == ["KeyboardInterrupt"]
    counts = notebook.kernel_eval("explorer.result.data['status'].to_series().value_counts().to_dict()")
    assert counts["pending"] > 0
    notebook.screenshot("life_interrupted")
    press(notebook, "Run")
    done(root(notebook))
    check_drawn_values(notebook)


def table_left(place: Locator) -> np.ndarray:
    """Return the numbers of the table that stands where an Explorer was; what is no number is NaN."""
    lines = [row.locator("td").all_inner_texts() for row in place.locator("tbody tr").all()]
    return np.array([[number_of(text) if text.strip("\u00d7 ") else np.nan for text in line] for line in lines])


def test_a_saved_notebook_opened_again_shows_what_was_there(lab: Lab) -> None:
    notebook = lab.open_notebook([OPEN.format(what=""), MAP], height=1500)
    notebook.run_cell(0)
    notebook.settle("explorer._encoded is not None")
    press(notebook, "Run")
    done(root(notebook))
    notebook.run_cell(1)
    expect(notebook.output(1).locator(".pw-heatmap canvas").first).to_be_visible()
    expect(notebook.output(1).get_by_text("A Heatmap was here")).to_be_hidden()
    expected = np.array(notebook.kernel_eval("explorer.result.normalized.values[0].tolist()"), dtype=float)
    wait_until(lambda: "<table>" in notebook.outputs(0)[0]["data"]["text/html"], "the table in the output", 30)
    expect(notebook.page.get_by_text("The last whole map of an Explorer")).to_be_hidden()
    notebook.save()
    notebook.page.close()
    # The same file, as somebody else would get it: its signature is not theirs.
    file = nbformat.read(lab.workspace / "test.ipynb", as_version=4)
    file.cells.append(nbformat.v4.new_markdown_cell("from elsewhere"))
    nbformat.write(file, lab.workspace / "foreign.ipynb")
    assert "widgets" not in file.metadata, "JupyterLab saves no widgets by default"

    again = lab.open_file("test.ipynb", height=900)
    again.traffic.known.append(NO_STATE)
    left = again.output(0)
    kept = ((left, "The last whole map of an Explorer that was here."), (again.output(1), "A Heatmap was here."))
    for place, told in kept:
        expect(place).to_contain_text(told)
        expect(place.get_by_text("Error displaying widget")).to_be_hidden()
        np.testing.assert_allclose(table_left(place), expected, atol=0.006)
    again.screenshot("life_saved")
    again.theme("dark")
    again.screenshot("life_saved_dark")
    again.theme("light")
    again.run_cell(0)
    expect(root(again)).to_be_visible()
    expect(left.get_by_text("An Explorer was here")).to_be_hidden()

    foreign = lab.open_file("foreign.ipynb", height=900, trusted=False)
    foreign.traffic.known.append(NO_STATE)
    left = foreign.output(0)
    expect(left).to_contain_text("The last whole map of an Explorer that was here.")
    expect(left).to_contain_text("Explorer('embedded model')")
    np.testing.assert_allclose(table_left(left), expected, atol=0.006)
    foreign.screenshot("life_foreign")
