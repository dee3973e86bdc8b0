"""What hosts that were not driven ask of the bundle: VS Code and Colab load one module, and nothing from elsewhere."""

from __future__ import annotations

import re

import pytest

from patchwidgets import views
from patchwidgets.views.base import STATIC, View

WIDGET = (STATIC / "widget.js").read_text(encoding="utf-8")
CSS = (STATIC / "widget.css").read_text(encoding="utf-8")
VIEWS = [
    made for made in vars(views).values() if isinstance(made, type) and issubclass(made, View) and made is not View
]


def test_the_bundle_is_one_module_with_one_default_export() -> None:
    assert re.findall(r"\bexport\b[^;]*", WIDGET) == re.findall(r"export\{\w+ as default\}", WIDGET)
    assert len(re.findall(r"export\{\w+ as default\}", WIDGET)) == 1
    assert not re.search(r"\bimport\b", WIDGET), "an import would be fetched from beside the page, where nothing is"


def test_no_loader_of_another_kind_is_asked_for() -> None:
    assert not re.search(r"\brequire\s*\(|\brequirejs\b|\bdefine\s*\(|\bmodule\.exports\b", WIDGET)


def test_nothing_is_fetched() -> None:
    assert not re.search(r"https?://|wss?://|\bfetch\s*\(|XMLHttpRequest|importScripts", WIDGET)
    assert not re.search(r"@import|url\(|https?:", CSS)


def test_nothing_is_evaluated() -> None:
    """A strict content policy, as VS Code has it, forbids it."""
    assert not re.search(r"\beval\s*\(|new Function\b|\.innerHTML\b|document\.write", WIDGET)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__)
def test_every_view_carries_the_whole_bundle(view: type[View]) -> None:
    """The page gets the text itself: an address would have to be served, which VS Code and Colab do not do."""
    state = view().get_state()
    assert (state["_esm"], state["_css"]) == (WIDGET, CSS)
    assert (state["_model_module"], state["_view_module"]) == ("anywidget", "anywidget")
