"""patchwidgets: activation patching, live in a notebook."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.model import load_model as load_model
    from .engine.run import Run as Run
    from .engine.sweep import patch as patch
    from .errors import PatchError as PatchError
    from .explorer import Explorer as Explorer
    from .explorer import explore as explore
    from .presets import PRESETS as PRESETS
    from .presets import preset as preset
    from .prompts import PromptPair as PromptPair
    from .result import PatchResult as PatchResult

__version__ = "0.1.0"

_HOMES = {
    "load_model": "engine.model",
    "patch": "engine.sweep",
    "Run": "engine.run",
    "PatchError": "errors",
    "explore": "explorer",
    "Explorer": "explorer",
    "PRESETS": "presets",
    "preset": "presets",
    "PromptPair": "prompts",
    "PatchResult": "result",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: looking at a saved result must not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'patchwidgets' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
