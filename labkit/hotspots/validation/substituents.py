"""What hangs on each atom of the core of a ligand, written so that two ligands can be compared.

An atom of the core is described by its element and charge, by the groups on it as SMILES that
begin at the core (``*`` marks an atom of the core, so a group that bridges two core atoms shows
two of them), and, where the atom is a stereocenter, by its handedness in space. CIP labels would
not do: they change with the priority of a far-away group. Handedness is the sign of the triple
product of the bonds to three neighbors, atoms of the core first in the order of the lead, then
groups by SMILES.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

NO_GROUP = "[H]"


@dataclass(frozen=True)
class Decoration:
    """One core atom of one ligand.

    Attributes
    ----------
    atom : str
        Element, charge and aromaticity as in SMILES, ``c`` or ``[O-]``.
    groups : tuple of str
        SMILES of the groups, sorted; empty for hydrogen only.
    members : frozenset of int
        Heavy atoms of these groups, by index in the ligand.
    ends : frozenset of int
        Positions in the core of all core atoms that these groups are on, this one among them.
    handedness : int
        1 or -1 at a stereocenter, else 0.
    """

    atom: str
    groups: tuple[str, ...]
    members: frozenset[int]
    ends: frozenset[int]
    handedness: int

    @property
    def text(self) -> str:
        """The groups in one string."""
        return ".".join(self.groups) or NO_GROUP

    def differs(self, other: Decoration) -> bool:
        """Whether this atom was changed in the other ligand.

        Handedness counts where both are stereocenters: a new group makes a new center, and that is
        one change, not two.
        """
        inverted = self.handedness * other.handedness < 0
        return inverted or (self.atom, self.groups) != (other.atom, other.groups)


def decorations(mol: Chem.Mol, core: Sequence[int] | np.ndarray) -> list[Decoration]:
    """Describe every core atom of a ligand.

    Parameters
    ----------
    mol : Chem.Mol
        Heavy atoms with a pose and chirality assigned.
    core : sequence of int
        Atoms of `mol` in the order of the lead's core.

    Returns
    -------
    list of Decoration
        In the order of `core`.
    """
    place = {int(atom): position for position, atom in enumerate(core)}
    blank = _without_core(mol, place)
    groups = _groups(mol, place)
    return [_decoration(mol, blank, atom, place, groups) for atom in place]


def _without_core(mol: Chem.Mol, place: dict[int, int]) -> Chem.Mol:
    """The molecule with every core atom as ``*``."""
    blank = Chem.RWMol(mol)
    for atom in place:
        blank.ReplaceAtom(atom, Chem.Atom(0))
    return blank.GetMol()


def _groups(mol: Chem.Mol, place: dict[int, int]) -> list[frozenset[int]]:
    """Connected sets of atoms outside the core."""
    left, groups = set(range(mol.GetNumAtoms())) - set(place), []
    while left:
        group, edge = set(), [left.pop()]
        while edge:
            atom = edge.pop()
            group.add(atom)
            near = left.intersection(_neighbors(mol, atom))
            left -= near
            edge.extend(near)
        groups.append(frozenset(group))
    return groups


def _decoration(
    mol: Chem.Mol,
    blank: Chem.Mol,
    atom: int,
    place: dict[int, int],
    groups: Sequence[frozenset[int]],
) -> Decoration:
    near = set(_neighbors(mol, atom))
    written = {group: _smiles(blank, atom, group) for group in groups if near & group}
    members: frozenset[int] = frozenset().union(*written)
    ends = {place[n] for member in members for n in _neighbors(mol, member) if n in place}
    return Decoration(
        atom=_symbol(mol.GetAtomWithIdx(atom)),
        groups=tuple(sorted(written.values())),
        members=members,
        ends=frozenset(ends | {place[atom]}),
        handedness=_handedness(mol, atom, place, written),
    )


def _neighbors(mol: Chem.Mol, atom: int) -> list[int]:
    return [n.GetIdx() for n in mol.GetAtomWithIdx(atom).GetNeighbors()]


def _smiles(blank: Chem.Mol, atom: int, group: frozenset[int]) -> str:
    """SMILES of a group from one core atom, with the bonds into the core but none inside it."""
    pairs = {b.GetIdx(): {b.GetBeginAtomIdx(), b.GetEndAtomIdx()} for b in blank.GetBonds()}
    bonds = [index for index, pair in pairs.items() if pair & group]
    atoms = group.union(*(pairs[index] for index in bonds))
    return str(
        Chem.MolFragmentToSmiles(
            blank, atomsToUse=sorted(atoms), bondsToUse=bonds, rootedAtAtom=atom
        )
    )


def _symbol(atom: Chem.Atom) -> str:
    letter = atom.GetSymbol().lower() if atom.GetIsAromatic() else atom.GetSymbol()
    charge = atom.GetFormalCharge()
    return f"[{letter}{charge:+d}]" if charge else letter


def _handedness(
    mol: Chem.Mol, atom: int, place: dict[int, int], written: dict[frozenset[int], str]
) -> int:
    center = mol.GetAtomWithIdx(atom)
    if center.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED:
        return 0

    def order(neighbor: int) -> tuple[int, int, str]:
        if neighbor in place:
            return 0, place[neighbor], ""
        return 1, 0, next(text for group, text in written.items() if neighbor in group)

    near = sorted(_neighbors(mol, atom), key=order)[:3]
    positions = mol.GetConformer().GetPositions()
    return int(np.sign(np.linalg.det(positions[near] - positions[atom])))
