"""What cannot be done is refused before anything runs, naming the thing and the remedy; the model is unharmed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import BertConfig, BertForMaskedLM

from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.prompts import PromptPair
from patchwidgets.sites import SITES
from tests import models

CLEAN, CORRUPTED = "w1 w2 w3", "w1 w4 w3"


def pair(clean: Any = CLEAN, corrupted: Any = CORRUPTED, answer: Any = "w5", foil: Any = "w6") -> PromptPair:
    return PromptPair(clean, corrupted, answer=answer, foil=foil)


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"site": "resid_per"}, r"unknown site 'resid_per'; did you mean 'resid_pre'\? Known: resid_pre, "),
    ({"site": "blocks.0.hook_resid_pre"}, r"unknown site 'blocks.0.hook_resid_pre'.*Known: "),
    ({"site": None}, r"unknown site None\. Known: "),
    ({"by": "head"}, r"site 'resid_pre' cannot be swept by 'head'\. It can be swept by \('layer', 'pos'\); "),
    ({"by": ("pos", "layer")}, r"site 'resid_pre' cannot be swept by \('pos', 'layer'\)\. It can be swept by"),
    ({"direction": "up"}, r"unknown direction 'up'\. Known: denoise, noise"),
    ({"direction": "denoising"}, r"unknown direction 'denoising'; did you mean 'denoise'\?"),
    ({"direction": ["noise"]}, r"unknown direction \['noise'\]"),
    ({"metric": "logitdif"}, r"unknown metric 'logitdif'; did you mean 'logit_diff'\? Known: logit_diff, "),
    ({"metric": []}, r"no metric given; choose one or more of logit_diff"),
    ({"metric": ["prob", "prob"]}, r"a metric is named twice"),
    ({"metric": int}, r"unknown metric <class 'int'>"),
    ({"layers": [3]}, r"layer 3 does not exist: there are 3 \(0 to 2\)"),
    ({"layers": -4}, r"layer -4 does not exist: there are 3 \(0 to 2\)"),
    ({"layers": [0, 0]}, r"layers names an index twice: \[0, 0\]"),
    ({"layers": [2, -1]}, r"layers names an index twice: \[2, -1\]"),
    ({"layers": []}, r"layers must be one or more whole numbers, not \[\]"),
    ({"layers": "all"}, r"layers must be one or more whole numbers, not 'all'"),
    ({"layers": 1.5}, r"layers must be one or more whole numbers, not 1.5"),
    ({"layers": [True]}, r"layers must be one or more whole numbers, not \[True\]"),
    ({"layers": True}, r"layers must be one or more whole numbers, not True"),
    ({"positions": [4]}, r"position 4 does not exist: there are 4 \(0 to 3\)"),
    ({"positions": [1, 1]}, r"positions names an index twice"),
    ({"heads": [0]}, r"'resid_pre' has no head to choose from; it has layer, pos"),
    ({"site": "pattern", "positions": [0]}, r"'pattern' has no position to choose from; it has layer, head, dest, src"),
    ({"site": "z", "heads": [4]}, r"head 4 does not exist: there are 4 \(0 to 3\)"),
    ({"site": "z", "heads": (1, 1)}, r"heads names an index twice"),
    ({"batch_size": 0}, r"batch_size must be a whole number, 1 or more, not 0"),
    ({"batch_size": -3}, r"batch_size must be a whole number"),
    ({"batch_size": 2.0}, r"batch_size must be a whole number, 1 or more, not 2.0"),
    ({"batch_size": True}, r"batch_size must be a whole number, 1 or more, not True"),
    ({"prepend_bos": "yes"}, r"prepend_bos must be True, False or None, not 'yes'"),
    ({"pair": (CLEAN, CORRUPTED)}, r"expected a PromptPair, got \('w1 w2 w3', 'w1 w4 w3'\); write pw.PromptPair\("),
    ({"pair": None}, r"expected a PromptPair, got None"),
    ({"pair": pair(corrupted="w1 w4")}, r"different lengths in tokens: 4 clean, 3 corrupted.*Clean: .*w1\|w2\|w3"),
    ({"pair": pair(corrupted=CLEAN)}, r"the two prompts are the same tokens; change the fact"),
    ({"pair": pair(clean="")}, r"the clean prompt is empty; type a text"),
    ({"pair": pair(corrupted=" \n ")}, r"the corrupted prompt is empty; type a text"),
    ({"pair": pair(clean=[])}, r"the clean prompt is empty"),
    ({"pair": pair(clean="w1 " * 20)}, r"the clean prompt has 21 tokens and the model's context holds 16; shorten it"),
    ({"pair": pair(clean="[BOS] w1 w2")}, r"clean prompt contains the BOS token '\[BOS\]' and another is put"),
    ({"pair": pair([1, 2, 40], [1, 2, 3])}, r"clean: token id 40 is not in the vocabulary of 40 tokens"),
    ({"pair": pair([1, 2], [1, -3])}, r"corrupted: token id -3 is not in the vocabulary"),
    ({"pair": pair(answer="zebra")}, r"the answer 'zebra' is not in this model's vocabulary\. Choose a single token"),
    ({"pair": pair(foil="Zebra")}, r"the foil 'Zebra' is not in this model's vocabulary"),
    ({"pair": pair(answer="W5")}, r"the answer 'W5' is not in this model's vocabulary\. Did you mean ' w5'\?"),
    ({"pair": pair(answer="w5 w6")}, r"the answer 'w5 w6' is 2 tokens, 'w5\|w6', not one\. Did you mean 'w5'\?"),
    ({"pair": pair(answer="")}, r"the answer is empty"),
    ({"pair": pair(answer=None)}, r"no answer given; name the token"),
    ({"pair": pair(foil=None)}, r"logit_diff compares two tokens and no foil is given.*another metric such as logprob"),
    ({"pair": pair(foil="w5")}, r"answer and foil are the same token 'w5'; their difference is always 0"),
    ({"pair": pair(answer=40)}, r"answer 40 is not a token id of this vocabulary \(0 to 39\)"),
    ({"pair": pair(foil=-1)}, r"foil -1 is not a token id of this vocabulary \(0 to 39\)"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS, ids=[message[:48] for _, message in SETTINGS])
def test_refused_with_the_thing_and_the_remedy(gpt2: TransformerBridge, settings: dict[str, Any], message: str) -> None:
    before = models.state(gpt2)
    with pytest.raises(PatchError, match=message):
        patch(gpt2, **{"pair": pair(), "site": "resid_pre", **settings})
    assert models.state(gpt2) == before


@pytest.mark.parametrize("site", SITES)
def test_a_model_without_a_site_says_which_it_has(site: str) -> None:
    """Attention only: no MLP, and in TransformerLens no resid_mid."""
    model = TransformerBridge.boot_native(
        {
            "n_layers": 2, "n_heads": 2, "d_model": 16, "d_head": 8, "n_ctx": 8, "d_vocab": 9, "attn_only": True,
            "act_fn": "gelu", "seed": 0,
        }
    ).eval()  # fmt: skip
    ids = PromptPair([1, 2, 3], [1, 4, 3], answer=5, foil=6)
    if site == "attn_scores":
        with pytest.raises(PatchError, match=r"shows 'attn_scores' but does not compute with it: .* such as z"):
            patch(model, ids, site)
        return
    if site not in ("mlp_out", "resid_mid", "mlp_pre", "mlp_post"):
        assert patch(model, ids, site).wait().data["status"].size
        return
    hook = re.escape(SITES[site].hook_name(0))
    with pytest.raises(PatchError, match=rf"has no '{site}' \(hook {hook}\)\. It has resid_pre, .*z"):
        patch(model, ids, site)


def test_parallel_attention_has_no_middle(neox: TransformerBridge) -> None:
    with pytest.raises(PatchError, match=r"has no 'resid_mid' .*It has resid_pre, resid_post, attn_out, mlp_out, z"):
        patch(neox, pair(), "resid_mid")


def test_shared_key_value_heads_are_counted_as_they_are(llama: TransformerBridge) -> None:
    assert patch(llama, pair(), "k", heads=[1]).wait().data.sizes["head"] == 1
    for site in ("k", "v"):
        with pytest.raises(PatchError, match=r"head 2 does not exist: there are 2 \(0 to 1\)"):
            patch(llama, pair(), site, heads=[2])
    assert patch(llama, pair(), "q", heads=[3]).wait().data.sizes["head"] == 1


def test_a_model_in_training_mode_is_refused() -> None:
    model = models.bridge("gpt2")
    model.train()
    with pytest.raises(PatchError, match=r"training mode, where dropout makes runs differ; call model.eval\(\) first"):
        patch(model, pair(), "z")
    assert model.training
    model.eval()
    model.blocks[1].train()
    with pytest.raises(PatchError, match=r"training mode"):
        patch(model, pair(), "z")


def test_texts_need_a_tokenizer() -> None:
    model = TransformerBridge.boot_native(
        {"n_layers": 1, "n_heads": 2, "d_model": 16, "d_head": 8, "n_ctx": 8, "d_vocab": 9, "act_fn": "gelu", "seed": 0}
    ).eval()
    with pytest.raises(PatchError, match="this model has no tokenizer; give the clean prompt as a list of token ids"):
        patch(model, pair(), "resid_pre")
    with pytest.raises(PatchError, match="this model has no tokenizer; give the answer as a token id"):
        patch(model, PromptPair([1, 2], [1, 3], answer="w1", foil=2), "resid_pre")


class HookedTransformer(torch.nn.Module):
    """By this name TransformerLens before 4 called its models."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (HookedTransformer(), r"HookedTransformer is the model class of TransformerLens before 4.*pw.load_model"),
        (None, r"expected a model from pw.load_model\(\), got 'NoneType'"),
        ("gpt2", r"expected a model from pw.load_model\(\), got 'str'"),
        (torch.nn.Linear(2, 2), r"expected a model from pw.load_model\(\), got 'Linear'"),
    ],
)
def test_what_is_no_model_is_refused(model: Any, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        patch(model, pair(), "z")


def test_attention_that_hides_its_pattern_is_refused() -> None:
    model = models.bridge("gpt2")
    model.original_model.config._attn_implementation = "sdpa"
    with pytest.raises(PatchError, match=r"computes attention with 'sdpa', which hides its patterns.*\"eager\""):
        patch(model, pair(), "z")


def test_a_model_that_looks_ahead_is_refused() -> None:
    """BERT reads both ways: a patch behind the first difference would move what stands before it."""
    config = BertConfig(
        vocab_size=models.VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    config._attn_implementation = "eager"
    bert = BertForMaskedLM(config).eval()
    bert.cls.predictions.decoder.weight.data.normal_(0, 1.0)
    model = models.bridged(bert)
    with pytest.raises(PatchError, match=r"of the kind 'bert', which reads both ways: a later token changes what it"):
        patch(model, models.PAIR, "resid_pre")
