"""Cells gathered on the map and patched together: the numbers are a Joint's of its own, the words follow from them."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import patchwidgets as pw
from patchwidgets import generators, stats
from patchwidgets.explorer import gathering
from patchwidgets.explorer.together import Together, spelled, told
from patchwidgets.views import Heatmap, label_columns
from tests import models
from tests.explorer.conftest import end_meanwhile

A, B = (1, 4), (3, 14)


@pytest.fixture
def measured(explorer):
    explorer.run()
    explorer.wait()
    return explorer


def gather(explorer, row, col, **more):
    explorer._map.view._handle({"type": "gather", "row": row, "col": col, **more})


def together(explorer):
    explorer._gathering.patch.click()
    explorer.wait()
    return explorer.together


def cells_of(explorer):
    return list(zip(explorer.selection["layer"], explorer.selection["pos"], strict=True))


def joint(model, pair, sets, **more):
    """The normalized effects of sets of cells, by a sweep of their own through hooks."""
    result = pw.patch(model, pair, pw.Joint(sets), engine="hooked", **more).wait()
    return dict(zip(sets, result.normalized.values[0].tolist(), strict=True))


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_numbers_are_those_of_a_joint_sweep_and_of_the_map(explorer, model, direction):
    explorer.settings = {"site": "z", "by": ["layer", "head"], "direction": direction}
    explorer.run()
    explorer.wait()
    own = explorer.result.to_dataframe().set_index(["layer", "head"])["normalized"]
    first, second = own.abs().nlargest(2).index
    for layer, head in (first, second):
        gather(explorer, layer, head)
    result = together(explorer)
    cells = {
        name: [("z", {"layer": layer, "head": head})] for name, (layer, head) in zip("ab", (first, second), strict=True)
    }
    asked = joint(model, explorer_pair(explorer), {**cells, "both": [*cells["a"], *cells["b"]]}, direction=direction)
    found = result.select("logit_diff").normalized.values[0]
    np.testing.assert_allclose(found, list(asked.values()), atol=1e-4)
    np.testing.assert_allclose(found[:2], [own[first], own[second]], atol=1e-4)
    excess = asked["both"] - asked["a"] - asked["b"]
    shown = [f"{value:.2f}".replace("-", "\u2212") for value in (*found, found[0] + found[1], excess)]
    for value in shown:
        assert f"<td>{value}</td>" in explorer._gathering.table.value
    said = explorer._gathering.said.value
    verb = "recover" if direction == "denoise" else "destroy"
    assert f"Together they {verb} {abs(excess):.2f} of the gap {'more' if excess > 0 else 'less'} than" in said
    assert "important" not in said


def explorer_pair(explorer):
    settings = explorer.settings
    return pw.PromptPair(**{name: settings[name] for name in ("clean", "corrupted", "answer", "foil")})


def test_the_selection_has_a_row_per_gathered_cell_and_then_the_selected_one(measured, select):
    for cell in (A, B):
        gather(measured, *cell)
    assert cells_of(measured) == [A, B]
    table = measured.result.to_dataframe().set_index(["layer", "pos"])
    for row in measured.selection.itertuples():
        assert row.patched == table.loc[(row.layer, row.pos), "patched"]
    gather(measured, *A)
    assert cells_of(measured) == [B]
    select(measured._map.view, 2, 14)
    measured.wait()
    assert cells_of(measured) == [B]
    measured._gathering.clear_button.click()
    assert cells_of(measured) == [(2, 14)]
    assert measured._map.view.gathered == []


def test_the_first_cell_gathered_takes_the_open_one_along(measured, select):
    select(measured._map.view, *A)
    gather(measured, *B)
    assert cells_of(measured) == [A, B]
    gather(measured, *A)
    assert cells_of(measured) == [B]
    gather(measured, 2, 10)
    assert cells_of(measured) == [B, (2, 10)]
    measured._gathering.clear_button.click()
    gather(measured, *A)
    assert cells_of(measured) == [A]


def test_a_range_is_gathered_from_the_keyboards_cell(measured):
    gather(measured, 3, 12, **{"from": [2, 11]})
    assert cells_of(measured) == [(2, 11), (2, 12), (3, 11), (3, 12)]
    for wrong in ([2], "ab", [99, 0], [True, 0], {"row": 1}):
        gather(measured, 0, 4, **{"from": wrong})
    assert len(measured.selection) == 4


def test_gathered_cells_stay_in_another_metric_and_go_with_the_map(measured, model):
    for cell in (A, B):
        gather(measured, *cell)
    run = (together(measured), measured._gathering.run)[1]
    measured.settings = {"metric": "prob"}
    measured.wait()
    assert len(measured.selection) == 2
    assert measured._gathering.run is run
    assert measured._map.view.gathered
    found = measured.together.select("prob").normalized.values[0][-1]
    assert f"{found:.2f}" in measured._gathering.table.value
    assert measured._gathering.said.value.endswith(
        "Effects in prob need not add up even of parts that act apart: it is no linear function of the logits."
    )
    measured.settings = {"direction": "noise"}
    measured.wait()
    assert measured._map.view.gathered == []
    assert measured.selection is None
    assert measured.together is None
    assert measured._gathering.box.layout.display == "none"


def test_what_one_cell_overwrites_of_another_is_said(measured):
    for row in (1, 2, 3):
        gather(measured, row, 14)
    gather(measured, 2, 4)
    assert "At 'to' layer 3 overwrites what layers 1 and 2 put there" in measured._gathering.notes.value.replace(
        "&#x27;", "'"
    )
    result = together(measured).select("logit_diff")
    assert result.data.sizes["set"] == 5
    measured.settings = {"intervention": "noise"}
    measured.run()
    measured.wait()
    for row in (1, 3):
        gather(measured, row, 14)
    assert measured._gathering.notes.value == ""  # noise is added to what is there


def test_of_whole_layers_the_upper_leaves_nothing(explorer):
    explorer.settings = {"by": ["layer"]}
    explorer.run()
    explorer.wait()
    gather(explorer, 0, 0)
    gather(explorer, 2, 0)
    assert "Layer 2 overwrites all that layer 0 puts there" in explorer._gathering.notes.value
    found = together(explorer).select("logit_diff").normalized.values[0]
    assert found[2] == pytest.approx(found[1], abs=1e-4)


def test_a_cell_that_is_none_is_not_gathered(explorer):
    explorer.settings = {"site": "pattern", "by": ["layer", "head", "dest", "src"]}
    explorer.run()
    explorer.wait()
    view = explorer._map.view
    row, col = map(int, np.argwhere(view.array("status") == 4)[0])
    gather(explorer, row, col)
    assert view.gathered == []
    assert "Not gathered: A token does not attend to a later one" in explorer._gathering.error.value


def test_many_are_capped_in_words(measured):
    rows, cols = measured._map.view.shape
    gather(measured, rows - 1, cols - 1, **{"from": [0, 0]})
    assert len(measured._map.view.gathered) == 32
    assert "At most 32 cells are patched together" in measured._gathering.error.value


def test_of_a_large_range_no_more_is_taken_than_is_kept(explorer, monkeypatch):
    explorer.settings = {"site": "pattern", "by": ["layer", "head", "dest", "src"]}
    explorer.run()
    explorer.wait()
    view, asked, held = explorer._map.view, [], []
    why = gathering.why_unavailable
    monkeypatch.setattr(gathering, "why_unavailable", lambda *place: asked.append(place) or why(*place))
    view.observe(lambda change: held.append(len(change["new"])), "gathered")
    rows, cols = view.shape
    gather(explorer, rows - 1, cols - 1, **{"from": [0, 0]})
    assert (held, len(asked)) == ([32], 1)
    assert explorer._gathering.error.value == (
        "At most 32 cells are patched together; the others are left out. Not gathered: A token does not attend to a "
        "later one: there is nothing to change."
    )


def test_the_page_is_told_what_is_gathered_also_where_nothing_was_taken(explorer, monkeypatch):
    """It shows what it has gathered before it is taken."""
    explorer.settings = {"site": "pattern", "by": ["layer", "head", "dest", "src"]}
    explorer.run()
    explorer.wait()
    view, sent = explorer._map.view, []
    monkeypatch.setattr(view, "send_state", lambda key=None: sent.append((key, list(view.gathered))))
    row, col = map(int, np.argwhere(view.array("status") == 4)[0])
    gather(explorer, row, col)
    assert sent == [("gathered", [])]


def test_one_cell_is_not_patched_together(measured):
    gather(measured, *A)
    assert measured._gathering.patch.disabled
    gather(measured, *B)
    assert not measured._gathering.patch.disabled


def test_the_code_of_the_joint_run_is_its_own(measured):
    sent = []
    measured._gathering.copy.send = lambda message: sent.append(message)
    for cell in (A, B):
        gather(measured, *cell)
    measured._gathering.copy._handle({"type": "copy"})
    assert sent == [{"type": "text", "text": None}]
    result = together(measured)
    measured._gathering.copy._handle({"type": "copy"})
    assert sent[1]["text"] == result.code()
    assert "layer 1, pos 4" in sent[1]["text"]


def test_gathering_while_they_are_measured_drops_what_is_measured(measured, brake):
    for cell in (A, B):
        gather(measured, *cell)
    brake.on()
    measured._gathering.patch.click()
    brake.until_reached()
    gather(measured, 2, 10)
    brake.off()
    measured.wait()
    assert measured.together is None
    assert measured._gathering.table.value == ""
    assert len(measured.selection) == 3
    assert together(measured).data.sizes["set"] == 4


def test_what_waits_to_be_patched_together_is_not_begun_after_cancel(measured):
    """The Explorer's thread is busy meanwhile: nothing of it has been planned yet."""
    for cell in (A, B):
        gather(measured, *cell)
    busy = threading.Event()
    measured._worker.submit(lambda: assert_set(busy))
    measured._gathering.patch.click()
    assert measured._gathering.patch.disabled
    assert measured._gathering.patch.description == "Patching together"
    measured.cancel()
    assert not measured._gathering.patch.disabled
    busy.set()
    measured.wait()
    assert measured._gathering.run is None
    assert measured.together is None
    assert together(measured) is not None


