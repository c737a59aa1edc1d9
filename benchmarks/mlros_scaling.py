"""Whether index samplers take time linear in the number of rows.

Random labels, 50 of them, 20,000 to 160,000 rows. The claim: MLROS.fit_indices takes at most 2.3
times as long for 80,000 rows as for 40,000 (2.0 is linear). CPU seconds of this process; each size
in turn, the whole round repeated, best of the rounds. BalancedClones, which compares all rows for
each clone, runs once, on the two smaller sizes.

    OMP_NUM_THREADS=1 python benchmarks/mlros_scaling.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from labkit.oversampling.resampling import make_sampler

SIZES = (20_000, 40_000, 80_000, 160_000)
BAR = 2.3


def labels(n: int, n_labels: int = 50) -> np.ndarray:
    """Independent labels with frequencies from 30 % down to 0.3 %."""
    rng = np.random.default_rng(0)
    return (rng.random((n, n_labels)) < np.geomspace(0.3, 0.003, n_labels)).astype(np.float64)


def main() -> None:
    """Print seconds by size for the samplers that look at labels only."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--samplers", nargs="+", default=["mlros", "mlrus", "lpros", "lprus", "balancedclones"]
    )
    arguments = parser.parse_args()
    tables = {n: labels(n) for n in SIZES}
    for name in arguments.samplers:
        best = dict.fromkeys(SIZES, float("inf"))
        for _ in range(1 if name == "balancedclones" else arguments.rounds):
            for n, Y in tables.items():
                if name == "balancedclones" and n > 40_000:
                    continue
                sampler = make_sampler(name, P=0.25, random_state=0)
                start = time.process_time()
                sampler.fit_indices(Y)
                best[n] = min(best[n], time.process_time() - start)
        seconds = ", ".join(f"{n:,}: {s:.3f} s" for n, s in best.items() if s < float("inf"))
        line = f"{name:14} {seconds}"
        if name == "mlros":
            ratio = best[80_000] / best[40_000]
            line += f"; 80k / 40k = {ratio:.2f} (bar {BAR}: {'met' if ratio <= BAR else 'MISSED'})"
        print(line)


if __name__ == "__main__":
    main()
