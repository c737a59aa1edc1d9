"""A trajectory written in parts, so that a run that was killed goes on where it stopped.

A part is a few frames (``.xtc``), their energies (``.csv``) and the state after the last of them
(``.xml``). It counts when its state is there, since that is written last and put in place by a
rename. An xtc file is a row of frames, so the whole trajectory is the parts end to end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.atomic import replace_text
from labkit.hotspots.simulate.engine import app, openmm

COLUMNS = ("frame", "time_ps", "potential_kj_mol", "kinetic_kj_mol", "temperature_K")


@dataclass(frozen=True)
class Parts:
    """The parts of one run, in a folder of their own.

    Parameters
    ----------
    folder : Path
    topology : openmm.app.Topology
        Of the atoms that are written.
    report_ps : float
        Time between frames.
    """

    folder: Path
    topology: Any
    report_ps: float

    def done(self) -> int:
        """Number of parts that are complete."""
        count = 0
        while self.file(count, "xml").is_file():
            count += 1
        return count

    @property
    def begun(self) -> bool:
        """Whether there is a state to begin or go on with."""
        return (self.folder / "start.xml").is_file()

    def begin(self, state: Any) -> None:
        """Keep the state that the run begins with."""
        replace_text(self.folder / "start.xml", openmm.XmlSerializer.serialize(state))

    def state(self, count: int) -> Any:
        """State after the first `count` parts; 0 is the state the run begins with."""
        path = self.file(count - 1, "xml") if count else self.folder / "start.xml"
        return openmm.XmlSerializer.deserialize(path.read_text())

    def open(self, number: int, first: int) -> Part:
        """Begin a part whose first frame has index `first`; an unfinished one is overwritten."""
        xtc = self.file(number, "xtc")
        xtc.unlink(missing_ok=True)
        file = app.XTCFile(str(xtc), self.topology, self.report_ps, firstStep=first + 1)
        return Part(self, number, file)

    def join(self, trajectory: Path, energies: Path) -> pd.DataFrame:
        """Write the whole trajectory and all energies, and return the energies."""
        numbers = range(self.done())
        with trajectory.open("wb") as whole:
            for number in numbers:
                with self.file(number, "xtc").open("rb") as part:
                    shutil.copyfileobj(part, whole)
            whole.flush()
            os.fsync(whole.fileno())
        tables = [pd.read_csv(self.file(number, "csv")) for number in numbers]
        table = pd.concat(tables, ignore_index=True)
        table.to_csv(energies, index=False)
        return table

    def file(self, number: int, kind: str) -> Path:
        """Path of a file of a part."""
        return self.folder / f"part-{number:05d}.{kind}"


@dataclass
class Part:
    """A part that is being written; made by `Parts.open`."""

    parts: Parts
    number: int
    xtc: Any
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, positions_nm: np.ndarray, box: Any, row: tuple[float, ...]) -> None:
        """Write a frame, and keep its row of ``COLUMNS``."""
        self.xtc.writeModel(positions_nm, periodicBoxVectors=box)
        self.rows.append(row)

    def finish(self, state: Any) -> None:
        """Write the energies and the state after the last frame: the part now counts."""
        table = pd.DataFrame(self.rows, columns=list(COLUMNS))
        table.to_csv(self.parts.file(self.number, "csv"), index=False)
        replace_text(self.parts.file(self.number, "xml"), openmm.XmlSerializer.serialize(state))


def move_into_place(source: Path, target: Path, names: Iterable[str]) -> None:
    """Move finished files to where the user looks for them, in this order."""
    for name in names:
        (source / name).replace(target / name)
