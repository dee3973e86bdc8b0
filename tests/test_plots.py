"""Figures show the result's own numbers, in a scale centred on zero, without a screen."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets import words
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.grid import grid_of
from patchwidgets.plots import heatmap, scale
from patchwidgets.result import PatchResult, make_data
from tests import models

# Seaborn's own call; matplotlib 3.11 will do without it one day.
pytestmark = pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")


@pytest.fixture(scope="module")
def gpt2() -> TransformerBridge:
    return models.bridge("gpt2")


@pytest.fixture(scope="module")
def result(gpt2: TransformerBridge) -> PatchResult:
    return patch(gpt2, models.PAIR, "resid_pre", metric=["logit_diff", "prob"]).wait()


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    yield
    plt.close("all")


def drawn(ax: plt.Axes) -> np.ndarray:
    return np.ma.filled(ax.collections[0].get_array(), np.nan)


def numbers(result: PatchResult, fmt: str) -> list[str]:
    """The numbers of a figure's cells, row by row."""
    cells = zip(result.normalized.values[0].ravel(), result.data["status"].values.ravel(), strict=True)
    return ["" if status == "implied" else format(value, fmt) for value, status in cells]


def test_the_values_drawn_are_the_results(result: PatchResult) -> None:
    ax = result.plot()
    assert isinstance(ax, plt.Axes)
    np.testing.assert_array_equal(drawn(ax), result.normalized.sel(metric="logit_diff").values)
    texts = [text.get_text() for text in ax.texts]
    assert texts == [number.replace("-", "\u2212") for number in numbers(result, "z.2f")]
    assert texts[:3] == ["", "", ""], "implied cells have no number"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "BOS", "w1", "w2", "w3\nw9", "w4", "w5\nw8", "w6",
    ]  # fmt: skip


def test_the_scale_is_centred_on_zero_and_symmetric(result: PatchResult) -> None:
    mesh = result.plot().collections[0]
    assert mesh.get_clim() == (-1.0, 1.0)
    colours = mesh.cmap(mesh.norm([-1.0, 0.0, 1.0]))
    assert min(colours[1][:3]) > 0.9
    assert colours[2][2] > colours[2][0]
    assert colours[0][0] > colours[0][2]


def test_positive_is_blue_in_the_own_scale_and_any_other_may_be_named(result: PatchResult) -> None:
    top = scale()(1.0)
    assert top[2] > top[0]
    mesh = result.plot(cmap="RdBu_r").collections[0]
    named = mpl.colormaps["RdBu_r"]
    np.testing.assert_allclose(mesh.cmap(mesh.norm(1.0)), named(1.0), atol=0.02)
    np.testing.assert_allclose(mesh.cmap(mesh.norm(-1.0)), named(0.0), atol=0.02)
    mesh = result.plot(cmap=named).collections[0]
    np.testing.assert_allclose(mesh.cmap(mesh.norm(1.0)), named(1.0), atol=0.02)


def test_title_labels_and_bar_say_what_it_is(result: PatchResult) -> None:
    ax = result.plot()
    title = ax.get_title(loc="left")
    told = " ".join(title.split())
    assert told.startswith(words.meaning(result.provenance)["title"])
    assert f"logit_diff {float(result.data['clean'][0]):+.2f} clean" in told
    assert "prob" not in told
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("token", "layer")
    assert ax.collections[0].colorbar.ax.get_ylabel() == "logit_diff: recovered"
    assert "important" not in title


def test_answer_and_foil_are_named_where_the_metric_reads_them(result: PatchResult) -> None:
    named = copy.deepcopy(result.provenance)
    named["answer"] |= {"text": " Mary or  $x$", "tokens": [[1], [2]]}
    named["foil"]["text"] = "\u05d0"
    for metric, told in (("logit_diff", "; answer \u00b7Mary or \u00b7\\$x\\$, foil \u05d0; "), ("prob", "x\\$; prob")):
        ax = PatchResult(result.data, named).plot(metric=metric)
        ax.figure.canvas.draw()
        assert told in " ".join(ax.get_title(loc="left").split())


