"""Every prompt has corruption kinds: the pair as entered, and one token replaced at a time; or it is said why not."""

from __future__ import annotations

import html
import threading

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets.explorer.menu import MENU
from patchwidgets.explorer.token_kinds import FLOOR, MOST

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

CAPITALS = pw.preset("Capitals").pair
ANSWERS = ("answer", "foil")


def enter(explorer, pair: pw.PromptPair, **more: object) -> None:
    prompts = {name: getattr(pair, name) for name in ("clean", "corrupted", "answer", "foil")}
    explorer.settings = {**prompts, **more}
    explorer.wait()


def run_all(explorer):
    explorer._multiples.start.click()
    explorer.wait()
    return explorer._multiples


def said(line) -> str:
    return html.unescape(line.value)


def names(panel) -> list[str]:
    return [member.kind.name for member in panel._members]


def farthest(model, clean: str, answer: str | None = None):
    """Return the replacement of every position that displaces the answer, the farthest first, by the suggestions."""
    table = pw.suggest_corrupted(model, clean, answer=answer)
    table["name"] = [f"{row.pos} '{row.token}' \u2192 '{row.replacement}'" for row in table.itertuples()]
    moves = table[(table["foil_corrupted"] > table["answer_corrupted"]) & (table["moved"] >= FLOOR)]
    return moves.loc[moves.groupby("pos")["moved"].idxmax()].sort_values("moved", ascending=False)


def alone(model, pair: pw.PromptPair, site: str = "resid_pre", **more: object) -> np.ndarray:
    return pw.patch(model, pair, site, **more).wait().normalized.values[0]


@pytest.mark.parametrize("preset", ["Capitals", "Leaders", "Surnames", "Docstring"])
def test_every_map_is_that_of_its_own_pair(model, explorer, preset):
    entered = pw.preset(preset).pair
    enter(explorer, entered)
    panel = run_all(explorer)
    best = farthest(model, entered.clean, entered.answer)
    best = best[best["corrupted"] != entered.corrupted][:MOST]
    pairs = {"as entered": entered} | {
        row.name: pw.PromptPair(entered.clean, row.corrupted, answer=entered.answer, foil=row.foil)
        for row in best.itertuples(index=False)
    }
    assert names(panel) == list(pairs)
    maps = {name: alone(model, pair) for name, pair in pairs.items()}
    for member in panel._members:
        name = member.kind.name
        np.testing.assert_allclose(member.map.view.array("normalized"), maps[name], rtol=0, atol=1e-4)
        assert member.map.view.words["title"] == f"{name}, foil '{pairs[name].foil.strip()}'"
    tokens = {name: model.to_tokens(pair.corrupted)[0] for name, pair in pairs.items()}
    clean = model.to_tokens(entered.clean)[0]
    reached = np.zeros_like(maps["as entered"])
    for name in pairs:
        reached[:, int((clean != tokens[name]).int().argmax()) :] += 1
    hits = sum((np.abs(values) >= 0.3).astype(int) for values in maps.values())
    np.testing.assert_array_equal(panel.summary.array("effect"), hits)
    np.testing.assert_array_equal(panel.summary.array("patched"), reached)
    np.testing.assert_allclose(panel.summary.array("normalized"), hits / np.maximum(1, reached), atol=1e-6)
    every = int(((hits == reached) & (reached > min(1, len(pairs) - 1))).sum())
    assert f"Cells found by {len(pairs)} kinds at |recovered| \u2265 0.3: {every} by all" in said(panel.told)
    assert len(explorer.shelf) == len(pairs)


@pytest.mark.parametrize("preset", ["Capitals", "Induction", "Greater than", "Agreement", "Pronoun"])
def test_of_the_two_runs_one_calls_for_the_answer_and_one_for_the_foil(model, explorer, preset):
    enter(explorer, pw.preset(preset).pair)
    replaced = [member.kind.settings for member in run_all(explorer)._members if member.kind.name != "as entered"]
    assert replaced
    for asked in replaced:
        answer, foil = (model.tokenizer(asked[name], add_special_tokens=False)["input_ids"] for name in ANSWERS)
        with torch.no_grad():
            clean, corrupted = (model(model.to_tokens(asked[name]))[0, -1] for name in ("clean", "corrupted"))
        gaps = [float(row[answer] - row[foil]) for row in (clean, corrupted)]
        assert gaps[0] > 0 > gaps[1]
        assert gaps[0] - gaps[1] >= FLOOR
        corrupted[answer] = -torch.inf
        assert int(corrupted.argmax()) == foil[0]


