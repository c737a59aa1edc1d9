"""How a launch ended, in one word and one line, from what its ranks and agents left in a folder.

When a rank dies, the others fail with it: their lost connections are consequences. The cause is
looked for in this order: memory that ran out, a signal that nobody in the launch sends, an
exception that is no lost connection, any exception, an exit code.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.distributed.rank import says_memory_ran_out

REASONS = ("out of memory", "crashed", "time limit", "lost")
"""Memory exceeded, a rank that failed, limit passed, no answer from whoever ran the ranks."""
TAIL_BYTES = 4000
_SLURM_LIMIT = "DUE TO TIME LIMIT"
_LOST_CONNECTION = re.compile(
    r"connection (closed|reset|refused)|broken pipe|socket|remote process|timed? ?out|gloo|NCCL",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A launch that ended.

    Attributes
    ----------
    returncode : int
        0 if all ranks ended well; else that of torchrun, negative for a signal.
    seconds : float
        From start to end.
    reason : str, optional
        None if all ranks ended well, else one of `REASONS`.
    message : str
        One line for a reader, such as ``rank 3 was ended by signal 9 (SIGKILL)``.
    tails : tuple of str
        The last lines that each rank printed.
    agent_tail : str
        The last lines of torchrun or of the cluster's scheduler.
    """

    returncode: int
    seconds: float
    reason: str | None
    message: str
    tails: tuple[str, ...]
    agent_tail: str = ""

    @property
    def ok(self) -> bool:
        """Whether all ranks ended well."""
        return self.reason is None


def conclude(
    folder: Path, *, n_processes: int, returncode: int, seconds: float, limit_s: float | None = None
) -> Launch:
    """Return how the launch that wrote a folder ended.

    Parameters
    ----------
    folder : Path
        Holds ``rank-<n>.log``, ``rank-<n>.json``, ``agent-*.json`` and ``agent.log``.
    n_processes : int
        Ranks.
    returncode : int
        Of the agent.
    seconds : float
        From start to end.
    limit_s : float, optional
        The time limit, if it was what ended the launch.
    """
    tails = tuple(tail(folder / f"rank-{rank}.log") for rank in range(n_processes))
    reason, message = None, f"{n_processes} ranks ended well after {seconds:.1f} s"
    if limit_s is not None:
        reason, message = "time limit", f"time limit of {limit_s:g} s passed; all ranks were ended"
    elif returncode:
        reason, message = _cause(folder, tails, returncode)
    return Launch(
        returncode=returncode,
        seconds=seconds,
        reason=reason,
        message=message,
        tails=tails,
        agent_tail=tail(folder / "agent.log"),
    )


def clear(folder: Path) -> None:
    """Remove what an earlier launch left in a folder."""
    for pattern in ("rank-*.log", "rank-*.json", "agent-*.json", "agent.log", "exit_code"):
        for path in folder.glob(pattern):
            path.unlink()


def tail(path: Path) -> str:
    """Return the last lines of a file, nothing where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return stream.read().decode(errors="replace").strip()


def _cause(folder: Path, tails: tuple[str, ...], returncode: int) -> tuple[str, str]:
    errors = _errors(folder)
    for rank, error in errors.items():
        if error["out_of_memory"]:
            return "out of memory", f"rank {rank} ran out of memory: {_line(error['error'])}"
    codes, oom_kills = _exit_codes(folder)
    signals = {rank: _signal(code) for rank, code in codes.items()}
    deadly = {rank: number for rank, number in signals.items() if number not in (0, signal.SIGTERM)}
    for rank, number in sorted(deadly.items(), key=lambda item: item[1] != signal.SIGKILL):
        return _signal_message(rank, number, tails[rank], oom_kills)
    if errors:
        causes = [rank for rank in errors if not _LOST_CONNECTION.search(errors[rank]["error"])]
        rank = min(causes or errors, key=lambda rank: errors[rank]["time"])
        return "crashed", f"rank {rank} failed: {_line(errors[rank]['error'])}"
    for rank, code in codes.items():
        if code > 0:
            return "crashed", f"rank {rank} ended with exit code {code}{_last_line(tails[rank])}"
    return _agent_message(folder, returncode)


def _signal_message(rank: int, number: int, printed: str, oom_kills: int) -> tuple[str, str]:
    text = f"rank {rank} was ended by signal {number} ({signal.Signals(number).name})"
    if says_memory_ran_out(printed):
        line = next(line for line in reversed(printed.splitlines()) if says_memory_ran_out(line))
        return "out of memory", f"{text}: {_line(line)}"
    if number != signal.SIGKILL:
        return "crashed", f"{text}{_last_line(printed)}"
    if oom_kills:
        return "out of memory", f"{text} while the system ended processes for lack of memory"
    return "crashed", f"{text}: by somebody, or by the system for lack of memory"


def _agent_message(folder: Path, returncode: int) -> tuple[str, str]:
    printed = tail(folder / "agent.log")
    for line in printed.splitlines():
        if _SLURM_LIMIT in line:
            return "time limit", f"Slurm ended the job: {_line(line)}"
    number = _signal(returncode)
    if number:
        return "lost", f"torchrun was ended by signal {number} ({signal.Signals(number).name})"
    return (
        "lost",
        f"torchrun ended with exit code {returncode} and no word of its ranks{_last_line(printed)}",
    )


def _errors(folder: Path) -> dict[int, Mapping[str, Any]]:
    paths = {int(path.stem.partition("-")[2]): path for path in folder.glob("rank-*.json")}
    return {rank: json.loads(paths[rank].read_text()) for rank in sorted(paths)}


def _exit_codes(folder: Path) -> tuple[dict[int, int], int]:
    """Return the exit code of each rank that failed, and the system's kills for memory."""
    codes: dict[int, int] = {}
    oom_kills = 0
    for path in folder.glob("agent-*.json"):
        record = json.loads(path.read_text())
        codes |= {int(rank): code for rank, code in record.get("exit_codes", {}).items()}
        oom_kills += record.get("oom_kills", 0)
    return dict(sorted(codes.items())), oom_kills


def _signal(code: int) -> int:
    """Return the signal that an exit code stands for (Python's -9, a shell's 137), else 0."""
    number = -code if code < 0 else code - 128
    return number if number in signal.valid_signals() and number > 0 else 0


def _last_line(printed: str) -> str:
    """Return the last line of what a process printed as the end of a message."""
    return f": {_line(printed.splitlines()[-1])}" if printed else ""


def _line(text: str) -> str:
    """Return the first line of a text, not too long."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 300 else f"{line[:297]}..."