def assert_set(event: threading.Event) -> None:
    assert event.wait(60)


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_what_is_being_planned_is_not_begun_after_the_end(measured, hold, end):
    for cell in (A, B):
        gather(measured, *cell)
    planning = hold(gathering, "joint_plan")
    measured._gathering.patch.click()
    end_meanwhile(measured, end, planning)
    assert measured._gathering.run is None
    assert measured.together is None


def test_a_cell_that_is_gathered_while_the_map_changes_is_of_one_map(measured):
    """A message of the page comes when another thread has let go of the old map and not shown the new one yet."""
    inside, told = threading.Event(), threading.Event()
    gather(measured, *A)

    def wait(change):
        if not change["new"]:
            inside.set()
            told.wait(0.5)  # the message must wait until this is over

    def tell() -> None:
        inside.wait(60)
        gather(measured, *B)
        told.set()

    measured._gathering.title.observe(wait, "value")
    other = threading.Thread(target=tell)
    other.start()
    measured.settings = {"site": "z", "by": ["layer", "head"]}
    other.join()
    measured.wait()
    assert measured._map.view.gathered == []
    assert measured._gathering.places == []
    assert measured.selection is None


def said_next(model, tokens, hooks=()):
    """The six likeliest next tokens by id with their probabilities, by TransformerLens alone."""
    logits = model.run_with_hooks(tokens, fwd_hooks=list(hooks))[0, -1]
    found = logits.detach().softmax(-1).topk(6)
    return [(int(i), float(p)) for p, i in zip(*found, strict=True)]


