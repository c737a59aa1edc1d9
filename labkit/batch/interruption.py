"""Signals that ask a runner to save and stop, as an event."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; the end of a job; Slurm's warning before the time limit (``--signal=B:USR1``)."""


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turn the first stop signal of a ``with`` block into a set event.

    A second Ctrl-C raises KeyboardInterrupt. A signal that the program handles by its own
    function, or ignores, is left to it; so is everything outside the main thread.

    Yields
    ------
    threading.Event
        Set once a stop signal arrived.

    Examples
    --------
    >>> with stop_signals() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.is_set()
    True
    """
    stop = threading.Event()

    def note(signum: int, _frame: FrameType | None) -> None:
        if stop.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for signum in STOP_SIGNALS:
            if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
                previous[signum] = signal.signal(signum, note)
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
