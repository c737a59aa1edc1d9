"""Files of arrays, read so that damage of any kind is one kind of error."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Return all arrays of an npz file, none of them pickled.

    Parameters
    ----------
    path : path

    Raises
    ------
    OSError
        There is no such file.
    ValueError
        It is cut short, altered, or of another kind.
    """
    content = io.BytesIO(Path(path).expanduser().read_bytes())
    if not zipfile.is_zipfile(content):
        raise ValueError("it is no whole npz file")
    try:
        with np.load(content) as stored:
            return {name: stored[name] for name in stored.files}
    except _DAMAGE as broken:
        raise ValueError(f"it is damaged: {broken}") from broken
