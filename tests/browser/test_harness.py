"""The harness itself: a button of plain ipywidgets, pressed in a real browser, is felt in a real kernel."""

from __future__ import annotations

import pytest

from tests.browser.harness import Lab, Theme, Traffic

pytestmark = pytest.mark.browser

BUTTON = """
import threading
import ipywidgets as widgets

pressed, gate = [], threading.Event()
button = widgets.Button(description="press me")
button.on_click(lambda _: pressed.append(1))
button
"""


def test_a_press_reaches_the_kernel(lab: Lab) -> None:
    notebook = lab.open_notebook([BUTTON, "print('second')"])
    notebook.run_cell(0)
    assert notebook.kernel_eval("pressed") == []
    notebook.output(0).get_by_role("button", name="press me").click()
    notebook.wait_for("pressed")
    assert notebook.kernel_eval("pressed") == [1]
    assert notebook.run_cell(1) == [{"output_type": "stream", "name": "stdout", "text": "second\n"}]


def test_the_kernel_answers_while_a_thread_runs(lab: Lab) -> None:
    notebook = lab.open_notebook([BUTTON, "worker = threading.Thread(target=gate.wait); worker.start()"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    assert notebook.kernel_eval("worker.is_alive()") is True
    notebook.output(0).get_by_role("button").click()
    notebook.wait_for("pressed")
    assert notebook.kernel_eval("(gate.set(), worker.join(), worker.is_alive())[-1]") is False


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes_and_pictures(lab: Lab, theme: Theme) -> None:
    notebook = lab.open_notebook([BUTTON], theme=theme, width=900, height=500)
    notebook.run_cell(0)
    picture = notebook.screenshot(f"harness_{theme}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert notebook.page.locator(f"body[data-jp-theme-light={'true' if theme == 'light' else 'false'}]").count() == 1


def test_an_error_in_a_cell_is_told(lab: Lab) -> None:
    notebook = lab.open_notebook(["1 / 0"])
    with pytest.raises(AssertionError, match="division by zero"):
        notebook.run_cell(0)
    with pytest.raises(AssertionError, match="nowhere: NameError"):
        notebook.kernel_eval("nowhere")


def test_errors_and_foreign_requests_are_noticed(lab: Lab) -> None:
    notebook = lab.open_notebook([])
    seen = notebook.traffic
    notebook.traffic = Traffic()
    notebook.page.evaluate("() => { console.error('told'); setTimeout(() => { throw new Error('thrown'); }); }")
    notebook.page.evaluate("() => fetch('https://elsewhere.invalid/').catch(() => null)")
    assert any("told" in error for error in seen.errors)
    assert any("thrown" in error for error in seen.errors)
    assert any("elsewhere" in error or "Failed to load" in error for error in seen.errors)
    assert seen.foreign == ["https://elsewhere.invalid/"]
