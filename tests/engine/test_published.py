"""GPT-2 small against numbers others have published, for whoever has its weights in the Hugging Face cache.

Source: TransformerLens's demo of activation patching, eight IOI prompts in pairs that differ in who acts.
"""

from __future__ import annotations

import pytest
from huggingface_hub import try_to_load_from_cache

import patchwidgets as pw

pytestmark = pytest.mark.weights

TEMPLATES = (
    ("When John and Mary went to the shops, {} gave the bag to", "John", "Mary"),
    ("When Tom and James went to the park, {} gave the ball to", "Tom", "James"),
    ("When Dan and Sid went to the shops, {} gave an apple to", "Dan", "Sid"),
    ("After Martin and Amy went to the park, {} gave a drink to", "Martin", "Amy"),
)

HEADS = {
    (10, 7): -0.4799, (5, 5): 0.3435, (8, 6): 0.3186, (11, 10): -0.2782, (8, 10): 0.2779, (9, 9): 0.2636,
    (7, 9): 0.1922, (6, 9): 0.1303, (7, 3): 0.1242, (3, 0): 0.1163, (10, 0): 0.0837, (9, 6): -0.0483, (0, 1): 0.0161,
}  # fmt: skip
"""z of a head at all positions, clean into corrupted: the share of the logit difference that comes back."""

SUBJECT, END = 10, 14


@pytest.fixture(scope="module")
def gpt2_small():
    if not isinstance(try_to_load_from_cache("gpt2", "model.safetensors"), str):
        pytest.skip("not run: GPT-2 small is not in the Hugging Face cache; download 'gpt2' to run it")
    return pw.load_model("gpt2")


@pytest.fixture(scope="module")
def ioi() -> pw.Dataset:
    pairs = []
    for template, first, second in TEMPLATES:
        for acts, other in ((first, second), (second, first)):
            clean, corrupted = template.format(acts), template.format(other)
            pairs.append(pw.PromptPair(clean, corrupted, answer=f" {other}", foil=f" {acts}"))
    return pw.Dataset(pairs, name="IOI")


def test_baselines_and_heads(gpt2_small, ioi):
    result = pw.patch(gpt2_small, ioi, "z").wait()
    assert (result.clean, result.corrupted) == (pytest.approx(3.5519, abs=1e-3), pytest.approx(-3.5519, abs=1e-3))
    for (layer, head), expected in HEADS.items():
        found = float(result.normalized.sel(layer=layer, head=head).item())
        assert found == pytest.approx(expected, abs=1e-3), f"{layer}.{head}"


def test_the_residual_stream(gpt2_small, ioi):
    table = pw.patch(gpt2_small, ioi, "resid_pre").wait().normalized.isel(metric=0)
    for layer, pos, expected in ((0, SUBJECT, 1.0), (8, SUBJECT, 0.657), (9, SUBJECT, 0.027), (8, END, 0.319),
                                 (9, END, 0.938)):  # fmt: skip
        assert float(table.sel(layer=layer, pos=pos)) == pytest.approx(expected, abs=2e-3)
    assert float(abs(table.sel(pos=slice(0, SUBJECT - 1))).max()) == 0.0


def test_layers(gpt2_small, ioi):
    mlp = pw.patch(gpt2_small, ioi, "mlp_out", layers=[0], positions=[SUBJECT]).wait()
    attention = pw.patch(gpt2_small, ioi, "attn_out", layers=[8], positions=[END]).wait()
    assert float(mlp.normalized.item()) == pytest.approx(0.851, abs=2e-3)
    assert float(attention.normalized.item()) == pytest.approx(0.570, abs=2e-3)
