"""Every intervention agrees with the same thing done by hand through TransformerLens's or plain PyTorch's hooks."""

from __future__ import annotations

import gc
import hashlib
import random
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from patchwidgets.answers import Continuation
from patchwidgets.datasets import Dataset
from patchwidgets.engine.baseline import Baseline
from patchwidgets.engine.handle import handle_of
from patchwidgets.engine.lanes import Lane
from patchwidgets.engine.patch import encode, patch
from patchwidgets.engine.plan import Target, hook_of
from patchwidgets.engine.values import Sources, make_value
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Intervention, Mask, Mean, Noise, Resample, Scale, Standing, Vector, Zero
from patchwidgets.joint import Joint
from patchwidgets.prompts import PromptPair
from patchwidgets.result import PatchResult
from patchwidgets.sites import SITES
from tests import models

pytestmark = pytest.mark.filterwarnings("ignore:the two runs hardly differ")

DIRECTIONS = ("denoise", "noise")
HOOKS = {
    "embed": ("hook_embed", ("pos",)),
    "resid_pre": ("blocks.{}.hook_resid_pre", ("pos",)),
    "attn_out": ("blocks.{}.hook_attn_out", ("pos",)),
    "z": ("blocks.{}.attn.hook_z", ("pos", "head")),
    "k": ("blocks.{}.attn.hook_k", ("pos", "head")),
    "mlp_post": ("blocks.{}.mlp.hook_post", ("pos", "neuron")),
    "pattern": ("blocks.{}.attn.hook_pattern", ("head", "dest", "src")),
}
TABLES = [
    ("embed", ("pos",)),
    ("resid_pre", ("layer", "pos")),
    ("attn_out", ("layer",)),
    ("z", ("layer", "head")),
    ("k", ("layer", "head")),
    ("mlp_post", ("layer", "pos")),
    ("pattern", ("layer", "head")),
]
FEW = [("z", ("layer", "head")), ("pattern", ("layer", "head"))]
Change = Callable[[Tensor, str, tuple[Any, ...]], Tensor]
"""(what is there, the hook's name, the index without the batch) -> what is to be there."""

OTHERS = Dataset(
    [
        PromptPair("w3 w1 w4 w1 w5 w9", "w2 w7 w1 w8 w2 w8", answer="w20", foil="w21"),
        PromptPair("w1 w6 w1 w8 w0 w3", "w3 w9 w8 w8 w7 w4", answer="w20", foil="w21"),
        PromptPair("w9 w8 w6 w9 w6 w0", "w5 w7 w7 w2 w1 w5", answer="w20", foil="w21"),
    ]
)
LONGER = Dataset([PromptPair("w3 w1 w4 w1 w5 w9 w2 w6", "w2 w7 w1"), PromptPair("w1 w6 w1", "w3 w9 w8 w2")])


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> TransformerBridge:
    return request.getfixturevalue(request.param)


def base_of(model: TransformerBridge, direction: str, pair: PromptPair = models.PAIR) -> Tensor:
    return models.tokens(model, str(pair.corrupted if direction == "denoise" else pair.clean))


def logit_diff(model: TransformerBridge, tokens: Tensor, hooks: list[tuple[str, Callable[..., Tensor]]]) -> float:
    answer, foil = models.answer_ids()
    with torch.no_grad():
        last = model.run_with_hooks(tokens, fwd_hooks=hooks)[0, -1]
    return float(last[answer] - last[foil])


def by_hand(model: TransformerBridge, tokens: Tensor, site: str, cell: dict[str, int], change: Change) -> float:
    """Return the logit difference after one cell is changed, by one run with one hook."""
    pattern, axes = HOOKS[site]
    name = pattern.format(cell.get("layer"))
    index = tuple(cell.get(axis, slice(None)) for axis in axes)

    def put(activation: Tensor, hook: object) -> Tensor:
        before = activation.clone()
        activation[0][index] = change(activation[0][index], name, index)
        if "dest" not in axes:
            return activation
        # Attention to later tokens is not for an intervention to give.
        return torch.where(torch.ones(7, 7, dtype=torch.bool).tril(), activation, before)

    return logit_diff(model, tokens, [(name, put)])