def test_what_leaves_the_answer_in_place_is_not_run_and_said(model, explorer):
    entered = pw.preset("Leaders").pair
    enter(explorer, entered)
    panel = run_all(explorer)
    table = pw.suggest_corrupted(model, entered.clean, answer=entered.answer)
    moved = farthest(model, entered.clean, entered.answer)
    still = table[~table["pos"].isin(moved["pos"])]
    row = still.loc[still["moved"].idxmax()]
    assert row["answer_corrupted"] > row["foil_corrupted"]
    told = f"{row['pos']} '{row['token']}' \u2192 '{row['replacement']}'"
    assert f"Not so, and not run: {told} (by {row['moved']:.2f}, {row['answer_corrupted']:.0%} left)" in said(
        panel.chosen
    )
    assert not {int(name.split()[0]) for name in names(panel)[1:]} & set(still["pos"])
    assert f"by {FLOOR:g} logit or more" in said(panel.chosen)


@pytest.mark.parametrize("preset", MENU, ids=lambda preset: preset.name)
def test_every_preset_gives_maps_or_says_why_not(explorer, preset):
    enter(explorer, preset.pair)
    panel = run_all(explorer)
    for member in panel._members:
        assert np.isfinite(member.map.view.array("normalized")).all() or "hardly differ" in member.note
        assert member.map.view.state == "done"
    assert panel._members or said(panel.error)
    assert not panel.start.disabled


def test_a_model_that_does_not_add_is_told_so(explorer):
    enter(explorer, next(preset.pair for preset in MENU if preset.name == "Addition"))
    panel = run_all(explorer)
    assert "as entered" not in names(panel)
    assert "The pair as entered is not run: it moves '7' over '9' by" in said(panel.chosen)


def test_an_answer_the_model_never_gives_leaves_nothing_to_run(model, explorer):
    with torch.no_grad():
        last = int(model(model.to_tokens(CAPITALS.clean))[0, -1].argmin())
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, "", answer=last), str)
    panel = run_all(explorer)
    assert panel._members == []
    assert said(panel.error).startswith("No replaced token makes the model put another above the answer")
    assert "No corrupted prompt is entered. Not so, and not run: " in said(panel.error)


def test_an_answer_the_model_does_not_know_is_refused_in_words(explorer):
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, CAPITALS.corrupted, answer=" Zanzibar", foil=" Rome"), str)
    panel = run_all(explorer)
    assert panel._members == []
    assert "The answer ' Zanzibar' is not in this model's vocabulary" in said(panel.error)


def test_without_a_corrupted_prompt_tokens_are_replaced_all_the_same(model, explorer):
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, "", answer=" Paris"), str)
    panel = run_all(explorer)
    best = farthest(model, CAPITALS.clean)
    assert names(panel) == best["name"].tolist()[:MOST]
    assert "No corrupted prompt is entered." in said(panel.chosen)


def test_without_an_answer_the_models_first_choice_is_read(explorer):
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, ""), str)
    panel = run_all(explorer)
    assert panel._members
    assert {member.kind.settings["answer"] for member in panel._members} == {"Paris"}


def test_a_pair_without_a_foil_has_the_corrupted_prompts_first_choice(explorer, model):
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, CAPITALS.corrupted, answer=" Paris"), str)
    panel = run_all(explorer)
    assert names(panel)[0] == "as entered"
    first = int(model(model.to_tokens(CAPITALS.corrupted))[0, -1].argmax())
    assert panel._members[0].plan.pair.foil == first


