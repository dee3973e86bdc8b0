"""The engine: exact activation patching on a TransformerLens model, cell by cell, in its own thread."""
