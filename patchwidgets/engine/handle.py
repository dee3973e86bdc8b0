"""What the engine knows of one model: its sizes, its tokens, its hooks, one lock, and a forward pass of its own."""

from __future__ import annotations

import inspect
import threading
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import embedded
from ..errors import ModelError, PatchError
from ..sites import SITES, Site
from ..spelling import counted
from ..tokens import half_character
from .gate import foreign_hooks, letting_go, slack
from .model import HookPoint, TransformerBridge, as_bridge, first_line
from .probe import entering_std, probe

EMBEDDED = "embedded"

_HANDLES: weakref.WeakKeyDictionary[TransformerBridge, ModelHandle] = weakref.WeakKeyDictionary()
_HANDLES_LOCK = threading.Lock()


def handle_of(model: Any) -> ModelHandle:
    """Return the model's handle, the same one for every caller; a model that cannot be patched is a ModelError."""
    bridge = as_bridge(model)
    with _HANDLES_LOCK:
        found = _HANDLES.get(bridge)
        if found is None:
            found = _HANDLES[bridge] = ModelHandle(bridge)
    return found


class ModelHandle:
    """One model as the engine sees it. `lock` is held by whoever runs the model for a sweep."""

    def __init__(self, bridge: TransformerBridge) -> None:
        self._bridge = weakref.ref(bridge)
        self.lock = threading.RLock()
        config: Any = bridge.cfg
        self.n_layers: int = config.n_layers
        self.n_heads: int = config.n_heads
        self.n_key_value_heads: int = config.n_key_value_heads or config.n_heads
        self.hooks: dict[str, HookPoint] = dict(bridge.hook_dict)
        self.tokenizer = BridgeTokenizer(bridge)
        parameters = inspect.signature(bridge.original_model.forward).parameters
        self._takes_positions = "position_ids" in parameters and hasattr(bridge, "pos_embed")
        self._keeps_logits = "logits_to_keep" in parameters
        self._takes_cache = "use_cache" in parameters
        self.caches = self._takes_cache and "past_key_values" in parameters
        self._causal = False
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def bridge(self) -> TransformerBridge:
        """The model itself."""
        bridge = self._bridge()
        if bridge is None:
            raise ModelError("the model has been deleted; load it again with pw.load_model().")
        return bridge

    @property
    def name(self) -> str:
        """The model's name: what it was loaded from, without the folders before it."""
        if self.location == EMBEDDED:
            return "embedded model"
        name = self.location or "model"
        return Path(name).name if Path(name).is_absolute() else name

    @property
    def location(self) -> str:
        """What the model was loaded from: a Hub name, a folder or a file; EMBEDDED for the embedded model."""
        location = str(getattr(self.bridge.cfg, "model_name", "") or "")
        return EMBEDDED if location == str(embedded.folder()) else location

    @property
    def revision(self) -> str | None:
        """The commit of the Hub that the model is of; None where that is not known."""
        return getattr(getattr(self.bridge.original_model, "config", None), "_commit_hash", None)

    @property
    def dtype(self) -> str:
        """The type of the weights, e.g. "float32"."""
        return str(next(self.bridge.parameters()).dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """Where tokens go in."""
        return torch.device(self.bridge.cfg.device or "cpu")

    @property
    def summary(self) -> str:
        """One line for a person: layers, heads, precision, device."""
        shared = f" ({self.n_key_value_heads} kv)" if self.n_key_value_heads != self.n_heads else ""
        return (
            f"{counted(self.n_layers, 'layer')}, {counted(self.n_heads, 'head')}{shared}, {self.dtype}, {self.device}"
        )

    def heads(self, site: Site) -> int:
        """The number of heads the site's activation has; keys and values may be shared by several query heads."""
        return self.n_key_value_heads if site.name in ("k", "v") else self.n_heads

    def size(self, site: Site, axis: str) -> int:
        """The number of layers, heads or neurons along an axis of the site; positions are the prompt's."""
        if axis == "layer":
            return self.n_layers
        return self.heads(site) if axis == "head" else self.shape(site)[site.axes.index(axis)]

    def shape(self, site: Site) -> tuple[int, ...]:
        """Return the shape of the site's activation on a prompt of a few tokens, without the batch dimension.

        The first call per site runs the model once: every hook must fire, and what is written there must reach the
        logits. A PatchError names a site that the model does not have, or shows and does not use.
        """
        if site.name not in self._shapes:
            self._shapes[site.name] = probe(self, site)
        return self._shapes[site.name]

    def has(self, site: Site) -> bool:
        """Whether the model lists the site's hook; only `shape` tells whether it is used."""
        return site.hook_name(0) in self.hooks

    def hook(self, site: Site, layer: int | None = None) -> HookPoint:
        """Return the hook point of the site in a layer; a PatchError when the model has none."""
        name = site.hook_name(layer)
        if name not in self.hooks:
            there = [other.name for other in SITES.values() if self.has(other)]
            raise PatchError(f"the model {self.name!r} has no {site.name!r} (hook {name}). It has {', '.join(there)}.")
        return self.hooks[name]

    @property
    def embedding_std(self) -> float:
        """The unit of noise: the standard deviation of the token embeddings' entries, over the vocabulary.

        They are taken as they enter the residual stream: scaled (Gemma), projected to its width (OPT-350m) or
        normalized (BLOOM) where the model does so, and without the embedding of a position.
        """
        return entering_std(self)

    def check_ready(self) -> None:
        """Raise ModelError when runs would not be comparable, or look ahead; warn of hooks that are on the model."""
        if any(module.training for module in self.bridge.modules()):
            raise ModelError("the model is in training mode, where dropout makes runs differ; call model.eval() first.")
        foreign = foreign_hooks(self.hooks)
        if foreign:
            warnings.warn(
                f"the model has hooks at {', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}: they are part "
                "of what is measured, in every run. If that is not meant, remove them with model.reset_hooks().",
                UserWarning,
                stacklevel=3,
            )
        if not self._causal:
            self._check_causal()

    def _check_causal(self) -> None:
        """Raise ModelError when a later token changes an earlier answer."""
        last = self.tokenizer.vocab_size - 1
        rows = torch.tensor([[0, min(1, last), 0], [0, min(1, last), last]], device=self.device)
        try:
            with self.lock:
                first, second = self.forward(rows)[:, :2]
        except Exception as error:
            raise ModelError(
                f"the model does not run on three tokens: {first_line(error)} Check that all its weights have one "
                "dtype and one device."
            ) from error
        if (first - second).abs().max() > slack(first):
            raise ModelError(
                "a later token changes what this model says earlier: it is not a causal language model. "
                "Only decoder-only, left-to-right language models can be patched."
            )
        self._causal = True

    def forward(
        self, tokens: Tensor, *, keep: int | None = None, grad: bool = False, cache: object | None = None
    ) -> Tensor:
        """Return the logits of tokens [batch, pos]: [batch, keep, vocab] at the last positions, None meaning all.

        `cache` is filled with the keys and values where one is given, and `caches` says the model keeps them.

        The wrapped model is called directly: the bridge's own forward keeps the batch size in a field of the shared
        position embedding, which two threads would read from each other. Positions are given for every row for that
        reason.
        """
        options: dict[str, Any] = {}
        if self._takes_cache:
            options["use_cache"] = cache is not None
        if cache is not None:
            options["past_key_values"] = cache
        if self._takes_positions:
            options["position_ids"] = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape[0], -1)
        if keep is not None and self._keeps_logits:
            # Named one by one: a slice would go into the unembedding with gaps, and multiply its rows one by one.
            options["logits_to_keep"] = torch.arange(
                max(0, tokens.shape[1] - keep), tokens.shape[1], device=tokens.device
            )
        with torch.set_grad_enabled(grad), letting_go(self._attentions()):
            output = self.bridge.original_model(input_ids=tokens, **options)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits if keep is None else logits[:, -keep:]

    def _attentions(self) -> list[Any]:
        return [block.attn for block in getattr(self.bridge, "blocks", ()) if hasattr(block, "attn")]

    def rate(self, prompt: Sequence[int], candidates: Sequence[int]) -> list[float]:
        """Return the log-probability of each candidate as the token after `prompt`."""
        with self.lock:
            logits = self.forward(torch.tensor([list(prompt)], device=self.device), keep=1)
        return logits.log_softmax(-1)[0, 0, list(candidates)].tolist()


