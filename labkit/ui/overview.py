"""What a newcomer asks first: which studies there are, and what this machine lacks for them."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.batch.doctor import diagnose
from labkit.batch.notebooks import StudyInfo, list_studies
from labkit.ui.blocks import GRAY, GREEN, RED


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
    if not studies:
        return Page("<p>no studies found</p>", "no studies found")
    fragment = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    text = "\n".join(f"{study.name}: {study.title} ({_cost(study)})" for study in studies)
    return Page(fragment, text)


def environment_check() -> Page:
    """Check this machine as `labkit doctor` does; every line says what to do if something lacks.

    Returns
    -------
    Page
        One line for each finding.
    """
    findings = diagnose()
    rows = "".join(
        f'<tr><td style="color:{_COLORS[found.level]}">{_MARKS[found.level]}</td>'
        f'<td style="text-align:left">{html.escape(found.subject)}</td>'
        f'<td style="text-align:left">{html.escape(found.text)}</td></tr>'
        for found in findings
    )
    text = "\n".join(f"{_MARKS[found.level]} {found.subject:<8} {found.text}" for found in findings)
    return Page(f"<table><tbody>{rows}</tbody></table>", text)


_MARKS = {"ok": "✓", "note": "–", "bad": "✗"}
_COLORS = {"ok": GREEN, "note": GRAY, "bad": RED}


def _link(study: StudyInfo) -> str:
    path = os.path.relpath(study.path, Path.cwd())
    return f'<a href="{html.escape(path, quote=True)}">{html.escape(study.name)}</a>'


def _cost(study: StudyInfo) -> str:
    parts: Sequence[str] = [
        f"{study.quick_seconds:g} s" if study.quick_seconds is not None else "",
        f"{study.quick_mib:g} MiB" if study.quick_mib is not None else "",
    ]
    return ", ".join(part for part in parts if part) or "–"
