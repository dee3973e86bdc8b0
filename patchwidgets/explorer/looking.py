"""A look into what is open: its patches run once, and what every view shows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.direct import DirectPath
from ..engine.handle import ModelHandle
from ..engine.inspect import Inspection, Inspector, Keep
from ..engine.weighing import Weighing
from ..errors import PatchError
from .activity import activity_of, watch_of
from .attending import attention_traits
from .opened import Head, Opened, Patches, fitting
from .outputs import output_of, path_of


@dataclass(frozen=True)
class Look:
    """What was seen, and the traits of the views of a neuron and of a head: None where none is open."""

    patches: Patches
    seen: Inspection
    activity: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    attention: dict[str, Any] | None = None


def look(handle: ModelHandle, opened: Opened, inspector: Inspector) -> Look:
    """Run the opened cell's patches, each once. PatchError tells what cannot be run."""
    patches = fitting(handle, opened)
    path = path_of(handle, opened)
    weighing = None if opened.head is None else _weighing_of(handle, opened.head)
    watch: Mapping[str, Keep] = watch_of(opened)
    for one in (path, weighing):
        if isinstance(one, (DirectPath, Weighing)):
            watch = {**watch, **one.watch}
    seen = inspector.look(patches.cells, opened.head, watch=watch)
    if opened.head is None or weighing is None:
        return Look(patches, seen, activity_of(opened, seen))
    output = output_of(handle, opened, patches, path, seen)
    return Look(patches, seen, None, output, attention_traits(opened, opened.head, patches, weighing, seen))


def _weighing_of(handle: ModelHandle, head: Head) -> Weighing | PatchError:
    try:
        return Weighing(handle, *head)
    except PatchError as error:
        return error
