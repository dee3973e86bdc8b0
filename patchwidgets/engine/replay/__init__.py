"""The replay engine: a patch is a few new rows of the residual stream, and only what they change is run again.

One run of the base prompts is taped; a patched run enters its layer with the rows that differ and climbs from there
through copies of the model's own blocks, the tape's keys and values before it. `parts` takes a model apart and proves
that the parts make the whole, `tape` records, `climb` runs.
"""
