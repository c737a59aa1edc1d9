"""The common core of a congeneric series, and which atom of each ligand is which atom of the lead.

1. Atoms are put into classes: ring atoms that are aromatic in one class, whatever their element
   (a pyridine for a benzene is a change *of* an atom of the core, not a reason to lose the ring);
   all others by element. The largest common substructure of the classes with whole rings is found
   (RDKit's FMCS, Raymond and Willett, J. Comput.-Aided Mol. Des. 16 (2002) 521).
2. Where all ligands together share too little, the tenth and then the fifth of them that shares
   least with the lead alone does not count; those without the core are left out and named.
3. A symmetric core matches a ligand in several ways. The poses lie in one binding site, so the
   match whose atoms lie closest to the lead's is the right one: a group on the other side of a
   ring is on another atom of the lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFMCS, rdMolAlign
from rdkit.rdBase import BlockLogs

from labkit.errors import ParameterError

SHARES = (1.0, 0.9, 0.8)
MIN_CORE_SHARE = 0.5
_AROMATIC_CLASS = 500
_MAX_MATCHES = 5000
_FMCS_SECONDS = 30


@dataclass(frozen=True, eq=False)
class AlignedSeries:
    """Ligands of a series by the atoms of the lead's core.

    Attributes
    ----------
    lead : Chem.Mol
        Heavy atoms only, with its pose.
    core : ndarray of int, shape (n_core,)
        Atoms of the lead that belong to the core, ascending.
    ligands : tuple of Chem.Mol
        Heavy atoms only; those that have the core, the lead not among them.
    atoms : tuple of ndarray of int, shape (n_core,)
        For each ligand, its atom at each atom of `core`.
    rmsd : ndarray of shape (n_ligands,)
        Between the core of each ligand and the lead's in the poses as given, angstrom.
    left_out : tuple of str
        Names of the ligands without the core.
    """

    lead: Chem.Mol
    core: np.ndarray
    ligands: tuple[Chem.Mol, ...]
    atoms: tuple[np.ndarray, ...]
    rmsd: np.ndarray
    left_out: tuple[str, ...]


def name_of(mol: Chem.Mol) -> str:
    """Name of a ligand, from its property ``_Name``."""
    return str(mol.GetProp("_Name")) if mol.HasProp("_Name") else ""


def heavy_atoms(mol: Chem.Mol) -> Chem.Mol:
    """The molecule without hydrogens, chirality from its pose; heavy atoms keep their order."""
    with BlockLogs():
        heavy = Chem.RemoveAllHs(mol)
    if not heavy.GetNumConformers():
        raise ParameterError(
            f"Ligand {name_of(mol)!r} has no coordinates; give the aligned poses of the series."
        )
    Chem.AssignStereochemistryFrom3D(heavy)
    return heavy


def align_series(
    lead: Chem.Mol, others: Sequence[Chem.Mol], *, min_core_share: float = MIN_CORE_SHARE
) -> AlignedSeries:
    """Find the core of a series and every ligand's atoms on it.

    Parameters
    ----------
    lead : Chem.Mol
        From :func:`heavy_atoms`, as the others.
    others : sequence of Chem.Mol
    min_core_share : float
        Smallest usable core, as a share of the lead's heavy atoms.

    Returns
    -------
    AlignedSeries

    Raises
    ------
    ParameterError
        No usable core in four fifths of the ligands.
    """
    classed = [_classes(mol) for mol in (lead, *others)]
    wanted = min_core_share * lead.GetNumAtoms()
    best = 0
    for share in SHARES if others else ():
        core = _common([classed[0], *_most_alike(classed, share)])
        if core is not None and core.GetNumAtoms() >= wanted:
            return _laid_over(lead, others, classed, core)
        best = max(best, core.GetNumAtoms() if core is not None else 0)
    raise ParameterError(
        f"The series has no usable core: {best} atoms at most are common to {SHARES[-1]:.0%} of "
        f"its {len(classed)} ligands, and {int(np.ceil(wanted))} are needed "
        f"(min_core_share={min_core_share} of the lead {name_of(lead)!r}). Split the series by "
        "scaffold, choose another lead, or lower min_core_share."
    )


def same_molecule(lead: Chem.Mol, other: Chem.Mol) -> np.ndarray | None:
    """Heavy atom of the lead for each heavy atom of another copy of it.

    Elements and bonds decide, not bond orders or charges, which differ between files; among
    symmetric matches the one whose superposition on the lead's pose has the smallest RMSD.

    Parameters
    ----------
    lead : Chem.Mol
        Heavy atoms with a pose.
    other : Chem.Mol
        With or without hydrogens, in any order; without coordinates the first match is taken.

    Returns
    -------
    ndarray of int, shape (n_atoms,), or None
        None for another molecule.
    """
    query, target = _skeleton(lead), _skeleton(other)
    if query.GetNumAtoms() != target.GetNumAtoms() or query.GetNumBonds() != target.GetNumBonds():
        return None
    matches = target.GetSubstructMatches(query, uniquify=False, maxMatches=_MAX_MATCHES)
    if not matches:
        return None
    best = matches[0]
    if len(matches) > 1 and target.GetNumConformers():
        best = min(matches, key=lambda match: _superposed_rmsd(target, query, match))
    return np.argsort(best)


def _classes(mol: Chem.Mol) -> Chem.Mol:
    """A copy with the class of each atom as its isotope."""
    copy = Chem.Mol(mol)
    for atom in copy.GetAtoms():
        atom.SetIsotope(_AROMATIC_CLASS if atom.GetIsAromatic() else atom.GetAtomicNum())
    return copy


def _most_alike(classed: Sequence[Chem.Mol], share: float) -> list[Chem.Mol]:
    """The share of the ligands that have most in common with the lead, which comes first."""
    lead, *others = classed
    if share == 1:
        return others
    pairs = [_common([lead, mol]) for mol in others]
    sizes = np.array([0 if pair is None else pair.GetNumAtoms() for pair in pairs])
    best = np.argsort(-sizes, kind="stable")[: int(np.ceil(share * len(others)))]
    return [others[i] for i in best]


def _common(classed: Sequence[Chem.Mol]) -> Chem.Mol | None:
    found = rdFMCS.FindMCS(
        list(classed),
        atomCompare=rdFMCS.AtomCompare.CompareIsotopes,
        bondCompare=rdFMCS.BondCompare.CompareOrder,
        ringMatchesRingOnly=True,
        completeRingsOnly=True,
        timeout=_FMCS_SECONDS,
    )
    return found.queryMol if found.numAtoms else None


def _laid_over(
    lead: Chem.Mol, others: Sequence[Chem.Mol], classed: Sequence[Chem.Mol], core: Chem.Mol
) -> AlignedSeries:
    """Choose where the core lies on the lead, then on each ligand, by distance between poses."""
    has_core = [mol.HasSubstructMatch(core) for mol in classed[1:]]
    kept = [mol for mol, there in zip(others, has_core, strict=True) if there]
    placed = [mol for mol, there in zip(classed[1:], has_core, strict=True) if there]
    choices = []
    for on_lead in classed[0].GetSubstructMatches(core, maxMatches=_MAX_MATCHES):
        fits = [_closest(lead, on_lead, mol, core) for mol in placed]
        choices.append((sum(rmsd for _, rmsd in fits), on_lead, fits))
    _, on_lead, fits = min(choices, key=lambda choice: choice[0])
    order = np.argsort(on_lead)
    return AlignedSeries(
        lead=lead,
        core=np.array(on_lead)[order],
        ligands=tuple(kept),
        atoms=tuple(np.array(match)[order] for match, _ in fits),
        rmsd=np.array([rmsd for _, rmsd in fits]),
        left_out=tuple(
            name_of(mol) for mol, there in zip(others, has_core, strict=True) if not there
        ),
    )


def _closest(
    lead: Chem.Mol, on_lead: Sequence[int], ligand: Chem.Mol, core: Chem.Mol
) -> tuple[tuple[int, ...], float]:
    """Match of the core in `ligand` nearest to the lead's, and its RMSD without superposition."""
    target = lead.GetConformer().GetPositions()[list(on_lead)]
    positions = ligand.GetConformer().GetPositions()
    matches = ligand.GetSubstructMatches(core, uniquify=False, maxMatches=_MAX_MATCHES)
    offsets = positions[np.array(matches)] - target
    rmsd = np.sqrt((offsets**2).sum(axis=2).mean(axis=1))
    nearest = int(rmsd.argmin())
    return matches[nearest], float(rmsd[nearest])


def _skeleton(mol: Chem.Mol) -> Chem.Mol:
    """Heavy atoms with elements and single bonds only, with the pose."""
    bare = Chem.RWMol(Chem.RemoveAllHs(mol, sanitize=False))
    for atom in bare.GetAtoms():
        plain = Chem.Atom(atom.GetAtomicNum())
        plain.SetNoImplicit(True)
        bare.ReplaceAtom(atom.GetIdx(), plain)
    for bond in bare.GetBonds():
        bond.SetBondType(Chem.BondType.SINGLE)
        bond.SetIsAromatic(False)
    return bare.GetMol()


def _superposed_rmsd(target: Chem.Mol, query: Chem.Mol, match: Sequence[int]) -> float:
    pairs = [(i, int(j)) for i, j in enumerate(match)]
    return float(rdMolAlign.GetAlignmentTransform(query, target, atomMap=pairs)[0])
