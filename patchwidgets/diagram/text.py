"""Texts and numbers in a drawing: how much room they take, and how they are shortened, visibly."""

from __future__ import annotations

import unicodedata

from ..spelling import minus


def width(text: str) -> float:
    """Return how much room a text takes, in letters of middling width."""
    return sum(map(_room, text))


def _room(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.9
    if letter in "mwMW@%\u2014":
        return 1.5
    return 0.6 if letter in " .,:;'!|()[]ijlft" else 1.2 if letter.isupper() or not letter.isascii() else 1.0


def shortened(text: str, columns: float) -> str:
    """Return a text of at most so much room; an ellipsis stands for what is left out of its middle.

    >>> shortened("When Mary and John went", 11)
    'When… went'
    """
    if width(text) <= columns:
        return text
    half = (columns - 1.2) / 2
    return f"{_begin(text, half)}\u2026{_begin(text[::-1], half)[::-1]}"


def _begin(text: str, columns: float) -> str:
    used = 0.0
    for i, letter in enumerate(text):
        used += _room(letter)
        if used > columns:
            return text[:i]
    return text


def lines_of(text: str, columns: float, most: int) -> list[str]:
    """Return a text in at most so many lines, broken at spaces where there are some; the last may be shortened."""
    left, lines = text, []
    while len(lines) < most - 1 and width(left) > columns:
        piece = _begin(left, columns)
        cut = piece.rfind(" ") + 1 or len(piece)
        lines.append(piece[:cut].rstrip())
        left = left[cut:]
    return [*lines, shortened(left, columns)]


def shown(value: float) -> str:
    """Return a number as it is drawn: two decimals, three digits where that would be nothing.

    >>> shown(3.0), shown(-0.61), shown(0.00123), shown(0.0)
    ('3.00', '−0.61', '0.00123', '0.00')
    """
    text = f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
    return minus(text)
