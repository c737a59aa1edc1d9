"""Simulate the lead of a congeneric series, and compare a ranking of its atoms with affinities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import datasets
from labkit.hotspots.examples import series
from labkit.hotspots.validation import panel_of, sar_sites, simulated_ligand

if TYPE_CHECKING:
    from labkit.hotspots.simulate import MDRun
    from labkit.hotspots.study import HotspotResults
    from labkit.hotspots.validation import SarPanel

Progress = Callable[[int, int, str], None]

SHIPPED_PARAMETERS = {
    ("tyk2", "lig_ejm_31"): ("hotspots/tyk2_md_mol2", "hotspots/tyk2_md_frcmod"),
}
"""Leads whose GAFF2 parameters are a data set, so that nothing has to make them."""


def simulate_lead(
    target: str,
    out_dir: str | Path,
    *,
    ps: float = 50.0,
    report_ps: float = 0.2,
    seed: int = 0,
    progress: Progress | None = None,
) -> MDRun:
    """Molecular dynamics of the smallest ligand of a series in its pocket.

    Parameters
    ----------
    target : {"tyk2", "mcl1", "cdk2", "hif2a"}
        Series.
    out_dir : str or Path
        Folder for the run; a finished run with the same settings is returned as it is.
    ps, report_ps : float
        Length and time between frames, picoseconds; the length is rounded to whole frames, one at
        least.
    seed : int
        Of velocities and thermostat.
    progress : callable, optional
        Called with frames done, in all, and a text.

    Returns
    -------
    MDRun

    Raises
    ------
    MissingExtraError
        OpenMM or ParmEd is not installed.
    ParametrizationError
        Nothing on this machine can parametrize the ligand.
    """
    from labkit.hotspots.simulate import parametrize_ligand, pocket_system, run_md

    known = series(target)
    name = sar_sites(known).lead
    lead = next(mol for mol in known.ligands if mol.GetProp("_Name") == name)
    names = SHIPPED_PARAMETERS.get((target, name), ())
    parameters = parametrize_ligand(lead, files=[datasets.path(n) for n in names] or None)
    pocket = pocket_system(known.protein_pdb, lead)
    ps = report_ps * max(1, round(ps / report_ps))
    return run_md(
        pocket, parameters, out_dir, ps=ps, report_ps=report_ps, seed=seed, progress=progress
    )


def run_affinities(results: HotspotResults) -> SarPanel | None:
    """Compare the scores of a run with the sites that chemists varied.

    Parameters
    ----------
    results : HotspotResults

    Returns
    -------
    SarPanel or None
        One target; None where the configuration names none.

    Raises
    ------
    ParameterError
        The ligand is none of the series of ``config.target``.
    """
    target = results.config.target
    if target is None:
        return None
    known = series(target)
    lead = simulated_ligand(known, results.complex)
    sites = sar_sites(known, lead).for_complex(results.complex)
    return panel_of({target: results.scores}, {target: sites})
