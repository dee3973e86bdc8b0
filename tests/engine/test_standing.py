"""What stands during all runs is there in the plain runs and below every patch: compared with hooks set by hand."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.datasets import Dataset
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Intervention, Mask, Mean, Noise, Patch, Resample, Scale, Standing, Vector, Zero
from patchwidgets.prompts import PromptPair
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

Hooks = list[tuple[str, Callable[..., Tensor]]]
SAME = PromptPair("w1 w2 w3 w4 w5 w6", "w1 w2 w3 w4 w5 w6", answer="w20", foil="w21")
SUBJECT = [2, 3]


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    return request.getfixturevalue(request.param)


def logit_diff(model: TransformerBridge, text: object, hooks: Hooks) -> float:
    answer, foil = models.answer_ids()
    with torch.no_grad():
        last = model.run_with_hooks(models.tokens(model, str(text)), fwd_hooks=hooks)[0, -1]
    return float(last[answer] - last[foil])


def seen(model: TransformerBridge, text: object, name: str, hooks: Hooks) -> Tensor:
    """Return the activation at a hook while other hooks are set."""
    found: list[Tensor] = []

    def keep(activation: Tensor, hook: object) -> None:
        found.append(activation[0].clone())

    with torch.no_grad():
        model.run_with_hooks(models.tokens(model, str(text)), fwd_hooks=[*hooks, (name, keep)])
    return found[0]


def noised(
    model: TransformerBridge, name: str, sigma: float, sample: int, positions: list[int], which: str = "/standing 1"
) -> Hooks:
    """Return the hook that adds one draw of noise at some positions: of what stands first, or as `which` says."""
    text = f"0/0/{sample}/{name}{which}"
    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1)
    spread = model.original_model.get_input_embeddings().weight.std()
    added = sigma * spread * torch.randn(7, 32, generator=generator, dtype=torch.float64)

    def put(activation: Tensor, hook: object) -> Tensor:
        activation[:, positions] += added[positions]
        return activation

    return [(name, put)]


def hook(name: str, index: Any, change: Callable[[Tensor], Tensor]) -> Hooks:
    def put(activation: Tensor, hook: object) -> Tensor:
        activation[0][index] = change(activation[0][index])
        return activation

    return [(name, put)]


Z1 = "blocks.1.attn.hook_z"
EVERY = slice(None)
STANDS: list[tuple[str, dict[str, Any], Intervention, str, Any, Callable[[Tensor], Tensor]]] = [
    ("z", {"layers": [1], "heads": [0, 2]}, Zero(), Z1, (EVERY, [0, 2]), torch.zeros_like),
    ("z", {"layers": [1], "heads": 3, "positions": [-1]}, Scale(-2.0), Z1, (-1, 3), lambda now: -2 * now),
    ("embed", {"positions": [3]}, Vector(0.5, add=True), "hook_embed", (3,), lambda now: now + 0.5),
    ("mlp_post", {"layers": 1, "neurons": [4, 7]}, Vector(2.0), "blocks.1.mlp.hook_post", (EVERY, [4, 7]),
     lambda now: torch.full_like(now, 2.0)),
    ("resid_mid", {"layers": [1], "positions": [4]}, Zero(), "blocks.1.hook_resid_mid", (4,), torch.zeros_like),
]  # fmt: skip


@pytest.mark.parametrize("runs", ["clean", "corrupted", "both"])
@pytest.mark.parametrize(("site", "where", "what", "name", "index", "change"), STANDS)
def test_a_sweep_on_top_of_what_stands(
    model: TransformerBridge, site: str, where: dict[str, Any], what: Intervention, name: str, index: Any,
    change: Callable[[Tensor], Tensor], runs: str,
) -> None:  # fmt: skip
    standing = Standing(site, what, runs=runs, **where)
    result = patch(model, models.PAIR, "resid_pre", standing=standing, layers=[0, 2]).wait()
    there = hook(name, index, change)
    on: dict[str, Hooks] = {run: there if runs in (run, "both") else [] for run in ("clean", "corrupted")}
    for run in ("clean", "corrupted"):
        plain = logit_diff(model, getattr(models.PAIR, run), on[run])
        assert getattr(result, run) == pytest.approx(plain, abs=1e-8)
    expected = np.empty((2, 7))
    for row, layer in enumerate((0, 2)):
        entering = f"blocks.{layer}.hook_resid_pre"
        source = seen(model, models.PAIR.clean, entering, on["clean"])
        for position in range(7):
            put = hook(entering, (position,), lambda now, row=source[position]: row)
            expected[row, position] = logit_diff(model, models.PAIR.corrupted, [*on["corrupted"], *put])
    np.testing.assert_allclose(result.data["patched"].values[0], expected, rtol=0, atol=1e-8)
    assert result.provenance["standing"]


def test_nothing_is_implied_while_something_stands(gpt2: TransformerBridge) -> None:
    """Noise in one run alone makes the runs differ before the first differing token."""
    standing = Standing("embed", Noise(1.0, samples=1), runs="corrupted", positions=[1])
    result = patch(gpt2, models.PAIR, "resid_pre", standing=standing).wait()
    assert set(result.data["status"].values.ravel()) == {"measured"}
    assert abs(result.effect.sel(layer=0, pos=1).item()) > 1e-3


def test_a_mean_may_stand(gpt2: TransformerBridge) -> None:
    over = Dataset([PromptPair("w3 w1 w4 w1 w5 w9", "w2 w7 w1 w8 w2 w8"), PromptPair("w1 w6 w1 w8 w0 w3", "w3 w9 w8 w8 w7 w4")])  # noqa: E501 # fmt: skip
    standing = Standing("z", Mean(over), layers=[1], heads=[1])
    result = patch(gpt2, models.PAIR, "mlp_out", standing=standing, layers=[2], positions=[6]).wait()
    mean = torch.stack([seen(gpt2, pair.corrupted, Z1, []) for pair in over]).mean(0)[:, 1]
    there = hook(Z1, (EVERY, 1), lambda now: mean)
    name = "blocks.2.hook_mlp_out"
    source = seen(gpt2, models.PAIR.clean, name, there)[6]
    expected = logit_diff(gpt2, models.PAIR.corrupted, [*there, *hook(name, (6,), lambda now: source)])
    assert result.data["patched"].item() == pytest.approx(expected, abs=1e-8)
    assert result.clean == pytest.approx(logit_diff(gpt2, models.PAIR.clean, there), abs=1e-8)


def test_two_stand_one_after_the_other(gpt2: TransformerBridge) -> None:
    """At one hook the first acts first: doubled and then raised by one is not raised and then doubled."""
    twice, raised = (Standing("embed", what, positions=[4]) for what in (Scale(2.0), Vector(1.0, add=True)))
    for order, change in (((twice, raised), lambda now: 2 * now + 1), ((raised, twice), lambda now: 2 * (now + 1))):
        result = patch(gpt2, models.PAIR, "resid_pre", standing=order, layers=[0], positions=[0]).wait()
        there = hook("hook_embed", (4,), change)
        assert result.clean == pytest.approx(logit_diff(gpt2, models.PAIR.clean, there), abs=1e-8)


def test_another_intervention_is_swept_on_top(gpt2: TransformerBridge) -> None:
    """What stands acts before the cell: half of zero is zero, and half of what was added counts."""
    standing = Standing("z", Vector(1.0, add=True), layers=[1], heads=[0])
    result = patch(gpt2, models.PAIR, "z", standing=standing, intervention=Scale(0.5), layers=[1], heads=[0]).wait()
    there = hook(Z1, (EVERY, 0), lambda now: (now + 1) / 2)
    assert result.data["patched"].item() == pytest.approx(logit_diff(gpt2, models.PAIR.corrupted, there), abs=1e-8)


@pytest.mark.parametrize(("site", "window"), [("resid_post", 1), ("mlp_out", 1), ("mlp_out", 2), ("mlp_out", 10)])
def test_rome(model: TransformerBridge, site: str, window: int) -> None:
    """Noise on the subject's embeddings of one prompt, ten times; a window of a layer's states restored each time."""
    standing = Standing("embed", Noise(3.0, samples=10), runs="corrupted", positions=SUBJECT)
    result = patch(model, SAME, site, standing=standing, window=window).wait()
    layers = model.cfg.n_layers
    clean = [seen(model, SAME.clean, f"blocks.{layer}.hook_{site}", []) for layer in range(layers)]
    found = np.zeros((10, layers, 7))
    corrupted = np.zeros(10)
    for sample in range(10):
        noise = noised(model, "hook_embed", 3.0, sample, SUBJECT)
        corrupted[sample] = logit_diff(model, SAME.clean, noise)
        for layer in range(layers):
            around = range(max(0, layer - window // 2), min(layers, layer + -(-window // 2)))
            assert 0 < len(around) <= window
            assert layer in around
            for position in range(7):
                restored: Hooks = []
                for other in around:
                    state = clean[other][position]
                    restored += hook(f"blocks.{other}.hook_{site}", (position,), lambda now, state=state: state)
                found[sample, layer, position] = logit_diff(model, SAME.clean, [*noise, *restored])
    np.testing.assert_allclose(result.data["patched"].values[0], found.mean(0), rtol=0, atol=1e-8)
    assert result.clean == pytest.approx(logit_diff(model, SAME.clean, []), abs=1e-8)
    assert result.corrupted == pytest.approx(corrupted.mean(), abs=1e-8)
    assert result.provenance["samples"] == 10


def test_everything_that_draws_draws_for_itself(gpt2: TransformerBridge) -> None:
    """Twice the same draw at one place would be noise of twice the size; what is swept draws as if nothing stood."""
    noise = Noise(1.0, samples=2)
    standing = [Standing("embed", noise, positions=SUBJECT), Standing("embed", noise, positions=SUBJECT)]
    result = patch(gpt2, models.PAIR, "embed", intervention=noise, standing=standing, positions=[2, 3, 6]).wait()
    corrupted, found = np.zeros(2), np.zeros((2, 3))
    for sample in range(2):
        both = [
            put
            for which in ("/standing 1", "/standing 2")
            for put in noised(gpt2, "hook_embed", 1.0, sample, SUBJECT, which)
        ]
        corrupted[sample] = logit_diff(gpt2, models.PAIR.corrupted, both)
        for i, position in enumerate((2, 3, 6)):
            swept = noised(gpt2, "hook_embed", 1.0, sample, [position], "")
            found[sample, i] = logit_diff(gpt2, models.PAIR.corrupted, [*both, *swept])
    assert result.corrupted == pytest.approx(corrupted.mean(), abs=1e-8)
    np.testing.assert_allclose(result.data["patched"].values[0], found.mean(0), rtol=0, atol=1e-8)


def test_what_stands_draws_other_prompts_than_what_is_swept(gpt2: TransformerBridge) -> None:
    over = Dataset([PromptPair(f"w1 w2 w3 w4 w5 w{i}", f"w1 w2 w3 w4 w5 w{i + 10}") for i in range(6, 16)])
    prompts = [str(pair.corrupted) for pair in over]

    def drawn(sample: int, which: str) -> str:
        digest = hashlib.sha256(f"0/0/{sample}/donor{which}".encode()).digest()
        return random.Random(int.from_bytes(digest[:8], "big") >> 1).choice(prompts)

    assert any(drawn(sample, "") != drawn(sample, "/standing 1") for sample in range(4))
    what = Resample(over, samples=4)
    standing = Standing("z", what, layers=[1], heads=[1])
    result = patch(gpt2, models.PAIR, "mlp_out", intervention=what, standing=standing, layers=[2], positions=[6]).wait()
    expected = []
    for sample in range(4):
        stood, swept = (seen(gpt2, drawn(sample, which), name, []) for which, name in
                        (("/standing 1", Z1), ("", "blocks.2.hook_mlp_out")))  # fmt: skip
        hooks = hook(Z1, (EVERY, 1), lambda now, stood=stood: stood[:, 1])
        hooks += hook("blocks.2.hook_mlp_out", (6,), lambda now, swept=swept: swept[6])
        expected.append(logit_diff(gpt2, models.PAIR.corrupted, hooks))
    assert result.data["patched"].item() == pytest.approx(np.mean(expected), abs=1e-8)


def test_the_same_prompts_are_compared_only_where_something_tells_the_runs_apart(gpt2: TransformerBridge) -> None:
    told = "the two prompts are the same tokens; change the fact you ask about in one."
    for standing in ((), Standing("embed", Noise(1.0)), Standing("z", Zero(), heads=[1])):
        with pytest.raises(PatchError, match=told):
            patch(gpt2, SAME, "resid_pre", standing=standing)
    for runs in ("clean", "corrupted"):
        result = patch(gpt2, SAME, "z", standing=Standing("embed", Noise(1.0), runs=runs), layers=[0]).wait()
        assert abs(result.clean - result.corrupted) > 1e-3


def test_samples_must_agree(gpt2: TransformerBridge) -> None:
    standing = Standing("embed", Noise(1.0, samples=3))
    with pytest.raises(PatchError, match="the interventions ask for 2 and 3 samples; give all one"):
        patch(gpt2, models.PAIR, "z", intervention=Noise(samples=2), standing=standing)
    assert patch(gpt2, models.PAIR, "z", standing=standing, layers=[0]).wait().provenance["samples"] == 3


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Standing("z", Zero(), layers=[3]), r"layer 3 does not exist: there are 3 \(0 to 2\)"),
    (lambda: Standing("z", Zero(), heads=[4]), r"head 4 does not exist: there are 4 \(0 to 3\)"),
    (lambda: Standing("z", Zero(), positions=[7]), r"position 7 does not exist: there are 7 \(0 to 6\)"),
    (lambda: Standing("mlp_post", Zero(), neurons=[48]), "neuron 48 does not exist"),
    (lambda: Standing("z", Zero(), neurons=[1]), r"Standing: z has no neurons to choose; leave out neurons="),
    (lambda: Standing("resid_pre", Zero(), heads=[0]), "Standing: resid_pre has no heads to choose"),
    (lambda: Standing("pattern", Zero(), positions=[0]), "Standing: pattern has no positions to choose"),
    (lambda: Standing("embed", Zero(), layers=[0]), "Standing: embed has no layers to choose; leave out layers="),
    (lambda: Standing("embed", Vector([1.0, 2.0])), "the vector has 2 entries and embed has 32; give as many"),
    (lambda: Standing("resid_pr", Zero()), "unknown site 'resid_pr'; did you mean 'resid_pre'"),
    (lambda: Standing("z", Zero(), runs="all"), "unknown run"),
    (lambda: Standing("z", Zero), r"Standing: <class .*Zero'> is not an intervention such as Zero\(\)"),  # type: ignore[arg-type]
    (lambda: Standing("z", Mask()), "a mask cannot stand; sweep it, or stand Mean, Vector, Zero or Scale"),
    (lambda: Standing("z", Patch()), "a patch cannot stand"),
    (lambda: Standing("z", Mean()), "mean needs other prompts and a single pair has none"),
    (lambda: Standing("z", Resample()), "resample needs other prompts and a single pair has none"),
    (lambda: "noise", "standing must be a Standing or a list of them, not 'noise'"),
    (lambda: [Zero()], r"standing must hold Standing\(\"z\", Zero\(\), \.\.\.\), not Zero\(\)"),
    (lambda: 5, "standing must be a Standing or a list of them, not 5"),
]


@pytest.mark.parametrize(("make", "told"), REFUSED)
def test_what_cannot_stand_is_refused_at_once(gpt2: TransformerBridge, make: Callable[[], Any], told: str) -> None:
    before = models.state(gpt2)
    with pytest.raises(PatchError, match=told):
        patch(gpt2, models.PAIR, "z", standing=make())
    assert models.state(gpt2) == before


def test_no_mask_on_top_of_what_stands(gpt2: TransformerBridge) -> None:
    with pytest.raises(PatchError, match="a mask cannot be swept on top of a standing intervention"):
        patch(gpt2, models.PAIR, "z", intervention=Mask(), standing=Standing("embed", Zero(), positions=[1]))


def test_a_mean_and_a_resample_under_what_stands_are_of_the_model_without_it(gpt2: TransformerBridge) -> None:
    over = Dataset([PromptPair("w3 w1 w4 w1 w5 w9", "w2 w7 w1 w8 w2 w8"), PromptPair("w1 w6 w1 w8 w0 w3", "w2 w7 w1 w8 w2 w8")])  # noqa: E501 # fmt: skip
    there, name = hook(Z1, (EVERY, 0), torch.zeros_like), "blocks.2.hook_mlp_out"
    stand = Standing("z", Zero(), layers=[1], heads=[0])
    taken = seen(gpt2, over[0].corrupted, name, [])[6]
    assert (taken - seen(gpt2, over[0].corrupted, name, there)[6]).abs().max() > 1e-3
    expected = logit_diff(gpt2, models.PAIR.corrupted, [*there, *hook(name, (6,), lambda now: taken)])
    for what in (Mean(over), Resample(over)):
        result = patch(
            gpt2, models.PAIR, "mlp_out", intervention=what, standing=stand, layers=[2], positions=[6]
        ).wait()
        assert result.data["patched"].item() == pytest.approx(expected, abs=1e-8)
