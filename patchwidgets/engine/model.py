"""Loading models. The only file that imports transformer_lens."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

from .. import embedded
from ..errors import ModelError, quoted
from .kinds import (
    have_attention,
    refuse_headless,
    refuse_hooked_transformer,
    refuse_missing,
    refuse_other_kinds,
    refuse_without_attention,
)

_DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

IN_MEMORY = "in memory"

__all__ = ["HookPoint", "Loaded", "TransformerBridge", "as_bridge", "first_line", "load_model", "loaded_from"]


class Loaded(NamedTuple):
    """What a model was loaded from: a Hub name, or the path of a folder or a file; None for the embedded model.

    `tokenizer` and `device_map` are those that were given, if any.
    """

    what: str | None
    revision: str | None
    tokenizer: Any
    device_map: Any = None


class _Place(NamedTuple):
    """Where a model is loaded to: one device, by default CUDA where there is one, or as a map says."""

    device: Any
    device_map: Any

    @property
    def one(self) -> Any:
        """The one device."""
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def spread(self) -> dict[str, Any]:
        """What `from_pretrained` is given."""
        return {} if self.device_map is None else {"device_map": self.device_map}

    def put(self, model: Any) -> Any:
        """Return the model on the one device; one that is spread stays so."""
        return model.to(self.one) if self.device_map is None else model


_LOADED: weakref.WeakKeyDictionary[TransformerBridge, Loaded] = weakref.WeakKeyDictionary()


def loaded_from(bridge: TransformerBridge) -> Loaded | None:
    """Return what `load_model` made the model from; None for one that was handed over in memory."""
    return _LOADED.get(bridge)


def load_model(
    what: Any = None,
    *,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    device_map: Any = None,
) -> TransformerBridge:
    """Return a model to patch, as a TransformerLens TransformerBridge with raw weights and eager attention.

    `what` is None for the embedded model (no network), a Hugging Face Hub name, a local folder, a `.gguf` file, a
    Hugging Face causal language model with its `tokenizer`, or a TransformerBridge (returned as it is). A Hugging
    Face model is bridged in place: its modules are wrapped, so use the returned model from then on. A `tokenizer` that
    is given is used as it is.

    `device` defaults to CUDA where there is one, else the CPU; `dtype` to float32. `device_map`, in its place, spreads
    a model that is larger than one device over several, as transformers' `from_pretrained` does ("auto", or a dict of
    modules). Such a model is measured through hooks. Raises ModelError for what cannot be loaded.

    >>> model = load_model()
    >>> model.cfg.n_layers
    4
    """
    kind = _dtype(dtype)
    _check_device(device)
    if device is not None and device_map is not None:
        raise ModelError("device= puts a model on one device and device_map= on several; give one of them.")
    _check_tokenizer(tokenizer)
    if what is None or isinstance(what, (str, os.PathLike)):
        _check_revision(what, revision)
        place = _Place(device, device_map)
        with _quiet():
            bridge = as_bridge(_load(what, tokenizer, place, kind or torch.float32, revision))
        _LOADED[bridge] = _origin(what, revision, tokenizer, bridge, device_map)
        return bridge
    if revision is not None:
        raise ModelError("revision= names a version on the Hub; it does not apply to a model that is loaded already.")
    if device is not None or kind is not None or device_map is not None:
        raise ModelError(
            "device=, device_map= and dtype= do not apply to a model that is loaded already; move it with "
            "model.to(...), or load it with a device_map, before."
        )
    refuse_hooked_transformer(what)
    if isinstance(what, torch.nn.Module) and not isinstance(what, TransformerBridge):
        return as_bridge(_bridge_hugging_face(what, tokenizer))
    bridge = as_bridge(what)
    if tokenizer is not None and tokenizer is not bridge.tokenizer:
        raise ModelError("a TransformerBridge has its tokenizer already; give tokenizer= when the bridge is made.")
    return bridge


def as_bridge(model: Any) -> TransformerBridge:
    """Return `model` when it is a TransformerBridge that can be patched, else raise ModelError with the remedy."""
    refuse_hooked_transformer(model)
    if not isinstance(model, TransformerBridge):
        raise ModelError(f"expected a model from pw.load_model(), got {quoted(type(model).__name__)}.")
    config = getattr(model.original_model, "config", None)
    refuse_other_kinds(config)
    attention = getattr(config, "_attn_implementation", "eager")
    if attention not in ("eager", None):
        raise ModelError(
            f"the model computes attention with {attention!r}, which hides its patterns; load it with "
            'attn_implementation="eager".'
        )
    refuse_without_attention([hasattr(block, "attn") for block in getattr(model, "blocks", ())])
    return model


def _load(what: Any, tokenizer: Any, place: _Place, dtype: torch.dtype, revision: str | None) -> TransformerBridge:
    if what is None:
        return _load_folder(embedded.folder(), tokenizer, place, dtype)
    if not str(what).strip():
        raise ModelError("the model's name is empty; give a Hub name, a folder or a .gguf file, or nothing at all.")
    path = Path(what).expanduser()
    if path.suffix == ".gguf":
        return _load_gguf(path, tokenizer, place, dtype)
    if path.is_dir():
        return _load_folder(path, tokenizer, place, dtype)
    if path.is_file():
        raise ModelError(f"{str(what)!r} is a file; give the folder it is in, with config.json, or a .gguf file.")
    if isinstance(what, os.PathLike) or path.is_absolute() or str(what).startswith((".", "~")):
        raise ModelError(
            f"there is no folder {str(what)!r}; give a folder with config.json and weights, or a Hub name."
        )
    try:
        return _load_hub(str(what), tokenizer, place, dtype, revision)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{str(what)!r} could not be loaded from the Hugging Face Hub: {first_line(error)} "
            "Check the name and the network, or give a local folder."
        ) from error


def _origin(
    what: str | os.PathLike[str] | None, revision: str | None, tokenizer: Any, bridge: Any, device_map: Any
) -> Loaded:
    """Return what leads to the same model again: a full path from any folder, and the very version on the Hub."""
    if what is None:
        return Loaded(None, None, tokenizer, device_map)
    path = Path(what).expanduser()
    if path.exists():
        return Loaded(str(path.resolve()), None, tokenizer, device_map)
    commit = getattr(getattr(bridge.original_model, "config", None), "_commit_hash", None)
    return Loaded(str(what), commit or revision, tokenizer, device_map)


def _load_hub(name: str, tokenizer: Any, place: _Place, dtype: torch.dtype, revision: str | None) -> TransformerBridge:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(name, revision=revision)
    refuse_other_kinds(config)

    class Whole:
        """Loads as TransformerLens asks it to, all weights or none."""

        @staticmethod
        def from_pretrained(name: str, **options: Any) -> torch.nn.Module:
            loaded: Any = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **options)
            model, told = loaded
            refuse_missing(told, model, f"{name!r} on the Hugging Face Hub", "Choose a whole language model.")
            return model

    # What is not a causal language model to transformers TransformerLens may know how to load.
    kind = Whole if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else None
    with _as_it_is(tokenizer):
        where = place.spread or {"device": place.one}
        return TransformerBridge.boot_transformers(
            name, dtype=dtype, revision=revision, tokenizer=tokenizer, model_class=kind, **where
        )


def _load_folder(folder: Path, tokenizer: Any, place: _Place, dtype: torch.dtype) -> TransformerBridge:
    from transformers import AutoConfig, AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise ModelError(f"the folder {str(folder)!r} has no config.json; it does not hold a Hugging Face model.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        refuse_other_kinds(config)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=dtype, local_files_only=True, output_loading_info=True,
            **place.spread,
        )  # fmt: skip
        model, told = loaded
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the folder {str(folder)!r} could not be loaded: {first_line(error)}") from error
    refuse_missing(told, model, f"the folder {str(folder)!r}", "Give the whole model's folder.")
    name = str(folder.resolve())
    if tokenizer is None:
        return _boot(place.put(model), _folder_tokenizer(folder), name, given=False)
    return _boot(place.put(model), tokenizer, name)


def _folder_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind = AutoTokenizer
    if folder == embedded.folder() or not (folder / "tokenizer_config.json").is_file():
        kind = PreTrainedTokenizerFast
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"the folder {str(folder)!r} has no tokenizer that can be read ({first_line(error)}); give one with "
            "tokenizer=."
        ) from error


def _load_gguf(path: Path, tokenizer: Any, place: _Place, dtype: torch.dtype) -> TransformerBridge:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not path.is_file():
        raise ModelError(f"there is no file {str(path)!r}.")
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ModelError("reading a .gguf file needs the gguf package: pip install 'patchwidgets[gguf]'.") from error
    try:
        read = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=dtype, attn_implementation="eager", local_files_only=True,
            **place.spread,
        )  # fmt: skip
        words = tokenizer or AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except Exception as error:
        raise ModelError(f"the file {path.name!r} could not be read: {first_line(error)}") from error
    return _boot(place.put(read), words, str(path.resolve()))


def _bridge_hugging_face(model: torch.nn.Module, tokenizer: Any) -> TransformerBridge:
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "model_type"):
        raise ModelError(
            f"{type(model).__name__} is not a Hugging Face language model; give its name or folder instead."
        )
    refuse_other_kinds(config)
    refuse_headless(model)
    refuse_without_attention(have_attention(model, config))
    if tokenizer is None:
        raise ModelError("give the model's tokenizer too: pw.load_model(model, tokenizer=tokenizer).")
    attention = getattr(config, "_attn_implementation", None)
    if attention != "eager":
        raise ModelError(
            f"the model computes attention with {attention!r}, which hides its patterns; load it with "
            'attn_implementation="eager", or call model.set_attn_implementation("eager").'
        )
    warnings.warn(
        "the Hugging Face model is bridged in place: its modules are wrapped. Use the model that load_model returns.",
        UserWarning,
        stacklevel=3,
    )
    return _boot(model, tokenizer, getattr(config, "_name_or_path", "") or IN_MEMORY)


def _boot(model: torch.nn.Module, tokenizer: Any, name: str, given: bool = True) -> TransformerBridge:
    """Bridge a Hugging Face model without asking the Hub for anything; a tokenizer that was given stays as it is."""
    device = next(model.parameters()).device
    kind = next(model.parameters()).dtype
    try:
        with _quiet(), _as_it_is(tokenizer if given else None):
            bridge = TransformerBridge.boot_transformers(
                name, hf_model=model.eval(), tokenizer=tokenizer, device=device, dtype=kind
            )
    except Exception as error:
        raise ModelError(f"TransformerLens cannot bridge {type(model).__name__}: {first_line(error)}") from error
    return bridge


@contextlib.contextmanager
def _as_it_is(tokenizer: Any) -> Iterator[None]:
    """Let TransformerLens use this very tokenizer: one that does not say it puts a BOS it would load again by its name.

    What it says of itself is put back afterwards.
    """
    if tokenizer is None:
        yield
        return
    said: dict[str, Any] = tokenizer.init_kwargs
    before = {name: said[name] for name in ("name_or_path", "add_bos_token") if name in said}
    said.update({"name_or_path": "", **before, "add_bos_token": True})
    try:
        yield
    finally:
        del said["name_or_path"], said["add_bos_token"]
        said.update(before)


def _check_tokenizer(tokenizer: Any) -> None:
    from transformers import PreTrainedTokenizerBase

    if tokenizer is not None and not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(
            f"tokenizer must be a transformers tokenizer, not {quoted(tokenizer)}; make one with "
            "AutoTokenizer.from_pretrained(...)."
        )


def _check_revision(what: Any, revision: str | None) -> None:
    if revision is not None and (what is None or Path(what).suffix == ".gguf" or Path(what).is_dir()):
        raise ModelError("revision= names a version on the Hub; it does not apply to a folder or a file.")


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or dtype in _DTYPES.values():
        return dtype  # type: ignore[return-value]
    if isinstance(dtype, str) and dtype in _DTYPES:
        return _DTYPES[dtype]
    raise ModelError(f"unknown dtype {quoted(dtype)}; use one of {', '.join(_DTYPES)}.")


def _check_device(device: str | torch.device | None) -> None:
    try:
        found = torch.empty(0, device="cpu" if device is None else device).device
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ModelError(
            f"there is no device {quoted(device)} on this machine; use for instance 'cpu' or 'cuda'."
        ) from error
    if found.type == "meta":
        raise ModelError("device 'meta' holds no numbers; use for instance 'cpu' or 'cuda'.")


def first_line(error: Exception) -> str:
    """Return what an error of another library says, as one sentence."""
    lines = str(error).strip().splitlines()
    told = lines[0].rstrip(" :") if lines else type(error).__name__
    told = told if len(told) <= 300 else f"{told[:300]}..."
    return told if told.endswith((".", "!", "?")) else f"{told}."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars of the libraries beneath out of the notebook."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
