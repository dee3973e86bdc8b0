"""The experiment drawn: its numbers are the result's, and no text of a prompt is anything but text."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import patchwidgets as pw
from patchwidgets.diagram import Diagram
from patchwidgets.diagram.text import lines_of, shortened, width
from patchwidgets.errors import PatchError
from patchwidgets.result import PatchResult
from patchwidgets.spelling import shown_text
from tests import models

HOSTILE = [
    "<script>alert(1)</script>", "</svg><b>bold</b> & &lt; &amp;", "a \"quoted\" 'text' with `ticks`",
    "one\ntwo\r\nthree\tfour",
    "\u202eright to left\u202c \u05d0\u05d1\u05d2 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "zero\u200bwidth\ufeff\u0000\u0007",
    "half \ud800 a character", "%%{init: {'theme': 'dark'}}%% %% end", "] } ) --> x[\"y\"] ;#quot; #35; style a:b #c;",
    "word " * 2000, "w" * 10_000, "\u65e5\u672c\u8a9e" * 3000, "", "\U0001f469\u200d\U0001f52c",
]  # fmt: skip
NAMESPACE = "{http://www.w3.org/2000/svg}"
DRAWN = {"svg", "style", "rect", "g", "title", "text", "polyline", "polygon"}
_LABEL = r'"(?:[^"<>&`%{}\[\]|;:\\\n#]|#\d+;)*"'
GRAMMAR = [re.compile(f"^{line}$".replace("LABEL", _LABEL)) for line in (
    "flowchart LR", "    subgraph [a-z_]+\\[LABEL\\]", "        direction LR", "    end",
    " {8}[a-z_]+\\[LABEL\\] --> [a-z_]+\\[LABEL\\]", " {8}[a-z_]+ --> [a-z_]+\\[LABEL\\]",
    " {4}[a-z_]+ --> [a-z_]+\\[LABEL\\]", " {4}standing_\\d\\[LABEL\\]",
    " {4}[a-z_]+ --> [a-z_]+", " {4}[a-z_]+ ==>\\|LABEL\\| [a-z_]+", " {4}[a-z_]+ -\\.->\\|LABEL\\| [a-z_]+",
    " {4}classDef [a-z]+ stroke:#[0-9a-f]{6},stroke-width:2px", " {4}class [a-z_,]+ [a-z]+",
)]  # fmt: skip
"""Every line that a flowchart may have here; a label has no sign of Mermaid's or of HTML's, and codes for them."""


@pytest.fixture(scope="module")
def result() -> PatchResult:
    return pw.patch(models.bridge("gpt2"), models.PAIR, "resid_pre", metric=["logit_diff", "prob"]).wait()


def with_prompt(result: PatchResult, text: str) -> PatchResult:
    provenance = copy.deepcopy(result.provenance)
    provenance["prompts"] = {"clean": text, "corrupted": text[::-1]}
    return PatchResult(result.data, provenance)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{NAMESPACE}text")]


def unescaped(label: str) -> str:
    return re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_numbers_are_those_of_the_table(direction: str) -> None:
    asked = {"by": ("layer", "pos", "head"), "direction": direction, "metric": ["logit_diff", "logprob"]}
    measured = pw.patch(models.bridge("gpt2"), models.PAIR, "z", **asked).wait()
    for row in measured.to_dataframe().sample(12, random_state=0).itertuples():
        drawn = measured.diagram(row.metric, layer=row.layer, pos=row.pos, head=row.head)
        clean, corrupted = (float(measured.data[run].sel(metric=row.metric)) for run in ("clean", "corrupted"))
        assert drawn.numbers["patched"] == row.patched
        assert drawn.numbers["effect"] == row.effect
        assert drawn.numbers["normalized"] == row.normalized
        assert (drawn.numbers["clean"], drawn.numbers["corrupted"]) == (clean, corrupted)
        base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
        assert drawn.source == ("clean" if direction == "denoise" else "corrupted")
        assert {drawn.base, drawn.source} == {"clean", "corrupted"}
        assert row.normalized == pytest.approx((row.patched - base) / (source - base))
        whole = " ".join(texts(drawn.svg())).replace("\u2212", "-")
        for value in (clean, corrupted, row.patched, row.effect, row.normalized):
            text = f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
            assert text in whole
            assert text in unescaped(drawn.mermaid()).replace("\u2212", "-")


def test_of_a_sweep_the_range_is_told(result: PatchResult) -> None:
    drawn = result.diagram()
    values = result.select("logit_diff").normalized.values
    low, high = np.nanmin(values), np.nanmax(values)
    assert drawn.numbers.keys() == {"clean", "corrupted"}
    told = drawn.compared[0].replace("\u2212", "-")
    ends = re.fullmatch(r"Normalized: from (\S+) to (\S+) recovered\.", told)
    assert ends is not None
    assert [float(end) for end in ends.groups()] == pytest.approx([low, high], rel=5e-3, abs=5e-3)
    assert f"each of {values.size} cells by layer, pos" in drawn.part


def test_what_another_intervention_does_is_told_and_nothing_is_put_in() -> None:
    zeroed = pw.patch(models.bridge("gpt2"), models.PAIR, "z", intervention="zero").wait().diagram(layer=1, head=0)
    assert not zeroed.taken
    assert "put in" not in texts(zeroed.svg())
    assert "==>" not in zeroed.mermaid()
    assert "is set to zero" in zeroed.alt


def test_the_patched_run_takes_the_part_from_the_source_and_the_rest_from_the_base(result: PatchResult) -> None:
    drawn = result.diagram(layer=1, pos=3)
    assert "clean_part ==>" in drawn.mermaid()
    assert "corrupted_run -.->" in drawn.mermaid()
    assert drawn.mermaid().count(" --> comparison") == 3
    assert "resid_pre at layer 1, pos 3, 'w3/w9'" in drawn.alt


@pytest.mark.parametrize(("layer", "layers"), [(0, "0, 1"), (1, "0-2"), (2, "1, 2")])
def test_a_window_is_drawn_with_its_layers(layer: int, layers: str) -> None:
    windowed = pw.patch(models.bridge("gpt2"), models.PAIR, "resid_pre", window=3).wait()
    drawn = windowed.diagram(layer=layer, pos=3)
    assert drawn.part.startswith(f"resid_pre at layers {layers} around layer {layer}, pos 3")
    assert "windows of 3 layers" in windowed.diagram().part
    for text in (*texts(drawn.svg()), drawn.mermaid(), drawn.alt):
        assert "at layer " not in text
    older = PatchResult(windowed.data, {k: v for k, v in windowed.provenance.items() if k != "sizes"})
    assert f"at 3 layers around layer {layer}, pos 3" in older.diagram(layer=layer, pos=3).alt


def test_what_stands_is_drawn_and_the_title_says_what_was_swept() -> None:
    stands = [pw.Standing("z", pw.Zero(), runs="corrupted", layers=[1], heads=[0]), pw.Standing("embed", pw.Scale(2.0))]
    swept = pw.patch(models.bridge("gpt2"), models.PAIR, "resid_pre", layers=[1, 2], standing=stands).wait()
    drawn = swept.diagram(layer=1, pos=3)
    assert "layers 1, 2 only" in drawn.title
    assert len(drawn.standing) == 2
    visibly = texts(drawn.svg())
    for told in drawn.standing:
        assert told in visibly
        assert told in drawn.alt
        assert told in unescaped(drawn.mermaid())
    check(drawn, drawn.title)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_prompts_are_text(result: PatchResult, text: str) -> None:
    check(with_prompt(result, text).diagram(layer=1, pos=3), text)


@given(st.text(max_size=300))
@settings(max_examples=80, deadline=None)
def test_any_prompt_is_text(text: str) -> None:
    drawn = Diagram(
        title=text, prompts={"clean": text, "corrupted": text}, part=text, base="corrupted", source="clean", taken=True,
        change="is taken from the clean run", metric=text, numbers={"clean": 1.0, "corrupted": 0.0}, compared=(text,),
        said=text, standing=(text, text),
    )  # fmt: skip
    check(drawn, text)


def check(drawn: Diagram, text: str) -> None:
    """The SVG is whole and is nothing but a drawing, with the whole text in a title; Mermaid keeps to its grammar."""
    root = ET.fromstring(drawn.svg())
    assert {element.tag for element in root.iter()} == {NAMESPACE + name for name in DRAWN}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    titles = [element.text or "" for element in root.iter(f"{NAMESPACE}title")]
    assert any(shown_text(text).strip() in title for title in titles)
    assert root.get("aria-label") == shown_text(drawn.alt)
    for line in texts(drawn.svg()):
        assert width(line) < 110
        assert not re.search(r"[\x00-\x1f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", line)
    for line in drawn.mermaid().splitlines():
        assert any(rule.match(line) for rule in GRAMMAR), line


def test_a_label_reads_as_the_text_does(result: PatchResult) -> None:
    text = 'a <b> "c" #35; d; [e] {f} | %% `g` \u00e9 \u2192 :: \\'
    first = re.search(r'clean_prompt\["(.*?)"\]', with_prompt(result, text).diagram().mermaid())
    assert first is not None
    assert unescaped(first[1]) == text


def test_texts_are_shortened_visibly() -> None:
    assert shortened("short", 10) == "short"
    assert "\u2026" in shortened("x" * 100, 10)
    assert width(shortened("\u65e5" * 100, 20)) <= 20
    for text in ("one two three four five six", "x" * 400, "W" * 90):
        lines = lines_of(text, 12, 3)
        assert len(lines) <= 3
        assert all(width(line) <= 12 for line in lines)
    assert " ".join(lines_of("one two three four", 12, 3)) == "one two three four"


def test_prompts_of_a_dataset_and_of_ids_have_their_spaces() -> None:
    model = models.bridge("gpt2")
    drawn = pw.patch(model, models.five_pairs(), "resid_pre").wait().diagram()
    assert "[BOS] w1 w2" in drawn.prompts["clean"]
    ids = pw.PromptPair([1, 3, 4, 5], [1, 3, 11, 5], answer="w20", foil="w21")
    assert pw.patch(model, ids, "resid_pre").wait().diagram().prompts["clean"] == "[BOS] w1 w2 w3"


@pytest.mark.parametrize("name", ["a.svg", "a.mmd", "a.mermaid", "a.SVG"])
def test_it_is_written_by_its_ending(result: PatchResult, tmp_path: Any, name: str) -> None:
    drawn = result.diagram()
    path = drawn.save(tmp_path / name)
    assert path.read_text(encoding="utf-8") == (drawn.svg() if name.lower().endswith("svg") else drawn.mermaid())
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_drawn_is_refused_in_words(result: PatchResult, tmp_path: Any) -> None:
    with pytest.raises(PatchError, match=r"named by layer, pos; call diagram\(layer=..., pos=...\)"):
        result.diagram(layer=1)
    with pytest.raises(PatchError, match="named by layer, pos"):
        result.diagram(layer=1, pos=3, head=2)
    with pytest.raises(PatchError, match="no layer 99"):
        result.diagram(layer=99, pos=3)
    with pytest.raises(PatchError, match="no metric 'kl'"):
        result.diagram("kl")
    with pytest.raises(PatchError, match="draw each of its two results"):
        (result - result).diagram()
    with pytest.raises(PatchError, match=r"written as .svg, .mmd or .mermaid"):
        result.diagram().save(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_it_as_svg_and_in_words(result: PatchResult) -> None:
    bundle = result.diagram(layer=1, pos=3)._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"] == str(result.diagram(layer=1, pos=3))
