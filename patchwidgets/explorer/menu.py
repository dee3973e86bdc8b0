"""The Explorer's preset menu: the package's presets, the other corruption kinds of their first prompt, and a sum."""

from __future__ import annotations

from ..presets import PRESETS, Preset
from ..prompts import PromptPair

_IOI = "When {} and {} went to the store, {} gave a drink to"
_CLEAN = _IOI.format("Mary", "John", "John")


def _kind(name: str, first: str, second: str, third: str, note: str) -> Preset:
    """Return a kind of corruption of the first preset, with the foil that `generators.ioi` gives it."""
    pair = PromptPair(_CLEAN, _IOI.format(first, second, third), answer=" Mary", foil=" John")
    return Preset(f"IOI, {name}", pair, note)


_KINDS = (
    _kind("CDD", "Anna", "Tom", "Tom", "Who the names are varies; the place of the repeated name is the same."),
    _kind("BAA", "John", "Mary", "Mary", "The two names change places throughout; the repeated one is still second."),
    _kind(
        "BAB",
        "John",
        "Mary",
        "John",
        "Where the repeated name is first given varies, and nothing else; both prompts call for the same answer, so "
        "shares of their gap say little. A cell's tooltip and the table to save have its effect in the metric's unit.",
    ),
    _kind("DCD", "Tom", "Anna", "Tom", "Who the names are, and the place of the repeated name, both vary."),
)

ADDITION = Preset(
    "Addition",
    PromptPair("Output ONLY a number. 3+4=", "Output ONLY a number. 5+4=", answer="7", foil="9"),
    "The first number varies; the second one and the instruction are the same. Numbers of one digit, as the sum must "
    "be one token; for a model that adds, which the embedded one does not.",
)

MENU: tuple[Preset, ...] = (*PRESETS[:2], *_KINDS, *PRESETS[2:], ADDITION)
"""What can be chosen. The kinds "name replaced" (CBB) and "subject flipped" (ABA) are presets of the package."""
