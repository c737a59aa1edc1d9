"""LavaBO: Bayesian optimization by the solver of Lava's own optimization library, for comparison.

The ``BayesianSolver`` of lava-optimization 0.5 [1]_ (a Gaussian process of scikit-optimize inside a
Lava process) runs in Lava's environment; the objective is evaluated in this process, one point at
a time, and every evaluation is read back here, since the solver returns nothing. It minimizes, so
an objective that is to be maximized is negated on its way. Dimensions are continuous only: integer
ones fail inside the library. It is slow; `labkit.spiking.tuning` has faster samplers.

References
----------
.. [1] Snyder, Risbud, Parsa, Neuromorphic Bayesian Optimization in Lava, arXiv 2305.11060.
"""

from __future__ import annotations

import json
import math
import os
import select
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import check_integers
from labkit.spiking.lava_process import LavaError, LavaScript, lava_python

Objective = Callable[[dict[str, float]], float]

_TICK_SECONDS = 0.1


def lavabo(
    objective: Objective,
    space: Mapping[str, tuple[float, float]],
    *,
    n_trials: int,
    seed: int = 0,
    maximize: bool = False,
    n_initial: int | None = None,
    timeout_s: float = 3600.0,
) -> pd.DataFrame:
    """Search for the best value of a function of real numbers.

    Parameters
    ----------
    objective : callable
        Takes a dict of parameter to value and returns a finite number. It is called in this
        process; an exception of it ends the search and is raised.
    space : mapping of str to (low, high)
        Range of each parameter.
    n_trials : int
        Evaluations.
    seed : int
        Of the solver.
    maximize : bool
        Search for the largest value instead of the smallest.
    n_initial : int, optional
        Random evaluations before the Gaussian process is used; 10, or half of `n_trials` if less.
    timeout_s : float
        Seconds after which the search is ended; an evaluation under way is waited for.

    Returns
    -------
    DataFrame
        One row per evaluation, in order: ``number``, ``value`` (as `objective` returned it),
        ``seconds`` that it took, one column per parameter, ``best_so_far``.

    Raises
    ------
    MissingLavaError
        Lava is not on this machine; says what to do.
    LavaError
        The solver failed or was too slow; shows the end of what it printed.
    """
    request = _checked_request(space, n_trials, seed, n_initial)
    python = lava_python()
    with tempfile.TemporaryDirectory(prefix="labkit-lavabo-") as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request), encoding="utf-8")
        trials = _search(objective, list(space), file, python, maximize, timeout_s)
    if len(trials) != n_trials:
        raise LavaError(f"The solver ended after {len(trials)} of n_trials={n_trials} evaluations.")
    frame = pd.DataFrame(trials)
    best = frame["value"].cummax() if maximize else frame["value"].cummin()
    return frame.assign(best_so_far=best)


def _search(
    objective: Objective,
    names: list[str],
    request: Path,
    python: Path,
    maximize: bool,
    timeout_s: float,
) -> list[dict[str, float]]:
    trials: list[dict[str, float]] = []
    questions, ask = os.pipe()
    answer, answers = os.pipe()
    try:
        arguments = [str(request), "--ask", str(ask), "--answer", str(answer)]
        with LavaScript(
            "run_lavabo.py",
            arguments,
            folder=request.parent,
            python=python,
            timeout_s=timeout_s,
            pass_fds=(ask, answer),
        ) as script:
            while True:
                finished = script.check()
                asked = _line(questions, 0.0 if finished else _TICK_SECONDS)
                if asked:
                    trial = _evaluate(objective, names, json.loads(asked)["point"], len(trials))
                    trials.append(trial)
                    told = -trial["value"] if maximize else trial["value"]
                    os.write(answers, (json.dumps({"value": told}) + "\n").encode())
                elif finished:
                    return trials
    finally:
        for descriptor in (questions, ask, answer, answers):
            os.close(descriptor)


def _line(descriptor: int, wait_s: float) -> bytes:
    if not select.select([descriptor], [], [], wait_s)[0]:
        return b""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(descriptor, 65536)
    return line


def _evaluate(
    objective: Objective, names: list[str], point: list[float], number: int
) -> dict[str, float]:
    parameters = dict(zip(names, point, strict=True))
    start = time.perf_counter()
    value = float(objective(dict(parameters)))
    seconds = time.perf_counter() - start
    if not math.isfinite(value):
        raise ParameterError(
            f"objective returned {value} in evaluation {number}; the solver needs finite numbers. "
            "Return a bad value instead."
        )
    return {"number": number, "value": value, "seconds": seconds, **parameters}


def _checked_request(
    space: Mapping[str, tuple[float, float]], n_trials: int, seed: int, n_initial: int | None
) -> dict[str, object]:
    check_integers("n_trials", n_trials, 1, 10**6)
    check_integers("seed", seed, 0, 2**32 - 1)
    if n_initial is None:
        n_initial = min(10, (int(n_trials) + 1) // 2)
    check_integers("n_initial", n_initial, 1, 10**6)
    if not space:
        raise ParameterError("space is empty; give at least one parameter with its range.")
    for name, limits in space.items():
        low, high = limits
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ParameterError(
                f"space[{name!r}]={limits!r} is not allowed; use two finite numbers (low, high) "
                "with low < high."
            )
    dimensions = [[name, float(low), float(high)] for name, (low, high) in space.items()]
    whole = {"n_trials": int(n_trials), "n_initial": int(n_initial), "seed": int(seed)}
    return {"space": dimensions, **whole}
