"""Topologies and trajectories as MDAnalysis reads them, checked, with errors that name the file.

Frames are counted over all trajectory files in the order given; each file is one replica. A frame
has a time only where the file's times can be those of a simulation (`frame_times_ps`).
"""

from __future__ import annotations

import filecmp
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit.errors import MissingDataError, ParameterError

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe

PathLike = str | Path
READING_ERRORS = (ValueError, OSError, TypeError, EOFError, LookupError, AttributeError)
DAMAGED = (OSError, EOFError, ValueError)
LARGEST_HASHED = 2 * 10**9
LONGEST_INTERVAL_PS = (
    1e5  # 100 ns between frames: longer than any trajectory that resolves contacts
)


@contextmanager
def quiet_mdanalysis() -> Iterator[None]:
    """Ignore what MDAnalysis warns about while it reads: labkit checks the same things itself."""
    with warnings.catch_warnings():
        for category in (UserWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=r"MDAnalysis(\.|$)")
        yield


def trajectory_files(trajectory: PathLike | Sequence[PathLike] | None) -> tuple[Path, ...]:
    """Trajectory files as a tuple of existing paths; empty where there is none.

    Raises
    ------
    ParameterError
        One is given twice: it would count as two replicas.
    """
    if trajectory is None:
        return ()
    given = [trajectory] if isinstance(trajectory, str | Path) else list(trajectory)
    files = tuple(existing_file(file, "trajectory") for file in given)
    for first, second in combinations(files, 2):
        if filecmp.cmp(first, second, shallow=False):
            raise ParameterError(
                f"trajectory={first.name!r} is given twice: {str(first)!r} and {str(second)!r} "
                "hold the same frames, which are not two replicas. Give each file once."
            )
    return files


def existing_file(file: PathLike, parameter: str) -> Path:
    """The path of a file that exists and is not empty.

    Raises
    ------
    MissingDataError
        It does not exist.
    ParameterError
        It is empty.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise MissingDataError(f"{parameter}={str(file)!r} is not a file. Give the path of one.")
    if not path.stat().st_size:
        raise ParameterError(
            f"{parameter}={path.name!r} is empty: it holds 0 bytes. Write or copy the file again."
        )
    return path


def open_universe(topology: Path, trajectories: Sequence[Path]) -> Universe:
    """Universe of a topology and its trajectories, with an element for every atom.

    Raises
    ------
    ParameterError
        A file cannot be read, or the files have different numbers of atoms.
    """
    import MDAnalysis

    try:
        with quiet_mdanalysis():
            universe = MDAnalysis.Universe(str(topology))
    except READING_ERRORS as exc:
        raise ParameterError(
            f"topology={topology.name!r} cannot be read: {_one_line(exc)}."
        ) from exc
    _require_names(universe, topology)
    if trajectories:
        _load(universe, topology, trajectories)
    if not hasattr(universe, "trajectory"):
        raise ParameterError(
            f"topology={topology.name!r} has no coordinates and no trajectory is given. "
            "Give a trajectory, or a topology with coordinates such as a PDB file."
        )
    return universe


def fill_elements(universe: Universe) -> str:
    """Give an element to every atom that has none, from its name; a note when that was needed."""
    from MDAnalysis.guesser.default_guesser import DefaultGuesser
    from MDAnalysis.guesser.tables import masses

    atoms = universe.atoms
    known = getattr(atoms, "elements", np.full(len(atoms), "", dtype=object)).astype(object)
    missing = np.flatnonzero(known == "")
    if not len(missing):
        return ""
    guesser = DefaultGuesser(universe)
    by_name = {name: guesser.guess_atom_element(name) for name in set(atoms.names[missing])}
    known[missing] = [
        by_name[name].capitalize() if by_name[name] in masses else ""
        for name in atoms.names[missing]
    ]
    if hasattr(atoms, "elements"):
        atoms.elements = known
    else:
        universe.add_TopologyAttr("elements", known)
    return f"The topology lacks the element of {len(missing)} atoms; it was told from their names."


def replica_of_frames(universe: Universe) -> np.ndarray:
    """Number of the trajectory file that each frame comes from, of shape (n_frames_in_files,)."""
    readers = getattr(universe.trajectory, "readers", None) or [universe.trajectory]
    lengths = [reader.n_frames for reader in readers]
    return np.repeat(np.arange(len(lengths)), lengths)


def frame_times_ps(universe: Universe, frames: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Time of each frame in its own file, ps, or None with the reason.

    Times are taken as physical when the file has them, they increase evenly up to the last of the
    frames to analyze, and the interval is at most 100 ns. Frames beyond are not read: they may be
    damaged.
    """
    try:
        with quiet_mdanalysis():
            return _frame_times_ps(universe, frames)
    except DAMAGED:
        return None, "The times of the frames cannot be read: frames are counted, not timed."