def test_a_foil_that_is_the_answer_is_not_run_and_said(explorer):
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, CAPITALS.corrupted, answer=" Paris", foil=" Paris"), str)
    panel = run_all(explorer)
    assert panel._members
    assert "as entered" not in names(panel)
    assert "answer and foil are the same token" in said(panel.chosen)


def test_a_pair_that_hardly_moves_is_not_run_and_said(model, explorer):
    corrupted = "The capital of France is".replace("The", "the")
    pair = pw.PromptPair(CAPITALS.clean, corrupted, answer=" Paris", foil=" Rome")
    result = pw.patch(model, pair, "embed").wait()
    gap = float(result.clean) - float(result.corrupted)
    assert abs(gap) < FLOOR
    enter(explorer, pair)
    panel = run_all(explorer)
    assert "as entered" not in names(panel)
    assert f"it moves 'Paris' over 'Rome' by {gap:.2f} logits, less than" in said(panel.chosen).replace("\u2212", "-")


def test_a_metric_without_a_foil(model, explorer):
    enter(explorer, pw.PromptPair(CAPITALS.clean, CAPITALS.corrupted, answer=" Paris"), metric="prob")
    panel = run_all(explorer)
    assert names(panel)[0] == "as entered"
    assert [member.map.view.words["title"] for member in panel._members] == names(panel)
    for member in panel._members:
        pair = pw.PromptPair(CAPITALS.clean, member.kind.settings["corrupted"], answer=" Paris")
        expected = alone(model, pair, metric="prob")
        np.testing.assert_allclose(member.map.view.array("normalized"), expected, rtol=0, atol=1e-4)


def test_a_metric_in_which_the_runs_are_equal_is_not_counted(explorer):
    explorer.settings = {"clean": "Today the key to the cabinets", "corrupted": "Today the keys to the cabinets"}
    enter(explorer, pw.preset("Agreement").pair, metric="rank")
    panel = run_all(explorer)
    equal = [member for member in panel._members if "hardly differ" in member.note]
    counted = len(panel._members) - len(equal)
    assert all("Not counted: there is no normalized effect." in member.note for member in equal)
    expected = f"found by {counted} kinds" if counted else "None of the kinds can be counted."
    assert expected in said(panel.told)


def test_of_several_answers_none_is_chosen(explorer):
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, CAPITALS.corrupted, answer=[" Paris", " Rome"]), str)
    assert "told apart by one answer token" in said(run_all(explorer).error)
    explorer._entry.set(pw.PromptPair(CAPITALS.clean, CAPITALS.corrupted, answer=pw.Continuation(" Paris .")), str)
    assert "told apart by one answer token" in said(run_all(explorer).error)


def test_token_ids_are_refused_in_words(model, explorer):
    ids = [model.to_tokens(text)[0].tolist() for text in (CAPITALS.clean, CAPITALS.corrupted)]
    enter(explorer, pw.PromptPair(*ids, answer=" Paris", foil=" Rome"))
    panel = run_all(explorer)
    assert "the clean prompt is token ids; type it." in said(panel.error)
    assert panel._members == []


def test_prompts_of_other_lengths_are_drawn_and_not_counted(model, explorer):
    pair = pw.PromptPair(CAPITALS.clean, "The capital city of Italy is", answer=" Paris", foil=" Rome")
    enter(explorer, pair)
    panel = run_all(explorer)
    entered, *rest = panel._members
    assert entered.kind.name == "as entered"
    assert rest
    assert "Not counted: its prompts are of unequal lengths" in entered.map.view.words["note"]
    assert f"Cells found by {len(rest)} kinds" in said(panel.told)
    assert panel.summary.shape == rest[0].map.view.shape != entered.map.view.shape
    explorer.settings = {"site": "z"}
    explorer.wait()
    panel = run_all(explorer)
    assert f"Cells found by {len(rest) + 1} kinds" in said(panel.told)
    expected = alone(model, pair, "z", align="auto")
    np.testing.assert_allclose(panel._members[0].map.view.array("normalized"), expected, rtol=0, atol=1e-4)