def putting(model, source, cells):
    """Hooks that put what a prompt has at cells of the residual stream, or of heads, into another."""
    _, cache = model.run_with_cache(source)

    def hook(name, where):
        def put(activation, hook):
            changed = activation.clone()
            changed[where] = cache[name][where]
            return changed

        return name, put

    everywhere = slice(None)
    return [
        hook(f"blocks.{layer}.attn.hook_z", (everywhere, everywhere, at))
        if site == "z"
        else hook(f"blocks.{layer}.hook_resid_pre", (everywhere, at))
        for site, layer, at in cells
    ]


def asked_next(model, pair, direction, cells):
    """What is said next in the clean, the corrupted and the patched run."""
    clean, corrupted = (torch.tensor([list(ids)]) for ids in pair)
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    return [
        said_next(model, clean), said_next(model, corrupted), said_next(model, base, putting(model, source, cells))
    ]  # fmt: skip


def check_next(explorer, expected):
    view = explorer._gathering.tokens.view
    text = explorer._handle.tokenizer.text
    assert [table["name"] for table in view.tables] == ["clean", "corrupted", "patched"]
    for table, asked in zip(view.tables, expected, strict=True):
        assert [row["token"] for row in table["rows"]] == [text(i) for i, _ in asked]
        np.testing.assert_allclose([row["prob"] for row in table["rows"]], [p for _, p in asked], atol=1e-4)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("family", ["embedded", "llama"])