def assert_agrees(
    model: TransformerBridge, tables: list[tuple[str, tuple[str, ...]]], what: Intervention, change: Change,
    directions: tuple[str, ...] = DIRECTIONS, **options: Any,
) -> None:  # fmt: skip
    for (site, by), direction in product(tables, directions):
        result = patch(model, models.PAIR, site, by=by, direction=direction, intervention=what, **options).wait()
        assert set(result.data["status"].values.ravel()) == {"measured"}
        tokens = base_of(model, direction)
        assert_table(result, lambda cell, tokens=tokens, site=site: by_hand(model, tokens, site, cell, change))
        assert result.provenance["intervention"] == what.name


def assert_table(result: PatchResult, value: Callable[[dict[str, int]], float]) -> None:
    sizes = [range(result.data.sizes[axis]) for axis in result.by]
    expected = [value(dict(zip(result.by, where, strict=True))) for where in product(*sizes)]
    found = result.data["patched"].values[0].ravel()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8, err_msg=repr(result))
    assert len(expected) == 1 or np.ptp(expected) > 1e-3  # Cells that move nothing would show nothing.


def test_zero(model: TransformerBridge) -> None:
    assert_agrees(model, TABLES, Zero(), lambda now, name, index: torch.zeros_like(now))


@pytest.mark.parametrize("factor", [0.5, -2.0])
def test_scale(model: TransformerBridge, factor: float) -> None:
    assert_agrees(model, TABLES, Scale(factor), lambda now, name, index: now * factor)


def test_a_vector_replaces_or_is_added(model: TransformerBridge) -> None:
    values = np.linspace(-2, 3, 32)
    given = torch.tensor(values)
    rows = [("embed", ("pos",)), ("resid_pre", ("layer", "pos")), ("attn_out", ("layer",))]
    assert_agrees(model, rows, Vector(values), lambda now, name, index: given.expand_as(now))
    assert_agrees(model, rows, Vector(values, add=True), lambda now, name, index: now + given)
    heads = [("z", ("layer", "head")), ("k", ("layer", "pos", "head"))]
    assert_agrees(model, heads, Vector(values[:8]), lambda now, name, index: given[:8].expand_as(now))
    neurons, wide = [("mlp_post", ("layer", "pos"))], torch.linspace(-1, 1, 48, dtype=torch.float64)
    assert_agrees(model, neurons, Vector(wide), lambda now, name, index: now * 0 + wide)


def test_a_number_is_a_vector_of_any_length(model: TransformerBridge) -> None:
    tables = [*TABLES, ("mlp_post", ("layer", "neuron"))]
    assert_agrees(model, tables, Vector(0.25), lambda now, name, index: torch.full_like(now, 0.25), ("denoise",))


@pytest.mark.parametrize(
    ("site", "by", "length", "told"),
    [
        ("resid_pre", None, 31, "the vector has 31 entries and resid_pre has 32; give as many."),
        ("z", None, 32, "the vector has 32 entries and z has 8; give as many."),
        ("mlp_post", ("layer", "pos"), 32, "the vector has 32 entries and mlp_post has 48; give as many."),
        ("mlp_post", ("layer", "neuron"), 48, "a cell of mlp_post is one number here and the vector has 48;"),
        ("pattern", None, 7, "a cell of pattern is one number here and the vector has 7; give one number."),
    ],
)
def test_a_vector_of_another_length_is_refused(
    gpt2: TransformerBridge, site: str, by: tuple[str, ...], length: int, told: str
) -> None:
    with pytest.raises(PatchError, match=told):
        patch(gpt2, models.PAIR, site, by=by, intervention=Vector([1.0] * length))


