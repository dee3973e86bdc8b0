"""From logits to metrics, lane by lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..metrics import Metric, Reading
from ..prompts import EncodedPair
from .baseline import Baseline, Row
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
        self.items: dict[int, list[Lane]] = {}
        for lane in lanes:
            self.items.setdefault(lane.item, []).append(lane)

    def plain(self, baseline: Baseline) -> np.ndarray:
        """Return the metrics of the plain runs, [metric, item, run] in the order clean, corrupted."""
        return np.stack(
            [
                np.concatenate(
                    [
                        self._score(lanes, {lane: [baseline.read[lane, run]] for lane in lanes}, baseline, run,
                                    {lane: [baseline.whole[lane, run]] for lane in lanes if baseline.whole})
                        for run in ("clean", "corrupted")
                    ],
                    axis=1,
                )
                for lanes in self.items.values()
            ],
            axis=1,
        )  # fmt: skip

    def patched(
        self,
        read: Mapping[Lane, Sequence[Tensor]],
        whole: Mapping[Lane, Sequence[Tensor]],
        baseline: Baseline,
        base: str,
    ) -> np.ndarray:
        """Return the metrics of patched base runs, [metric, item, cell]; per lane the logits cell by cell."""
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
            logits = torch.stack(list(whole[answer]))
            tokens = torch.tensor([answer.ids(run)], device=self.device).expand(len(logits), -1)
        plain = tuple(baseline.read[_row(answer, of)][0] for of in ("clean", "corrupted"))
        return score_rows(self.metrics, reading_of(answer.pair, answers, foils, plain, logits, tokens))  # type: ignore[arg-type]


def _row(lane: Lane, run: str) -> Row:
    return lane, run
