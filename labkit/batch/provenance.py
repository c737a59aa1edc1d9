"""Where and with what a run was made: host, versions, commit, Slurm job."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import labkit

_SLURM = {
    "job": "SLURM_JOB_ID",
    "array_job": "SLURM_ARRAY_JOB_ID",
    "task": "SLURM_ARRAY_TASK_ID",
    "restarts": "SLURM_RESTART_COUNT",
}
_GIT_TIMEOUT_S = 10


def provenance(imports: Iterable[str], notebook: Path) -> dict[str, Any]:
    """Describe the machine and the software of a run.

    Parameters
    ----------
    imports
        Top-level modules that the notebook imports.
    notebook
        The input notebook.

    Returns
    -------
    dict
        ``host``, ``slurm``, ``labkit``, ``python``, ``packages`` (distribution to version),
        ``commit`` and ``dirty`` (None outside a git checkout).
    """
    commit, dirty = code_state(notebook)
    return {
        "host": socket.gethostname(),
        "slurm": slurm_ids(os.environ),
        "labkit": labkit.__version__,
        "python": platform.python_version(),
        "packages": package_versions(imports),
        "commit": commit,
        "dirty": dirty,
    }


def slurm_ids(environ: Mapping[str, str]) -> dict[str, int]:
    """Return the Slurm ids in an environment; empty outside a job.

    Examples
    --------
    >>> slurm_ids({"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "HOME": "/root"})
    {'array_job': 12, 'task': 3}
    """
    found = {name: environ.get(variable, "") for name, variable in _SLURM.items()}
    return {name: int(value) for name, value in found.items() if value.isdecimal()}


def package_versions(imports: Iterable[str]) -> dict[str, str]:
    """Return the versions of the installed distributions that provide some modules.

    Parameters
    ----------
    imports
        Module names; only the part before the first dot counts. Modules of the standard
        library and unknown ones are left out.

    Examples
    --------
    >>> sorted(package_versions(["sklearn.metrics", "numpy", "json", "no_such_module"]))
    ['numpy', 'scikit-learn']
    """
    names = sorted({name.partition(".")[0] for name in imports})
    versions = dict(pair for name in names for pair in _distributions_of(name))
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def code_state(notebook: Path) -> tuple[str | None, bool | None]:
    """Return the git commit of the code and whether tracked files differ from it.

    The code is labkit's own checkout; where labkit is an installed package, it is the
    repository that holds the notebook.
    """
    for folder in (Path(labkit.__file__).parent, Path(notebook).absolute().parent):
        if (state := _git_state(str(folder))) is not None:
            return state
    return None, None


@lru_cache(maxsize=256)
def _distributions_of(module: str) -> tuple[tuple[str, str], ...]:
    """Return (distribution, version) pairs; the cheap question, by equal name, comes first."""
    try:
        found = importlib.metadata.distribution(module)
        return ((found.name, found.version),)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        names = sorted(set(_distributions_by_module().get(module, ())))
        return tuple((name, importlib.metadata.version(name)) for name in names)


@lru_cache(maxsize=1)
def _distributions_by_module() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@lru_cache(maxsize=16)
def _git_state(folder: str) -> tuple[str, bool] | None:
    """Return (commit, dirty), or None when git does not track that folder."""
    if not _git(folder, "ls-files", "--", "."):
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit, bool(changed)


def _git(folder: str, *arguments: str) -> str:
    """Return git's answer, empty when there is no git, no repository or no answer in time."""
    try:
        answer = subprocess.run(
            ["git", "-C", folder, *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
