"""Molecules to integer codes: SMILES in, flat numpy arrays out.

Every atom and every bond becomes a short row of small integers, each the index of a category
listed in :data:`ATOM_FEATURES` or :data:`BOND_FEATURES`. The arrays of all molecules are
concatenated and cut by pointers (``atom_ptr``, ``bond_ptr``), as in a compressed sparse row
matrix. Bonds are stored once; a graph network needs both directions, which
:mod:`labkit.oversampling.featurize` adds per batch.

The module needs rdkit and numpy only, so that worker processes start fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem, rdBase


@dataclass(frozen=True)
class Feature:
    """A categorical property of an atom or a bond; its code is the index in `categories`."""

    name: str
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.categories)


_ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "B", "Si", "Se", "As", "Na", "K")
_NO_YES = ("no", "yes")

ATOM_FEATURES = (
    Feature("element", (*_ELEMENTS, "other")),
    Feature("degree", ("0", "1", "2", "3", "4", "5", "6 or more")),
    Feature("formal charge", ("-2 or less", "-1", "0", "1", "2 or more")),
    Feature("hydrogens", ("0", "1", "2", "3", "4 or more")),
    Feature("hybridization", ("other", "SP", "SP2", "SP3", "SP3D", "SP3D2")),
    Feature("chirality", ("none", "clockwise", "counterclockwise", "other")),
    Feature("aromatic", _NO_YES),
    Feature("in ring", _NO_YES),
)
BOND_FEATURES = (
    Feature("order", ("other", "single", "aromatic", "double", "triple")),
    Feature("conjugated", _NO_YES),
    Feature("in ring", _NO_YES),
    Feature("stereo", ("none", "Z or cis", "E or trans", "other")),
)


def _table(pairs: dict[int, int], size: int, default: int) -> np.ndarray:
    table = np.full(size, default, dtype=np.uint8)
    table[list(pairs)] = list(pairs.values())
    return table


_PERIODIC = Chem.GetPeriodicTable()
_HYBRID = Chem.HybridizationType
_ELEMENT_CODE = _table(
    {_PERIODIC.GetAtomicNumber(symbol): code for code, symbol in enumerate(_ELEMENTS)},
    size=256,
    default=len(_ELEMENTS),
)
_HYBRIDIZATION_CODE = _table(
    {
        int(kind): code
        for code, kind in enumerate(
            (_HYBRID.SP, _HYBRID.SP2, _HYBRID.SP3, _HYBRID.SP3D, _HYBRID.SP3D2), start=1
        )
    },
    size=32,
    default=0,
)
_CHIRALITY_CODE = _table({0: 0, 1: 1, 2: 2}, size=32, default=3)
_STEREO = Chem.BondStereo
_STEREO_CODE = _table(
    {
        int(_STEREO.STEREONONE): 0,
        int(_STEREO.STEREOZ): 1,
        int(_STEREO.STEREOCIS): 1,
        int(_STEREO.STEREOE): 2,
        int(_STEREO.STEREOTRANS): 2,
    },
    size=32,
    default=3,
)
# Twice the order as a number, so that aromatic is 3; dative bonds count as single.
_ORDER_CODE = _table({2: 1, 3: 2, 4: 3, 6: 4}, size=256, default=0)
_AROMATIC = 2


@dataclass(frozen=True, eq=False)
class GraphCodes:
    """Concatenated graphs of some molecules.

    Attributes
    ----------
    valid : bool ndarray of shape (n_input,)
        Which inputs are molecules; all other arrays hold the valid ones only.
    atom_codes : uint8 ndarray of shape (n_atoms, len(ATOM_FEATURES))
    atom_ptr : int64 ndarray of shape (n_valid + 1,)
    bond_index : int32 ndarray of shape (2, n_bonds)
        Atom numbers within the molecule, each bond once.
    bond_codes : uint8 ndarray of shape (n_bonds, len(BOND_FEATURES))
    bond_ptr : int64 ndarray of shape (n_valid + 1,)
    """

    valid: np.ndarray
    atom_codes: np.ndarray
    atom_ptr: np.ndarray
    bond_index: np.ndarray
    bond_codes: np.ndarray
    bond_ptr: np.ndarray


def parse(smiles: object) -> Chem.Mol | None:
    """Molecule of a SMILES, or None for anything that is not at least one atom.

    Examples
    --------
    >>> parse("CCO").GetNumAtoms()
    3
    >>> parse("C1CC") is None, parse("") is None, parse(float("nan")) is None
    (True, True, True)
    """
    if not isinstance(smiles, str) or not smiles.strip():
        return None
    with rdBase.BlockLogs():
        return _parse(smiles)


def reason_unparsable(smiles: object) -> str:
    """Say why :func:`parse` gave None, in a few words.

    Examples
    --------
    >>> reason_unparsable("C1CC")
    'not a valid SMILES'
    >>> reason_unparsable("CN(C)(C)C")
    'Explicit valence for atom # 1 N, 4, is greater than permitted'
    """
    if not isinstance(smiles, str) or not smiles.strip():
        return "no SMILES"
    with rdBase.BlockLogs():
        mol = _parse(smiles, sanitize=False)
        problems = Chem.DetectChemistryProblems(mol) if mol else ()
    return str(problems[0].Message()) if problems else "not a valid SMILES"


def _parse(smiles: str, *, sanitize: bool = True) -> Chem.Mol | None:
    mol: Any = Chem.MolFromSmiles(smiles, sanitize=sanitize)
    return mol if mol is not None and mol.GetNumAtoms() else None


class _Columns:
    """Growing lists of raw rdkit values, filled molecule by molecule.

    Atom and bond wrappers live for one molecule only: keeping 50,000 of them alive makes Python's
    garbage collector dominate the run time. Chirality and bond stereo return slow enum objects, so
    they are read only where the SMILES has a character that can set them.
    """

    def __init__(self) -> None:
        self.element: list[int] = []
        self.charge: list[int] = []
        self.hydrogens: list[int] = []
        self.hybridization: list[int] = []
        self.chirality: list[int] = []
        self.begin: list[int] = []
        self.end: list[int] = []
        self.order: list[float] = []
        self.conjugated: list[bool] = []
        self.ring: list[bool] = []
        self.stereo: list[int] = []

    def add(self, mol: Chem.Mol, smiles: str) -> None:
        n_atoms, n_bonds = mol.GetNumAtoms(), mol.GetNumBonds()
        extended = "|" in smiles
        atoms = list(map(mol.GetAtomWithIdx, range(n_atoms)))
        self.element += map(Chem.Atom.GetAtomicNum, atoms)
        self.charge += map(Chem.Atom.GetFormalCharge, atoms)
        self.hydrogens += map(Chem.Atom.GetTotalNumHs, atoms)
        self.hybridization += map(Chem.Atom.GetHybridization, atoms)
        has_centers = extended or "@" in smiles
        self.chirality += map(Chem.Atom.GetChiralTag, atoms) if has_centers else bytes(n_atoms)
        bonds = list(map(mol.GetBondWithIdx, range(n_bonds)))
        self.begin += map(Chem.Bond.GetBeginAtomIdx, bonds)
        self.end += map(Chem.Bond.GetEndAtomIdx, bonds)
        self.order += map(Chem.Bond.GetBondTypeAsDouble, bonds)
        self.conjugated += map(Chem.Bond.GetIsConjugated, bonds)
        self.ring += map(Chem.Bond.IsInRing, bonds)
        has_stereo = extended or "/" in smiles or "\\" in smiles
        self.stereo += map(Chem.Bond.GetStereo, bonds) if has_stereo else bytes(n_bonds)


def encode(smiles: Sequence[object]) -> tuple[GraphCodes, list[Chem.Mol]]:
    """Parse SMILES and code their atoms and bonds.

    Parameters
    ----------
    smiles : sequence of str
        Anything that does not parse, nan and None included, is marked in ``valid`` and left out.

    Returns
    -------
    codes : GraphCodes
    mols : list of rdkit.Chem.Mol
        The valid molecules, in order.
    """
    columns = _Columns()
    mols: list[Chem.Mol] = []
    valid = np.zeros(len(smiles), dtype=bool)
    with rdBase.BlockLogs():
        for i, text in enumerate(smiles):
            if isinstance(text, str) and (mol := _parse(text)) is not None:
                valid[i] = True
                mols.append(mol)
                columns.add(mol, text)
    atom_ptr = _pointers([mol.GetNumAtoms() for mol in mols])
    bond_ptr = _pointers([mol.GetNumBonds() for mol in mols])
    bond_index = np.array([columns.begin, columns.end], dtype=np.int32).reshape(2, -1)
    bond_codes = _bond_codes(columns)
    atom_codes = _atom_codes(columns, bond_codes, _global_ends(bond_index, atom_ptr, bond_ptr))
    return GraphCodes(valid, atom_codes, atom_ptr, bond_index, bond_codes, bond_ptr), mols


def join(parts: Sequence[GraphCodes]) -> GraphCodes:
    """Concatenate blocks of coded molecules, in order."""
    return GraphCodes(
        valid=np.concatenate([part.valid for part in parts]),
        atom_codes=np.concatenate([part.atom_codes for part in parts]),
        atom_ptr=_pointers(np.concatenate([np.diff(part.atom_ptr) for part in parts])),
        bond_index=np.concatenate([part.bond_index for part in parts], axis=1),
        bond_codes=np.concatenate([part.bond_codes for part in parts]),
        bond_ptr=_pointers(np.concatenate([np.diff(part.bond_ptr) for part in parts])),
    )


def _pointers(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _global_ends(bond_index: np.ndarray, atom_ptr: np.ndarray, bond_ptr: np.ndarray) -> np.ndarray:
    return bond_index + np.repeat(atom_ptr[:-1], np.diff(bond_ptr))


def _bond_codes(columns: _Columns) -> np.ndarray:
    codes = np.empty((len(columns.begin), len(BOND_FEATURES)), dtype=np.uint8)
    codes[:, 0] = _ORDER_CODE[np.array(2 * np.array(columns.order), dtype=np.intp)]
    codes[:, 1] = np.array(columns.conjugated, dtype=np.uint8)
    codes[:, 2] = np.array(columns.ring, dtype=np.uint8)
    codes[:, 3] = _STEREO_CODE[np.array(columns.stereo, dtype=np.intp)]
    return codes


def _atom_codes(columns: _Columns, bond_codes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Code atoms; degree, aromaticity and ring membership follow from the bonds."""
    n_atoms = len(columns.element)
    codes = np.empty((n_atoms, len(ATOM_FEATURES)), dtype=np.uint8)
    codes[:, 0] = _ELEMENT_CODE[np.array(columns.element, dtype=np.intp)]
    codes[:, 1] = np.minimum(np.bincount(ends.ravel(), minlength=n_atoms), 6)
    codes[:, 2] = np.clip(np.array(columns.charge, dtype=np.int16), -2, 2) + 2
    codes[:, 3] = np.minimum(np.array(columns.hydrogens, dtype=np.int16), 4)
    codes[:, 4] = _HYBRIDIZATION_CODE[np.array(columns.hybridization, dtype=np.intp)]
    codes[:, 5] = _CHIRALITY_CODE[np.array(columns.chirality, dtype=np.intp)]
    codes[:, 6:] = 0
    codes[ends[:, bond_codes[:, 0] == _AROMATIC].ravel(), 6] = 1
    codes[ends[:, bond_codes[:, 2] == 1].ravel(), 7] = 1
    return codes
