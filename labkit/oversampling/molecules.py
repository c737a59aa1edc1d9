"""Molecules and their targets as one table that knows where every row came from.

Nothing is repaired silently: what a source has and the table has not is in
``MoleculeTable.dropped`` with its row number and the reason; targets that cannot be learned or
scored are named by ``MoleculeTable.label_problems``; molecules that occur more than once (same
canonical SMILES) are kept and share a ``group``, which no split ever divides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import ndtr

from labkit.errors import ParameterError


@dataclass(frozen=True, eq=False, repr=False)
class MoleculeTable:
    """Molecules and their targets.

    Attributes
    ----------
    name : str
        Name of the data set; the stem of a user's file.
    smiles : ndarray of str, shape (n,)
        As given.
    canonical : ndarray of str, shape (n,)
        Canonical SMILES by rdkit.
    targets : DataFrame of shape (n, q)
        Labels 0 and 1, or continuous effects; nan is unknown.
    task : {"multilabel", "regression"}
    source_rows : int ndarray of shape (n,)
        Row in the source, 0 for the first one below the header.
    group : int ndarray of shape (n,)
        Same number for the same canonical SMILES.
    dropped : DataFrame
        Columns row, smiles, reason: what the source has and the table has not.
    sha256 : str
        Checksum of the source's content (uncompressed).
    simulated : bool
        True if the targets are simulated.
    citation, note : str
    probability : ndarray of shape (n, q) or None
        True P(label = 1 | molecule), known for simulated labels only.
    expected : ndarray of shape (n, q) or None
        Noise-free effects, known for simulated ones only.
    noise_sd : float or None
        Standard deviation of the noise of simulated effects.
    """

    name: str
    smiles: np.ndarray
    canonical: np.ndarray
    targets: pd.DataFrame
    task: str
    source_rows: np.ndarray
    group: np.ndarray
    dropped: pd.DataFrame
    sha256: str
    simulated: bool = False
    citation: str = ""
    note: str = ""
    probability: np.ndarray | None = None
    expected: np.ndarray | None = None
    noise_sd: float | None = None

    def __len__(self) -> int:
        return len(self.smiles)

    def __repr__(self) -> str:
        kind = "labels" if self.task == "multilabel" else "continuous effects"
        tag = "simulated " if self.simulated else ""
        return f"<MoleculeTable {self.name}: {len(self)} molecules x {self.n_labels} {tag}{kind}>"

    @property
    def Y(self) -> np.ndarray:
        """Targets as floats, shape (n, q), nan where unknown."""
        return self.targets.to_numpy(dtype=float)

    @property
    def label_names(self) -> list[str]:
        """Names of the targets."""
        return [str(name) for name in self.targets.columns]

    @property
    def n_labels(self) -> int:
        """Number of targets."""
        return self.targets.shape[1]

    @property
    def n_duplicates(self) -> int:
        """Rows that repeat a molecule of an earlier row."""
        return len(self) - len(np.unique(self.group))

    def label_problems(self) -> pd.DataFrame:
        """Targets that cannot be learned or scored: columns label, problem."""
        problems = []
        for name, values in zip(self.label_names, self.Y.T, strict=True):
            known = values[~np.isnan(values)]
            if not len(known):
                problems.append((name, "never known"))
            elif self.task == "multilabel" and not known.any():
                problems.append((name, "never positive"))
            elif self.task == "multilabel" and known.all():
                problems.append((name, "always positive"))
            elif known.min() == known.max() and self.task == "regression":
                problems.append((name, f"always {known[0]:g}"))
        return pd.DataFrame(problems, columns=["label", "problem"])

    def summary(self) -> pd.Series:
        """Counts for a data card: molecules, dropped rows, duplicates, missing values."""
        return pd.Series(
            {
                "molecules": len(self),
                "targets": self.n_labels,
                "dropped rows": len(self.dropped),
                "duplicate molecules": self.n_duplicates,
                "of these with contradicting targets": self._n_contradictions(),
                "records of several fragments": int(sum("." in text for text in self.canonical)),
                "missing values (%)": round(100 * float(np.isnan(self.Y).mean()), 1),
                "unusable targets": len(self.label_problems()),
                "note": self.note,
            },
            name=self.name,
            dtype=object,
        )

    def _n_contradictions(self) -> int:
        """Molecules in several rows whose known targets differ."""
        groups = self.targets.groupby(self.group)
        return int((groups.max() > groups.min()).any(axis=1).sum())

    def take(self, indices: Sequence[int] | np.ndarray) -> MoleculeTable:
        """Table of the molecules at `indices` (or where a mask is true), in that order."""
        index = np.asarray(indices)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return replace(
            self,
            smiles=self.smiles[index],
            canonical=self.canonical[index],
            targets=self.targets.iloc[index].reset_index(drop=True),
            source_rows=self.source_rows[index],
            group=np.unique(self.group[index], return_inverse=True)[1].reshape(-1),
            probability=None if self.probability is None else self.probability[index],
            expected=None if self.expected is None else self.expected[index],
        )

    def sample(self, n: int, seed: int = 0) -> MoleculeTable:
        """Draw `n` molecules at random, in table order; all of them if `n` is larger."""
        if n < 1 or int(n) != n:
            raise ParameterError(f"n_molecules={n!r} is not a whole number of 1 or more.")
        if n >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), size=int(n), replace=False)
        return self.take(np.sort(chosen))

    def threshold(
        self,
        *,
        quantile: float = 0.75,
        value: float | Sequence[float] | Mapping[str, float] | None = None,
        direction: str = "above",
    ) -> MoleculeTable:
        """Turn continuous effects into labels; unknown stays unknown.

        Parameters
        ----------
        quantile : float
            In (0, 1): the threshold of each effect is this quantile of its known values.
        value : float, sequence or mapping, optional
            Thresholds in the units of the effects, for all, in order or by name; replaces
            `quantile`.
        direction : {"above", "below"}
            A label is 1 strictly above, or strictly below, the threshold.

        Returns
        -------
        MoleculeTable
            ``task="multilabel"``. Simulated effects keep their true probability.
        """
        if self.task != "regression":
            raise ParameterError(f"{self.name} has labels already; threshold continuous effects.")
        if direction not in ("above", "below"):
            raise ParameterError(f'direction={direction!r} is not "above" or "below".')
        cut = self._cut(quantile, value)
        effects = self.Y
        sign = 1.0 if direction == "above" else -1.0
        labels = np.where(np.isnan(effects), np.nan, (sign * effects > sign * cut).astype(float))
        how = f"the {quantile:g} quantile" if value is None else "a given value"
        probability = None
        if self.expected is not None and self.noise_sd is not None:
            probability = ndtr(sign * (self.expected - cut) / self.noise_sd)
        return replace(
            self,
            targets=pd.DataFrame(labels, columns=self.targets.columns),
            task="multilabel",
            note=f"{self.note} A label is 1 where the effect is {direction} {how}.".strip(),
            probability=probability,
        )

    def _cut(
        self, quantile: float, value: float | Sequence[float] | Mapping[str, float] | None
    ) -> np.ndarray:
        """Thresholds of all effects, shape (q,)."""
        if value is None:
            if not 0 < quantile < 1:
                raise ParameterError(f"quantile={quantile} is not between 0 and 1.")
            return self.targets.quantile(quantile).to_numpy(dtype=float)
        if isinstance(value, Mapping):
            missing = [name for name in self.label_names if name not in value]
            if missing:
                raise ParameterError(f"value has no threshold for {', '.join(missing)}.")
            value = [float(value[name]) for name in self.label_names]
        cut = np.asarray(value, dtype=float)
        if cut.ndim > 1 or (cut.ndim == 1 and len(cut) != self.n_labels):
            raise ParameterError(
                f"value has shape {cut.shape}; give one number, or {self.n_labels} of them."
            )
        if not np.isfinite(cut).all():
            raise ParameterError(f"value={value!r} is not finite.")
        return np.broadcast_to(cut, (self.n_labels,))
