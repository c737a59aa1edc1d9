"""How imbalanced a multilabel data set is: IRLbl, MeanIR, CVIR, SCUMBLE and label co-occurrence.

For a label matrix Y in {0, 1, nan} with n rows and q labels, c_l rows where label l is 1 and k_i
labels that are 1 in row i::

    IRLbl_l   = max_m c_m / c_l                                          [1]
    MeanIR    = mean over l of IRLbl_l                                   [1]
    CVIR      = standard deviation (ddof 1) over l of IRLbl_l / MeanIR   [1]
    SCUMBLE_i = 1 - (geometric mean / arithmetic mean of IRLbl_l over the labels of row i)   [2]
    SCUMBLE   = mean over i of SCUMBLE_i, which is 0 where k_i = 0       [2]

A label is a minority label when IRLbl_l > MeanIR. Three conventions, where publications differ:

* nan means "not measured": neither positive nor negative, and counted apart.
* A label that is never positive has IRLbl nan and is left out of MeanIR and CVIR (the R package
  mldr takes 0 and averages it in, which makes a data set look better balanced the more empty labels
  it has).
* A labelset is the set of labels that are 1 in a row; rows without a positive form one labelset.

References
----------
.. [1] Charte et al., Addressing imbalance in multilabel classification: measures and random
   resampling algorithms, Neurocomputing 163 (2015) 3-16.
.. [2] Charte et al., Concurrence among imbalanced labels and its influence on multilabel resampling
   algorithms, HAIS 2014, LNCS 8480, 110-121.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labkit.errors import ParameterError
from labkit.oversampling.labels import LabelMatrix, Labels, read_labels

__all__ = [
    "ImbalanceReport",
    "LabelMatrix",
    "cooccurrence",
    "cvir",
    "imbalance_report",
    "irlbl",
    "mean_ir",
    "read_labels",
    "scumble",
]


def irlbl(Y: Labels) -> NDArray[np.float64]:
    """Imbalance ratio of each label: count of the most frequent label / count of the label.

    Parameters
    ----------
    Y : ndarray, DataFrame or scipy sparse, shape (n_samples, n_labels)
        Labels in {0, 1, nan}.

    Returns
    -------
    ndarray of shape (n_labels,)
        1 for the most frequent label, nan for a label that is never positive.

    Examples
    --------
    >>> irlbl(np.array([[1, 0, 0], [1, 1, 0]]))
    array([ 1.,  2., nan])
    """
    return read_labels(Y).irlbl


def mean_ir(Y: Labels) -> float:
    """MeanIR: the mean IRLbl of the labels that occur.

    Examples
    --------
    >>> mean_ir(np.array([[1, 0, 0], [1, 1, 0]]))
    1.5
    """
    return read_labels(Y).mean_ir


def cvir(Y: Labels) -> float:
    """CVIR: standard deviation (ddof 1) of IRLbl over MeanIR; nan with fewer than two labels.

    Examples
    --------
    >>> round(cvir(np.array([[1, 0, 0], [1, 1, 0]])), 4)
    0.4714
    """
    return _cv(read_labels(Y).irlbl)


def scumble(
    Y: Labels, per: Literal["dataset", "instance", "label"] = "dataset"
) -> float | NDArray[np.float64]:
    """SCUMBLE: how far frequent and rare labels occur in the same rows, from 0 to almost 1.

    Parameters
    ----------
    Y : ndarray, DataFrame or scipy sparse, shape (n_samples, n_labels)
        Labels in {0, 1, nan}.
    per : {"dataset", "instance", "label"}
        The mean over all rows; the value of each row; or, for each label, the mean over the rows
        that have it (nan where there is none).

    Returns
    -------
    float or ndarray
        Shape () , (n_samples,) or (n_labels,).

    Examples
    --------
    >>> Y = np.array([[1, 1], [1, 0], [1, 0], [1, 0]])
    >>> scumble(Y, per="instance")
    array([0.2, 0. , 0. , 0. ])
    """
    labels = read_labels(Y)
    if per == "dataset":
        return _mean(labels.scumble)
    if per == "instance":
        return labels.scumble
    if per == "label":
        return labels.scumble_per_label
    raise ParameterError(f"per={per!r} is not known; use 'dataset', 'instance' or 'label'.")


def cooccurrence(Y: Labels) -> NDArray[np.int64] | pd.DataFrame:
    """Number of rows in which two labels are both 1; the diagonal holds the label counts.

    Returns
    -------
    ndarray of int64 or DataFrame, shape (n_labels, n_labels)
        A DataFrame, with the label names on both axes, when Y is one.

    Examples
    --------
    >>> cooccurrence(np.array([[1, 1], [1, 0], [1, 0]]))
    array([[3, 1],
           [1, 1]])
    """
    labels = read_labels(Y)
    # float32 holds integers exactly up to 2**24 rows, and BLAS is 50 times faster than integer
    # products.
    exact = "float32" if len(labels) < 2**24 else "float64"
    positive: NDArray[Any] = labels.positive.astype(exact)
    joint = (positive.T @ positive).astype(np.int64)
    if isinstance(Y, pd.DataFrame):
        return pd.DataFrame(joint, index=Y.columns, columns=Y.columns)
    return joint


@dataclass(frozen=True)
class ImbalanceReport:
    """All imbalance measures of one data set; a notebook shows it as a table.

    Attributes
    ----------
    n_samples, n_labels : int
    cardinality : float
        Mean number of positive labels in a row.
    density : float
        Cardinality / n_labels.
    n_labelsets, n_single_labelsets : int
        Distinct labelsets, and those that occur in one row only.
    mean_ir, max_ir, cvir : float
    scumble, scumble_cv : float
        Mean over the rows, and standard deviation (ddof 1) over mean.
    n_known, n_missing : int
        Entries of Y that are 0 or 1, and that are nan.
    n_without_positive : int
        Rows without any positive label.
    labels : DataFrame
        One row per label: label, n_positive, n_negative, n_missing, irlbl, minority, scumble.
    """

    n_samples: int
    n_labels: int
    cardinality: float
    density: float
    n_labelsets: int
    n_single_labelsets: int
    mean_ir: float
    max_ir: float
    cvir: float
    scumble: float
    scumble_cv: float
    n_known: int
    n_missing: int
    n_without_positive: int
    labels: pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """Sentences on labels that cannot be learned from these rows, with their names."""
        table, sentences = self.labels, []
        for mask, what in (
            (table.n_positive + table.n_negative == 0, "never measured"),
            ((table.n_positive == 0) & (table.n_negative > 0), "never positive"),
            ((table.n_negative == 0) & (table.n_positive > 0), "never negative"),
        ):
            if mask.any():
                named = ", ".join(table.label[mask][:5]) + (", ..." if mask.sum() > 5 else "")
                sentences.append(f"{mask.sum()} of {self.n_labels} labels are {what}: {named}.")
        return sentences

    def summary(self) -> pd.Series:
        """The measures without the table of labels."""
        names = [f.name for f in fields(self) if f.name != "labels"]
        return pd.Series({name: getattr(self, name) for name in names}, dtype=object)

    def _repr_html_(self) -> str:
        measures = self.summary().map(lambda v: f"{v:,.4g}" if isinstance(v, float) else f"{v:,}")
        notes = "".join(f"<p>{sentence}</p>" for sentence in map(_escape, self.notes))
        labels = self.labels.sort_values("irlbl", ascending=False, na_position="first")
        return f"{measures.to_frame('value').to_html()}{notes}{labels.to_html(max_rows=20)}"


def imbalance_report(Y: Labels, label_names: Sequence[str] | None = None) -> ImbalanceReport:
    """Measure the imbalance of a label matrix.

    Parameters
    ----------
    Y : ndarray, DataFrame or scipy sparse, shape (n_samples, n_labels)
        Labels in {0, 1, nan}.
    label_names : sequence of str, optional
        One name per label; the default is the columns of a DataFrame, otherwise "0", "1", ...

    Returns
    -------
    ImbalanceReport

    Examples
    --------
    >>> report = imbalance_report([[1, 0], [1, 1], [0, np.nan]], label_names=["liver", "skin"])
    >>> report.mean_ir, report.n_missing, list(report.labels.label[report.labels.minority])
    (1.5, 1, ['skin'])
    """
    return report_of(read_labels(Y, label_names))


def report_of(labels: LabelMatrix) -> ImbalanceReport:
    """Measure a label matrix that has been read already (see `imbalance_report`)."""
    sizes = labels.labelsets[1]
    n_missing = len(labels) - labels.known.sum(axis=0, dtype=np.int64)
    table = pd.DataFrame(
        {
            "label": labels.names,
            "n_positive": labels.counts,
            "n_negative": len(labels) - n_missing - labels.counts,
            "n_missing": n_missing,
            "irlbl": labels.irlbl,
            "minority": labels.minority,
            "scumble": labels.scumble_per_label,
        }
    )
    occurring = labels.irlbl[~np.isnan(labels.irlbl)]
    cardinality = float(labels.counts.sum() / len(labels))
    return ImbalanceReport(
        n_samples=len(labels),
        n_labels=labels.n_labels,
        cardinality=cardinality,
        density=cardinality / labels.n_labels,
        n_labelsets=len(sizes),
        n_single_labelsets=int((sizes == 1).sum()),
        mean_ir=labels.mean_ir,
        max_ir=float(occurring.max()) if occurring.size else float("nan"),
        cvir=_cv(occurring),
        scumble=_mean(labels.scumble),
        scumble_cv=_cv(labels.scumble),
        n_known=int(labels.known.size - n_missing.sum()),
        n_missing=int(n_missing.sum()),
        n_without_positive=int((~labels.positive.any(axis=1)).sum()),
        labels=table,
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _cv(values: NDArray[np.float64]) -> float:
    values = values[~np.isnan(values)]
    if len(values) < 2 or values.mean() == 0:
        return float("nan")
    return float(values.std(ddof=1) / values.mean())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
