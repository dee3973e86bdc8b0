"""Joints name their sets and cells, and refuse in words what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from patchwidgets.errors import PatchError
from patchwidgets.joint import Joint
from patchwidgets.sites import SITES

HEADS = [("z", {"layer": 9, "head": 9}), ("z", {"layer": 9, "head": 6})]


def test_a_joint_keeps_its_sets_in_order() -> None:
    joint = Joint({"one": HEADS[:1], "both": HEADS, "mixed": [("embed", {"pos": 3}), ["mlp_out", {"layer": 0}]]})
    assert joint.names == ("one", "both", "mixed")
    assert joint.cells[1] == ((SITES["z"], {"layer": 9, "head": 9}), (SITES["z"], {"layer": 9, "head": 6}))
    assert joint.cells[2] == ((SITES["embed"], {"pos": 3}), (SITES["mlp_out"], {"layer": 0}))


def test_joints_are_values() -> None:
    one, other = Joint({"a": HEADS}), Joint({"a": tuple(HEADS)})
    assert one == other
    assert hash(one) == hash(other)
    assert one != Joint({"a": HEADS[:1]})
    assert Joint({"a": [("z", {"layer": np.int64(1), "head": np.int8(2)})]}).sets["a"] == (("z", {"layer": 1, "head": 2}),)  # noqa: E501 # fmt: skip


def test_what_was_given_may_change_afterwards() -> None:
    place = {"layer": 1}
    cells = [("attn_out", place)]
    joint = Joint({"a": cells})
    place["layer"] = 2
    cells.append(("attn_out", {"layer": 0}))
    assert joint.sets == {"a": (("attn_out", {"layer": 1}),)}


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ({}, "a Joint needs at least one named set of cells, not {}."),
        (HEADS, "a Joint needs at least one named set of cells, not"),
        ({1: HEADS}, "a set of a Joint needs a name in letters, not 1."),
        ({"": HEADS}, "a set of a Joint needs a name in letters, not ''."),
        ({"a": []}, r"the set 'a' must be a list of cells such as \(\"z\", {\"layer\": 9, \"head\": 9}\), not \[\]\."),
        ({"a": "z"}, "the set 'a' must be a list of cells"),
        ({"a": {"z": 1}}, "the set 'a' must be a list of cells"),
        ({"a": HEADS[0]}, "the set 'a' has the cell 'z'; write"),
        ({"a": [("z",)]}, r"the set 'a' has the cell \('z',\); write"),
        ({"a": [("zz", {"layer": 0})]}, "unknown site 'zz'"),
        ({"a": [("z", {"head": 0})]}, "the set 'a': the cell of z names no layer; add \"layer\"."),
        ({"a": [("z", {"layer": 0, "neuron": 1})]}, "the set 'a': z has no axis 'neuron'; it has layer, pos, head."),
        ({"a": [("embed", {"layer": 0})]}, "the set 'a': embed has no axis 'layer'; it has pos."),
        ({"a": [("z", {"layer": "0"})]}, "the set 'a': layer must be a whole number, not '0'."),
        ({"a": [("z", {"layer": True})]}, "the set 'a': layer must be a whole number, not True."),
        ({"a": [("z", {"layer": [0, 1]})]}, r"the set 'a': layer must be a whole number, not \[0, 1\]\."),
        ({"a": [*HEADS, HEADS[0]]}, r"has the cell \('z', {'layer': 9, 'head': 9}\) twice; name each once."),
    ],
)  # fmt: skip
def test_what_is_no_joint_is_refused(sets: Any, told: str) -> None:
    with pytest.raises(PatchError, match=told):
        Joint(sets)
