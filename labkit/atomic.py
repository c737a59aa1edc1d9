"""Files that are either the old version or the new one, never half of each.

The new content goes to a temporary file in the same folder, which then replaces the target by
``os.replace``: a reader, or a process killed at any point, sees a whole file.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8.

    Lone surrogates, which UTF-8 cannot hold, are written as backslash escapes: inside a JSON
    string that is the escape which reads back as the same character.

    Parameters
    ----------
    path
        The file to create or replace. Its folder must exist.
    text
        The whole content.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder) / "a.txt"
    ...     replace_text(target, "one")
    ...     replace_text(target, "two")
    ...     target.read_text(), len(list(Path(folder).iterdir()))
    ('two', 1)
    """
    replace_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def replace_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` atomically.

    Parameters
    ----------
    path
        The file to create or replace. Its folder must exist.
    content
        The whole content.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(_usual_mode())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _usual_mode() -> int:
    """Return the mode that ``open`` would give a new file; ``mkstemp`` always gives 0600."""
    return 0o666 & ~_UMASK


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
