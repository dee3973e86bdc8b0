"""Prompt pairs and their tokens: pure data, as they are given and as one model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .alignment import Alignment
from .answers import Answer, Target, as_id, as_ids, check_answer
from .errors import PatchError, PromptError, quoted

Prompt = str | Sequence[int]


@dataclass(frozen=True)
class PromptPair:
    """Two prompts that differ in one fact, and the tokens whose logits tell the difference.

    Prompts are texts, or lists of token ids used verbatim. `answer` and `foil` are literal: a text never gains or
    loses a space, an int is a token id, a list means any one of its tokens, a `Continuation` several tokens in a row.
    `at` is the position the metric is read at, -1 the last one; it counts the BOS. No model is needed to make a pair;
    what depends on one is checked when the pair is used.

    >>> pair = PromptPair("Mary and John: Mary", "Anna and John: Anna", answer=" Mary", foil=" Anna")
    >>> pair.answer
    ' Mary'
    """

    clean: Prompt
    corrupted: Prompt
    answer: Answer | None = None
    foil: Answer | None = None
    at: int = -1

    def __post_init__(self) -> None:
        for name in ("clean", "corrupted"):
            value = getattr(self, name)
            if isinstance(value, str):
                continue
            ids = as_ids(value)
            if ids is None:
                raise PromptError(f"{name} must be a text or a list of token ids, not {quoted(value)}.", name)
            object.__setattr__(self, name, ids)
        for name in ("answer", "foil"):
            object.__setattr__(self, name, check_answer(getattr(self, name), name))
        at = as_id(self.at)
        if at is None:
            raise PromptError(f"at must be a position (a whole number, -1 the last), not {quoted(self.at)}.", "clean")
        object.__setattr__(self, "at", at)


@dataclass(frozen=True)
class EncodedPair:
    """A prompt pair as one model's tokens.

    Attributes:
        clean, corrupted: token ids, each [pos]; of one length unless there is an alignment.
        clean_text, corrupted_text: the text of every token, each [pos]; ids as text when there is no tokenizer.
        prepend_bos: whether a beginning-of-sequence token was put before the texts.
        bos_at: the position of that token, or None.
        answers, foils: the token sequences meant, () where not given.
        answer_text, foil_text: their texts, or None.
        at: the position read in either run, counted from its end: -1 is the last.
        given: the clean and the corrupted text as they were given, None for token ids.
        alignment: which positions are each other's counterparts; None means position by position.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    clean_text: tuple[str, ...]
    corrupted_text: tuple[str, ...]
    prepend_bos: bool
    bos_at: int | None = None
    answers: Target = ()
    foils: Target = ()
    answer_text: str | None = None
    foil_text: str | None = None
    at: int = -1
    alignment: Alignment | None = None
    given: tuple[str | None, str | None] = (None, None)

    @property
    def answer(self) -> int | None:
        """The answer's token id where the answer is one token, else None."""
        return _single(self.answers)

    @property
    def foil(self) -> int | None:
        """The foil's token id where the foil is one token, else None."""
        return _single(self.foils)

    @property
    def length(self) -> int:
        """The number of positions, the beginning-of-sequence token included; of the longer prompt when they differ."""
        return max(len(self.clean), len(self.corrupted))

    @property
    def differs(self) -> tuple[bool, ...]:
        """Per position of the longer prompt, whether the two hold different tokens there, or only one a token."""
        both = [a != b for a, b in zip(self.clean, self.corrupted, strict=False)]
        return (*both, *[True] * (self.length - len(both)))

    @property
    def first_difference(self) -> int:
        """The first position whose tokens differ; under causal attention nothing before it can."""
        return self.differs.index(True) if True in self.differs else self.length

    def ids(self, run: str) -> tuple[int, ...]:
        """Return the token ids of a run, "clean" or "corrupted"."""
        return self.clean if run == "clean" else self.corrupted

    def texts(self, run: str) -> tuple[str, ...]:
        """Return the token texts of a run."""
        return self.clean_text if run == "clean" else self.corrupted_text

    def counterpart(self, run: str, position: int) -> int | None:
        """Return the other run's position that stands for this run's `position`, None where it has none."""
        return position if self.alignment is None else self.alignment.counterpart(run, position)


def _single(target: Target) -> int | None:
    return target[0][0] if len(target) == 1 and len(target[0]) == 1 else None


def check_pair(pair: object) -> PromptPair:
    """Return `pair` when it is a PromptPair; anything else is a PatchError."""
    if isinstance(pair, PromptPair):
        return pair
    if isinstance(pair, (list, tuple)) and pair and all(isinstance(each, PromptPair) for each in pair):
        raise PatchError("expected a PromptPair or a Dataset, got a list of pairs; write pw.Dataset(pairs).")
    raise PatchError(
        f"expected a PromptPair, got {quoted(pair)}; write pw.PromptPair(clean, corrupted, answer=..., foil=...)."
    )
