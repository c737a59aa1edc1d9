"""Bond orders and formal charges of the ligand: a molecule as a chemist writes it.

They come from a template (SMILES, SDF, MOL or MOL2), else they are inferred from the hydrogens,
which MDAnalysis does for a complete molecule.

A template is matched on elements and connectivity alone. Among the symmetric matches the one whose
hydrogen counts agree best with the topology is taken (the OH of an acid is where its hydrogen is),
and an atom with more or fewer hydrogens than its template gets the formal charge that goes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rdkit import Chem
from rdkit.rdBase import BlockLogs

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.reading import quiet_mdanalysis

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup

MAX_MATCHES = 2000


def ligand_mol(ligand: AtomGroup, template: str | Path | None) -> tuple[Chem.Mol, str]:
    """Molecule in the order of the atoms, with a conformer of the current frame, and a note.

    Raises
    ------
    ParameterError
        The template is another molecule, or there is none and bond orders cannot be inferred.
    """
    if template is None:
        mol, note = _inferred(ligand), ""
    else:
        mol, note = _from_template(_bare(ligand), read_template(template), str(template))
    set_positions(mol, ligand.positions)
    Chem.AssignStereochemistryFrom3D(mol)
    return mol, note


def set_positions(mol: Chem.Mol, positions: np.ndarray) -> None:
    """Replace the conformers of a molecule by one, angstrom."""
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=np.float64))
    mol.RemoveAllConformers()
    mol.AddConformer(conformer, assignId=True)


def read_template(template: str | Path) -> Chem.Mol:
    """Molecule of a SMILES, an SDF, MOL or MOL2 file.

    Raises
    ------
    MissingDataError
        A path to a file that is not there.
    ParameterError
        Nothing that RDKit reads.
    """
    path = Path(template).expanduser()
    suffix = path.suffix.lower()
    with BlockLogs():
        if suffix in (".sdf", ".mol", ".mol2"):
            if not path.is_file():
                raise MissingDataError(f"template={str(template)!r} is not a file.")
            read = Chem.MolFromMol2File if suffix == ".mol2" else Chem.MolFromMolFile
            mol = read(str(path), removeHs=False)
        else:
            mol = Chem.MolFromSmiles(str(template))
    if mol is None:
        raise ParameterError(
            f"template={str(template)!r} is neither a SMILES nor an SDF, MOL or MOL2 file that "
            "RDKit reads."
        )
    return mol


def _inferred(ligand: AtomGroup) -> Chem.Mol:
    name = ligand.residues[0].resname
    advice = (
        "Give its bond orders: template='<SMILES>' or template='ligand.sdf' (the same molecule, "
        "atoms in any order)."
    )
    if "H" not in set(ligand.elements):
        raise ParameterError(
            f"the ligand {name} has no hydrogen atoms, so its bond orders cannot be inferred. "
            f"{advice}"
        )
    try:
        with quiet_mdanalysis(), BlockLogs():
            mol = ligand.convert_to.rdkit(cache=False)
            Chem.SanitizeMol(mol)
    except (AttributeError, RuntimeError, ValueError) as exc:
        raise ParameterError(
            f"the bond orders of the ligand {name} could not be inferred "
            f"({' '.join(str(exc).split())[:120]}). {advice}"
        ) from exc
    if open_valence := [a.GetIdx() for a in mol.GetAtoms() if _is_implausible(a)]:
        raise ParameterError(
            f"the bond orders of the ligand {name} could not be inferred (atom "
            f"{ligand.names[open_valence[0]]} is left with an open valence; are hydrogens "
            f"missing?). {advice}"
        )
    return mol


def _is_implausible(atom: Chem.Atom) -> bool:
    return bool(
        atom.GetNumRadicalElectrons() or (atom.GetAtomicNum() == 6 and atom.GetFormalCharge())
    )


def _bare(ligand: AtomGroup) -> Chem.Mol:
    """Ligand with single bonds only, in the order of the atoms."""
    mol = Chem.RWMol()
    for name, element in zip(ligand.names, ligand.elements, strict=True):
        if not element:
            raise ParameterError(
                f"the element of the ligand's atom {name} is not known. Use a topology that has it."
            )
        atom = Chem.Atom(str(element).capitalize())
        atom.SetNoImplicit(True)
        atom.SetProp("name", str(name))
        mol.AddAtom(atom)
    row = {int(index): k for k, index in enumerate(ligand.indices)}
    for a, b in ligand.intra_bonds.indices if ligand.n_atoms > 1 else ():
        mol.AddBond(row[int(a)], row[int(b)], Chem.BondType.SINGLE)
    return mol.GetMol()


def _from_template(bare: Chem.Mol, template: Chem.Mol, given: str) -> tuple[Chem.Mol, str]:
    wanted = Chem.RemoveAllHs(template)
    Chem.Kekulize(wanted, clearAromaticFlags=True)
    heavy = [a.GetIdx() for a in bare.GetAtoms() if a.GetAtomicNum() > 1]
    if wanted.GetNumAtoms() != len(heavy):
        raise ParameterError(
            f"template={given!r} has {wanted.GetNumAtoms()} heavy atoms and the selected ligand "
            f"has {len(heavy)}. Give the same molecule."
        )
    has_hydrogens = len(heavy) < bare.GetNumAtoms()
    hydrogens = np.array([_hydrogens(a) for a in bare.GetAtoms()]) if has_hydrogens else None
    match = _best_match(bare, wanted, hydrogens)
    if match is None:
        raise ParameterError(
            f"template={given!r} is not connected like the selected ligand. Give the same "
            "molecule, or a topology with its bonds (CONECT records)."
        )
    mol, changed = _dressed(bare, wanted, match, hydrogens)
    try:
        with BlockLogs():
            Chem.SanitizeMol(mol)
    except Chem.MolSanitizeException as exc:
        raise ParameterError(
            f"template={given!r} does not fit the ligand's hydrogens ({str(exc).strip()}). "
            "Give the protonation state and tautomer of the topology."
        ) from exc
    return mol, changed


def _dressed(
    bare: Chem.Mol, wanted: Chem.Mol, match: tuple[int, ...], hydrogens: np.ndarray | None
) -> tuple[Chem.Mol, str]:
    """The bare molecule with the bond orders and charges of the template."""
    mol = Chem.RWMol(bare)
    changed = []
    for atom in wanted.GetAtoms():
        target = mol.GetAtomWithIdx(match[atom.GetIdx()])
        target.SetFormalCharge(atom.GetFormalCharge())
        if hydrogens is None:
            target.SetNumExplicitHs(atom.GetTotalNumHs())
        elif extra := int(hydrogens[target.GetIdx()]) - atom.GetTotalNumHs():
            target.SetFormalCharge(atom.GetFormalCharge() + extra)
            changed.append(f"{extra:+d} H on {target.GetProp('name')}")
    for bond in wanted.GetBonds():
        begin, end = match[bond.GetBeginAtomIdx()], match[bond.GetEndAtomIdx()]
        mol.GetBondBetweenAtoms(begin, end).SetBondType(bond.GetBondType())
    if not changed:
        return mol.GetMol(), ""
    listed = ", ".join(changed)
    return mol.GetMol(), f"Protonation differs from the template: {listed}; charges follow."


def _best_match(
    bare: Chem.Mol, wanted: Chem.Mol, hydrogens: np.ndarray | None
) -> tuple[int, ...] | None:
    query = Chem.RWMol(wanted)
    for bond in query.GetBonds():
        bond.SetBondType(Chem.BondType.SINGLE)
    for atom in query.GetAtoms():
        atom.SetFormalCharge(0)
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(0)
        atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    with BlockLogs():
        query.UpdatePropertyCache(strict=False)
        bare.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(bare)
    matches = bare.GetSubstructMatches(
        query, uniquify=False, maxMatches=MAX_MATCHES if hydrogens is not None else 1
    )
    if not matches or query.GetNumBonds() != _heavy_bonds(bare):
        return None
    if hydrogens is None:
        return matches[0]
    expected = np.array([atom.GetTotalNumHs() for atom in wanted.GetAtoms()])
    return min(matches, key=lambda match: int(np.abs(hydrogens[list(match)] - expected).sum()))


def _hydrogens(atom: Chem.Atom) -> int:
    return sum(neighbor.GetAtomicNum() == 1 for neighbor in atom.GetNeighbors())


def _heavy_bonds(mol: Chem.Mol) -> int:
    return sum(
        bond.GetBeginAtom().GetAtomicNum() > 1 and bond.GetEndAtom().GetAtomicNum() > 1
        for bond in mol.GetBonds()
    )
