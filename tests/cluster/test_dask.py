import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.batch.executors import dask
from labkit.batch.executors.dask import DaskOptions
from labkit.batch.grid import Grid
from labkit.batch.results import collect
from labkit.batch.runs import read_status
from labkit.batch.sweep import sweep
from labkit.errors import LabkitError

HERE = Path(__file__).parent
write_notebook = runpy.run_path(str(HERE.parent / "batch/tiny.py"))["write_notebook"]
wait_until = runpy.run_path(str(HERE / "conftest.py"))["wait_until"]

pytestmark = pytest.mark.slow  # a scheduler, its workers and their kernels are processes

GRID = Grid.from_options({"seed": [0, 1, 2, 3]})


@pytest.fixture
def square(tmp_path):
    source = "import labkit\nassert seed != 3\nlabkit.record(square=seed**2 * scale)"
    return write_notebook(tmp_path / "square.ipynb", source)


def test_a_cluster_known_by_its_address_gives_the_local_results(dask_address, square, tmp_path):
    seen = []
    summary = sweep(
        square,
        GRID,
        out=tmp_path / "dask",
        executor="dask",
        retries=0,
        options=DaskOptions(address=dask_address, chunk=2),
        on_progress=seen.append,
    )
    assert summary.counts == {"completed": 3, "failed": 1}
    assert (summary.executed, len(seen)) == (4, 4)
    local = sweep(square, GRID, out=tmp_path / "local", jobs=1, retries=0)
    columns = ["index", "seed", "square", "status", "error"]
    assert collect(summary.directory)[columns].equals(collect(local.directory)[columns])


def test_an_interrupted_sweep_stops_the_clusters_runs_too(dask_address, tmp_path):
    source = "import time\ntime.sleep(600)"
    write_notebook(tmp_path / "waits.ipynb", source)
    command = ["sweep", "waits.ipynb", "-p", "seed=0,1", "--out", "out", "--executor", "dask"]
    process = subprocess.Popen(
        [sys.executable, "-m", "labkit.cli", *command, "--address", dask_address], cwd=tmp_path
    )
    out = tmp_path / "out"

    def statuses():
        return [read_status(folder)["status"] for folder in sorted(out.glob("0*"))]

    wait_until(lambda: statuses() == ["running", "running"])
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert statuses() == ["cancelled", "cancelled"]
    assert list(out.glob(".stop*")) == []


def test_a_scheduler_that_does_not_answer_is_named(square, tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "_CONNECT_SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(LabkitError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        sweep(
            square,
            GRID,
            out=tmp_path / "out",
            executor="dask",
            options=DaskOptions(address="tcp://127.0.0.1:1"),
        )
    assert time.monotonic() - started < 30
