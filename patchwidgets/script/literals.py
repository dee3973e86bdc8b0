"""Python values as source text, broken into lines of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 100


class Code(str):
    """Source text that stands for itself in a literal."""


def literal(value: Any, before: int = 0, indent: int = 0) -> str:
    """Return a value as source; `before` columns stand before it in its line, and further lines are indented."""
    flat = _flat(value)
    if before + len(flat) < WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return flat
    inner, pad = indent + 4, " " * (indent + 4)
    if isinstance(value, list) and all(isinstance(item, (int, float)) for item in value):
        lines = textwrap.fill(flat[1:-1] + ",", WIDTH, initial_indent=pad, subsequent_indent=pad)
    elif isinstance(value, dict):
        items = [(f"{_flat(key)}: ", item) for key, item in value.items()]
        lines = "\n".join(f"{pad}{key}{literal(item, inner + len(key) + 1, inner)}," for key, item in items)
    else:
        lines = "\n".join(f"{pad}{literal(item, inner + 1, inner)}," for item in value)
    opened, closed = flat[0], flat[-1]
    return f"{opened}\n{lines}\n{' ' * indent}{closed}"


def _flat(value: Any) -> str:
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, str):
        text = repr(value)
        return text if '"' in value or text[0] == '"' else f'"{value_of(text)}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(key)}: {_flat(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_flat, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    # A number of another library's kind shows its kind.
    return repr(float(value)) if isinstance(value, float) else repr(value)


def value_of(text: str) -> str:
    """Return what stands between the quotes of a single-quoted literal."""
    return text[1:-1].replace("\\'", "'")


def assigned(name: str, value: Any, indent: int = 0) -> str:
    """Return `name = value`."""
    start = f"{' ' * indent}{name} = "
    return start + literal(value, len(start), indent)


def call(name: str, arguments: Sequence[str], before: int = 0, indent: int = 0) -> str:
    """Return a call, one argument a line where all do not fit in one."""
    flat = f"{name}({', '.join(arguments)})"
    if before + len(flat) <= WIDTH:
        return flat
    pad = " " * (indent + 4)
    return f"{name}(\n" + "".join(f"{pad}{argument},\n" for argument in arguments) + " " * indent + ")"


def indices(values: Sequence[int]) -> str:
    """Return indices to loop over: `range(4)`, or a list."""
    return f"range({len(values)})" if list(values) == list(range(len(values))) else _flat(list(values))


def indented(text: str, columns: int = 4) -> str:
    """Return the text moved to the right; empty lines stay empty."""
    return textwrap.indent(text, " " * columns)
