"""Many prompt pairs as one sequence: the class, and the checks of its rows."""

from __future__ import annotations

from .dataset import Dataset

__all__ = ["Dataset"]
