"""How long what a person does takes until it is seen, measured in the page; and how often the model is asked."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.browser.harness import Notebook

Measured = Callable[[str, str], None]

# A message is handled after the frame that is being made has been shown.
_SHOWN = """
    const shown = then => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => then(performance.now());
        channel.port2.postMessage(0);
    };
"""

# From a click on a cell of the map to the frame in which the panel shows the new cell's next tokens and parts.
_CLICKS = (
    """() => {"""
    + _SHOWN
    + """
    const side = document.querySelector(".pw-x-side");
    const path = () => side.querySelector(".pw-x-path").textContent;
    let began = 0, before = "", redrawn = false;
    window.opened = [];
    addEventListener("click", event => {
        if (!event.target.closest(".pw-x-main > :first-child .pw-plot")) return;
        [began, before, redrawn] = [event.timeStamp, path(), false];
    }, true);
    const whole = () => {
        const drawn = [...side.querySelectorAll(".pw-run-patched tbody")].some(body => body.rows.length);
        const parts = [...side.querySelectorAll(".pw-heatmap")].find(
            map => map.querySelector(".pw-title")?.textContent.endsWith("each patched alone"));
        const said = parts?.querySelector("[role=gridcell]")?.getAttribute("aria-label") ?? "pending";
        return drawn && !said.includes("pending");
    };
    new MutationObserver(changes => {
        if (!began || path() === before) return;
        redrawn ||= changes.some(({target}) => target.closest?.(".pw-predictions"));
        if (!redrawn || !whole()) return;
        const from = began;
        began = 0;
        shown(now => opened.push(now - from));
    }).observe(side, {subtree: true, childList: true, characterData: true, attributes: true});
}"""
)

# From a key to the frame after the one in which what it does is drawn.
_KEYS = (
    """() => {"""
    + _SHOWN
    + """
    window.keyed = [];
    addEventListener("keydown", event => {
        const from = event.timeStamp;
        requestAnimationFrame(() => shown(now => keyed.push(now - from)));
    }, true);
}"""
)

_FRAMES = """() => {
    window.frames_shown = [];
    const next = now => { frames_shown.push(now); window.counting = requestAnimationFrame(next); };
    window.counting = requestAnimationFrame(next);
}"""

# Every module of any model that is called, whole forward passes and the parts that replay calls alike.
_COUNT = """
import torch
called = []
def counted(module, _): called.append(type(module).__name__)
counting = torch.nn.modules.module.register_module_forward_pre_hook(counted)
"""


@dataclass
class Times:
    """Durations in milliseconds."""

    each: list[float]

    def __str__(self) -> str:
        ordered = sorted(self.each)
        return f"median {statistics.median(ordered):.0f} ms of {len(ordered)} ({ordered[0]:.0f} to {ordered[-1]:.0f})"


class Clicks:
    """Times clicks on cells of the map until the drilldown is drawn; begin it before the first of them."""

    def __init__(self, notebook: Notebook) -> None:
        self._page = notebook.page
        self._page.evaluate(_CLICKS)
        self._asked = 0

    def wait(self, seconds: float = 30) -> None:
        """Return once the panel shows the cell that was clicked last."""
        self._asked += 1
        self._page.wait_for_function("asked => opened.length >= asked", arg=self._asked, timeout=1000 * seconds)

    @property
    def times(self) -> Times:
        """How long each took."""
        return Times(self._page.evaluate("opened"))


def time_keys(notebook: Notebook, keys: list[str]) -> Times:
    """Press keys one after the other, each when the one before is drawn, and return how long each took."""
    page = notebook.page
    page.evaluate(_KEYS)
    for number, key in enumerate(keys):
        page.keyboard.press(key)
        page.wait_for_function("number => keyed.length > number", arg=number)
    return Times(page.evaluate("keyed"))


@dataclass
class Streamed:
    """What a sweep cost the page: bytes it was sent, frames it showed, and the longest time without one."""

    bytes: int = 0
    frames: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    def __str__(self) -> str:
        rate = self.frames / self.seconds if self.seconds else 0.0
        return f"{rate:.0f} frames/s, longest gap {self.longest:.0f} ms, {self.bytes / 1000:.0f} kB over the wire"


@contextmanager
def streaming(notebook: Notebook) -> Iterator[Streamed]:
    """Count frames and bytes while a sweep runs; the figures are whole when the block is left."""
    told, before = Streamed(), notebook.traffic.received
    notebook.page.evaluate(_FRAMES)
    yield told
    shown: list[Any] = notebook.page.evaluate("() => { cancelAnimationFrame(counting); return frames_shown; }")
    told.bytes = notebook.traffic.received - before
    told.frames, told.seconds = len(shown) - 1, (shown[-1] - shown[0]) / 1000
    told.longest = max(b - a for a, b in itertools.pairwise(shown))


@contextmanager
def no_model_call(notebook: Notebook) -> Iterator[None]:
    """Fail when any part of a model was called in the kernel, by anybody, before the block is left."""
    notebook.kernel_exec(_COUNT)
    yield
    called = notebook.kernel_eval("(counting.remove(), called)[1]")
    assert called == [], f"{len(called)} calls of the model's parts: {sorted(set(called))}"
