"""Where OpenMM computes: the best of CUDA, OpenCL and CPU that works here."""

from __future__ import annotations

import functools
import logging
from typing import Any

import joblib

from labkit.errors import ParameterError
from labkit.hotspots.simulate.engine import openmm

logger = logging.getLogger(__name__)

BEST = ("CUDA", "OpenCL", "CPU")
"""What ``platform="auto"`` tries, in this order."""


def choose_platform(
    name: str = "auto", *, threads: int | None = None
) -> tuple[Any, dict[str, str]]:
    """OpenMM platform and its properties.

    Parameters
    ----------
    name : str
        ``"auto"``, or the name of a platform.
    threads : int, optional
        Of the CPU platform; all that the process may use by default.

    Returns
    -------
    openmm.Platform
    dict

    Raises
    ------
    ParameterError
        The platform does not work here; the message names those that are installed.
    """
    if threads is not None and threads < 1:
        raise ParameterError(f"threads={threads} must be 1 or more.")
    wanted = BEST if name == "auto" else (name,)
    chosen = next((candidate for candidate in wanted if _works(candidate)), None)
    if chosen is None:
        installed = ", ".join(sorted(_installed()))
        raise ParameterError(
            f"platform={name!r} does not work here; OpenMM has {installed}. "
            'platform="auto" takes the best that works.'
        )
    properties = {"Threads": str(threads or joblib.cpu_count())} if chosen == "CPU" else {}
    return openmm.Platform.getPlatformByName(chosen), properties


def _installed() -> set[str]:
    count = openmm.Platform.getNumPlatforms()
    return {openmm.Platform.getPlatform(index).getName() for index in range(count)}


@functools.lru_cache
def _works(name: str) -> bool:
    """Whether a platform can compute: it may be installed without a device."""
    if name not in _installed():
        return False
    system = openmm.System()
    system.addParticle(1.0)
    try:
        platform = openmm.Platform.getPlatformByName(name)
        openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    except openmm.OpenMMException as exc:
        logger.info("OpenMM platform %s does not work here: %s", name, exc)
        return False
    return True
