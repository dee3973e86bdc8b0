"""The main job in real JupyterLab: two prompts typed, an answer picked, a heatmap that fills in, a head that opens."""

from __future__ import annotations

import math

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.browser.axe import check_accessible
from tests.browser.harness import Lab, Notebook
from tests.browser.measuring import Clicks, Measured, no_model_call, streaming, time_keys
from tests.browser.reading import click_cell_of, number_of, small_table_of, table_of

pytestmark = pytest.mark.browser

OPEN = "import patchwidgets as pw\nmodel = pw.load_model({what})\nexplorer = pw.explore(model)\nexplorer"
CLEAN = "When Lucy and Tom went to the park, Tom gave a book to"
CORRUPTED = "When Jane and Tom went to the park, Tom gave a book to"

# Lets so many batches of a sweep through the last norm, of which the replay engine has a copy, and holds the next one
# until it is let through as well. Each is of one cell once the first few are known: on a fast machine one batch would
# be all that is left.
HELD = """
import threading, torch
from patchwidgets.engine.replay import waves
wave_seconds, waves._SECONDS, waves._LAST_SECONDS = (waves._SECONDS, waves._LAST_SECONDS), 0, 0
gate, came, passed = threading.Semaphore(0), 0, 0
def hold(module, args):
    global came
    if getattr(module, "name", None) == model.ln_final.name and threading.current_thread().name == "patchwidgets-sweep":
        came += 1
        gate.acquire()
def let_through(batches):
    global passed
    passed += batches
    gate.release(batches)
held = torch.nn.modules.module.register_module_forward_pre_hook(hold)
"""
FREE = """
held.remove()
waves._SECONDS, waves._LAST_SECONDS = wave_seconds
gate.release(10**6)
"""

# The neurons of layer 2 at position 14, each patched by TransformerLens's own hooks.
ALONE = """
import torch
prompts = [model.to_tokens(explorer.settings[run]) for run in ("clean", "corrupted")]
site, runs = "blocks.2.mlp.hook_post", [model.run_with_cache(tokens) for tokens in prompts]
answers = [model.to_single_token(explorer.settings[name]) for name in ("answer", "foil")]
def put(activation, hook):
    count = activation.shape[-1]
    activation[range(count), 14, range(count)] = runs[0][1][site][0, 14]
    return activation
with torch.inference_mode():
    logits = model.run_with_hooks(prompts[1].repeat(runs[0][1][site].shape[-1], 1), fwd_hooks=[(site, put)])[:, -1]
    gaps = [each[answers[0]] - each[answers[1]] for each in (*logits, runs[1][0][0, -1])]
moved = torch.stack(gaps[:-1]) - gaps[-1]
strongest = moved.abs().sort(descending=True, stable=True).indices[:10].tolist()
effects = moved[strongest].tolist()
activations = [cache[site][0, :, strongest[0]].tolist() for _, cache in runs]
"""

# Keeps every text the progress line has shown, with how many cells the heatmap had coloured by then.
WATCH = """() => {
    const line = document.querySelector(".pw-x-progress-text");
    const canvas = document.querySelector(".pw-x-main .pw-heatmap canvas");
    window.seen = [];
    new MutationObserver(() => window.seen.push([line.textContent.trim(), canvas.toDataURL()]))
        .observe(line, {childList: true, subtree: true, characterData: true});
}"""


TOP_NEURONS = ".pw-x-card .pw-heatmap:has-text('Top neurons')"
ACTIVATION = ".pw-x-card .pw-heatmap:has-text('Activation of neuron')"


def open_explorer(lab: Lab, what: str = "", **look: object) -> Notebook:
    notebook = lab.open_notebook([OPEN.format(what=what)], **look)
    notebook.run_cell(0)
    notebook.page.wait_for_selector(".pw-x-main .pw-heatmap canvas")
    return notebook


def part(notebook: Notebook, css: str) -> Locator:
    return notebook.output(0).locator(css)


def type_into(field: Locator, text: str) -> None:
    field.click()
    field.press("Control+a")
    field.press_sequentially(text, delay=5)


def press(notebook: Notebook, name: str) -> None:
    notebook.output(0).get_by_role("button", name=name, exact=True).click()


def click_cell(notebook: Notebook, view: str, row: int, col: int) -> None:
    click_cell_of(part(notebook, view).first, row, col)


def let_through(notebook: Notebook, least: int) -> None:
    """Let a held sweep go on until so many cells are measured; it is then held before the next batch."""
    notebook.wait_for("came > passed")
    while notebook.kernel_eval("explorer._run.done") < least:
        notebook.kernel_eval("let_through(1)")
        notebook.wait_for("came > passed")


def table(notebook: Notebook, view: str) -> list[list[str]]:
    return table_of(part(notebook, view).first)


def open_neuron(notebook: Notebook) -> None:
    """Measure the neurons behind the open cell and open the one that moves the metric the most."""
    press(notebook, "Measure each")
    expect(part(notebook, TOP_NEURONS)).to_contain_text("were measured; these move the metric the most.")
    click_cell(notebook, TOP_NEURONS, 0, 0)
    expect(part(notebook, ".pw-x-path")).to_contain_text("neuron")
    notebook.settle()


