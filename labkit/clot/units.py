"""What a simulation in DPD units is in SI units, and which numbers of the flow it keeps.

A length, the density and the kinematic viscosity nu = eta/rho fix the units of length, mass and
time::

    tau = (eta* / n) / nu  rc^2,    m = rho rc^3 / n

Dimensionless numbers, with a the platelet's long semi-axis and u a speed::

    Re = n m rate a^2 / eta,    Pe = 6 pi eta rate a^3 / kT,    Ma = u / c_s

The speed of sound c_s follows from the equation of state of a DPD fluid, p = n kT + alpha a_ij n^2
with alpha = 0.101 [1]_, as c_s^2 = dp/d(n m) = (kT + 2 alpha a_ij n) / m. Measured with the default
plasma, which is colder than that of the fit, p is 3 % and c_s 1 % lower.

============ ================================================ ===================
symbol       variable                                         unit
============ ================================================ ===================
rc           ``rc_m``: cutoff of the plasma's forces          m
eta*         ``eta_star``: viscosity as measured              m/(rc tau)
rho, eta     ``density``, ``viscosity``: of real plasma       kg/m^3, Pa s
n            ``number_density``                               1/rc^3
tau          ``tau_s``                                        s
============ ================================================ ===================

Particles this large make sound and heat count for far more than in real plasma: with a platelet's
shape, Re and a large Pe kept, the shear rate comes out orders of magnitude above a blood vessel's.
`DPDUnits.table` shows it.

References
----------
.. [1] Groot and Warren, J. Chem. Phys. 107 (1997) 4423.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import pandas as pd

from labkit.choices import not_allowed
from labkit.clot.forcefield import ForceField, require_positive
from labkit.errors import ParameterError

PLATELET_SEMI_AXIS_M = 2e-6
"""Long semi-axis of a platelet of 4 um x 1 um."""
BODY_KT_J = 1.380649e-23 * 310.15
"""Thermal energy at 37 degrees Celsius."""
_ALPHA = 0.101
# Powers of length, time and mass in each kind of quantity.
_POWERS = {
    "length": (1, 0, 0),
    "time": (0, 1, 0),
    "mass": (0, 0, 1),
    "velocity": (1, -1, 0),
    "shear_rate": (0, -1, 0),
    "force": (1, -2, 1),
    "energy": (2, -2, 1),
    "stress": (-1, -2, 1),
    "viscosity": (-1, -1, 1),
    "diffusion": (2, -1, 0),
    "stiffness": (0, -2, 1),
}


@dataclass(frozen=True)
class DPDUnits:
    """Units of a simulation.

    Attributes
    ----------
    rc_m : float
        Cutoff of the plasma's forces [m].
    eta_star : float
        Viscosity of the simulated plasma, as measured [m/(rc tau)].
    density : float
        Of real plasma [kg/m^3].
    viscosity : float
        Of real plasma [Pa s].
    number_density : float
        Of the simulated plasma [1/rc^3].
    platelet_thickness_m : float
        [m]

    Raises
    ------
    ParameterError
        A value is not above 0, or the particles are as large as a platelet is thick.

    Examples
    --------
    >>> units = DPDUnits(rc_m=2e-6 / 3, eta_star=2.2)
    >>> round(units.tau_s * 1e6, 2)
    0.3
    >>> round(units.reynolds(rate=0.1, a=3.0), 2)
    1.23
    """

    rc_m: float
    eta_star: float
    density: float = 1025.0
    viscosity: float = 1.1e-3
    number_density: float = 3.0
    platelet_thickness_m: float = 1e-6

    def __post_init__(self) -> None:
        for item in fields(self):
            require_positive(item.name, getattr(self, item.name))
        if self.rc_m >= self.platelet_thickness_m:
            raise ParameterError(
                f"rc_m={self.rc_m:g} is not allowed; a platelet is {self.platelet_thickness_m:g} m "
                "thick and particles as large as that cannot follow its shape, so use less."
            )

    @classmethod
    def of_platelet(
        cls, a: float, c: float, eta_star: float, *, a_m: float = PLATELET_SEMI_AXIS_M
    ) -> DPDUnits:
        """Return the units in which a simulated platelet has its real size.

        Parameters
        ----------
        a, c : float
            Semi-axes in the simulation [rc].
        eta_star : float
            Viscosity of the simulated plasma [m/(rc tau)].
        a_m : float
            Long semi-axis [m].
        """
        for name, value in {"a": a, "c": c, "a_m": a_m}.items():
            require_positive(name, value)
        return cls(rc_m=a_m / a, eta_star=eta_star, platelet_thickness_m=2 * c * a_m / a)

    @property
    def tau_s(self) -> float:
        """Unit of time [s]."""
        kinematic = self.viscosity / self.density
        return self.eta_star / self.number_density / kinematic * self.rc_m**2

    @property
    def mass_kg(self) -> float:
        """Mass of a particle [kg]."""
        return self.density * self.rc_m**3 / self.number_density

    def to_si(self, kind: str, value: float) -> float:
        """Return a quantity in SI units.

        Parameters
        ----------
        kind : str
            "length", "time", "mass", "velocity", "shear_rate", "force", "energy", "stress",
            "viscosity", "diffusion" or "stiffness".
        value : float
            In DPD units.
        """
        return value * self._unit(kind)

    def from_si(self, kind: str, value: float) -> float:
        """Return a quantity in DPD units; `kind` as in `to_si`."""
        return value / self._unit(kind)

    def reynolds(self, rate: float, a: float) -> float:
        """Return the Reynolds number of a platelet.

        Parameters
        ----------
        rate : float
            Shear rate [1/time].
        a : float
            Long semi-axis [rc].
        """
        return self.number_density * rate * a**2 / self.eta_star

    def peclet(self, rate: float, a: float, *, kT: float) -> float:
        """Return shear against diffusion of a sphere of the platelet's long semi-axis.

        Parameters
        ----------
        rate : float
            Shear rate [1/time].
        a : float
            Long semi-axis [rc].
        kT : float
            [energy]
        """
        return 6 * math.pi * self.eta_star * rate * a**3 / kT

    def mach(self, speed: float, forcefield: ForceField) -> float:
        """Return a speed [rc/time] in units of the speed of sound."""
        return speed / speed_of_sound(forcefield)

    def table(
        self,
        *,
        rate: float,
        a: float,
        forcefield: ForceField | None = None,
        height: float | None = None,
        step: float = 0.02,
    ) -> pd.DataFrame:
        """Return what the simulation stands for.

        Parameters
        ----------
        rate : float
            Shear rate [1/time].
        a : float
            Long semi-axis of the platelets [rc].
        forcefield : ForceField, optional
        height : float, optional
            Of the sheared box; the Mach number is that of the speed rate x height / 2 [rc]. Without
            it, of rate x a.
        step : float
            Fluid step [time].

        Returns
        -------
        DataFrame
            Columns quantity, simulation (DPD units), physical (SI), unit.
        """
        for name, value in {"rate": rate, "a": a, "step": step}.items():
            require_positive(name, value)
        forces = forcefield or ForceField()
        speed = rate * (a if height is None else height / 2)
        rows: list[tuple[str, float, float, str]] = [
            ("length rc", 1.0, self.rc_m, "m"),
            ("time tau", 1.0, self.tau_s, "s"),
            ("mass of a particle", 1.0, self.mass_kg, "kg"),
            ("semi-axis a", a, self.to_si("length", a), "m"),
            ("fluid step", step, self.to_si("time", step), "s"),
            ("viscosity", self.eta_star, self.to_si("viscosity", self.eta_star), "Pa s"),
            ("shear rate", rate, self.to_si("shear_rate", rate), "1/s"),
            ("thermal energy kT", forces.kT, self.to_si("energy", forces.kT), "J"),
            ("speed of sound", *self._sound(forces), "m/s"),
            ("Reynolds number", *2 * (self.reynolds(rate, a),), ""),
            ("Peclet number", *self._peclets(rate, a, forces.kT), ""),
            ("Mach number", *2 * (self.mach(speed, forces),), ""),
        ]
        return pd.DataFrame(rows, columns=["quantity", "simulation", "physical", "unit"])

    def _unit(self, kind: str) -> float:
        if kind not in _POWERS:
            raise ParameterError(not_allowed("kind", kind, _POWERS))
        length, time, mass = _POWERS[kind]
        return self.rc_m**length * self.tau_s**time * self.mass_kg**mass

    def _sound(self, forcefield: ForceField) -> tuple[float, float]:
        speed = speed_of_sound(forcefield)
        return speed, self.to_si("velocity", speed)

    def _peclets(self, rate: float, a: float, kT: float) -> tuple[float, float]:
        """Return Pe as simulated, and at body temperature for the same physical shear rate."""
        body = self.from_si("energy", BODY_KT_J)
        return self.peclet(rate, a, kT=kT), self.peclet(rate, a, kT=body)


def speed_of_sound(forcefield: ForceField) -> float:
    """Return the isothermal speed of sound of the plasma [rc/time].

    Examples
    --------
    >>> round(speed_of_sound(ForceField()), 2)
    3.03
    """
    plasma = forcefield.plasma
    return math.sqrt(forcefield.kT + 2 * _ALPHA * plasma.a * plasma.density)
