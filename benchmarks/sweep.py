"""Seconds per notebook of a sweep: labkit's warm kernels against a pool over papermill.

Both sides run the same notebook, which imports torch, PyTorch Geometric, RDKit, pandas and
matplotlib and draws seeded numbers, with the same number of workers, in turns, in one process.

- papermill: ``ProcessPoolExecutor`` over ``papermill.execute_notebook``, papermill imported before
  the clock starts. Each notebook costs the same, so fewer may be run than on the other side.
- labkit: `labkit.batch.runner.execute` in threads; loading the modules (the warm-up) is counted,
  once per repeat, over all notebooks of the repeat.

Run ``python benchmarks/sweep.py --notebooks 32 --papermill-notebooks 4 --repeats 3``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill

from labkit.batch.imports import imports_of
from labkit.batch.kernels import start_warm_pool
from labkit.batch.pool import stop_warm_pools
from labkit.batch.runner import execute
from labkit.batch.runs import Run, run_key

IMPORTS = "import torch, torch_geometric, pandas, matplotlib.pyplot as plt\nfrom rdkit import Chem"
WORK = """torch.manual_seed(seed)
atoms = Chem.MolFromSmiles('CC(=O)Oc1ccccc1C(=O)O').GetNumAtoms()
frame = pandas.DataFrame({'x': torch.rand(atoms).tolist()})
print(seed, atoms, frame.x.sum())"""
CELLS = ("seed = 0", IMPORTS, WORK, "frame.plot();")


def main() -> None:
    """Run both sides and print seconds per notebook and their ratio."""
    arguments = parse_arguments()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // arguments.workers)))
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        notebook = write_notebook(Path(folder))
        for repeat in range(arguments.repeats):
            place = Path(folder) / str(repeat)
            place.mkdir()
            cold = run_papermill(notebook, arguments.papermill_notebooks, arguments.workers, place)
            warm, warm_up = run_labkit(notebook, arguments.notebooks, arguments.workers, place)
            compare_outputs(place, min(arguments.notebooks, arguments.papermill_notebooks))
            ratios.append(cold / warm)
            print(
                f"repeat {repeat}: papermill {cold:.2f} s/notebook ({arguments.papermill_notebooks}"
                f" notebooks), labkit {warm:.2f} s/notebook ({arguments.notebooks} notebooks,"
                f" warm-up of {warm_up:.1f} s included), ratio {cold / warm:.1f}",
                flush=True,
            )
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(
        f"ratio: median {middle:.1f}, range {low:.1f} to {high:.1f} over {len(ratios)} repeats,"
        f" {arguments.workers} workers; outputs for the same seeds are equal; bar 8"
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--notebooks", type=int, default=32, help="on labkit's side")
    parser.add_argument("--papermill-notebooks", type=int, default=32, help="on papermill's side")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def write_notebook(folder: Path) -> Path:
    """Write the notebook that both sides run."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    nb = nbformat.v4.new_notebook(cells=cells)
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    path = folder / "imports.ipynb"
    nbformat.write(nb, path)
    return path


def run_papermill(notebook: Path, count: int, workers: int, place: Path) -> float:
    """Return seconds per notebook of a process pool over papermill."""
    started = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(
                papermill.execute_notebook,
                str(notebook),
                str(place / f"papermill-{seed}.ipynb"),
                {"seed": seed},
                progress_bar=False,
            )
            for seed in range(count)
        ]
        for job in jobs:
            job.result()
    return (time.perf_counter() - started) / count


def run_labkit(notebook: Path, count: int, workers: int, place: Path) -> tuple[float, float]:
    """Return seconds per notebook of warm kernels, warm-up included, and that of the warm-up."""
    runs = []
    for seed in range(count):
        parameters = {"seed": seed}
        key = run_key(notebook, parameters, kernel="python3")
        runs.append(Run(seed, notebook, parameters, key, place / f"labkit-{seed}", "python3"))
    stop_warm_pools()
    started = time.perf_counter()
    start_warm_pool(imports_of(notebook), workers=workers)
    warm_up = time.perf_counter() - started
    with ThreadPoolExecutor(workers) as pool:
        statuses = list(pool.map(execute, runs))
    elapsed = time.perf_counter() - started
    assert all(status["status"] == "completed" and status["warm"] for status in statuses)
    return elapsed / count, warm_up


def compare_outputs(place: Path, count: int) -> None:
    """Check that both sides printed and drew the same for the same seeds."""
    for seed in range(count):
        ours, theirs = (
            nbformat.read(path, as_version=4)
            for path in (
                place / f"labkit-{seed}" / "notebook.ipynb",
                place / f"papermill-{seed}.ipynb",
            )
        )
        assert ours.cells[-2].outputs == theirs.cells[-2].outputs
        images = [nb.cells[-1].outputs[-1].data["image/png"] for nb in (ours, theirs)]
        assert images[0] == images[1]


if __name__ == "__main__":
    main()
