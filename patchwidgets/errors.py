"""Errors a user can cause and mend: each message names the thing and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PatchError(ValueError):
    """Something asked for cannot be done as asked; the message says what, and what to do instead."""


class ModelError(PatchError):
    """The model cannot be used as it is."""


class PromptError(PatchError):
    """The prompts, the answer or the foil cannot be used with this model.

    `field` names the input at fault: "clean", "corrupted", "answer" or "foil"; a front end shows the message beside it.
    """

    def __init__(self, message: str, field: str = "clean") -> None:
        super().__init__(message)
        self.field = field


class FileError(PatchError):
    """A file is not a saved result, or is damaged."""


def quoted(name: object) -> str:
    """Return `name` as it appears in messages: its repr, shortened in the middle when very long."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:50]}...{text[-20:]}"


def unknown(kind: str, name: object, known: Iterable[str]) -> PatchError:
    """Return the error for a name nobody knows, with the nearest known one.

    >>> str(unknown("site", "resid_per", ["resid_pre", "z"]))
    "unknown site 'resid_per'; did you mean 'resid_pre'? Known: resid_pre, z."
    """
    names = list(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return PatchError(f"unknown {kind} {quoted(name)}{hint} Known: {', '.join(names)}.")
