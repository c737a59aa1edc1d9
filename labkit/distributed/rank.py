"""What every rank does before its module runs: ``python -m labkit.distributed.rank FOLDER MODULE``.

It dies with the agent that started it, writes what it prints to ``FOLDER/rank-<n>.log``, and
leaves the exception that ended it in ``FOLDER/rank-<n>.json``.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.atomic import replace_text
from labkit.distributed.tether import tether

AGENT_VARIABLE = "LABKIT_AGENT"
MEMORY_TEXTS = (
    "OutOfMemoryError",
    "out of memory",
    "MemoryError",
    "can't allocate memory",
    "Cannot allocate memory",
    "std::bad_alloc",
)
"""How torch, CUDA, HIP, Python, the system and C++ say that memory ran out."""


def main(arguments: Sequence[str]) -> None:
    """Run a module as a rank.

    Parameters
    ----------
    arguments : sequence of str
        Folder, module, and the arguments of the module.
    """
    tether(AGENT_VARIABLE)
    folder, module, *rest = arguments
    place = Path(folder) / f"rank-{os.environ['RANK']}"
    _redirect(place.with_suffix(".log"))
    sys.argv = [module, *rest]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:
        replace_text(place.with_suffix(".json"), json.dumps(_record(error)))
        raise


def says_memory_ran_out(text: str) -> bool:
    """Whether a message tells of a lack of memory.

    Examples
    --------
    >>> says_memory_ran_out("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
    True
    >>> says_memory_ran_out("RuntimeError: Connection closed by peer")
    False
    """
    return any(words in text for words in MEMORY_TEXTS)


def _redirect(log: Path) -> None:
    """Send what the process prints, native code included, to a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _record(error: Exception) -> dict[str, object]:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    memory = "MemoryError" in kinds or says_memory_ran_out(text)
    return {"error": text, "out_of_memory": memory, "time": time.time()}


if __name__ == "__main__":
    main(sys.argv[1:])
