r"""Area under the ROC curve of few atoms, with an interval and permutation tests.

The AUROC is the chance that a site atom scores higher than another atom, a tie counting half,

.. math::

    A = \frac{1}{mn} \sum_{i=1}^{m} \sum_{j=1}^{n}
        \left( [x_i > y_j] + \tfrac{1}{2} [x_i = y_j] \right) ,

computed from midranks. A bootstrap over two or five site atoms is worthless where all of them
score highest: every resample gives 1 and the interval has no width. The interval here is
Newcombe's method 5, the score interval of the Hanley-McNeil variance: all :math:`\theta` with

.. math::

    (A - \theta)^2 \le z^2 \, \frac{\theta (1 - \theta)}{mn}
    \left[ 1 + \left( \tfrac{m + n}{2} - 1 \right)
    \left( \frac{1 - \theta}{2 - \theta} + \frac{\theta}{1 + \theta} \right) \right] .

It takes atoms as independent. They are not: neighbors share a surrounding. `patches` therefore
draws site sets that hang together as the real ones do, for a permutation test that keeps this.

==============  =====================  ============================================
symbol          variable               meaning
==============  =====================  ============================================
:math:`m, n`    n_sites, n_others      atoms on either side
:math:`z`       from ``confidence``    normal quantile
==============  =====================  ============================================

References
----------
.. [1] Hanley and McNeil, Radiology 143 (1982) 29-36.
.. [2] Newcombe, Statistics in Medicine 25 (2006) 559-573, method 5.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from labkit.errors import ParameterError

_NEARLY = 1e-9


def auroc(values: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for one or many sets of sites.

    Parameters
    ----------
    values : ndarray of shape (n_atoms,)
    sites : ndarray of bool, shape (..., n_atoms)

    Returns
    -------
    ndarray of shape (...)
        nan where a set holds no atom or every atom, everywhere if any value is nan.

    Examples
    --------
    >>> float(auroc(np.array([3.0, 2.0, 1.0, 1.0]), np.array([True, False, True, False])))
    0.625
    """
    sites = np.asarray(sites, dtype=bool)
    values = np.asarray(values, dtype=float)
    n_sites = sites.sum(axis=-1)
    pairs = n_sites * (sites.shape[-1] - n_sites)
    if np.isnan(values).any():
        return np.full(n_sites.shape, np.nan)
    wins = sites @ rankdata(values) - n_sites * (n_sites + 1) / 2
    return np.divide(wins, pairs, out=np.full(np.shape(wins), np.nan), where=pairs > 0)


def auroc_interval(
    area: float, n_sites: int, n_others: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's interval of an AUROC, never without width.

    Parameters
    ----------
    area : float
    n_sites, n_others : int
        Atoms on either side, 1 or more.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float
        nan for an `area` of nan.

    Examples
    --------
    >>> low, high = auroc_interval(1.0, 2, 19)
    >>> round(low, 2), high
    (0.58, 1.0)
    """
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence={confidence}: give a number between 0 and 1.")
    if np.isnan(area):
        return np.nan, np.nan
    z = norm.ppf((1 + confidence) / 2)

    def excess(theta: float) -> float:
        return abs(area - theta) - z * np.sqrt(_variance(theta, n_sites, n_others))

    # At 0 and 1 the variance vanishes with the distance: a root that is not an end of the interval.
    low = brentq(excess, 0.0, area - _NEARLY) if area > 0 else 0.0
    high = brentq(excess, area + _NEARLY, 1.0) if area < 1 else 1.0
    return float(low), float(high)


def permutation_p(values: np.ndarray, sites: np.ndarray, drawn: np.ndarray) -> float:
    """Share of drawn site sets whose AUROC is as far from one half as that of `sites`.

    Two-sided, the observed set counted among the draws (Phipson and Smyth, Stat. Appl. Genet. Mol.
    Biol. 9 (2010) 39), so never 0.

    Parameters
    ----------
    values : ndarray of shape (n_atoms,)
    sites : ndarray of bool, shape (n_atoms,)
    drawn : ndarray of bool, shape (n_draws, n_atoms)
        From :func:`permutations` or :func:`patches`.

    Returns
    -------
    float
        nan for nan values.
    """
    observed = abs(auroc(values, sites) - 0.5)
    if np.isnan(observed):
        return np.nan
    extreme = np.abs(auroc(values, drawn) - 0.5) >= observed - 1e-12
    return float((1 + extreme.sum()) / (1 + len(drawn)))


def permutations(sites: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` site sets of the same size, atoms exchanged freely, shape (n, n_atoms)."""
    return rng.permuted(np.broadcast_to(sites, (n, len(sites))), axis=1)


def patches(sites: np.ndarray, bonds: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` site sets of connected pieces as large as those of `sites`.

    Every piece is grown from a random atom by random neighbors that are still free; pieces are
    placed largest first. Where no room is left, the set is drawn anew.

    Parameters
    ----------
    sites : ndarray of bool, shape (n_atoms,)
    bonds : ndarray of bool, shape (n_atoms, n_atoms)
        Symmetric: which atoms are bonded.
    n : int
    rng : Generator

    Returns
    -------
    ndarray of bool, shape (n, n_atoms)
    """
    neighbors = [np.flatnonzero(row) for row in bonds]
    sizes = sorted((len(piece) for piece in _pieces(sites, neighbors)), reverse=True)
    drawn = np.zeros((n, len(sites)), dtype=bool)
    for row in drawn:
        while not _place(row, sizes, neighbors, rng):
            row[:] = False
    return drawn


def _variance(theta: float, m: int, n: int) -> float:
    spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
    return theta * (1 - theta) / (m * n) * (1 + ((m + n) / 2 - 1) * spread)


def _pieces(sites: np.ndarray, neighbors: list[np.ndarray]) -> list[set[int]]:
    left, pieces = set(np.flatnonzero(sites).tolist()), []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            atom = edge.pop()
            piece.add(atom)
            near = left.intersection(neighbors[atom].tolist())
            left -= near
            edge.extend(near)
        pieces.append(piece)
    return pieces


def _place(
    taken: np.ndarray, sizes: list[int], neighbors: list[np.ndarray], rng: np.random.Generator
) -> bool:
    """Mark one set of pieces in `taken`; False where a piece found no room."""
    for size in sizes:
        piece = [int(rng.choice(np.flatnonzero(~taken)))]
        taken[piece[0]] = True
        while len(piece) < size:
            free = [a for atom in piece for a in neighbors[atom] if not taken[a]]
            if not free:
                return False
            piece.append(int(rng.choice(free)))
            taken[piece[-1]] = True
    return True
