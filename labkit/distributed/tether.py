"""A process that does not outlive the one that started it.

Linux ends a tethered process by SIGKILL as soon as its parent is gone, however the parent went
(``PR_SET_PDEATHSIG`` of prctl(2)). Elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tether(variable: str) -> None:
    """End this process when its parent ends.

    Parameters
    ----------
    variable : str
        Environment variable with the parent's process id; without it nothing is done. It is
        removed, because it says nothing about the children of this process.

    Raises
    ------
    SystemExit
        The parent is gone already.
    """
    expected = os.environ.pop(variable, "")
    if not expected or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(expected):
        raise SystemExit(f"process {expected}, which started this one, is gone")
