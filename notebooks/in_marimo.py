"""The views beside marimo's own controls. `pip install marimo`, then `marimo edit notebooks/in_marimo.py`."""

import marimo

app = marimo.App(width="medium", app_title="Activation patching in marimo")


@app.cell
def _():
    import marimo as mo
    import torch

    import patchwidgets as pw

    return mo, pw, torch


@app.cell
def _(mo):
    mo.md("""
    # Activation patching in marimo

    Every view of patchwidgets is an anywidget: `mo.ui.anywidget` shows it, and what is chosen in it can run other
    cells. Here marimo's menus choose the question, the map answers it, and a click on a cell says its number and where
    a head of that layer looks from there. The Explorer itself is made of ipywidgets, which marimo does not show.
    """)
    return


@app.cell
def _(pw):
    model = pw.load_model()
    pair = pw.PromptPair(
        "When Mary and John went to the store, John gave a drink to",
        "When Anna and John went to the store, John gave a drink to",
        answer=" Mary",
        foil=" Anna",
    )
    return model, pair


@app.cell
def _(mo):
    direction = mo.ui.dropdown(["denoise", "noise"], value="denoise", label="Direction")
    site = mo.ui.dropdown(["resid_pre", "attn_out", "mlp_out"], value="resid_pre", label="Site")
    mo.hstack([direction, site], justify="start")
    return direction, site


@app.cell
def _(direction, model, pair, pw, site):
    result = pw.patch(model, pair, site.value, direction=direction.value).wait()
    return (result,)


@app.cell
def _(mo):
    # What the map's click sets and other cells read.
    chosen, choose = mo.state((2, 14))
    return choose, chosen


@app.cell
def _(choose, mo, pw):
    heatmap = pw.Heatmap(selected=[2, 14], group="marimo")
    heatmap.on_select(lambda layer, pos: choose((layer, pos)))
    mo.ui.anywidget(heatmap)
    return (heatmap,)


@app.cell
def _(heatmap, result):
    # The same map shows another result: what is selected stays selected.
    heatmap.show(result, selected=heatmap.selected)
    return


@app.cell
def _(chosen, mo, result):
    layer, pos = chosen()
    _table = result.to_dataframe()
    _row = _table[(_table.layer == layer) & (_table.pos == pos)].iloc[0]
    mo.md(f"**Layer {layer}, position {pos}**, `{_row.token}`: {_row.normalized:.4f} of the gap, {_row.status}.")
    return layer, pos


@app.cell
def _(model, pair, torch):
    with torch.no_grad():
        runs = {name: model.run_with_cache(getattr(pair, name)) for name in ("clean", "corrupted")}
    return (runs,)


@app.cell
def _(mo, pos, pw, result):
    strip = pw.TokenStrip(result, selected=pos, group="marimo")
    mo.ui.anywidget(strip)
    return (strip,)


@app.cell
def _(mo, model):
    head = mo.ui.slider(0, model.cfg.n_heads - 1, value=1, label="Head", show_value=True)
    mo.hstack([head], justify="start")
    return (head,)


@app.cell
def _(head, layer, mo, pos, pw, runs, strip):
    _patterns = [cache[f"blocks.{layer}.attn.hook_pattern"][0, head.value].numpy() for _, cache in runs.values()]
    attention = pw.AttentionView(
        strip.columns,
        {name: name for name in runs},
        _patterns,
        dest=pos,
        title=f"Attention of head {layer}.{head.value}",
        group="marimo",
    )
    mo.ui.anywidget(attention)
    return


@app.cell
def _(mo, model, pw, runs):
    def most_likely(logits):
        probs = logits.softmax(-1)
        top = probs.topk(5)
        return [
            {"token": model.tokenizer.decode([i]), "prob": float(p), "logit": float(logits[i]), "mark": ""}
            for p, i in zip(top.values, top.indices.tolist(), strict=True)
        ]

    tables = [{"name": n, "label": n, "rows": most_likely(logits[0, -1])} for n, (logits, _) in runs.items()]
    mo.ui.anywidget(pw.Predictions(tables, title="Next token"))
    return


if __name__ == "__main__":
    app.run()
