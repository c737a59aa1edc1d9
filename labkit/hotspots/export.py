"""Tables, molecules and provenance of a run as files that other programs read.

Every file appears complete or not at all, so that a run which is killed leaves no half of one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rdkit import Chem

from labkit.atomic import replace_text
from labkit.errors import ParameterError
from labkit.hotspots.scene import pdb_block

if TYPE_CHECKING:
    from labkit.hotspots.study import HotspotResults


def export_results(results: HotspotResults, directory: str | Path) -> list[Path]:
    """Write everything that a run found.

    Parameters
    ----------
    results : HotspotResults
    directory : str or Path
        Made if it does not exist; files of an earlier export are replaced.

    Returns
    -------
    list of Path
        ranking.csv, fragments.csv, scores.csv, lifetimes.csv, occupancy.csv, clusters.csv;
        ligand.sdf (score and verdict as atom properties), complex.pdb (first frame, the score
        from 0 to 100 of ligand atoms as B-factor); provenance.json.
    """
    folder = Path(directory).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as exc:
        raise ParameterError(f"out_dir={str(directory)!r} is a file; name a folder.") from exc
    contacts, cutoff = results.contacts, results.config.cutoff_A
    texts = {
        "ranking.csv": results.summary().to_csv(),
        "fragments.csv": results.fragment_table.ordered().to_csv(index=False),
        "scores.csv": results.scores.to_csv(),
        "lifetimes.csv": contacts.lifetimes(cutoff=cutoff).to_csv(index=False),
        "occupancy.csv": contacts.occupancy(cutoff=cutoff).to_csv(),
        "clusters.csv": results.clusters.frame.to_csv(index=False),
        "ligand.sdf": ligand_sdf(results),
        "complex.pdb": complex_pdb(results),
        "provenance.json": json.dumps(results.provenance, indent=2, default=str) + "\n",
    }
    for name, text in texts.items():
        replace_text(folder / name, text)
    return [folder / name for name in texts]


def ligand_sdf(results: HotspotResults) -> str:
    """The ligand of the first frame as an SDF record with its scores as atom properties."""
    mol = Chem.Mol(results.complex.mol)
    mol.SetProp("_Name", results.complex.name)
    frame = results.table.frame
    for index, row in zip(results.complex.heavy_in_mol, frame.itertuples(), strict=True):
        atom = mol.GetAtomWithIdx(int(index))
        atom.SetDoubleProp("score", float(row.score))
        atom.SetDoubleProp("rank", float(row.rank))
        atom.SetProp("verdict", str(row.verdict))
        atom.SetProp("name", str(row.atom))
    for name in ("score", "rank"):
        Chem.CreateAtomDoublePropertyList(mol, name, missingValueMarker="nan")
    for name in ("verdict", "name"):
        Chem.CreateAtomStringPropertyList(mol, name, missingValueMarker="-")
    return Chem.SDWriter.GetText(mol)


def complex_pdb(results: HotspotResults) -> str:
    """The first frame as PDB, the ligand's B-factors its scores scaled to 0..100."""
    scores = results.table.frame["score"].to_numpy(dtype=float)
    low, high = np.nanmin(scores), np.nanmax(scores)
    width = high - low if high > low else 1.0
    return pdb_block(results.complex, 100 * (scores - low) / width)
