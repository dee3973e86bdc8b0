"""The Explorer: prompts, controls, a live heatmap and its drilldown, in one widget."""

from .explorer import Explorer
from .opening import explore

__all__ = ["Explorer", "explore"]
