"""Frames read one after the other, with errors that name the file, the frame and the atom.

A trajectory that was cut short while it was copied opens like a good one, since only its headers
are looked at; the damage shows when the frame is read. Frames are counted over all files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.errors import ParameterError
from labkit.hotspots.reading import DAMAGED, quiet_mdanalysis

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe


def read_frame(universe: Universe, frame: int) -> Any:
    """Go to a frame of the trajectory.

    Raises
    ------
    ParameterError
        The file is damaged there.
    """
    try:
        with quiet_mdanalysis():
            return universe.trajectory[int(frame)]
    except DAMAGED as exc:
        raise ParameterError(_damaged(universe, int(frame), str(exc))) from exc


def read_frames(universe: Universe, frames: np.ndarray) -> Iterator[Any]:
    """Frames in the order given; a range with even steps is read without seeking where possible.

    Take them inside `quiet_mdanalysis`: a damaged file makes MDAnalysis warn before it fails.

    Raises
    ------
    ParameterError
        A file is damaged at a frame.
    """
    steps = np.unique(np.diff(frames))
    if len(steps) == 1 and steps[0] > 0:
        chosen = universe.trajectory[int(frames[0]) : int(frames[-1]) + 1 : int(steps[0])]
    else:
        chosen = universe.trajectory[frames]
    following = iter(chosen)
    for frame in frames:
        try:
            ts = next(following, None)
        except DAMAGED as exc:
            raise ParameterError(_damaged(universe, int(frame), str(exc))) from exc
        if ts is None:  # MDAnalysis takes an error for the end when it reads all frames
            raise ParameterError(_damaged(universe, int(frame), "the file ends"))
        yield ts


def require_numbers(atoms: AtomGroup, frame: int) -> None:
    """Refuse coordinates that are NaN or infinite, in the frame that was read last.

    Raises
    ------
    ParameterError
        Naming the frame and the first such atom.
    """
    wrong = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if not len(wrong):
        return
    atom = atoms[wrong[0]]
    where = f"{getattr(atom, 'name', f'atom {atom.index}')} of "
    where += f"{getattr(atom, 'resname', 'residue ')}{getattr(atom, 'resid', atom.resindex)}"
    raise ParameterError(
        f"frame {frame} has coordinates that are not numbers: {len(wrong)} atoms, the first is "
        f"{where}. The simulation blew up there, or the file is damaged; leave the frame out with "
        "start, stop and step."
    )


def _damaged(universe: Universe, frame: int, reason: str) -> str:
    readers = getattr(universe.trajectory, "readers", None) or [universe.trajectory]
    ends = np.cumsum([reader.n_frames for reader in readers])
    k = min(int(np.searchsorted(ends, frame, side="right")), len(readers) - 1)
    local = frame - int(ends[k] - readers[k].n_frames)
    name = Path(str(readers[k].filename)).name
    counted = f"frame {frame}" + (f" (its frame {local})" if local != frame else "")
    advice = f"use stop={frame} to take the frames before, or copy" if frame else "copy"
    return (
        f"trajectory={name!r} cannot be read at {counted}: {' '.join(reason.split()).rstrip('.')}. "
        f"The file was cut short or is damaged there: {advice} the file again."
    )