@pytest.mark.parametrize(("site", "places"), [("resid_pre", ((1, 3), (2, 5))), ("z", ((1, 2), (2, 0), (2, 3)))])
@pytest.mark.filterwarnings("ignore:the two runs hardly differ")
def test_what_the_model_says_with_all_patched_together(model, family, site, places, direction):
    bridge, pair = (model, None) if family == "embedded" else (models.bridge(family), models.PAIR)
    explorer = pw.explore(bridge, pair)
    by = ["layer", "head"] if site == "z" else ["layer", "pos"]
    explorer.settings = {"site": site, "by": by, "direction": direction}
    explorer.run()
    explorer.wait()
    panel = explorer._gathering.tokens
    assert panel.box.layout.display == "none"
    for place in places:
        gather(explorer, *place)
    tokens = together(explorer).provenance["tokens"]
    cells = [(site, *place) for place in places]
    check_next(explorer, asked_next(bridge, (tokens["clean"], tokens["corrupted"]), direction, cells))
    assert panel.view.title == "Next token"
    many = {2: "both", 3: "all 3"}[len(places)]
    assert panel.view.tables[2]["label"] == f"patched: {many} together"
    assert panel.box.layout.display is None
    marks = {row["token"]: row["mark"] for row in panel.view.tables[0]["rows"] if row["mark"]}
    if family == "embedded":
        assert marks["Mary"] == "answer"
    explorer._gathering.clear_button.click()
    assert panel.box.layout.display == "none"
    explorer.close()


def test_over_a_dataset_the_next_tokens_are_of_the_chosen_pair(model, select):
    data = generators.ioi(6, "ABA", seed=5)
    explorer = pw.explore(model, pw.Dataset(data, name="six"))
    explorer.run()
    explorer.wait()
    places = ((1, 10), (3, 10))
    for place in places:
        gather(explorer, *place)
    pairs = together(explorer).provenance["pairs"]

    def check(at):
        cells = [("resid_pre", *place) for place in places]
        check_next(explorer, asked_next(model, (pairs[at]["clean"], pairs[at]["corrupted"]), "denoise", cells))

    view = explorer._gathering.tokens.view
    check(0)
    assert view.title == "Next token in the first of 6 pairs"
    assert view.note == f"Its prompts: {data[0].clean} / {data[0].corrupted}"
    select(explorer._map.view, 2, 10)
    explorer._screen.pairs.view._receive(None, {"type": "select", "pos": 4}, [])
    explorer.wait()
    check(4)
    assert view.title == "Next token in pair 5 of 6"
    assert view.note == f"Its prompts: {data[4].clean} / {data[4].corrupted}"
    explorer.close()


