"""The token strip and its editor: which token of the clean prompt stands for which of the corrupted one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import ipywidgets as w

from ..alignment import Alignment, propose
from ..prompts import EncodedPair, Prompt
from ..spelling import shown_token
from ..views import TokenStrip
from .slots import columns_of, token_columns_of
from .text import Line

Match = tuple[int, int]
Prompts = tuple[Prompt, Prompt]


class Aligning:
    """The two prompts over one another, with the alignment proposed until it is edited by hand.

    `on_change` is called after an edit. `lock` is the Explorer's: other threads wait while an edit is made.
    """

    def __init__(self, group: str, lock: threading.RLock, on_change: Callable[[], None]) -> None:
        self._lock, self._on_change = lock, on_change
        self._pair: EncodedPair | None = None
        self._edited: tuple[Match, ...] | None = None
        self._prompts: Prompts | None = None  # those the edit belongs to
        self._below, self._one = False, True
        self._kept: str | None = None  # the clean prompt whose tokens can be chosen
        self.strip = TokenStrip(group=group)
        self.told, self.error = Line("pw-x-dim"), Line("pw-x-error")
        self.strip.on_edit(self._intent)
        self.box = w.VBox([self.strip, self.told, self.error])
        self.box.add_class("pw-x-align")

    def matches(self, prompts: Prompts) -> list[list[int]] | None:
        """Return the matches made by hand for two prompts, [clean, corrupted] positions; None for those proposed."""
        if self._edited is None or prompts != self._prompts:
            return None
        return [list(match) for match in self._edited]

    @property
    def pair(self) -> EncodedPair | None:
        """The pair on show."""
        return self._pair

    @property
    def edits(self) -> bool:
        """Whether there is an alignment to edit: prompts that are compared position by position have none."""
        return self.strip.editing != "off"

    def set(self, matches: Iterable[Sequence[int]] | None, prompts: Prompts) -> None:
        """Take matches for two prompts as made by hand, None for the proposal."""
        with self._lock:
            self._edited = None if matches is None else tuple((match[0], match[1]) for match in matches)
            self._prompts = prompts

    def show(self, pair: EncodedPair, prompts: Prompts) -> None:
        """Show two prompts as they are compared; an edit of other prompts is dropped."""
        with self._lock:
            self._pair = pair
            self.dim(False)
            if prompts != self._prompts:
                self._edited, self._prompts = None, prompts
            edited = self._edited is not None
            self.strip.editing = "off" if pair.alignment is None and not edited else "edited" if edited else "proposed"
            self.strip.columns = token_columns_of(pair)
            self.error.say("")
            self.told.say(_told(pair, edited) if self.edits else "")
            if self._kept is not None:
                self._arrange()

    def dim(self, stale: bool) -> None:
        """Show that the strip is not of the prompts that are entered, or that it is again."""
        (self.strip.add_class if stale else self.strip.remove_class)("pw-x-stale")

    def arrange(self, tokens_are_below: bool, *, one: bool = True) -> None:
        """Hide the strip where the map shows the same columns and there is nothing to edit, or more than one pair."""
        self._below, self._one = tokens_are_below, one
        self._arrange()

    def keep(self, clean: str | None) -> None:
        """Show the strip of a clean prompt even so, while its tokens can be chosen; None no longer."""
        self._kept = clean
        self._arrange()

    @property
    def kept(self) -> bool:
        """Whether it is the strip of the prompt whose tokens can be chosen."""
        return self._kept is not None and self._pair is not None and self._pair.given[0] == self._kept

    def _arrange(self) -> None:
        hidden = not self._one or (self._below and not self.edits and not self.kept)
        self.box.layout.display = "none" if hidden else None

    def _intent(self, what: str, clean: int | None, corrupted: int | None) -> None:
        """Do what was asked for on the page, or say why not; columns count those on screen."""
        with self._lock:
            pair = self._pair
            if pair is None or not self.edits:
                return
            made = None if what == "reset" else _edited(pair, what, clean, corrupted)
            self.error.say(made if isinstance(made, str) else "")
            if isinstance(made, str) or made == self._edited:
                return
            self._edited = made
        self._on_change()


def _edited(pair: EncodedPair, what: str, clean: int | None, corrupted: int | None) -> tuple[Match, ...] | str | None:
    """Return the matches after an edit, None where they are those proposed, or why it cannot be made."""
    columns = columns_of(pair)
    i = None if clean is None else columns[clean][0]
    j = None if corrupted is None else columns[corrupted][1]
    present = [(a, b) for a, b in columns if a is not None and b is not None]
    made = _paired(pair, present, i, j) if what == "pair" else _unpaired(pair, present, i, j)
    if isinstance(made, str):
        return made
    new = Alignment.from_pairs(len(pair.clean), len(pair.corrupted), made)
    return None if new.matches == propose(pair.clean, pair.corrupted).matches else new.matches


def _paired(pair: EncodedPair, matches: list[Match], i: int | None, j: int | None) -> list[Match] | str:
    """Return the matches with clean position `i` and corrupted position `j` paired, or why they cannot be."""
    if i is None or j is None:
        return "Pick one clean and one corrupted token to pair."
    rest = [match for match in matches if match[0] != i and match[1] != j]
    crossed = next((match for match in rest if (match[0] < i) != (match[1] < j)), None)
    if crossed:
        return (
            f"{_pair(pair, (i, j))} would cross {_pair(pair, crossed)}: the order must be the same in both prompts. "
            "Unpair those first."
        )
    return sorted([*rest, (i, j)])


def _unpaired(pair: EncodedPair, matches: list[Match], i: int | None, j: int | None) -> list[Match] | str:
    """Return the matches without those of clean position `i` and corrupted position `j`, or why that cannot be."""
    rest = [match for match in matches if match[0] != i and match[1] != j]
    if len(rest) == len(matches):
        picked = [_token(pair, run, at) for run, at in (("clean", i), ("corrupted", j)) if at is not None]
        return f"{' and '.join(picked)} already stand alone." if picked[1:] else f"{picked[0]} already stands alone."
    if not rest:
        return "This is the last pair; two prompts without any cannot be compared."
    return rest


def _told(pair: EncodedPair, edited: bool) -> str:
    """Return the alignment in words: "Proposed: 4 shared at the start, 6 at the end, 1 paired between"."""
    columns = columns_of(pair)
    same = [i is not None and j is not None and pair.clean[i] == pair.corrupted[j] for i, j in columns]
    start = next((at for at, shared in enumerate(same) if not shared), len(same))
    end = next((at for at, shared in enumerate(reversed(same)) if not shared), len(same))
    end = min(end, len(same) - start)
    between = columns[start : len(columns) - end]
    paired = sum(None not in column for column in between)
    alone = [(sum(column[other] is None for column in between), run) for run, other in (("clean", 1), ("corrupted", 0))]
    left = " and ".join(f"{count} {run}" for count, run in alone if count)
    parts = [f"{start} shared at the start", f"{end} at the end", f"{paired} paired between"]
    told = f"{'Edited by hand' if edited else 'Proposed'}: {', '.join(parts)}"
    tokens = "token" if sum(count for count, _ in alone) == 1 else "tokens"
    return f"{told}; {left} {tokens} without a counterpart." if left else f"{told}."


def _pair(pair: EncodedPair, match: Match) -> str:
    return f"{_token(pair, 'clean', match[0])} with {_token(pair, 'corrupted', match[1])}"


def _token(pair: EncodedPair, run: str, position: int) -> str:
    return f"'{shown_token(pair.texts(run)[position])}'"
