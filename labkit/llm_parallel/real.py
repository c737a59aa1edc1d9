"""The real run of the study: the parallel training must compute what one process computes.

Equality is tested after several optimizer steps: a gradient that is scaled, dropped or added twice
shows in the second loss, never in the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.distributed.collectives import measure_collectives
from labkit.distributed.links import AlphaBeta, fit_alpha_beta
from labkit.errors import LabkitError
from labkit.llm_parallel.measure import measure
from labkit.llm_parallel.outcome import Failure, Outcome
from labkit.llm_parallel.settings import LLMParallelConfig

BOUND = 1e-10
"""Difference of 64-bit losses that rounding explains, with three orders of magnitude to spare."""
MESSAGE_SIZES = tuple(2**power for power in range(12, 23, 2))
"""Bytes of the timed collectives, 4 KiB to 4 MiB."""
TIMED_KINDS = ("all_reduce", "reduce_scatter")


@dataclass(frozen=True, eq=False)
class RealRun:
    """What became of the real run.

    Attributes
    ----------
    message : str
        One line.
    outcome : Run, Failure or None
        Of the parallel run; None if it was left out.
    losses : DataFrame or None
        Columns step, single, parallel, difference; None if the run failed.
    collectives : DataFrame or None
        Times of collectives between processes of this machine.
    links : tuple of AlphaBeta
        Latency and bandwidth fitted to them, one a kind.
    """

    message: str
    outcome: Outcome | None = None
    losses: pd.DataFrame | None = None
    collectives: pd.DataFrame | None = None
    links: tuple[AlphaBeta, ...] = ()

    def __repr__(self) -> str:
        return self.message

    @property
    def difference(self) -> float:
        """Largest difference of a loss from that of one process; NaN without losses."""
        return float("nan") if self.losses is None else float(self.losses["difference"].max())


def real_run(config: LLMParallelConfig) -> RealRun:
    """Train the small model with the real strategy and with one process, and time collectives.

    A run that fails is a message, not an error.
    """
    if not config.run_real:
        return RealRun("The real run was left out; set run_real=True.")
    strategy = config.real_strategy()
    parallel = measure(
        config.real_model(),
        strategy,
        steps=config.real_steps,
        seed=config.seed,
        launcher=config.launcher,
        compare_single=True,
    )
    if isinstance(parallel, Failure):
        return RealRun(
            f"{strategy.label()} failed: {parallel.reason}. {parallel.message}", parallel
        )
    single = parallel.details["single_losses"]
    losses = pd.DataFrame({"single": single, "parallel": parallel.losses})
    losses.insert(0, "step", np.arange(1, len(losses) + 1))
    losses["difference"] = (losses["parallel"] - losses["single"]).abs()
    largest = losses["difference"].max()
    verdict = "equal" if largest <= BOUND else "NOT equal"
    message = (
        f"{strategy.label()}, {strategy.n_devices} processes, {len(losses)} steps: losses are "
        f"{verdict} to those of one process (largest difference {largest:.1e})."
    )
    collectives, links = _timed(strategy.n_devices, config.launcher)
    return RealRun(message, parallel, losses, collectives, links)


def _timed(n_processes: int, launcher: str) -> tuple[pd.DataFrame | None, tuple[AlphaBeta, ...]]:
    """Collectives between processes of this machine; nothing to time for one, or elsewhere."""
    if n_processes < 2 or launcher != "local":
        return None, ()
    try:
        table = measure_collectives(
            MESSAGE_SIZES, n_processes=n_processes, kinds=TIMED_KINDS, repeats=7, device="cpu"
        )
    except LabkitError:
        return None, ()
    groups = [table[table["kind"] == kind] for kind in TIMED_KINDS]
    fits = [fit_alpha_beta(t, n_processes, k) for t, k in zip(groups, TIMED_KINDS, strict=True)]
    return table, tuple(fits)
