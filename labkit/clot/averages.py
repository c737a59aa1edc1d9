"""Profiles across y and the pressure tensor, averaged by LAMMPS while it runs.

Velocities are taken relative to the flow: under `Shear` to rate y, so that a particle that left the
box and is not put back yet counts with the right one, and in force-driven flows to the mean of each
bin. The pressure tensor P is the sum of the kinetic part of those velocities and the virial of all
forces [1]_::

    P_ab V = sum_i m_i v_i,a v_i,b + sum_pairs r_ij,a F_ij,b

Under r-RESPA each group of forces enters with its forces at the end of the largest step.

References
----------
.. [1] Irving and Kirkwood, J. Chem. Phys. 18 (1950) 817.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.clot.flows import Channel, Flow, Quiescent, Shear

Array = NDArray[np.float64]

MOST_STEPS_BETWEEN_SAMPLES = 5
_GLOBAL, _VECTOR, _ARRAY = 0, 1, 2


def average_commands(
    flow: Flow, box: Sequence[float] | Array, *, bins: int, n_steps: int, files: str = ""
) -> list[str]:
    """Return the commands that average over the next steps, counted from zero.

    Parameters
    ----------
    flow : Flow
    box : sequence of 3 floats
        [rc]
    bins : int
        Along y.
    n_steps : int
        Steps of the run.
    files : str
        Write ``<files>.profile`` and ``<files>.stress`` as well, for `read_files`.
    """
    window = sampling(n_steps)
    along = f"bin/1d y lower {1 / bins} units reduced"
    if isinstance(flow, Channel):
        along = f"bin/1d y 0 {box[1] / bins} bound y 0 {box[1]} units box"
    commands = [
        f"compute layers mobile chunk/atom {along}",
        f"variable ux atom vx-{flow.rate}*y",
        'variable thermal atom "0.5*(vy*vy+vz*vz)"',
        f"fix profile mobile ave/chunk {window} layers v_ux v_thermal"
        + (f" file {files}.profile" if files else ""),
    ]
    if isinstance(flow, Channel):
        return commands
    return [
        *commands,
        f"compute thermal all {_bias(flow, bins)}",
        "compute stress all pressure thermal",
        f"fix stress all ave/time {window} {' '.join(f'c_stress[{k}]' for k in range(1, 7))}"
        + (f" file {files}.stress" if files else ""),
    ]


def end_commands(flow: Flow) -> list[str]:
    """Return the commands that undo `average_commands`."""
    channel = isinstance(flow, Channel)
    fixes = ["profile"] if channel else ["profile", "stress"]
    computes = ["layers"] if channel else ["layers", "stress", "thermal"]
    return [
        *(f"unfix {name}" for name in fixes),
        *(f"uncompute {name}" for name in computes),
        "variable ux delete",
        "variable thermal delete",
    ]


def read_profile(lammps: Any, flow: Flow, box: Array, *, bins: int, border: float = 0.0) -> Array:
    """Return y, density, velocity and temperature of each bin; shape (bins, 4), see `Segment`.

    Parameters
    ----------
    lammps
        It ran with `average_commands`.
    flow : Flow
    box : array of shape (3,)
        [rc]
    bins : int
        Along y.
    border : float
        Height of the simulation's y = 0, a whole number of bins [rc].
    """
    table = np.array(
        [
            [lammps.extract_fix("profile", _GLOBAL, _ARRAY, row, column) for column in range(1, 4)]
            for row in range(bins)
        ]
    )
    return _profile(np.roll(table, round(border / box[1] * bins), axis=0), flow, box)


def combined(
    parts: Sequence[tuple[int, Array | None, Array | None]],
) -> tuple[Array | None, Array | None]:
    """Return profile and stress over all parts of a run, each with its number of steps."""
    steps, *averages = zip(*parts, strict=True)
    mean = [
        None if values[0] is None else np.average(values, axis=0, weights=steps)
        for values in averages
    ]
    return mean[0], mean[1]


def read_files(deck: str | os.PathLike[str], flow: Flow, box: Array) -> tuple[Array, Array | None]:
    """Return the profile and the stress that a deck wrote, as in `Segment`; None for no stress."""
    path = Path(deck)
    lines = path.with_name(f"{path.name}.profile").read_text().splitlines()
    bins = int(lines[3].split()[1])
    table = np.array([line.split()[-3:] for line in lines[4 : 4 + bins]], dtype=float)
    stress = path.with_name(f"{path.name}.stress")
    return (
        _profile(table, flow, np.asarray(box, dtype=float)),
        np.loadtxt(stress, ndmin=2)[-1, 1:] if stress.exists() else None,
    )


def _profile(table: Array, flow: Flow, box: Array) -> Array:
    """Return `Segment`'s profile from counts, relative velocities and temperatures of the bins."""
    counts, velocity, temperature = table.T
    bins = len(table)
    y = (np.arange(bins) + 0.5) * box[1] / bins
    density = counts * bins / np.prod(box)
    return np.column_stack([y, density, velocity + flow.rate * y, temperature])


def read_stress(lammps: Any) -> Array:
    """Return the pressure tensor xx yy zz xy xz yz [energy/rc^3]."""
    return np.array([lammps.extract_fix("stress", _GLOBAL, _VECTOR, k) for k in range(6)])


def sampling(n_steps: int) -> str:
    """Return between how many steps, how often, and until which step LAMMPS takes samples.

    Examples
    --------
    >>> sampling(50)
    '5 10 50'
    >>> sampling(7)
    '1 7 7'
    """
    every = max(k for k in range(1, MOST_STEPS_BETWEEN_SAMPLES + 1) if n_steps % k == 0)
    return f"{every} {n_steps // every} {n_steps}"


def _bias(flow: Flow, bins: int) -> str:
    if isinstance(flow, Quiescent):
        return "temp"
    return "temp/deform" if isinstance(flow, Shear) else f"temp/profile 1 0 0 y {bins}"
