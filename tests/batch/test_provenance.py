"""What a run says about where and with what it was made."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import labkit
from labkit.batch import provenance as module
from labkit.batch import usage
from labkit.batch.provenance import code_state, package_versions, provenance, slurm_ids


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.check_output(command, text=True).strip()


def test_versions_are_those_of_the_distributions_behind_the_imports() -> None:
    versions = package_versions(["sklearn.metrics", "torch.nn", "yaml", "json", "no_such_module"])
    names = ["PyYAML", "scikit-learn", "torch"]
    assert versions == {name: importlib.metadata.version(name) for name in names}


def test_the_commit_and_whether_files_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labkit, "__file__", str(tmp_path / "installed" / "__init__.py"))
    notebook = tmp_path / "nb.ipynb"
    notebook.write_text("{}")
    assert code_state(notebook) == (None, None)

    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "nb.ipynb")
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    for content, dirty in (("{}", False), ("{ }", True)):
        notebook.write_text(content)
        module._git_state.cache_clear()
        assert code_state(notebook) == (commit, dirty)


def test_no_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    module._git_state.cache_clear()
    assert code_state(tmp_path / "nb.ipynb") == (None, None)
    module._git_state.cache_clear()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {}),
        ({"SLURM_JOB_ID": "5"}, {"job": 5}),
        (
            {
                "SLURM_JOB_ID": "6",
                "SLURM_ARRAY_JOB_ID": "5",
                "SLURM_ARRAY_TASK_ID": "0",
                "SLURM_RESTART_COUNT": "1",
            },
            {"job": 6, "array_job": 5, "task": 0, "restarts": 1},
        ),
    ],
)
def test_slurm_ids(environment: dict[str, str], expected: dict[str, int]) -> None:
    assert slurm_ids(environment) == expected


def test_a_record_has_all_fields(tmp_path: Path) -> None:
    record = provenance(["numpy"], tmp_path / "nb.ipynb")
    fields = {"host", "slurm", "labkit", "python", "packages", "commit", "dirty"}
    assert set(record) == fields
    assert record["labkit"] == labkit.__version__


def test_the_memory_limit_is_the_tightest_of_the_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = usage.memory_limit()
    monkeypatch.setattr(usage, "_CGROUPS", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert usage.memory_limit() >= machine
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2**30}\n")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert usage.memory_limit() == 2**30
    assert usage.oom_kills() == 2


def test_a_process_that_is_gone_has_used_nothing_and_harms_nobody() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    gone = usage.Usage(process.pid)
    gone.sample()
    gone.kill_leftovers()
    assert (gone.peak_rss, gone.cpu_s) == (0, 0.0)


def test_pages_that_children_share_are_not_counted_for_each_of_them() -> None:
    code = (
        "import os, sys, time\n"
        "kept = bytearray(os.urandom(1)) * (200 * 2**20)\n"
        "for _ in range(3):\n"
        "    if not os.fork():\n"
        "        time.sleep(60)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = usage.Usage(process.pid)
        seen.sample()
        seen.kill_leftovers()
    # The 200 MiB that all four share; four times as much without the division.
    assert 200 * usage.MIB < seen.peak_rss < 300 * usage.MIB
