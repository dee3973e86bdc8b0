"""The Save menu: code to copy, and the result on screen as files in the working directory."""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as w

from ..diagram import Diagram
from ..errors import PatchError
from ..files import written_whole
from ..result import PatchResult
from ..views import CopyButton
from .failing import why
from .saved import as_json
from .settings import seed_of
from .subsets import told
from .text import Line

Settings = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """What is on screen: a whole result, the settings it was asked by, and what draws it."""

    result: PatchResult
    settings: Settings
    diagram: Callable[[], Diagram]


@dataclass(frozen=True)
class Kind:
    """What can be written: its label, its file's ending, what it does, and the package it needs, if any."""

    label: str
    ending: str
    told: str
    write: Callable[[Shown, Path], None]
    needs: str | None = None


def _table(shown: Shown, path: Path) -> None:
    shown.result.to_dataframe().to_csv(path, index=False)


def _parquet(shown: Shown, path: Path) -> None:
    shown.result.to_dataframe().to_parquet(path, index=False, engine="pyarrow")


def _figure(ending: str) -> Callable[[Shown, Path], None]:
    def write(shown: Shown, path: Path) -> None:
        from ..plots import heatmap  # seaborn takes a second to come

        # Outside pyplot: a button is pressed in any thread, and must leave no figure open to be shown below a cell.
        figure = heatmap(shown.result, pyplot=False).get_figure(root=True)
        assert figure is not None
        figure.savefig(path, format=ending, dpi=200)

    return write


def _settings(shown: Shown, path: Path) -> None:
    path.write_text(as_json(shown.settings), encoding="utf-8")


def _code(shown: Shown, path: Path) -> None:
    path.write_text(shown.result.code(), encoding="utf-8")


def _page(shown: Shown, path: Path) -> None:
    shown.result.to_html(path)


def _result(shown: Shown, path: Path) -> None:
    shown.result.save(path)


def _svg(shown: Shown, path: Path) -> None:
    path.write_text(shown.diagram().svg(), encoding="utf-8")


def _mermaid(shown: Shown, path: Path) -> None:
    path.write_text(shown.diagram().mermaid(), encoding="utf-8")


KINDS = {
    "csv": Kind("CSV", "csv", "the table, one row per cell", _table),
    "parquet": Kind("Parquet", "parquet", "the table with its types", _parquet, needs="pyarrow"),
    "png": Kind("PNG", "png", "the figure of result.plot()", _figure("png")),
    "svg": Kind("SVG", "svg", "the figure of result.plot()", _figure("svg")),
    "pdf": Kind("PDF", "pdf", "the figure of result.plot()", _figure("pdf")),
    "settings": Kind("Settings", "json", "what opens this Explorer again", _settings),
    "code": Kind("Code", "py", "a TransformerLens script that measures this again", _code),
    "result": Kind("Result", "nc", "the result, for pw.PatchResult.load", _result),
    "diagram": Kind("Diagram (SVG)", "diagram.svg", "the three runs of the selected cell, or the sweep, drawn", _svg),
    "mermaid": Kind("Diagram (Mermaid)", "mmd", "the same as a Mermaid flowchart", _mermaid),
    "page": Kind("Page", "html", "one self-contained page", _page),
}
"""What the menu offers, by name."""


_NOTHING = "there is no whole result; press Run, or wait for the run to end."


