"""Data sets on this machine: where they may lie, and whether they are what the registry says."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from labkit.datasets.registry import REGISTRY, Dataset, get
from labkit.errors import MissingDataError

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20


@dataclass(frozen=True)
class DatasetStatus:
    """One row of ``labkit data list`` and ``labkit data verify``.

    Parameters
    ----------
    name : str
        Full name of the data set.
    state : {"present", "ok", "wrong", "missing"}
        ``present``: there, not compared with its checksum. ``ok`` and ``wrong``: compared.
    source : {"LABKIT_DATA", "cache", ""}
        Which folder the file lies in; empty when it is missing.
    location : pathlib.Path or None
        The file.
    size : int
        Bytes: of the file, or of the download when the file is missing.
    rows : int
        Records in the table.
    summary, license : str
        As registered.
    """

    name: str
    state: Literal["present", "ok", "wrong", "missing"]
    source: Literal["LABKIT_DATA", "cache", ""]
    location: Path | None
    size: int
    rows: int
    summary: str
    license: str


def data_folder() -> Path | None:
    """Folder that ``LABKIT_DATA`` names; None where the variable is unset or empty.

    Raises
    ------
    MissingDataError
        The variable names something that is not a folder.
    """
    value = os.environ.get("LABKIT_DATA", "")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise MissingDataError(
            f"LABKIT_DATA={value} is not a folder. Name a folder laid out as <study>/<file>, "
            "or unset the variable."
        )
    return folder


def cache_folder() -> Path:
    """Folder of downloaded data: ``LABKIT_CACHE``, else the operating system's cache folder."""
    value = os.environ.get("LABKIT_CACHE", "")
    if value:
        return Path(value).expanduser()
    import pooch

    return Path(pooch.os_cache("labkit"))


def prepared(entry: Dataset) -> Path | None:
    """File of a data set in ``LABKIT_DATA``; None where it has none.

    Raises
    ------
    MissingDataError
        Another file lies there under this name: never silently passed over.
    """
    folder = data_folder()
    file = _existing(folder, entry) if folder else None
    problem = content_problem(file, entry) if file else ""
    if problem:
        raise MissingDataError(
            f"{file} is not the registered {entry.name}: {problem}. "
            f"Replace it, or remove it and run `labkit data fetch {entry.short_name}`."
        )
    return file


def status(names: Iterable[str] | None = None) -> list[DatasetStatus]:
    """Which data sets are on this machine; files are not opened. Rows of ``labkit data list``.

    Parameters
    ----------
    names : iterable of str, optional
        Data sets to look for; all by default.

    Raises
    ------
    ParameterError
        A name is not registered.
    MissingDataError
        ``LABKIT_DATA`` does not name a folder.
    """
    entries = REGISTRY.values() if names is None else [get(name) for name in names]
    return [_status(entry, compare=False) for entry in entries]


def verify(names: Iterable[str] | None = None) -> list[DatasetStatus]:
    """Compare the files on this machine with their checksums. Rows of ``labkit data verify``.

    A row whose state is ``wrong`` is a file that should be replaced; ``missing`` is no fault.
    Parameters and errors are those of `status`.
    """
    entries = REGISTRY.values() if names is None else [get(name) for name in names]
    return [_status(entry, compare=True) for entry in entries]


def cached(entry: Dataset) -> Path | None:
    """Cached file of a data set; None where it is missing or damaged."""
    found = _existing(cache_folder(), entry)
    if found is None:
        return None
    problem = content_problem(found, entry)
    if problem:
        logger.warning("%s is damaged (%s) and will be downloaded again", found, problem)
        return None
    return found


def content_problem(file: Path, entry: Dataset) -> str:
    """What is wrong with a file's content; empty where it has the registered checksum."""
    try:
        stat = file.stat()
        digest = _content_sha256(file, stat.st_size, stat.st_mtime_ns)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return "it is truncated or not a gzip file"
    except OSError as exc:
        return f"it cannot be read ({exc.strerror})"
    if digest != entry.sha256:
        return f"its content has sha256 {digest[:12]}..., not {entry.sha256[:12]}..."
    return ""


def _status(entry: Dataset, *, compare: bool) -> DatasetStatus:
    file, source = _locate(entry)
    state: Literal["present", "ok", "wrong", "missing"] = "present"
    if file is None:
        state = "missing"
    elif compare:
        state = "wrong" if content_problem(file, entry) else "ok"
    return DatasetStatus(
        name=entry.name,
        state=state,
        source=source,
        location=file,
        size=file.stat().st_size if file else entry.size,
        rows=entry.rows,
        summary=entry.summary,
        license=entry.license,
    )


def _locate(entry: Dataset) -> tuple[Path | None, Literal["LABKIT_DATA", "cache", ""]]:
    folder = data_folder()
    if folder and (file := _existing(folder, entry)):
        return file, "LABKIT_DATA"
    if file := _existing(cache_folder(), entry):
        return file, "cache"
    return None, ""


def _existing(folder: Path, entry: Dataset) -> Path | None:
    candidates = (folder / entry.study / name for name in entry.file_names)
    try:
        return next((file for file in candidates if file.is_file()), None)
    except OSError as exc:
        raise MissingDataError(
            f"cannot look for {entry.name} in {folder}: {exc.strerror}."
        ) from exc


@lru_cache(maxsize=256)
def _content_sha256(file: Path, size: int, mtime_ns: int) -> str:
    """Checksum of the uncompressed content; remembered until the file's size or time changes."""
    digest = hashlib.sha256()
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
