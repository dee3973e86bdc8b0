"""Which layers and which tokens are swept: typed as numbers, ranges and tokens, kept as indices."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as w

from ..engine.handle import ModelHandle
from ..engine.plan import choose
from ..errors import PatchError, quoted
from ..prompts import EncodedPair
from ..sites import Site, get_site
from ..spelling import ranges, shown_token
from .text import Line, named

AXES = {"layers": "layer", "positions": "pos"}
"""The settings, and the axis each chooses from."""

Chosen = list[int] | None

_RANGE = re.compile(r"(\d+)\s*[-\u2013:]\s*(\d+)")
_EXAMPLES = {"layers": "0-3, 8", "positions": "2, 5-7, or a token of the prompt"}
_NAMES = {"layers": "layers", "positions": "tokens"}
_SPELLED = 8
_DIGITS = 10


class SubsetError(PatchError):
    """Layers or positions cannot be chosen so; `setting` names which."""

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


def why_none(site: Site, setting: str) -> str:
    """Return why a site has no layers, or no positions, to choose from; "" where it has."""
    if setting == "layers":
        return "" if site.layered else f"{site.name} exists once and has no layers to choose from."
    if "pos" in site.axes:
        return ""
    return (
        f"{site.name} goes from token to token and has no single position to choose; sweep it by to and from instead."
    )


def without_hidden(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the subsets that their site hides: there None does not say that all are meant."""
    site = get_site(settings["site"])
    return {name: value for name, value in settings.items() if name not in AXES or not why_none(site, name)}


def indices(setting: str, value: object, size: int) -> Chosen:
    """Return chosen indices, from 0 and in order; None for all. Raises SubsetError for what does not exist."""
    if value is None:
        return None
    try:
        found = choose(AXES[setting], value, size)
    except PatchError as error:
        raise SubsetError(str(error), setting) from error
    return found


def read(text: str, setting: str, tokens: Sequence[str] = ()) -> list[int] | None:
    """Return the indices that a text such as "0-3, 8" names; None for an empty one, which means all.

    A part that is no number is a token: every position of `tokens` that has it is meant. Raises SubsetError.

    >>> read("0-3, 8", "layers"), read("Mary, 0", "positions", ["When", " Mary"])
    ([0, 1, 2, 3, 8], [1, 0])
    """
    found: list[int] = []
    parts = [part.strip() for part in text.split(",")]
    if text.strip() and not all(parts[:-1]):
        raise SubsetError(f"{quoted(text)} has a comma with nothing on one side; name a comma by its number.", setting)
    for part in filter(None, parts):
        one = _RANGE.fullmatch(part)
        if one:
            first, last = int(one[1]), int(one[2])
            if first > last:
                raise SubsetError(f"{quoted(part)} runs backwards; write {last}-{first}.", setting)
            if last > 100_000:
                raise SubsetError(f"{quoted(part)} goes beyond any model; give smaller numbers.", setting)
            found += range(first, last + 1)
        elif re.fullmatch(r"-?\d+", part):
            if len(part) > _DIGITS:
                raise SubsetError(f"{quoted(part)} goes beyond any model; give smaller numbers.", setting)
            found.append(int(part))
        else:
            found += _named(part, setting, tokens)
    return list(dict.fromkeys(found)) or None


def _named(part: str, setting: str, tokens: Sequence[str]) -> list[int]:
    at = [i for i, token in enumerate(tokens) if token.strip() == part]
    if not at:
        known = "is no token of the prompt that is patched" if setting == "positions" and tokens else "is no number"
        raise SubsetError(f"{quoted(part)} {known}; write {_NAMES[setting]} like {_example(setting, tokens)}.", setting)
    return at


def _example(setting: str, tokens: Sequence[str]) -> str:
    """Return what can be typed, with the longest of the prompt's own words."""
    words = [word for token in tokens[1:] if (word := token.strip()).isalpha()]
    if setting == "layers" or not words:
        return _EXAMPLES[setting]
    return _EXAMPLES[setting].replace("of the prompt", f"such as {shown_token(max(words, key=len))}")


def told(settings: Mapping[str, Any]) -> list[str]:
    """Return the subsets of settings in words, as a run's line has them: ["layers 0-3", "token 2"]."""
    found = []
    for setting, name in _NAMES.items():
        chosen = settings.get(setting)
        if chosen is not None:
            found.append(f"{name if len(chosen) > 1 else name[:-1]} {ranges(chosen)}")
    return found


