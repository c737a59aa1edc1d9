"""torchrun that leaves a record: ``python -m labkit.distributed.agent FOLDER TORCHRUN-ARGUMENTS``.

It dies with the program that launched it, says in ``FOLDER/agent-<host>-<pid>.json`` that it
started, and at the end how each of its ranks ended.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.atomic import replace_text
from labkit.distributed.rank import AGENT_VARIABLE
from labkit.distributed.tether import tether

LAUNCHER_VARIABLE = "LABKIT_LAUNCHER"


def main(arguments: Sequence[str]) -> None:
    """Run torchrun and record the exit codes of its ranks.

    Parameters
    ----------
    arguments : sequence of str
        Folder, and the arguments of torchrun.

    Raises
    ------
    SystemExit
        With code 1, if a rank failed.
    """
    tether(LAUNCHER_VARIABLE)
    folder, *rest = arguments
    os.environ[AGENT_VARIABLE] = str(os.getpid())
    record = Path(folder) / f"agent-{socket.gethostname()}-{os.getpid()}.json"
    step = [os.environ.get(f"SLURM_{name}_ID", "") for name in ("JOB", "STEP")]
    replace_text(record, json.dumps({"started": time.time(), "slurm_step": ".".join(step)}))
    before = oom_kills()

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(rest)
    except ChildFailedError as error:
        codes = {str(rank): failure.exitcode for rank, failure in error.failures.items()}
        killed = oom_kills() - before
        replace_text(record, json.dumps({"exit_codes": codes, "oom_kills": killed}))
        raise SystemExit(1) from None


def oom_kills() -> int:
    """Return how many processes the system has ended for lack of memory since it started.

    Returns
    -------
    int
        0 where the system does not tell.
    """
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    counts = [line.split()[1] for line in lines if line.startswith("oom_kill ")]
    return int(counts[0]) if counts else 0


if __name__ == "__main__":
    main(sys.argv[1:])
