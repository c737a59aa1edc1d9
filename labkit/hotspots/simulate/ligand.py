"""The ligand as OpenMM sees it: checks at the border, names, a residue ``LIG``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.hotspots.simulate.engine import app

RESIDUE = "LIG"


def check_ligand(mol: Chem.Mol, *, pose: bool = True) -> Chem.Mol:
    """Copy of a ligand that is one molecule with all hydrogens.

    Parameters
    ----------
    mol : Mol
    pose : bool
        Require a 3D conformer.

    Raises
    ------
    ParameterError
        It is not; the message says what is wrong and what to do.
    """
    if not mol.GetNumAtoms():
        raise ParameterError("The ligand has no atoms; give a molecule with a pose.")
    if len(Chem.GetMolFrags(mol)) > 1:
        raise ParameterError(
            f"The ligand has {len(Chem.GetMolFrags(mol))} separate parts; give one molecule, "
            "without counter-ions or water."
        )
    missing = Chem.AddHs(mol).GetNumAtoms() - mol.GetNumAtoms()
    if missing:
        raise ParameterError(
            f"The ligand lacks {missing} hydrogens; use Chem.AddHs(mol, addCoords=True), or read "
            "the SDF file with removeHs=False."
        )
    radicals = sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
    if radicals:
        raise ParameterError(
            f"The ligand has {radicals} unpaired electrons; check its bond orders and charges."
        )
    if pose and not (mol.GetNumConformers() and mol.GetConformer().Is3D()):
        raise ParameterError("The ligand has no 3D pose; give a docked or crystal pose.")
    if pose and not np.isfinite(mol.GetConformer().GetPositions()).all():
        raise ParameterError("The ligand's pose has coordinates that are not finite.")
    return Chem.Mol(mol)


def atom_names(mol: Chem.Mol) -> tuple[str, ...]:
    """Element and running number of each atom.

    Examples
    --------
    >>> atom_names(Chem.AddHs(Chem.MolFromSmiles("CO")))
    ('C1', 'O1', 'H1', 'H2', 'H3', 'H4')
    """
    seen: Counter[str] = Counter()
    names = []
    for atom in mol.GetAtoms():
        seen[atom.GetSymbol()] += 1
        names.append(f"{atom.GetSymbol()}{seen[atom.GetSymbol()]}")
    return tuple(names)


def add_ligand(topology: Any, mol: Chem.Mol) -> np.ndarray:
    """Add the ligand to an OpenMM topology as a residue of its own chain.

    Returns
    -------
    ndarray of shape (n_atoms,)
        Indices of the new atoms, in the order of `mol`.
    """
    used = {chain.id for chain in topology.chains()}
    free = next(letter for letter in "LXYZABCDEFGHIJKMNOPQRSTUVW" if letter not in used)
    residue = topology.addResidue(RESIDUE, topology.addChain(free), "1")
    atoms = [
        topology.addAtom(name, app.Element.getByAtomicNumber(atom.GetAtomicNum()), residue)
        for name, atom in zip(atom_names(mol), mol.GetAtoms(), strict=True)
    ]
    for bond in mol.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return np.array([atom.index for atom in atoms])


def ligand_topology(mol: Chem.Mol) -> Any:
    """OpenMM topology of the ligand alone."""
    topology = app.Topology()
    add_ligand(topology, mol)
    return topology
