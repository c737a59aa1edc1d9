"""Step times of the cost model, of Calculon and of llm-analysis on the same measured rows.

Sets: the ten rows of Megatron's Table 1, Korthikanti's eight times, and vTrain's measured steps on
several nodes (109) and on one (1440); all on A100. Each method is scored by its mean absolute
error with a 95 % bootstrap interval, by the rank correlation of throughput, and by regret; the
constant baseline stands in every set, because on Megatron's ten rows it beats most methods.

How the constants were chosen, which decides what a comparison is worth:

- labkit, shipped constants: one set of efficiencies for all A100 machines, the same for every row;
  what they were chosen by is told in `labkit.llm_parallel.system`.
- labkit, calibrated: fitted to one half of a set, by hash of the configuration, and scored on the
  other half; and by hash of what a layer does on a device, which is harder: rows of vTrain's single
  node share their layers. Only where a set is large enough (vTrain).
- Calculon: its two own A100 files as they are, a100_80g (with which it validates its times) and
  a100_80e, so that nobody picks the worse; only the bandwidth of the network cards is set to the
  machine's, from the same data sheet that labkit has, and its memory limit is lifted. Korthikanti's
  times are the set that its own constants were chosen on. It refuses tensor parallelism beyond a
  node; it is scored on the rows it takes, and labkit once more on the same ones.
- llm-analysis: it wants an efficiency from its user. The best of seven (0.35 to 0.65) is picked on
  the very rows that it is scored on, so its error is optimistic.
- vTrain: the errors that its paper reports; it needs kernel traces of the GPUs.

Calculon is no package (the one of this name on PyPI is another program): clone
calculon-ai/calculon from GitHub and name the folder. llm-analysis wants an environment of its own
(``pip install llm-analysis==0.2.2``); name its Python.

    LABKIT_DATA=/path/to/data OMP_NUM_THREADS=1 python benchmarks/llm_parallel_peers.py \
        --calculon /path/to/calculon --llm-analysis-python /path/to/python
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from llm_parallel_peers_arm import EFFICIENCIES, Calculon

from labkit.llm_parallel.calibrate import cross_validate, predict_rows
from labkit.llm_parallel.published import published_runs
from labkit.llm_parallel.runs import Runs, load_vtrain
from labkit.llm_parallel.system import SystemConfig
from labkit.llm_parallel.systems import system_preset
from labkit.llm_parallel.validation import error_table, mape

ARM = Path(__file__).with_name("llm_parallel_peers_arm.py")
SHIPPED = "model (shipped constants)"
CALIBRATED = "calibrated, unseen rows"
CALCULON_FILES = ("a100_80g", "a100_80e")
PERCENT = ("mape", "mape_low", "mape_high", "largest", "regret", "largest_regret", "covered")


def sets(single_rows: int) -> Iterator[tuple[str, Runs, SystemConfig]]:
    """Yield name, rows and machine of every set."""
    selene, vtrain = system_preset("selene-a100"), system_preset("vtrain-a100")
    yield "Megatron Table 1", published_runs("megatron"), selene
    yield "Korthikanti", published_runs("korthikanti"), selene
    yield "vTrain multi", load_vtrain("multi"), vtrain
    single = load_vtrain("single")
    if single_rows:
        single = single.take(np.linspace(0, len(single) - 1, single_rows).round().astype(int))
    yield "vTrain single", single, vtrain


def peer_rows(runs: Runs, system: SystemConfig) -> list[dict[str, Any]]:
    """Return rows as the peers' side takes them."""
    frame = runs.frame()
    frame["node_size"] = system.node_size
    frame["nic_gb_s"] = system.nic_bandwidth * system.nics_per_node / system.node_size / 1e9
    return list(json.loads(frame.to_json(orient="records", double_precision=15)))


def answered(table: pd.DataFrame, method: str, seconds: list[float | str]) -> pd.DataFrame:
    """Return the rows that a peer answers, with its times; say how many it refuses, and why."""
    refused = pd.Series([text for text in seconds if isinstance(text, str)], dtype=str)
    for reason, n in refused.value_counts().items():
        print(f"  {method} refuses {n} rows: {reason}")
    taken = np.array([not isinstance(answer, str) for answer in seconds])
    times = [answer for answer in seconds if not isinstance(answer, str)]
    return table[taken].assign(method=method, predicted=times)


def llm_analysis(python: str, table: pd.DataFrame, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return llm-analysis with the efficiency that suits these rows best."""
    done = subprocess.run(
        [python, str(ARM)], input=json.dumps(rows), capture_output=True, text=True, check=True
    )
    answers = json.loads(done.stdout.splitlines()[-1])
    tried = [
        answered(table, f"llm-analysis, efficiency {key} picked on these rows", answers[key])
        for key in (f"{efficiency:.2f}" for efficiency in EFFICIENCIES)
    ]
    return min(tried, key=lambda part: mape(part["measured"], part["predicted"]))


def scored(name: str, runs: Runs, system: SystemConfig, options: argparse.Namespace) -> Any:
    """Return the rows of one set by every method."""
    print(f"{name}: {len(runs)} rows on {system.name}")
    shipped = predict_rows(runs, system).assign(method=SHIPPED)
    parts = [shipped]
    if name.startswith("vTrain"):
        parts.append(cross_validate(runs, system).assign(method=CALIBRATED))
        by_layer = cross_validate(runs, system, by="layer")
        parts.append(by_layer.assign(method="calibrated, unseen sizes of layers"))
    plain, rows = shipped.assign(low=np.nan, high=np.nan), peer_rows(runs, system)
    if options.calculon:
        for file in CALCULON_FILES:
            answers = Calculon(options.calculon, file).seconds(rows)
            parts.append(answered(plain, f"Calculon, {file}", answers))
        if len(parts[-1]) < len(runs):
            same = shipped.loc[parts[-1].index]
            parts.append(same.assign(method=f"{SHIPPED}, rows of Calculon"))
    if options.llm_analysis_python:
        parts.append(llm_analysis(options.llm_analysis_python, plain, rows))
    return pd.concat(parts).assign(set=name)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calculon", help="folder of a clone of calculon-ai/calculon")
    parser.add_argument("--llm-analysis-python", help="Python that has llm-analysis 0.2.2")
    parser.add_argument("--single-rows", type=int, default=0, help="of the 1440; 0 for all")
    parser.add_argument("--csv", help="where to write the table, too")
    options = parser.parse_args()
    rows = pd.concat([scored(*of_set, options) for of_set in sets(options.single_rows)])
    table = error_table(rows)
    if options.csv:
        table.to_csv(options.csv, index=False)
    shown = table.assign(**{column: 100 * table[column] for column in PERCENT})
    print("\nmape, largest, regret and covered in percent")
    print(shown.drop(columns="source").round(2).to_string(index=False, na_rep="-"))


if __name__ == "__main__":
    main()
