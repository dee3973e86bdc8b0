"""patchwidgets: activation patching, live in a notebook."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import alignment
    from .alignment import Alignment as Alignment
    from .answers import Continuation as Continuation
    from .datasets import Dataset as Dataset
    from .engine.answered import by_length as by_length
    from .engine.answered import right as right
    from .engine.model import load_model as load_model
    from .engine.patch import patch as patch
    from .engine.run import Run as Run
    from .errors import PatchError as PatchError
    from .explorer import Explorer as Explorer
    from .explorer import explore as explore
    from .interventions import Mask as Mask
    from .interventions import Mean as Mean
    from .interventions import Noise as Noise
    from .interventions import Resample as Resample
    from .interventions import Scale as Scale
    from .interventions import Standing as Standing
    from .interventions import Vector as Vector
    from .interventions import Zero as Zero
    from .joint import Joint as Joint
    from .presets import PRESETS as PRESETS
    from .presets import preset as preset
    from .prompts import PromptPair as PromptPair
    from .result import PatchResult as PatchResult
    from .suggest import suggest_corrupted as suggest_corrupted
    from .views import AttentionView as AttentionView
    from .views import Heatmap as Heatmap
    from .views import Predictions as Predictions
    from .views import TokenStrip as TokenStrip
    from .views import token_columns as token_columns

    propose_alignment = alignment.propose

__version__ = "0.1.0"

_HOMES = {
    "load_model": "engine.model",
    "patch": "engine.patch",
    "Run": "engine.run",
    "PatchError": "errors",
    "explore": "explorer",
    "Explorer": "explorer",
    "PRESETS": "presets",
    "preset": "presets",
    "PromptPair": "prompts",
    "PatchResult": "result",
    "Dataset": "datasets",
    "suggest_corrupted": "suggest",
    "right": "engine.answered",
    "by_length": "engine.answered",
    "Continuation": "answers",
    "Alignment": "alignment",
    "propose_alignment": "alignment",
    "Joint": "joint",
    **dict.fromkeys(("Heatmap", "TokenStrip", "AttentionView", "Predictions", "token_columns"), "views"),
    **dict.fromkeys(("Zero", "Mean", "Resample", "Noise", "Scale", "Mask", "Vector", "Standing"), "interventions"),
}
_CALLED_THERE = {"propose_alignment": "propose"}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: looking at a saved result must not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'patchwidgets' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), _CALLED_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
