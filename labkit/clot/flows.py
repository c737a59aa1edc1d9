"""What drives the plasma.

=================== =========================================================================
flow                boundary and force
=================== =========================================================================
`Quiescent`         periodic box, no force
`Shear`             periodic box under simple shear (Lees-Edwards), u_x = rate (y - y_low)
`ReversePoiseuille` periodic box, force +f in its lower half, -f in its upper half, along x
`Channel`           walls at both ends of y, force f along x
=================== =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.clot.forcefield import require_positive


@dataclass(frozen=True)
class Quiescent:
    """A fluid at rest in a periodic box."""

    @property
    def rate(self) -> float:
        """Shear rate [1/time]."""
        return 0.0


@dataclass(frozen=True)
class Shear:
    """Simple shear without walls.

    Attributes
    ----------
    rate : float
        Shear rate du_x/dy [1/time].
    """

    rate: float

    def __post_init__(self) -> None:
        require_positive("Shear.rate", self.rate)


@dataclass(frozen=True)
class ReversePoiseuille:
    """Two opposite streams in one periodic box; each has a parabolic profile.

    Attributes
    ----------
    force : float
        Force on each particle, along x in the lower half of y and against it in the upper half.
    """

    force: float

    def __post_init__(self) -> None:
        require_positive("ReversePoiseuille.force", self.force)

    @property
    def rate(self) -> float:
        """Shear rate of the box [1/time]; the local ones are of the streams."""
        return 0.0


@dataclass(frozen=True)
class Channel:
    """A stream between two walls at the ends of y.

    Attributes
    ----------
    force : float
        Force on each particle along x.
    """

    force: float

    def __post_init__(self) -> None:
        require_positive("Channel.force", self.force)

    @property
    def rate(self) -> float:
        """Shear rate of the box [1/time]; the local ones are of the stream."""
        return 0.0


Flow = Quiescent | Shear | ReversePoiseuille | Channel
