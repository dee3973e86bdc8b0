"""Fixtures of the browser tests; `lab` is the one tests ask for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.harness import Lab, LabServer, launch_chromium
from tests.browser.hosts import NotebookSeven
from tests.browser.measuring import Measured

Shown = TypeVar("Shown", bound=Lab)
_report = pytest.StashKey[pytest.TestReport]()

expect.set_options(timeout=60_000)  # What a page shows in a blink, it shows late where others compute.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave the outcome of the test itself where the fixtures' teardown finds it."""
    report = yield
    if report.when == "call":
        item.stash[_report] = report
    return report


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """One JupyterLab for the whole run."""
    with LabServer(tmp_path_factory.mktemp("jupyterlab")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a file: while it is open, asyncio cannot be used in the tests' own thread."""
    with sync_playwright() as playwright:
        chromium = launch_chromium(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def lab(lab_server: LabServer, browser: Browser, artifacts: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Open notebooks with `lab.open_notebook([cell, ...])`; errors in a page fail the test when it is over."""
    yield from _judged(Lab(lab_server, browser, artifacts), request)


@pytest.fixture
def seven(
    lab_server: LabServer, browser: Browser, artifacts: Path, request: pytest.FixtureRequest
) -> Iterator[NotebookSeven]:
    """The same in Notebook 7."""
    yield from _judged(NotebookSeven(lab_server, browser, artifacts), request)


def _judged(opened: Shown, request: pytest.FixtureRequest) -> Iterator[Shown]:
    yield opened
    report = request.node.stash.get(_report, None)
    if report is not None and report.failed:
        opened.keep_last_look(request.node.name)
    opened.close()
    opened.verify()


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Report a figure: `measured("click to drawn drilldown", "41 ms")` is printed when all tests are over."""
    return lambda what, told: record_property(f"measured: {what}", told)
