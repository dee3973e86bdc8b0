"""Copies of modules that share the weights: the originals are only read, so that a pass under way is not disturbed."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from types import MethodType
from typing import Any

from torch import nn

_CONVERSIONS = ("hook_conversion", "conversion_rule")
"""Attributes whose objects keep the shape of the pass that is under way."""


class Copies:
    """Copies of module trees. What the trees refer to among themselves is referred to among the copies."""

    def __init__(self, trees: Iterable[nn.Module]) -> None:
        self._of: dict[int, Any] = {}
        originals = list({id(module): module for tree in trees for module in tree.modules()}.values())
        for module in originals:
            self._of[id(module)] = object.__new__(type(module))
        for module in originals:
            self._of[id(module)].__dict__.update(
                {name: self._value(name, value) for name, value in list(module.__dict__.items())}
            )

    def __getitem__(self, original: nn.Module) -> Any:
        return self._of[id(original)]

    def __contains__(self, original: object) -> bool:
        return id(original) in self._of

    def _value(self, name: str, value: Any) -> Any:
        if name in _CONVERSIONS and value is not None:
            return self._of.setdefault(id(value), copy.copy(value))
        if isinstance(value, nn.Module):
            return self._of.get(id(value), value)
        if isinstance(value, MethodType) and id(value.__self__) in self._of:
            return MethodType(value.__func__, self._of[id(value.__self__)])
        if isinstance(value, dict):
            found = copy.copy(value)
            for key, each in list(found.items()):
                if isinstance(each, nn.Module):
                    found[key] = self._of.get(id(each), each)
            return found
        if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            found = [self._of.get(id(each), each) if isinstance(each, nn.Module) else each for each in value]
            return found if isinstance(value, list) else tuple(found)
        return value