class BridgeTokenizer:
    """A bridge's tokens, as `patchwidgets.prompts.Tokenizer`; without a tokenizer ids are their own text."""

    def __init__(self, bridge: TransformerBridge) -> None:
        self._bridge = weakref.ref(bridge)
        self._tokenizer: Any = bridge.tokenizer
        config: Any = bridge.cfg
        self.vocab_size = int(config.d_vocab)
        self.context = int(config.n_ctx)
        self.has_text = self._tokenizer is not None
        self.bos: int | None = getattr(self._tokenizer, "bos_token_id", None)
        self.unk: int | None = self._unknown_token()
        self.prepends_bos = bool(self.has_text and config.default_prepend_bos)
        self._texts: dict[int, str] = {}

    def _unknown_token(self) -> int | None:
        # By text: TransformerLens names an eos token small vocabularies lack; its id is then the unknown token's.
        unk = getattr(self._tokenizer, "unk_token", None)
        special = {getattr(self._tokenizer, f"{name}_token", None) for name in ("bos", "eos", "pad")}
        return None if unk in special else self._tokenizer.unk_token_id

    def encode_prompt(self, text: str, prepend_bos: bool) -> list[int]:
        """Return the ids TransformerLens would run for `text`."""
        bridge = self._bridge()
        assert bridge is not None
        return bridge.to_tokens(text, prepend_bos=prepend_bos, truncate=False, move_to_device=False)[0].tolist()

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text` alone, nothing added."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, token: int) -> str:
        """Return the text of one token."""
        if token not in self._texts:
            self._texts[token] = self._spell(token)
        return self._texts[token]

    def _spell(self, token: int) -> str:
        if not self.has_text:
            return str(token)
        text = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
        if text and "\ufffd" not in text and half_character(text) is None:
            return text
        piece = self._tokenizer.convert_ids_to_tokens(token)
        return piece if piece is not None and half_character(piece) is None else f"<{token}>"
