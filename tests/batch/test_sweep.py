import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from labkit.batch.grid import Grid
from labkit.batch.results import collect, read_record
from labkit.batch.runs import read_status
from labkit.batch.single import run
from labkit.batch.sweep import estimate_seconds, load_sweep, plan, retry, sweep
from labkit.errors import LabkitError, ParameterError

write_notebook = runpy.run_path(str(Path(__file__).with_name("tiny.py")))["write_notebook"]

COUNTED = """
from pathlib import Path
import time
with (Path(folder) / "log").open("a") as stream:
    stream.write(f"{seed}\\n")
time.sleep(wait)
"""
COUNTED_PARAMETERS = 'seed: int = 0\nwait: float = 0.0\nfolder: str = ""'


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    """A notebook that records the square of its seed times a scale."""
    path = tmp_path_factory.mktemp("square") / "square.ipynb"
    return write_notebook(path, "import labkit\nlabkit.record(square=seed**2 * scale)")


@pytest.fixture(scope="module")
def finished(square, tmp_path_factory):
    """A finished sweep over three seeds."""
    out = tmp_path_factory.mktemp("runs") / "square-three"
    return sweep(square, Grid.from_options({"seed": [0, 1, 2]}), out=out, jobs=2)


def folders(directory):
    return sorted(path for path in Path(directory).iterdir() if path.is_dir())


def times(directory):
    """Modification times of a run's files and of its folder."""
    return {path: path.stat().st_mtime_ns for path in (directory, *directory.iterdir())}


def test_every_configuration_runs_once_with_its_own_parameters(finished):
    assert finished.ok
    assert finished.counts == {"completed": 3}
    assert finished.executed == 3
    recorded = [read_record(folder / "notebook.ipynb") for folder in folders(finished.directory)]
    assert recorded == [{"square": 0.0}, {"square": 1.0}, {"square": 4.0}]
    assert [read_status(folder)["attempt"] for folder in folders(finished.directory)] == [1, 1, 1]


def test_folder_names_hold_index_varying_parameters_and_key(finished):
    for index, folder in enumerate(folders(finished.directory)):
        key = read_status(folder)["key"]
        assert folder.name == f"{index:04d}-seed={index}-{key[:8]}"


def test_the_same_sweep_again_executes_nothing_and_touches_no_run(square, finished):
    before = [times(folder) for folder in folders(finished.directory)]
    again = sweep(square, Grid.from_options({"seed": [0, 1, 2]}), out=finished.directory)
    assert (again.executed, again.counts) == (0, {"completed": 3})
    assert [times(folder) for folder in folders(finished.directory)] == before


def test_an_extended_grid_uses_finished_runs_whatever_their_index(square, finished, tmp_path):
    before = [times(folder) for folder in folders(finished.directory)]
    extended = Grid.from_options({"seed": [7, 2, 1, 0]})
    again = sweep(square, extended, out=finished.directory, jobs=1)
    assert (again.executed, again.counts) == (1, {"completed": 4})
    assert [times(folder) for folder in folders(finished.directory) if "=7" not in folder.name] == (
        before
    )
    assert list(collect(finished.directory)["square"]) == [49.0, 4.0, 1.0, 0.0]
    sweep(square, Grid.from_options({"seed": [0, 1, 2]}), out=finished.directory)


def test_finished_runs_of_a_sweep_beside_it_are_copied(square, finished):
    out = finished.directory.with_name("square-other")
    again = sweep(square, Grid.from_options({"seed": [2, 1]}), out=out)
    assert (again.executed, again.counts) == (0, {"completed": 2})
    assert list(collect(out)["square"]) == [4.0, 1.0]


def test_a_single_run_is_used_by_a_sweep_beside_it(square, tmp_path):
    done = run(square, {"seed": 5}, out=tmp_path / "square")
    assert (done.executed, done.status["status"]) == (True, "completed")
    assert done.run.directory.name.startswith("0000-seed=5-")
    again = sweep(square, Grid.from_options({"seed": [5]}), out=tmp_path / "square-x")
    assert again.executed == 0


