"""What is known about each platelet at one time; the input of every controller and guard.

Everything is computed from positions and velocities alone (`labkit.clot.observe`), so it is the
same for every engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Observation:
    """Platelets at one time; P of them.

    Attributes
    ----------
    time : float
        [time]
    center : array of shape (P, 3)
        Center of mass, not wrapped [rc].
    velocity : array of shape (P, 3)
        Of the center, relative to the undisturbed flow at it [rc/time].
    angular_velocity : array of shape (P, 3)
        [1/time]
    gyration : array of shape (P, 3)
        Eigenvalues of the membrane's gyration tensor, ascending [rc^2].
    axis : array of shape (P, 3)
        Unit vector of the smallest eigenvalue, the short axis; its sign is free.
    temperature : array of shape (P,)
        Kinetic temperature of the beads relative to the rigid motion [energy].
    stretch_mean, stretch_max : array of shape (P,)
        Mean and largest |r - r0| / r0 of the membrane springs.
    contacts : array of shape (P,)
        Pairs of membrane beads with another platelet within the range of the receptors.
    gap : array of shape (P,)
        Smallest distance of a membrane bead to another platelet's [rc]; inf for one alone.
    bond_energy, receptor_energy : array of shape (P,)
        Energy in springs and struts, and half of that with other platelets, per bead [energy].
    fluid_temperature : float
        Kinetic temperature of the plasma relative to its flow [energy].
    """

    time: float
    center: Array
    velocity: Array
    angular_velocity: Array
    gyration: Array
    axis: Array
    temperature: Array
    stretch_mean: Array
    stretch_max: Array
    contacts: Array
    gap: Array
    bond_energy: Array
    receptor_energy: Array
    fluid_temperature: float
