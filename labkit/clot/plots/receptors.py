"""Figure of the receptors: their potential, and where membranes sit that plasma keeps apart."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from labkit.clot.forcefield import Receptors
from labkit.clot.observe import receptor_energy
from labkit.clot.plots.colors import MODEL
from labkit.viz.colors import pale
from labkit.viz.style import new_axes


def receptor_potential(receptors: Receptors, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Energy of two membrane beads of different platelets against their distance.

    Parameters
    ----------
    receptors : Receptors
    title : str, optional
    ax : Axes, optional
        Where to draw; a new figure otherwise.

    Returns
    -------
    Axes
        The parabola of its stiffness, 2 D alpha^2, is pale: its curvature limits the step.
    """
    ax = new_axes(ax, width_in=5.6, height_in=3.0)
    r = np.linspace(0.4, receptors.cutoff, 300, dtype=np.float64)
    stiff = receptors.D * ((receptors.alpha * (r - receptors.r0)) ** 2 - 1)
    ax.plot(r, stiff, color=pale(MODEL, 0.35), label="harmonic at the minimum")
    ax.plot(r, receptor_energy(receptors, r), color=MODEL, label="Morse potential")
    ax.set_ylim(-1.15 * receptors.D, 1.3 * receptors.D)
    ax.set_xlim(r[0], r[-1])
    ax.set_xlabel("distance (rc)")
    ax.set_ylabel("energy (DPD units)")
    ax.legend(loc="upper right")
    ax.set_title(title)
    return ax
