"""How numbers, indices and characters that cannot be seen are spelled for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

MINUS = "\u2212"
ELLIPSIS = "\u2026"
"""What a position reads at which the pairs of a dataset have different tokens."""
SYMBOLS = {"\n": "\u21b5", "\r": "\u240d", "\t": "\u21e5"}
"""What stands for a line break, a carriage return and a tab."""

_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
"""Categories without a picture: controls, joiners and marks of direction, private ones, halves of characters,
separators, spaces that are no space."""
_IGNORED = {
    *"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u2800\u3164\uffa0",
    *map(chr, (*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000))),
}
"""Fillers and selectors, as Unicode's Default_Ignorable_Code_Point has them, and the empty Braille pattern."""


def minus(text: str) -> str:
    """Return a number's text with a minus sign in the place of the hyphen."""
    return text.replace("-", MINUS)


def signed(value: float, *, plus: bool = False) -> str:
    """Return a number with two decimals and a minus sign, which 0.00 never has; with a plus where that is asked for.

    Where both signs are told, what would read 0.00 gets two decimals more, and 0.00 has no sign.

    >>> signed(-0.256), signed(-0.001), signed(3.0, plus=True), signed(-0.0008, plus=True), signed(0.0, plus=True)
    ('\u22120.26', '0.00', '+3.00', '\u22120.0008', '0.00')
    """
    text = f"{abs(value):.2f}"
    if plus and not float(text) and abs(value) >= 0.00005:
        text = f"{abs(value):.4f}"
    if not float(text):
        return text
    return (MINUS if value < 0 else "+" if plus else "") + text


def counted(number: int, name: str) -> str:
    """Return a number with what it counts.

    >>> counted(1, "cell"), counted(0, "cell")
    ('1 cell', '0 cells')
    """
    return f"{number} {name}{'' if number == 1 else 's'}"


def brief(value: float) -> str:
    """Return a setting as it is told: a whole number whole, of any other six digits at most, no needless decimals.

    >>> brief(3.0), brief(-0.5), brief(1e9), brief(20240101)
    ('3', '\u22120.5', '1e+09', '20240101')
    """
    return minus(str(value) if isinstance(value, int) else f"{value:g}")


def ranges(indices: Sequence[int] | None) -> str:
    """Return indices, rising ones as ranges.

    >>> ranges([0, 1, 2, 3, 8]), ranges([4, 5]), ranges(None)
    ('0-3, 8', '4, 5', '')
    """
    stretches: list[list[int]] = []
    for index in indices or ():
        if stretches and index == stretches[-1][-1] + 1:
            stretches[-1].append(index)
        else:
            stretches.append([index])
    # From the end, as -3, they are named one by one: a range of them could not be read again.
    parts = [f"{one[0]}-{one[-1]}" if len(one) > 2 and one[0] >= 0 else ", ".join(map(str, one)) for one in stretches]
    return ", ".join(parts)


def joined_text(texts: Sequence[str], of: Sequence[str] = ()) -> str:
    """Return tokens' texts as one. Where none of them, nor `of` their prompts, begins with a space, each is a word.

    >>> joined_text(["When", " Mary"]), joined_text(["When", "Mary"]), joined_text(["ing"], of=["go", "ing", " on"])
    ('When Mary', 'When Mary', 'ing')
    """
    spaced = any(text.startswith(" ") for text in (*texts, *of))
    return ("" if spaced else " ").join(filter(None, texts))


def shown_text(text: str) -> str:
    """Return a text with what cannot be seen in it as symbols, or named by its code point, as the views show it.

    >>> shown_text("a\\tb\\u200b")
    'a\u21e5b\u27e8200b\u27e9'
    """
    shown = "".join(_named(c, text, at) if _unseen(c) else c for at, c in enumerate(text))
    return f"\u25cc{shown}" if unicodedata.category(shown[:1] or " ").startswith("M") else shown


def shown_token(text: str) -> str:
    """Return a token's text as the views show it: leading and trailing spaces as dots, nothing in it unseen.

    >>> shown_token(" Mary")
    '\u00b7Mary'
    """
    if not text:
        return "\u2205"
    words = text.strip(" ")
    before = len(text) - len(text.lstrip(" ")) if words else len(text)
    after = len(text) - len(words) - before
    return isolated("\u00b7" * before + shown_text(words) + "\u00b7" * after)


def isolated(text: str) -> str:
    """Return a text that turns nothing around it: one with letters written from right to left is set apart."""
    turned = any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)
    return f"\u2068{text}\u2069" if turned else text


def _unseen(c: str) -> bool:
    return c != " " and (c in _IGNORED or unicodedata.category(c) in _UNSEEN or _is_none(c))


def _is_none(c: str) -> bool:
    """Whether a code point is one that Unicode gives to no character, ever."""
    return 0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE


def _named(c: str, text: str, at: int) -> str:
    """Return the symbol or the name of an unseen character; what holds an emoji together stays."""
    before, after = (unicodedata.category(near) if near else "" for near in (text[at - 1 : at], text[at + 1 : at + 2]))
    if c == "\u200d" and after == "So" and (before in ("So", "Sk") or text[at - 1 : at] == "\ufe0f"):
        return c
    if c == "\ufe0f" and before in ("So", "Sm", "Po", "Nd"):
        return c
    return SYMBOLS.get(c, f"\u27e8{ord(c):x}\u27e9")
