"""SmolLM2-135M from its `.gguf` file is SmolLM2-135M from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.model import load_model
from patchwidgets.engine.patch import patch
from patchwidgets.engine.recipe import Kitchen, recipe_of
from tests.engine.test_oracle_smollm2 import PAIR

pytestmark = pytest.mark.smollm2


def test_a_file_and_its_folder_are_one_model(smollm2_folder: Path, smollm2_gguf: Path) -> None:
    """Equal logits from the .gguf, from the folder, and from transformers alone."""
    from transformers import AutoModelForCausalLM

    model = load_model(smollm2_folder)
    ids = model.to_tokens(PAIR.clean)
    with torch.no_grad():
        from_folder = model(ids)
        plain = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32, attn_implementation="eager")
        assert torch.equal(plain(ids).logits, from_folder)
        del plain
        from_file = load_model(smollm2_gguf)
        assert torch.equal(from_file.to_tokens(PAIR.clean), ids)
        torch.testing.assert_close(from_file(ids), from_folder, rtol=0, atol=1e-5)
    result = patch(from_file, PAIR, "resid_pre", layers=0, positions=0).wait()
    assert result.provenance["model"] == smollm2_gguf.name
    assert result.provenance["location"] == str(smollm2_gguf)
    assert f'"{smollm2_gguf}"' in result.code()
    recipe = recipe_of(handle_of(from_file))
    assert recipe.what == str(smollm2_gguf)
    del model, from_folder
    again = Kitchen().model(recipe)  # Which holds the weights against these.
    with torch.no_grad():
        assert torch.equal(again(ids), from_file(ids))
