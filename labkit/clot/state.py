"""State of a simulation between two segments: everything that is needed to go on.

Particles are in the order of their numbers 1..n everywhere: platelets first, each as one block of
its membrane and then its cytoplasm, plasma last.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labkit.atomic import replace_bytes
from labkit.choices import require_whole
from labkit.clot.npz import read_arrays
from labkit.errors import ParameterError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Positions and velocities at one time.

    Attributes
    ----------
    x : array of shape (n, 3)
        Positions inside the box [rc].
    v : array of shape (n, 3)
        Velocities [rc/time].
    image : int array of shape (n, 3)
        How many times each particle left the box, along each of its edges.
    box : array of shape (3,)
        Edge lengths of the box [rc]; its lower corner is the origin.
    tilt : float
        Shift along x of the upper end of y [rc] (Lees-Edwards), as the engine holds it.
    time : float
        [time]
    n_segments : int
        Segments run so far; seeds of the noise are derived from it.
    """

    x: Array
    v: Array
    image: NDArray[np.int32]
    box: Array
    tilt: float = 0.0
    time: float = 0.0
    n_segments: int = 0

    def unwrapped(self) -> Array:
        """Return positions that do not jump where a particle crosses the box [rc], shape (n, 3)."""
        shift = self.image * self.box
        shift[:, 0] += self.image[:, 1] * self.tilt
        return self.x + shift

    def require_of(self, n_particles: int, box: Array) -> None:
        """Refuse a state of something else, or one that is none.

        Parameters
        ----------
        n_particles : int
        box : array of shape (3,)
            Edges [rc].

        Raises
        ------
        ParameterError
            Saying what is wrong with it.
        """
        shapes = {"x": self.x.shape, "v": self.v.shape, "image": self.image.shape}
        if set(shapes.values()) != {(n_particles, 3)} or not np.array_equal(self.box, box):
            listed = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
            raise ParameterError(
                f"snapshot has {listed} in the box {self.box}, the suspension {n_particles} "
                f"particles in {box}; use a snapshot of the same suspension."
            )
        if not (np.isfinite(self.x).all() and np.isfinite(self.v).all()):
            raise ParameterError(
                "snapshot has positions or velocities that are no finite numbers; use an earlier "
                "one."
            )
        if not (abs(self.tilt) <= self.box[0] and math.isfinite(self.time)):
            raise ParameterError(
                f"snapshot has tilt={self.tilt:g} and time={self.time:g}; use a finite time, and "
                f"a tilt of no more than the box's length, {self.box[0]:g}."
            )
        require_whole("snapshot.n_segments", self.n_segments, low=0)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the snapshot to a file, whole or not at all."""
        target = Path(path).expanduser()
        target.parent.mkdir(parents=True, exist_ok=True)
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        written = io.BytesIO()
        np.savez(written, **values)
        replace_bytes(target, written.getvalue())
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Snapshot:
        """Read a snapshot.

        Raises
        ------
        ParameterError
            The file is missing or no snapshot.
        """
        try:
            stored = read_arrays(path)
            values: dict[str, Any] = {item.name: stored[item.name] for item in fields(cls)}
        except (OSError, KeyError, ValueError) as broken:
            raise ParameterError(
                f"snapshot={str(path)!r} cannot be read ({broken}); name a file that "
                "Snapshot.save wrote."
            ) from broken
        scalars = {"tilt": float, "time": float, "n_segments": int}
        return cls(**{k: scalars[k](a) if k in scalars else a for k, a in values.items()})
