"""What is run for a pair: its two prompts, continued by the answer's tokens where an answer has several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..answers import Target
from ..metrics import Metric
from ..prompts import EncodedPair


@dataclass(frozen=True)
class Lane:
    """One text to run, in its clean and its corrupted form.

    Attributes:
        item: which row of the values it belongs to; an item is one pair in one sample.
        pair, number: the pair and its number in the dataset.
        sample: the number of the random draw.
        reads: "answer", "foil", or "both" where one text serves both.
        tail: tokens after the prompt: all of the answer (or foil) but its last.
    """

    item: int
    pair: EncodedPair
    number: int
    sample: int
    reads: str
    tail: tuple[int, ...] = ()

    def ids(self, run: str) -> tuple[int, ...]:
        """Return the token ids of a run, the tail included."""
        return (*self.pair.ids(run), *self.tail)

    @property
    def steps(self) -> int:
        """How many positions are read."""
        return len(self.tail) + 1

    @property
    def kept(self) -> int:
        """How many positions from the end the logits must reach back."""
        return -self.pair.at + len(self.tail)

    @property
    def read(self) -> slice:
        """The positions read, from the end."""
        start = self.pair.at - len(self.tail)
        return slice(start, start + self.steps or None)

    def positions(self, run: str) -> list[tuple[int, int]]:
        """Return (position of `run`, position of the other run) for every position that has a counterpart."""
        own, other = len(self.pair.ids(run)), len(self.pair.ids("clean" if run == "corrupted" else "corrupted"))
        pairs = [(p, self.pair.counterpart(run, p)) for p in range(own)]
        matched = [(p, q) for p, q in pairs if q is not None]
        return matched + [(own + i, other + i) for i in range(len(self.tail))]


def lanes_of(pairs: Sequence[EncodedPair], samples: int, metrics: Sequence[Metric]) -> list[Lane]:
    """Return the texts to run, pair by pair, each `samples` times."""
    foils = any(metric.needs_foil for metric in metrics)
    found = []
    for number, pair in enumerate(pairs):
        tails = [("answer", _tail(pair.answers))]
        if foils:
            tails.append(("foil", _tail(pair.foils)))
        if len({tail for _, tail in tails}) == 1:
            tails = [("both", tails[0][1])]
        for sample in range(samples):
            item = number * samples + sample
            found += [Lane(item, pair, number, sample, reads, tail) for reads, tail in tails]
    return found


def _tail(target: Target) -> tuple[int, ...]:
    return target[0][:-1] if target else ()
