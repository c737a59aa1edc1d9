"""What samplers do to the training molecules of a study, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labkit.errors import ParameterError
from labkit.oversampling.arms import ResampledRows, resample_rows
from labkit.oversampling.config import CLASS_WEIGHT, StudyConfig
from labkit.oversampling.featurize import PackedMolecules, featurize
from labkit.oversampling.imbalance import ImbalanceReport, imbalance_report
from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.splits import split


@dataclass(frozen=True)
class SamplerPreview:
    """Training molecules of one split, and what samplers make of them.

    Attributes
    ----------
    config : StudyConfig
        Of the study.
    train : MoleculeTable
        The training molecules.
    packed : PackedMolecules
        Their graphs and fingerprints; molecule i is row i of ``train``.
    before : ImbalanceReport
        Of the training labels as they are.
    resampled : dict of str to ResampledRows
        What each sampler of the study returned; row numbers count within ``train``.
    """

    config: StudyConfig
    train: MoleculeTable
    packed: PackedMolecules
    before: ImbalanceReport
    resampled: dict[str, ResampledRows] = field(default_factory=dict)

    @property
    def after(self) -> dict[str, ImbalanceReport]:
        """Imbalance that each sampler leaves."""
        return {name: rows.after for name, rows in self.resampled.items() if rows.after is not None}

    def resample(self, sampler: str, *, P: float, k: int) -> ResampledRows:
        """Resample the training molecules with one sampler.

        Parameters
        ----------
        sampler : str
            A name in `labkit.oversampling.resampling.SAMPLERS`, in any case.
        P : float
            Rows added or removed, as a share of the training molecules.
        k : int
            Neighbors, for samplers that have them.
        """
        rows = np.arange(len(self.train))
        seed = self.config.seeds[0]
        return resample_rows(sampler, self.packed, self.train.Y, rows, P=P, k=k, seed=seed)

    def source_rows(self, sampler: str) -> np.ndarray:
        """Training row behind each row that a sampler of the study returned."""
        return self._of(sampler).rows.index

    def chemical_space(self, sampler: str) -> dict[str, Any]:
        """Arguments of `labkit.oversampling.plots.chemical_space` for a sampler of the study."""
        rows = self._of(sampler)
        fingerprints = self.packed.fingerprint
        own = rows.rows.fingerprint
        return {
            "fingerprints": fingerprints,
            "resampled": fingerprints[rows.rows.index] if own is None else own,
            "source": rows.rows.index,
            "is_synthetic": rows.is_synthetic,
        }

    def _of(self, sampler: str) -> ResampledRows:
        if sampler not in self.resampled:
            known = ", ".join(self.resampled) or "none"
            raise ParameterError(
                f"sampler={sampler!r} is not part of this study, which has {known}; "
                "add it to the parameter `samplers`."
            )
        return self.resampled[sampler]


def preview_samplers(config: StudyConfig, table: MoleculeTable) -> SamplerPreview:
    """Split as the study's first seed does, and resample the training molecules.

    Parameters
    ----------
    config : StudyConfig
        Its split, samplers, ``P``, ``k``, fingerprint and first seed.
    table : MoleculeTable
        Multilabel table of the study.

    Returns
    -------
    SamplerPreview
    """
    parts = split(table, config.split, seed=config.seeds[0])
    train = table.take(parts.train)
    packed = featurize(train.smiles, fingerprint=config.fingerprint)
    preview = SamplerPreview(config, train, packed, imbalance_report(train.targets))
    for sampler in config.samplers:
        if sampler not in ("none", CLASS_WEIGHT):
            preview.resampled[sampler] = preview.resample(sampler, P=config.P, k=config.k)
    return preview
