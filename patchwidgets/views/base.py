"""What every view has in common: the bundle, the kind and the group."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
from IPython.display import display
from numpy.typing import ArrayLike
from traitlets import Unicode

from ..errors import PatchError
from .still import still_page

STATIC = Path(__file__).parent.parent / "static"
logger = logging.getLogger(__name__)


class View(anywidget.AnyWidget):
    """One view; the synced trait `kind` tells the bundle which.

    Views of one page with the same non-empty `group` are linked: what is hovered in one is marked in all.
    """

    # As texts: of a path, anywidget watches the file and keeps every view alive to tell it of a change.
    _esm = Unicode((STATIC / "widget.js").read_text(encoding="utf-8")).tag(sync=True)
    _css = Unicode((STATIC / "widget.css").read_text(encoding="utf-8")).tag(sync=True)
    kind = Unicode().tag(sync=True)
    group = Unicode("").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._listeners: list[Callable[..., None]] = []
        super().__init__(**traits)
        self.on_msg(self._receive)

    def _still(self) -> str:
        """What stands for the view where it cannot be drawn, as HTML; nothing unless a view says."""
        return ""

    def _ipython_display_(self) -> None:
        """Show the view, and before it what a notebook keeps of it; IPython calls this.

        That has no plain text: a terminal prints the plain texts of both.
        """
        mark = f"pw-v-{self.model_id}"
        self.add_class(mark)
        told = f"A {type(self).__name__} was here. Run the cell again to have it."
        display({"text/plain": "", "text/html": still_page(mark, told, self._still())}, raw=True)
        data, metadata = self._repr_mimebundle_() or ({}, {})
        display(data, metadata=metadata, raw=True)

    def _receive(self, _widget: object, content: object, _buffers: object) -> None:
        """Passes a well-formed message of the page to `_handle`; anything else is not for us."""
        if isinstance(content, dict):
            self._handle(content)

    def _handle(self, message: dict[str, Any]) -> None:
        """Acts on one message of the page; views that are only looked at get none."""

    def _tell(self, *args: int | str) -> None:
        """Calls the listeners; one that raises is logged and keeps no other from being called."""
        for listener in tuple(self._listeners):
            try:
                listener(*args)
            except Exception:
                logger.exception("A listener of %s failed", type(self).__name__)

    def _listen(self, callback: Callable[..., None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None


def position(message: dict[str, Any], key: str, count: int) -> int | None:
    """The index `message[key]`, or None when it is none of `count` things."""
    value = message.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count else None


def float_array(values: ArrayLike, shape: tuple[int, ...], name: str) -> np.ndarray:
    """An owned float32 copy of `values`; a PatchError names the array whose shape is not `shape`."""
    array = np.array(values, dtype="<f4", order="C")
    if array.shape != shape:
        raise PatchError(f"{name} has shape {array.shape}; its rows and columns ask for {shape}.")
    return array
