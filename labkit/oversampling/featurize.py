"""Molecules as packed tensors: graphs and fingerprints that are batched by index arithmetic.

A batch is a gather: for the molecules ``indices``, the rows ``atom_ptr[i]:atom_ptr[i + 1]`` of the
code arrays are collected, turned into one-hot floats, and bond ends are shifted by the number of
atoms before them. Repeated indices cost nothing to keep, so an oversampled training set is an
index array and no graph is ever copied. The result equals ``torch_geometric.data.Batch`` of the
same graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs

from labkit.errors import ParameterError
from labkit.oversampling.fingerprints import encode_with_fingerprint, fingerprint_bits
from labkit.oversampling.graphs import ATOM_FEATURES, BOND_FEATURES, Feature, join

NODE_DIM = sum(len(feature) for feature in ATOM_FEATURES)
EDGE_DIM = sum(len(feature) for feature in BOND_FEATURES)
_MOLECULES_PER_WORKER = 1000


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Some molecules as one disconnected graph, ready for torch-geometric layers.

    Attributes
    ----------
    x : float Tensor of shape (n_atoms, NODE_DIM)
        One-hot atom features.
    edge_index : int64 Tensor of shape (2, 2 * n_bonds)
        Both directions of every bond, adjacent to each other.
    edge_attr : float Tensor of shape (2 * n_bonds, EDGE_DIM)
    batch : int64 Tensor of shape (n_atoms,)
        The molecule of each atom.
    num_graphs : int
    fingerprint : float Tensor of shape (num_graphs, n_bits)
    """

    x: torch.Tensor
    edge_index: torch.Tensor
    edge_attr: torch.Tensor
    batch: torch.Tensor
    num_graphs: int
    fingerprint: torch.Tensor

    def to(self, device: str | torch.device) -> GraphBatch:
        """Return the batch with its tensors on `device`."""
        return GraphBatch(
            x=self.x.to(device),
            edge_index=self.edge_index.to(device),
            edge_attr=self.edge_attr.to(device),
            batch=self.batch.to(device),
            num_graphs=self.num_graphs,
            fingerprint=self.fingerprint.to(device),
        )


