"""Dimensions of a search space: a number, a quotient, or one of a few values.

A dimension knows which fields of the parameters it reads and sets, its bounds, how a value is drawn
for a trial of Optuna, and which allowed value is nearest to one that is not. Parameters are passed
as a dict of their fields.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from optuna.trial import Trial

MAX_STEPS = 16
Value = int | float | str | bool


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


def item_of(fields: Mapping[str, Any], name: str) -> tuple[str, int] | None:
    """Field and item that a name such as ``apos_1`` means, None where there is no such item.

    Examples
    --------
    >>> item_of({"apos": (1.0, 0.5)}, "apos_1")
    ('apos', 1)
    """
    match = re.fullmatch(r"(\w+)_(\d+)", name)
    if match is None or name in fields or not isinstance(fields.get(match[1]), tuple):
        return None
    item = int(match[2])
    return (match[1], item) if item < len(fields[match[1]]) else None


def _get(fields: Mapping[str, Any], name: str) -> Any:
    place = item_of(fields, name)
    return fields[name] if place is None else fields[place[0]][place[1]]


def _set(fields: dict[str, Any], name: str, value: Any) -> None:
    place = item_of(fields, name)
    if place is None:
        fields[name] = value
    else:
        field, item = place
        old = fields[field]
        fields[field] = (*old[:item], value, *old[item + 1 :])
