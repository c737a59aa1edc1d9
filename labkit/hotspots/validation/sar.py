r"""Sites of a lead that chemists varied, and how well a score of its atoms points at them.

Structure-activity data say where a lead was changed and what that did to the affinity. The lead is
the smallest ligand of a series. Its *site atoms* are the atoms of the common core that carry
another group, element or handedness in some ligand, and the lead's own group there; where that
group is a hydrogen, the core atom alone. A ligand that differs from the lead in one place gives
that place a change in binding free energy,

.. math::

    \Delta\Delta G = \Delta G_\text{ligand} - \Delta G_\text{lead}, \qquad
    \Delta G = R T \ln (K / 1\,\text{M}), \quad T = 300\,\text{K},

negative where affinity was gained. For IC50 the difference holds within one assay only (Cheng and
Prusoff, Biochem. Pharmacol. 22 (1973) 3099), so ligands measured as the lead was are compared.

What the sites mean is limited: "was varied" is what chemists chose to do, and they choose where a
synthesis is easy and where the structure shows room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.hotspots.validation.alignment import (
    MIN_CORE_SHARE,
    AlignedSeries,
    align_series,
    heavy_atoms,
    name_of,
    same_molecule,
)
from labkit.hotspots.validation.auroc import (
    auroc,
    auroc_interval,
    patches,
    permutation_p,
    permutations,
)
from labkit.hotspots.validation.substituents import Decoration, decorations

if TYPE_CHECKING:
    from labkit.hotspots.examples import CongenericSeries
    from labkit.hotspots.systems import Complex

SCORES = ("latent_spread", "pca_spread", "flicker", "rmsf", "n_contacts")
"""The learned score, then what it has to beat."""


@dataclass(frozen=True, eq=False)
class SarSites:
    """Where the lead of a series was varied.

    Attributes
    ----------
    target, lead : str
        Names of the series and of the lead.
    mol : Chem.Mol
        The lead's heavy atoms with its pose.
    sites, core : ndarray of bool, shape (n_atoms,)
        Site atoms and atoms of the common core, in the order of `mol`.
    table : DataFrame
        One row per varied core atom: atom (index in `mol`), symbol, lead_group, n_groups (other
        than the lead's), n_ligands, n_single (ligands changed in this place alone), rms_ddG,
        best_ddG (kcal/mol; nan without such a ligand).
    changes : DataFrame
        One row per ligand: ligand, ddG (kcal/mol), places (how many differ from the lead), atoms
        (tuple of varied core atoms), core_rmsd_A (between the poses' core atoms).
    kind : str
        "ki" or "ic50".
    left_out : tuple of str
        Ligands without the core, measured in another way, or not at all.
    """

    target: str
    lead: str
    mol: Chem.Mol
    sites: np.ndarray
    core: np.ndarray
    table: pd.DataFrame
    changes: pd.DataFrame
    kind: str
    left_out: tuple[str, ...]

    @property
    def bonds(self) -> np.ndarray:
        """Which heavy atoms are bonded, bool of shape (n_atoms, n_atoms)."""
        return Chem.GetAdjacencyMatrix(self.mol).astype(bool)

    @property
    def rms_ddG(self) -> float:
        """Root mean square change of affinity of ligands changed in one place, kcal/mol."""
        single = self.changes.loc[self.changes["places"] == 1, "ddG"].dropna()
        return float(np.sqrt((single**2).mean())) if len(single) else np.nan

    def gained(self, kcal_mol: float = 0.5) -> np.ndarray:
        """Site atoms of places where one change alone gained at least this much affinity."""
        atoms = self.table.loc[self.table["best_ddG"] <= -kcal_mol, "atom"]
        near = np.zeros(len(self.sites), dtype=bool)
        near[atoms.to_numpy(dtype=int)] = True
        edge = near
        while edge.any():
            edge = self.bonds[edge].any(axis=0) & self.sites & ~self.core & ~near
            near = near | edge
        return near

    def for_complex(self, complex: Complex) -> SarSites:
        """The same sites with the atoms in the order of a complex's rows.

        Atoms are matched by :func:`labkit.hotspots.validation.alignment.same_molecule`.

        Raises
        ------
        ParameterError
            The complex holds another molecule than the lead.
        """
        found = same_molecule(self.mol, complex.mol)
        if found is None:
            raise ParameterError(
                f"The ligand of {complex.name!r} "
                f"({Chem.MolToSmiles(Chem.RemoveHs(complex.mol))}) is not the lead {self.lead!r} "
                f"of {self.target} ({Chem.MolToSmiles(self.mol)}). Give its name as lead."
            )
        order = found[np.argsort(np.argsort(complex.heavy_in_mol))]
        place = np.argsort(order)
        moved = [tuple(sorted(place[list(atoms)].tolist())) for atoms in self.changes["atoms"]]
        return replace(
            self,
            mol=Chem.RenumberAtoms(self.mol, order.tolist()),
            sites=self.sites[order],
            core=self.core[order],
            table=self.table.assign(atom=place[self.table["atom"]]).sort_values("atom"),
            changes=self.changes.assign(atoms=moved),
        )


def sar_sites(
    series: CongenericSeries, lead: str | None = None, *, min_core_share: float = MIN_CORE_SHARE
) -> SarSites:
    """Find the sites of a series.

    Parameters
    ----------
    series : CongenericSeries
        Aligned poses with measured affinities.
    lead : str, optional
        Name of the ligand to compare the others with; the smallest by default, the more affine
        one of two.
    min_core_share : float
        Smallest usable common core, as a share of the lead's heavy atoms.

    Returns
    -------
    SarSites

    Raises
    ------
    ParameterError
        No usable core, an unknown lead, names that are missing or occur twice, nothing varied, or
        everything.
    """
    affinity = _affinities(series)
    mols = {name_of(mol): heavy_atoms(mol) for mol in series.ligands}
    lead = _lead(mols, affinity, lead, series.target)
    kind = str(affinity.loc[lead, "kind"])
    comparable = [n for n in mols if n in affinity.index and affinity.loc[n, "kind"] == kind]
    others = [mols[name] for name in comparable if name != lead]
    aligned = align_series(mols[lead], others, min_core_share=min_core_share)
    here = decorations(aligned.lead, aligned.core)
    ligands = [_changed(here, decorations(m, a)) for m, a in _pairs(aligned)]
    ddG = affinity["dG_kcal_mol"] - affinity.loc[lead, "dG_kcal_mol"]
    changes = _changes(aligned, ligands, ddG)
    sites = _site_atoms(aligned, here, ligands)
    if not sites.any() or sites.all():
        raise ParameterError(
            f"In the series {series.target} {'every' if sites.any() else 'no'} atom of the lead "
            f"{lead!r} is a site, so there is nothing to compare. Choose another lead."
        )
    return SarSites(
        target=series.target,
        lead=lead,
        mol=aligned.lead,
        sites=sites,
        core=np.isin(np.arange(len(sites)), aligned.core),
        table=_table(aligned, here, ligands, changes),
        changes=changes,
        kind=kind,
        left_out=tuple(sorted({*aligned.left_out, *(set(mols) - set(comparable))})),
    )


def sar_benchmark(
    scores: pd.DataFrame,
    sites: SarSites | np.ndarray,
    *,
    columns: Sequence[str] | None = None,
    n_permutations: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """How well each score tells site atoms from the others.

    Parameters
    ----------
    scores : DataFrame
        One row per heavy atom, one column per score.
    sites : SarSites or ndarray of bool, shape (n_atoms,)
        In the order of `scores`: for scores of a trajectory, from :meth:`SarSites.for_complex`.
    columns : sequence of str, optional
        Scores to judge; those of :data:`SCORES` that `scores` has by default.
    n_permutations, seed : int
        Site sets drawn at random, and for which random numbers.
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        score, auroc, low, high, p_permutation, n_sites, n_atoms, and p_patch where the bonds are
        known. The AUROC is that of "a site scores higher": under one half, sites score lower. A
        score with nan has an AUROC of nan.

    Raises
    ------
    ParameterError
        Lengths that differ, unknown columns, no site or only sites.
    """
    labels, bonds = _labels(scores, sites)
    columns = _columns(scores, columns)
    rng = np.random.default_rng(seed)
    free = permutations(labels, n_permutations, rng)
    grown = None if bonds is None else patches(labels, bonds, n_permutations, rng)
    n_sites, n_atoms = int(labels.sum()), len(labels)
    rows = []
    for column in columns:
        values = scores[column].to_numpy(dtype=float)
        area = float(auroc(values, labels))
        low, high = auroc_interval(area, n_sites, n_atoms - n_sites, confidence=confidence)
        row = {"score": column, "auroc": area, "low": low, "high": high}
        row["p_permutation"] = permutation_p(values, labels, free)
        if grown is not None:
            row["p_patch"] = permutation_p(values, labels, grown)
        rows.append({**row, "n_sites": n_sites, "n_atoms": n_atoms})
    return pd.DataFrame(rows)


def _affinities(series: CongenericSeries) -> pd.DataFrame:
    names = [name_of(mol) for mol in series.ligands]
    if "" in names or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ParameterError(
            f"Ligands of {series.target} need names (property _Name) of their own; "
            f"{', '.join(repr(name) for name in twice)} occur more than once."
        )
    return series.affinity.dropna(subset=["dG_kcal_mol"]).set_index("name")


def _lead(mols: dict[str, Chem.Mol], affinity: pd.DataFrame, lead: str | None, target: str) -> str:
    measured = [name for name in mols if name in affinity.index]
    if lead is None and measured:
        dG = affinity["dG_kcal_mol"]
        return min(measured, key=lambda name: (mols[name].GetNumAtoms(), dG[name], name))
    if lead not in measured:
        raise ParameterError(
            f"lead={lead!r} is no ligand of {target} with a measured affinity; there are "
            f"{', '.join(measured) or 'none'}."
        )
    return lead


def _pairs(aligned: AlignedSeries) -> list[tuple[Chem.Mol, np.ndarray]]:
    return list(zip(aligned.ligands, aligned.atoms, strict=True))


@dataclass(frozen=True)
class _Changed:
    """Core positions where a ligand differs, as places: positions that share a group are one."""

    places: tuple[frozenset[int], ...]
    groups: dict[int, str]


def _changed(lead: Sequence[Decoration], ligand: Sequence[Decoration]) -> _Changed:
    differ = {i for i, (a, b) in enumerate(zip(lead, ligand, strict=True)) if a.differs(b)}
    places: list[frozenset[int]] = []
    for position in sorted(differ):
        joined = (lead[position].ends | ligand[position].ends) & differ
        apart = [place for place in places if not place & joined]
        together = [place for place in places if place & joined]
        places = [*apart, joined.union(*together)]
    groups = {i: f"{ligand[i].atom}{ligand[i].text}{ligand[i].handedness}" for i in differ}
    return _Changed(tuple(places), groups)


def _changes(aligned: AlignedSeries, ligands: Sequence[_Changed], ddG: pd.Series) -> pd.DataFrame:
    names = [name_of(mol) for mol in aligned.ligands]
    return pd.DataFrame(
        {
            "ligand": names,
            "ddG": [float(ddG[name]) for name in names],
            "places": [len(changed.places) for changed in ligands],
            "atoms": [tuple(int(aligned.core[i]) for i in sorted(c.groups)) for c in ligands],
            "core_rmsd_A": aligned.rmsd,
        }
    )


def _site_atoms(
    aligned: AlignedSeries, lead: Sequence[Decoration], ligands: Sequence[_Changed]
) -> np.ndarray:
    sites = np.zeros(aligned.lead.GetNumAtoms(), dtype=bool)
    for position in {i for changed in ligands for i in changed.groups}:
        sites[[int(aligned.core[position]), *lead[position].members]] = True
    return sites


def _table(
    aligned: AlignedSeries,
    lead: Sequence[Decoration],
    ligands: Sequence[_Changed],
    changes: pd.DataFrame,
) -> pd.DataFrame:
    rows = []
    for position in sorted({i for changed in ligands for i in changed.groups}):
        here = np.array([position in changed.groups for changed in ligands])
        single = changes.loc[here & (changes["places"] == 1), "ddG"]
        rows.append(
            {
                "atom": int(aligned.core[position]),
                "symbol": lead[position].atom,
                "lead_group": lead[position].text,
                "n_groups": len({c.groups[position] for c in ligands if position in c.groups}),
                "n_ligands": int(here.sum()),
                "n_single": len(single),
                "rms_ddG": float(np.sqrt((single**2).mean())) if len(single) else np.nan,
                "best_ddG": float(single.min()) if len(single) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _labels(
    scores: pd.DataFrame, sites: SarSites | np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    bonds = sites.bonds if isinstance(sites, SarSites) else None
    labels = np.asarray(sites.sites if isinstance(sites, SarSites) else sites, dtype=bool)
    if len(labels) != len(scores):
        raise ParameterError(
            f"sites has {len(labels)} atoms and scores has {len(scores)} rows; both need one per "
            "heavy atom of the lead."
        )
    if not labels.any() or labels.all():
        raise ParameterError(f"sites marks {labels.sum()} of {len(labels)} atoms; mark some.")
    return labels, bonds


def _columns(scores: pd.DataFrame, columns: Sequence[str] | None) -> list[str]:
    wanted = list(columns) if columns is not None else [s for s in SCORES if s in scores]
    missing = [column for column in wanted if column not in scores]
    if missing or not wanted:
        raise ParameterError(f"columns={wanted}: scores has {', '.join(map(str, scores.columns))}.")
    return wanted
