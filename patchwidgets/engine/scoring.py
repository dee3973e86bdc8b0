"""From logits to metrics, lane by lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..answers import Target
from ..metrics import Metric, Reading
from ..prompts import EncodedPair
from .baseline import RUNS, Baseline, Row
from .lanes import Lane


def score_rows(metrics: Sequence[Metric], reading: Reading) -> np.ndarray:
    """Return the metrics of a reading as float64 [metric, run]; half precision is scored in float32."""
    return np.stack([metric.score(_raised(reading)).detach().double().cpu().numpy() for metric in metrics])


def _raised(reading: Reading) -> Reading:
    fields: dict[str, Any] = {
        name: value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value
        for name, value in vars(reading).items()
    }
    return Reading(**fields)


def reading_of(
    pair: EncodedPair,
    answer: Tensor,
    foil: Tensor,
    plain: tuple[Tensor, Tensor],
    logits: Tensor | None = None,
    tokens: Tensor | None = None,
) -> Reading:
    """Return what metrics read: answer and foil logits [run, step, vocab], the plain runs' [vocab] each."""
    return Reading(answer, foil, pair.answers, pair.foils, *plain, logits, tokens)


class Scorer:
    """Scores the runs of a sweep's lanes, item by item."""

    def __init__(self, metrics: Sequence[Metric], lanes: Sequence[Lane], device: torch.device) -> None:
        self.metrics, self.device = metrics, device
        self.narrow = all(metric.columns for metric in metrics) and not any(lane.tail for lane in lanes)
        self.items: dict[int, list[Lane]] = {}
        for lane in lanes:
            self.items.setdefault(lane.item, []).append(lane)

    def entries(self, lane: Lane) -> tuple[int, ...] | None:
        """Return the tokens whose logits the metrics read in a lane, None meaning all."""
        return tuple(_tokens(lane.pair)) if self.narrow else None

    def columns(self, lane: Lane) -> Tensor | None:
        """Return the entries of the vocabulary that the metrics read in a lane, None meaning all."""
        entries = self.entries(lane)
        return None if entries is None else torch.tensor(entries, device=self.device)

    def narrowed(self, lane: Lane, logits: Tensor) -> Tensor:
        """Return the logits of those entries, [..., entry], from those of all tokens."""
        return logits[..., _tokens(lane.pair)] if self.narrow else logits

    def plain(self, baseline: Baseline) -> np.ndarray:
        """Return the metrics of the plain runs, [metric, item, run] in the order clean, corrupted."""

        def of(lanes: Sequence[Lane], run: str) -> np.ndarray:
            read = {lane: [self.narrowed(lane, baseline.read[lane, run])] for lane in lanes}
            whole = {lane: [baseline.whole[lane, run]] for lane in lanes if baseline.whole}
            return self._score(lanes, read, baseline, run, whole)

        both = [np.concatenate([of(lanes, run) for run in RUNS], axis=1) for lanes in self.items.values()]
        return np.stack(both, axis=1)

    def patched(
        self,
        read: Mapping[Lane, Sequence[Tensor]],
        whole: Mapping[Lane, Sequence[Tensor]],
        baseline: Baseline,
        base: str,
    ) -> np.ndarray:
        """Return the metrics of patched base runs, [metric, item, cell]; per lane the narrowed logits cell by cell."""
        return np.stack([self._score(lanes, read, baseline, base, whole) for lanes in self.items.values()], axis=1)

    def _score(
        self,
        lanes: Sequence[Lane],
        read: Mapping[Lane, Sequence[Tensor]],
        baseline: Baseline,
        run: str,
        whole: Mapping[Lane, Sequence[Tensor]],
    ) -> np.ndarray:
        answer, foil = lanes[0], lanes[-1]
        answers, foils = (torch.stack(list(read[lane])) for lane in (answer, foil))
        logits = tokens = None
        if whole:
            # What an answer of several tokens appends is no part of the prompt a function reads.
            prompt = answer.pair.ids(run)
            logits = torch.stack([each[: len(prompt)] for each in whole[answer]])
            tokens = torch.tensor([prompt], device=self.device).expand(len(logits), -1)
        plain = tuple(baseline.read[_row(answer, of)][0] for of in RUNS)
        reading = reading_of(answer.pair, answers, foils, plain, logits, tokens)  # type: ignore[arg-type]
        return score_rows(self.metrics, _renumbered(reading, _tokens(answer.pair)) if self.narrow else reading)


def _row(lane: Lane, run: str) -> Row:
    return lane, run


def _tokens(pair: EncodedPair) -> list[int]:
    return sorted({token for target in (pair.answers, pair.foils) for sequence in target for token in sequence})


def _renumbered(reading: Reading, tokens: Sequence[int]) -> Reading:
    """Return a reading whose logits are those of `tokens` only, its answers counted among them."""
    at = {token: i for i, token in enumerate(tokens)}

    def of(target: Target) -> Target:
        return tuple(tuple(at[token] for token in sequence) for sequence in target)

    return replace(reading, answers=of(reading.answers), foils=of(reading.foils))
