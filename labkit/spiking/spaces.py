"""Search spaces of the spiking networks: what a tuner may change, and between which bounds.

Whether a wave spreads depends on quotients: a citation makes its neighbor spike when ``graph_w``
exceeds ``paper_vth``, and ``topic_vth / train_w`` labeled papers make a topic spike. Weights and
thresholds drawn one by one give networks in which nothing spikes for most of the box, so a
threshold is drawn as a quotient and derived,

    paper_vth = round(graph_w / r),  r = graph_w/paper_vth,

and rounded only where the parameter is an integer.

Notation: a *dimension* has a name and bounds; *settings* map the names of the dimensions of a space
to values; *parameters* are the frozen dataclass that a network is built from.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.choices import not_allowed
from labkit.errors import ParameterError

if TYPE_CHECKING:
    from optuna.trial import Trial

MAX_STEPS = 16
Value = int | float | str | bool
Settings = dict[str, Value]
Parameters = TypeVar("Parameters")


@dataclass(frozen=True)
class Dimension:
    """One thing that a tuner may change; make an `Int`, `Float`, `Ratio` or `Choice`.

    Attributes
    ----------
    name : str
        Field of the parameters; ``apos_1`` is item 1 of a field ``apos``.
    """

    name: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields that it needs; the last is the one that it sets."""
        return (self.name,)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Extreme values."""
        raise NotImplementedError

    def suggest(self, trial: Trial) -> Value:
        """Draw a value for a trial of Optuna."""
        raise NotImplementedError

    def nearest(self, value: Any) -> Value:
        """The allowed value nearest to one that may lie outside."""
        raise NotImplementedError

    def read(self, fields: Mapping[str, Any]) -> Any:
        """The value that the fields of parameters have now."""
        return _get(fields, self.name)

    def write(self, fields: dict[str, Any], value: Any) -> None:
        """Set it in the fields of parameters."""
        _set(fields, self.name, value)


@dataclass(frozen=True)
class Int(Dimension):
    """A whole number from `low` to `high`, both included.

    One with more than 16 values is drawn as a real number and rounded: a Gaussian process then
    follows its gradient, which is several times faster than trying whole numbers one by one.

    Attributes
    ----------
    name : str
        Field of the parameters.
    low, high : int
        Bounds.
    log : bool
        Draw on a logarithmic scale.

    Examples
    --------
    >>> Int("window", 6, 16).nearest(40)
    16
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for bound in (self.low, self.high):
            if not _is_whole(bound):
                raise ParameterError(f"{self.name}: the bound {bound!r} must be a whole number.")
        _require_order(self)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Low and high."""
        return self.low, self.high

    def suggest(self, trial: Trial) -> int:
        """Draw a value for a trial of Optuna."""
        if self.high - self.low < MAX_STEPS:
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return self.nearest(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def nearest(self, value: Any) -> int:
        """The value itself, rounded, or the bound that it lies beyond."""
        return round(min(max(value, self.low), self.high))


@dataclass(frozen=True)
class Float(Dimension):
    """A real number from `low` to `high`.

    Attributes
    ----------
    name : str
        Field of the parameters.
    low, high : float
        Bounds.
    log : bool
        Draw on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for bound in (self.low, self.high):
            if not math.isfinite(bound):
                raise ParameterError(f"{self.name}: the bound {bound!r} must be a finite number.")
        _require_order(self)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Low and high."""
        return float(self.low), float(self.high)

    def suggest(self, trial: Trial) -> float:
        """Draw a value for a trial of Optuna."""
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def nearest(self, value: Any) -> float:
        """The value itself, or the bound that it lies beyond."""
        return float(min(max(value, self.low), self.high))


@dataclass(frozen=True)
class Ratio(Float):
    """A weight divided by the threshold that it must exceed; the threshold follows from it.

    Attributes
    ----------
    name : str
        ``weight/threshold``, two fields of the parameters.
    low, high : float
        Bounds of the quotient, above 0; drawn on a logarithmic scale.
    within : tuple of float
        Bounds of the threshold, which is moved to the nearer one if it lies beyond.

    Examples
    --------
    >>> fields = {"graph_w": 200, "paper_vth": 100}
    >>> Ratio("graph_w/paper_vth", 1.05, 4.0, within=(5, 400)).write(fields, 0.8)
    >>> fields["paper_vth"]
    250
    """

    log: bool = True
    within: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low <= 0 or self.name.count("/") != 1:
            raise ParameterError(
                f"{self.name}: a quotient is named 'weight/threshold' and lies above 0; "
                f"low={self.low!r}."
            )
        if not self.within[0] < self.within[1]:
            raise ParameterError(f"{self.name}: within={self.within!r} holds nothing.")

    @property
    def fields(self) -> tuple[str, ...]:
        """The weight, and the threshold that is derived."""
        return tuple(self.name.split("/"))

    def read(self, fields: Mapping[str, Any]) -> float:
        """The quotient that the fields of parameters have now."""
        weight, threshold = (_get(fields, name) for name in self.fields)
        return weight / threshold if threshold else math.inf

    def write(self, fields: dict[str, Any], value: Any) -> None:
        """Set the threshold in the fields of parameters, which hold the weight already."""
        weight, threshold = self.fields
        exact = min(max(_get(fields, weight) / value, self.within[0]), self.within[1])
        whole = _is_whole(_get(fields, threshold))
        _set(fields, threshold, round(exact) if whole else exact)


@dataclass(frozen=True)
class Choice(Dimension):
    """One of a few values, without order.

    Attributes
    ----------
    name : str
        Field of the parameters.
    values : tuple
        Two or more different numbers, truth values or texts.

    Examples
    --------
    >>> Choice("topic_dv", (0, 256, 4095)).nearest(300)
    256
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        for value in self.values:
            if not isinstance(value, int | float | str | bool):
                raise ParameterError(f"{self.name}: {value!r} must be a number or a text.")
        if len(dict.fromkeys(self.values)) < max(2, len(self.values)):
            raise ParameterError(
                f"{self.name}: values={self.values!r}; give two or more different ones."
            )

    @property
    def ends(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def suggest(self, trial: Trial) -> Value:
        """Draw a value for a trial of Optuna."""
        drawn = trial.suggest_categorical(self.name, self.values)
        return self.values[self.values.index(drawn)]

    def nearest(self, value: Any) -> Value:
        """The nearest of the values where they are numbers, else the value itself or the first."""
        if value in self.values:
            return self.values[self.values.index(value)]
        numeric = [v for v in self.values if isinstance(v, int | float)]
        if isinstance(value, str) or len(numeric) < len(self.values):
            return self.values[0]
        return min(numeric, key=lambda v: abs(v - value))


@dataclass(frozen=True)
class Space:
    """Dimensions that a tuner changes together; every other parameter stays as it is.

    Attributes
    ----------
    dimensions : tuple of Dimension
        No two of them set the same field.

    Examples
    --------
    >>> SGNN_SPACE.only("window", "topic_dv").names
    ('window', 'topic_dv')
    """

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", tuple(self.dimensions))
        if not self.dimensions:
            raise ParameterError("space: no dimension is left to tune; keep one or more.")
        for dimension in self.dimensions:
            if not isinstance(dimension, Dimension):
                raise ParameterError(
                    f"space: {dimension!r} is no dimension; use Int, Float, Ratio or Choice."
                )
        set_fields = [dimension.fields[-1] for dimension in self.dimensions]
        for name in set_fields:
            if set_fields.count(name) > 1:
                raise ParameterError(f"space: two dimensions set {name!r}; keep one of them.")

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions, in order."""
        return tuple(dimension.name for dimension in self.dimensions)

    def only(self, *names: str) -> Space:
        """The space of the named dimensions, in the order given."""
        return Space(tuple(self._find(name) for name in names))

    def without(self, *names: str) -> Space:
        """The space of all other dimensions."""
        left_out = [self._find(name) for name in names]
        return Space(tuple(d for d in self.dimensions if d not in left_out))

    def suggest(self, trial: Trial) -> Settings:
        """Draw every dimension for a trial of Optuna."""
        return {dimension.name: dimension.suggest(trial) for dimension in self.dimensions}

    def settings(self, parameters: Any) -> Settings:
        """Where parameters lie in the space: the nearest allowed value of each dimension."""
        fields = _fields(parameters)
        return {d.name: d.nearest(d.read(fields)) for d in self.dimensions}

    def parameters(self, settings: Mapping[str, Value], start: Parameters) -> Parameters:
        """Parameters with settings applied.

        Parameters
        ----------
        settings : mapping
            Name of a dimension to its value; what a dimension that is left out sets stays as in
            `start`.
        start : dataclass
            Parameters that give every other field.

        Returns
        -------
        dataclass
            Of the type of `start`.
        """
        fields = _fields(start)
        for dimension in sorted(self.dimensions, key=lambda d: isinstance(d, Ratio)):
            if dimension.name in settings:
                dimension.write(fields, settings[dimension.name])
        return type(start)(**fields)

    def check(self, start: Any) -> None:
        """Build parameters at both ends of every dimension, the others as in `start`.

        Raises
        ------
        ParameterError
            A dimension sets a field that the parameters lack, or reaches a value that they refuse.
        """
        fields = _fields(start)
        for dimension in self.dimensions:
            for name in dimension.fields:
                if _item(fields, name) is None and name not in fields:
                    raise ParameterError(f"space: {not_allowed('dimension', name, fields)}")
            for end in dimension.ends:
                try:
                    self.parameters({dimension.name: end}, start)
                except ParameterError as refused:
                    message = f"space: {dimension.name} reaches {end!r}, but {refused}"
                    raise ParameterError(message) from refused

    def _find(self, name: str) -> Dimension:
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        raise ParameterError(not_allowed("dimension", name, self.names))


def _require_order(dimension: Int | Float) -> None:
    """Refuse bounds that hold fewer than two values, or that a logarithm cannot take."""
    if not dimension.low < dimension.high:
        raise ParameterError(
            f"{dimension.name}: low={dimension.low!r} must be below high={dimension.high!r}; "
            "to hold it at one value, leave it out of the space."
        )
    if dimension.log and dimension.low <= 0:
        raise ParameterError(
            f"{dimension.name}: low={dimension.low!r} has no logarithm; start above 0 or use "
            "log=False."
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _fields(parameters: Any) -> dict[str, Any]:
    return {f.name: getattr(parameters, f.name) for f in dataclasses.fields(parameters)}


def _item(fields: Mapping[str, Any], name: str) -> tuple[str, int] | None:
    """Field and item that a name such as ``apos_1`` means, if there is such an item."""
    match = re.fullmatch(r"(\w+)_(\d+)", name)
    if match is None or name in fields or not isinstance(fields.get(match[1]), tuple):
        return None
    item = int(match[2])
    return (match[1], item) if item < len(fields[match[1]]) else None


def _get(fields: Mapping[str, Any], name: str) -> Any:
    place = _item(fields, name)
    return fields[name] if place is None else fields[place[0]][place[1]]


def _set(fields: dict[str, Any], name: str, value: Any) -> None:
    place = _item(fields, name)
    if place is None:
        fields[name] = value
    else:
        field, item = place
        old = fields[field]
        fields[field] = (*old[:item], value, *old[item + 1 :])


SGNN_SPACE = Space(
    (
        Ratio("graph_w/paper_vth", 1.05, 4.0, within=(5, 400)),
        Int("train_w", 20, 255),
        Ratio("train_w/topic_vth", 0.2, 3.0, within=(20, 600)),
        Choice("topic_dv", (0, 256, 1024, 2048, 4095)),
        Choice("ref_train", (0, 1, 3, 60)),
        Int("window", 6, 16),
        Choice("A_plus", (0.25, 0.5, 1.0)),
        Int("tau_plus", 1, 6),
        Int("x1_impulse", 20, 127),
    )
)
"""Integer network. A quotient ``graph_w/paper_vth`` of 1 or less is left out: the query spikes
once, and no neighbor would follow. So is what had no effect on accuracy in 500 random settings
on Cora: the scale of ``graph_w``, ``paper_dv`` and ``test_exp``; and what cannot have one while
a paper spikes once a window: the depressing side of the rule and ``test_w``. To tune these too,
use ``Space((*SGNN_SPACE, Int("test_exp", -12, -6)))``."""

ORNL_SPACE = Space(
    (
        Float("graph_weight", 1.05, 100.0, log=True),
        Choice("paper_leak", (0.0, 0.01, 0.1, 1.0)),
        Float("train_to_topic_weight", 0.2, 10.0, log=True),
        Ratio("train_to_topic_weight/topic_threshold", 0.2, 4.0),
        Choice("topic_leak", (0.0, 0.01, 0.1, 1.0)),
        Choice("test_to_topic_weight", (0.001, 0.005, 0.01, 0.05, 0.1)),
        Choice("train_ref", (0, 1, 3, 1000)),
        Int("simtime", 4, 16),
        Float("apos_1", 0.001, 2.0, log=True),
        Float("apos_2", 0.001, 2.0, log=True),
        Float("apos_3", 0.001, 2.0, log=True),
        Float("apos_4", 0.001, 2.0, log=True),
    )
)
"""Float network, after the boxes in the published code of its authors, with ``paper_threshold`` as
the unit of all weights and ``apos_0`` as that of all changes."""