@dataclass(frozen=True, eq=False)
class PackedMolecules:
    """Graphs and fingerprints of the valid molecules among some SMILES.

    Molecule ``k`` is the ``k``-th *valid* input; ``np.flatnonzero(valid)[k]`` is its place in the
    input.

    Attributes
    ----------
    valid : bool ndarray of shape (n_input,)
    atom_codes : uint8 ndarray of shape (n_atoms, n_atom_features)
        Category of each feature in :data:`labkit.oversampling.graphs.ATOM_FEATURES`.
    atom_ptr : int64 ndarray of shape (n_molecules + 1,)
    bond_index : int32 ndarray of shape (2, n_bonds)
        Atom numbers within the molecule; each bond is stored once.
    bond_codes : uint8 ndarray of shape (n_bonds, n_bond_features)
    bond_ptr : int64 ndarray of shape (n_molecules + 1,)
    fingerprint : uint8 ndarray of shape (n_molecules, n_bits)
    """

    valid: np.ndarray
    atom_codes: np.ndarray
    atom_ptr: np.ndarray
    bond_index: np.ndarray
    bond_codes: np.ndarray
    bond_ptr: np.ndarray
    fingerprint: np.ndarray

    def __len__(self) -> int:
        return len(self.atom_ptr) - 1

    @property
    def node_dim(self) -> int:
        """Width of ``GraphBatch.x``."""
        return NODE_DIM

    @property
    def edge_dim(self) -> int:
        """Width of ``GraphBatch.edge_attr``."""
        return EDGE_DIM

    @property
    def n_bits(self) -> int:
        """Length of the fingerprint; 0 for ``fingerprint="none"``."""
        return int(self.fingerprint.shape[1])

    @property
    def n_atoms(self) -> np.ndarray:
        """Heavy atoms (and explicit hydrogens) of each molecule, shape (n_molecules,)."""
        return np.diff(self.atom_ptr)

    def batch(self, indices: Sequence[int] | np.ndarray) -> GraphBatch:
        """Collect molecules into one graph.

        Parameters
        ----------
        indices : sequence of int of shape (n,)
            Molecules, in the order wanted; repeats are allowed.

        Raises
        ------
        IndexError
            An index is negative or not below the number of molecules.
        """
        index = self._checked(indices)
        atoms, molecule = _ranges(self.atom_ptr, index)
        bonds, bond_molecule = _ranges(self.bond_ptr, index)
        first_atom = np.cumsum(self.n_atoms[index]) - self.n_atoms[index]
        ends = self.bond_index[:, bonds] + first_atom[bond_molecule]
        both_ways = np.stack([ends, ends[::-1]], axis=2).reshape(2, -1)
        edge_attr = _one_hot(self.bond_codes[bonds], BOND_FEATURES)
        return GraphBatch(
            x=_one_hot(self.atom_codes[atoms], ATOM_FEATURES),
            edge_index=torch.from_numpy(both_ways),
            edge_attr=edge_attr.repeat_interleave(2, dim=0),
            batch=torch.from_numpy(molecule),
            num_graphs=len(index),
            fingerprint=torch.from_numpy(self.fingerprint[index]).float(),
        )

    def _checked(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        index = np.asarray(indices)
        if index.dtype == bool:
            raise IndexError("indices is a mask; give np.flatnonzero(mask).")
        index = index.astype(np.int64).reshape(-1)
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(
                f"indices range from {index.min()} to {index.max()}, but there are {len(self)} "
                f"molecules: allowed are 0 to {len(self) - 1}."
            )
        return index


def featurize(
    smiles: Sequence[str] | np.ndarray, *, fingerprint: str = "ecfp4:2048", n_jobs: int = 1
) -> PackedMolecules:
    """Parse SMILES into packed graphs and fingerprints.

    Parameters
    ----------
    smiles : sequence of str of shape (n_input,)
        Entries that are not molecules are marked False in ``valid`` and get no graph.
    fingerprint : str
        ``"ecfp<diameter>:<bits>"`` (Morgan; diameter 0, 2, 4 or 6; 2048 bits when omitted),
        ``"maccs"`` (167 keys) or ``"none"``.
    n_jobs : int
        Worker processes, used from 2,000 molecules on (a worker takes about a second to start), and
        fingerprint threads; -1 is all cores.

    Returns
    -------
    PackedMolecules

    Examples
    --------
    >>> packed = featurize(["CCO", "not a molecule", "[Na+].[Cl-]"], fingerprint="ecfp4:1024")
    >>> packed.valid, len(packed), packed.fingerprint.shape
    (array([ True, False,  True]), 2, (2, 1024))
    >>> batch = packed.batch([0, 1, 0])
    >>> batch.x.shape, batch.edge_index.shape, batch.batch.tolist()
    (torch.Size([8, 47]), torch.Size([2, 8]), [0, 0, 0, 1, 1, 2, 2, 2])
    """
    if isinstance(smiles, str):
        raise ParameterError(f"smiles={smiles!r} is one string; give a list of SMILES.")
    fingerprint_bits(fingerprint)
    if n_jobs == 0:
        raise ParameterError("n_jobs=0 is not allowed; give 1 or more, or -1 for all cores.")
    inputs = list(smiles)
    n_jobs = effective_n_jobs(n_jobs)
    workers = max(1, min(n_jobs, len(inputs) // _MOLECULES_PER_WORKER))
    if workers == 1:
        blocks = [encode_with_fingerprint(inputs, fingerprint, n_jobs)]
    else:
        bounds = np.linspace(0, len(inputs), workers + 1).astype(int)
        blocks = Parallel(n_jobs=workers)(
            delayed(encode_with_fingerprint)(inputs[a:b], fingerprint, 1)
            for a, b in pairwise(bounds)
        )
    codes = join([block[0] for block in blocks])
    bits = np.concatenate([block[1] for block in blocks])
    return PackedMolecules(**vars(codes), fingerprint=bits)


def _ranges(pointers: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate ``arange(pointers[i], pointers[i + 1])`` over `index`; and the owner of each."""
    counts = pointers[index + 1] - pointers[index]
    owner = np.repeat(np.arange(len(index)), counts)
    shift = pointers[index] - (np.cumsum(counts) - counts)
    return np.arange(len(owner)) + shift[owner], owner


def _one_hot(codes: np.ndarray, features: tuple[Feature, ...]) -> torch.Tensor:
    sizes = np.array([len(feature) for feature in features])
    columns = torch.from_numpy(codes + (np.cumsum(sizes) - sizes))
    out = torch.zeros(len(codes), int(sizes.sum()))
    return out.scatter_(1, columns, 1.0)
