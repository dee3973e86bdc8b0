"""The small trained transformer that ships with patchwidgets, and what made it."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """The folder of the shipped model: config, half-precision weights, tokenizer, card; Hugging Face layout."""
    return Path(__file__).parent / "model"
