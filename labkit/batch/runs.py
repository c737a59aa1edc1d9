"""A run: one notebook with one set of parameters, its key, its directory and its status.

A run directory holds ``notebook.ipynb`` (as executed), ``status.json`` (what happened) and
``log.txt`` (what the kernel process wrote outside the notebook). The key is a digest of everything
that decides the result, so a completed run with the same key need not run again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import labkit
from labkit.atomic import replace_text
from labkit.batch.claims import claim, owner_is_gone, process_is_gone
from labkit.errors import ParameterError

__all__ = [
    "Run",
    "RunStatus",
    "claim",
    "directory_name",
    "read_status",
    "run_key",
    "write_status",
]

NOTEBOOK_FILE = "notebook.ipynb"
STATUS_FILE = "status.json"
LOG_FILE = "log.txt"

_SLUG_CHARACTERS = 60
_NOT_SCIENCE = ("batch", "ui", "_cli", "cli.py")


class RunStatus(StrEnum):
    """What became of a run.

    ``failed``: a cell raised. ``timeout``: a cell passed its time. ``died``: the kernel, or the
    process that ran it, ended on its own. ``cancelled``: somebody interrupted it.
    """

    pending = "pending"
    running = "running"
    completed = "completed"
    failed = "failed"
    timeout = "timeout"
    died = "died"
    cancelled = "cancelled"


@dataclass(frozen=True)
class Run:
    """One notebook with one set of parameters.

    Parameters
    ----------
    index
        Position in the sweep, from 0.
    notebook
        The input notebook; never written to.
    parameters
        Values to inject, plain JSON.
    key
        What `run_key` returned.
    directory
        Where the executed notebook, its status and its log go.
    kernel
        Name of the Jupyter kernel.
    """

    index: int
    notebook: Path
    parameters: dict[str, Any]
    key: str
    directory: Path
    kernel: str

    @property
    def output(self) -> Path:
        """The executed notebook."""
        return self.directory / NOTEBOOK_FILE


def run_key(notebook: Path, parameters: Mapping[str, Any], *, kernel: str) -> str:
    """Return the digest of everything that decides a run's result.

    That is: the sources of the code cells (not outputs, metadata or text), the effective
    parameters, the content of files that parameters name, labkit's science code, the kernel's
    name. Moving or renaming the notebook changes nothing.

    Parameters
    ----------
    notebook
        The input notebook.
    parameters
        All effective parameters, defaults included; plain JSON values.
    kernel
        Name of the Jupyter kernel.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    ParameterError
        A value is not plain JSON, or the file is not a notebook.
    """
    digest = hashlib.sha256()
    for part in (
        *_code_sources(Path(notebook)),
        _canonical(parameters),
        *_content_of_named_files(parameters),
        _science_fingerprint(),
        kernel,
    ):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def directory_name(index: int, varying: Mapping[str, Any], key: str) -> str:
    """Return the name of a run's directory.

    Parameters
    ----------
    index
        Position in the sweep, from 0.
    varying
        The parameters that differ between runs; the others do not belong in the name.
    key
        The run's key.

    Examples
    --------
    >>> directory_name(7, {"seed": 3, "lr": 0.001}, "1f3a9c2e" + 56 * "0")
    '0007-seed=3,lr=0.001-1f3a9c2e'
    >>> directory_name(0, {"csv": "/data/{x} y.csv"}, 64 * "a")
    '0000-csv=data_x_y.csv-aaaaaaaa'
    >>> directory_name(12, {}, 64 * "b")
    '0012-bbbbbbbb'
    """
    pairs = ",".join(f"{name}={_slug(value)}" for name, value in varying.items())
    return "-".join(part for part in (f"{index:04d}", pairs[:_SLUG_CHARACTERS], key[:8]) if part)


def read_status(directory: Path | str) -> dict[str, Any]:
    """Return the status record of a run directory.

    A missing record is ``{"status": "pending"}``. A record that says ``running`` although the
    process that wrote it is gone is returned as ``died``.
    """
    directory = Path(directory)
    file = directory / STATUS_FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"status": RunStatus.pending.value}
    except (OSError, ValueError) as error:
        return _died({}, f"{file} cannot be read: {error}")
    if record.get("output"):
        record["output"] = str(directory / Path(record["output"]).name)
    if record.get("status") == RunStatus.running and _runner_is_gone(directory, record):
        where = f"process {record.get('pid')} on {record.get('host')}"
        return _died(record, f"the runner ({where}) ended before the notebook did")
    return dict(record)


def write_status(directory: Path | str, record: Mapping[str, Any]) -> None:
    """Replace the status record of a run directory atomically; the directory is created."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(record), indent=1, default=str, ensure_ascii=False)
    replace_text(directory / STATUS_FILE, text + "\n")


def _died(record: Mapping[str, Any], message: str) -> dict[str, Any]:
    error = {"name": "RunnerGone", "message": message}
    return {**record, "status": RunStatus.died.value, "error": error}


def _runner_is_gone(directory: Path, record: dict[str, Any]) -> bool:
    gone = process_is_gone(record)
    return owner_is_gone(directory) if gone is None else gone


def _code_sources(notebook: Path) -> list[str]:
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ParameterError(f"{notebook} is not a Jupyter notebook of format 4.") from error
    return ["".join(source) for source in sources]


def _canonical(parameters: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(parameters), sort_keys=True, separators=(",", ":"))
    except TypeError as error:
        raise ParameterError(
            f"parameters {dict(parameters)!r} hold a value that is not plain JSON ({error}); "
            "use numbers, text, true/false, null, lists and mappings."
        ) from error


def _content_of_named_files(value: Any) -> list[str]:
    """Return the digests of the files that a parameter value names, in a stable order."""
    if isinstance(value, str):
        return _content_of(value)
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = (value[key] for key in sorted(value))
    elif isinstance(value, list | tuple):
        inner = value
    return [digest for item in inner for digest in _content_of_named_files(item)]


def _content_of(text: str) -> list[str]:
    try:
        path = Path(text)
        if not text or not path.is_file():
            return []
        stat = path.stat()
    except (OSError, ValueError):
        return []
    return [_file_digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)]


@lru_cache(maxsize=256)
def _file_digest(path: str, _size: int, _mtime_ns: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=1)
def _science_fingerprint() -> str:
    """Return labkit's version and the digest of its code outside the runner and the interface."""
    package = Path(labkit.__file__).parent
    digest = hashlib.sha256(labkit.__version__.encode())
    for file in sorted(package.rglob("*.py")):
        relative = file.relative_to(package)
        if relative.parts[0] not in _NOT_SCIENCE:
            digest.update(relative.as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _slug(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_")[:24]
