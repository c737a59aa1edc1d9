"""MLSMOTE on real fingerprints, alone and side by side with the most copied Python implementation.

ECFP4 of 1,024 bits, k = 5. The claims: exactly 864 new rows for SIDER in at most 0.15 CPU seconds;
9,914 for ToxCast in at most 1.5 CPU seconds with a peak memory below 600 MB; and at least ten times
the speed of the peer, asked for the same number of rows of the same minority rows, in the same
process, turn by turn. The peer is github.com/niteshsukhwani/MLSMOTE (the code of a widely read
article): clone it and give its folder. Its rows are not those of the paper, which
docs/oversampling_samplers.md explains. Measure memory with --dataset, one data set in a process.

    LABKIT_DATA=/path/to/data OMP_NUM_THREADS=1 python benchmarks/mlsmote.py --peer /path/to/MLSMOTE
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType

import numpy as np
import pandas as pd
from rdkit import Chem, RDLogger
from rdkit.Chem import rdFingerprintGenerator

from labkit import datasets
from labkit.oversampling.imbalance import read_labels
from labkit.oversampling.resampling import MLSMOTE

ROWS = {"sider": 864, "toxcast": 9914}
BARS = {"sider": 0.15, "toxcast": 1.5}
MEMORY_BAR_MB = 600
SPEED_BAR = 10


def load(name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Fingerprints (n, 1024) and labels."""
    frame = pd.read_csv(datasets.path(name))
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    X = np.empty((len(frame), 1024), dtype=np.uint8)
    for row, smiles in enumerate(frame.smiles):
        X[row] = generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(smiles))
    return X, frame.iloc[:, 1:]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def report(name: str, repeats: int) -> None:
    """Print rows, seconds and memory of one data set."""
    X, Y = load(name)
    before = peak_memory_mb()
    seconds, rows = [], 0
    for seed in range(repeats):
        sampler = MLSMOTE(k_neighbors=5, random_state=seed)
        seconds.append(cpu_seconds(lambda s=sampler: s.fit_resample(X, Y)))
        rows = int(sampler.is_synthetic_.sum())
    peak = peak_memory_mb()
    fast = "met" if median(seconds) <= BARS[name] else "MISSED"
    small = "met" if peak < MEMORY_BAR_MB else "MISSED"
    print(
        f"{name}: {rows} rows ({'as' if rows == ROWS[name] else 'NOT as'} expected), first "
        f"{seconds[0]:.3f}, median {median(seconds):.3f} CPU s (bar {BARS[name]}: {fast}); peak "
        f"{peak:.0f} MB of the process, {before:.0f} MB before (bar {MEMORY_BAR_MB}: {small})"
    )


def load_peer(folder: Path) -> ModuleType:
    """The peer's module from its clone."""
    spec = importlib.util.spec_from_file_location("peer_mlsmote", folder / "mlsmote.py")
    if spec is None or spec.loader is None or not (folder / "mlsmote.py").is_file():
        raise SystemExit(f"--peer {folder}: no mlsmote.py there; give a clone of the repository.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare(peer: ModuleType, repeats: int) -> None:
    """Print the ratio of CPU seconds on SIDER, turn by turn."""
    X, Y = load("sider")
    minority = read_labels(Y).minority
    frame_x, frame_y = pd.DataFrame(X.astype(np.float64)), Y.reset_index(drop=True)
    ratios, ours, theirs = [], [], []
    for seed in range(repeats):
        random.seed(seed)
        sub_x, sub_y = peer.get_minority_instace(frame_x, frame_y)
        theirs.append(cpu_seconds(lambda x=sub_x, y=sub_y: peer.MLSMOTE(x, y, ROWS["sider"])))
        sampler = MLSMOTE(k_neighbors=5, random_state=seed)
        ours.append(cpu_seconds(lambda s=sampler: s.fit_resample(frame_x, frame_y)))
        ratios.append(theirs[-1] / ours[-1])
    verdict = "met" if min(ratios) >= SPEED_BAR else "MISSED"
    print(
        f"sider, {ROWS['sider']} rows for {minority.sum()} minority labels, DataFrames of float64: "
        f"peer {median(theirs):.2f}, labkit {median(ours):.3f} CPU s; ratio median "
        f"{median(ratios):.0f}, from {min(ratios):.0f} to {max(ratios):.0f} "
        f"(bar {SPEED_BAR}: {verdict})"
    )


def main() -> None:
    """Measure one or all data sets, then compare with the peer where its folder is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=[*ROWS], default=None, help="only this data set")
    parser.add_argument("--peer", type=Path, default=None, help="clone of the peer's repository")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    for name in [arguments.dataset] if arguments.dataset else ROWS:
        report(name, arguments.repeats)
    if arguments.peer:
        compare(load_peer(arguments.peer), arguments.repeats)


if __name__ == "__main__":
    main()
