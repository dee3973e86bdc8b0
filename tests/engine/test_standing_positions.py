"""What stands at a position must find it in every run it stands in, and in no other."""

from __future__ import annotations

import pytest
from transformer_lens.model_bridge import TransformerBridge

import patchwidgets as pw
from patchwidgets.engine.patch import patch
from patchwidgets.errors import PatchError
from patchwidgets.interventions import Standing, Zero

PAIR = pw.PromptPair("w1 w2 w3", "w1 w4 w5 w3", answer="w20", foil="w21")
"""With a BOS the clean prompt has four tokens and the corrupted one five."""
LAST = 4


def test_a_position_of_one_run_may_be_stood_at_in_that_run(gpt2: TransformerBridge) -> None:
    stand = Standing("embed", Zero(), positions=[LAST], runs="corrupted")
    plain = patch(gpt2, PAIR, "z", align="auto").wait()
    found = patch(gpt2, PAIR, "z", align="auto", standing=stand).wait()
    assert found.clean == pytest.approx(plain.clean, abs=1e-9)
    assert found.corrupted != pytest.approx(plain.corrupted, abs=1e-3)


@pytest.mark.parametrize("runs", ["clean", "both"])
def test_a_position_that_a_run_does_not_have_is_refused_at_once(gpt2: TransformerBridge, runs: str) -> None:
    stand = Standing("embed", Zero(), positions=[LAST], runs=runs)
    with pytest.raises(PatchError, match=r"position 4 does not exist: there are 4 \(0 to 3\)"):
        patch(gpt2, PAIR, "z", align="auto", standing=stand)
