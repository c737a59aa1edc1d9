"""Imported by the forkserver of `labkit.batch.pool`, and by nothing else.

multiprocessing's forkserver takes names of modules to import before it forks; importing this one
is how it learns what to load.
"""

from __future__ import annotations

import json
import os

from labkit.batch import warmchild

PRELOAD_VARIABLE = "LABKIT_PRELOAD"
"""Environment variable with the JSON arguments of `labkit.batch.warmchild.preload`."""

if PRELOAD_VARIABLE in os.environ:
    warmchild.preload(**json.loads(os.environ.pop(PRELOAD_VARIABLE)))
