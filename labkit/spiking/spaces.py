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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.dimensions import Choice, Dimension, Float, Int, Ratio, Value, item_of

if TYPE_CHECKING:
    from optuna.trial import Trial

__all__ = [
    "ORNL_SPACE",
    "SGNN_SPACE",
    "Choice",
    "Dimension",
    "Float",
    "Int",
    "Ratio",
    "Settings",
    "Space",
    "Value",
]

Settings = dict[str, Value]
Parameters = TypeVar("Parameters")


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
                if item_of(fields, name) is None and name not in fields:
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


def _fields(parameters: Any) -> dict[str, Any]:
    return {f.name: getattr(parameters, f.name) for f in dataclasses.fields(parameters)}


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
