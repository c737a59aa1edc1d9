"""Caps for a chain that was cut: acetyl and N-methyl groups out of the residue that was cut off.

The new methyl carbon is where CA was, and its hydrogens lie on the axes of what hung on CA, so a
cap is where the backbone was and needs no placement. The amide hydrogen of a cap that was proline
lies on the axis to its ring.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.errors import ParameterError
from labkit.hotspots.simulate.engine import app
from labkit.hotspots.simulate.structure import PocketAtom, ProteinStructure, label

C_H, N_H = 1.09, 1.01
"""Bond lengths of the hydrogens that a cap gets, in angstrom."""

METHYL = ("H1", "H2", "H3")


def acetyl(residue: Any, structure: ProteinStructure) -> list[PocketAtom]:
    """ACE out of the residue before the break: C, O and CA stay."""
    atoms = _backbone(residue, structure, ("CA", "C", "O"))
    return [
        *_renamed(atoms, {"CA": "CH3", "C": "C", "O": "O"}, structure),
        *_hydrogens(atoms["CA"], atoms["C"], structure, METHYL, C_H),
    ]


def methylamide(residue: Any, structure: ProteinStructure) -> list[PocketAtom]:
    """NME out of the residue after the break: N and CA stay."""
    atoms = _backbone(residue, structure, ("N", "CA"))
    return [
        *_renamed(atoms, {"N": "N", "CA": "C"}, structure),
        *_hydrogens(atoms["N"], atoms["CA"], structure, ("H",), N_H),
        *_hydrogens(atoms["CA"], atoms["N"], structure, METHYL, C_H),
    ]


def _backbone(residue: Any, structure: ProteinStructure, names: tuple[str, ...]) -> dict[str, Any]:
    atoms = {atom.name: atom for atom in residue.atoms()}
    missing = [name for name in names if name not in atoms]
    if missing:
        raise ParameterError(
            f"Residue {label(residue)} of {structure.path.name} lacks {', '.join(missing)}, which "
            "a cap is made from; repair the structure, for example with PDBFixer."
        )
    return atoms


def _renamed(
    atoms: dict[str, Any], names: dict[str, str], structure: ProteinStructure
) -> list[PocketAtom]:
    return [
        PocketAtom(atoms[old].index, new, atoms[old].element, structure.positions[atoms[old].index])
        for old, new in names.items()
    ]


def _hydrogens(
    center: Any, stem: Any, structure: ProteinStructure, names: tuple[str, ...], length: float
) -> list[PocketAtom]:
    """Turn what hangs on `center` within its residue, except `stem`, into hydrogens."""
    own = {atom.index for atom in center.residue.atoms()} - {stem.index}
    hanging = [other for other in structure.neighbors[center.index] if other in own]
    if len(hanging) != len(names):
        raise ParameterError(
            f"{center.name} of residue {label(center.residue)} in {structure.path.name} has "
            f"{len(hanging)} substituents where a cap needs {len(names)}; add missing atoms and "
            "hydrogens, for example with PDBFixer."
        )
    origin = structure.positions[center.index]
    atoms = []
    for name, source in zip(names, hanging, strict=True):
        axis = structure.positions[source] - origin
        position = origin + length * axis / np.linalg.norm(axis)
        atoms.append(PocketAtom(source, name, app.Element.getBySymbol("H"), position))
    return atoms
