"""Presets by name."""

from __future__ import annotations

import pytest

from patchwidgets.errors import PatchError
from patchwidgets.presets import PRESETS, preset


def test_every_preset_is_found_by_its_name_in_any_case() -> None:
    for known in PRESETS:
        assert preset(known.name) is known
        assert preset(f" {known.name.upper()}") is known


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Capitels", "unknown preset 'Capitels'; did you mean 'Capitals'? Known: IOI, name replaced; IOI, subject"),
        ("landmarks,", "did you mean 'Landmarks, a shared first word'? Known"),
        ("Capital", "did you mean 'Capitals' or 'Capital or language'? Known"),
        ("xyzzy", "unknown preset 'xyzzy'; Known: IOI, name replaced;"),
        ("", "unknown preset ''; Known: "),
        (3, "unknown preset 3; Known: "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(PatchError) as raised:
        preset(name)
    assert message in str(raised.value)
