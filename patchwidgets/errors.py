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
    `between` is true where the fault lies between the two prompts, and either may be changed. `near` is the nearest
    text that could stand in the field, where there is one; a front end offers it.
    """

    def __init__(self, message: str, field: str = "clean", *, between: bool = False, near: str | None = None) -> None:
        super().__init__(message)
        self.field, self.between, self.near = field, between, near


class FileError(PatchError):
    """A file is not a saved result, or is damaged."""


def in_words(error: BaseException) -> str:
    """Return an error as it is told: our own by its message, any other with its kind before it.

    >>> in_words(PatchError("no such site.")), in_words(KeyError("a"))
    ('no such site.', "KeyError: 'a'")
    """
    return str(error) if isinstance(error, PatchError) else f"{type(error).__name__}: {error}"


def quoted(name: object) -> str:
    """Return `name` as it appears in messages: its repr, shortened in the middle when very long."""
    try:
        text = repr(name)
    except ValueError:  # A whole number of thousands of digits.
        text = f"what cannot be written out, a {type(name).__name__}"
    return text if len(text) <= 80 else f"{text[:50]}...{text[-20:]}"


def _near(name: str, known: list[str]) -> str | None:
    """Return the known name that is or begins like `name`, else the one that resembles it most, if any does."""
    begun = (other for other in sorted(known, key=len) if other.lower().startswith(name))
    return next(begun, None) or next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.5)), None)


def unknown(kind: str, name: object, known: Iterable[str]) -> PatchError:
    """Return the error for a name nobody knows, with the nearest known one.

    >>> str(unknown("site", "resid_per", ["resid_pre", "z"]))
    "unknown site 'resid_per'; did you mean 'resid_pre'? Known: resid_pre, z."
    >>> str(unknown("dataset", "IOI", ["IOI, ABA", "Facts"]))
    "unknown dataset 'IOI'; did you mean 'IOI, ABA'? Known: 'IOI, ABA', 'Facts'."
    """
    names = list(known)
    listed = map(repr, names) if any("," in each for each in names) else names
    near = _near(name.lower(), names) if isinstance(name, str) and name else None
    hint = f"; did you mean {near!r}?" if near else "."
    return PatchError(f"unknown {kind} {quoted(name)}{hint} Known: {', '.join(listed)}.")
