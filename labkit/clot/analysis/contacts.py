"""Contacts between platelets: who touches whom, over what area, and in which directions.

Two membrane beads of different platelets are in contact below the range of the receptors. With unit
vectors n_k along the contacts, and areas A_i of the membrane that a bead stands for (a third of the
triangles around it)::

    contact tensor    C = (1/N) sum_k n_k (x) n_k
    contact area      of platelet p with q = sum of A_i over the beads of p in contact with q

The tensor is the fabric tensor of granular matter [1]_. Its trace is 1; it is a third of the
identity if no direction is preferred; its largest eigenvector is the direction in
which platelets stick together.

References
----------
.. [1] Satake, IUTAM Conf. on Deformation and Failure of Granular Materials, Delft (1982) 63.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.clot.flows import Flow
from labkit.clot.forcefield import ForceField, require_positive
from labkit.clot.observe import (
    contact_range,
    membrane_beads,
    membrane_proximity,
    unwrapped_platelets,
)
from labkit.clot.proximity import Proximity
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Suspension

Array = NDArray[np.float64]


def contact_tensor(
    suspension: Suspension,
    snapshot: Snapshot,
    forcefield: ForceField,
    flow: Flow,
    *,
    cutoff: float | None = None,
) -> Array:
    """Return the mean of n (x) n over all contacts of a snapshot, shape (3, 3); nan without any.

    Parameters
    ----------
    suspension : Suspension
    snapshot : Snapshot
    forcefield : ForceField
    flow : Flow
    cutoff : float, optional
        Range of a contact [rc]; that of the receptors by default.
    """
    near = _near(suspension, snapshot, forcefield, flow, cutoff)
    if not len(near.first):
        return np.full((3, 3), np.nan)
    n = near.offset / near.distance[:, None]
    return n.T @ n / len(n)


def contact_pairs(
    suspension: Suspension,
    snapshot: Snapshot,
    forcefield: ForceField,
    flow: Flow,
    *,
    cutoff: float | None = None,
) -> pd.DataFrame:
    """Return which platelets touch.

    Parameters
    ----------
    suspension : Suspension
    snapshot : Snapshot
    forcefield : ForceField
    flow : Flow
    cutoff : float, optional
        Range of a contact [rc]; that of the receptors by default.

    Returns
    -------
    DataFrame
        One row for each pair of platelets in contact: first and second (counted from 0), contacts
        (pairs of beads), area (mean of both sides) [rc^2], gap [rc].
    """
    near = _near(suspension, snapshot, forcefield, flow, cutoff)
    beads = membrane_beads(suspension)
    first, second = beads[near.first], beads[near.second]
    area = bead_areas(suspension, snapshot)
    rows = pd.DataFrame(
        {
            "first": suspension.molecule[first] - 1,
            "second": suspension.molecule[second] - 1,
            "i": first,
            "j": second,
            "distance": near.distance,
        }
    )
    pairs = rows.groupby(["first", "second"])
    table = pairs.agg(contacts=("distance", "size"), gap=("distance", "min"))
    sides = [pairs[side].agg(lambda touching: area[touching.unique()].sum()) for side in "ij"]
    table["area"] = sum(sides) / 2 if len(table) else pd.Series(dtype=float)
    return table.reset_index()[["first", "second", "contacts", "area", "gap"]]


def contact_area(
    suspension: Suspension,
    snapshot: Snapshot,
    forcefield: ForceField,
    flow: Flow,
    *,
    cutoff: float | None = None,
) -> Array:
    """Return the area of each platelet that touches any other one [rc^2], shape (P,).

    Parameters
    ----------
    suspension : Suspension
    snapshot : Snapshot
    forcefield : ForceField
    flow : Flow
    cutoff : float, optional
        Range of a contact [rc]; that of the receptors by default.
    """
    near = _near(suspension, snapshot, forcefield, flow, cutoff)
    touching = membrane_beads(suspension)[np.unique(np.concatenate([near.first, near.second]))]
    owner = suspension.molecule[touching] - 1
    area = bead_areas(suspension, snapshot)[touching]
    return np.bincount(owner, area, minlength=suspension.n_platelets).astype(float)


def bead_areas(suspension: Suspension, snapshot: Snapshot) -> Array:
    """Return a third of the area of the triangles around each bead [rc^2], shape (n_beads,)."""
    x = unwrapped_platelets(suspension, snapshot)
    a, b, c = x[suspension.triangles.T]
    thirds = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    corners = suspension.triangles.ravel()
    shares = np.bincount(corners, np.repeat(thirds, 3), minlength=suspension.n_beads)
    return shares.astype(float)


def _near(
    suspension: Suspension,
    snapshot: Snapshot,
    forcefield: ForceField,
    flow: Flow,
    cutoff: float | None,
) -> Proximity:
    reach = contact_range(forcefield) if cutoff is None else cutoff
    require_positive("cutoff", reach)
    return membrane_proximity(suspension, snapshot, flow, cutoff=reach)
