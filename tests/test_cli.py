import json
import re
import resource
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import cli
from labkit._cli import show
from labkit._cli.options import joined
from labkit.batch.runs import read_status
from labkit.errors import ParameterError

TINY = Path(__file__).parent / "batch/tiny.py"
write_notebook = runpy.run_path(str(TINY))["write_notebook"]

PARAMETERS = """\
from typing import Literal

seed: int = 0  # of the split
lr = 1e-3
model: Literal["gcn", "gin"] = "gcn"  # the network
sizes: list[int] = [8]
"""
BODY = """
import os, signal, time
if seed == 1:
    raise ZeroDivisionError("as asked")
if seed == 2:
    time.sleep(60)
if seed == 3:
    os.kill(os.getpid(), signal.SIGKILL)
import labkit
labkit.record(score=seed * lr, model=model)
"""


@pytest.fixture
def labkit(tmp_path, monkeypatch, capsys):
    """Call the command line in a folder with a notebook; return exit code, output, messages."""
    write_notebook(tmp_path / "toy.ipynb", BODY, parameters=PARAMETERS)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return call


def test_run_shows_the_recorded_results_and_last_the_file_to_open(labkit):
    code, out, err = labkit("run", "toy.ipynb", "-p", "seed", "4", "-p", "model=gin")
    first, *table, last = out.splitlines()
    assert code == 0
    assert err.startswith("running toy in runs/toy/0000-seed=4,model=gin-")
    assert first.startswith("toy: completed in ")
    assert "peak memory" in first
    assert table == ["score  0.004", "model  gin"]
    assert last.startswith("open runs/toy/0000-seed=4,model=gin-")
    assert Path(last.removeprefix("open ")).is_file()


def test_run_again_says_already_done_and_force_redoes(labkit):
    labkit("run", "toy.ipynb", "-p", "seed", "5")
    (status_file,) = Path("runs/toy").glob("*/status.json")
    before = status_file.read_bytes()
    code, out, err = labkit("run", "toy.ipynb", "-p", "seed=5")
    assert (code, err) == (0, "")
    assert "already done (--force runs it again)" in out
    assert "score  0.005" in out
    assert status_file.read_bytes() == before
    assert labkit("run", "toy.ipynb", "-p", "seed=5", "--force")[0] == 0
    assert status_file.read_bytes() != before


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (1, "failed: cell 3 (In [3]) ZeroDivisionError: as asked"),
        (2, "timeout: cell 3 (In [3]) passed 1 s"),
        (3, "died: cell 3"),
    ],
)
def test_a_run_that_does_not_complete_is_three_lines_and_exit_code_1(labkit, seed, message):
    limit = ("--timeout", 1) if seed == 2 else ()
    code, out, err = labkit("run", "toy.ipynb", "-p", "seed", seed, *limit, "--cold")
    assert (code, out) == (1, "")
    running, *lines = err.splitlines()
    assert running.startswith("running toy in ")
    assert lines[0].startswith(message)
    assert len(lines) <= 3
    assert Path(lines[-1].strip().removeprefix("-> ")).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("run", "toy.ipynb", "-p", "sead", "3"),
            "toy has no parameter 'sead'. Did you mean 'seed'",
        ),
        (("run", "toy.ipynb", "-p", "lr", "fast"), "lr must be a float, got 'fast'"),
        (("run", "toy.ipynb", "-p", "seed", "1.5"), "seed must be an int, got '1.5'"),
        (
            ("run", "toy.ipynb", "-p", "model", "gat"),
            "model must be one of 'gcn', 'gin', got 'gat'",
        ),
        (("run", "toy.ipynb", "-p", "sizes", "8,x"), "sizes must be a list of int, got '8,x'"),
        (("run", "toy.ipynb", "--preset", "quick"), "toy has no parameter 'preset'"),
        (("run", "toy.ipynb", "-p", "seed"), "-p seed needs a value"),
        (("run", "toy.ipynb", "-p"), "-p needs a name and a value"),
        (("run", "toy.ipynb", "-p", "=3"), "-p takes NAME VALUE or NAME=VALUE"),
        (("run", "toy.ipynb", "--kernel", "julia-9"), "there is no kernel 'julia-9'. Installed: "),
        (("run", "toy.ipynb", "--timeout", "0"), "timeout must be more than 0, got 0"),
        (("run", "toy.ipynb", "--timeout", "soon"), "'soon' is not a valid float"),
        (("run",), "Missing argument 'NOTEBOOK'"),
        (("run", "tov.ipynb"), "there is no notebook or study 'tov.ipynb'"),
        (("run", "."), ". is a folder"),
        (("run", "text.ipynb"), "is not a notebook: it is not JSON"),
        (("run", "bare.ipynb", "-p", "x", "1"), "Tag the cell that defines them with 'parameters'"),
        (("params", "bare.ipynb"), "Tag the cell that defines them with 'parameters'"),
        (("params", "broken.ipynb"), "the parameters cell is not valid Python: line 1"),
        (("sweep", "toy.ipynb"), "a sweep needs a GRID.yaml or values"),
        (("sweep", "toy.ipynb", "none.yaml"), "cannot read none.yaml"),
        (("sweep", "toy.ipynb", "bad.yaml"), "bad.yaml is not valid YAML"),
        (("sweep", "grid.yaml"), "grid.yaml names no notebook"),
        (("sweep", "toy.ipynb", "-p", "sead=1,2"), "toy has no parameter 'sead'"),
        (("sweep", "toy.ipynb", "-p", "seed=1,x"), "seed must be an int, got 'x'"),
        (("sweep", "toy.ipynb", "-p", "seed="), "seed has no value"),
        (
            ("sweep", "toy.ipynb", "grid.yaml", "--max-runs", "2"),
            "the grid has 3 runs, more than 2",
        ),
        (("sweep", "toy.ipynb", "grid.yaml", "--jobs", "0"), "jobs must be more than 0"),
        (("sweep", "toy.ipynb", "grid.yaml", "--executor", "pbs"), "'pbs' is not one of"),
        (
            ("sweep", "toy.ipynb", "grid.yaml", "--executor", "dask", "--chunk", "0"),
            "--chunk must be at least 1, got 0",
        ),
        (("status", "none"), "there are no runs in none"),
        (("collect", "."), "there are no runs in ."),
        (("retry", "."), ". is not a sweep's folder"),
        (("worker", ".", "--chunk", "0"), ". is not a sweep's folder"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
)
def test_bad_input_is_at_most_three_lines_and_exit_code_2(labkit, arguments, message):
    Path("text.ipynb").write_text("no notebook")
    Path("grid.yaml").write_text("seed: [0, 1, 2]")
    Path("bad.yaml").write_text("seed: [0, 1")
    write_notebook(Path("bare.ipynb"), "1", parameters=None)
    write_notebook(Path("broken.ipynb"), "1", parameters="x = (")
    code, out, err = labkit(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) <= 3
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_a_folder_that_cannot_be_written_is_one_line(labkit):
    code, _, err = labkit("run", "toy.ipynb", "--out", "toy.ipynb/out")
    assert (code, err) == (1, "labkit: cannot write to toy.ipynb/out: Not a directory\n")


