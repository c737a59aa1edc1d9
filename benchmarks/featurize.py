"""SMILES to batch-ready graphs and fingerprints, against ``torch_geometric.utils.from_smiles``.

Both run in one process on one thread, turn by turn, so that a busy machine slows both. labkit's
time covers parsing, graphs, ECFP4 of 2048 bits *and* one-hot batches of 64; torch-geometric's
covers ``from_smiles`` alone, without fingerprint or collation. Times are CPU seconds.

    python benchmarks/featurize.py --dataset sider --rounds 9
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from rdkit import rdBase

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.utils import from_smiles

from labkit.oversampling.data import load_molecules
from labkit.oversampling.featurize import featurize

BATCH_SIZE = 64
BAR = 2.0


def labkit_graphs(smiles: list[str]) -> None:
    """Featurize with ECFP4 and go through all batches once."""
    packed = featurize(smiles, fingerprint="ecfp4:2048")
    for start in range(0, len(packed), BATCH_SIZE):
        packed.batch(np.arange(start, min(start + BATCH_SIZE, len(packed))))


def pyg_graphs(smiles: list[str]) -> None:
    """Make one Data object for each molecule."""
    for text in smiles:
        from_smiles(text)


def cpu_seconds(function: Callable[[list[str]], None], smiles: list[str]) -> float:
    """CPU time of one call, after a garbage collection."""
    gc.collect()
    start = time.process_time()
    function(smiles)
    return time.process_time() - start


def main() -> None:
    """Print molecules per second of both and the ratio of every round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="sider", help="a named set or a CSV")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    smiles = list(load_molecules(options.dataset).smiles)
    functions = (labkit_graphs, pyg_graphs)
    with rdBase.BlockLogs():
        for function in functions:
            function(smiles[:50])
        times = [[cpu_seconds(f, smiles) for f in functions] for _ in range(options.rounds)]
    seconds = np.array(times)
    ratio = seconds[:, 1] / seconds[:, 0]
    rates = len(smiles) / np.median(seconds, axis=0)
    print(f"{options.dataset}: {len(smiles)} molecules, {options.rounds} rounds, one thread")
    print(f"labkit, graphs + ECFP4 + batches  {rates[0]:7.0f} molecules/s (median)")
    print(f"torch_geometric from_smiles       {rates[1]:7.0f} molecules/s (median)")
    print(
        f"ratio {np.median(ratio):.2f} (median), {ratio.min():.2f} to {ratio.max():.2f}; "
        f"bar {BAR:.1f}: {'passed' if np.median(ratio) >= BAR else 'missed'}"
    )


if __name__ == "__main__":
    main()
