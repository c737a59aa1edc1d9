"""Ending with the process that asked: Lava's processes must not outlive it."""

import os
import signal
import threading


def end_with_stdin():
    """Terminate the whole process group once stdin is closed at its other end.

    The file is read through its descriptor: a thread inside ``sys.stdin`` would hold the lock that
    Lava's forked processes need to close theirs.
    """
    reader = os.dup(0)

    def wait_for_end():
        while os.read(reader, 1024):
            pass
        os.killpg(os.getpgrp(), signal.SIGTERM)

    threading.Thread(target=wait_for_end, daemon=True).start()
