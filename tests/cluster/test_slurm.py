import os
import runpy
import signal
import subprocess
import time
from pathlib import Path

import pytest

from labkit.batch.executors.slurm import SlurmOptions, queued, script_text
from labkit.batch.grid import Grid
from labkit.batch.planning import plan, prepare
from labkit.batch.results import collect
from labkit.batch.runs import read_status
from labkit.batch.sweep import retry, sweep

HERE = Path(__file__).parent
write_notebook = runpy.run_path(str(HERE.parent / "batch/tiny.py"))["write_notebook"]
helpers = runpy.run_path(str(HERE / "conftest.py"))
slurm_says, wait_until = helpers["slurm_says"], helpers["wait_until"]

pytestmark = [pytest.mark.slurm, pytest.mark.slow]  # jobs of a real cluster on two cores

FIRST_TIME_WAITS = """
import time
from pathlib import Path
flag = Path(folder) / f"started-{seed}"
if seed and not flag.exists():
    flag.touch()
    time.sleep(600)
import labkit
labkit.record(square=seed**2)
"""


@pytest.fixture
def waiting(tmp_path):
    """A notebook that, for a seed other than 0, waits forever the first time it runs."""
    parameters = f"seed: int = 0\nfolder: str = {str(tmp_path)!r}"
    return write_notebook(tmp_path / "waiting.ipynb", FIRST_TIME_WAITS, parameters=parameters)


def statuses(out):
    return [read_status(folder)["status"] for folder in sorted(Path(out).glob("0*"))]


def wait_for_end(summary):
    wait_until(lambda: not queued([summary.submission.job]))


def started_again(element):
    """Spare a requeued element the two minutes that Slurm lets it wait; False while it waits."""
    waits = slurm_says("squeue", "-h", "-j", element, "-o", "%T %r").strip() == "PENDING BeginTime"
    if waits:
        slurm_says("scontrol", "update", f"JobId={element}", "StartTime=now")
    return not waits


def test_a_sweep_is_one_array_whose_results_equal_the_local_ones(slurm, tmp_path):
    source = "import labkit\nlabkit.record(square=seed**2 * scale, seed_text=str(seed))"
    path = write_notebook(tmp_path / "square.ipynb", source)
    grid = Grid.from_options({"seed": list(range(12))})
    options = SlurmOptions(chunk=1, max_parallel=2)
    out = tmp_path / "slurm"
    started = time.monotonic()
    summary = sweep(path, grid, out=out, executor="slurm", options=options)
    assert time.monotonic() - started < 10
    assert (summary.queued, summary.counts) == (True, {"pending": 12})
    sent = summary.submission
    assert (sent.elements, sent.chunk) == (6, 2), "MaxArraySize=6 makes chunks of two"
    assert set(queued([sent.job])) == {(sent.job, element) for element in range(6)}
    again = sweep(path, grid, out=out, executor="slurm", options=options)
    assert again.submission is None, "what is in the queue is not submitted twice"
    wait_until((out / "results.csv").is_file)
    local = sweep(path, grid, out=tmp_path / "local", jobs=2)
    columns = ["index", "seed", "scale", "square", "seed_text", "status"]
    assert local.ok
    assert collect(out)[columns].equals(collect(local.directory)[columns])
    records = [read_status(folder) for folder in sorted(out.glob("0*"))]
    assert {record["slurm"]["array_job"] for record in records} == {sent.job}
    assert [record["slurm"]["task"] for record in records] == [i // 2 for i in range(12)]
    assert {record["attempt"] for record in records} == {1}
    assert sorted(log.name for log in (out / "slurm").glob(f"{sent.job}_*.out")) == [
        f"{sent.job}_{element}.out" for element in range(6)
    ]
    assert sweep(path, grid, out=out, executor="slurm", options=options).submission is None


def test_a_warned_element_saves_and_requeues_itself_and_finishes(slurm, waiting, tmp_path):
    out = tmp_path / "out"
    grid = Grid.from_options({"seed": [0, 1]})
    summary = sweep(waiting, grid, out=out, executor="slurm", options=SlurmOptions(chunk=2))
    element = f"{summary.submission.job}_0"
    wait_until((tmp_path / "started-1").exists)
    untouched = next(out.glob("0000*")) / "status.json"
    before = untouched.stat().st_mtime_ns
    slurm_says("scancel", "--batch", "--signal=USR1", element)
    wait_until(lambda: statuses(out) == ["completed", "cancelled"])
    both = ["completed", "completed"]
    wait_until(lambda: started_again(element) and statuses(out) == both, every=3)
    record = read_status(next(out.glob("0001*")))
    assert (record["attempt"], record["slurm"]["restarts"]) == (2, 1)
    assert untouched.stat().st_mtime_ns == before


def test_a_cancelled_element_is_recovered_by_retry(slurm, waiting, tmp_path):
    out = tmp_path / "out"
    grid = Grid.from_options({"seed": [0, 1]})
    first = sweep(waiting, grid, out=out, executor="slurm", options=SlurmOptions(chunk=1))
    wait_until((tmp_path / "started-1").exists)
    slurm_says("scancel", f"{first.submission.job}_1")
    wait_for_end(first)
    wait_until((out / "results.csv").is_file)
    assert set(collect(out)["status"]) <= {"completed", "cancelled", "died"}
    assert statuses(out)[0] == "completed"
    assert statuses(out)[1] in ("cancelled", "died")
    second = retry(out)
    assert second.submission.elements == 1
    assert "#SBATCH --array=1\n" in (out / "sweep.sbatch").read_text()
    wait_until(lambda: statuses(out) == ["completed", "completed"])
    assert list(collect(out)["square"]) == [0, 1]


def test_the_fourth_warning_saves_and_does_not_requeue(waiting, tmp_path, monkeypatch):
    out = tmp_path / "out"
    grid = Grid.from_options({"seed": [1]})
    settings = {"retries": 0, "timeout": None, "warm": False, "cwd": str(tmp_path), "jobs": None}
    since = "2026-01-01T00:00:00+00:00"
    prepare(plan(waiting, grid, out), out, grid, {**settings, "executor": "slurm", "since": since})
    script = tmp_path / "sweep.sbatch"
    script.write_text(script_text(out, [0], 1, SlurmOptions()))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    with subprocess.Popen(["bash", str(script)], stderr=subprocess.PIPE, text=True) as element:
        wait_until((tmp_path / "started-1").exists)
        os.kill(element.pid, signal.SIGUSR1)
        _, printed = element.communicate(timeout=60)
    assert statuses(out) == ["cancelled"]
    assert element.returncode != 0
    assert "scontrol" not in printed
