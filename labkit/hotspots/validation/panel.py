"""The affinity panel: whether scores of a lead's atoms point at the sites that chemists varied.

One trajectory of the lead of each target is scored as the study scores it, and every score is
compared with the sites of the target's series (:mod:`labkit.hotspots.validation.sar`); what the
targets say together is in :mod:`labkit.hotspots.validation.evidence`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import SERIES, CongenericSeries, example, series
from labkit.hotspots.scores import atom_scores
from labkit.hotspots.systems import Complex, load_complex
from labkit.hotspots.temporal import atom_windows
from labkit.hotspots.training import FAST, CVAEConfig, fit_ensemble
from labkit.hotspots.validation.alignment import heavy_atoms, name_of, same_molecule
from labkit.hotspots.validation.evidence import SarPanel, panel_of
from labkit.hotspots.validation.sar import sar_sites

Progress = Callable[[int, int, str], None]


def sar_panel(
    complexes: Mapping[str, Complex],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    window: int = 16,
    stride: int = 4,
    config: CVAEConfig = FAST,
    n_permutations: int = 2000,
    confidence: float = 0.95,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> SarPanel:
    """Score one trajectory per target and compare with the sites of its series.

    Parameters
    ----------
    complexes : mapping of str to Complex
        Targets of :data:`labkit.hotspots.examples.SERIES`, each with a trajectory of a ligand of
        the series; see :func:`panel_complexes`. The ligand that was simulated is the lead.
    seeds : sequence of int
        Of the autoencoders, whose spreads are averaged.
    window, stride : int
        Frames.
    config : CVAEConfig
    n_permutations : int
    confidence : float
    n_jobs : int
        Autoencoders trained at a time.
    progress : callable, optional
        Called with targets done, targets in all and a text.

    Returns
    -------
    SarPanel

    Raises
    ------
    ParameterError
        No target, or a ligand that is not of its target's series.
    CollapsedLatentError
        An autoencoder learned nothing.
    """
    scores, sites, notes = {}, {}, []
    for done, (target, system) in enumerate(complexes.items()):
        if progress:
            progress(done, len(complexes), f"affinity panel: {target}")
        known = series(target)
        simulated, smallest = simulated_ligand(known, system), sar_sites(known).lead
        if simulated != smallest:
            notes.append(f"{target}: {simulated} was simulated; the smallest is {smallest}.")
        sites[target] = sar_sites(known, simulated).for_complex(system)
        scores[target] = score_complex(
            system, seeds=seeds, window=window, stride=stride, config=config, n_jobs=n_jobs
        )
    return panel_of(
        scores, sites, n_permutations=n_permutations, confidence=confidence, notes=notes
    )


def panel_complexes(
    folder: str | Path | None = None, targets: Sequence[str] = SERIES
) -> dict[str, Complex]:
    """Trajectories of the panel.

    Parameters
    ----------
    folder : path, optional
        Holds ``<target>/topology.pdb``, ``trajectory*.xtc`` (several are replicas) and
        ``ligand.sdf``, as :func:`labkit.hotspots.simulate.run_md` writes them.
    targets : sequence of str
        TYK2 comes from the registry where `folder` has none.

    Returns
    -------
    dict of str to Complex

    Raises
    ------
    MissingDataError
        A target has no trajectory.
    """
    return {target: _complex(folder, target) for target in targets}


def simulated_ligand(known: CongenericSeries, system: Complex) -> str:
    """Name of the ligand of a series that a complex holds.

    Raises
    ------
    ParameterError
        It is none of them.
    """
    for mol in known.ligands:
        if same_molecule(heavy_atoms(mol), system.mol) is not None:
            return name_of(mol)
    raise ParameterError(
        f"The ligand of {system.name!r} is none of the {len(known.ligands)} of the series "
        f"{known.target}; leave target out, or name the series that it belongs to."
    )


def score_complex(
    system: Complex,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    window: int = 16,
    stride: int = 4,
    config: CVAEConfig = FAST,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """All scores of a complex's atoms, as the study computes them."""
    contacts = compute_contacts(system).pocket()
    windows = atom_windows(contacts, window=window, stride=stride)
    fits = fit_ensemble(windows, config, seeds=seeds, n_jobs=n_jobs)
    return atom_scores(contacts, windows, [fit.latent(windows) for fit in fits], complex=system)


def _complex(folder: str | Path | None, target: str) -> Complex:
    home = Path(folder).expanduser() / target if folder is not None else None
    trajectories = sorted(home.glob("trajectory*.xtc")) if home is not None else []
    if home is not None and trajectories:
        return load_complex(
            home / "topology.pdb", trajectories, template=home / "ligand.sdf", name=target
        )
    if target == "tyk2":
        return example("tyk2")
    raise MissingDataError(
        f"No trajectory of {target}: {home or 'folder'}/trajectory.xtc is not there. Simulate it "
        "with labkit.hotspots.simulate.run_md, or leave it out of targets."
    )