def test_without_sbatch_the_way_to_run_locally_is_said(labkit, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = labkit("sweep", "toy.ipynb", "-p", "seed=0", "--executor", "slurm")
    assert code == 1
    assert err == (
        "labkit: there is no sbatch on this machine. Run this on a Slurm login node, or locally: "
        "--executor local\n"
    )


def test_an_error_of_labkit_itself_is_one_line_and_debug_shows_where(labkit, monkeypatch):
    monkeypatch.setattr(show, "parameter_table", lambda parameters: 1 / 0)
    code, _, err = labkit("params", "toy.ipynb")
    assert (code, err) == (
        1,
        "labkit: unexpected ZeroDivisionError: division by zero (--debug shows where)\n",
    )
    with pytest.raises(ZeroDivisionError):
        cli.main(["params", "toy.ipynb", "--debug"])
    with pytest.raises(ParameterError):
        cli.main(["--debug", "params", "none.ipynb"])


def test_params_shows_names_types_defaults_help_and_choices(labkit):
    code, out, _ = labkit("params", "toy.ipynb")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["name", "type", "default"],
        ["seed", "int", "0", "of", "the", "split"],
        ["lr", "float", "0.001"],
        ["model", "choice", '"gcn"', "the", "network"],
        ["gcn,", "gin"],
        ["sizes", "list", "of", "int", "[8]"],
    ]


def test_a_dry_run_says_count_first_last_and_time_and_writes_nothing(labkit):
    Path("grid.yaml").write_text("notebook: toy.ipynb\nparameters: {seed: [0, 1], lr: [0.1, 1e-3]}")
    code, out, _ = labkit("sweep", "grid.yaml", "-p", "model=gin", "--dry-run", "--jobs", "2")
    count, first, last, time_line = out.splitlines()
    assert code == 0
    assert count.startswith("4 runs in runs/toy-")
    assert first == 'first: seed=0, lr=0.1, model="gin"'
    assert last == 'last:  seed=1, lr=0.001, model="gin"'
    assert time_line == "time with 2 at once: unknown, there is no earlier run"
    assert not Path("runs").exists()


