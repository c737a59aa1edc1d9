"""Forces of platelets in plasma: what is summed, with which constants, on which time step.

Plasma is a dissipative particle dynamics (DPD) fluid [1]_ [2]_. The force on a particle i from j at
distance r along the unit vector e is::

    F_ij = [a w(r) - gamma w(r)^(2s) (e . v_ij) + sigma w(r)^s theta / sqrt(h)] e,
    w(r) = 1 - r / rc,    sigma^2 = 2 gamma kT

A platelet is a cage of beads: a membrane of springs K (r - r0)^2, struts of softer springs through
its inside, and cytoplasm beads held by Morse potentials D [exp(-2 alpha (r - r0)) - 2 exp(-alpha
(r - r0))]. Plasma meets it through a repulsive Lennard-Jones wall and DPD friction and noise.
Receptors are Morse potentials between beads of different membranes.

Four groups of forces have a time step each, from the slowest to the fastest:

============ ========================= =======================================
level        name in `StepPlan`        forces
============ ========================= =======================================
4            fluid                     plasma with plasma
3            interface                 plasma with platelet
2            nonbonded                 cytoplasm, receptors
1            bonded                    membrane springs and struts
============ ========================= =======================================

All numbers are in DPD units: lengths in rc of the plasma, the mass of a particle is 1, energies
such that kT is what `ForceField.kT` says. `labkit.clot.units` maps them to SI. The constants are
labkit's own: the papers that inspired the study do not publish theirs.

References
----------
.. [1] Groot and Warren, J. Chem. Phys. 107 (1997) 4423.
.. [2] Espanol and Warren, Europhys. Lett. 30 (1995) 191.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class _Constants:
    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            require_positive(f"{type(self).__name__}.{item.name}", getattr(self, item.name))


@dataclass(frozen=True, kw_only=True)
class Plasma(_Constants):
    """DPD fluid.

    Attributes
    ----------
    a : float
        Conservative repulsion [energy/rc]; 15 makes sound (3 rc/time) faster than any flow here.
    gamma : float
        Friction coefficient [mass/time]; 40 makes the viscosity 2.2, so that Reynolds numbers of
        platelets are about 1, and steps up to 0.04 keep the temperature within 1 %.
    density : float
        Particles per rc^3; 3 is the lowest at which the equation of state is quadratic [1]_.
    power : float
        Exponent s of the random force's weight; 1 in [1]_.
    """

    a: float = 15.0
    gamma: float = 40.0
    density: float = 3.0
    power: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Membrane(_Constants):
    """Springs K (r - r0)^2 of the platelet's surface and of the struts through its inside.

    Attributes
    ----------
    K_edge, K_strut : float
        Stiffness [energy/rc^2]; 1000 and 100 hold the shape in plasma and shear with springs
        stretched by 1 % on average, and their fastest vibration allows a step of 0.008.
    """

    K_edge: float = 1000.0
    K_strut: float = 100.0


@dataclass(frozen=True, kw_only=True)
class Cytoplasm(_Constants):
    """Morse potential of cytoplasm beads with each other and with their membrane.

    Attributes
    ----------
    D : float
        Depth [energy]; 0.5, which is 5 kT, is liquid enough and never limits a step.
    alpha : float
        Inverse width [1/rc]; 3 for the same reason.
    r0 : float
        Distance of the minimum [rc]; that of the beads at the start.
    cutoff : float
        [rc]
    """

    D: float = 0.5
    alpha: float = 3.0
    r0: float = 0.62
    cutoff: float = 1.2


@dataclass(frozen=True, kw_only=True)
class Interface(_Constants):
    """Repulsion 4 epsilon [(sigma/r)^12 - (sigma/r)^6], cut at its minimum, with DPD friction.

    Attributes
    ----------
    epsilon : float
        [energy]; kT, so that the plasma's pressure presses particles no deeper than sigma.
    sigma : float
        [rc]; the spacing of a membrane's beads, so that its triangles let no plasma through.
    gamma : float
        Friction between a plasma particle and a platelet bead [mass/time]; half of the plasma's
        own keeps platelets within 3 % of kT up to a step of 0.01.
    """

    epsilon: float = 0.1
    sigma: float = 0.6
    gamma: float = 20.0

    @property
    def cutoff(self) -> float:
        """Distance of the minimum, where the repulsion ends [rc]."""
        return 2 ** (1 / 6) * self.sigma


@dataclass(frozen=True, kw_only=True)
class Receptors(_Constants):
    """Morse potential between membrane beads of different platelets (alphaIIb-beta3, fibrinogen).

    Attributes
    ----------
    D : float
        Depth [energy]; 8 holds platelets together in shear, and the heat of binding, up to 2.5 kT
        in a platelet, is gone after 2 time units.
    alpha : float
        Inverse width [1/rc]; 28 makes a bond of receptors 6 times as stiff as a membrane's spring
        and 1/20 of its length wide, so that binding needs a step a quarter of that in free flight.
    r0 : float
        Distance of the minimum [rc]; plasma keeps membranes 0.7 rc apart, so less never binds.
    cutoff : float
        [rc]; nothing is left of the attraction there.
    """

    D: float = 8.0
    alpha: float = 28.0
    r0: float = 0.75
    cutoff: float = 1.2


@dataclass(frozen=True, kw_only=True)
class ForceField:
    """All forces of a simulation.

    Attributes
    ----------
    kT : float
        Temperature of the thermostat [energy].
    plasma, membrane, cytoplasm, interface
        Constants of each group of forces.
    receptors : Receptors, optional
        None for platelets that do not stick; they still repel each other (see `deck`).
    """

    kT: float = 0.1
    plasma: Plasma = field(default_factory=Plasma)
    membrane: Membrane = field(default_factory=Membrane)
    cytoplasm: Cytoplasm = field(default_factory=Cytoplasm)
    interface: Interface = field(default_factory=Interface)
    receptors: Receptors | None = field(default_factory=Receptors)

    def __post_init__(self) -> None:
        require_positive("ForceField.kT", self.kT)

    @property
    def cutoff(self) -> float:
        """Longest range of a nonbonded force [rc]."""
        ranges = [1.0, self.cytoplasm.cutoff, self.interface.cutoff]
        return max([*ranges, self.receptors.cutoff] if self.receptors else ranges)


def require_positive(name: str, value: Any) -> None:
    """Refuse what is not a finite number above zero.

    Raises
    ------
    ParameterError
        Naming the argument.

    Examples
    --------
    >>> require_positive("gamma", 4.5)
    >>> require_positive("gamma", -1.0)
    Traceback (most recent call last):
        ...
    labkit.errors.ParameterError: gamma=-1.0 is not allowed; use a finite number above 0.
    """
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or value <= 0:
        raise ParameterError(f"{name}={value!r} is not allowed; use a finite number above 0.")
