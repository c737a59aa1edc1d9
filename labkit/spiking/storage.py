"""Arrays in ``.npz`` files that are whole or refused.

A file is written beside its place and then moved there, so that a process killed at any point
leaves the older file. What cannot be read back is refused with the name of the file.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from labkit.errors import ParameterError

_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def require_parent(name: str, file: Path) -> None:
    """Refuse a file whose folder does not exist; `name` is the parameter that gave it.

    Raises
    ------
    ParameterError
        Naming the folder to make.
    """
    if not file.parent.is_dir():
        raise ParameterError(
            f"{name}={str(file)!r}: the folder {file.parent} does not exist; make it first."
        )


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write arrays to one compressed ``.npz`` file, all or nothing.

    Parameters
    ----------
    file : Path
        Replaced where it exists; its folder must exist.
    arrays : mapping of str to ndarray

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.
    """
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".arrays-") as folder:
        temporary = Path(folder) / "arrays.npz"
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        temporary.replace(file)
    return digest


def read_arrays(file: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read what `write_arrays` wrote: the arrays, and the SHA-256 of the file.

    Raises
    ------
    ParameterError
        The file is damaged or of another kind.
    """
    content = file.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = dict(stored)
    except (*_UNREADABLE, TypeError, AttributeError):
        raise ParameterError(
            f"{file} is damaged or no file of plain arrays (.npz); delete it and save it again."
        ) from None
    return arrays, hashlib.sha256(content).hexdigest()
