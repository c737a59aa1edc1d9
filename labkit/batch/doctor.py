"""Checks of an installation: what is there, and what would go wrong later."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from labkit.errors import LabkitError

_MIB_OF_A_KERNEL = 900
_TROUBLE = (ImportError, OSError, ValueError, KeyError, RuntimeError, LabkitError)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Parameters
    ----------
    level
        ``ok``; ``note`` for what is missing but optional; ``bad`` for what will fail.
    subject
        What was looked at.
    text
        What was found, and what to do about it.
    """

    level: Literal["ok", "note", "bad"]
    subject: str
    text: str


def diagnose() -> list[Finding]:
    """Return the findings of all checks; a check that itself fails is a finding."""
    findings: list[Finding] = []
    for check in _CHECKS:
        subject = check.__name__.removeprefix("_").replace("_", " ")
        try:
            findings += [Finding(level, subject, text) for level, text in check()]
        except _TROUBLE as error:
            findings.append(Finding("bad", subject, f"{type(error).__name__}: {error}"))
    return findings


_Found = Iterator[tuple[Literal["ok", "note", "bad"], str]]


def _labkit() -> _Found:
    import labkit

    python = ".".join(map(str, sys.version_info[:3]))
    yield "ok", f"{labkit.__version__} in {Path(labkit.__file__).parent}, Python {python}"


def _torch() -> _Found:
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        yield "ok", f"{torch.__version__}, {torch.cuda.device_count()} GPU(s)"
    else:
        yield "ok", f"{torch.__version__}, CPU only, {torch.get_num_threads()} thread(s)"


def _kernels() -> _Found:
    from jupyter_client.kernelspec import KernelSpecManager

    installed = sorted(KernelSpecManager().find_kernel_specs())
    if "python3" in installed:
        yield "ok", ", ".join(installed)
    else:
        yield "bad", "no kernel 'python3': python -m ipykernel install --sys-prefix"


def _viewers() -> _Found:
    from labkit.viz.structures import front_end_matches

    match = front_end_matches()
    yield ("ok" if match else "bad"), str(match)


def _memory() -> _Found:
    import psutil

    free = psutil.virtual_memory().available // 2**20
    disk = shutil.disk_usage(Path.cwd()).free // 2**30
    level: Literal["ok", "bad"] = "ok" if free >= _MIB_OF_A_KERNEL else "bad"
    yield level, f"{free:,} MiB free; a study's kernel takes up to {_MIB_OF_A_KERNEL} MiB"
    yield ("ok" if disk else "bad"), f"{disk:,} GiB of disk free here"


def _slurm() -> _Found:
    if shutil.which("sbatch") is None:
        yield "note", "no sbatch here: sweeps run on this machine, or on Dask"
        return
    command = ["timeout", "20", "sinfo", "-h", "-o", "%P %D nodes %T"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        yield "note", "sbatch is installed, but no Slurm controller answers"
    for line in done.stdout.splitlines():
        yield "ok", line.strip()


def _dask() -> _Found:
    try:
        yield "ok", f"distributed {metadata.version('distributed')}"
    except metadata.PackageNotFoundError:
        yield "note", "not installed: pip install 'labkit[dask]' for --executor dask"


def _data() -> _Found:
    from labkit import datasets

    entries = datasets.status()
    here = [entry for entry in entries if entry.state in ("present", "ok")]
    text = f"{len(here)} of {len(entries)} data sets on this machine (labkit data list)"
    yield ("ok" if len(here) == len(entries) else "note"), text
    for entry in entries:
        if entry.state == "wrong":
            yield "bad", f"{entry.name} differs from its checksum: {entry.location}"


_CHECKS: tuple[Callable[[], _Found], ...] = (
    _labkit,
    _torch,
    _kernels,
    _viewers,
    _memory,
    _slurm,
    _dask,
    _data,
)