def test_drawn_patches_say_what_the_mean_is_over(measured, model):
    measured.settings = {"intervention": {"name": "noise", "samples": 3}}
    measured.run()
    measured.wait()
    for cell in (A, B):
        gather(measured, *cell)
    result = together(measured)
    view = measured._gathering.tokens.view
    assert view.title == "Next token, patched: mean of 3 draws"
    shown = {row["mark"]: row["prob"] for row in view.tables[2]["rows"] if row["mark"]}
    assert shown["answer"] == pytest.approx(float(result.select("prob").data["patched"].values[0, -1]), abs=1e-4)


def test_what_fails_is_told_below_the_tables(measured, broken):
    for cell in (A, B):
        gather(measured, *cell)
    together(measured)
    panel = measured._gathering.tokens
    assert panel.error.value == ""
    measured._gathering.clear_button.click()
    for cell in (A, B):
        gather(measured, *cell)
    broken("patchwidgets-explorer")
    together(measured)
    assert panel.error.value == "RuntimeError: the model broke"
    assert panel.view.tables[2]["rows"] == []


def test_a_cell_of_some_tokens_is_named_by_its_position(explorer):
    explorer.settings = {"layers": [1, 3], "positions": [2, 14]}
    explorer.run()
    explorer.wait()
    gather(explorer, 1, 1)
    assert "layer 3, position 14 to" in explorer._gathering.listed.value


def test_over_a_dataset_the_interval_is_of_the_difference(model):
    data = generators.ioi(10, "ABA", seed=5)
    explorer = pw.explore(model, pw.Dataset(data, name="ten"))
    explorer.run()
    explorer.wait()
    for cell in ((1, 10), (3, 10)):
        gather(explorer, *cell)
    together(explorer)
    places = [("resid_pre", {"layer": layer, "pos": pos}) for layer, pos in ((1, 10), (3, 10))]
    sets = pw.Joint({"a": places[:1], "b": places[1:], "both": places})
    alone = [pw.patch(model, pair, sets, engine="hooked").wait() for pair in data]
    effects = np.stack([one.effect.values[0] for one in alone])
    excess = effects[:, 2] - effects[:, 0] - effects[:, 1]
    clean, corrupted = (np.array([getattr(one, run) for one in alone]) for run in ("clean", "corrupted"))
    low, high = stats.bootstrap_normalized(excess + corrupted, corrupted, clean)
    said = explorer._gathering.said.value
    assert f"{abs(excess.mean() / (clean - corrupted).mean()):.2f} of the gap" in said
    assert f"Over 10 pairs the 95% interval of that difference is {spelled(low)} to {spelled(high)}" in said
    assert ("which includes 0" in said) == (low <= 0 <= high)
    explorer.close()


@pytest.mark.parametrize(
    ("joint", "interval", "said"),
    [
        (0.70005, None, "Together they move what their own effects add up to, as far as the precision resolves."),
        (0.6997, None, "Together they recover what their own effects add up to, but for 0.0003 of the gap."),
        (0.8, None, "more than their own effects add up to: a cell recovers more where"),
        (0.8, (-0.1, 0.3), "Together they recover 0.10 of the gap more than their own effects add up to. Over 1 pair"),
        (0.8, (0.004, 0.3), "are in place as well. Over 1 pair the 95% interval of that difference is 0.004 to 0.30."),
    ],
)  # fmt: skip
def test_what_is_said_follows_from_the_difference_and_its_resolution(measured, joint, interval, said):
    found = Together((0.5, 0.2), joint, interval, raw=False, resolved=1e-4)
    assert said in " ".join(told(found, measured._screen.plan, "logit_diff"))


def test_of_draws_no_reason_is_given(measured):
    plan = replace(measured._screen.plan, intervention=pw.Noise(), samples=10)
    said = " ".join(told(Together((0.5, 0.2), 0.8, None, raw=False, resolved=1e-4), plan, "logit_diff"))
    assert "depends" not in said
    assert said.endswith("Every effect is a mean of 10 random draws: some of the difference is chance.")


def test_a_map_that_does_not_gather_ignores_the_message():
    view = Heatmap(["0"], label_columns("head", ["0"]))
    view._handle({"type": "gather", "row": 0, "col": 0})
    assert view.gathered == []
