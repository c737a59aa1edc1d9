"""Molecular fingerprints by rdkit, as rows of bits.

Like :mod:`labkit.oversampling.graphs`, the module does without torch, so that worker processes
start fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from labkit.errors import ParameterError
from labkit.oversampling.graphs import GraphCodes, encode

_ECFP = re.compile(r"ecfp([0246])(?::(\d+))?")
_MAX_BITS = 65536


def fingerprint_bits(fingerprint: str) -> int:
    """Number of bits of a fingerprint specification.

    Raises
    ------
    ParameterError
        The specification is none of those that :func:`labkit.oversampling.featurize.featurize`
        lists.

    Examples
    --------
    >>> fingerprint_bits("ecfp6:1024"), fingerprint_bits("maccs"), fingerprint_bits("none")
    (1024, 167, 0)
    """
    return _fingerprint(fingerprint)[0]


def _fingerprint(spec: str) -> tuple[int, Callable[[list[Chem.Mol], int], Sequence]]:
    """Length of a fingerprint and the function (mols, threads) -> rdkit bit vectors."""
    name = str(spec).strip().lower()
    if name == "none":
        return 0, lambda mols, threads: []
    if name == "maccs":
        return 167, lambda mols, threads: [
            rdMolDescriptors.GetMACCSKeysFingerprint(mol) for mol in mols
        ]
    match = _ECFP.fullmatch(name)
    n_bits = int(match[2] or 2048) if match else 0
    if match is None or not 8 <= n_bits <= _MAX_BITS:
        raise ParameterError(
            f'fingerprint={spec!r} is not known. Use "ecfp4:2048" (diameter 0, 2, 4 or 6; 8 to '
            f'{_MAX_BITS} bits), "maccs" or "none".'
        )
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=int(match[1]) // 2, fpSize=n_bits)
    return n_bits, lambda mols, threads: generator.GetFingerprints(mols, numThreads=threads)


def encode_with_fingerprint(
    smiles: Sequence[object], fingerprint: str, threads: int = 1
) -> tuple[GraphCodes, np.ndarray]:
    """Graph codes of SMILES, and the fingerprints of the valid ones, shape (n_valid, n_bits)."""
    codes, mols = encode(smiles)
    n_bits, compute = _fingerprint(fingerprint)
    if not n_bits or not mols:
        return codes, np.zeros((len(mols), n_bits), dtype=np.uint8)
    packed = b"".join(map(DataStructs.BitVectToBinaryText, compute(mols, threads)))
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(mols), -1)
    return codes, np.unpackbits(rows, axis=1, count=n_bits, bitorder="little")