def check_drawn_values(notebook: Notebook, alone: tuple[int, ...] = (), of: str = "explorer.result") -> None:
    """Every number in the heatmap's table is the kernel's, to the digits shown; those that stand `alone` have none."""
    expected = np.array(notebook.kernel_eval(f"{of}.normalized.values[0].tolist()"), dtype=float)
    status = np.array(notebook.kernel_eval(f"{of}.data['status'].values.tolist()"))
    for column in alone:
        expected, status = np.insert(expected, column, np.nan, 1), np.insert(status, column, "unavailable", 1)
    drawn = table(notebook, ".pw-x-main > :first-child")
    assert (len(drawn), len(drawn[0])) == expected.shape
    for (row, col), value in np.ndenumerate(expected):
        text = drawn[row][col]
        if status[row, col] in ("implied", "unavailable"):
            assert status[row, col] in text
        if math.isfinite(value):
            assert number_of(text) == pytest.approx(value, abs=0.006), (row, col, text)


def test_the_main_job(lab: Lab, measured: Measured) -> None:
    notebook = open_explorer(lab, height=1500)
    fields = part(notebook, ".pw-x-row input")
    type_into(fields.nth(0), CLEAN)
    type_into(fields.nth(1), CORRUPTED)
    pills = part(notebook, ".pw-x-pills")
    pills.nth(0).get_by_role("button", name="Lucy").click()
    pills.nth(1).get_by_role("button", name="Jane").click()
    notebook.wait_for("explorer.settings['clean'].startswith('When Lucy') and explorer.settings['foil'] is not None")
    columns = part(notebook, ".pw-x-main .pw-heatmap").first
    expect(columns).to_contain_text("Lucy")
    expect(columns).to_contain_text("Jane")

    notebook.page.evaluate(WATCH)
    notebook.kernel_exec(HELD)
    press(notebook, "Run")
    for least in (4, 20):
        let_through(notebook, least)
        done = notebook.kernel_eval("explorer._run.done")
        expect(part(notebook, ".pw-x-progress-text")).to_contain_text(f"{done} of 52 cells")
    notebook.kernel_exec(FREE)
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")
    seen = notebook.page.evaluate("seen")
    running = [picture for text, picture in seen if "left" in text]
    assert len(set(running)) >= 2, [text for text, _ in seen]

    check_drawn_values(notebook)
    assert notebook.kernel_eval("float(explorer.result.normalized.sel(layer=0, pos=2).item())") == pytest.approx(
        1.0, abs=1e-4
    )

    clicks = Clicks(notebook)
    for layer, position in [(layer, position) for position in (4, 10, 13) for layer in (3, 2, 1, 0)]:
        click_cell(notebook, ".pw-x-main", layer, position)
        clicks.wait()
    measured("click to drawn drilldown, embedded model, 15 tokens", str(clicks.times))
    part(notebook, ".pw-x-main [role=grid]").first.focus()
    keys = time_keys(notebook, ["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"] * 5)
    measured("key to highlight, 4 layers by 15 tokens", str(keys))

    click_cell(notebook, ".pw-x-main", 2, 14)
    expect(part(notebook, ".pw-x-path")).to_contain_text("layer 2, to")
    notebook.wait_for("explorer.selection is not None and explorer.selection.iloc[0].pos == 14")
    heads = ".pw-x-card:has-text('Heads writing at')"
    expect(part(notebook, heads).first).to_be_visible()
    expect(part(notebook, ".pw-x-card:has-text('Next token')")).to_contain_text("this cell")
    notebook.wait_for("explorer._drilldown.run is not None and explorer._drilldown.run.finished")
    click_cell(notebook, heads, 1, 1)
    attention = part(notebook, ".pw-x-card:has-text('Attention of head 1.1')")
    expect(attention).to_contain_text("patched: head 1.1")
    expect(part(notebook, ".pw-x-path")).to_contain_text("head 1.1")
    press(notebook, "Back to the cell")
    expect(attention).to_be_hidden()

    notebook.settle("explorer._drilldown.run is not None")
    with no_model_call(notebook):
        notebook.output(0).get_by_label("metric", exact=True).first.select_option(label="log-probability")
        press(notebook, "Run")
        notebook.wait_for("explorer.result is not None and explorer.result.metrics == ('logprob',)")
        notebook.settle()
    check_drawn_values(notebook)


def test_the_neurons_behind_a_cell_and_what_one_does(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1800)
    press(notebook, "Run")
    notebook.settle("explorer.result is not None")
    click_cell(notebook, ".pw-x-main", 2, 14)
    notebook.settle("explorer._drilldown.run is not None")
    open_neuron(notebook)
    notebook.kernel_exec(ALONE)
    strongest, effects = notebook.kernel_eval("(strongest, effects)")
    plot = part(notebook, f"{TOP_NEURONS} .pw-rowlabel")
    assert plot.all_inner_texts() == [str(neuron) for neuron in strongest]
    told = [number_of(row[0]) for row in small_table_of(part(notebook, TOP_NEURONS))]
    assert told == pytest.approx(effects, abs=6e-4)
    drawn = [[number_of(text) for text in row] for row in small_table_of(part(notebook, ACTIVATION))]
    np.testing.assert_allclose(drawn, notebook.kernel_eval("activations"), atol=6e-3)


