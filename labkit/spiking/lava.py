"""Networks run in Lava itself, and the engines compared with it value by value.

A `Network` is written to files and, in an environment of Lava's own, built from Lava 0.10's
processes: LIF, LIFReset, Dense, Sparse, DelayDense, LearningDense with STDPLoihi; labkit adds
LIFLongReset on Lava's own update. It runs there on the CPU models of
``Loihi2SimCfg(select_tag="fixed_pt")``, and what was recorded is read back. `check_against_lava`
compares currents, voltages, spikes and learned weights of every step with `labkit.spiking.engine`.
The comparison is with Lava's models of the chip; nothing is claimed about the chip itself.

Between two episodes the host sets the learned weights and the traces back with ``Var.set``, which
in Lava's fixed point truncates the time constants and the impulses of the rule to whole numbers: a
network with episodes and fractional ones is refused, since Lava would run another network.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.engine import RECORDABLE, simulate
from labkit.spiking.fixedpoint import MAX_STEPS, check_integers
from labkit.spiking.lava_process import (
    LavaError,
    LavaScript,
    MissingLavaError,
    has_lava,
    lava_python,
)
from labkit.spiking.network import Network
from labkit.spiking.recording import Recording

__all__ = [
    "LavaCheck",
    "LavaError",
    "LavaRecording",
    "LavaRun",
    "MissingLavaError",
    "check_against_lava",
    "has_lava",
    "lava_python",
    "run_in_lava",
]


@dataclass(frozen=True, eq=False)
class LavaRecording:
    """What Lava's processes held, in the layout of `labkit.spiking.engine.Recording`.

    Parameters
    ----------
    s_out, u, v : dict of str to ndarray of shape (steps, n)
        Spikes, currents and voltages of each population after each step, if recorded.
    weights : dict of str to ndarray of shape (steps, n_post, n_pre)
        Weights of each learning projection after each step, if recorded.
    final_weights : dict of str to ndarray of shape (n_post, n_pre)
        Weights of each learning projection at the end.
    """

    s_out: dict[str, np.ndarray]
    u: dict[str, np.ndarray]
    v: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    final_weights: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class LavaRun:
    """A finished run in Lava.

    Parameters
    ----------
    recording : LavaRecording
    seconds_compile : float
        To compile the processes and to start them.
    seconds_run : float
        To run the steps; recorders slow them down.
    seconds_set_back : float
        To set weights and traces back between episodes.
    seconds_episodes : ndarray of shape (n_episodes,)
        Parts of `seconds_run`; a single one if the network has no episodes.
    version : str
        Version of lava-nc.
    """

    recording: LavaRecording
    seconds_compile: float
    seconds_run: float
    seconds_set_back: float
    seconds_episodes: np.ndarray
    version: str


@dataclass(frozen=True, eq=False)
class LavaCheck:
    """Every value of an engine compared with Lava's.

    Parameters
    ----------
    exact : bool
        No value differs.
    frame : DataFrame
        ``variable`` (population or projection, and u, v, s_out or w), ``steps``, ``values``
        compared, ``differing``, ``first_step`` that differs (from 1; missing where none does).
    lava_seconds_per_step, labkit_seconds_per_step : float
        While recording; without compilation on both sides.
    version : str
        Version of lava-nc.
    backend : str
        Of labkit's engine.
    """

    exact: bool
    frame: pd.DataFrame
    lava_seconds_per_step: float
    labkit_seconds_per_step: float
    version: str
    backend: str


def run_in_lava(
    network: Network,
    steps: int,
    *,
    record: Sequence[str] = ("s_out",),
    timeout_s: float = 600.0,
) -> LavaRun:
    """Run a network in Lava 0.10, in its own environment.

    Parameters
    ----------
    network : Network
        In one piece: Lava runs only processes that are connected.
    steps : int
        Time steps.
    record : sequence of {"s_out", "u", "v", "w"}
        What to record at every step; "w" are the weights of learning projections.
    timeout_s : float
        Seconds after which Lava is ended.

    Raises
    ------
    MissingLavaError
        Lava is not on this machine; says what to do.
    ParameterError
        Lava cannot run this network as it is described.
    LavaError
        Lava failed or was too slow; shows the end of what it printed.
    """
    check_integers("steps", steps, 1, MAX_STEPS)
    for name in record:
        if name not in RECORDABLE:
            raise ParameterError(not_allowed("record", name, RECORDABLE))
    _check_runnable(network, steps)
    python = lava_python()
    with tempfile.TemporaryDirectory(prefix="labkit-lava-") as folder:
        stem, result = Path(folder) / "network", Path(folder) / "result"
        result.mkdir()
        network.save(stem)
        asked = ["--steps", str(steps), "--record", ",".join(record)]
        arguments = [str(stem), str(result), *asked]
        with LavaScript(
            "run_network.py", arguments, folder=Path(folder), python=python, timeout_s=timeout_s
        ) as script:
            script.wait()
        return _read(network, result)


def check_against_lava(
    network: Network,
    steps: int,
    *,
    backend: str = "numpy",
    timeout_s: float = 600.0,
) -> LavaCheck:
    """Compare an engine with Lava: every current, voltage, spike and learned weight of every step.

    Parameters
    ----------
    network : Network
    steps : int
        Time steps.
    backend : {"numpy", "numba", "torch"}
        Engine of labkit.
    timeout_s : float
        Seconds after which Lava is ended.

    Returns
    -------
    LavaCheck
    """
    theirs = run_in_lava(network, steps, record=RECORDABLE, timeout_s=timeout_s)
    simulate(network, 1, backend=backend)
    start = time.perf_counter()
    ours = simulate(network, steps, record=RECORDABLE, backend=backend)
    seconds = time.perf_counter() - start
    frame = compare(ours, theirs.recording)
    return LavaCheck(
        exact=not frame["differing"].any(),
        frame=frame,
        lava_seconds_per_step=theirs.seconds_run / steps,
        labkit_seconds_per_step=seconds / steps,
        version=theirs.version,
        backend=backend,
    )


def compare(ours: Recording, theirs: LavaRecording) -> pd.DataFrame:
    """Count the values that differ, variable by variable (columns as in `LavaCheck`)."""
    rows = []
    for kind, symbol in (("u", "u"), ("v", "v"), ("s_out", "s_out"), ("weights", "w")):
        for name, reference in getattr(theirs, kind).items():
            differs = np.asarray(getattr(ours, kind)[name]) != reference
            steps = np.flatnonzero(differs.reshape(len(reference), -1).any(axis=1))
            rows.append(
                {
                    "variable": f"{name}.{symbol}",
                    "steps": len(reference),
                    "values": reference.size,
                    "differing": int(np.count_nonzero(differs)),
                    "first_step": int(steps[0]) + 1 if steps.size else None,
                }
            )
    return pd.DataFrame(rows).astype({"first_step": "Int64"})


def _check_runnable(network: Network, steps: int) -> None:
    apart = network.disconnected()
    if apart:
        raise ParameterError(
            f"populations {', '.join(apart)} are not connected to {network.populations[0].name}; "
            "Lava runs connected processes only. Run each part on its own."
        )
    if network.episode is None or network.episode >= steps:
        return
    for projection in network.learning:
        for field in ("tau_plus", "tau_minus", "x1_impulse", "y1_impulse"):
            value = getattr(projection.rule, field)
            if value != int(value):
                raise ParameterError(
                    f"{field}={value:g} of {projection} with episode={network.episode} is not "
                    "allowed in Lava, which truncates it when weights are set back between "
                    "episodes; use a whole number, or no episode."
                )


def _read(network: Network, result: Path) -> LavaRun:
    def recorded(names: Sequence[str], variable: str) -> dict[str, np.ndarray]:
        files = {name: result / f"{name}.{variable}.npy" for name in names}
        return {name: np.load(file) for name, file in files.items() if file.is_file()}

    populations = [population.name for population in network.populations]
    learning = [projection.name for projection in network.learning]
    summary_file = result / "run.json"
    if not summary_file.is_file():
        raise LavaError(
            "Lava ended without a result; check that LABKIT_LAVA_PYTHON names a Python 3.10 that "
            "runs scripts."
        )
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    recording = LavaRecording(
        s_out=recorded(populations, "s_out"),
        u=recorded(populations, "u"),
        v=recorded(populations, "v"),
        weights=recorded(learning, "w"),
        final_weights=recorded(learning, "w_final"),
    )
    return LavaRun(
        recording=recording,
        seconds_compile=summary["seconds_compile"],
        seconds_run=sum(summary["seconds_episodes"]),
        seconds_set_back=summary["seconds_set_back"],
        seconds_episodes=np.array(summary["seconds_episodes"]),
        version=summary["lava"],
    )
