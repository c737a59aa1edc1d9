"""The ligand as a chemist writes it: one molecule with bonds, bond orders and formal charges.

Bonds come from the topology, else from distances. Bond orders come from a template (SMILES, SDF or
MOL2), else they are inferred from the hydrogens, which MDAnalysis does for a complete molecule.

A template is matched on elements and connectivity alone. Among the symmetric matches the one whose
hydrogen counts agree best with the topology is taken (the OH of an acid is where its hydrogen is),
and an atom with more or fewer hydrogens than its template gets the formal charge that goes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.rdBase import BlockLogs

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.reading import quiet_mdanalysis

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe

MAX_BOND = 5.0  # angstrom: no bond is that long, a molecule cut by the periodic boundary has one
MAX_MATCHES = 2000

logger = RDLogger.logger()


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
            f"{_others(universe)}."
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
        f"ligand={selection!r} selects {len(copies)} separate molecules: {named}{more}. Select one, "
        f"for example ligand='resname {first.resname} and resid {first.resid} and segid "
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
        universe.add_TopologyAttr("bonds", bonds) if not hasattr(
            ligand, "bonds"
        ) else universe.add_bonds(bonds)
    return "The topology has no bonds of the ligand; they were told from distances."


def longest_bond(ligand: AtomGroup) -> tuple[float, str]:
    """Length of the longest bond in the current frame, angstrom, and its name."""
    if ligand.n_atoms == 1:
        return 0.0, ""
    bonds = ligand.intra_bonds
    lengths = np.asarray(bonds.values(pbc=False))
    worst = int(np.argmax(lengths))
    return float(lengths[worst]), "-".join(bonds[worst].atoms.names)


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
            f"the ligand {name} has no hydrogen atoms, so its bond orders cannot be inferred. {advice}"
        )
    try:
        with quiet_mdanalysis(), BlockLogs():
            mol = ligand.convert_to.rdkit(cache=False)
            Chem.SanitizeMol(mol)
    except Exception as exc:
        raise ParameterError(
            f"the bond orders of the ligand {name} could not be inferred "
            f"({' '.join(str(exc).split())[:120]}). {advice}"
        ) from exc
    radicals = [a.GetIdx() for a in mol.GetAtoms() if a.GetNumRadicalElectrons()]
    if radicals or mol.GetNumAtoms() != ligand.n_atoms:
        atom = ligand.names[radicals[0]] if radicals else ligand.names[0]
        raise ParameterError(
            f"the bond orders of the ligand {name} could not be inferred (atom {atom} is left with "
            f"an open valence; are hydrogens missing?). {advice}"
        )
    return mol


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
            f"template={given!r} has {wanted.GetNumAtoms()} heavy atoms and the selected ligand has "
            f"{len(heavy)}. Give the same molecule."
        )
    has_hydrogens = len(heavy) < bare.GetNumAtoms()
    hydrogens = np.array([_hydrogens(a) for a in bare.GetAtoms()])
    match = _best_match(bare, wanted, hydrogens if has_hydrogens else None)
    if match is None:
        raise ParameterError(
            f"template={given!r} is not connected like the selected ligand. Give the same molecule, "
            "or a topology with its bonds (CONECT records)."
        )
    mol = Chem.RWMol(bare)
    changed = []
    for atom in wanted.GetAtoms():
        target = mol.GetAtomWithIdx(match[atom.GetIdx()])
        extra = hydrogens[target.GetIdx()] - atom.GetTotalNumHs() if has_hydrogens else 0
        target.SetFormalCharge(int(atom.GetFormalCharge() + extra))
        if not has_hydrogens:
            target.SetNumExplicitHs(atom.GetTotalNumHs())
        if extra:
            changed.append(f"{extra:+d} H on {target.GetSymbol()}{target.GetIdx()}")
    for bond in wanted.GetBonds():
        begin, end = match[bond.GetBeginAtomIdx()], match[bond.GetEndAtomIdx()]
        mol.GetBondBetweenAtoms(begin, end).SetBondType(bond.GetBondType())
    note = f"Protonation differs from the template ({', '.join(changed)}); charges follow the topology."
    try:
        with BlockLogs():
            Chem.SanitizeMol(mol)
    except Exception as exc:
        raise ParameterError(
            f"template={given!r} does not fit the ligand's hydrogens ({str(exc).strip()}). "
            "Give the protonation state and tautomer of the topology."
        ) from exc
    return mol.GetMol(), note if changed else ""


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


def _others(universe: Universe) -> str:
    water = "resname HOH WAT SOL TIP3 TIP4 TIP5 SPC DOD"
    residues = universe.select_atoms(f"not protein and not ({water})").residues
    if not len(residues):
        return "none"
    counts: dict[str, int] = {}
    for residue in residues:
        counts[residue.resname] = counts.get(residue.resname, 0) + 1
    shown = [
        f"{name} ({count} residue{'s' if count > 1 else ''})" for name, count in counts.items()
    ]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