def test_a_vector_has_an_entry_for_every_neuron_it_is_confined_to(gpt2: TransformerBridge) -> None:
    chosen, given = [3, 5, 7], torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    options: dict[str, Any] = {"by": ("layer", "pos"), "neurons": chosen}
    for add in (False, True):
        result = patch(gpt2, models.PAIR, "mlp_post", intervention=Vector(given, add=add), **options).wait()

        def change(now: Tensor, name: str, index: tuple[Any, ...], add: bool = add) -> Tensor:
            changed = now.clone()
            changed[..., chosen] = now[..., chosen] + given if add else given
            return changed

        tokens = base_of(gpt2, "denoise")
        assert_table(result, lambda cell, to=change, of=tokens: by_hand(gpt2, of, "mlp_post", cell, to))
    for wrong in (1, 2, 48):
        told = rf"the vector has {wrong} entries and neurons= names 3 of mlp_post; give 3, or one number\."
        with pytest.raises(PatchError, match=told):
            patch(gpt2, models.PAIR, "mlp_post", intervention=Vector([1.0] * wrong), **options)


def test_a_standing_vector_has_an_entry_for_every_neuron_it_is_confined_to(gpt2: TransformerBridge) -> None:
    values = [0.5, -1.0]
    stand = Standing("mlp_post", Vector(values), layers=[1], neurons=[4, 9])
    result = patch(gpt2, models.PAIR, "z", layers=[0], standing=stand).wait()

    def put(activation: Tensor, hook: object) -> Tensor:
        activation[..., [4, 9]] = torch.tensor(values, dtype=torch.float64)
        return activation

    expected = logit_diff(gpt2, base_of(gpt2, "denoise"), [("blocks.1.mlp.hook_post", put)])
    assert result.corrupted == pytest.approx(expected, abs=1e-8)
    for wrong in (Standing("mlp_post", Vector([1.0] * 48), neurons=[4, 9]), Standing("mlp_post", Vector(values))):
        with pytest.raises(PatchError, match="the vector has"):
            patch(gpt2, models.PAIR, "z", standing=wrong)


def test_the_vector_of_a_joint_must_fit_every_cell(gpt2: TransformerBridge) -> None:
    joint = Joint({"both": [("resid_pre", {"layer": 0}), ("z", {"layer": 1, "head": 0})]})
    with pytest.raises(PatchError, match="the vector has 32 entries and z has 8"):
        patch(gpt2, models.PAIR, joint, intervention=Vector([1.0] * 32))


def cached(model: TransformerBridge, prompts: list[str]) -> list[Any]:
    with torch.no_grad():
        return [model.run_with_cache(models.tokens(model, prompt))[1] for prompt in prompts]


@pytest.mark.parametrize("run", ["clean", "corrupted", "both"])
def test_the_mean_over_a_dataset(model: TransformerBridge, run: str) -> None:
    runs = ["clean", "corrupted"] if run == "both" else [run]
    caches = cached(model, [str(getattr(pair, of)) for pair in OTHERS for of in runs])

    def at_each(now: Tensor, name: str, index: tuple[Any, ...]) -> Tensor:
        return torch.stack([cache[name][0] for cache in caches]).mean(0)[index]

    def overall(now: Tensor, name: str, index: tuple[Any, ...]) -> Tensor:
        mean = torch.cat([cache[name][0] for cache in caches]).mean(0)
        return mean.expand(7, *mean.shape)[index]

    assert_agrees(model, TABLES if run == "both" else FEW, Mean(OTHERS, run=run), at_each)
    tables = TABLES[:-1] if run == "both" else FEW[:-1]
    assert_agrees(model, tables, Mean(OTHERS, run=run, per_position=False), overall)


def test_the_overall_mean_takes_prompts_of_any_length(gpt2: TransformerBridge) -> None:
    caches = cached(gpt2, [str(pair.corrupted) for pair in LONGER])

    def overall(now: Tensor, name: str, index: tuple[Any, ...]) -> Tensor:
        return torch.cat([cache[name][0] for cache in caches]).mean(0).expand_as(now)

    tables = [("resid_pre", ("layer", "pos"))]
    assert_agrees(gpt2, tables, Mean(LONGER, per_position=False), overall)
    with pytest.raises(PatchError, match=r"prompts of one length: the corrupted prompts have 7 tokens, those of the "):
        patch(gpt2, models.PAIR, "resid_pre", intervention=Mean(LONGER))