def _frame_times_ps(universe: Universe, frames: np.ndarray) -> tuple[np.ndarray | None, str]:
    readers = getattr(universe.trajectory, "readers", None) or [universe.trajectory]
    times: list[np.ndarray] = []
    for reader in readers:
        before = sum(len(part) for part in times)
        mine = frames[(frames >= before) & (frames < before + reader.n_frames)] - before
        if not len(mine):
            times.append(np.zeros(reader.n_frames))
            continue
        first = reader[0]
        if "time" not in first.data or reader.n_frames < 2:
            return None, ""
        begin = float(first.time)
        interval = float(reader[1].time) - begin
        last = int(mine.max())
        end = float(reader[last].time)
        if not 0 < interval <= LONGEST_INTERVAL_PS:
            return None, (
                f"The frames of {Path(reader.filename).name} are {interval:g} ps apart according "
                "to the file, which is not physical: frames are counted, not timed."
            )
        if not np.isclose(end - begin, interval * last, rtol=1e-3):
            return None, (
                f"The times in {Path(reader.filename).name} are not evenly spaced: "
                "frames are counted, not timed."
            )
        times.append(np.round(begin + interval * np.arange(reader.n_frames), 4))
    return np.concatenate(times), ""


def one_conformation(atoms: AtomGroup) -> tuple[AtomGroup, str]:
    """Atoms without alternate locations: of each residue the one with the highest occupancy.

    Returns
    -------
    AtomGroup
        Atoms without an alternate location, and those of the location that is kept.
    str
        A note that names the residues; empty where there is nothing to choose.
    """
    labels = getattr(atoms, "altLocs", None)
    if labels is None or not np.any(np.char.strip(labels.astype(str)) != ""):
        return atoms, ""
    labels = np.char.strip(labels.astype(str))
    occupancy = getattr(atoms, "occupancies", np.ones(len(atoms)))
    keep = labels == ""
    named = []
    for residue in np.unique(atoms.resindices[labels != ""]):
        mine = atoms.resindices == residue
        letters = sorted(set(labels[mine]) - {""})
        chosen = max(letters, key=lambda a: occupancy[mine & (labels == a)].mean())
        keep |= mine & (labels == chosen)
        first = atoms[mine].residues[0]
        named.append(f"{first.resname}{first.resid} ({chosen} of {'/'.join(letters)})")
    listed = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    return atoms[keep], f"Alternate locations: kept the best occupied one of {listed}."


def sha256(file: Path) -> str:
    """Checksum of a file; empty for more than 2 GB, which would take longer than loading it."""
    if file.stat().st_size > LARGEST_HASHED:
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_names(universe: Universe, topology: Path) -> None:
    for attribute, said in (("names", "atom"), ("resnames", "residue")):
        if not hasattr(universe.atoms, attribute):
            raise ParameterError(
                f"topology={topology.name!r} holds no {said} names. Give a file that does, such as "
                "a PDB file; if this one is the trajectory, topology and trajectory are swapped."
            )


def _load(universe: Universe, topology: Path, trajectories: Sequence[Path]) -> None:
    names = [str(path) for path in trajectories]
    for path in trajectories:
        found = _count_atoms(path)
        if found not in (None, len(universe.atoms)):
            raise ParameterError(
                f"trajectory={path.name!r} has {found} atoms and topology={topology.name!r} has "
                f"{len(universe.atoms)}. Give the topology that the trajectory was written with, "
                "for example with the same waters removed."
            )
    try:
        with quiet_mdanalysis():
            universe.load_new(names[0] if len(names) == 1 else names)
    except READING_ERRORS as exc:
        named = ", ".join(path.name for path in trajectories)
        raise ParameterError(
            f"trajectory={named!r} with topology={topology.name!r} cannot be read: "
            f"{_one_line(exc)}. If the file was cut short or is damaged, copy it again."
        ) from exc


def _count_atoms(path: Path) -> int | None:
    """Atoms in a trajectory; None for a format that does not say before it is read."""
    from MDAnalysis.coordinates.core import get_reader_for

    try:
        with quiet_mdanalysis():
            return int(get_reader_for(str(path)).parse_n_atoms(str(path)))
    except NotImplementedError:
        return None
    except READING_ERRORS as exc:
        raise ParameterError(f"trajectory={path.name!r} cannot be read: {_one_line(exc)}.") from exc


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split()).rstrip(".")[:200] or type(exc).__name__
