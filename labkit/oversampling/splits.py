"""Splits of molecules into training, validation and test: indices, never copies.

Rows with the same canonical SMILES are always on the same side, whatever the kind:

random
    Molecules in random order.
scaffold
    Bemis-Murcko scaffolds (no chirality) in the order of DeepChem's ``ScaffoldSplitter``: sets
    sorted by size, then by their first row, both descending; each goes to training if it still
    fits there, else to validation if training and validation together have room, else to test.
    Deterministic; molecules without rings share the empty scaffold.
stratified
    Iterative stratification (Sechidis et al., ECML PKDD 2011) keeps the frequency of every label,
    rare ones first; unknown labels count as absent.
group
    Groups given by the user stay whole; without any, salts and stereoisomers of the same parent
    compound do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from iterstrat.ml_stratifiers import IterativeStratification
from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from labkit.errors import ParameterError
from labkit.oversampling.molecules import MoleculeTable

KINDS = ("random", "scaffold", "stratified", "group")
_SIDES = ("training", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a table on three sides.

    Attributes
    ----------
    train, valid, test : int64 ndarray
        Ascending; together every row once.
    kind : str
    seed : int
    digest : str
        sha256 of the three index arrays: equal if and only if the split is.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    kind: str
    seed: int
    digest: str


def split(
    table: MoleculeTable,
    kind: str = "random",
    *,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    groups: Sequence | np.ndarray | None = None,
) -> Split:
    """Split a table.

    Parameters
    ----------
    table : MoleculeTable
    kind : {"random", "scaffold", "stratified", "group"}
    fractions : three floats
        Training, validation and test; they add up to 1. Validation or test may be 0.
    seed : int
        Not used by ``"scaffold"``, which is deterministic.
    groups : sequence of length n, optional
        For ``kind="group"``: what belongs together, such as a series, a project or a cluster.

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        Bad kind or fractions, groups of the wrong length, stratification of continuous targets, or
        a side that would be empty although its fraction is not 0.
    """
    if kind not in KINDS:
        raise ParameterError(f"split={kind!r} is not one of {', '.join(KINDS)}.")
    if groups is not None and kind != "group":
        raise ParameterError(f'groups are for kind="group"; kind is {kind!r}.')
    ratios = _fractions(fractions)
    rng = np.random.RandomState(seed)
    if kind == "scaffold":
        sides = _scaffold_sides(table, ratios)
    elif kind == "stratified":
        sides = _stratified_sides(table, ratios, rng)
    else:
        whole = table.group if kind == "random" else _whole_groups(table, groups)
        sides = _shuffled_sides(whole, ratios, rng)
    return _make_split(sides, ratios, kind, seed)


def scaffolds(table: MoleculeTable) -> np.ndarray:
    """Bemis-Murcko scaffold SMILES of every molecule, empty without rings, shape (n,)."""
    with rdBase.BlockLogs():
        found = [MurckoScaffold.MurckoScaffoldSmiles(smiles=text) for text in table.smiles]
    return np.array(found, dtype=object)


def parent_compounds(table: MoleculeTable) -> np.ndarray:
    """SMILES of the largest fragment without stereo marks, shape (n,)."""
    with rdBase.BlockLogs():
        return np.array([_parent(text) for text in table.canonical], dtype=object)


def _parent(smiles: str) -> str:
    fragments = Chem.GetMolFrags(Chem.MolFromSmiles(smiles), asMols=True)
    flat = [
        (mol.GetNumHeavyAtoms(), Chem.MolToSmiles(mol, isomericSmiles=False)) for mol in fragments
    ]
    return max(flat)[1]


def _fractions(fractions: Sequence[float]) -> np.ndarray:
    ratios = np.asarray(fractions, dtype=float)
    if ratios.shape != (3,) or not (ratios >= 0).all() or abs(ratios.sum() - 1) > 1e-6:
        raise ParameterError(
            f"fractions={tuple(fractions)} must be three numbers, none negative, that add up to 1: "
            "training, validation, test."
        )
    if ratios[0] == 0:
        raise ParameterError(f"fractions={tuple(fractions)} leaves nothing for training.")
    return ratios


def _make_split(sides: np.ndarray, ratios: np.ndarray, kind: str, seed: int) -> Split:
    parts = [np.flatnonzero(sides == side) for side in range(3)]
    empty = [
        name for name, part, r in zip(_SIDES, parts, ratios, strict=True) if r and not len(part)
    ]
    if empty:
        raise ParameterError(
            f"split={kind!r} of {len(sides)} molecules leaves {' and '.join(empty)} empty at "
            f"fractions {ratios.tolist()}; use more molecules, other fractions or another kind."
        )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.array([len(part), *part], dtype="<i8").tobytes())
    train, valid, test = parts
    return Split(train, valid, test, kind=kind, seed=seed, digest=digest.hexdigest())


def _shuffled_sides(
    whole: np.ndarray, ratios: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Groups in random order; a group that crosses a cut goes to where its middle is."""
    number = np.unique(whole, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(number)
    order = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    side_of_group = np.empty(len(sizes), dtype=int)
    side_of_group[order] = np.searchsorted(_cuts(ratios, len(whole)), middle)
    return side_of_group[number]


def _cuts(ratios: np.ndarray, n: int) -> np.ndarray:
    """Rows up to the end of training and of validation; the tolerance is for sums like .8 + .1."""
    return np.floor(np.cumsum(ratios)[:2] * n + 1e-6).astype(int)


def _scaffold_sides(table: MoleculeTable, ratios: np.ndarray) -> np.ndarray:
    number = pd.factorize(scaffolds(table))[0]
    members = [np.flatnonzero(number == i) for i in range(number.max() + 1)]
    members.sort(key=lambda rows: (len(rows), rows[0]), reverse=True)
    train_cut, valid_cut = ratios[0] * len(table), (ratios[0] + ratios[1]) * len(table)
    sides = np.empty(len(table), dtype=int)
    n_train = n_valid = 0
    for rows in members:
        if n_train + len(rows) <= train_cut:
            sides[rows], n_train = 0, n_train + len(rows)
        elif n_train + n_valid + len(rows) <= valid_cut:
            sides[rows], n_valid = 1, n_valid + len(rows)
        else:
            sides[rows] = 2
    return sides


def _stratified_sides(
    table: MoleculeTable, ratios: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Stratify one row per molecule; it holds a label if any of its duplicates does."""
    if table.task != "multilabel":
        raise ParameterError(
            f'split="stratified" needs labels, but {table.name} has continuous effects; use '
            "another split, or threshold() first."
        )
    number = np.unique(table.group, return_inverse=True)[1].reshape(-1)
    labels = np.zeros((number.max() + 1, table.n_labels), dtype=bool)
    np.logical_or.at(labels, number, table.Y == 1)
    used = np.flatnonzero(ratios)
    return used[IterativeStratification(labels, ratios[used].copy(), rng)][number]


def _whole_groups(table: MoleculeTable, groups: Sequence | np.ndarray | None) -> np.ndarray:
    """Join rows that share a group or a canonical SMILES, directly or through others."""
    given = parent_compounds(table) if groups is None else np.asarray(groups)
    if given.shape != (len(table),):
        raise ParameterError(
            f"groups has shape {given.shape}; give one for each of {len(table)} rows."
        )
    if pd.isna(given).any():
        raise ParameterError(f"groups has {int(pd.isna(given).sum())} missing values.")
    rows = np.arange(len(table))
    columns = pd.factorize(given)[0]
    n_columns = columns.max() + 1
    ends = np.concatenate([columns, n_columns + table.group])
    size = len(table) + int(ends.max()) + 1
    edges = coo_array(
        (np.ones(2 * len(table)), (np.tile(rows, 2), len(table) + ends)), shape=(size, size)
    )
    return connected_components(edges, directed=False)[1][: len(table)]