def test_a_prompt_that_comes_twice_counts_twice(gpt2: TransformerBridge) -> None:
    twice = Dataset([PromptPair("w1 w1 w1 w1 w1 w1", str(OTHERS[i].corrupted)) for i in (0, 1)] + [
        PromptPair("w2 w2 w2 w2 w2 w2", str(OTHERS[0].corrupted))
    ])  # fmt: skip
    first, second = cached(gpt2, [str(OTHERS[i].corrupted) for i in (0, 1)])
    change = lambda now, name, index: ((2 * first[name][0] + second[name][0]) / 3)[index]  # noqa: E731
    assert_agrees(gpt2, [("resid_pre", ("layer", "pos"))], Mean(twice), change)


def test_the_mean_of_a_pattern_over_positions_is_nothing(gpt2: TransformerBridge) -> None:
    with pytest.raises(PatchError, match=r"pattern has no mean over positions; use Mean\(per_position=True\)"):
        patch(gpt2, models.PAIR, "pattern", intervention=Mean(OTHERS, per_position=False)).wait()


def draw(seed: int, number: int, sample: int, *what: object) -> int:
    """The seed of one draw, as documented: of the sweep's seed, the pair, the sample and what is drawn."""
    text = "/".join(map(str, (seed, number, sample, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def donor(base: str, seed: int, sample: int, run: str = "corrupted") -> str:
    others = [str(getattr(pair, run)) for pair in OTHERS]
    return random.Random(draw(seed, 0, sample, "donor")).choice([text for text in others if text != base])


@pytest.mark.parametrize("run", ["clean", "corrupted"])
def test_resampling_takes_the_prompt_it_drew(model: TransformerBridge, run: str) -> None:
    for seed in (0, 1):
        (cache,) = cached(model, [donor("", seed, 0, run)])
        change = lambda now, name, index, cache=cache: cache[name][0][index]  # noqa: E731
        assert_agrees(model, FEW if seed else TABLES, Resample(OTHERS, run=run), change, seed=seed)
    assert len({donor("", seed, 0, run) for seed in range(10)}) > 1


def test_several_draws_are_averaged(gpt2: TransformerBridge) -> None:
    tokens = base_of(gpt2, "denoise")
    caches = cached(gpt2, [donor("", 2, sample) for sample in range(4)])
    result = patch(gpt2, models.PAIR, "z", intervention=Resample(OTHERS, samples=4), seed=2).wait()
    assert_table(
        result,
        lambda cell: float(np.mean([
            by_hand(gpt2, tokens, "z", cell, lambda now, name, index, cache=cache: cache[name][0][index])
            for cache in caches
        ])),
    )  # fmt: skip
    assert (result.provenance["samples"], result.provenance["seed"]) == (4, 2)
    assert len({donor("", 2, sample) for sample in range(4)}) > 1


def test_a_pair_of_the_dataset_never_gives_to_itself(gpt2: TransformerBridge) -> None:
    """With two pairs the donor is the other one."""
    two = OTHERS[:2]
    result = patch(gpt2, two, "resid_pre", intervention=Resample(run="corrupted")).wait()
    for number, other in ((0, 1), (1, 0)):
        (cache,) = cached(gpt2, [str(two[other].corrupted)])
        tokens = models.tokens(gpt2, str(two[number].corrupted))
        found = result.data["patched_pairs"].isel(metric=0, pair=number)
        expected = by_hand(gpt2, tokens, "resid_pre", {"layer": 1, "pos": 4}, lambda now, n, i, c=cache: c[n][0][i])
        assert float(found.sel(layer=1, pos=4)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (Mean(), r"mean needs other prompts and a single pair has none; give Mean\(over=dataset\) or sweep a Dataset"),
        (Resample(), "resample needs other prompts and a single pair has none"),
        (Mean(over="w1"), "mean: over must be a Dataset, not 'w1'"),  # type: ignore[arg-type]
        (Mean(Dataset([PromptPair("w1 " * 20, "w2")])), "pair 0 of the dataset 'dataset': the clean prompt has 21 tok"),
    ],
)
def test_means_and_donors_need_prompts(gpt2: TransformerBridge, what: Intervention, told: str) -> None:
    with pytest.raises(PatchError, match=told):
        patch(gpt2, models.PAIR, "z", intervention=what)


def test_without_a_prompt_of_the_same_length_there_is_no_donor(gpt2: TransformerBridge) -> None:
    with pytest.raises(PatchError, match="there is no other corrupted prompt of 7 tokens to resample from"):
        patch(gpt2, models.PAIR, "z", intervention=Resample(LONGER))


def noise(model: TransformerBridge, name: str, shape: torch.Size, sigma: float, seed: int, sample: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw(seed, 0, sample, name))
    spread = model.original_model.get_input_embeddings().weight.std()
    return sigma * spread * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", [0, 5])
def test_noise_is_the_mean_over_its_draws(model: TransformerBridge, seed: int) -> None:
    (plain,) = cached(model, [str(models.PAIR.clean)])
    for site, by in FEW if seed else TABLES:
        result = patch(model, models.PAIR, site, by=by, intervention=Noise(0.5, samples=3), seed=seed).wait()

        def one(cell: dict[str, int], sample: int, site: str = site) -> float:
            def change(now: Tensor, name: str, index: tuple[Any, ...]) -> Tensor:
                return now + noise(model, name, plain[name][0].shape, 0.5, seed, sample)[index]

            return by_hand(model, base_of(model, "denoise"), site, cell, change)

        assert_table(result, lambda cell, one=one: float(np.mean([one(cell, sample) for sample in range(3)])))


def test_noise_is_the_same_for_the_same_seed_and_whatever_rides_along(gpt2: TransformerBridge) -> None:
    options = {"intervention": Noise(2.0, samples=2), "by": ("layer", "pos", "head")}
    whole, again, other = (patch(gpt2, models.PAIR, "z", seed=seed, **options).wait() for seed in (1, 1, 2))
    np.testing.assert_array_equal(whole.data["patched"], again.data["patched"])
    # In the last layer only the last position reaches what is read.
    assert np.abs((whole.data["patched"] - other.data["patched"]).sel(pos=6).values).min() > 1e-9
    part = patch(gpt2, models.PAIR, "z", seed=1, batch_size=1, layers=[1], heads=[2], positions=[4], **options).wait()
    expected = whole.data["patched"].sel(layer=1, head=2, pos=4).values.ravel()
    np.testing.assert_allclose(part.data["patched"].values.ravel(), expected, rtol=0, atol=1e-9)


def test_no_draw_is_kept(gpt2_float32: TransformerBridge) -> None:
    """A long sweep draws for every hook, pair and sample: together that may be more than there is memory."""
    handle = handle_of(gpt2_float32)
    (encoded,) = encode(handle, models.PAIR)
    lanes = [Lane(sample, encoded, 0, sample, "both") for sample in range(3)]
    targets: list[Target] = [(SITES["mlp_post"], {"layer": layer}) for layer in range(models.LAYERS)]
    sources = Sources(handle, lanes, "corrupted", [hook_of(target) for target in targets], 0, lambda over: ())
    value = make_value(Noise(1.0, samples=3), sources, Baseline())

    def held() -> int:
        found = [each for each in gc.get_objects() if type(each) is Tensor]
        return sum(each.dtype == torch.float64 and each.numel() == 7 * 48 for each in found)

    before = held()
    drawn = [value(target, lane, torch.zeros(7, 48)) for target in targets for lane in lanes]
    assert held() == before
    assert len({float(each.sum()) for each in drawn}) == 9


def test_what_changes_nothing_has_no_effect(model: TransformerBridge) -> None:
    for what, (site, by) in product((Noise(0.0, samples=2), Scale(1.0), Vector(0.0, add=True)), TABLES):
        result = patch(model, models.PAIR, site, by=by, intervention=what).wait()
        np.testing.assert_allclose(result.effect.values, 0.0, rtol=0, atol=1e-9)
        assert set(result.data["status"].values.ravel()) == {"measured"}


def test_answer_and_foil_in_texts_of_unequal_length_get_the_same_noise(gpt2: TransformerBridge) -> None:
    """An answer of three tokens and a foil of one are read in two texts of the same prompt."""
    pair = PromptPair("w1 w2 w3 w4", "w1 w9 w3 w4", answer=Continuation("w20 w22 w23"), foil="w21")
    result = patch(gpt2, pair, "resid_pre", layers=[1], intervention=Noise(1.0, samples=1), seed=4).wait()
    prompt, name = models.tokens(gpt2, "w1 w9 w3 w4"), "blocks.1.hook_resid_pre"
    added = noise(gpt2, name, torch.Size([7, 32]), 1.0, 4, 0)

    def logprobs(tokens: Tensor, position: int) -> Tensor:
        def put(activation: Tensor, hook: object) -> Tensor:
            activation[0, position] += added[position]
            return activation

        with torch.no_grad():
            return gpt2.run_with_hooks(tokens, fwd_hooks=[(name, put)])[0].log_softmax(-1)

    answer, foil = ([models.WORDS.index(word) for word in words] for words in (["w20", "w22", "w23"], ["w21"]))
    for position in range(5):
        spread = logprobs(torch.cat([prompt, torch.tensor([answer[:-1]])], 1), position)
        expected = float(spread[[4, 5, 6], answer].sum() - logprobs(prompt, position)[4, foil[0]])
        assert result.data["patched"].sel(pos=position).item() == pytest.approx(expected, abs=1e-8)


class Plain:
    """The Hugging Face model itself, with what enters some of its modules changed or asked for its gradient."""

    def __init__(self, family: str) -> None:
        self.model = models.hugging_face(family)
        gpt2 = family == "gpt2"
        blocks = self.model.transformer.h if gpt2 else self.model.model.layers
        heads = [block.attn.c_proj if gpt2 else block.self_attn.o_proj for block in blocks]
        self.modules: dict[str, list[nn.Module]] = {"resid_pre": list(blocks), "z": heads}

    def entering(self, site: str, tokens: Tensor, change: dict[int, Callable[[Tensor], Tensor]]) -> tuple[Tensor, list]:
        """Return the logit difference with its gradient, and what enters the site's modules."""
        seen: list[Tensor] = []
        handles = []
        for layer, module in enumerate(self.modules[site]):

            def hook(module: nn.Module, given: tuple[Any, ...], layer: int = layer) -> tuple[Any, ...]:
                first = change[layer](given[0]) if layer in change else given[0]
                seen.append(first)
                return (first, *given[1:])

            handles.append(module.register_forward_pre_hook(hook))
        last = self.model(input_ids=tokens, use_cache=False).logits[0, -1]
        for handle in handles:
            handle.remove()
        answer, foil = models.answer_ids()
        return last[answer] - last[foil], seen

    def gradients(self, site: str, tokens: Tensor) -> list[Tensor]:
        value, seen = self.entering(site, tokens, {})
        return list(torch.autograd.grad(value, seen))


def weights(gradient: Tensor, mask: Mask) -> Tensor:
    """The mask of one cell, written out: entries that count, and how much."""
    size = gradient.abs() if mask.absolute else gradient
    if not mask.graded:
        return (size > mask.threshold).double()
    shown = torch.where(size > mask.threshold, size, 0.0).clamp(min=0)
    return shown / shown.max() if float(shown.max()) else shown


MASKS = [
    Mask(),
    Mask(absolute=True, threshold=0.05),
    Mask(graded=True),
    Mask(threshold=0.02, absolute=True, graded=True),
    Mask(threshold=1e9),
]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mask", MASKS, ids=repr)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_mask_follows_the_gradient(family: str, mask: Mask, direction: str, request: pytest.FixtureRequest) -> None:
    model, plain = request.getfixturevalue(family), Plain(family)
    tokens = base_of(model, direction)
    for site, by in (("resid_pre", ("layer", "pos")), ("z", ("layer", "head"))):
        gradients = plain.gradients(site, tokens)
        result = patch(model, models.PAIR, site, by=by, direction=direction, intervention=mask).wait()
        kept = []

        def masked(layer: int, other: int, site: str = site, gradients: list[Tensor] = gradients) -> float:
            where = (0, other) if site == "resid_pre" else (0, slice(None), slice(8 * other, 8 * other + 8))
            weight = weights(gradients[layer][where], mask)
            kept.append(float(weight.mean()))  # noqa: B023

            def change(entering: Tensor) -> Tensor:
                changed = entering.clone()
                changed[where] = entering[where] * weight
                return changed

            return float(plain.entering(site, tokens, {layer: change})[0].detach())

        sizes = [range(result.data.sizes[axis]) for axis in by]
        expected = [masked(*where) for where in product(*sizes)]
        np.testing.assert_allclose(result.data["patched"].values.ravel(), expected, rtol=0, atol=1e-8)
        np.testing.assert_allclose(result.data["kept"].values.ravel(), kept, rtol=0, atol=1e-12)
        frame = result.to_dataframe()
        np.testing.assert_allclose(frame["kept"], kept, rtol=0, atol=1e-12)


def test_a_mask_that_keeps_all_changes_nothing_and_one_that_keeps_none_is_zero(gpt2: TransformerBridge) -> None:
    options: dict[str, Any] = {"metric": ["logit_diff", "logprob"], "by": ("layer", "head")}
    all_kept = patch(gpt2, models.PAIR, "z", intervention=Mask(threshold=-1e9), **options).wait()
    np.testing.assert_allclose(all_kept.effect.values, 0.0, rtol=0, atol=1e-9)
    assert set(all_kept.data["kept"].values.ravel()) == {1.0}
    none_kept = patch(gpt2, models.PAIR, "z", intervention=Mask(threshold=1e9), **options).wait()
    zero = patch(gpt2, models.PAIR, "z", intervention=Zero(), **options).wait()
    np.testing.assert_allclose(none_kept.data["patched"], zero.data["patched"], rtol=0, atol=1e-9)
    assert set(none_kept.data["kept"].values.ravel()) == {0.0}


@pytest.mark.parametrize("frozen", [True, False])
def test_a_mask_leaves_no_trace(frozen: bool) -> None:
    model = models.bridge("llama")
    model.original_model.requires_grad_(not frozen)
    before = models.state(model)
    result = patch(model, models.PAIR, "mlp_post", by=("layer", "pos"), intervention="mask").wait()
    assert models.state(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert 0 < float(result.data["kept"].mean()) < 1


def test_the_first_metric_makes_the_mask(gpt2: TransformerBridge) -> None:
    first, second = (
        patch(gpt2, models.PAIR, "z", intervention="mask", metric=metrics).wait()
        for metrics in (["logit_diff", "prob"], ["prob", "logit_diff"])
    )
    assert not np.allclose(first.data["kept"], second.data["kept"])
    alone = patch(gpt2, models.PAIR, "z", intervention="mask", metric="logit_diff").wait()
    np.testing.assert_array_equal(alone.data["kept"], first.data["kept"])


def mean_logit(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.mean((1, 2))


@pytest.mark.parametrize("metric", ["rank", "accuracy", mean_logit])
def test_a_mask_needs_a_metric_with_a_gradient(gpt2: TransformerBridge, metric: Any) -> None:
    name = metric if isinstance(metric, str) else metric.__name__
    with pytest.raises(PatchError, match=f"the gradient of the first metric, and {name} has none; put logit_diff or"):
        patch(gpt2, models.PAIR, "z", intervention="mask", metric=[metric, "logit_diff"])


def test_a_mask_of_answer_and_foil_in_two_texts_is_refused(gpt2: TransformerBridge) -> None:
    pair = PromptPair("w1 w2", "w1 w3", answer=Continuation("w20 w22"), foil="w21")
    with pytest.raises(PatchError, match="a mask needs an answer and a foil of one token"):
        patch(gpt2, pair, "z", intervention="mask")
    found = patch(gpt2, pair, "z", intervention="mask", metric="logprob").wait()
    assert np.isfinite(found.data["patched"].values).all()


def test_interventions_by_name_are_their_defaults(gpt2: TransformerBridge) -> None:
    for name, what in (("zero", Zero()), ("scale", Scale(0.5)), ("mask", Mask()), ("noise", Noise(3.0, 10))):
        by_name, by_object = (
            patch(gpt2, models.PAIR, "z", intervention=given, layers=[0]).wait() for given in (name, what)
        )
        np.testing.assert_array_equal(by_name.data["patched"], by_object.data["patched"])
        assert by_name.provenance["settings"] == what.settings()
