"""An Explorer on the embedded model."""

from __future__ import annotations

import pytest

import patchwidgets as pw


@pytest.fixture(scope="module")
def model():
    return pw.load_model()


@pytest.fixture
def explorer(model):
    made = pw.explore(model)
    yield made
    made.cancel()
