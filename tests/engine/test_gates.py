"""An AND gate and an OR gate written by hand, on which the two directions find different things.

Two layers of three heads and four neurons, no normalization. The prompt is two facts, each YES or NO, and END. At END,
head 0.0 (A) reads the first fact and head 0.1 (B) the second; neuron 0.2 (C) computes the gate of what they wrote and
alone writes what the unembedding reads. Head 0.2 and the other neurons read the facts too, and write where nothing
that counts reads; so does all of layer 1.

The clean run has both facts, the corrupted one neither. Denoising a part asks whether it alone, put right, brings the
answer back; noising whether it alone, put wrong, destroys it:
A AND B: while the other input is 0, A or B alone brings back nothing; while it is 1, either destroys all.
A OR B: while the other input is 0, A or B alone brings back all; while it is 1, neither destroys anything.
C is what the answer is read from, in either direction. (Compare Heimersheim and Nanda, arXiv 2404.15255.)
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.engine.patch import patch
from patchwidgets.joint import Joint
from patchwidgets.prompts import PromptPair

NO, YES, END, ANSWER, FOIL = range(5)
PAIR = PromptPair([YES, YES, END], [NO, NO, END], answer=ANSWER, foil=FOIL)
GATES, DIRECTIONS = ("and", "or"), ("denoise", "noise")
TOKEN, POSITION = slice(0, 5), slice(5, 8)
A, B, OUT, JUNK = 8, 9, 10, slice(11, 15)
WIDTH, HEADS, HEAD, NEURONS = 15, 3, 4, 4
SHARP = 60.0 * HEAD**0.5
GATE_NEURON = 2


def circuit(gate: str) -> TransformerBridge:
    model = TransformerBridge.boot_native(
        {
            "n_layers": 2, "n_heads": HEADS, "d_model": WIDTH, "d_head": HEAD, "d_mlp": NEURONS, "n_ctx": 3,
            "d_vocab": 5, "act_fn": "relu", "normalization_type": None, "seed": 0,
        },
        dtype=torch.float64,
    ).eval()  # fmt: skip
    native = model.original_model
    with torch.no_grad():
        for parameter in native.parameters():
            parameter.zero_()
        native.tok_embed.weight[:, TOKEN] = torch.eye(5)
        native.pos.weight[:, POSITION] = torch.eye(3)
        native.head.weight[ANSWER, OUT] = 1.0
        write_decoys(native)
        write_reader(native.layers[0].attn, 0, to=A)
        write_reader(native.layers[0].attn, 1, to=B)
        write_gate(native.layers[0].mlp, gate)
    return model


def write_decoys(native: torch.nn.Module) -> None:
    """Random reading of everything in the stream; writing into JUNK only."""
    random = torch.Generator().manual_seed(1)

    def drawn(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=random, dtype=torch.float64)

    for layer in native.layers:
        for projection in (layer.attn.q, layer.attn.k, layer.attn.v, getattr(layer.mlp, "in")):
            projection.weight.copy_(drawn(projection.weight))
        for projection in (layer.attn.o, layer.mlp.out):
            projection.weight[JUNK] = drawn(projection.weight[JUNK])


def write_reader(attention: torch.nn.Module, head: int, to: int) -> None:
    """The head numbered like the position it looks at writes whether YES stands there."""
    rows = slice(head * HEAD, (head + 1) * HEAD)
    for projection in (attention.q, attention.k, attention.v):
        projection.weight[rows] = 0.0
    attention.q.weight[rows.start, POSITION.start + 2] = SHARP
    attention.k.weight[rows.start, POSITION.start + head] = 1.0
    attention.v.weight[rows.start, TOKEN.start + YES] = 1.0
    attention.o.weight[:, rows] = 0.0
    attention.o.weight[to, rows.start] = 1.0


def write_gate(mlp: torch.nn.Module, gate: str) -> None:
    """A AND B is relu(A + B - 1); A OR B is 1 - relu(1 - A - B)."""
    sign = 1.0 if gate == "and" else -1.0
    into, out = getattr(mlp, "in"), mlp.out
    into.weight[GATE_NEURON] = 0.0
    into.weight[GATE_NEURON, [A, B]] = sign
    into.bias[GATE_NEURON] = -sign
    out.weight[:, GATE_NEURON] = 0.0
    out.weight[OUT, GATE_NEURON] = sign
    out.bias[OUT] = 0.0 if gate == "and" else 1.0


@pytest.fixture(scope="module", params=GATES)
def gate(request: pytest.FixtureRequest) -> tuple[str, TransformerBridge]:
    return request.param, circuit(request.param)


def normalized(model: TransformerBridge, site: str | Joint, direction: str, **options: object) -> np.ndarray:
    return patch(model, PAIR, site, direction=direction, **options).wait().normalized.values[0]  # type: ignore[arg-type]


def found_alone(gate: str, direction: str) -> float:
    """What A or B alone brings back or destroys."""
    return float((gate, direction) in {("and", "noise"), ("or", "denoise")})


def test_the_gates_compute_their_names(gate: tuple[str, TransformerBridge]) -> None:
    name, model = gate
    for first, second in ((NO, NO), (NO, YES), (YES, NO), (YES, YES)):
        expected = (first and second) if name == "and" else (first or second)
        with torch.no_grad():
            logits = model(torch.tensor([[first, second, END]]))[0, -1]
        assert float(logits[ANSWER] - logits[FOIL]) == pytest.approx(expected, abs=1e-12)


def test_the_decoys_differ_between_the_runs(gate: tuple[str, TransformerBridge]) -> None:
    """Else their zeros below would prove nothing."""
    caches = []
    for prompt in (PAIR.clean, PAIR.corrupted):
        with torch.no_grad():
            caches.append(gate[1].run_with_cache(torch.tensor([prompt]))[1])
    for layer, decoys in ((0, [2]), (1, [0, 1, 2])):
        moved = caches[0][f"blocks.{layer}.attn.hook_z"] - caches[1][f"blocks.{layer}.attn.hook_z"]
        assert (moved[0, -1, decoys].norm(dim=-1) > 0.01).all()
    for layer in (0, 1):
        moved = caches[0][f"blocks.{layer}.mlp.hook_post"] - caches[1][f"blocks.{layer}.mlp.hook_post"]
        assert (moved[0].abs().amax(0) > 0.01).sum() >= 2


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_heads(gate: tuple[str, TransformerBridge], direction: str) -> None:
    """AND: denoising finds neither input, noising both. OR: denoising finds both, noising neither."""
    name, model = gate
    expected = np.zeros((2, HEADS))
    expected[0, :2] = found_alone(name, direction)
    np.testing.assert_allclose(normalized(model, "z", direction), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_neurons(gate: tuple[str, TransformerBridge], direction: str) -> None:
    """C is found whatever the gate and the direction, and it alone."""
    expected = np.zeros((2, NEURONS))
    expected[0, GATE_NEURON] = 1.0
    for site in ("mlp_pre", "mlp_post"):
        np.testing.assert_allclose(normalized(gate[1], site, direction), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_positions(gate: tuple[str, TransformerBridge], direction: str) -> None:
    """The facts are found as their heads are; after the gate only END has the answer."""
    name, model = gate
    alone = found_alone(name, direction)
    expected = [[alone, alone, 0], [0, 0, 1]]
    np.testing.assert_allclose(normalized(model, "resid_pre", direction), expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(normalized(model, "embed", direction), [alone, alone, 0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_both_inputs_together_are_the_gate(gate: tuple[str, TransformerBridge], direction: str) -> None:
    inputs = [("z", {"layer": 0, "head": head}) for head in (0, 1)]
    sets = {"A": inputs[:1], "B": inputs[1:], "A and B": inputs, "decoy": [("z", {"layer": 0, "head": 2})]}
    alone = found_alone(gate[0], direction)
    np.testing.assert_allclose(normalized(gate[1], Joint(sets), direction), [alone, alone, 1, 0], rtol=0, atol=1e-8)
