"""One run of the study: from a trajectory to ranked ligand sites.

    system -> contacts -> windows of time -> ensemble of autoencoders -> scores -> ranking

Every step is a function of its own module. This one puts them in order, so that the notebook, a
sweep and a test do the same thing.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit import __version__
from labkit.errors import ParameterError
from labkit.hotspots.affinity import simulate_lead
from labkit.hotspots.clustering import ClusterComparison, compare_clusterings
from labkit.hotspots.config import HotspotConfig
from labkit.hotspots.contacts import ContactMatrices, compute_contacts, soft_contacts
from labkit.hotspots.examples import example, series
from labkit.hotspots.fragments import Fragments, fragment_atoms
from labkit.hotspots.growth import growth_space
from labkit.hotspots.ranking import HotspotTable, rank_atoms, seed_scores
from labkit.hotspots.scores import BASELINES, atom_scores, baseline_correlations
from labkit.hotspots.systems import Complex, load_complex
from labkit.hotspots.temporal import AtomWindows, atom_windows
from labkit.hotspots.training import PRESETS as NETWORKS
from labkit.hotspots.training import CVAEConfig, FittedCVAE, fit_ensemble, training_notes
from labkit.hotspots.validation import simulated_ligand

Progress = Callable[[int, int, str], None]
PACKAGES = ("torch", "MDAnalysis", "rdkit", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, eq=False)
class HotspotResults:
    """What `run_study` found.

    Attributes
    ----------
    config : HotspotConfig
        The choices.
    complex : Complex
        The system, with the frames that were analyzed.
    contacts : ContactMatrices
        Distances to the residues of the pocket: those in contact with the ligand in any frame.
    windows : AtomWindows
        Images that the networks saw.
    fits : list of FittedCVAE
        One network a seed.
    latents : list of ndarray, each of shape (n_atoms, n_windows, latent_dim)
        Latent means of the windows.
    clusters : ClusterComparison
        Conventional clusters beside latent ones.
    scores : DataFrame
        All scores of all atoms, one row an atom.
    table : HotspotTable
        Atoms ranked by latent spread, with intervals and verdicts.
    fragments : Fragments
        How the ligand was cut.
    fragment_table : HotspotTable
        The same ranking for fragments.
    growth : DataFrame or None
        Room around each atom.
    provenance : dict
        Files and checksums, versions, choices, times.
    """

    config: HotspotConfig
    complex: Complex
    contacts: ContactMatrices
    windows: AtomWindows
    fits: list[FittedCVAE]
    latents: list[np.ndarray]
    clusters: ClusterComparison
    scores: pd.DataFrame
    table: HotspotTable
    fragments: Fragments
    fragment_table: HotspotTable
    growth: pd.DataFrame | None
    provenance: dict[str, Any]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the ranking should know: few windows, unfinished training, ..."""
        return (*self.table.notes, *training_notes(self.fits))

    def baselines(self) -> pd.DataFrame:
        """How alike each simple score ranks the atoms: Spearman correlation with the score."""
        return baseline_correlations(self.scores)

    def scores_by_seed(self) -> pd.DataFrame:
        """Latent spread of every atom (rows) in every network (columns)."""
        return pd.DataFrame(
            seed_scores(self.latents).T,
            index=pd.Index(self.complex.atom_names, name="atom"),
            columns=[f"seed {seed}" for seed in self.config.seeds],
        )

    def summary(self) -> pd.DataFrame:
        """The ranking with each atom's fragment, the simple scores and its room to grow."""
        frame = self.table.frame.set_index("atom")
        names = [self.fragments.names[i] for i in self.fragments.ids]
        frame.insert(0, "fragment", names)
        frame = frame.join(self.scores[["pca_spread", "rmsf", "flicker", "n_contacts"]])
        if self.growth is not None:
            frame = frame.join(self.growth.set_index("atom"))
        return frame.sort_values("rank", kind="stable")

    def headline(self) -> dict[str, float | str]:
        """Main numbers, the same names for the same choices."""
        verdicts = self.table.frame["verdict"].value_counts()
        ordered = self.fragment_table.ordered()
        numbers: dict[str, float | str] = {
            "n_atoms": float(self.complex.n_atoms),
            "n_frames": float(self.complex.n_frames),
            "n_pocket_residues": float(self.contacts.n_residues),
            "n_windows": float(self.windows.n_windows),
            "kl_nats": float(np.mean([fit.kl.sum() for fit in self.fits])),
            "active_units": float(min(fit.active_units for fit in self.fits)),
            "top_atom": str(self.table.ordered()["atom"].iloc[0]),
            "top_fragment": str(ordered["fragment"].iloc[0]),
        }
        for verdict in ("dynamic", "anchor", "undetermined"):
            numbers[f"n_{verdict}"] = float(verdicts.get(verdict, 0))
        for name, value in self.baselines().loc[list(BASELINES), "spearman"].items():
            numbers[f"spearman_with_{name}"] = float(value)
        return numbers

    def export(self, directory: str | Path) -> list[Path]:
        """Write tables, molecules and provenance; see `labkit.hotspots.export`."""
        from labkit.hotspots.export import export_results

        return export_results(self, directory)

    def _repr_html_(self) -> str:
        title = (
            f"{self.complex.name}: {self.complex.n_atoms} ligand atoms, {self.complex.n_frames} "
            f"frames, {len(self.fits)} networks; most dynamic atoms first"
        )
        notes = "".join(f"<p>{note}</p>" for note in self.notes)
        table = self.summary().head(12).to_html(float_format="{:.3g}".format)
        return f"<p>{title}</p>{notes}{table}"