def test_what_stands_and_a_window_are_in_the_title(gpt2: TransformerBridge) -> None:
    noise = pw.Standing("embed", pw.Noise(sigma=3.0, samples=2), runs="corrupted", positions=[2])
    pair = pw.PromptPair(models.PAIR.clean, models.PAIR.clean, answer=models.PAIR.answer)
    traced = patch(gpt2, pair, "mlp_out", metric="prob", window=2, standing=noise).wait()
    ax = traced.plot()
    told = (
        "mlp_out by layer and token, clean into corrupted, windows of 2 layers, standing in the corrupted run: "
        "Gaussian noise (sigma 3, samples 2) at embed, positions 2"
    )
    assert " ".join(ax.get_title(loc="left").split()).startswith(told)
    assert "foil" not in ax.get_title(loc="left")
    title, page = ax._left_title.get_window_extent(), ax.figure.bbox
    assert page.x0 <= title.x0 < title.x1 <= page.x1
    assert title.y1 <= page.y1


def test_numbers_can_be_turned_off_and_formatted(result: PatchResult) -> None:
    assert not list(result.plot(annot=False).texts)
    assert [text.get_text() for text in result.plot(fmt=".1f").texts] == numbers(result, "z.1f")


def test_it_draws_into_the_axes_it_is_given(result: PatchResult) -> None:
    _, (left, right) = plt.subplots(1, 2)
    assert result.plot(ax=right) is right
    assert not left.collections
    assert right.collections


def test_another_metric_by_name(result: PatchResult) -> None:
    ax = result.plot(metric="prob")
    np.testing.assert_array_equal(drawn(ax), result.normalized.sel(metric="prob").values)
    with pytest.raises(PatchError, match=r"has no metric 'logit'; it has logit_diff, prob"):
        result.plot(metric="logit")


@pytest.mark.parametrize(
    ("site", "by", "shape"),
    [("z", None, (3, 4)), ("z", ("layer", "pos", "head"), (12, 7)), ("mlp_out", ("layer",), (3, 1))],
)
def test_every_granularity_is_drawn_as_its_grid(
    gpt2: TransformerBridge, site: str, by: tuple[str, ...] | None, shape: tuple[int, int]
) -> None:
    result = patch(gpt2, models.PAIR, site, by=by, direction="noise").wait()
    ax = result.plot()
    grid = grid_of(result)
    assert drawn(ax).shape == shape
    np.testing.assert_array_equal(drawn(ax).ravel(), result.normalized.values[0].ravel()[grid.raster])
    assert ax.collections[0].colorbar.ax.get_ylabel() == "logit_diff: destroyed"


def hatches(ax: plt.Axes) -> list[tuple[int, int, str]]:
    boxes = [box for box in ax.patches if isinstance(box, Rectangle) and box.get_hatch()]
    return [(int(box.get_y()), int(box.get_x()), box.get_hatch()) for box in boxes]


def test_implied_cells_are_hatched_pending_ones_dotted_unavailable_ones_hatched_strongly(result: PatchResult) -> None:
    implied = [(row, col) for row in range(3) for col in range(3)]
    found = hatches(result.plot())
    assert [where[:2] for where in found] == implied
    light = {where[2] for where in found}
    partial = PatchResult(result.data.copy(deep=True), result.provenance)
    partial.data["patched"][:, 1, 4] = partial.data["patched"][:, 2, 5] = np.nan
    partial.data["status"] = partial.data["status"].astype(object)
    partial.data["status"][1, 4], partial.data["status"][2, 5] = "pending", "unavailable"
    ax = partial.plot()
    assert np.isnan(drawn(ax)[1, 4])
    assert np.isnan(drawn(ax)[2, 5])
    assert len(ax.texts) == 21 - 2
    others = [where for where in hatches(ax) if where[2] not in light]
    assert sorted(where[:2] for where in others) == [(1, 4), (2, 5)]
    assert len({where[2] for where in others}) == 2


def test_a_small_gap_is_drawn_raw_in_the_metrics_unit(result: PatchResult) -> None:
    flat = PatchResult(result.data.copy(deep=True), result.provenance)
    flat.data["clean"][0] = flat.data["corrupted"][0]
    ax = flat.plot()
    effect = flat.effect.sel(metric="logit_diff").values
    np.testing.assert_array_equal(drawn(ax), effect)
    assert ax.collections[0].get_clim() == (-np.abs(effect).max(), np.abs(effect).max())
    assert ax.collections[0].colorbar.ax.get_ylabel() == "logit_diff: effect (logits)"


