"""The heavy atoms of a ligand in chemically sensible pieces: ring systems, linkers, chains.

Scores are per atom; a chemist changes fragments. Three ways to cut:

- ``"rings"``: a ring system (rings that share an atom) is one fragment; so is each connected group
  of atoms between ring systems (linker) or hanging from one (chain).
- ``"brics"``: the molecule without its BRICS bonds [1]_.
- ``"murcko"``: the Bemis-Murcko scaffold [2]_ is one fragment, each side chain another.

BRICS alone leaves crumbs of one atom (six pieces of 17, 2, 16, 1, 6 and 1 heavy atoms in
ergotamine). In every scheme a piece of fewer than `min_size` atoms therefore joins the smallest
fragment it is bonded to, smallest pieces first, until none is left. A methyl, a halogen or a
carbonyl oxygen so belongs to its ring, the methylene of a benzyl group to its phenyl.

References
----------
.. [1] Degen et al., ChemMedChem 3 (2008) 1503-1507.
.. [2] Bemis and Murcko, J. Med. Chem. 39 (1996) 2887-2893.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import BRICS
from rdkit.Chem.Scaffolds import MurckoScaffold

from labkit.errors import ParameterError

SCHEMES = ("rings", "brics", "murcko")
Bond = tuple[int, int]
_INDEX = "_labkit_index"


@dataclass(frozen=True, eq=False)
class Fragments:
    """Which fragment each heavy atom belongs to.

    Attributes
    ----------
    ids : int ndarray of shape (n_atoms,)
        Fragment of each heavy atom, 0, 1, ... in the order of their first atoms.
    names : tuple of str
        Name of each fragment: its kind, number and heavy atoms, as in ``ring 2 (C6)``.
    scheme : str
        How the molecule was cut.
    """

    ids: np.ndarray
    names: tuple[str, ...]
    scheme: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> np.ndarray:
        """Heavy atoms of each fragment."""
        return np.bincount(self.ids, minlength=len(self.names))


def fragment_atoms(
    mol: Chem.Mol,
    *,
    scheme: str = "rings",
    min_size: int = 2,
    heavy: Sequence[int] | np.ndarray | None = None,
) -> Fragments:
    """Cut a molecule into connected fragments that share no atom and leave none out.

    Parameters
    ----------
    mol : Mol
        With or without explicit hydrogens.
    scheme : {"rings", "brics", "murcko"}
    min_size : int
        Smaller pieces join a neighbor. A molecule (or one part of a salt) that is smaller stays
        whole.
    heavy : sequence of int, optional
        Index in `mol` of each heavy atom, in the order of the rows of the result
        (``Complex.heavy_in_mol``). Default: as they come in `mol`.

    Returns
    -------
    Fragments

    Raises
    ------
    ParameterError
        Unknown `scheme`, `min_size` below 1, or `heavy` not the heavy atoms of `mol`.

    Examples
    --------
    >>> benzyl_amine = Chem.MolFromSmiles("c1ccccc1CNCC(C)C")
    >>> fragment_atoms(benzyl_amine).names
    ('ring 1 (C6)', 'chain 1 (C5N)')
    """
    if scheme not in SCHEMES:
        raise ParameterError(f"scheme={scheme!r} is not one of {', '.join(SCHEMES)}.")
    if min_size < 1:
        raise ParameterError(f"min_size={min_size}: a fragment has 1 atom or more.")
    skeleton, rows = _skeleton(mol, heavy)
    bonds = {_bond(bond) for bond in skeleton.GetBonds()}
    cut = {"rings": _ring_cuts, "brics": _brics_cuts, "murcko": _murcko_cuts}[scheme](skeleton)
    pieces = _components(rows, bonds - cut)
    ids = _numbered(_without_crumbs(skeleton, pieces, bonds, min_size), rows)
    return Fragments(ids, _names(skeleton, ids, rows, bonds), scheme)


def _skeleton(
    mol: Chem.Mol, heavy: Sequence[int] | np.ndarray | None
) -> tuple[Chem.Mol, list[int]]:
    """The molecule without hydrogens, and the atom of it that each row of the result is."""
    marked = Chem.Mol(mol)
    for atom in marked.GetAtoms():
        atom.SetIntProp(_INDEX, atom.GetIdx())
    skeleton = Chem.RemoveAllHs(marked, sanitize=False)
    skeleton.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(skeleton)
    place = {
        atom.GetIntProp(_INDEX): atom.GetIdx()
        for atom in skeleton.GetAtoms()
        if atom.GetAtomicNum() != 1
    }
    if not place:
        raise ParameterError(f"mol has {mol.GetNumAtoms()} atoms, none of them heavy; give one.")
    given = list(place) if heavy is None else [int(index) for index in heavy]
    if sorted(given) != sorted(place):
        raise ParameterError(
            f"heavy names {len(given)} atoms that are not the {len(place)} heavy atoms of mol; "
            "give each of their indices once."
        )
    return skeleton, [place[index] for index in given]


def _bond(bond: Chem.Bond) -> Bond:
    return _ordered(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())


def _ordered(a: int, b: int) -> Bond:
    return (a, b) if a < b else (b, a)


def _ring_cuts(mol: Chem.Mol) -> set[Bond]:
    """Bonds between a ring atom and whatever is not in its ring system."""
    return {
        _bond(bond)
        for bond in mol.GetBonds()
        if not bond.IsInRing() and (bond.GetBeginAtom().IsInRing() or bond.GetEndAtom().IsInRing())
    }


def _brics_cuts(mol: Chem.Mol) -> set[Bond]:
    return {_ordered(*atoms) for atoms, _ in BRICS.FindBRICSBonds(mol)}


def _murcko_cuts(mol: Chem.Mol) -> set[Bond]:
    """Bonds that leave the scaffold; none where there is no ring."""
    marked = Chem.Mol(mol)
    for atom in marked.GetAtoms():
        atom.SetIntProp(_INDEX, atom.GetIdx())
    scaffold = MurckoScaffold.GetScaffoldForMol(marked)
    inside = {atom.GetIntProp(_INDEX) for atom in scaffold.GetAtoms()}
    bonds = (_bond(bond) for bond in mol.GetBonds())
    return {(a, b) for a, b in bonds if (a in inside) != (b in inside)}


def _components(atoms: Iterable[int], bonds: set[Bond]) -> list[set[int]]:
    """Connected sets of atoms."""
    parts = {atom: {atom} for atom in atoms}
    for a, b in bonds:
        if parts[a] is not parts[b]:
            joined = parts[a] | parts[b]
            parts.update(dict.fromkeys(joined, joined))
    return list({id(part): part for part in parts.values()}.values())


def _without_crumbs(
    mol: Chem.Mol, pieces: list[set[int]], bonds: set[Bond], min_size: int
) -> list[set[int]]:
    """Join pieces below `min_size` to their smallest neighbor; ties by canonical atom rank."""
    canonical = list(Chem.CanonicalRankAtoms(mol))

    def order(piece: set[int]) -> tuple[int, int]:
        return len(piece), min(canonical[atom] for atom in piece)

    while True:
        owner = {atom: index for index, piece in enumerate(pieces) for atom in piece}
        touching = [(owner[a], owner[b]) for a, b in bonds if owner[a] != owner[b]]
        joinable = {index for pair in touching for index in pair}
        crumbs = [i for i in joinable if len(pieces[i]) < min_size]
        if not crumbs:
            return pieces
        crumb = min(crumbs, key=lambda index: order(pieces[index]))
        others = {index for pair in touching if crumb in pair for index in pair} - {crumb}
        host = min(others, key=lambda index: order(pieces[index]))
        joined = pieces[crumb] | pieces[host]
        pieces = [p for i, p in enumerate(pieces) if i not in (crumb, host)] + [joined]


def _numbered(pieces: list[set[int]], rows: list[int]) -> np.ndarray:
    position = {atom: row for row, atom in enumerate(rows)}
    ids = np.empty(len(rows), dtype=np.int64)
    ordered = sorted(sorted(position[atom] for atom in piece) for piece in pieces)
    for number, members in enumerate(ordered):
        ids[members] = number
    return ids


def _names(mol: Chem.Mol, ids: np.ndarray, rows: list[int], bonds: set[Bond]) -> tuple[str, ...]:
    atoms = np.asarray(rows)
    counts: Counter[str] = Counter()
    names = []
    for fragment in range(ids.max() + 1):
        members = {int(atom) for atom in atoms[ids == fragment]}
        kind = _kind(mol, members, bonds)
        counts[kind] += 1
        names.append(f"{kind} {counts[kind]} ({_formula(mol, members)})")
    return tuple(names)


def _kind(mol: Chem.Mol, members: set[int], bonds: set[Bond]) -> str:
    if any(mol.GetAtomWithIdx(atom).IsInRing() for atom in members):
        return "ring"
    leaving = sum((a in members) != (b in members) for a, b in bonds)
    return "linker" if leaving > 1 else "chain"


def _formula(mol: Chem.Mol, members: set[int]) -> str:
    """Heavy atoms in the order of Hill, as in C6NO."""
    symbols = Counter(mol.GetAtomWithIdx(atom).GetSymbol() for atom in members)
    order = sorted(symbols, key=lambda symbol: (symbol != "C", symbol))
    return "".join(f"{symbol}{symbols[symbol] if symbols[symbol] > 1 else ''}" for symbol in order)
