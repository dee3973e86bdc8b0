"""What is written into the base run: which run is changed, and where the new activation comes from."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import unknown

DIRECTIONS = ("denoise", "noise")


@dataclass(frozen=True)
class Patch:
    """The activation of the other run, put into the base run.

    `direction="denoise"` changes the corrupted run with activations of the clean one (what is sufficient to bring the
    answer back); `direction="noise"` changes the clean run with activations of the corrupted one (what is necessary to
    keep it). Source: Heimersheim and Nanda, arXiv 2404.15255, section 2.

    >>> Patch("denoise").base, Patch("denoise").source
    ('corrupted', 'clean')
    """

    direction: str = "denoise"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)

    @property
    def base(self) -> str:
        """The run that is changed."""
        return "corrupted" if self.direction == "denoise" else "clean"

    @property
    def source(self) -> str:
        """The run activations are taken from."""
        return "clean" if self.direction == "denoise" else "corrupted"

    @property
    def moved(self) -> str:
        """The word for the normalized effect in this direction."""
        return "recovered" if self.direction == "denoise" else "destroyed"