def test_cancel_keeps_what_was_measured_and_the_kernel_stays_free(lab: Lab, measured: Measured) -> None:
    notebook = open_explorer(lab, height=1500)
    notebook.wait_for("explorer.settings")
    notebook.kernel_exec(HELD)
    press(notebook, "z")
    part(notebook, ".pw-x-bar select").first.select_option(index=1)
    notebook.wait_for("explorer.settings['by'] == ['layer', 'pos', 'head']")
    press(notebook, "Run")
    let_through(notebook, 4)
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("left")
    assert notebook.kernel_eval("1 + 1") == 2
    press(notebook, "Cancel")
    notebook.wait_for("explorer._run.cancelling")
    notebook.kernel_exec(FREE)
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cancelled after")
    counts = notebook.kernel_eval("explorer.result.data['status'].to_series().value_counts().to_dict()")
    assert counts["pending"] > 0
    assert counts["measured"] > 0
    with streaming(notebook) as streamed:
        press(notebook, "Run")
        expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")
    measured("a sweep of the embedded model, z by token and head", str(streamed))
    assert notebook.kernel_eval("int((explorer.result.data['status'] == 'pending').sum())") == 0


def test_errors_are_told_beside_the_field(lab: Lab) -> None:
    notebook = open_explorer(lab, height=900)
    type_into(part(notebook, ".pw-x-choice input").first, "<b>Anna</b>")
    error = part(notebook, ".pw-x-prompts > .pw-x-error").first
    expect(error).to_contain_text("<b>")
    press(notebook, "Run")
    expect(error).to_contain_text("<b>")
    notebook.screenshot("explorer_error")
    assert part(notebook, ".pw-x-root b").count() == 0


def test_the_settings_of_an_intervention_stand_beside_it(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1300)
    fields = part(notebook, ".pw-x-parameters")
    expect(fields).to_be_hidden()
    part(notebook, ".pw-x-bar select").nth(1).select_option(label="Gaussian noise")
    samples = notebook.output(0).get_by_role("textbox", name="samples")
    expect(notebook.output(0).get_by_role("textbox", name="sigma")).to_have_value("3")
    expect(samples).to_have_value("10")
    check_accessible(notebook.page, ".pw-x-root", "the settings of an intervention")
    press(notebook, "Run")
    notebook.wait_for("explorer.result is not None and explorer.result.provenance['samples'] == 10")

    samples.press("Control+a")
    samples.press_sequentially("2.")
    expect(part(notebook, ".pw-x-told-parameter")).to_be_hidden()
    samples.press("Enter")
    expect(part(notebook, ".pw-x-told-parameter")).to_have_text("Samples must be a whole number, 1 or more, not '2.'.")
    expect(part(notebook, ".pw-x-main.pw-x-stale")).to_have_count(0)
    assert notebook.kernel_eval("explorer.result.provenance['samples']") == 10
    samples.press("Backspace")
    samples.press("Tab")
    expect(part(notebook, ".pw-x-told-parameter")).to_be_hidden()
    expect(part(notebook, ".pw-x-main .pw-title").first).to_contain_text("Gaussian noise (sigma 3, samples 2)")
    seed = notebook.output(0).get_by_role("textbox", name="seed")
    seed.fill("3")
    seed.press("Enter")
    expect(part(notebook, ".pw-x-main .pw-title").first).to_contain_text("(sigma 3, samples 2, seed 3)")
    notebook.screenshot("explorer_parameters", part(notebook, ".pw-x-root"))
    press(notebook, "Undo")
    expect(seed).to_have_value("0")
    press(notebook, "Undo")
    expect(samples).to_have_value("10")
    expect(part(notebook, ".pw-x-main .pw-title").first).to_contain_text("samples 10")


def test_what_a_control_lacks_is_told_beside_it(lab: Lab) -> None:
    notebook = open_explorer(lab, height=1300)
    control = part(notebook, ".pw-x-bar select").nth(1)
    control.select_option(label="mean (needs a dataset)")
    told = part(notebook, ".pw-x-told-control")
    expect(told).to_contain_text("mean needs a dataset: pw.explore(model, dataset=...).")
    expect(control).to_have_value("patch")
    assert notebook.kernel_eval("explorer.settings['intervention']") == "patch"
    notebook.screenshot("explorer_needs_dataset", part(notebook, ".pw-x-root"))
    notebook.kernel_eval("setattr(explorer, 'intervention', pw.Vector([0.0] * model.cfg.d_model))")
    expect(control.locator("option:checked")).to_have_text("vector of 128 numbers")
    expect(told).to_be_hidden()
