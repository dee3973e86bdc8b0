"""The least an exact sweep must multiply: changed rows, through the layers above them, as far as they are read."""

from __future__ import annotations

from typing import Any

from .cases import Case


def floor_flops(model: Any, case: Case) -> float:
    """Return the floating point operations of the weights' products that no exact method can leave out.

    A cell enters at its layer and position; every row from there on goes through the blocks above, all of each but the
    last, of which a row that is not read needs keys and values only. What attention multiplies with itself, norms and
    the answer's two columns are left out.
    """
    c = model.cfg
    kv = c.n_key_value_heads or c.n_heads
    qo, kvs = 2 * c.d_model * c.n_heads * c.d_head, 2 * c.d_model * kv * c.d_head
    mlp = (3 if getattr(c, "gated_mlp", False) else 2) * c.d_model * c.d_mlp
    out = c.n_heads * c.d_head * c.d_model
    length, layers = case.tokens, c.n_layers

    def above(layer: int, rows: int) -> float:
        """Return the products of blocks layer and up, entered with so many rows of which the last is read."""
        whole = max(0, layers - layer - 1) * rows * (qo + kvs + mlp)
        return whole + (rows * kvs + qo + mlp if layer < layers else 0)

    def entering(layer: int, start: int, last: int) -> float:
        rows = length - start
        own = last - start + 1
        if layer == layers - 1 and case.site != "resid_pre":
            own = 1 if last == length - 1 else 0
        local = {
            "resid_pre": 0, "attn_out": own * mlp, "mlp_out": 0, "mlp_post": own * c.d_model,
            "q": own * (out / c.n_heads + mlp), "z": own * (out / c.n_heads + mlp),
            "k": own * (out / c.n_heads + mlp), "v": own * (out / c.n_heads + mlp),
            "pattern": own * (out / c.n_heads + mlp),
        }[case.site]  # fmt: skip
        return local + above(layer if case.site == "resid_pre" else layer + 1, rows)

    each = {"head": kv if case.site in ("k", "v") else c.n_heads, "neuron": case.neurons}
    per_place = each["head"] if "head" in case.by else each["neuron"] if "neuron" in case.by else 1
    assert per_place is not None
    if "pos" in case.by:
        total = sum(entering(layer, p, p) for layer in range(layers) for p in range(case.at, length))
    else:
        total = sum(entering(layer, case.at, length - 1) for layer in range(layers))
    return 2 * per_place * total
