"""Values that mean nothing are refused where they are made, by a PatchError that names the thing and the remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from patchwidgets.alignment import Alignment
from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Mask, Mean, Noise, Patch, Resample, Scale, Standing, Vector, Zero
from patchwidgets.joint import Joint
from tests.bad_input.given import cell, ids, pair

MAKING: list[tuple[Callable[[], object], str]] = [
    (lambda: Vector([1.0, float("nan")]), r"Vector: values must be a list of finite numbers, not \[1.0, nan\]"),
    (lambda: Vector([[1.0, 2.0]]), r"Vector: values must be a list of finite numbers, not \[\[1.0, 2.0\]\]"),
    (lambda: Vector([]), r"Vector: values must be a list of finite numbers, not \[\]"),
    (lambda: Vector(["a"]), r"Vector: values must be numbers, not \['a'\]"),
    (lambda: Vector(None), r"Vector: values must be a list of finite numbers, not None"),
    (lambda: Vector([1.0], add="yes"), r"Vector: add must be True or False, not 'yes'"),
    (lambda: Scale("half"), r"Scale: factor must be a finite number, not 'half'"),
    (lambda: Scale(float("inf")), r"Scale: factor must be a finite number, not inf"),
    (lambda: Noise(-1.0), r"Noise: sigma must be 0 or more, not -1\.$"),
    (lambda: Noise(samples=0), r"samples must be a whole number, 1 or more, not 0"),
    (lambda: Resample(samples=1.5), r"samples must be a whole number, 1 or more, not 1.5"),
    (lambda: Resample(run="both"), r"unknown run 'both'\. Known: clean, corrupted"),
    (lambda: Mean(run="clena"), r"unknown run 'clena'; did you mean 'clean'\?"),
    (lambda: Mean(per_position="no"), r"Mean: per_position must be True or False, not 'no'"),
    (lambda: Mask(absolute=1), r"Mask: absolute must be True or False, not 1"),
    (lambda: Mask(graded=None), r"Mask: graded must be True or False, not None"),
    (lambda: Mask("x"), r"Mask: threshold must be a finite number, not 'x'"),
    (lambda: Standing("z", "zero"), r"Standing: 'zero' is not an intervention such as Zero\(\)"),
    (lambda: Standing("z", Zero), r"Standing: <class .*Zero'> is not an intervention"),
    (lambda: Standing("z", Zero(), runs="base"), r"unknown runs 'base'\. Known: clean, corrupted, both"),
    (lambda: Standing("z", Mask()), r"a mask cannot stand; sweep it, or stand Mean, Vector, Zero or Scale"),
    (lambda: Standing("z", Patch()), r"a patch cannot stand; sweep it"),
    (lambda: Joint({}), r"a Joint needs at least one named set of cells, not \{\}"),
    (lambda: Joint([cell(layer=1)]), r"a Joint needs at least one named set of cells, not \["),
    (lambda: Joint({"top": []}), r"the set 'top' must be a list of cells such as \(\"z\""),
    (lambda: Joint({"top": cell(layer=1)}), r"the set 'top' has the cell 'z'; write \(\"z\""),
    (lambda: Joint({1: [cell(layer=1)]}), r"a set of a Joint needs a name in letters, not 1"),
    (
        lambda: Joint({"top\ud800": [cell(layer=1)]}),
        r"the name 'top\\ud800' of a Joint's set has '\\ud800', half of a character; leave it out",
    ),
    (lambda: Joint({"top": [cell("zz", layer=1)]}), r"unknown site 'zz'; did you mean 'z'\?"),
    (lambda: Joint({"top": [cell(layer=1, neuron=1)]}), r"the set 'top': z has no axis 'neuron'; it has layer, pos"),
    (lambda: Joint({"top": [cell(head=1)]}), r"the set 'top': the cell of z names no layer; add \"layer\""),
    (lambda: Joint({"top": [cell(layer=1.5)]}), r"the set 'top': layer must be a whole number, not 1.5"),
    (lambda: Joint({"top": [cell(layer=1, head=2)] * 2}), r"the set 'top' has the cell .* twice; name each once"),
    (
        lambda: Joint({"top": [cell(layer=1, head=2), cell(layer=1)]}),
        r"the set 'top': \('z', \{'layer': 1, 'head': 2\}\) and \('z', \{'layer': 1\}\) overlap; leave one out",
    ),
    (
        lambda: Joint({"top": [cell("pattern", layer=1, dest=0, src=2)]}),
        r"the set 'top': position 0 never attends to 2, which comes after it; leave that cell out",
    ),
    (lambda: Alignment(((0, 0), (2, 1))), r"alignment: clean position 2 stands where 1 is due; name every position"),
    (lambda: Continuation(None), r"a Continuation is a text or a list of token ids, not None"),
    (lambda: Dataset([]), r"the dataset 'dataset' is empty; give at least one pair"),
    (lambda: Dataset(pair()), r"expected several pairs, got one PromptPair; put it in a list"),
    (lambda: Dataset([pair(), "w1"]), r"row 1 of 'dataset' is 'w1', not a PromptPair; write pw.PromptPair\("),
    (lambda: pair(answer=[]), r"answer is an empty list; give one token or more"),
    (lambda: pair(answer=[["w5"]]), r"answer must be a text, a token id, a list of those .*, not \[\['w5'\]\]"),
    (lambda: pair(foil=1.5), r"foil must be a text, a token id.*, not 1.5"),
    (lambda: pair(answer=True), r"answer must be a text, a token id.*, not True"),
    (lambda: pair(at="last"), r"at must be a position \(a whole number, -1 the last\), not 'last'"),
    (lambda: pair(clean=b"w1"), r"clean must be a text or a list of token ids, not b'w1'"),
    (lambda: pair([1.0, 2], [1, 3]), r"clean must be a text or a list of token ids, not \[1.0, 2\]"),
    (lambda: pair([[1, 2]], [[1, 3]]), r"clean must be a text or a list of token ids, not \[\[1, 2\]\]"),
]


@pytest.mark.parametrize(("make", "message"), MAKING, ids=ids(MAKING))
def test_refused_when_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(PatchError, match=message):
        make()
