"""CPU seconds of the runner for a notebook with large outputs: labkit against plain papermill.

The notebook prints 20 MB in 20 cells. papermill writes the whole notebook twice per cell; labkit's
runner replaces it atomically, at most every 30 seconds and at the end. Only the runner's own
process is counted, not the kernel; imports are counted for neither side, and both start a cold
kernel.

Run ``python benchmarks/large_outputs.py --megabytes 20 --cells 20 --repeats 3``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill

from labkit.batch.runner import execute
from labkit.batch.runs import Run, run_key


def main() -> None:
    """Run both sides in turns and print CPU and wall seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    cpu: dict[str, list[float]] = {"papermill": [], "labkit": []}
    with tempfile.TemporaryDirectory() as folder:
        first = write_notebook(Path(folder) / "tiny.ipynb", 1, 1)
        run_labkit(first, Path(folder) / "first")  # imports what is imported on first use
        notebook = write_notebook(
            Path(folder) / "large.ipynb", arguments.megabytes, arguments.cells
        )
        for repeat in range(arguments.repeats):
            for name, side in (("papermill", run_papermill), ("labkit", run_labkit)):
                seconds, wall = timed(side, notebook, Path(folder) / f"{name}-{repeat}")
                cpu[name].append(seconds)
                print(f"repeat {repeat}: {name} {seconds:.2f} CPU s, {wall:.1f} s", flush=True)
    ratios = [one / other for one, other in zip(cpu["papermill"], cpu["labkit"], strict=True)]
    print(
        f"labkit: median {statistics.median(cpu['labkit']):.2f} CPU s (bar 1.4), papermill:"
        f" {statistics.median(cpu['papermill']):.2f}; ratio {min(ratios):.1f} to {max(ratios):.1f}"
    )


def write_notebook(path: Path, megabytes: int, cells: int) -> Path:
    """Write a notebook that prints some megabytes in lines of 100 characters."""
    lines = megabytes * 10_000 // cells
    source = f"print('\\n'.join(['x' * 99] * {lines}))"
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for _ in range(cells)])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(nb, path)
    return path


def run_papermill(notebook: Path, place: Path) -> Path:
    """Execute the notebook by papermill's own engine."""
    place.mkdir()
    papermill.execute_notebook(str(notebook), str(place / "out.ipynb"), progress_bar=False)
    return place / "out.ipynb"


def run_labkit(notebook: Path, place: Path) -> Path:
    """Execute the notebook by labkit's runner."""
    key = run_key(notebook, {}, kernel="python3")
    run = Run(0, notebook, {}, key, place, "python3")
    assert execute(run, warm=False)["status"] == "completed"
    return run.output


def timed(side: Callable[[Path, Path], Path], notebook: Path, place: Path) -> tuple[float, float]:
    """Return CPU and wall seconds of one execution; the result must hold all that was printed."""
    wall, cpu = time.perf_counter(), time.process_time()
    output = side(notebook, place)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    printed = sum(len(out.text) for cell in nbformat.read(output, 4).cells for out in cell.outputs)
    assert printed % 100_000 == 0
    assert printed > 0
    return cpu, wall


if __name__ == "__main__":
    main()
