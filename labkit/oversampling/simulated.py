r"""Simulated drug effects on real molecules, with a known best possible score.

No labelled multitask set may be shipped, so the quick preset uses NCI molecules that come with
rdkit and effects that are **simulated**. For molecule :math:`i` and effect :math:`l` with
mechanism :math:`m(l)`

.. math::

    e_{il} = \sqrt{1 - \nu}\, s_{il} + \sqrt{\nu}\, \epsilon_{il}, \qquad
    s_{il} \propto \sqrt{c}\, g_{i m(l)} + \sqrt{1 - c}\, h_{il}, \qquad
    \epsilon_{il} = \sqrt{c}\, u_{i m(l)} + \sqrt{1 - c}\, v_{il}

with :math:`s, g, h` standardized over the molecules. :math:`g, h` are weighted sums of substructure
rules (:data:`SUBSTRUCTURES`); :math:`u, v` are independent standard normal. A label is an effect
above a threshold, :math:`y_{il} = [e_{il} > t_l]`, so that

.. math::

    P(y_{il} = 1 \mid \text{molecule}) =
    \Phi\left((\sqrt{1 - \nu}\, s_{il} - t_l) / \sqrt{\nu}\right)

is exact, and with it the Bayes-optimal score (:func:`bayes_ceiling`). The best possible R2 of the
continuous effects is :math:`1 - \nu`.

=============  ====================  ======================================================
symbol         variable              meaning
=============  ====================  ======================================================
:math:`\nu`    ``noise``             share of the variance that structure does not explain
:math:`c`      ``cooccurrence``      share of structure and of noise common to a mechanism
:math:`t_l`    ``thresholds``        set so that the mean probability is the wanted prevalence
=============  ====================  ======================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit import Chem, RDConfig
from scipy.optimize import brentq
from scipy.special import ndtr

from labkit.errors import MissingDataError, ParameterError
from labkit.oversampling.graphs import parse
from labkit.oversampling.ranking import label_curves

SUBSTRUCTURES: dict[str, str] = {
    "nitro group": "[$([NX3](=O)=O),$([NX3+](=O)[O-])]",
    "aromatic primary amine": "[NX3;H2]c",
    "aromatic tertiary amine": "[NX3;H0](c)([CX4])[CX4]",
    "aliphatic tertiary amine": "[NX3;H0;!$(N-C=[O,N,S])]([CX4])([CX4])[CX4]",
    "hydrazine": "[NX3][NX3]",
    "azo group": "[#6]N=N[#6]",
    "imine": "[CX3]=[NX2]",
    "nitrile": "C#N",
    "amide": "[NX3][CX3]=O",
    "sulfonamide": "S(=O)(=O)N",
    "thiocarbonyl": "C=S",
    "thioether": "[#6][SX2][#6]",
    "thiol": "[SX2H]",
    "phenol": "[OX2H]c",
    "aliphatic alcohol": "[OX2H][CX4]",
    "carboxylic acid": "C(=O)[OX2H1,O-]",
    "ester": "[CX3](=O)[OX2][#6]",
    "ketone": "[#6][CX3](=O)[#6]",
    "aldehyde": "[CX3H1](=O)[#6]",
    "enone": "C=CC=O",
    "aryl ether": "cO[CX4]",
    "aryl halide": "[F,Cl,Br,I]c",
    "alkyl halide": "[F,Cl,Br,I][CX4]",
    "pyridine": "n1ccccc1",
    "fused aromatic rings": "c12ccccc1cccc2",
    "biaryl": "c-c",
    "carbon chain": "[CH2][CH2][CH2][CH2][CH2]",
    "quaternary carbon": "[CX4]([#6])([#6])([#6])[#6]",
}
_N_MECHANISMS = 4
_N_SHARED_RULES = 6
_N_OWN_RULES = 4
_MOST_COMMON = 0.45
_MIN_MOLECULES = 50


@dataclass(frozen=True, eq=False)
class SimulatedEffects:
    """Simulated effects of real molecules.

    Attributes
    ----------
    smiles : ndarray of shape (n,)
        As found in the source, unparsable ones left out.
    canonical : ndarray of shape (n,)
    source_rows : int ndarray of shape (n,)
        Row of each molecule in the input.
    dropped : DataFrame
        Columns row, smiles: inputs that rdkit cannot parse.
    names : tuple of str
        ``"simulated effect 01"`` is the most common label.
    continuous : float ndarray of shape (n, q)
        Effects with noise, standardized.
    expected : float ndarray of shape (n, q)
        Effects without noise: the best possible prediction.
    labels : float ndarray of shape (n, q)
        ``continuous > thresholds`` as 0 and 1.
    probability : float ndarray of shape (n, q)
        True P(label = 1 | molecule).
    thresholds : float ndarray of shape (q,)
    noise_sd : float
        Standard deviation of ``continuous - expected``.
    rules : DataFrame
        Columns effect, mechanism, shared (bool), substructure, smarts, weight.
    digest : str
        sha256 of the source molecules and the parameters.
    """

    smiles: np.ndarray
    canonical: np.ndarray
    source_rows: np.ndarray
    dropped: pd.DataFrame
    names: tuple[str, ...]
    continuous: np.ndarray
    expected: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    thresholds: np.ndarray
    noise_sd: float
    rules: pd.DataFrame
    digest: str

    @property
    def best_r2(self) -> float:
        """Best possible R2 of a prediction of `continuous` from structure."""
        return 1.0 - self.noise_sd**2


def simulate_effects(
    smiles: Sequence[str] | None = None,
    *,
    n_labels: int = 12,
    imbalance: float = 6.0,
    cooccurrence: float = 0.5,
    noise: float = 0.25,
    seed: int = 0,
) -> SimulatedEffects:
    """Simulate effects that depend on substructures.

    Parameters
    ----------
    smiles : sequence of str, optional
        The NCI molecules of rdkit (about 5,000) when omitted.
    n_labels : int
        At least 2.
    imbalance : float
        Expected MeanIR: prevalences fall geometrically from 0.45 so that the mean of
        (most common / each) is this; 1 is balanced.
    cooccurrence : float
        In [0, 1): how alike effects of the same mechanism are.
    noise : float
        In (0, 1): share of the variance of an effect that structure does not explain.
    seed : int
        Same seed, same effects.

    Raises
    ------
    ParameterError
        A parameter is out of range, or fewer than 50 molecules are valid.
    MissingDataError
        This build of rdkit comes without the NCI molecules.
    """
    _check(n_labels, imbalance, cooccurrence, noise)
    source = _prepare(nci_smiles() if smiles is None else tuple(smiles))
    n, rng = len(source.rows), np.random.default_rng(seed)
    mechanism = np.arange(n_labels) % _N_MECHANISMS
    signal, rules = _signal(source, mechanism, cooccurrence, rng)
    common = rng.standard_normal((n, _N_MECHANISMS))[:, mechanism]
    own = rng.standard_normal((n, n_labels))
    error = np.sqrt(cooccurrence) * common + np.sqrt(1 - cooccurrence) * own
    noise_sd = float(np.sqrt(noise))
    expected = np.sqrt(1 - noise) * signal
    continuous = expected + noise_sd * error
    thresholds = _thresholds(expected, noise_sd, prevalences(n_labels, imbalance))
    parameters = {"n_labels": n_labels, "imbalance": imbalance, "cooccurrence": cooccurrence}
    recipe = [parameters, {"noise": noise, "seed": seed}, source.smiles]
    return SimulatedEffects(
        smiles=np.array(source.smiles, dtype=object)[source.rows],
        canonical=source.canonical,
        source_rows=source.rows,
        dropped=source.dropped,
        names=tuple(_name(label) for label in range(n_labels)),
        continuous=continuous,
        expected=expected,
        labels=(continuous > thresholds).astype(float),
        probability=ndtr((expected - thresholds) / noise_sd),
        thresholds=thresholds,
        noise_sd=noise_sd,
        rules=rules,
        digest=hashlib.sha256(json.dumps(recipe).encode()).hexdigest(),
    )


def prevalences(n_labels: int, imbalance: float) -> np.ndarray:
    """Geometric label frequencies whose MeanIR is `imbalance`, the most common first.

    Examples
    --------
    >>> p = prevalences(12, 6.0)
    >>> round(float((p[0] / p).mean()), 6), round(float(p[0] / p[-1]), 1)
    (6.0, 17.2)
    """
    steps = np.linspace(0, 1, n_labels)
    if imbalance == 1:
        return np.full(n_labels, _MOST_COMMON)
    log_ratio = brentq(lambda x: np.exp(x * steps).mean() - imbalance, 0.0, np.log(1e6))
    return _MOST_COMMON * np.exp(-log_ratio * steps)


def bayes_ceiling(probability: np.ndarray) -> pd.DataFrame:
    r"""Best expected scores of a classifier that knows the true probabilities.

    Scores are ratios of expectations over the label noise, each molecule counting as a positive of
    weight p and a negative of weight 1 - p; the F1 is the largest over thresholds.

    Parameters
    ----------
    probability : ndarray of shape (n, q)
        True P(label = 1 | molecule), for example of a test set.

    Returns
    -------
    DataFrame
        One row per label: auc, ap, f1, threshold (the one of the best F1), prevalence.
    """
    p = np.asarray(probability, dtype=float)
    weights = np.concatenate([p, 1 - p])
    truth = np.concatenate([np.ones_like(p), np.zeros_like(p)])
    curves = label_curves(truth, np.concatenate([p, p]), weights)
    f1, threshold = curves.best_f1()
    return pd.DataFrame(
        {
            "auc": curves.auc(),
            "ap": curves.ap(),
            "f1": f1,
            "threshold": threshold,
            "prevalence": p.mean(axis=0),
        }
    )


@lru_cache(maxsize=1)
def nci_smiles() -> tuple[str, ...]:
    """SMILES of the NCI molecules that come with rdkit, in file order.

    Raises
    ------
    MissingDataError
        This build of rdkit comes without them (conda's leaves out the Data folder's NCI files).
    """
    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    if not path.is_file():
        raise MissingDataError(
            f"nci_simulated needs {path}, which this build of rdkit lacks; install rdkit from PyPI "
            "(pip install rdkit) or give a data set or a CSV."
        )
    return tuple(line.split()[0] for line in path.read_text().splitlines() if line.strip())


def _check(n_labels: int, imbalance: float, cooccurrence: float, noise: float) -> None:
    if n_labels < 2:
        raise ParameterError(f"n_labels={n_labels}: simulate at least 2 labels.")
    if not 1 <= imbalance <= 50:
        raise ParameterError(f"imbalance={imbalance} is not a MeanIR between 1 and 50.")
    if not 0 <= cooccurrence < 1:
        raise ParameterError(f"cooccurrence={cooccurrence} is not in [0, 1).")
    if not 0 < noise < 1:
        raise ParameterError(f"noise={noise} is not in (0, 1), the share of unexplained variance.")


@dataclass(frozen=True, eq=False)
class _Source:
    """Molecules with the substructures that tell them apart; `matches` is (n_valid, n_rules)."""

    smiles: tuple[str, ...]
    rows: np.ndarray
    canonical: np.ndarray
    matches: np.ndarray
    rules: list[str]

    @property
    def dropped(self) -> pd.DataFrame:
        rows = np.setdiff1d(np.arange(len(self.smiles)), self.rows)
        return pd.DataFrame({"row": rows, "smiles": [self.smiles[i] for i in rows]})


@lru_cache(maxsize=2)
def _prepare(smiles: tuple[str, ...]) -> _Source:
    """Parse and match once; simulating again with other parameters then takes milliseconds."""
    parsed = [parse(text) for text in smiles]
    rows = np.array([i for i, mol in enumerate(parsed) if mol is not None], dtype=np.int64)
    mols = [mol for mol in parsed if mol is not None]
    if len(mols) < _MIN_MOLECULES:
        raise ParameterError(
            f"{len(mols)} valid molecules are too few to simulate; give {_MIN_MOLECULES} or more."
        )
    columns = {}
    for name, smarts in SUBSTRUCTURES.items():
        pattern = Chem.MolFromSmarts(smarts)
        column = np.array([mol.HasSubstructMatch(pattern) for mol in mols], dtype=float)
        if 3 <= column.sum() <= len(mols) - 3:
            columns[name] = column
    if len(columns) < _N_SHARED_RULES:
        raise ParameterError(
            f"only {len(columns)} of {len(SUBSTRUCTURES)} substructures tell these molecules "
            "apart; give more, and more diverse, molecules."
        )
    canonical = np.array([Chem.MolToSmiles(mol) for mol in mols], dtype=object)
    return _Source(smiles, rows, canonical, np.stack(list(columns.values()), 1), list(columns))


def _signal(
    source: _Source,
    mechanism: np.ndarray,
    cooccurrence: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Standardized noise-free effects, shape (n, q), and the rules behind them."""
    shared = [_draw_rules(source.matches, _N_SHARED_RULES, rng) for _ in range(_N_MECHANISMS)]
    signals, rules = [], []
    for label, m in enumerate(mechanism):
        own = _draw_rules(source.matches, _N_OWN_RULES, rng)
        mixed = np.sqrt(cooccurrence) * shared[m].score + np.sqrt(1 - cooccurrence) * own.score
        signals.append(_standardize(mixed))
        for is_shared, drawn in ((True, shared[m]), (False, own)):
            names = [source.rules[i] for i in drawn.columns]
            rules.append(
                pd.DataFrame(
                    {
                        "effect": _name(label),
                        "mechanism": int(m),
                        "shared": is_shared,
                        "substructure": names,
                        "smarts": [SUBSTRUCTURES[name] for name in names],
                        "weight": drawn.weights,
                    }
                )
            )
    return np.stack(signals, axis=1), pd.concat(rules, ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Rules:
    columns: np.ndarray
    weights: np.ndarray
    score: np.ndarray


def _draw_rules(matches: np.ndarray, n_rules: int, rng: np.random.Generator) -> _Rules:
    """Draw substructures with weights, a quarter of them negative; `score` is standardized."""
    columns = rng.choice(matches.shape[1], size=n_rules, replace=False)
    sign = np.where(rng.random(n_rules) < 0.25, -1.0, 1.0)
    weights = sign * rng.uniform(0.5, 1.5, size=n_rules)
    return _Rules(columns, weights, _standardize(matches[:, columns] @ weights))


def _standardize(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _thresholds(expected: np.ndarray, noise_sd: float, prevalence: np.ndarray) -> np.ndarray:
    """Thresholds at which the mean probability of each label is its prevalence."""
    low, high = expected.min() - 9 * noise_sd, expected.max() + 9 * noise_sd

    def excess(threshold: float, label: int) -> float:
        return float(ndtr((expected[:, label] - threshold) / noise_sd).mean() - prevalence[label])

    return np.array([brentq(excess, low, high, args=(i,)) for i in range(len(prevalence))])


def _name(label: int) -> str:
    return f"simulated effect {label + 1:02d}"
