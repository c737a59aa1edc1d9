"""What a newcomer asks first: which studies there are, and what this machine lacks for them."""

from __future__ import annotations

import html
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import labkit
from labkit.batch.notebooks import StudyInfo, list_studies
from labkit.ui.blocks import GRAY, RED


@dataclass(frozen=True)
class Page:
    """A small table that shows itself as HTML and as text.

    Parameters
    ----------
    fragment : str
        HTML.
    text : str
        The same for a terminal.
    """

    fragment: str
    text: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.fragment}


def studies_table() -> Page:
    """Table of the studies: what each asks, and the time and memory of its quick preset.

    Returns
    -------
    Page
        The names link to the notebooks.
    """
    studies = [study for study in list_studies() if study.name != "start_here"]
    rows = [
        (_link(study), study.title, study.summary, _cost(study), study.full_time or "–")
        for study in studies
    ]
    cells = [
        "".join(
            f'<td style="text-align:left">{cell}</td>' for cell in (link, *map(html.escape, rest))
        )
        for link, *rest in rows
    ]
    head = "".join(
        f'<th style="text-align:left">{name}</th>'
        for name in ("notebook", "study", "what it does", "quick", "full")
    )
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    fragment = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    text = "\n".join(f"{study.name}: {study.title} ({_cost(study)})" for study in studies)
    return Page(fragment, text or "no studies found")


def environment_check() -> Page:
    """Check what the notebooks need from this machine; every line says what to do if not.

    Returns
    -------
    Page
        One line each for Python and labkit, torch, 3D views, cores and memory, and Slurm.
    """
    checks = [_check_versions(), _check_torch(), _check_views(), _check_memory(), _check_slurm()]
    rows = "".join(
        f'<tr><td style="color:{color}">{mark}</td>'
        f'<td style="text-align:left">{html.escape(text)}</td></tr>'
        for mark, color, text in checks
    )
    text = "\n".join(f"{mark} {text}" for mark, _, text in checks)
    return Page(f"<table><tbody>{rows}</tbody></table>", text)


OK = ("✓", "#00664B")
MISSING = ("✗", RED)
NOTE = ("–", GRAY)


def _check_versions() -> tuple[str, str, str]:
    return (*OK, f"labkit {labkit.__version__} on Python {platform.python_version()}")


def _check_torch() -> tuple[str, str, str]:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return (*MISSING, "torch is not installed; run: make env")
    build = "CPU build" if version.endswith("+cpu") else "GPU build or unknown"
    return (*OK, f"torch {version} ({build})")


def _check_views() -> tuple[str, str, str]:
    from labkit.viz.structures import front_end_matches

    front_end = front_end_matches()
    return (*(OK if front_end else MISSING), str(front_end))


def _check_memory() -> tuple[str, str, str]:
    free = psutil.virtual_memory().available / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    mark = OK if free >= 1 else MISSING
    advice = "" if free >= 1 else "; quick presets need up to 0.9 GiB: close something"
    return (*mark, f"{cores} cores, {free:.1f} GiB of memory free{advice}")


def _check_slurm() -> tuple[str, str, str]:
    if shutil.which("sbatch"):
        return (*OK, "Slurm is here: labkit sweep ... --executor slurm")
    return (*NOTE, "no Slurm on this machine: sweeps run on its own cores")


def _link(study: StudyInfo) -> str:
    path = os.path.relpath(study.path, Path.cwd())
    return f'<a href="{html.escape(path, quote=True)}">{html.escape(study.name)}</a>'


def _cost(study: StudyInfo) -> str:
    parts: Sequence[str] = [
        f"{study.quick_seconds:g} s" if study.quick_seconds is not None else "",
        f"{study.quick_mib:g} MiB" if study.quick_mib is not None else "",
    ]
    return ", ".join(part for part in parts if part) or "–"
