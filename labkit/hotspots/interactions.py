"""What kinds of contact there are: hydrogen bonds, salt bridges, stacking, as ProLIF types them.

Typing needs chemistry, which takes half a second per frame: use it on a few frames, to put a name
to what the contact tensor shows. Definitions: Bouysset and Fiorucci, J. Cheminform. 13 (2021) 72.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.reading import quiet_mdanalysis

if TYPE_CHECKING:
    from labkit.hotspots.systems import Complex

COLUMNS = ("frame", "atom", "residue", "interaction", "distance")
REACH = 8.0


def typed_interactions(
    complex: Complex, *, n_frames: int = 5, interactions: Sequence[str] | None = None
) -> pd.DataFrame:
    """Typed interactions of the ligand's atoms in a few frames.

    Parameters
    ----------
    complex : Complex
        With hydrogens in both ligand and protein.
    n_frames : int
        Frames, evenly spaced over those of the complex.
    interactions : sequence of str, optional
        Names that ProLIF knows, such as ``"HBDonor"``; its default set otherwise. A type is named
        for the ligand: a ligand's ``HBDonor`` gives its hydrogen.

    Returns
    -------
    DataFrame
        ``frame``, ``atom`` (of `atom_names`), ``residue`` (of `residue_labels`), ``interaction``,
        ``distance`` in angstrom; one row for each ligand atom of each interaction found.

    Raises
    ------
    MissingDataError
        ProLIF is not installed.
    ParameterError
        Hydrogens are missing, `n_frames` is below 1, or ProLIF does not know an interaction.
    """
    if n_frames < 1:
        raise ParameterError(f"n_frames={n_frames} is not allowed. Give 1 or more.")
    prolif = _prolif()
    _require_known(interactions, prolif.Fingerprint.list_available())
    pocket = complex.universe.select_atoms(
        f"byres (group protein and around {REACH:g} group ligand)",
        protein=complex.protein,
        ligand=complex.ligand,
    )
    for atoms, what in ((complex.ligand, "ligand"), (pocket, "protein")):
        if "H" not in atoms.elements:
            raise ParameterError(
                f"the {what} has no hydrogen atoms, which tell hydrogen bonds and charges. "
                "Use a topology with hydrogens."
            )
    _complete_bonds(pocket)
    picked = np.unique(np.linspace(0, complex.n_frames - 1, n_frames).round().astype(int))
    frames = complex.frames[picked].tolist()
    chosen = {} if interactions is None else {"interactions": list(interactions)}
    fingerprint = prolif.Fingerprint(**chosen, count=True)
    with quiet_mdanalysis():
        fingerprint.run(
            complex.universe.trajectory[frames], complex.ligand, pocket, progress=False, n_jobs=1
        )
    rows = sorted(set(_rows(fingerprint.ifp, complex, pocket)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(found: dict[int, Any], complex: Complex, pocket: Any) -> Iterator[tuple[Any, ...]]:
    heavy = _heavy_atoms(complex)
    label = dict(zip(complex.protein.residues.ix, complex.residue_labels, strict=True))
    for frame, pairs in found.items():
        for interactions in pairs.values():
            for name, events in interactions.items():
                for event in events:
                    there = pocket[event["parent_indices"]["protein"][0]].resindex
                    distance = round(float(event["distance"]), 3)
                    for k in {heavy[i] for i in event["parent_indices"]["ligand"]}:
                        yield int(frame), complex.atom_names[k], label[there], name, distance


def _complete_bonds(pocket: Any) -> None:
    """Guess the protein's bonds where the file names only some, as CONECT records of a PDB do."""
    inside = np.isin(pocket.bonds.indices, pocket.indices).all(axis=1).sum()
    if inside < len(pocket) - len(pocket.residues):
        with quiet_mdanalysis():
            pocket.guess_bonds()


def _heavy_atoms(complex: Complex) -> dict[int, int]:
    """Row of each ligand atom; a hydrogen has that of the atom it is bonded to."""
    row = {int(index): k for k, index in enumerate(complex.heavy_in_mol)}
    for atom in complex.mol.GetAtoms():
        if atom.GetAtomicNum() == 1:
            row[atom.GetIdx()] = row[atom.GetNeighbors()[0].GetIdx()]
    return row


def _require_known(interactions: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in interactions or ():
        if name not in known:
            raise ParameterError(
                f"interactions: {name!r} is not known to ProLIF. Use some of {', '.join(known)}."
            )


def interaction_summary(typed: pd.DataFrame) -> pd.DataFrame:
    """Interactions by residue and kind, those of most frames first, without mere contacts.

    Parameters
    ----------
    typed : DataFrame
        Of `typed_interactions`.

    Returns
    -------
    DataFrame
        ``residue``, ``interaction``, ``frames`` (in how many it was found), ``atoms`` of the
        ligand, ``distance`` (mean, angstrom).
    """
    specific = typed[~typed["interaction"].isin(("VdWContact", "Hydrophobic"))]
    grouped = specific.groupby(["residue", "interaction"])
    table = pd.DataFrame(
        {
            "frames": grouped["frame"].nunique(),
            "atoms": grouped["atom"].agg(lambda names: ", ".join(sorted(set(names)))),
            "distance": grouped["distance"].mean(),
        }
    )
    return table.sort_values("frames", ascending=False, kind="stable").reset_index()


def _prolif() -> Any:
    with warnings.catch_warnings():
        # ProLIF 2.2 imports a table from where MDAnalysis kept it before 2.8.
        warnings.filterwarnings(
            "ignore", message="Deprecated in version 2.8.0", category=DeprecationWarning
        )
        try:
            import prolif
        except ImportError as exc:
            raise MissingDataError(
                "typed interactions need the package ProLIF. Run `pip install prolif`."
            ) from exc
    return prolif
