"""Finding notebooks: studies by name, files by path, papermill's own addresses."""

from __future__ import annotations

import difflib
import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labkit
from labkit.errors import ParameterError


@dataclass(frozen=True)
class StudyInfo:
    """A study as its notebook's ``labkit`` metadata describes it.

    Parameters
    ----------
    name
        The name that commands accept.
    path
        The notebook.
    title, summary
        One line each.
    quick_seconds
        Time of the quick preset on two idle cores, in seconds; None where not stated.
    quick_mib
        Peak memory of the kernel in the quick preset, in MiB; None where not stated.
    full_time
        Time of the full preset, in words.
    """

    name: str
    path: Path
    title: str
    summary: str = ""
    quick_seconds: float | None = None
    quick_mib: float | None = None
    full_time: str = ""

    @classmethod
    def of(cls, path: Path) -> StudyInfo:
        """Read what a notebook says about itself; a notebook that says nothing has its name."""
        about = read_notebook(path).get("metadata", {}).get("labkit")
        about = about if isinstance(about, Mapping) else {}
        return cls(
            name=path.stem,
            path=path,
            title=str(about.get("title", path.stem)),
            summary=str(about.get("summary", "")),
            quick_seconds=about.get("quick_seconds"),
            quick_mib=about.get("quick_mib"),
            full_time=str(about.get("full_time", "")),
        )


def notebook_folders() -> list[Path]:
    """Return the folders that hold study notebooks: a checkout's, then an installed package's."""
    package = Path(labkit.__file__).parent
    return [
        folder
        for folder in (package.parent / "notebooks", package / "notebooks")
        if folder.is_dir()
    ]


def list_studies() -> list[StudyInfo]:
    """Return the studies, one per notebook with ``labkit`` metadata, sorted by name."""
    found: dict[str, StudyInfo] = {}
    for folder in notebook_folders():
        for path in sorted(folder.glob("*.ipynb")):
            if path.stem not in found and "labkit" in read_notebook(path).get("metadata", {}):
                found[path.stem] = StudyInfo.of(path)
    return [found[name] for name in sorted(found)]


def resolve(name: str | Path) -> Path:
    """Return the notebook that a study name, a path or an address stands for.

    Parameters
    ----------
    name
        ``oversampling``, ``analysis/mine.ipynb``, or an address that papermill reads
        (``https://``, ``s3://``, ...), which is copied to a temporary file.

    Raises
    ------
    ParameterError
        If there is no such notebook; near names are suggested.
    """
    text = str(name)
    if "://" in text:
        return _download(text)
    path = Path(text).expanduser()
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        raise ParameterError(f"{text} is a folder. Give a notebook (.ipynb) or a study's name.")
    for folder in notebook_folders():
        candidate = folder / f"{text.removesuffix('.ipynb')}.ipynb"
        if candidate.is_file() and len(Path(text).parts) == 1:
            return candidate.resolve()
    raise ParameterError(_not_found(text))


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook's JSON, checked to be a notebook of nbformat 4.

    Raises
    ------
    ParameterError
        If the file cannot be read or is not a notebook.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ParameterError(f"{path} is not a notebook: it is not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise ParameterError(f"{path} is not a notebook: it has no cells (nbformat 4 is needed)")
    return content


def source_of(cell: Mapping[str, Any]) -> str:
    """Return a cell's source as one string (nbformat also allows a list of lines)."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def kernel_of(notebook: Mapping[str, Any]) -> str:
    """Return the kernel that a notebook names, ``python3`` where it names none."""
    kernelspec = notebook.get("metadata", {}).get("kernelspec") or {}
    return str(kernelspec.get("name") or "python3")


def check_kernel(name: str) -> None:
    """Raise ParameterError unless a kernel of this name is installed."""
    from jupyter_client.kernelspec import KernelSpecManager

    installed = sorted(KernelSpecManager().find_kernel_specs())
    if name not in installed:
        raise ParameterError(
            f"there is no kernel '{name}'. Installed: {', '.join(installed) or 'none'}"
        )


def _not_found(text: str) -> str:
    names = sorted({path.stem for folder in notebook_folders() for path in folder.glob("*.ipynb")})
    near = difflib.get_close_matches(text.removesuffix(".ipynb"), names, n=1)
    message = f"there is no notebook or study '{text}'."
    if near:
        message += f" Did you mean '{near[0]}'?"
    return message + (f" Studies: {', '.join(names)}" if names else "")


def _download(address: str) -> Path:
    from papermill.iorw import papermill_io

    try:
        content = papermill_io.read(address)
    except Exception as error:
        raise ParameterError(f"cannot read {address}: {error}") from error
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]
    name = address.partition("?")[0].rstrip("/").rsplit("/", 1)[-1]
    path = Path(tempfile.mkdtemp(prefix=f"labkit-{digest}-")) / name
    path.write_text(content if isinstance(content, str) else content.decode(), encoding="utf-8")
    return path
