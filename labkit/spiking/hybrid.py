"""Off-chip readout of the words, injected into the spiking diffusion as bias currents.

A Loihi 2 chip would not compute this part: words are smoothed over two hops of the citation graph,
as in the simplified graph convolution [1]_, and a multinomial logistic regression with L2 penalty
is trained on the labeled papers, **in floating point, on the host**,

    H = (D^-1/2 (A + I) D^-1/2)^2 X,        p(i, k) = softmax_k(H_i w_k + b_k),

``X`` being the words scaled to length 1. What the chip computes stays integer: neuron (paper i,
topic k) gets the constant bias current ``round(p(i, k) vth readout_scale)`` in the diffusion, below
the threshold, so that it spikes earlier for topics its words speak for.

Notation: A adjacency, D degrees of A + I, C inverse of the penalty, vth threshold.

References
----------
.. [1] Wu et al., Simplifying graph convolutional networks, ICML 2019, eq. 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from labkit.errors import ParameterError
from labkit.spiking.neighbors import normalized, unit_words

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

HOPS = 2
MAX_ITERATIONS = 1000


def smoothed_words(graph: CitationGraph, *, hops: int = HOPS) -> sparse.csr_matrix:
    """Words averaged over the neighborhood, ``(D^-1/2 (A + I) D^-1/2)^hops X``.

    Parameters
    ----------
    graph : CitationGraph
    hops : int
        0 returns the words of the papers themselves.

    Returns
    -------
    csr_matrix of shape (n_papers, n_words), float64

    Raises
    ------
    ParameterError
        The graph has no words.
    """
    H = unit_words(graph)
    P = normalized(graph.adjacency(), self_loops=True)
    for _ in range(hops):
        H = sparse.csr_matrix(P @ H)
    return H


def readout_probabilities(
    graph: CitationGraph, *, C: float, words: sparse.csr_matrix | None = None
) -> np.ndarray:
    """Topic probabilities of every paper, from a logistic regression on the labeled papers.

    Trained off-chip in floating point with scikit-learn; labels of the training papers only.

    Parameters
    ----------
    graph : CitationGraph
    C : float
        Inverse strength of the L2 penalty.
    words : csr_matrix of shape (n_papers, n_words), optional
        What to regress on. Default: `smoothed_words`.

    Returns
    -------
    ndarray of shape (n_papers, n_topics)
        Rows sum to 1; a topic without a training paper has probability 0.
    """
    from sklearn.linear_model import LogisticRegression

    H = smoothed_words(graph) if words is None else words
    y = np.asarray(graph.labels)[graph.train]
    if len(np.unique(y)) < 2:
        raise ParameterError(
            f"graph {graph.name!r}: the training papers have one topic only; a readout needs two."
        )
    model = LogisticRegression(C=C, max_iter=MAX_ITERATIONS).fit(H[graph.train], y)
    probabilities = np.zeros((graph.n_papers, graph.n_topics))
    probabilities[:, model.classes_] = model.predict_proba(H)
    return probabilities


def bias_currents(probabilities: np.ndarray, *, vth: int, scale: float) -> np.ndarray:
    """Bias mantissas ``round(p vth scale)``, whole numbers, in units of the threshold's.

    Examples
    --------
    >>> bias_currents(np.array([[0.9, 0.1]]), vth=60, scale=0.3)
    array([[16,  2]])
    """
    return np.rint(np.asarray(probabilities) * (vth * scale)).astype(np.int64)
