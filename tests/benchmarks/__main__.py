"""Print the tables: `python -m tests.benchmarks [sweeps|growth|waits|frames] ...`."""

from __future__ import annotations

import argparse
import logging
import os
import warnings

import torch

from patchwidgets.engine.sweep import ENGINES

from . import frames, growth, sweeps, waits
from .cases import MODELS
from .clock import matmul_rate

TABLES = {"sweeps": sweeps.show, "growth": growth.show, "waits": waits.show, "frames": frames.show}


def main() -> None:
    """Read what is wanted and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("tables", nargs="*", default=[], help=f"of {', '.join(TABLES)}; all when left out")
    parser.add_argument("--model", choices=MODELS, default="gpt2", help="GPT-2 small's shape, or SmolLM2-135M")
    parser.add_argument("--lengths", type=int, nargs="+", default=[15, 64], help="tokens of a prompt")
    parser.add_argument("--only", nargs="+", default=[], help="sites, such as resid_pre z")
    parser.add_argument("--engine", choices=ENGINES, help="of our sweeps; the one they choose when left out")
    parser.add_argument("--sample", type=int, default=12, help="cells that a peer measures of each table")
    parser.add_argument("--times", type=int, default=3, help="how often ours is measured")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"{options.model}, cpu, one thread, CPU seconds, torch {torch.__version__}")
    print(f"matrix products: {matmul_rate() / 1e9:.0f} GFLOP/s")
    for name in options.tables or TABLES:
        TABLES[name](options)


if __name__ == "__main__":
    main()
