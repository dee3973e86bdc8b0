"""What is written into the base run: the other run's activation, or something else made of it or in its place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

from .answers import as_id
from .errors import PatchError, quoted, unknown

if TYPE_CHECKING:
    from .datasets import Dataset

DIRECTIONS = ("denoise", "noise")
MOST_SAMPLES = 10_000
"""The most draws of a noise or a resampling: every one is a run of its own."""
_WHOLE = 2**53
"""Whole numbers from here on are held as floats: not every one of them is one."""
_MOST_SEED = 10**18 - 1


def check_seed(value: object) -> int:
    """Return a seed as an int; raises PatchError for what is none."""
    seed = as_id(value)
    if seed is None:
        raise PatchError(f"seed must be a whole number, not {quoted(value)}.")
    if abs(seed) > _MOST_SEED:
        raise PatchError(f"seed must be a whole number of 18 digits at most, not {quoted(value)}.")
    return seed


class Intervention:
    """What a cell's activation becomes.

    Attributes:
        name: the word for it.
        words: what happens to the activation, for a sentence about a cell; `{source}` and `{base}` name the runs.
        sized_by: the setting by which what is written can be of any size, "" where there is none.
        draws: whether it draws at random, so that the seed of a sweep matters.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    sized_by: ClassVar[str] = ""
    draws: ClassVar[bool] = False

    @classmethod
    def called(cls) -> str:
        """Return what it is called on screen and in titles."""
        return cls.name

    @classmethod
    def told(cls, settings: Mapping[str, Any]) -> str:
        """Return its words with these settings."""
        return cls.words

    @classmethod
    def removes(cls, settings: Mapping[str, Any]) -> bool:
        """Return whether with these settings it takes away what was there, or some of it."""
        return True

    def settings(self) -> dict[str, Any]:
        """Return its parameters as JSON-ready data."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return repr(value)


@dataclass(frozen=True)
class Patch(Intervention):
    """The activation of the other run, put into the base run.

    `direction="denoise"` changes the corrupted run with activations of the clean one (what is sufficient to bring the
    answer back); `direction="noise"` changes the clean run with activations of the corrupted one (what is necessary to
    keep it). Source: Heimersheim and Nanda, arXiv 2404.15255, section 2.

    >>> Patch("denoise").base, Patch("denoise").source
    ('corrupted', 'clean')
    """

    direction: str = "denoise"
    name: ClassVar[str] = "patch"
    words: ClassVar[str] = "is taken from the {source} run and put into the {base} run"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)

    @property
    def base(self) -> str:
        """The run that is changed."""
        return "corrupted" if self.direction == "denoise" else "clean"

    @property
    def source(self) -> str:
        """The run activations are taken from."""
        return "clean" if self.direction == "denoise" else "corrupted"

    @property
    def moved(self) -> str:
        """The word for the normalized effect in this direction."""
        return "recovered" if self.direction == "denoise" else "destroyed"


@dataclass(frozen=True)
class Zero(Intervention):
    """Zeros in place of the base run's activation.

    >>> Zero().name
    'zero'
    """

    name: ClassVar[str] = "zero"
    words: ClassVar[str] = "is set to zero in the {base} run"


@dataclass(frozen=True)
class Mean(Intervention):
    """The mean activation of a dataset's prompts.

    `over` is a Dataset, None the one that is swept; `run` says which of its prompts: "clean", "corrupted" or "both".
    `per_position` takes the mean at each position (all prompts then have the base prompt's length), else over all
    positions too. The mean is the model's own: taken from runs in which nothing stands, also where it is swept on top
    of a Standing, or stands beside one. Source: Wang et al., arXiv 2211.00593, section 2.

    >>> Mean(per_position=False).settings()
    {'over': None, 'run': 'corrupted', 'per_position': False}
    """

    over: Dataset | None = None
    run: str = "corrupted"
    per_position: bool = True
    name: ClassVar[str] = "mean"
    words: ClassVar[str] = "is set to its mean over a dataset in the {base} run"

    def __post_init__(self) -> None:
        if self.run not in ("clean", "corrupted", "both"):
            raise unknown("run", self.run, ("clean", "corrupted", "both"))
        _check_flag(self, "per_position")


@dataclass(frozen=True)
class Resample(Intervention):
    """The activation on another prompt of a dataset, drawn at random for every pair and sample.

    `over` is a Dataset, None the one that is swept; `run` says which of its prompts are drawn from. The effect is the
    mean over `samples` draws. What is taken comes from a run of the other prompt in which nothing stands. Source: Chan
    et al., Causal Scrubbing (2022).

    >>> Resample(samples=4).samples
    4
    """

    over: Dataset | None = None
    run: str = "corrupted"
    samples: int = 1
    name: ClassVar[str] = "resample"
    words: ClassVar[str] = "is taken from other prompts and put into the {base} run"
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.run not in ("clean", "corrupted"):
            raise unknown("run", self.run, ("clean", "corrupted"))
        _check_samples(self)


@dataclass(frozen=True)
class Noise(Intervention):
    """Gaussian noise added to the activation, `sigma` times the standard deviation of the token embeddings.

    That is the standard deviation over the vocabulary of what a token adds to the residual stream: after the factor
    (Gemma), the projection (OPT-350m) or the norm (BLOOM) by which the model makes it of the embedding matrix. The
    effect is the mean over `samples` draws. Source: Meng et al., arXiv 2202.05262, section 2.1 (3 sigma, 10 draws).

    >>> Noise(sigma=1.0).samples
    10
    """

    sigma: float = 3.0
    samples: int = 10
    name: ClassVar[str] = "noise"
    words: ClassVar[str] = "has Gaussian noise added in the {base} run"
    sized_by: ClassVar[str] = "sigma"
    draws: ClassVar[bool] = True

    @classmethod
    def called(cls) -> str:
        """Return a name unlike that of the direction."""
        return "Gaussian noise"

    def __post_init__(self) -> None:
        _number(self, "sigma")
        if self.sigma < 0:
            raise PatchError(f"Noise: sigma must be 0 or more, not {self.sigma:g}.")
        _check_samples(self)


@dataclass(frozen=True)
class Scale(Intervention):
    """The base run's activation times a factor: 1 changes nothing, 0 removes it, 0.5 attenuates it by half.

    >>> Scale(0.5).factor
    0.5
    """

    factor: float = 0.5
    name: ClassVar[str] = "scale"
    words: ClassVar[str] = "is multiplied by a factor in the {base} run"
    sized_by: ClassVar[str] = "factor"

    @classmethod
    def told(cls, settings: Mapping[str, Any]) -> str:
        """Return its words with the factor."""
        return cls.words.replace("a factor", f"{settings['factor']:g}") if "factor" in settings else cls.words

    @classmethod
    def removes(cls, settings: Mapping[str, Any]) -> bool:
        """Return whether the factor attenuates: neither amplifies nor turns the sign."""
        return 0 <= settings.get("factor", 0.5) <= 1

    def __post_init__(self) -> None:
        _number(self, "factor")


@dataclass(frozen=True)
class Mask(Intervention):
    """The base run's activation, its entries weighed by the gradient of the first metric with respect to them.

    An entry whose gradient (its size when `absolute`) is above `threshold` is kept whole, any other set to zero. When
    `graded`, an entry is kept in proportion to its gradient, those not above `threshold` not at all; the largest of
    every activation that a cell writes to is kept whole (of each layer in a window, of each cell of a Joint's set). The
    result's `kept` is the mean weight of a cell's entries; attention that a mask of the model's closes does not count.

    >>> Mask(absolute=True).settings()
    {'threshold': 0.0, 'absolute': True, 'graded': False}
    """

    threshold: float = 0.0
    absolute: bool = False
    graded: bool = False
    name: ClassVar[str] = "mask"
    words: ClassVar[str] = "is kept only where the metric's gradient is large in the {base} run"

    def __post_init__(self) -> None:
        _number(self, "threshold")
        _check_flag(self, "absolute")
        _check_flag(self, "graded")


@dataclass(frozen=True)
class Vector(Intervention):
    """A vector of your own, in place of the activation or, when `add`, on top of it.

    `values` has the shape of one cell's last dimension (d_model for residuals, d_head for z), or is one number.

    >>> Vector([0.0, 1.0]).settings()
    {'values': [0.0, 1.0], 'add': False}
    """

    values: Sequence[float] | float
    add: bool = False
    name: ClassVar[str] = "vector"
    words: ClassVar[str] = "is set to a given vector in the {base} run"
    sized_by: ClassVar[str] = "values"

    @classmethod
    def told(cls, settings: Mapping[str, Any]) -> str:
        """Return its words, which tell setting from adding."""
        return "has a given vector added in the {base} run" if settings.get("add") else cls.words

    @classmethod
    def removes(cls, settings: Mapping[str, Any]) -> bool:
        """Return whether the vector takes the place of what was there."""
        return not settings.get("add")

    def __post_init__(self) -> None:
        import numpy as np

        try:
            array = np.asarray(self.values, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise PatchError(f"Vector: values must be numbers, not {quoted(self.values)}.") from None
        if array.ndim > 1 or array.size == 0 or not np.isfinite(array).all():
            raise PatchError(f"Vector: values must be a list of finite numbers, not {quoted(self.values)}.")
        object.__setattr__(self, "values", tuple(array.tolist()) if array.ndim else float(array))
        _check_flag(self, "add")


INTERVENTIONS: dict[str, type[Intervention]] = {
    kind.name: kind for kind in (Patch, Zero, Mean, Resample, Noise, Scale, Mask, Vector)
}


@dataclass(frozen=True)
class Standing:
    """An intervention that stays in place while a sweep runs on top of it.

    It acts on the named `site` of `runs` ("clean", "corrupted" or "both"), at the given layers, positions, heads and
    neurons, None meaning all of them. It is there in the runs that are compared and patched, hence in what a Patch
    takes from the other run; what a Mean or a Resample takes comes from runs of the model without it. Interventions
    that draw at random draw for themselves, each by its place among those that stand.

    >>> Standing("embed", Noise(3.0), runs="corrupted", positions=[1, 2]).runs
    'corrupted'
    """

    site: str
    intervention: Intervention
    runs: str = "both"
    layers: Any = None
    positions: Any = None
    heads: Any = None
    neurons: Any = None

    def __post_init__(self) -> None:
        if self.runs not in ("clean", "corrupted", "both"):
            raise unknown("runs", self.runs, ("clean", "corrupted", "both"))
        if type(self.intervention) not in INTERVENTIONS.values():
            raise PatchError(f"Standing: {quoted(self.intervention)} is not an intervention such as Zero().")
        if isinstance(self.intervention, (Mask, Patch)):
            raise PatchError(
                f"a {self.intervention.name} cannot stand; sweep it, or stand Mean, Vector, Zero or Scale."
            )


def get_intervention(value: object, direction: str) -> Intervention:
    """Return the intervention meant by None (patch), a name such as "zero", or an object such as Scale(0.5)."""
    way = Patch(direction)
    if value is None or (isinstance(value, str) and value == "patch"):
        return way
    if isinstance(value, Patch) and value != way:
        raise PatchError(
            f"intervention=Patch({value.direction!r}) and direction={direction!r} disagree; leave out intervention=."
        )
    if type(value) in INTERVENTIONS.values():
        return value  # type: ignore[return-value]
    if isinstance(value, str) and value in INTERVENTIONS:
        if value == "vector":
            raise PatchError("a vector has no default; give intervention=Vector(values).")
        return INTERVENTIONS[value]()
    if isinstance(value, type) and issubclass(value, Intervention):
        given = "values" if value is Vector else ""
        raise PatchError(f"{value.__name__} is a class; write intervention={value.__name__}({given}).")
    raise unknown("intervention", value, INTERVENTIONS)


def restored(provenance: Mapping[str, Any]) -> Intervention:
    """Return the intervention that a result's provenance tells of; none told is a patch."""
    kind = INTERVENTIONS[provenance.get("intervention", Patch.name)]
    if kind is Patch:
        return Patch(provenance["direction"])
    settings = dict(provenance.get("settings") or {})
    if provenance.get("over"):
        settings["over"] = _dataset(provenance["over"], settings["run"])
    return kind(**settings)


def _dataset(prompts: Sequence[Sequence[int]], run: str) -> Dataset:
    """Return the pairs whose `run` are these prompts; with "both" clean and corrupted ones come in turn."""
    from .datasets import Dataset
    from .prompts import PromptPair

    pairs = zip(prompts[::2], prompts[1::2], strict=True) if run == "both" else zip(prompts, prompts, strict=True)
    return Dataset([PromptPair(list(clean), list(corrupted)) for clean, corrupted in pairs], name="over")


def _number(owner: Intervention, field: str) -> None:
    value = getattr(owner, field)
    size = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):  # A whole number of hundreds of digits.
            size = float(value)
    if not math.isfinite(size):
        raise PatchError(f"{type(owner).__name__}: {field} must be a finite number, not {quoted(value)}.")
    whole = isinstance(value, Integral) and abs(size) < _WHOLE
    object.__setattr__(owner, field, int(size) if whole else size)


def _check_flag(owner: Intervention, field: str) -> None:
    value = getattr(owner, field)
    if not isinstance(value, bool):
        raise PatchError(f"{type(owner).__name__}: {field} must be True or False, not {quoted(value)}.")


def _check_samples(owner: Noise | Resample) -> None:
    samples = owner.samples
    if isinstance(samples, bool) or not isinstance(samples, Integral) or samples < 1:
        raise PatchError(f"samples must be a whole number, 1 or more, not {quoted(samples)}.")
    if samples > MOST_SAMPLES:
        raise PatchError(f"samples must be {MOST_SAMPLES} at most, not {samples}: every draw is a run of its own.")
    object.__setattr__(owner, "samples", int(samples))
