"""What every test shares: no network for model hubs, no screen, and SmolLM2 for the tests that ask for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis.configuration import set_hypothesis_home_dir

os.environ["HF_HUB_OFFLINE"] = "1"
matplotlib.use("Agg")

from tests import smollm2

# Hypothesis takes notes from collection on; they are kept out of the checkout and go away with the process.
_MEASURED = "measured: "
_NOTES = tempfile.TemporaryDirectory(prefix="hypothesis-")
set_hypothesis_home_dir(_NOTES.name)


@pytest.fixture(autouse=True)
def _fresh_torch() -> Iterator[None]:
    """Whatever ran before: a test draws the same, and gradients are on, which exported code turns off for good."""
    torch.manual_seed(0)
    with torch.enable_grad():
        yield


def _have(get: Callable[[], Path]) -> Path:
    try:
        return get()
    except smollm2.MissingModelError as error:
        told = str(error)
    pytest.fail(told, pytrace=False)


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """A local folder with SmolLM2-135M-Instruct in float32 safetensors and its tokenizer."""
    return _have(smollm2.folder)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The same model as the `.gguf` file it came in."""
    return _have(smollm2.gguf)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """The folder screenshots are kept in: `$PATCHWIDGETS_ARTIFACTS`, by default tests/artifacts."""
    named = os.environ.get("PATCHWIDGETS_ARTIFACTS")
    folder = Path(named) if named else Path(__file__).parent / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have measured, from whatever process they ran in; none of them is asserted."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    kept = [(report.nodeid, *each) for report in reports for each in report.user_properties]
    told = [(where, name.removeprefix(_MEASURED), value) for where, name, value in kept if name.startswith(_MEASURED)]
    if told:
        terminalreporter.section("measured, not asserted")
    for where, name, value in told:
        terminalreporter.line(f"{name}: {value}  ({where.rpartition('::')[2]})")