class Subsets:
    """The two fields. `pair` gives the pair whose tokens can be named; `on_change` is called when a choice changed, or
    one is refused.
    """

    def __init__(
        self,
        handle: ModelHandle,
        lock: threading.RLock,
        pair: Callable[[], tuple[EncodedPair, str] | None],
        on_change: Callable[[], None],
    ) -> None:
        self._handle, self._lock, self._pair, self._on_change = handle, lock, pair, on_change
        self._chosen: dict[str, Chosen] = dict.fromkeys(AXES)
        self._silent, self._site = False, get_site("resid_pre")
        self._refused: SubsetError | None = None
        self.fields = {name: w.Text(continuous_update=False) for name in AXES}
        self.errors = {name: Line("pw-x-error", "pw-x-told-subset") for name in AXES}
        for name, field in self.fields.items():
            field.add_class("pw-x-subset")
            named(field, f"{_NAMES[name]} to sweep")
            field.observe(lambda change, name=name: self._typed(name, change["new"]), "value")
        self.box = w.Box(list(self.fields.values()))
        self.box.add_class("pw-x-subsets")
        self.told = Line("pw-x-dim", "pw-x-told-subset")
        self.lines = w.VBox([*self.errors.values(), self.told])
        self._draw()

    @property
    def settings(self) -> dict[str, Any]:
        """The indices chosen, None for all and where the site has none to choose from."""
        return {name: None if why_none(self._site, name) else self._chosen[name] for name in AXES}

    @property
    def kept(self) -> dict[str, Chosen]:
        """The indices chosen, also those that the site hides: another site that has them brings them back."""
        return dict(self._chosen)

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Show what settings choose, without calling back; what their site hides stays as it was chosen."""
        with self._lock:
            site = get_site(settings["site"])
            self._chosen |= {name: settings[name] for name in AXES if not why_none(site, name)}
            self.of_site(site)

    def forget(self, settings: Iterable[str]) -> None:
        """Choose all, also where the site hides it; what is no subset's name is passed over."""
        with self._lock:
            self._chosen |= dict.fromkeys(set(AXES).intersection(settings))

    def check(self) -> None:
        """Raise the error of what stands in a field and could not be read."""
        with self._lock:
            if self._refused is not None:
                raise self._refused

    def of_site(self, site: Site) -> None:
        """Follow the site: a field that does not apply to it says why."""
        with self._lock:
            self._site = site
            self._draw()
            self.complain(None)

    def complain(self, setting: str | None, message: str = "") -> None:
        """Show a message below the fields, and clear the others."""
        if setting is None:
            self._refused = None
        for name, line in self.errors.items():
            line.say(message[:1].upper() + message[1:] if name == setting else "")

    def _typed(self, setting: str, text: str) -> None:
        with self._lock:
            if self._silent:
                return
            found = self._pair() if setting == "positions" else None
            try:
                chosen = read(text, setting, () if found is None else found[0].texts(found[1]))
                size = self._handle.n_layers if setting == "layers" else None
                size = len(found[0].ids(found[1])) if found is not None else size
                chosen = chosen if size is None else indices(setting, chosen, size)
            except SubsetError as error:
                changed, self._refused = True, error
                self.complain(setting, str(error))
            else:
                stood = self._refused is not None
                self.complain(None)
                changed, self._chosen[setting] = stood or self._chosen[setting] != chosen, chosen
                self._draw()
        if changed:
            self._on_change()

    def _draw(self) -> None:
        self._silent = True
        try:
            for name, field in self.fields.items():
                why = why_none(self._site, name)
                field.disabled = bool(why)
                field.value = "" if why else ranges(self._chosen[name])
                field.placeholder = f"no {_NAMES[name]} here" if why else f"all {_NAMES[name]}"
                field.tooltip = why or f"the {_NAMES[name]} to sweep, all where empty: {_EXAMPLES[name]}"
            self.tell()
        finally:
            self._silent = False

    def tell(self) -> None:
        """Say which tokens of the prompt on show the chosen positions are; other prompts keep the positions."""
        with self._lock:
            none = [why_none(self._site, name) for name in AXES]
            self.told.say(" ".join(filter(None, [*none, self._tokens()])))

    def _tokens(self) -> str:
        chosen, found = self.settings["positions"], self._pair()
        if chosen is None or found is None:
            return ""
        pair, base = found
        texts = pair.texts(base)
        if not all(-len(texts) <= at < len(texts) for at in chosen):
            return ""
        listed = [f"{at} '{shown_token(texts[at])}'" for at in chosen[:_SPELLED]]
        more = [f"{len(chosen) - _SPELLED} more"] if len(chosen) > _SPELLED else []
        return f"Kept to {', '.join([*listed, *more])} of the {base} prompt. Other prompts keep these positions."
