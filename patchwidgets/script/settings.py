"""What a script must do, worked out once from a result's provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..interventions import Patch
from ..metrics import METRICS
from .scores import kind_of

if TYPE_CHECKING:
    from ..result import PatchResult

RUNS = ("clean", "corrupted")
_PLAIN: dict[str, Any] = {
    "intervention": "patch", "settings": {}, "over": None, "within": {}, "window": 1, "standing": [], "samples": 1,
    "at": -1, "alignment": None, "pairs": None, "hooks_on_model": [],
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """A result as its script sees it."""

    result: PatchResult

    @cached_property
    def p(self) -> dict[str, Any]:
        """The provenance; a setting it does not name is a plain patch's."""
        return {**_PLAIN, "units": dict.fromkeys(self.result.metrics), **self.result.provenance}

    @property
    def patch(self) -> Patch:
        """The direction: which run is changed."""
        return Patch(self.p["direction"])

    @property
    def what(self) -> str:
        """The name of the intervention."""
        return self.p["intervention"]

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics printed."""
        return self.result.metrics

    @property
    def followed(self) -> str:
        """The metric whose gradient a mask follows."""
        return next(iter(self.p["units"]))

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """All metrics that are computed."""
        return (*self.metrics, self.followed) if self.what == "mask" else self.metrics

    @cached_property
    def pairs(self) -> list[dict[str, Any]]:
        """The pairs: clean, corrupted, answer, foil, at, alignment."""
        if self.p["pairs"]:
            return self.p["pairs"]
        targets = {name: _sequences(self.p[name]) for name in ("answer", "foil")}
        return [{**self.p["tokens"], **targets, "at": self.p["at"], "alignment": self.p["alignment"]}]

    @property
    def many(self) -> bool:
        """Whether numbers are means, over pairs or over random draws."""
        return len(self.pairs) > 1 or self.p["samples"] > 1

    @property
    def read(self) -> list[str]:
        """Which of answer and foil the script needs."""
        named = [METRICS[name] for name in self.asked if name in METRICS]
        answer = any(metric.needs_answer for metric in named) or any(_long(pair["answer"]) for pair in self.pairs)
        return [name for name, needed in (("answer", answer), ("foil", self.compares)) if needed]

    @property
    def compares(self) -> bool:
        """Whether a metric compares with a foil."""
        return any(name in METRICS and METRICS[name].needs_foil for name in self.asked)

    @cached_property
    def kind(self) -> str:
        """What answers and foils are, see `scores.FORMULAS`."""
        return kind_of(pair[name] for pair in self.pairs for name in self.read)

    @property
    def tailed(self) -> bool:
        """Whether the prompts are continued by all but the last of an answer's tokens."""
        return self.kind in ("row", "mixed")

    @property
    def at(self) -> str:
        """The position read."""
        at = {pair["at"] for pair in self.pairs}
        return str(at.pop()) if len(at) == 1 else "at"

    @property
    def aligned(self) -> bool:
        """Whether a patch needs to know which positions stand for each other."""
        return self.what == "patch" and any(pair["alignment"] for pair in self.pairs)

    @cached_property
    def standing(self) -> list[dict[str, Any]]:
        """The interventions that stand, each with a number of its own."""
        return [{**stand, "number": i} for i, stand in enumerate(self.p["standing"], start=1)]

    @property
    def acting(self) -> list[Mapping[str, Any]]:
        """All interventions: the one swept, then those that stand."""
        return [self.p, *self.standing]

    def uses(self, *names: str) -> bool:
        """Return whether one of these interventions acts."""
        return any(each["intervention"] in names for each in self.acting)

    @property
    def draws(self) -> bool:
        """Whether anything is random."""
        return self.uses("noise", "resample")

    @property
    def counters(self) -> list[str]:
        """What tells one random draw from another: the number of the pair, of the sample."""
        varied = (("number", len(self.pairs) > 1), ("sample", self.p["samples"] > 1))
        return [name for name, varies in varied if varies and self.draws]

    @property
    def draw(self) -> str:
        """The pair's and the sample's number as arguments."""
        return ", ".join(name if name in self.counters else "0" for name in ("number", "sample"))

    @property
    def uneven(self) -> bool:
        """Whether answer and foil make texts of different lengths that share one draw of noise."""
        return self.uses("noise") and any(
            len({len(pair[name][0]) for name in self.read}) > 1 for pair in self.pairs
        )  # fmt: skip

    @property
    def device(self) -> str:
        """The argument that puts tokens where the model is; none on the CPU."""
        return "" if self.p["device"] == "cpu" else f', device="{self.p["device"]}"'

    @property
    def half(self) -> bool:
        """Whether logits are raised to float32 to be scored."""
        return self.p["dtype"] in ("bfloat16", "float16")

    def data(self, pair: Mapping[str, Any]) -> dict[str, Any]:
        """Return a pair as the script holds it."""
        found: dict[str, Any] = {run: pair[run] for run in RUNS}
        found |= {name: self.target(pair[name]) for name in self.read}
        if self.at == "at":
            found["at"] = pair["at"]
        if self.aligned:
            found["matched"] = self._matched(pair)
        return found

    def target(self, target: Sequence[Sequence[int]]) -> Any:
        """Return an answer in the form its metrics read."""
        if self.kind == "one":
            return target[0][0]
        if self.kind == "any":
            return [sequence[0] for sequence in target]
        return target[0] if self.kind == "row" else target

    def _matched(self, pair: Mapping[str, Any]) -> list[tuple[int, int]]:
        columns = pair["alignment"] or [[i, i] for i in range(len(pair["clean"]))]
        both = [(i, j) for i, j in columns if i is not None and j is not None]
        return both if self.patch.base == "clean" else [(j, i) for i, j in both]


def _sequences(target: Mapping[str, Any] | None) -> list[list[int]]:
    if target is None:
        return []
    return target.get("tokens") or [[target["token"]]]


def _long(target: Sequence[Sequence[int]]) -> bool:
    return any(len(sequence) > 1 for sequence in target)
