"""Help with the prompts: nearest tokens, whether the model is right, what varies, suggested corrupted prompts."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path

import pytest
import torch
from ipywidgets.widgets.widget import _instances
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Metaspace
from transformers import PreTrainedTokenizerFast

import patchwidgets as pw
from patchwidgets.encoding import encode_prompts
from patchwidgets.engine.handle import handle_of
from patchwidgets.explorer.menu import MENU
from patchwidgets.explorer.varying import stated
from patchwidgets.presets import PRESETS
from tests import models

DEMO = PRESETS[0].pair


def said(line) -> str:
    """The words of a line, without its markup."""
    return html.unescape(re.sub(r"<[^>]*>", "", line.value))


def press(button) -> None:
    button._handle_button_msg(None, {"event": "click"}, None)


def share(model, text: str, token: str) -> tuple[int, float]:
    """The place and the probability of a token after a text, by a plain pass."""
    with torch.no_grad():
        chances = model(model.to_tokens(text))[0, -1].softmax(-1)
    one = chances[model.tokenizer(token, add_special_tokens=False)["input_ids"][0]]
    return int((chances > one).sum()) + 1, float(one)


def test_a_right_answer_is_said(explorer, model):
    place, chance = share(model, DEMO.clean, " Mary")
    assert place == 1
    assert f"Clean: 'Mary' is the model's first choice, {chance:.0%}" in said(explorer._entry.verdict)
    assert "Corrupted: 'Anna' is the model's first choice" in said(explorer._entry.verdict)


def test_a_wrong_answer_is_said_with_its_place(explorer, model):
    explorer._entry.answer.field.value = " John"
    explorer.wait()
    place, chance = share(model, DEMO.clean, " John")
    told = said(explorer._entry.verdict)
    assert re.search(rf"'John' is the model's {place}(st|nd|rd|th) choice", told)
    assert "explains little" in told
    assert "its first: 'Mary'" in told
    assert chance < 0.5


def test_what_the_model_chose_is_said_and_that_it_changed(explorer):
    entry, own = explorer._entry, "the model's own choice"
    assert own not in said(entry.verdict)  # a preset's answers
    entry.clean.value, entry.corrupted.value = "The capital of France is", "The capital of Italy is"
    explorer.wait()
    both = "Answer and foil are the model's own choice"
    before = "before, the answer was '\u00b7Mary' and the foil was '\u00b7Anna'"
    assert said(entry.verdict).startswith(f"{both}; {before}. ")
    entry.clean.value = "The capital of Spain is"
    explorer.wait()
    assert said(entry.verdict).startswith(f"{both}; before, the answer was 'Paris'. ")
    entry.corrupted.value = "The capital of Italy is "
    explorer.wait()
    assert said(entry.verdict).startswith(f"{both}. ")
    explorer.settings = {"clean": "The capital of France is"}
    explorer.wait()
    assert said(entry.verdict).startswith(f"{both}; before, the answer was 'Madrid'. ")
    entry.answer.field.value = "Madrid"
    explorer.wait()
    assert said(entry.verdict).startswith("The foil is the model's own choice. ")
    entry.foil.field.value = "Berlin"
    explorer.wait()
    assert own not in said(entry.verdict)
    entry.answer.field.value = ""
    entry.clean.value = "The capital of Spain is"
    explorer.wait()
    assert said(entry.verdict).startswith("The answer is the model's own choice. ")


def test_a_pair_that_does_not_move_the_answer_is_said(explorer):
    explorer._entry.corrupted.value = DEMO.clean.replace("drink", "book")
    explorer.wait()
    explorer._entry.foil.field.value = " John"
    explorer.wait()
    assert "; the answer is still first." in said(explorer._entry.verdict)


@pytest.mark.parametrize(
    ("clean", "corrupted", "told"),
    [
        (
            DEMO.clean, DEMO.corrupted,
            "This pair varies 'Mary' to 'Anna' at 2; the other 14 tokens are the same in both prompts.\nBefore 'Mary' "
            "at 2 the runs are the same, so patching one into the other moves nothing there.\nPatched from one run "
            "into the other, a part that does the same in both cannot show",
        ),
        (
            "red dog key sun red", "key dog red sun red",
            "varies 'red' to 'key' at 1, 'key' to 'red' at 3; the other 4 tokens are the same in both prompts.\nBoth "
            "have the same tokens in another order",
        ),
        (
            "The capital of France is", "The first capital of Italy is",
            "varies 'first', in the corrupted prompt alone, at 2, 'France' to 'Italy' at 4; the other 5 tokens are",
        ),
        ("Mary gave", "Anna met", "varies 'Mary gave' to 'Anna met' at 1 to 2; the other 1 token is the same"),
    ],
)  # fmt: skip
def test_what_a_pair_varies_is_read_off_its_tokens(model, clean, corrupted, told):
    pair = encode_prompts(pw.PromptPair(clean, corrupted), handle_of(model).tokenizer, align="auto")
    parts = stated(pair)
    words = "".join(part if isinstance(part, str) else part[0] for part in parts)
    assert told in words
    named = [part[0] for part in parts if part[-1] == "pw-x-token"]
    assert {f"'{name}'" for name in re.findall(r"'([^']+)'", told)} <= set(named)
    assert ("without a counterpart" in words) is (len(pair.clean) != len(pair.corrupted))


def test_it_is_on_screen_for_presets_and_for_typed_pairs(explorer):
    assert said(explorer._entry.note) == PRESETS[0].note
    assert said(explorer._entry.stated).startswith("This pair varies 'Mary' to 'Anna' at 2;")
    explorer._entry.corrupted.value = DEMO.clean.replace("Mary", "Alice")
    explorer.wait()
    assert said(explorer._entry.note) == ""
    assert said(explorer._entry.stated).startswith("This pair varies 'Mary' to 'Alice' at 2;")
    explorer._entry.corrupted.value = ""
    explorer.wait()
    assert said(explorer._entry.stated) == said(explorer._entry.verdict) == ""


@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
@pytest.mark.parametrize("preset", MENU, ids=lambda preset: preset.name)
def test_every_entry_of_the_menu_can_be_run(explorer, preset):
    explorer._entry.preset.value = preset.name
    explorer.run()
    result = explorer.wait()
    assert result.provenance["prompts"]["clean"] == preset.pair.clean
    assert said(explorer._entry.note) == preset.note


def test_the_menu_has_every_corruption_kind_and_every_task(explorer):
    names = [preset.name for preset in MENU]
    assert len(set(names)) == len(names)
    for kind in ("CDD", "BAA", "BAB", "DCD", "name replaced", "subject flipped"):
        assert f"IOI, {kind}" in names
    for task in ("Induction", "Capitals", "Leaders", "Greater than", "Docstring", "Addition"):
        assert task in names


@pytest.mark.parametrize(("kind", "reading"), [("CDD", "CDD"), ("BAA", "BAA"), ("BAB", "BAB"), ("DCD", "DCD")])
def test_the_kinds_read_as_they_are_called(kind, reading):
    corrupted = next(preset for preset in MENU if preset.name == f"IOI, {kind}").pair.corrupted
    letters = {"Mary": "A", "John": "B", "Anna": "C", "Tom": "D"}
    assert "".join(letters[word] for word in re.findall(r"\w+", corrupted) if word in letters) == reading


def test_the_nearest_token_is_entered_by_a_button(explorer):
    explorer._entry.answer.field.value = "Mary John"
    explorer.wait()
    near = explorer._entry.answer.near
    assert near.layout.display is None
    assert near.description == "use Mary"
    press(near)
    explorer.wait()
    assert explorer.settings["answer"] == "Mary"
    assert near.layout.display == "none"
    assert explorer._entry.answer.error.value == ""


def test_a_word_nobody_knows_gets_the_one_that_begins_like_it(explorer):
    explorer._entry.answer.field.value = "Marylou"
    explorer.wait()
    assert explorer._entry.answer.near.description == "use \u00b7Mary"
    explorer._entry.corrupted.value = DEMO.clean.replace("Mary", "Annabel")
    explorer.wait()
    rows = explorer._entry.near["corrupted"].box.children
    assert [said(row.children[0]) for row in rows] == [
        "the model does not know 'Annabel'; the nearest word it knows:",
    ]
    press(rows[0].children[1])
    explorer.wait()
    assert explorer._entry.corrupted.value == DEMO.corrupted
    assert explorer._entry.near["corrupted"].box.layout.display == "none"


def test_suggestions_come_from_the_clean_prompt_alone(explorer, model):
    explorer._entry.corrupted.value = ""
    explorer.wait()
    panel = explorer._suggesting
    press(panel.start)
    explorer.wait()
    expected = pw.suggest_corrupted(model, DEMO.clean)
    assert [one.corrupted for one in panel.found] == expected["corrupted"].tolist()
    assert len(panel.rows.children) == 8
    button, line = panel.rows.children[0].children
    best = expected.iloc[0]
    assert button.description == f"{best['token']} \u2192 {best['replacement']}"
    assert f"moves it by {best['moved']:.2f}" in said(line)
    assert f"'Mary' {best['answer_clean']:.0%} to {best['answer_corrupted']:.0%}" in said(line)


def test_one_click_enters_a_suggestion_with_the_two_runs_first_choices(explorer):
    explorer._entry.answer.field.value = " John"
    press(explorer._suggesting.start)
    explorer.wait()
    best = explorer._suggesting.found[0]
    press(explorer._suggesting.rows.children[0].children[0])
    explorer.wait()
    assert explorer.settings["clean"] == DEMO.clean
    assert explorer.settings["corrupted"] == best.corrupted
    assert (explorer.settings["answer"], explorer.settings["foil"]) == (best.answer, best.foil)
    result = explorer.run().wait()
    gap = float(result.clean.sel(metric="logit_diff")) - float(result.corrupted.sel(metric="logit_diff"))
    assert gap == pytest.approx(best.moved, abs=1e-4)
    assert explorer._suggesting.rows.children  # others can be tried


def test_a_token_of_the_strip_can_be_chosen(explorer):
    panel, strip = explorer._suggesting, explorer._aligning.strip
    strip._handle({"type": "select", "pos": 10})
    explorer.wait()
    assert not panel.found  # nothing was asked for
    press(panel.start)
    explorer.wait()
    assert explorer._aligning.box.layout.display is None
    strip._handle({"type": "select", "pos": 10})
    explorer.wait()
    assert {one.position for one in panel.found} == {10}
    assert panel.where.value == 10
    strip._handle({"type": "select", "pos": 9})
    explorer.wait()
    assert "is neither a word nor a number" in said(panel.error)
    press(panel.hide)
    assert panel.where.layout.display == "none"
    assert explorer._aligning.box.layout.display == "none"


def test_another_clean_prompt_puts_suggestions_away(explorer):
    press(explorer._suggesting.start)
    explorer.wait()
    explorer._entry.clean.value = "The capital of France is"
    assert explorer._suggesting.rows.children == ()
    press(explorer._suggesting.start)
    explorer.wait()
    assert {one.token for one in explorer._suggesting.found} <= {"capital", "France", "The"}


def test_what_is_offered_no_more_is_closed(explorer):
    def ids(rows) -> set[str]:
        return {widget.model_id for row in rows for widget in (row, *row.children)}

    press(explorer._suggesting.start)
    explorer.wait()
    offered = ids(explorer._suggesting.rows.children)
    explorer._entry.clean.value = DEMO.clean.replace("drink", "drinkk")
    explorer.wait()
    offered |= ids(explorer._entry.near["clean"].box.children)
    explorer._entry.clean.value = DEMO.clean
    explorer.wait()
    assert len(offered) == 9 * 3
    assert not offered & set(_instances)


def test_markup_in_a_prompt_stays_text(explorer):
    explorer._entry.clean.value = DEMO.clean.replace("drink", "<b>drink</b>")
    press(explorer._suggesting.start)
    explorer.wait()
    for row in explorer._suggesting.rows.children:
        assert "<b>" not in row.children[1].value.replace("<span", "")


@pytest.mark.smollm2
def test_a_name_of_several_tokens_gets_its_nearest(smollm2_folder: Path):
    model = pw.load_model(smollm2_folder)
    explorer = pw.explore(model, DEMO)
    explorer._entry.corrupted.value = DEMO.clean.replace("Mary", "Zbigniew")
    explorer.wait()
    rows = explorer._entry.near["corrupted"].box.children
    ids = model.tokenizer(" Zbigniew", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    assert said(rows[0].children[0]).startswith(f"'Zbigniew' is {len(ids)} tokens; the nearest word of one token:")
    press(rows[0].children[1])
    explorer.wait()
    assert explorer._encoded.alignment is None
    explorer.close()


def spaced(explorer, name):
    """What is offered in place of an answer without its space: the line, and the button's words."""
    found = getattr(explorer._entry, name).spaced
    return said(found.told), found.button.description


