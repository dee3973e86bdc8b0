"""Views of patching results: one front-end bundle, one small class per view.

Views know arrays, tokens and words; they compute no science and import neither the engine nor torch.
"""

from __future__ import annotations

from ..result import STATUSES
from .attention import AttentionView
from .base import View
from .columns import label_columns, token_columns
from .copying import CopyButton
from .heatmap import Heatmap
from .pairs import PairStrip
from .predictions import Predictions
from .shelf import ShelfView
from .tokens import TokenStrip

__all__ = [
    "STATUSES",
    "AttentionView",
    "CopyButton",
    "Heatmap",
    "PairStrip",
    "Predictions",
    "ShelfView",
    "TokenStrip",
    "View",
    "label_columns",
    "token_columns",
]