@pytest.mark.parametrize("text", ["$x$", "$", "a$b$c", r"\frac", "_{", "%", " ", "\n", "\t", "\x07", "<b>", "^"])
def test_any_token_can_be_a_label(result: PatchResult, text: str) -> None:
    """Nothing in a token is read as mathematics, and every character has a sign to show."""
    hostile = PatchResult(result.data, copy.deepcopy(result.provenance))
    hostile.provenance["texts"]["clean"][3] = text
    hostile.provenance["model"] = "a $model$ with_{braces"
    ax = hostile.plot()
    ax.figure.canvas.draw()
    assert ax.get_xticklabels()[3].get_text().endswith(("\nw9", " / w9"))


def test_leading_spaces_are_seen_in_both_tokens(result: PatchResult) -> None:
    spaced = PatchResult(result.data, copy.deepcopy(result.provenance))
    spaced.provenance["texts"]["clean"][3], spaced.provenance["texts"]["corrupted"][3] = " Mary", " Anna"
    assert spaced.plot().get_xticklabels()[3].get_text() == "·Mary\n·Anna"


SIZES = [(12, 1), (12, 4), (12, 15), (12, 40), (30, 9), (60, 60), (2, 3)]


def made(rows: int, cols: int) -> PatchResult:
    """A result of any size: every value is 1/3 of the gap; the two prompts differ in two long tokens."""
    texts = [(f" word{i % 7}"[: 3 + i % 5],) * 2 for i in range(cols)]
    texts[0] = ("<|endoftext|>", "<|endoftext|>")
    texts[cols // 2] = (" Elizabeth", " Johnson")
    by = ("layer",) if cols == 1 else ("layer", "pos")
    sizes = {"layer": rows, "pos": cols}
    patched, status = np.full((1, rows, cols), 0.4), np.zeros((rows, cols), int)
    data = make_data(by, sizes, ("prob",), patched, status, [0.8], [0.2], texts)
    runs = {"clean": [a for a, _ in texts], "corrupted": [b for _, b in texts]}
    ids = {"clean": list(range(cols)), "corrupted": [*range(cols // 2), 99, *range(cols // 2 + 1, cols)]}
    provenance = {"site": "resid_pre", "direction": "denoise", "by": list(by), "metrics": ["prob"], "bos_at": 0}
    return PatchResult(data, {**provenance, "texts": runs, "tokens": ids, "model": "SmolLM2-135M-Instruct"})


def assert_nothing_is_cut(ax: plt.Axes) -> None:
    """Everything written is on the page, and no column's label runs into its neighbour's."""
    figure = ax.figure
    figure.canvas.draw()
    page = figure.bbox.padded(0.5)
    bar = ax.collections[0].colorbar.ax
    title = next(text for text in ax.findobj(Text) if text.get_text() == ax.get_title(loc="left"))
    names = [title, ax.xaxis.label, ax.yaxis.label, bar.yaxis.label]
    for text in [*names, *ax.get_xticklabels(), *ax.get_yticklabels()]:
        box = text.get_window_extent()
        if text.get_text():
            inside = box.x0 >= page.x0 and box.y0 >= page.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
            assert inside, (text.get_text(), box.extents, page.extents)
    assert title.get_window_extent().y0 >= ax.bbox.y1
    for labels, side in ((ax.get_xticklabels(), "x"), (ax.get_yticklabels(), "y")):
        boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: getattr(box, f"{side}0"))
        for one, next_one in itertools.pairwise(boxes):
            assert getattr(one, f"{side}1") <= getattr(next_one, f"{side}0") + 1.5, side


@pytest.mark.parametrize(("rows", "cols"), SIZES)
def test_nothing_is_cut_or_overprinted_in_a_figure_of_its_own(rows: int, cols: int) -> None:
    ax = made(rows, cols).plot()
    assert_nothing_is_cut(ax)
    assert max(ax.figure.get_size_inches()) < 16
    for text in ax.texts:
        assert text.get_window_extent().width <= ax.bbox.width / cols


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize(("rows", "cols"), SIZES)
def test_nothing_is_cut_in_axes_that_were_given(rows: int, cols: int, layout: str | None) -> None:
    _, ax = plt.subplots(figsize=(5, 4), layout=layout)
    assert_nothing_is_cut(made(rows, cols).plot(ax=ax))


def test_a_changed_token_is_marked_by_its_ids() -> None:
    result = made(2, 4)
    result.provenance["texts"]["corrupted"][2] = " Elizabeth"
    labels = result.plot().get_xticklabels()
    assert [label.get_text() for label in labels] == ["BOS", "·wor", "·Elizabeth\n·Elizabeth", "·word3"]
    assert [label.get_fontweight() for label in labels] == ["normal", "normal", "bold", "normal"]


def test_where_a_prompt_has_no_token_the_label_is_a_sign_that_no_token_is() -> None:
    result = made(2, 3)
    result.provenance["alignment"] = [[0, 0], [None, 1], [1, 2]]
    result.provenance["tokens"] = {"clean": [0, 2], "corrupted": [0, 99, 2]}
    result.provenance["texts"]["corrupted"][1] = "$\\mathrm{\u2b1a}$"
    gap, token = result.plot().get_xticklabels()[1].get_text().split("\n")
    assert gap == "$\\mathrm{\u2b1a}$"
    assert token == r"\$\mathrm{" + "\u2b1a" + r"}\$"


@pytest.mark.parametrize(("value", "fmt", "text"), [
    (-0.001, ".2f", "0.00"), (-0.0, ".2f", "0.00"), (-0.04, ".1f", "0.0"), (-0.006, ".2f", "\u22120.01"),
    (-0.0004, "+.2f", "0.00"), (-0.002, ".1%", "\u22120.2%"), (-1e-9, ".0e", "\u22121e\u221209"),
    (-0.0, ".1e", "0.0e+00"),
])  # fmt: skip
def test_what_rounds_to_zero_has_no_minus(value: float, fmt: str, text: str) -> None:
    result = made(1, 2)
    result.data["patched"][:] = 0.2 + value * (0.8 - 0.2)
    assert [number.get_text() for number in result.plot(fmt=fmt).texts] == [text] * 2


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(PatchError, match=r"fmt='\.2q' is no format of a number; use for instance '\.2f'"):
        made(1, 2).plot(fmt=".2q")


def test_numbers_that_fit_no_cell_are_left_out_unless_asked_for() -> None:
    _, ax = plt.subplots(figsize=(2.5, 2), layout="constrained")
    assert not made(12, 15).plot(ax=ax).texts
    _, ax = plt.subplots(figsize=(2.5, 2), layout="constrained")
    assert len(made(12, 15).plot(annot=True, ax=ax).texts) == 12 * 15


def test_the_bar_has_points_where_colours_do_not_tell_the_value() -> None:
    result = made(1, 3)
    assert result.plot().collections[0].colorbar.extend == "neither"
    result.data["patched"][0, 0] = [1.0, 0.2, 0.2]
    assert result.plot().collections[0].colorbar.extend == "max"
    result.data["patched"][0, 0] = [1.0, -0.9, 0.2]
    assert result.plot().collections[0].colorbar.extend == "both"


def test_no_screen_is_needed() -> None:
    script = (
        "import matplotlib, sys\n"
        "import patchwidgets.plots\n"
        "import matplotlib.pyplot as plt\n"
        "plt.subplots()\n"
        "print(matplotlib.get_backend(), 'torch' in sys.modules)\n"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert ran.stdout.split() == ["agg", "False"]


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(PatchError, match="expected a PatchResult, got 3"):
        heatmap(3)  # type: ignore[arg-type]


def test_the_own_scale_is_the_explorers() -> None:
    import json
    from pathlib import Path

    import patchwidgets

    palette = json.loads((Path(patchwidgets.__file__).parent / "palette.json").read_text(encoding="utf-8"))
    stops = palette["diverging"]["light"]
    np.testing.assert_allclose(scale()(0.0)[:3], to_rgb(stops[0]), atol=1e-6)
    np.testing.assert_allclose(scale()(1.0)[:3], to_rgb(stops[-1]), atol=1e-6)
