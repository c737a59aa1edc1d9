"""A trajectory written in parts, so that a run that was killed goes on where it stopped.

A part is a few frames (``.xtc``), their energies (``.csv``) and the state after the last of them
(``.xml``), written in this order: a part counts when its state is there, since only that file is
put in place by a rename. An xtc file is a row of frames, so the whole is the parts end to end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.hotspots.simulate.engine import app, openmm, unit

COLUMNS = ("frame", "time_ps", "potential_kj_mol", "kinetic_kj_mol", "temperature_K")


@dataclass(frozen=True)
class Parts:
    """The parts of one run, in a folder of their own.

    Parameters
    ----------
    folder : Path
    topology : openmm.app.Topology
        Of the atoms that are written.
    atoms : ndarray of int
        These atoms among all that are simulated.
    report_ps : float
        Time between frames.
    """

    folder: Path
    topology: Any
    atoms: np.ndarray
    report_ps: float

    def done(self) -> int:
        """Number of parts that are complete."""
        count = 0
        while self._file(count, "xml").is_file():
            count += 1
        return count

    def state(self, count: int) -> Any:
        """State after the first `count` parts; 0 is the state the run begins with."""
        path = self._file(count - 1, "xml") if count else self.folder / "start.xml"
        return openmm.XmlSerializer.deserialize(path.read_text())

    def begin(self, state: Any) -> None:
        """Keep the state that the run begins with."""
        _put(self.folder / "start.xml", openmm.XmlSerializer.serialize(state))

    @property
    def begun(self) -> bool:
        """Whether there is a state to begin or go on with."""
        return (self.folder / "start.xml").is_file()

    def write(
        self, number: int, first: int, frames: list[Any], rows: list[tuple[float, ...]]
    ) -> None:
        """Write a part: states of its frames, and one row of ``COLUMNS`` each."""
        xtc = self._file(number, "xtc")
        xtc.unlink(missing_ok=True)
        file = app.XTCFile(str(xtc), self.topology, self.report_ps, firstStep=first)
        for state in frames:
            positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
            file.writeModel(positions[self.atoms], periodicBoxVectors=_box(state, self.topology))
        pd.DataFrame(rows, columns=COLUMNS).to_csv(self._file(number, "csv"), index=False)
        _put(self._file(number, "xml"), openmm.XmlSerializer.serialize(frames[-1]))

    def join(self, trajectory: Path, energies: Path) -> pd.DataFrame:
        """Write the whole trajectory and all energies."""
        numbers = range(self.done())
        with trajectory.open("wb") as whole:
            for number in numbers:
                with self._file(number, "xtc").open("rb") as part:
                    shutil.copyfileobj(part, whole)
            whole.flush()
            os.fsync(whole.fileno())
        table = pd.concat(
            [pd.read_csv(self._file(number, "csv")) for number in numbers], ignore_index=True
        )
        table.to_csv(energies, index=False)
        return table

    def _file(self, number: int, kind: str) -> Path:
        return self.folder / f"part-{number:05d}.{kind}"


def move_into_place(source: Path, target: Path, names: Iterable[str]) -> None:
    """Move finished files to where the user looks for them, in this order."""
    for name in names:
        (source / name).replace(target / name)


def _box(state: Any, topology: Any) -> Any:
    return None if topology.getPeriodicBoxVectors() is None else state.getPeriodicBoxVectors()


def _put(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
