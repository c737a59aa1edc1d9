import os
import runpy
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.batch.executors import local, slurm
from labkit.batch.executors.dask import DaskOptions
from labkit.batch.executors.local import Execution, run_all
from labkit.batch.executors.slurm import SlurmOptions, chunk_size, ranges, script_text
from labkit.batch.grid import Grid
from labkit.batch.sweep import plan, sweep
from labkit.errors import LabkitError, ParameterError

write_notebook = runpy.run_path(str(Path(__file__).with_name("tiny.py")))["write_notebook"]
GOLDEN = Path(__file__).with_name("sweep.sbatch")


def test_the_array_script_is_the_one_people_have_read():
    options = SlurmOptions(
        partition="short",
        time="2:00:00",
        cpus=4,
        mem="8G",
        gpus="1",
        max_parallel=16,
        sbatch_args=("--account=chem",),
    )
    text = script_text(Path("/scratch/runs/my sweep"), [0, 1, 2, 5], 4, options, "/env/bin/python")
    assert text == GOLDEN.read_text()


def test_the_array_script_is_valid_shell():
    subprocess.run(["bash", "-n", str(GOLDEN)], check=True)


def test_what_is_not_asked_for_is_left_to_the_cluster():
    text = script_text(Path("/runs/s"), [0], 1, SlurmOptions())
    for option in ("--partition", "--mem", "--time", "--gpus", "%"):
        assert option not in text.replace("%A_%a", "")
    assert sys.executable in text


@given(st.sets(st.integers(0, 200), min_size=1))
def test_ranges_name_exactly_the_elements(numbers):
    named = set()
    for part in ranges(sorted(numbers)).split(","):
        first, _, last = part.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    assert named == numbers


@given(st.integers(1, 20_000), st.integers(1, 50), st.integers(1, 2_000))
def test_an_array_never_has_more_elements_than_the_cluster_allows(runs, wanted, allowed):
    chunk = chunk_size(runs, wanted, allowed)
    assert chunk >= wanted
    assert (runs - 1) // chunk < allowed


@pytest.mark.parametrize(
    "make",
    [
        lambda: SlurmOptions(chunk=0),
        lambda: SlurmOptions(cpus=0),
        lambda: SlurmOptions(max_parallel=-1),
        lambda: DaskOptions(chunk=0),
    ],
)
def test_options_below_one_are_refused(make):
    with pytest.raises(ParameterError, match="must be at least 1, got"):
        make()


@pytest.fixture
def without_slurm(monkeypatch, tmp_path):
    """A machine whose PATH holds no Slurm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "git"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))


def test_without_sbatch_the_way_to_run_locally_is_said(without_slurm, tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "1")
    with pytest.raises(LabkitError, match=r"no sbatch on this machine.*--executor local"):
        sweep(path, Grid.from_options({"seed": [0]}), out=tmp_path / "out", executor="slurm")
    assert not (tmp_path / "out").exists()


def test_without_squeue_nothing_is_known_to_be_queued(without_slurm):
    assert slurm.queued([1, 2]) == {}
    assert slurm.max_array_size() == 1001


def test_without_distributed_the_extra_to_install_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    path = write_notebook(tmp_path / "n.ipynb", "1")
    with pytest.raises(LabkitError, match=r"pip install 'labkit\[dask\]'"):
        sweep(path, Grid.from_options({"seed": [0]}), out=tmp_path / "out", executor="dask")


def test_the_default_number_of_jobs_fits_the_machine():
    assert 1 <= local.default_jobs() <= len(os.sched_getaffinity(0))


def test_a_failure_of_this_very_sweep_is_not_tried_again(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "1 / 0")
    runs = plan(path, Grid.from_options({"seed": [0]}), tmp_path / "out")
    seen = []

    def report(run, status, executed):
        seen.append((status["attempt"], executed))

    run_all(runs, Execution(retries=0, warm=False), report)
    earlier = datetime.now(UTC) - timedelta(minutes=5)
    run_all(runs, Execution(retries=0, warm=False, since=earlier), report)
    run_all(runs, Execution(retries=0, warm=False), report)
    assert seen == [(1, True), (1, False), (2, True)]


def test_a_run_of_a_living_process_is_waited_for_not_repeated(tmp_path):
    path = write_notebook(tmp_path / "n.ipynb", "1")
    (run,) = plan(path, Grid.from_options({"seed": [0]}), tmp_path / "out")
    code = (
        "import sys\n"
        "from labkit.batch.runs import claim, write_status\n"
        "with claim(sys.argv[1]) as mine:\n"
        "    print(mine, flush=True)\n"
        "    sys.stdin.read()\n"
        "    write_status(sys.argv[1], {'status': 'completed', 'by': 'the other'})\n"
    )
    command = [sys.executable, "-c", code, str(run.directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline() == b"True\n"
        seen = []
        waiting = threading.Thread(
            target=run_all, args=([run], Execution(), lambda *end: seen.append(end))
        )
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        owner.stdin.close()
        waiting.join(30)
    ((_, status, executed),) = seen
    assert (status["by"], executed) == ("the other", False)
