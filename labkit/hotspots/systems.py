"""A ligand in its protein over the frames of a simulation, loaded and checked.

The order of the ligand's heavy atoms in the topology is the order of the rows of every table and
tensor of this study. Frames are trajectory indices, counted over all files; several files are
replicas, and nothing that follows crosses from one into the next. Lengths are in angstrom.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.hotspots import reading
from labkit.hotspots.bond_orders import ligand_mol, set_positions
from labkit.hotspots.frames import read_frame, require_numbers
from labkit.hotspots.labels import residue_labels, unique_names
from labkit.hotspots.ligand import (
    MAX_BOND,
    ensure_bonds,
    longest_bond,
    other_residues,
    require_one_molecule,
    select_ligand,
)
from labkit.hotspots.reading import PathLike

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup, Universe

logger = logging.getLogger(__name__)

FRAMES_LOOKED_AT = 20


@dataclass(frozen=True, eq=False, repr=False)
class Complex:
    """A protein-ligand complex and the frames to analyze.

    Parameters
    ----------
    name : str
        Name for tables and figures.
    universe : MDAnalysis.Universe
        Topology and trajectory.
    ligand : MDAnalysis.AtomGroup
        All atoms of the ligand.
    heavy : MDAnalysis.AtomGroup
        Its heavy atoms: the order of rows everywhere.
    protein : MDAnalysis.AtomGroup
        Heavy atoms of the protein.
    mol : rdkit.Chem.Mol
        The ligand in the order of `ligand`, with bond orders and one conformer: the first frame.
    heavy_in_mol : ndarray of shape (n_atoms,)
        Index in `mol` of each heavy atom.
    frames : ndarray of shape (n_frames,)
        Trajectory indices to analyze.
    replica : ndarray of shape (n_frames,)
        Number of the trajectory file that each frame comes from.
    times_ps : ndarray of shape (n_frames,) or None
        Time of each frame; None where the file's times are not those of a simulation.
    atom_names : tuple of str
        Unique name of each heavy atom; a second ``C1`` is ``C1#2``.
    residue_labels : tuple of str
        Label of each protein residue: ``ASP129``, or ``ASP129.A`` where several chains have it.
    notes : tuple of str
        One sentence for each thing that was found and mended while loading.
    source : dict
        ``files`` and their ``sha256``, the selections ``ligand`` and ``protein``; ``license`` and
        ``citation`` where known.
    """

    name: str
    universe: Universe
    ligand: AtomGroup
    heavy: AtomGroup
    protein: AtomGroup
    mol: Chem.Mol
    heavy_in_mol: np.ndarray
    frames: np.ndarray
    replica: np.ndarray
    times_ps: np.ndarray | None
    atom_names: tuple[str, ...]
    residue_labels: tuple[str, ...]
    notes: tuple[str, ...]
    source: dict[str, object]

    @property
    def n_atoms(self) -> int:
        """Number of heavy atoms of the ligand."""
        return len(self.atom_names)

    @property
    def n_frames(self) -> int:
        """Number of frames to analyze."""
        return len(self.frames)

    @property
    def n_residues(self) -> int:
        """Number of residues of the protein."""
        return len(self.residue_labels)

    @property
    def has_hydrogens(self) -> bool:
        """Whether ligand and protein have hydrogens, which typed interactions need."""
        groups = (self.ligand, self.protein.residues.atoms)
        return all("H" in atoms.elements for atoms in groups)

    def summary(self) -> pd.DataFrame:
        """What was loaded, in a table of one column."""
        first, last = int(self.frames[0]), int(self.frames[-1])
        clock = "frames are counted, not timed" if self.times_ps is None else f"{self._span()} ps"
        rows = {
            "ligand": Chem.MolToSmiles(Chem.RemoveHs(self.mol)),
            "heavy atoms of the ligand": str(self.n_atoms),
            "residues of the protein": str(self.n_residues),
            "frames": f"{self.n_frames}: {first} to {last} of {self.universe.trajectory.n_frames}",
            "time": clock,
            "replicas": str(len(np.unique(self.replica))),
            "citation": str(self.source.get("citation", "")),
            "license": str(self.source.get("license", "")),
            "notes": " ".join(self.notes),
        }
        filled = {name: text for name, text in rows.items() if text}
        return pd.DataFrame({self.name: filled.values()}, index=pd.Index(filled))

    def __repr__(self) -> str:
        return f"<Complex {self.name}: {self.n_atoms} ligand atoms, {self.n_frames} frames>"

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.summary().to_html()

    def _span(self) -> str:
        assert self.times_ps is not None
        return f"{self.times_ps[0]:g} to {self.times_ps[-1]:g}"

    def positions(self, frame: int, atoms: AtomGroup | None = None) -> np.ndarray:
        """Positions in one frame, angstrom.

        Parameters
        ----------
        frame : int
            Trajectory index, one of `frames` or not.
        atoms : MDAnalysis.AtomGroup, optional
            Of this universe; the ligand's heavy atoms by default.

        Returns
        -------
        ndarray of shape (n, 3), float32
        """
        read_frame(self.universe, frame)
        return (self.heavy if atoms is None else atoms).positions.copy()

    def select_frames(
        self, start: int | None = None, stop: int | None = None, step: int | None = None
    ) -> Complex:
        """The same complex with some of its frames, counted from 0 among `frames`."""
        keep = _frame_range(self.n_frames, start, stop, step)
        mol = Chem.Mol(self.mol)
        set_positions(mol, self.positions(self.frames[keep[0]], self.ligand))
        return replace(
            self,
            mol=mol,
            frames=self.frames[keep],
            replica=self.replica[keep],
            times_ps=None if self.times_ps is None else self.times_ps[keep],
        )


def load_complex(
    topology: PathLike,
    trajectory: PathLike | Sequence[PathLike] | None = None,
    *,
    ligand: str = "resname LIG",
    protein: str = "protein",
    template: PathLike | None = None,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    name: str | None = None,
) -> Complex:
    """Load a complex, and mend or refuse what would make the analysis wrong.

    Parameters
    ----------
    topology : path
        Any topology that MDAnalysis reads (PDB, GRO, PSF, PRMTOP, TPR, ...).
    trajectory : path or sequence of paths, optional
        Trajectory files; several are replicas. The topology's own coordinates by default.
    ligand, protein : str
        Selections in MDAnalysis' language.
    template : str or path, optional
        SMILES, SDF, MOL or MOL2 of the ligand, for its bond orders.
    start, stop, step : int, optional
        Frames to analyze, as in a Python slice over all files.
    name : str, optional
        Name for tables and figures; the topology's file name by default.

    Returns
    -------
    Complex
        Its `notes` say what was mended.

    Raises
    ------
    MissingDataError
        A file is not there.
    ParameterError
        The selection is empty or more than one molecule, there is no protein, bond orders cannot
        be told, files do not fit together, or coordinates are not numbers.
    """
    path = reading.existing_file(topology, "topology")
    files = reading.trajectory_files(trajectory)
    universe = reading.open_universe(path, files)
    frames = _frame_range(universe.trajectory.n_frames, start, stop, step)
    times, time_note = reading.frame_times_ps(universe, frames)
    notes = [_one_frame(frames), reading.fill_elements(universe), time_note]
    read_frame(universe, frames[0])
    atoms, note = reading.one_conformation(select_ligand(universe, ligand))
    receptor, receptor_note = _select_protein(universe, protein, atoms, ligand)
    notes += [note, receptor_note]
    require_numbers(atoms | receptor, int(frames[0]))
    notes += [ensure_bonds(atoms)]
    require_one_molecule(atoms, ligand)
    notes += [_mend_periodic(universe, atoms, receptor, frames)]
    read_frame(universe, frames[0])
    mol, note = ligand_mol(atoms, template)
    heavy = atoms[atoms.elements != "H"]
    names, name_note = unique_names([str(n) for n in heavy.names])
    notes = [note for note in (*notes, note, name_note) if note]
    for text in notes:
        logger.info("%s: %s", path.name, text)
    receptor_heavy = receptor[receptor.elements != "H"]
    return Complex(
        name=name or path.stem,
        universe=universe,
        ligand=atoms,
        heavy=heavy,
        protein=receptor_heavy,
        mol=mol,
        heavy_in_mol=np.flatnonzero(atoms.elements != "H"),
        frames=frames,
        replica=reading.replica_of_frames(universe)[frames],
        times_ps=None if times is None else times[frames],
        atom_names=names,
        residue_labels=residue_labels(receptor_heavy),
        notes=tuple(notes),
        source={
            "files": [file.name for file in (path, *files)],
            "sha256": [reading.sha256(file) for file in (path, *files)],
            "ligand": ligand,
            "protein": protein,
        },
    )


def _frame_range(n: int, start: int | None, stop: int | None, step: int | None) -> np.ndarray:
    if step is not None and step < 1:
        raise ParameterError(f"step={step} is not allowed. Give 1 or more.")
    frames = np.arange(n)[slice(start, stop, step)]
    if not len(frames):
        raise ParameterError(
            f"start={start}, stop={stop}, step={step} leaves none of {n} frames. "
            f"Frames are counted from 0 to {n - 1}."
        )
    return frames


def _one_frame(frames: np.ndarray) -> str:
    if len(frames) > 1:
        return ""
    return "There is one frame: give a trajectory, what happens over time cannot be told from it."


def _select_protein(
    universe: Universe, selection: str, ligand: AtomGroup, ligand_selection: str
) -> tuple[AtomGroup, str]:
    from MDAnalysis.exceptions import SelectionError

    try:
        selected = universe.select_atoms(selection)
    except (SelectionError, AttributeError, ValueError) as exc:
        raise ParameterError(
            f"protein={selection!r} is not a selection that MDAnalysis understands "
            f"({' '.join(str(exc).split())})."
        ) from exc
    atoms, note = reading.one_conformation(selected - ligand)
    if np.any(atoms.elements != "H"):
        return atoms, note
    if np.any(selected.elements != "H"):
        raise ParameterError(
            f"ligand={ligand_selection!r} selects the whole protein. Select the small molecule "
            "alone, for example ligand='resname LIG'. Residues that are neither protein nor "
            f"water: {other_residues(universe)}."
        )
    found = ", ".join(sorted(set(universe.residues.resnames))[:10])
    raise ParameterError(
        f"protein={selection!r} selects no heavy atom beside the ligand. Residue names in the "
        f"topology: {found}. Give protein='resname ...' for unusual names."
    )


def _mend_periodic(
    universe: Universe, ligand: AtomGroup, protein: AtomGroup, frames: np.ndarray
) -> str:
    from labkit.hotspots.periodic import is_broken, make_whole

    transformation = make_whole(universe, ligand, protein)
    looked_at = np.unique(np.linspace(0, len(frames) - 1, FRAMES_LOOKED_AT).astype(int))
    broken = []
    for frame in frames[looked_at]:
        ts = read_frame(universe, frame)
        if is_broken(transformation, ts):
            broken.append(int(frame))
            continue
        length, bond = longest_bond(ligand)
        if np.isfinite(length) and length > MAX_BOND:
            raise ParameterError(
                f"the ligand's bond {bond} is {length:.1f} A long in frame {frame}, and no "
                "periodic box explains it. Make molecules whole first, for example with "
                "`gmx trjconv -pbc mol`, and check that topology and trajectory belong together."
            )
    if not broken:
        return ""
    universe.trajectory.add_transformations(transformation)
    return (
        f"Molecules are cut by the periodic boundary in {len(broken)} of {len(looked_at)} frames "
        "looked at; they are made whole while frames are read."
    )
