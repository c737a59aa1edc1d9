"""All controllers against all fixed plans on one ensemble of clots; every raw run is stored.

Each controller starts from the same states, one for each seed, with the same noise seeds. The
reference for the properties is the finest plan of the ladder. The tolerance of a property, 3 %,
and that of a step, `default_tolerance`, were fixed before the runs. Runs that are complete are
read, not run, so the script can be stopped and started again; with ``--table`` the shipped table
is written.

    OMP_NUM_THREADS=1 python benchmarks/clot_pareto.py --folder runs/clot_pareto
    python benchmarks/clot_pareto.py --table labkit/clot/stored/controllers.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from labkit.atomic import replace_text
from labkit.clot.caps import stability_caps
from labkit.clot.control.ladder import ladder
from labkit.clot.settings import ClotConfig
from labkit.clot.study import controllers_compared


def main() -> None:
    """Run what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/clot_pareto"))
    parser.add_argument("--scene", default="clot")
    parser.add_argument("--shear-rate", type=float, default=0.1)
    parser.add_argument("--time", type=float, default=16.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100, help="none that a label has")
    parser.add_argument("--engine", default="respa")
    parser.add_argument("--table", type=Path, help="write the table here")
    arguments = parser.parse_args()
    config = ClotConfig.from_preset(
        "full",
        scene=arguments.scene,
        shear_rate=arguments.shear_rate,
        time=arguments.time,
        seeds=arguments.seeds,
        seed=arguments.first_seed,
        engine=arguments.engine,
    )
    made = config.system()
    plans = ladder(stability_caps(made.suspension, made.forcefield))
    found = controllers_compared(
        config,
        plans,
        folder=arguments.folder,
        progress=lambda done, n, what: print(f"{done}/{n} {what}", flush=True),
    )
    print(found.summary.to_string(index=False, float_format="{:.3g}".format))
    errors = found.errors.sort_values(["controller", "property"])
    columns = ["controller", "property", "relative_error", "low", "high", "verdict"]
    print(errors[columns].to_string(index=False, float_format="{:.3f}".format))
    if arguments.table:
        arguments.table.parent.mkdir(parents=True, exist_ok=True)
        replace_text(arguments.table, found.table.to_csv(index=False))


if __name__ == "__main__":
    main()