def test_chosen_layers_and_tokens(model, explorer):
    enter(explorer, CAPITALS, layers=[1, 2], positions=[2, 3], direction="noise")
    panel = run_all(explorer)
    replaced = {name: int(name.split()[0]) for name in names(panel) if name != "as entered"}
    assert replaced
    assert max(replaced.values()) <= 3
    best = farthest(model, CAPITALS.clean)
    later = best[best["pos"] > 3]["name"].tolist()
    assert later
    assert f"Not run, as no token chosen is at it or after it: {later[0]}" in said(panel.chosen)
    for member in panel._members:
        pair = pw.PromptPair(*(member.kind.settings[name] for name in ("clean", "corrupted")), answer=" Paris",
                             foil=member.kind.settings["foil"])  # fmt: skip
        expected = alone(model, pair, layers=[1, 2], positions=[2, 3], direction="noise")
        np.testing.assert_allclose(member.map.view.array("normalized"), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("corrupted", [CAPITALS.corrupted, ""])
def test_what_was_typed_last_is_run_also_where_it_is_no_pair_yet(explorer, monkeypatch, corrupted):
    monkeypatch.setattr("patchwidgets.explorer.explorer._PAUSE", 600.0)
    explorer._entry.clean.value = CAPITALS.clean
    explorer._entry.corrupted.value = corrupted
    explorer._entry.answer.field.value = explorer._entry.foil.field.value = ""
    panel = run_all(explorer)
    assert {member.kind.settings["clean"] for member in panel._members} == {CAPITALS.clean}
    assert all(member.whole for member in panel._members)
    assert ("No corrupted prompt is entered." in said(panel.chosen)) == (not corrupted)


def test_what_is_wrong_with_every_kind_is_said_once(explorer):
    enter(explorer, CAPITALS)
    explorer.settings = {"intervention": "mask", "metric": "rank"}
    explorer.wait()
    panel = run_all(explorer)
    assert said(panel.error).count("rank") == 1
    assert said(panel.error).startswith("as entered, ")
    assert panel._members == []
    assert panel.maps.children == ()
    assert not panel.start.disabled


def test_measuring_holds_nobody_up_and_can_be_cancelled(explorer, brake):
    enter(explorer, CAPITALS)
    brake.on()
    panel = explorer._multiples
    panel.start.click()
    brake.until_reached()
    assert said(panel.told) == "Measuring \u2026"
    assert explorer._lock.acquire(blocking=False)
    explorer._lock.release()
    assert panel.start.disabled
    assert not panel.stop.disabled
    panel.stop.click()
    assert (said(panel.told), panel.start.disabled) == ("", False)
    brake.off()
    explorer.wait()
    assert panel._members == []
    assert explorer.shelf == []
    assert run_all(explorer)._members


def test_the_latest_request_wins(explorer, brake):
    enter(explorer, pw.preset("Leaders").pair)
    brake.on()
    panel = explorer._multiples
    panel.start.click()
    brake.until_reached()
    explorer._entry.set(CAPITALS, str)
    panel.run_all()
    brake.off()
    explorer.wait()
    assert {member.kind.settings["clean"] for member in panel._members} == {CAPITALS.clean}
    assert all(member.whole for member in panel._members)
    assert all("Leaders" not in str(entry.settings) for entry in explorer._shelf.entries)


def test_closing_while_it_measures(model, brake, caplog):
    other = pw.explore(model, CAPITALS)
    other.wait()
    brake.on()
    other._multiples.start.click()
    brake.until_reached()
    worker = next(iter(other._worker._pool._threads))
    other.close()
    brake.off()
    worker.join(30)
    assert not worker.is_alive()
    assert other._multiples._members == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_search_that_is_to_stop_ends_between_two_batches(model, monkeypatch):
    from patchwidgets import suggest
    from patchwidgets.engine.handle import handle_of

    monkeypatch.setattr(suggest, "_BATCH_TOKENS", 1)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(threading.get_ident())
        return len(asked) > 2

    found = suggest.suggestions(handle_of(model), CAPITALS.clean, stop=stop)
    every = suggest.suggestions(handle_of(model), CAPITALS.clean)
    assert len(found) == 2
    assert set(found) <= set(every)