def test_a_single_run_is_not_repeated_unless_forced(square, tmp_path):
    first = run(square, {"seed": 6}, out=tmp_path)
    again = run(square, {"seed": 6}, out=tmp_path)
    assert again.run == first.run
    assert (again.status, again.executed) == (first.status, False)
    forced = run(square, {"seed": 6}, out=tmp_path, force=True)
    assert forced.executed
    assert forced.status["started"] > first.status["started"]
    assert len(folders(tmp_path)) == 1


def test_an_edited_notebook_is_another_run(square, tmp_path):
    copy = write_notebook(tmp_path / "square.ipynb", "import labkit\nlabkit.record(square=seed)")
    (old,) = plan(square, Grid.from_options({"seed": [3]}), tmp_path)
    (new,) = plan(copy, Grid.from_options({"seed": [3]}), tmp_path)
    assert old.key != new.key


def test_configurations_that_differ_only_in_spelling_are_one_run(square, tmp_path):
    runs = plan(square, Grid.from_options({"scale": [1, 1.0, 2]}), tmp_path)
    assert [r.parameters["scale"] for r in runs] == [1.0, 2.0]
    assert [r.index for r in runs] == [0, 1]


def test_planning_writes_nothing(square, tmp_path):
    plan(square, Grid.from_options({"seed": [1, 2]}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"sead": [1]}, "no parameter 'sead'. Did you mean 'seed'?"),
        ({"seed": [1, "x"]}, "seed must be an int, got 'x'"),
        ({"seed": range(50), "scale": [float(i) for i in range(500)]}, "the grid has 25,000 runs"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_is_written(square, tmp_path, grid, message):
    with pytest.raises(ParameterError) as error:
        sweep(square, Grid.from_options(grid), out=tmp_path / "out")
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_flat_list_for_a_list_parameter_is_explained(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "1", parameters="sizes: list[int] = [1]")
    with pytest.raises(ParameterError, match=r"write \[\[1, 2\]\] for one list"):
        plan(path, Grid.from_options({"sizes": [1, 2]}), tmp_path)


def test_a_grid_that_excludes_everything_is_refused(square, tmp_path):
    grid = Grid.from_mapping({"parameters": {"seed": [1]}, "exclude": [{"seed": 1}]})
    with pytest.raises(ParameterError, match="the grid is empty"):
        plan(square, grid, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "pbs"}, "must be one of local, slurm, dask"),
        ({"jobs": 0}, "jobs must be more than 0"),
        ({"timeout": -1}, "timeout must be more than 0"),
        ({"retries": -1}, "retries must not be negative"),
        ({"kernel": "julia-9"}, "there is no kernel 'julia-9'. Installed: python3"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(square, tmp_path, options, message):
    with pytest.raises(ParameterError) as error:
        sweep(square, Grid.from_options({"seed": [1]}), out=tmp_path / "out", **options)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(square, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabkitError, match=r"cannot write to .*file/out: Not a directory"):
        sweep(square, Grid.from_options({"seed": [1]}), out=tmp_path / "file/out")


def test_a_folder_with_the_sweep_of_another_notebook_is_refused(square, finished, tmp_path):
    other = write_notebook(tmp_path / "other.ipynb", "1")
    with pytest.raises(ParameterError, match=r"holds a sweep of .*square\.ipynb"):
        sweep(other, Grid.from_options({"seed": [1]}), out=finished.directory)


def test_a_folder_without_a_sweep_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"is not a sweep's folder"):
        load_sweep(tmp_path)


def test_a_failing_run_is_retried_then_reported_and_the_others_complete(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "1 / (seed - 1)")
    seen = []
    summary = sweep(
        path,
        Grid.from_options({"seed": [0, 1, 2]}),
        out=tmp_path / "out",
        jobs=1,
        retries=2,
        on_progress=seen.append,
    )
    assert summary.counts == {"completed": 2, "failed": 1}
    ((failed, status),) = summary.failures
    assert (failed.parameters["seed"], status["attempt"]) == (1, 3)
    assert status["error"]["name"] == "ZeroDivisionError"
    assert [(step.done, step.failed) for step in seen][-1] == (3, 1)
    assert seen[-1].seconds_left == 0


