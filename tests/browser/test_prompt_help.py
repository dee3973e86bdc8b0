"""Prompt help, subsets and a second model in real JupyterLab, by what a person sees and clicks."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.harness import Lab
from tests.browser.test_explorer import OPEN, open_explorer, part, press, type_into

pytestmark = pytest.mark.browser

AGAINST = """import patchwidgets as pw, torch
model, other = pw.load_model(), pw.load_model()
with torch.no_grad():
    _ = other.original_model.transformer.h[2].attn.c_proj.weight.mul_(0.5)
explorer = pw.explore(model, against=other)
explorer"""


def test_from_a_clean_prompt_alone_to_a_map(lab: Lab) -> None:
    notebook = open_explorer(lab, height=2200)
    fields = part(notebook, ".pw-x-row input")
    type_into(fields.nth(0), "The capital of France is")
    type_into(fields.nth(1), "")
    fields.nth(1).press("Backspace")
    press(notebook, "Suggest a corrupted prompt")
    lines = part(notebook, ".pw-x-suggested .pw-x-near-row")
    expect(lines.first).to_contain_text("moves it by")
    best = notebook.kernel_eval("pw.suggest_corrupted(model, 'The capital of France is').iloc[0].to_dict()")
    expect(lines.first).to_contain_text(f"moves it by {best['moved']:.2f}")
    notebook.screenshot("suggestions", part(notebook, ".pw-x-root"))
    lines.first.get_by_role("button").click()
    notebook.wait_for(
        f"explorer.settings['corrupted'] == {best['corrupted']!r} and explorer.settings['foil'] is not None"
    )
    expect(fields.nth(1)).to_have_value(best["corrupted"])
    expect(part(notebook, ".pw-x-prompts")).to_contain_text(f"'{best['answer']}' is the model's first choice")
    expect(part(notebook, ".pw-x-prompts")).to_contain_text("This pair varies")
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("cells, in")
    gap = notebook.kernel_eval("float(explorer.result.clean) - float(explorer.result.corrupted)")
    assert gap == pytest.approx(best["moved"], abs=1e-3)
    assert notebook.kernel_eval("explorer.result.provenance['prompts']['clean']") == "The capital of France is"


def test_what_is_no_token_is_mended_by_its_button(lab: Lab) -> None:
    notebook = open_explorer(lab)
    answer = part(notebook, ".pw-x-choice input").first
    type_into(answer, "Mary John")
    expect(part(notebook, ".pw-x-prompts")).to_contain_text("is 2 tokens, 'Mary|John', not one")
    type_into(part(notebook, ".pw-x-row input").nth(1), "When Annabel and John went to the store, John gave a drink to")
    expect(part(notebook, ".pw-x-row").nth(1)).to_contain_text("does not know 'Annabel'")
    notebook.screenshot("nearest", part(notebook, ".pw-x-prompts"))
    press(notebook, "use Mary")
    expect(answer).to_have_value("Mary")
    part(notebook, ".pw-x-row").nth(1).get_by_role("button", name="use").click()
    notebook.wait_for("'Annabel' not in explorer.settings['corrupted']")


@pytest.mark.parametrize("look", [{"theme": "light", "width": 1400}, {"theme": "dark", "width": 760}])
def test_some_layers_and_tokens(lab: Lab, look: dict[str, object]) -> None:
    notebook = open_explorer(lab, height=2200, **look)
    expect(part(notebook, ".pw-x-prompts")).to_contain_text("This pair varies")
    layers, tokens = (part(notebook, ".pw-x-subset input").nth(i) for i in (0, 1))
    layers.fill("0-9")
    layers.press("Enter")
    expect(part(notebook, ".pw-x-told-subset").first).to_contain_text("Layer 4 does not exist")
    notebook.screenshot(f"subset_refused_{look['theme']}", part(notebook, ".pw-x-root"))
    layers.fill("1-3")
    layers.press("Enter")
    tokens.fill("Anna, John")
    tokens.press("Enter")
    expect(tokens).to_have_value("2, 4, 10")
    press(notebook, "Run")
    expect(part(notebook, ".pw-x-progress-text")).to_contain_text("9 of 9 cells, in")
    shape = notebook.kernel_eval("list(explorer.result.data['patched'].shape)")
    assert shape == [1, 3, 3]
    grid = part(notebook, ".pw-x-main .pw-heatmap [role=grid]").first
    assert [grid.get_attribute(f"aria-{axis}count") for axis in ("row", "col")] == ["3", "3"]
    notebook.screenshot(f"subset_{look['theme']}", part(notebook, ".pw-x-root"))
    press(notebook, "pattern")
    expect(tokens).to_be_disabled()


@pytest.mark.parametrize("look", [{"theme": "light", "width": 1400}, {"theme": "dark", "width": 760}])
def test_two_models_side_by_side(lab: Lab, look: dict[str, object]) -> None:
    notebook = lab.open_notebook([AGAINST], height=3000, **look)
    notebook.run_cell(0)
    notebook.page.wait_for_selector(".pw-x-main .pw-heatmap canvas")
    notebook.settle()
    press(notebook, "Run")
    maps = part(notebook, ".pw-x-against .pw-heatmap canvas")
    expect(maps.first).to_be_visible()
    notebook.wait_for("explorer.against is not None")
    alone = "pw.patch(other, explorer._entry.pair, 'resid_pre').wait().normalized"
    far = notebook.kernel_eval(f"float(abs(explorer.against.normalized - {alone}).max())")
    assert far < 1e-5
    notebook.page.mouse.move(0, 0)
    notebook.screenshot(f"against_{look['theme']}", part(notebook, ".pw-x-root"))


def test_the_menu_has_what_the_model_cannot_do_too(lab: Lab) -> None:
    notebook = lab.open_notebook([OPEN.format(what="")])
    notebook.run_cell(0)
    part(notebook, ".pw-x-head select").last.select_option(label="Addition")
    expect(part(notebook, ".pw-x-prompts")).to_contain_text("which the embedded one does not")
