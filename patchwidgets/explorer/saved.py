"""A shelf in a folder: every result as `PatchResult.save` writes it, and one file with their settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.handle import ModelHandle
from ..engine.plan import Plan
from ..engine.provenance import make_provenance
from ..engine.run import Run
from ..errors import FileError, PatchError, quoted
from ..files import folder_written_whole
from ..result import MEASURED, STATUSES, PatchResult
from .form import Form
from .kept import Entry
from .settings import SETTINGS
from .subsets import AXES

FORMAT = "patchwidgets shelf 1"
INDEX = "shelf.json"
_LONG = 1e11
"""No time is so many seconds, nor since 1970."""
_OURS = "Give a folder that explorer.save_shelf(folder) wrote."


_SAME = (
    "model", "location", "revision", "dtype", "weights", "hooks_on_model", "site", "hook", "by", "intervention",
    "settings", "over", "within", "window", "standing", "direction", "n", "samples", "seed", "prepend_bos", "at",
    "tokens", "alignment", "answer", "foil", "pairs",
)  # fmt: skip
"""What of its origin a saved result must share with what the Explorer would measure, to stand in for it."""


@dataclass(frozen=True)
class Saved:
    """One result of a saved shelf, with the settings that bring it back."""

    settings: dict[str, Any]
    result: PatchResult
    seconds: float
    at: float
    kind: str = ""


class FinishedRun(Run):
    """A run that is over, of which the result is left."""

    def __init__(self, result: PatchResult, seconds: float) -> None:
        words = result.data["status"].values.reshape(-1)
        status = np.array([STATUSES.index(word) for word in words.tolist()], dtype=np.uint8)
        patched = result.data["patched"].values.reshape(len(result.metrics), -1)
        measured = int((status == MEASURED).sum())
        super().__init__(lambda _: None, patched, status, measured, lambda _: result)
        self._done, self._seconds, self._over = measured, seconds, True
        self._settled.set()


def as_json(data: dict[str, Any]) -> str:
    """Return settings as a file has them; PatchError for an answer that is an object of this session."""
    try:
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    except TypeError as error:
        raise PatchError(
            f"these settings cannot be written: {error}. Give the answer as text or as a token id."
        ) from error


def write_shelf(entries: Sequence[Entry], folder: Path) -> Path:
    """Write entries into a new folder, whole or not at all, and return it."""
    if not entries:
        raise PatchError("the shelf is empty; run something first.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileError(f"{str(folder)!r} is there already; give the name of a new folder.")
    with folder_written_whole(folder) as partial:
        partial.mkdir()
        listed = []
        for entry in entries:
            result = entry.whole
            file = f"{entry.number:03d}-{entry.settings['site']}-{entry.settings['direction']}.nc"
            result.save(partial / file)
            kind = {"kind": entry.kind} if entry.kind else {}
            told = {"file": file, "settings": entry.settings, "seconds": entry.run.seconds, "at": entry.at, **kind}
            listed.append(told)
        index = {"format": FORMAT, "entries": listed}
        (partial / INDEX).write_text(as_json(index), encoding="utf-8")
    return folder


def read_shelf(folder: Path) -> list[Saved]:
    """Return what a folder holds, in its order; FileError, naming the file, for what `write_shelf` did not write."""
    path = folder / INDEX
    if not path.is_file():
        raise FileError(f"{str(folder)!r} is no saved shelf: it has no {INDEX}. {_OURS}")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{str(path)!r} cannot be read: {error}. {_OURS}") from error
    found = index.get("format") if isinstance(index, dict) else None
    if found != FORMAT:
        raise FileError(f"{str(path)!r} is in the format {quoted(found)}, not {FORMAT!r}. {_OURS}")
    entries = index.get("entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FileError(f"{str(path)!r} is damaged: it lists no entries. {_OURS}")
    return [_read(folder, entry) for entry in entries]


def _read(folder: Path, entry: Mapping[str, Any]) -> Saved:
    file, settings, numbers = entry.get("file"), entry.get("settings"), (entry.get("seconds"), entry.get("at"))
    path = str(folder / INDEX)
    if not isinstance(file, str) or not re.fullmatch(r"[\w.-]+\.nc", file):
        raise FileError(f"{path!r} is damaged: {quoted(file)} is no name of a result in its folder. {_OURS}")
    if isinstance(settings, dict):
        # Shelves from before there were these.
        settings = {"dataset": None, "seed": 0, **dict.fromkeys(AXES), **settings}
    if not isinstance(settings, dict) or set(settings) != set(SETTINGS):
        raise FileError(f"{path!r} is damaged: the settings of {file!r} are not the Explorer's. {_OURS}")
    if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in numbers):
        raise FileError(f"{path!r} is damaged: the times of {file!r} are no numbers. {_OURS}")
    if not all(0 <= number < _LONG for number in numbers):  # type: ignore[operator]
        raise FileError(f"{path!r} is damaged: the times of {file!r} cannot be. {_OURS}")
    if not isinstance(entry.get("kind", ""), str):
        raise FileError(f"{path!r} is damaged: the kind of {file!r} is no text. {_OURS}")
    result = PatchResult.load(folder / file)
    try:
        other = _other(settings, result)
    except (KeyError, TypeError) as error:
        raise FileError(f"{str(folder / file)!r} lacks {error} in its origin. {_OURS}") from error
    if other:
        raise FileError(f"{path!r} is damaged: by its settings {file!r} has another {other} than by itself. {_OURS}")
    seconds, at = map(float, numbers)  # type: ignore[arg-type]
    return Saved(settings, result, seconds, at, entry.get("kind", ""))


def _other(settings: Mapping[str, Any], result: PatchResult) -> str:
    """Return a setting that is not what the result itself says it was measured with, "" where there is none."""
    p, what = result.provenance, settings["intervention"]
    name = what.get("name") if isinstance(what, dict) else what
    given = {**settings, "intervention": "mean" if name == "mean overall" else name}
    held = {key: p.get(key) for key in ("site", "by", "direction", "intervention")}
    for run in ("clean", "corrupted") if settings["dataset"] is None else ():
        held[run] = p["prompts"][run] if isinstance(settings[run], str) else p["tokens"][run]
    wrong = next((key for key, value in held.items() if given[key] != value), "")
    return wrong or ("" if settings["metric"] in result.metrics else "metric")


def _labels(result: PatchResult, axis: str) -> list[int]:
    return result.data[axis].values.tolist()


def planned(settings: dict[str, Any], result: PatchResult, handle: ModelHandle, form: Form) -> tuple[Plan | None, str]:
    """Return the plan that a saved result answers on this model, or None and why there is none."""
    try:
        made = form.plan(settings)
    except PatchError as error:
        return None, str(error)
    ours = json.loads(json.dumps(make_provenance(handle, made, form.prompts_of)))
    other = [name for name in _SAME if ours[name] != result.provenance.get(name)]
    other += [name for name, axis in AXES.items() if axis in made.by and _labels(result, axis) != made.labels[axis]]
    if "model" in other:
        return None, f"it was measured on {result.provenance.get('model')}, and this is {handle.name}."
    if other:
        return None, f"it was measured with another {', '.join(other)}."
    lacks = [metric.name for metric in made.metrics if metric.name not in result.metrics]
    if lacks:
        return None, f"it lacks the metric {', '.join(lacks)}."
    return made, ""