def test_retry_runs_only_what_is_not_completed(tmp_path):
    flag = tmp_path / "flag"
    source = f"from pathlib import Path\nassert seed != 1 or Path({str(flag)!r}).exists()"
    path = write_notebook(tmp_path / "n.ipynb", source)
    grid = Grid.from_options({"seed": [0, 1]})
    assert not sweep(path, grid, out=tmp_path / "out", jobs=1, retries=0).ok
    flag.touch()
    again = retry(tmp_path / "out")
    assert (again.ok, again.executed) == (True, 1)


def test_the_time_is_estimated_from_the_median_of_earlier_runs(square, finished, tmp_path):
    runs = plan(square, Grid.from_options({"seed": [0, 11, 12, 13]}), finished.directory)
    times_s = collect(finished.directory)["duration_s"]
    expected = times_s.median() * 2
    assert estimate_seconds(runs, jobs=2) == pytest.approx(expected, rel=0.5)
    fresh = plan(square, Grid.from_options({"seed": [0]}), tmp_path / "a" / "b")
    assert estimate_seconds(fresh, jobs=2) is None


def start(arguments, folder):
    """Start the command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "labkit.cli", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def states(out):
    return Counter(read_status(folder)["status"] for folder in folders(out))


@pytest.fixture
def counted(tmp_path):
    """A sweep command whose notebook writes its seed to a log and then waits."""
    write_notebook(tmp_path / "counted.ipynb", COUNTED, parameters=COUNTED_PARAMETERS)
    grid = {"seed": list(range(6)), "wait": 0.7, "folder": str(tmp_path)}
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    return ["sweep", "counted.ipynb", "grid.yaml", "--out", "out", "--jobs", "2"]


@pytest.mark.slow  # six notebooks in kernels of their own, twice
def test_after_sigkill_the_same_command_finishes_only_what_is_missing(counted, tmp_path):
    out = tmp_path / "out"
    first = start(counted, tmp_path)
    wait_until(lambda: out.is_dir() and states(out)["completed"] >= 2)
    first.kill()
    first.communicate()
    wait_until(lambda: states(out)["running"] == 0)
    done = [folder for folder in folders(out) if read_status(folder)["status"] == "completed"]
    before = [times(folder) for folder in done]
    assert 2 <= len(done) < 6
    second = start(counted, tmp_path)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    assert states(out) == {"completed": 6}
    assert [times(folder) for folder in done] == before
    executed = Counter((tmp_path / "log").read_text().split())
    assert all(executed[str(read_status(folder)["parameters"]["seed"])] == 1 for folder in done)
    assert len(collect(out)) == 6
    for folder in folders(out):
        json.loads((folder / "notebook.ipynb").read_text())


@pytest.mark.slow  # six notebooks in kernels of their own
def test_two_identical_sweeps_at_once_execute_each_run(counted, tmp_path):
    both = [start(counted, tmp_path), start(counted, tmp_path)]
    outputs = [process.communicate(timeout=150)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert Counter((tmp_path / "log").read_text().split()) == dict.fromkeys("012345", 1)
    assert states(tmp_path / "out") == {"completed": 6}


@pytest.mark.slow  # six notebooks in kernels of their own
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_saves_marks_its_runs_and_can_go_on(counted, tmp_path, number):
    out = tmp_path / "out"
    first = start(counted, tmp_path)
    wait_until(lambda: out.is_dir() and states(out)["completed"] and states(out)["running"] == 2)
    os.kill(first.pid, number)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 130, output
    after = states(out)
    assert after["cancelled"] >= 1
    assert after["running"] == after["failed"] == 0
    assert "Traceback" not in output
    second = start(counted, tmp_path)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    assert states(out) == {"completed": 6}