def test_every_example_grid_is_a_sweep_of_its_notebook(labkit, repository):
    files = sorted((repository / "notebooks/grids").glob("*.yaml"))
    assert files
    for file in files:
        code, out, err = labkit("sweep", file, "--dry-run")
        assert (code, err) == (0, ""), file
        named = re.search(r"^# (\d+) runs", file.read_text(), re.MULTILINE)
        assert named is not None, f"{file} does not say how many runs it has"
        assert out.startswith(f"{named[1]} runs in ")


def test_a_sweep_its_status_its_table_and_its_retry(labkit):
    arguments = ("sweep", "toy.ipynb", "-p", "seed=0,1,4", "-p", "sizes=[1,2]", "--out", "out")
    code, out, err = labkit(*arguments, "--retries", 0, "--jobs", 1)
    assert code == 1
    assert len([line for line in err.splitlines() if line.startswith("[")]) == 3
    assert "2 completed, 1 failed of 3 runs in out" in out
    assert "ZeroDivisionError: as asked" in out
    code, out, _ = labkit("status", "out")
    assert (code, out.splitlines()[0]) == (0, "2 completed, 1 failed of 3 runs in out")
    code, out, _ = labkit("collect", "out")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["0", "0"],
        ["1", "1"],
        ["2", "4"],
    ]
    code, out, _ = labkit("collect", "out", "-o", "table.json")
    assert (code, out) == (0, "wrote 3 runs to table.json\n")
    rows = json.loads(Path("table.json").read_text())
    assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
    assert [row["sizes"] for row in rows] == [[1, 2]] * 3
    code, _, err = labkit("retry", "out")
    assert code == 1
    assert "completed before" in err
    failed = next(Path("out").glob("0001*"))
    assert read_status(failed)["attempt"] == 2
    code, out, _ = labkit("worker", "out", "--chunk", 2, "--chunk-size", 1)
    assert (code, out) == (0, "1 completed of 1 runs in out\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["-p", "a", "1"], ["-p", "a=1"]),
        (["-p", "a=1", "x"], ["-p", "a=1", "x"]),
        (["-p", "a", "-3"], ["-p", "a=-3"]),
        (["-p", "a", "b=c"], ["-p", "a=b=c"]),
        (["-p", "a", ""], ["-p", "a="]),
        (["--parameter", "a", "1"], ["--parameter", "a=1"]),
        (["--", "-p", "a", "1"], ["--", "-p", "a", "1"]),
    ],
)
def test_p_takes_one_argument_or_two(given, expected):
    assert joined(given) == expected


def test_list_names_every_study(labkit, repository):
    code, out, _ = labkit("list")
    assert code == 0
    listed = {line.split()[0] for line in out.splitlines()[1:]}
    assert listed <= {path.stem for path in (repository / "notebooks").glob("*.ipynb")}


def test_doctor_reports_on_every_part(labkit):
    code, out, _ = labkit("doctor")
    subjects = {line.split()[1] for line in out.splitlines()}
    assert subjects == {"labkit", "torch", "kernels", "viewers", "memory", "slurm", "dask", "data"}
    assert code == int(any(line.startswith("bad") for line in out.splitlines()))


def test_data_sets_are_listed_and_an_unknown_one_is_refused(labkit):
    code, out, _ = labkit("data", "list")
    assert code == 0
    assert "oversampling/sider" in out
    code, out, err = labkit("data", "fetch", "nosuch")
    assert (code, out) == (2, "")
    assert "'nosuch'" in err


def test_a_data_set_that_differs_from_its_checksum_is_exit_code_1(labkit, monkeypatch, tmp_path):
    folder = tmp_path / "data/oversampling"
    folder.mkdir(parents=True)
    from labkit import datasets

    (folder / datasets.get("sider").file).write_text("something else")
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "data"))
    code, out, _ = labkit("data", "verify", "sider")
    assert code == 1
    assert "wrong" in out


def cpu_seconds(code, folder):
    """Return the least CPU time of three runs of a Python process, in seconds."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.mark.parametrize(
    ("code", "limit_s"),
    [
        ("import labkit", 0.1),
        ("from labkit.cli import main; main(['--help'])", 0.3),
        ("from labkit.cli import main; main(['params', 'toy.ipynb'])", 0.8),
    ],
)
def test_the_command_line_is_quick_and_imports_nothing_heavy(labkit, tmp_path, code, limit_s):
    assert cpu_seconds(code, tmp_path) <= limit_s
    heavy = "{'torch', 'papermill', 'pandas', 'nbformat', 'jupyter_client'}"
    guarded = f"try:\n    {code}\nexcept SystemExit:\n    pass\n"
    check = f"{guarded}import sys\nassert not {heavy} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=tmp_path, capture_output=True)


def test_the_installed_command_is_this_one(labkit):
    command = shutil.which("labkit", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("labkit, version ")