class Saving:
    """A row of buttons below the map.

    `shown()` gives what is on screen, None where that is no whole result.
    """

    def __init__(self, shown: Callable[[], Shown | None]) -> None:
        self._shown, self._writing = shown, threading.Lock()
        self.copy = CopyButton("Copy code", hint="copy a TransformerLens script that measures this again")
        self.copy.on_ask(self._code)
        self.buttons = {name: _button(kind) for name, kind in KINDS.items()}
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self._pressed(name))
        self.told, self.error = Line("pw-x-dim"), Line("pw-x-error")
        row = w.Box([Line("pw-x-label", text="Save"), self.copy, *self.buttons.values()])
        row.add_class("pw-x-bar")
        row.add_class("pw-x-save")
        self.box = w.VBox([row, self.told, self.error])

    def write(self, name: str, folder: Path | None = None) -> Path:
        """Write one kind of file and return its path: a new name made from the settings, in the working directory.

        Raises PatchError where there is no result, or a package is missing.
        """
        kind, shown = KINDS[name], self._shown()
        if shown is None:
            raise PatchError(_NOTHING)
        if kind.needs and importlib.util.find_spec(kind.needs) is None:
            raise PatchError(f"{kind.label} needs the package {kind.needs}: pip install {kind.needs}.")
        folder = Path.cwd() if folder is None else folder
        # Buttons are pressed in several threads, and none may take the name another has found free.
        with self._writing:
            path = free_path(folder, name_of(shown.settings), kind.ending)
            try:
                with written_whole(path) as partial:
                    kind.write(shown, partial)
            except OSError as error:
                raise PatchError(f"{str(folder)!r} cannot be written to: {error.strerror or error}.") from error
        return path

    def _code(self) -> str | None:
        """Return the script to copy; None, and why in words, where there is none."""
        self._say("", "")
        shown = self._shown()
        if shown is None:
            self._say("", _NOTHING[0].upper() + _NOTHING[1:])
            return None
        try:
            return shown.result.code()
        except PatchError as error:
            self._say("", str(error))
            return None

    def clear(self) -> None:
        """Take back what was told: it was of another result."""
        self._say("", "")

    def _pressed(self, name: str) -> None:
        self._say(f"Writing {KINDS[name].label} \u2026", "")
        try:
            path = self.write(name)
        except Exception as error:
            told = why(error, "the file could not be written")
            self._say("", told[:1].upper() + told[1:])
            return
        self._say(f"Written: {path}", "")

    def _say(self, told: str, error: str) -> None:
        self.told.say(told)
        self.error.say(error)


def name_of(settings: Settings) -> str:
    """Return a file's name for settings, without ending: "resid_pre_layer_pos_denoise_logit_diff".

    >>> name_of({"site": "z", "by": ["layer", "head"], "direction": "noise", "intervention": "zero", "metric": "prob"})
    'z_layer_head_zero_noise_prob'
    >>> name_of({"site": "embed", "by": ["pos"], "direction": "noise", "metric": "prob",
    ...          "intervention": {"name": "noise", "sigma": 1.5, "samples": 4}, "seed": 0})
    'embed_pos_noise_sigma_1.5_samples_4_noise_prob'
    >>> name_of({"site": "z", "by": ["layer"], "direction": "noise", "metric": "prob",
    ...          "intervention": {"name": "scale", "factor": 1e9}})
    'z_layer_scale_factor_1e09_noise_prob'
    """
    parts = [
        settings["site"],
        *settings["by"],
        *told(settings),
        *_of_intervention(settings["intervention"]),
        *([f"seed_{seed}"] if (seed := seed_of(settings)) else []),
        settings["direction"],
    ]
    return re.sub(r"[^\w.-]+", "_", "_".join([*parts, settings["metric"]]))


def _of_intervention(what: str | dict[str, Any]) -> list[str]:
    """Return an intervention's name and its settings, but for a patch and for the numbers of a vector."""
    if isinstance(what, str):
        return [] if what == "patch" else [what]
    held = {key: value for key, value in what.items() if key != "name" and not isinstance(value, list)}
    return [what["name"], *(f"{key}_{_spelled(value)}" for key, value in held.items())]


def _spelled(value: object) -> str:
    return f"{value:g}".replace("+", "") if isinstance(value, float) else str(value).lower()


def free_path(folder: Path, name: str, ending: str) -> Path:
    """Return a path in a folder that nothing has: the name, or the name with the first number that is free."""
    path, number = folder / f"{name}.{ending}", 2
    while path.exists():
        path, number = folder / f"{name}_{number}.{ending}", number + 1
    return path


def _button(kind: Kind) -> w.Button:
    button = w.Button(description=kind.label, tooltip=f"write a file: {kind.told}")
    if kind.needs and importlib.util.find_spec(kind.needs) is None:
        button.description, button.tooltip = f"{kind.label} (needs {kind.needs})", f"pip install {kind.needs}"
    return button
