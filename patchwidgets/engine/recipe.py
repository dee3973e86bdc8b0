"""Recipes: how another process makes the same model, as plain data, and how it knows that it did."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import PatchError, quoted
from ..metrics import tolerance
from .gate import foreign_hooks
from .handle import ModelHandle, handle_of
from .model import TransformerBridge, load_model, loaded_from
from .unchanged import THEIR_OWN, hung_on

_SAMPLED = 256
_SAME = 1e-9
"""How far two sums of the same numbers may be apart."""


@dataclass(frozen=True)
class Weights:
    """A glance at all parameters: the digest of their names, shapes and types, and two sums over a sample of each."""

    digest: str
    sums: tuple[tuple[float, float], ...]

    def like(self, other: Weights, allowed: float) -> bool:
        """Return whether the other's are the same up to `allowed`, relative to their size."""
        return self.digest == other.digest and all(
            abs(a - b) <= allowed * max(size, 1.0)
            for (a, size), (b, _) in zip(self.sums, other.sums, strict=True)
        )  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a model is made: what `load_model` is given, and whether the weights are then processed.

    Attributes:
        what: a Hub name, or the full path of a folder or a `.gguf` file; None for the embedded model.
        processed: whether `enable_compatibility_mode()` follows, with its own defaults.
        weights: what must come out.
        tokenizer: the one that was given. Prompts are sent as token ids, so that it changes no number.
        device_map: the one that was given in the place of `device`.
    """

    what: str | None
    dtype: str
    device: str
    revision: str | None
    processed: bool
    weights: Weights
    tokenizer: Any = field(default=None, compare=False, repr=False)
    device_map: Any = field(default=None, compare=False)

    @property
    def told(self) -> str:
        """What the model is made from, for a sentence."""
        return "the embedded model" if self.what is None else quoted(self.what)


def recipe_of(handle: ModelHandle) -> Recipe:
    """Return the model's recipe. Raises PatchError, with the remedy, for a model that has none."""
    loaded = loaded_from(handle.bridge)
    if loaded is None:
        raise PatchError(
            f"executor=: the workers cannot make the model {handle.name!r}, which was handed over in memory. Load it "
            "by its name, its folder or its .gguf file with pw.load_model(...), or leave out executor."
        )
    hooks = foreign_hooks(handle.hooks)
    if hooks:
        raise PatchError(
            f"executor=: the model has hooks at {', '.join(hooks[:3])}, and the workers' models have none. Remove them "
            "with model.reset_hooks(), or leave out executor."
        )
    touched = hung_on(handle.bridge) or _replaced(handle.bridge)
    if touched:
        raise PatchError(
            f"executor=: the model's module {touched} has a hook or a forward of its own, and the workers' models have "
            "none. Take it away, or leave out executor."
        )
    if any(parameter.is_meta for parameter in handle.bridge.parameters()):
        raise PatchError(
            "executor=: some of the model's weights are not in memory, and cannot be compared with the workers'. "
            "Choose a device_map without offloading, or leave out executor."
        )
    processed = bool(getattr(handle.bridge, "compatibility_mode", False))
    return Recipe(
        loaded.what, handle.dtype, str(handle.device), loaded.revision, processed, weights_of(handle), loaded.tokenizer,
        loaded.device_map,
    )  # fmt: skip


def _replaced(bridge: Any) -> str | None:
    """Return the name of a module whose `forward` is somebody else's."""
    for name, module in bridge.named_modules():
        own = module.__dict__.get("forward")
        if own is not None and not str(getattr(own, "__module__", "")).startswith((*THEIR_OWN, "accelerate.")):
            return str(name)
    return None


def weights_of(handle: ModelHandle) -> Weights:
    """Return a glance at a model's parameters, without reading all of them."""
    digest, sums = hashlib.sha256(), []
    model: Any = handle.bridge.original_model
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        flat = parameter.detach().reshape(-1)
        # An odd step goes through all columns of a matrix, whose width is even as a rule.
        sample = flat[:: max(1, len(flat) // _SAMPLED) | 1].to("cpu", torch.float64)
        turned = torch.arange(len(sample), dtype=torch.float64, device="cpu").cos()
        sums.append((float(sample @ turned), float(sample.norm())))
    return Weights(digest.hexdigest(), tuple(sums))


class Kitchen:
    """The models that a process made, kept for the next shard: `most` of them, as a worker may hold no more than one.

    Safe to ask from several threads: a model is made once, by the first that needs it.
    """

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self.made: dict[Recipe, TransformerBridge] = {}
        self._lock = threading.Lock()

    def model(self, recipe: Recipe) -> TransformerBridge:
        """Return the recipe's model. Raises PatchError where it does not have the weights that were to come out."""
        with self._lock:
            if recipe not in self.made:
                while len(self.made) >= self.most:  # Before the next one is made: both may not fit.
                    del self.made[next(iter(self.made))]
                self.made[recipe] = _make(recipe)
            return self.made[recipe]


def _make(recipe: Recipe) -> TransformerBridge:
    bridge = load_model(
        recipe.what,
        tokenizer=recipe.tokenizer,
        device=recipe.device if recipe.device_map is None else None,
        dtype=recipe.dtype,
        revision=recipe.revision,
        device_map=recipe.device_map,
    )
    if recipe.processed:
        bridge.enable_compatibility_mode(disable_warnings=True)
    # Processing multiplies matrices, whose last digits depend on the machine; loading copies.
    allowed = tolerance(recipe.dtype, 1.0) if recipe.processed else _SAME
    if not weights_of(handle_of(bridge)).like(recipe.weights, allowed):
        raise changed(recipe)
    return bridge


def changed(recipe: Recipe) -> PatchError:
    """Return the error for a model that is not what its recipe makes."""
    how = "was processed with options of its own, or changed," if recipe.processed else "was changed"
    return PatchError(
        f"executor=: what a worker loads from {recipe.told} is not this model, which {how} after it was loaded. Save "
        "the changed model into a folder and load that with pw.load_model(...), or leave out executor."
    )
