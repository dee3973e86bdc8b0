"""Where a result's numbers come from, as plain data that travels with them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .gate import foreign_hooks
from .handle import ModelHandle
from .plan import Plan

_PACKAGES = ("patchwidgets", "torch", "transformer-lens", "transformers")


def make_provenance(handle: ModelHandle, plan: Plan, check: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a sweep as JSON-ready data."""
    pair, config = plan.pair, getattr(handle.bridge.original_model, "config", None)
    point = handle.hook(plan.site, plan.labels["layer"][0])
    return {
        "model": handle.name,
        "location": handle.location,
        "revision": getattr(config, "_commit_hash", None),
        "dtype": handle.dtype,
        "device": str(handle.device),
        "weights": "processed" if getattr(handle.bridge, "compatibility_mode", False) else "raw",
        "hooks_on_model": foreign_hooks(handle.hooks),
        "site": plan.site.name,
        "hook": plan.site.hook,
        "hook_at": point.name,
        "by": list(plan.by),
        "intervention": "patch",
        "direction": plan.patch.direction,
        "metrics": [metric.name for metric in plan.metrics],
        "n": 1,
        "seed": None,
        "prepend_bos": pair.prepend_bos,
        "bos_at": pair.bos_at,
        "tokens": {"clean": list(pair.clean), "corrupted": list(pair.corrupted)},
        "texts": {"clean": list(pair.clean_text), "corrupted": list(pair.corrupted_text)},
        "answer": {"token": pair.answer, "text": pair.answer_text},
        "foil": None if pair.foil is None else {"token": pair.foil, "text": pair.foil_text},
        "engine": "hooked",
        "check": check,
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
