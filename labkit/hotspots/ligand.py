"""Which atoms are the ligand: selected, found to be one molecule, and given bonds.

Bonds come from the topology, else from distances; for bond orders see `bond_orders`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labkit.errors import ParameterError
from labkit.hotspots.reading import quiet_mdanalysis

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe

MAX_BOND = 5.0  # angstrom: no bond is that long, a molecule cut by the periodic boundary has one
WATER = "resname HOH WAT SOL TIP3 TIP4 TIP5 SPC DOD"


def select_ligand(universe: Universe, selection: str) -> AtomGroup:
    """Atoms of the ligand.

    Raises
    ------
    ParameterError
        The selection is not in MDAnalysis' language, or selects no atom.
    """
    from MDAnalysis.exceptions import SelectionError

    try:
        atoms = universe.select_atoms(selection)
    except (SelectionError, AttributeError, ValueError) as exc:
        raise ParameterError(
            f"ligand={selection!r} is not a selection that MDAnalysis understands "
            f"({' '.join(str(exc).split())}). Write for example ligand='resname LIG'."
        ) from exc
    if not atoms.n_atoms:
        raise ParameterError(
            f"ligand={selection!r} selects no atom. Residues that are neither protein nor water: "
            f"{other_residues(universe)}."
        )
    return atoms


def require_one_molecule(ligand: AtomGroup, selection: str) -> None:
    """Refuse a selection of several molecules, with a selection for each of them."""
    fragments = _components(ligand)
    if len(fragments) == 1:
        return
    copies = [ligand[index].residues[0] for index in fragments]
    named = ", ".join(f"{r.resname} {r.resid} ({r.segid})" for r in copies[:6])
    more = f" and {len(copies) - 6} more" if len(copies) > 6 else ""
    first = copies[0]
    raise ParameterError(
        f"ligand={selection!r} selects {len(copies)} separate molecules: {named}{more}. Select "
        f"one, for example ligand='resname {first.resname} and resid {first.resid} and segid "
        f"{first.segid}'."
    )


def ensure_bonds(ligand: AtomGroup) -> str:
    """Add bonds to a ligand whose topology has none, by distance; a note when that was done."""
    if ligand.n_atoms == 1 or (hasattr(ligand, "bonds") and len(ligand.intra_bonds)):
        return ""
    from MDAnalysis.guesser.default_guesser import DefaultGuesser

    universe = ligand.universe
    with quiet_mdanalysis():
        if not hasattr(ligand, "types"):
            universe.add_TopologyAttr("types", universe.atoms.elements)
        guesser = DefaultGuesser(universe, box=universe.trajectory.ts.dimensions)
        bonds = guesser.guess_bonds(ligand, ligand.positions)
        if hasattr(ligand, "bonds"):
            universe.add_bonds(bonds)
        else:
            universe.add_TopologyAttr("bonds", bonds)
    return "The topology has no bonds of the ligand; they were told from distances."


def longest_bond(ligand: AtomGroup) -> tuple[float, str]:
    """Length of the longest bond in the current frame, angstrom, and its name."""
    if ligand.n_atoms == 1:
        return 0.0, ""
    bonds = ligand.intra_bonds
    lengths = np.asarray(bonds.values(pbc=False))
    worst = int(np.argmax(lengths))
    return float(lengths[worst]), "-".join(bonds[worst].atoms.names)


def _components(ligand: AtomGroup) -> list[np.ndarray]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = ligand.n_atoms
    row = {int(index): k for k, index in enumerate(ligand.indices)}
    bonds = ligand.intra_bonds.indices if n > 1 and hasattr(ligand, "bonds") else []
    pairs = np.array([[row[int(a)], row[int(b)]] for a, b in bonds], dtype=int).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    count, label = connected_components(graph, directed=False)
    return [np.flatnonzero(label == k) for k in range(count)]


def other_residues(universe: Universe) -> str:
    """Names and numbers of the residues that are neither protein nor water."""
    residues = universe.select_atoms(f"not protein and not ({WATER})").residues
    if not len(residues):
        return "none"
    counts: dict[str, int] = {}
    for residue in residues:
        counts[residue.resname] = counts.get(residue.resname, 0) + 1
    shown = [
        f"{name} ({count} residue{'s' if count > 1 else ''})" for name, count in counts.items()
    ]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