def load_system(config: HotspotConfig, *, progress: Progress | None = None) -> Complex:
    """Load, or first simulate, the system of a configuration.

    Parameters
    ----------
    config : HotspotConfig
    progress : callable, optional
        Called during a simulation with picoseconds done, in all, and a text.

    Returns
    -------
    Complex

    Raises
    ------
    ParameterError
        The files cannot be analyzed, or hold no ligand of the series to compare with.
    MissingDataError
        Files are not there.
    """
    frames = slice(config.start, config.stop, config.step)
    if config.simulate:
        return _simulated(config, frames, progress)
    if config.topology is None:
        system = example(config.system, start=frames.start, stop=frames.stop, step=frames.step)
    else:
        system = load_complex(
            config.topology,
            list(config.trajectory) or None,
            ligand=config.ligand,
            template=config.template,
            start=frames.start,
            stop=frames.stop,
            step=frames.step,
        )
    if config.target is not None:
        simulated_ligand(series(config.target), system)
    return system


def _simulated(config: HotspotConfig, frames: slice, progress: Progress | None) -> Complex:
    assert config.target is not None
    run = simulate_lead(
        config.target,
        Path(config.out_dir or ".") / f"md-{config.target}-seed{config.seed}",
        ps=1000 * config.md_ns,
        seed=config.seed,
        progress=progress,
    )
    return load_complex(
        run.topology,
        run.trajectory,
        template=run.ligand,
        name=f"{config.target}, simulated",
        start=frames.start,
        stop=frames.stop,
        step=frames.step,
    )


def network_config(config: HotspotConfig) -> CVAEConfig:
    """The network of a configuration with its own latent size and epochs where given."""
    given = {"latent_dim": config.latent_dim, "epochs": config.epochs}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return replace(NETWORKS[config.network], **changes)


def pocket_contacts(config: HotspotConfig, system: Complex) -> ContactMatrices:
    """Distances of the ligand's atoms to the residues that it touches in any frame."""
    contacts = compute_contacts(system, n_jobs=1 if system.n_frames < 2000 else config.n_jobs)
    return contacts.pocket(cutoff=config.cutoff_A)


def windows_of(config: HotspotConfig, contacts: ContactMatrices) -> AtomWindows:
    """Windows of soft contacts, as the networks see them."""
    soft = soft_contacts(contacts.distances, d0=config.cutoff_A, width=config.width_A)
    return atom_windows(soft, window=config.window, stride=config.stride, replica=contacts.replica)


def run_study(
    config: HotspotConfig,
    *,
    system: Complex | None = None,
    contacts: ContactMatrices | None = None,
    progress: Progress | None = None,
) -> HotspotResults:
    """Rank the ligand's atoms by how much their contacts change.

    Parameters
    ----------
    config : HotspotConfig
    system : Complex, optional
        What `load_system` returned, to save loading it again.
    contacts : ContactMatrices, optional
        What `pocket_contacts` returned.
    progress : callable, optional
        Called after each epoch with epochs done, in all, and a text.

    Returns
    -------
    HotspotResults

    Raises
    ------
    ParameterError
        A choice or the system does not allow the analysis.
    CollapsedLatentError
        A network learned nothing.
    """
    started, clock = datetime.now(UTC), time.process_time()
    config.validate()
    system = load_system(config) if system is None else system
    contacts = pocket_contacts(config, system) if contacts is None else contacts
    _require_same_system(system, contacts)
    windows = windows_of(config, contacts)
    fits = fit_ensemble(
        windows,
        network_config(config),
        seeds=config.seeds,
        n_jobs=config.n_jobs,
        device=config.device,
        progress=progress,
    )
    latents = [fit.latent(windows) for fit in fits]
    clusters = compare_clusterings(windows, latents, complex=system, seed=config.seed)
    labels = [clusters.labels[f"cvae/kmeans/{i}"] for i in range(len(latents))]
    fragments = fragment_atoms(system.mol, scheme=config.fragment_scheme, heavy=system.heavy_in_mol)
    table = rank_atoms(
        latents,
        windows=windows,
        atom_names=system.atom_names,
        bootstrap=config.bootstrap,
        top_k=min(config.top_k, system.n_atoms),
        seed=config.seed,
    )
    growth = growth_space(system, n_frames=config.growth_frames) if config.growth_frames else None
    return HotspotResults(
        config=config,
        complex=system,
        contacts=contacts,
        windows=windows,
        fits=fits,
        latents=latents,
        clusters=clusters,
        scores=atom_scores(
            contacts, windows, latents, complex=system, labels=labels, cutoff=config.cutoff_A
        ),
        table=table,
        fragments=fragments,
        fragment_table=table.fragments(fragments),
        growth=growth,
        provenance=_provenance(config, system, started, clock),
    )


def _require_same_system(system: Complex, contacts: ContactMatrices) -> None:
    if contacts.atom_names != system.atom_names or contacts.n_frames != system.n_frames:
        raise ParameterError(
            f"contacts hold {contacts.n_atoms} atoms and {contacts.n_frames} frames, the system "
            f"{system.n_atoms} and {system.n_frames}; compute the contacts of this system."
        )


def _provenance(
    config: HotspotConfig, system: Complex, started: datetime, clock: float
) -> dict[str, Any]:
    return {
        "system": {
            "name": system.name,
            "ligand_atoms": system.n_atoms,
            "frames": [int(frame) for frame in system.frames[[0, -1]]],
            "n_frames": system.n_frames,
            "notes": list(system.notes),
            **system.source,
        },
        "config": config.as_dict(),
        "versions": {"labkit": __version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu_s": round(time.process_time() - clock, 2),
    }
