"""Complexes that come with labkit, and congeneric series with measured affinities.

``ergotamine``: 5-HT1B receptor with ergotamine, 250 frames from the wheel of ProLIF (Apache-2.0).
The first 25 frames relax away from the starting structure and are left out by default.
``tyk2``: TYK2 kinase pocket with ligand ejm_31, 250 frames of 0.2 ps, made with labkit's pocket MD.

Series come from protein-ligand-benchmark (CC BY 4.0). Affinities are inhibition constants (Ki) or
half-inhibitory concentrations (IC50); both are turned into a free energy by

    dG = R T ln(value / 1 M),  T = 300 K,

which for IC50 is shifted by an unknown constant of the assay: compare within a series only.
"""

from __future__ import annotations

import hashlib
import importlib.util
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from rdkit import Chem

from labkit import datasets
from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.systems import Complex, load_complex

EXAMPLES = ("ergotamine", "tyk2")
SERIES = ("tyk2", "mcl1", "cdk2", "hif2a")
KCAL_PER_MOL_RT = 0.0019872043 * 300.0
MOLAR = {"M": 1.0, "mM": 1e-3, "uM": 1e-6, "nM": 1e-9, "pM": 1e-12}
PROLIF_SHA256 = {
    "top.pdb": "387ec524c3e82b7c891e9a7aa317222c9651a73ecdb61f67a872a9f87fdaa76a",
    "traj.xtc": "fbaa07a24a3550bf85a6dab6435768a1da5b3fde65deb37abf47f1899a0dabdf",
}


@dataclass(frozen=True, eq=False)
class CongenericSeries:
    """Ligands of one target that differ in a few places, with measured affinities.

    Parameters
    ----------
    target : str
        Short name.
    protein_pdb : pathlib.Path
        Prepared structure.
    ligands : list of rdkit.Chem.Mol
        With hydrogens and the coordinates of the pose; the name is the property ``_Name``.
    affinity : DataFrame
        ``name``, ``value``, ``unit``, ``kind`` ("ki" or "ic50"), ``dG_kcal_mol``; one row for each
        ligand, in the order of `ligands`.
    citation, license : str
        Source of the data.
    """

    target: str
    protein_pdb: Path
    ligands: list[Chem.Mol]
    affinity: pd.DataFrame
    citation: str
    license: str


def example(
    name: str, *, start: int | None = None, stop: int | None = None, step: int | None = None
) -> Complex:
    """Complex that comes with labkit.

    Parameters
    ----------
    name : {"ergotamine", "tyk2"}
        The first needs no data beside the installed packages.
    start, stop, step : int, optional
        Frames to analyze, as in a Python slice; ergotamine begins at frame 25 by default.

    Raises
    ------
    ParameterError
        No example has this name.
    MissingDataError
        Its files are not on this machine.
    """
    if name == "ergotamine":
        return _ergotamine(25 if start is None else start, stop, step)
    if name == "tyk2":
        return _tyk2(start, stop, step)
    raise ParameterError(f"example {name!r} is not known. Use one of {', '.join(EXAMPLES)}.")


def series(target: str) -> CongenericSeries:
    """Congeneric series of a target, from :mod:`labkit.datasets`.

    Parameters
    ----------
    target : {"tyk2", "mcl1", "cdk2", "hif2a"}

    Raises
    ------
    ParameterError
        No series has this name.
    MissingDataError
        Its files are neither on this machine nor to be had.
    """
    if target not in SERIES:
        raise ParameterError(f"series {target!r} is not known. Use one of {', '.join(SERIES)}.")
    entry = datasets.get(f"hotspots/{target}_ligands")
    with Chem.SDMolSupplier(str(datasets.path(entry)), removeHs=False) as supplier:
        ligands = list(supplier)
    measured = yaml.safe_load(datasets.path(f"hotspots/{target}_affinities").read_text())
    rows = [_affinity(mol.GetProp("_Name"), measured) for mol in ligands]
    return CongenericSeries(
        target=target,
        protein_pdb=datasets.path(f"hotspots/{target}_protein"),
        ligands=ligands,
        affinity=pd.DataFrame(rows),
        citation=entry.citation,
        license=entry.license,
    )


def _affinity(name: str, measured: dict[str, dict[str, dict[str, object]]]) -> dict[str, object]:
    key = name if name in measured else f"lig_{name}"
    found = measured[key]["measurement"]
    value, unit = float(str(found["value"])), str(found["unit"])
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "kind": str(found["type"]).lower(),
        "dG_kcal_mol": KCAL_PER_MOL_RT * float(np.log(value * MOLAR[unit])),
    }


def _ergotamine(start: int, stop: int | None, step: int | None) -> Complex:
    spec = importlib.util.find_spec("prolif")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDataError(
            "example 'ergotamine' is a trajectory in the package ProLIF, which is not installed. "
            "Run `pip install prolif`."
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    files = [folder / name for name in PROLIF_SHA256]
    for file in files:
        if not file.is_file():
            raise MissingDataError(f"example 'ergotamine': {file} is missing. Reinstall ProLIF.")
    complex = load_complex(
        files[0], _in_cache(files[1]), start=start, stop=stop, step=step, name="ergotamine"
    )
    return _with_source(
        complex,
        license="Apache-2.0 (ProLIF)",
        citation="Bouysset and Fiorucci, ProLIF, J. Cheminform. 13 (2021) 72; "
        "5-HT1B receptor with ergotamine: Wang et al., Science 340 (2013) 610-614 (PDB 4IAR)",
    )


def _tyk2(start: int | None, stop: int | None, step: int | None) -> Complex:
    entry = datasets.get("hotspots/tyk2_md_trajectory")
    complex = load_complex(
        datasets.path("hotspots/tyk2_md_topology"),
        _in_cache(datasets.path(entry)),
        template=datasets.path("hotspots/tyk2_md_ligand"),
        start=start,
        stop=stop,
        step=step,
        name="tyk2",
    )
    return _with_source(complex, license=entry.license, citation=entry.citation)


def _with_source(complex: Complex, **terms: str) -> Complex:
    return replace(complex, source={**complex.source, **terms})


def _in_cache(file: Path) -> Path:
    """Link to a trajectory in labkit's cache: MDAnalysis writes an index beside what it opens."""
    tag = hashlib.sha256(str(file).encode()).hexdigest()[:12]
    link = datasets.cache_folder() / "hotspots" / "opened" / tag / file.name
    with suppress(OSError):
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(file)
    return link if link.is_file() else file
