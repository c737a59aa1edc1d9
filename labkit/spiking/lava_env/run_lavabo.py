"""Search for a minimum with the BayesianSolver of lava-optimization 0.5.

    python run_lavabo.py REQUEST --ask FD --answer FD

``REQUEST`` is a JSON file: ``space`` (list of [name, low, high]), ``n_trials``, ``n_initial``,
``seed``. Points are written to descriptor ``ask`` and values read from ``answer``
(objectives/piped.py). All dimensions are continuous: in this version integer ones crash, or are
read as floats bit by bit. ``solve`` returns nothing, so whoever evaluates keeps the record.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from lava.lib.optimization.solvers.bayesian.solver import BayesianSolver
from objectives.piped import PipedObjective
from session import end_with_stdin


def main():
    """Read the request and solve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("request", type=Path)
    parser.add_argument("--ask", type=int, required=True)
    parser.add_argument("--answer", type=int, required=True)
    parser.add_argument("--end-with-stdin", action="store_true", help="end when stdin closes")
    options = parser.parse_args()
    if options.end_with_stdin:
        end_with_stdin()
    request = json.loads(options.request.read_text(encoding="utf-8"))
    solver = BayesianSolver(
        acq_func_config={"type": "gp_hedge"},
        acq_opt_config={"type": "auto"},
        ip_gen_config={"type": "random"},
        num_ips=request["n_initial"],
        seed=request["seed"],
    )
    space = search_space(request["space"])
    objective = PipedObjective(num_params=len(space), ask=options.ask, answer=options.answer)
    solver.solve("labkit", request["n_trials"], objective, space)


def search_space(dimensions):
    """Rows as the solver wants them; it accepts bounds of type np.float64 only."""
    space = np.empty((len(dimensions), 5), dtype=object)
    for row, (name, low, high) in enumerate(dimensions):
        space[row] = ["continuous", np.float64(low), np.float64(high), np.nan, name]
    return space


if __name__ == "__main__":
    main()