def test_an_answer_nobody_knows_has_no_rating(explorer):
    assert "'Mary' is" in said(explorer._entry.verdict)
    explorer._entry.answer.field.value = "Marylou"
    explorer.wait()
    assert "not in this model's vocabulary" in said(explorer._entry.answer.error)
    assert said(explorer._entry.verdict).startswith("The foil is the model's own choice. Corrupted: 'Anna' is")
    assert "UNK" not in said(explorer._entry.verdict)


def test_a_foil_without_its_space_is_offered_with_it_where_that_is_far_likelier():
    """A tiny model whose words have a space of their own; which of them are likelier, its own logits say."""
    words = ["[UNK]", "[BOS]", *(f"{lead}w{i}" for i in range(19) for lead in ("\u2581", ""))]
    pieces = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    pieces.pre_tokenizer, pieces.decoder = Metaspace(prepend_scheme="never"), decoders.Metaspace(prepend_scheme="never")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="[UNK]", bos_token="[BOS]")
    with pytest.warns(UserWarning, match="bridged in place"):
        model = pw.load_model(models.hugging_face(), tokenizer=tokenizer)
    explorer = pw.explore(model, pw.PromptPair("w1 w2", "w3 w2"))
    explorer.wait()
    row = explorer._form.offers(explorer._encoded).rows[1]
    gain = {i: float(row[words.index(f"\u2581w{i}")] - row[words.index(f"w{i}")]) for i in range(19)}
    most, least = max(gain, key=gain.__getitem__), min(gain, key=gain.__getitem__)
    assert gain[most] > math.log(10) > 0 > gain[least]

    explorer._entry.foil.field.value = f"w{least}"
    explorer.wait()
    assert spaced(explorer, "foil") == ("", "")
    explorer._entry.foil.field.value = f"w{most}"
    explorer.wait()
    told = f"The foil 'w{most}' has no space before it; here '\u00b7w{most}' is more than ten times as likely."
    assert spaced(explorer, "foil") == (told, f"use \u00b7w{most}")
    assert spaced(explorer, "answer") == ("", "")
    assert f"'w{most}' is the model's" in said(explorer._entry.verdict)
    explorer._entry.clean.value = ""
    explorer.wait()
    assert spaced(explorer, "foil") == ("", "")
    explorer._entry.clean.value = "w1 w2"
    explorer.wait()
    press(explorer._entry.foil.spaced.button)
    explorer.wait()
    assert explorer.settings["foil"] == f" w{most}"
    assert spaced(explorer, "foil") == ("", "")
    explorer.close()


def test_what_is_of_prompts_that_cannot_be_read_is_dimmed(explorer):
    pills = [explorer._entry.answer.pills, explorer._entry.foil.pills]
    explorer._entry.clean.value = "Mary"
    explorer._entry.corrupted.value = ""
    explorer.wait()
    assert "pw-x-stale" in explorer._aligning.strip._dom_classes
    assert [each.disabled for each in pills] == [True, True]
    explorer._entry.corrupted.value = "Anna"
    explorer.wait()
    assert "pw-x-stale" not in explorer._aligning.strip._dom_classes
    assert [each.disabled for each in pills] == [False, False]
    explorer._entry.foil.field.value = "two words"
    explorer.wait()
    assert said(explorer._entry.foil.error)
    assert "pw-x-stale" not in explorer._aligning.strip._dom_classes
    assert [each.disabled for each in pills] == [False, False]
