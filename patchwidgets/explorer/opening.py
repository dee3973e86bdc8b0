"""`pw.explore`: the one call that opens an Explorer."""

from __future__ import annotations

from typing import Any

from ..datasets import Dataset
from ..interventions import Intervention
from ..prompts import PromptPair
from .explorer import Explorer


def explore(
    model: Any = None,
    pair: PromptPair | Dataset | None = None,
    *,
    dataset: Dataset | None = None,
    intervention: str | Intervention | None = None,
    against: Any = None,
) -> Explorer:
    """Return the Explorer on a model (the embedded one when None), opened with `pair` or the default demo.

    With a Dataset for `pair` the map shows means over those of its pairs that the model answers rightly. `dataset` is
    what the interventions mean and resample are made from, by default the dataset that is swept. `intervention` is the
    one to begin with: a word of the control, or an object such as `pw.Vector([...])`, which stands in the
    control under its own word. `against` is a second model, or another checkpoint: every sweep runs on both, and their
    maps stand side by side on one scale; `explorer.against` is its result.

    >>> explorer = explore()
    >>> result = explorer.run().wait()
    >>> explorer.wait().metrics
    ('logit_diff',)
    """
    return Explorer(model, pair, dataset=dataset, intervention=intervention, against=against)
