"""Reads the citation graphs of Planetoid: Cora, Citeseer and Pubmed with the public split.

Yang, Cohen and Salakhutdinov, ICML 2016 (PMLR 48:40-48) published each graph as files
``ind.<name>.<part>``: ``allx`` and ``tx`` words, ``ally`` and ``ty`` topics (one-hot) of the papers
outside and inside the test set, ``graph`` a dict of neighbors, ``test.index`` the papers' numbers.
The first ``len(y)`` papers are for training (20 of each topic), the next 500 for validation, the
1000 of ``test.index`` for testing. 15 numbers that ``test.index`` of Citeseer leaves out are
papers that are cited but have no words and no known topic.

The files are Python 2 pickles. A pickle can call any function when it is loaded, so they are
compared with their checksums first (`labkit.datasets`) and then read by an unpickler that knows
six harmless names and refuses all others.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from labkit import datasets
from labkit.spiking.citation import CitationGraph, unique_edges

N_VALIDATION = 500

# The files number the topics without naming them. Cora's and Citeseer's classes all differ in
# size, so the sizes in the LINQS files (Sen et al. 2008) tell which is which.
TOPICS = {
    "cora": (
        "Theory",
        "Reinforcement_Learning",
        "Genetic_Algorithms",
        "Neural_Networks",
        "Probabilistic_Methods",
        "Case_Based",
        "Rule_Learning",
    ),
    "citeseer": ("AI", "ML", "IR", "DB", "Agents", "HCI"),
    "pubmed": ("topic 0", "topic 1", "topic 2"),
}
_NOTES = {
    "cora": (),
    "citeseer": ("15 papers have no words and no known topic; no split holds them",),
    "pubmed": (
        "words are left out: ind.pubmed.allx has no registered checksum",
        "topics are numbered: the files do not name them",
    ),
}
_WITHOUT_WORDS = ("pubmed",)


def read_planetoid(name: str) -> CitationGraph:
    """Read one graph with its public split.

    Parameters
    ----------
    name : {"cora", "citeseer", "pubmed"}
        Which graph. Pubmed comes without words.

    Returns
    -------
    CitationGraph

    Raises
    ------
    MissingDataError
        A file is neither on this machine nor to be had from its source.
    """
    parts = ["y", "ally", "ty", "graph", "test_index"]
    if name not in _WITHOUT_WORDS:
        parts += ["allx", "tx"]
    entries = {part: datasets.get(f"spiking/planetoid_{name}_{part}") for part in parts}
    files = {part: datasets.path(entry) for part, entry in entries.items()}
    test = np.array(files["test_index"].read_text().split(), dtype=np.int64)
    known = load_pickle(files["ally"])
    n_papers = int(max(len(known) + len(test), test.max() + 1))
    one_hot = np.zeros((n_papers, known.shape[1]), dtype=known.dtype)
    one_hot[: len(known)], one_hot[test] = known, load_pickle(files["ty"])
    n_train = len(load_pickle(files["y"]))
    words = None
    if "allx" in files:
        words = _words(load_pickle(files["allx"]), load_pickle(files["tx"]), test, n_papers)
    return CitationGraph(
        name=name,
        edges=_edges(load_pickle(files["graph"])),
        labels=np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1),
        topics=TOPICS[name],
        features=words,
        train=np.arange(n_train),
        validation=np.arange(n_train, n_train + N_VALIDATION),
        test=np.sort(test),
        split="planetoid",
        source=source_of(entries.values()),
        notes=_NOTES[name],
    )


def source_of(entries: Any) -> dict[str, Any]:
    """Where registered files come from, for `CitationGraph.source`."""
    entries = list(entries)
    return {
        "files": tuple(entry.file for entry in entries),
        "sha256": tuple(entry.sha256 for entry in entries),
        "license": entries[0].license,
        "citation": entries[0].citation,
    }


def _edges(neighbors: dict[int, list[int]]) -> np.ndarray:
    pairs = [(paper, cited) for paper, others in neighbors.items() for cited in others]
    return unique_edges(np.array(pairs, dtype=np.int64).T)


def _words(
    known: sparse.csr_matrix, tested: sparse.csr_matrix, test: np.ndarray, n_papers: int
) -> sparse.csr_matrix:
    """Words of all papers, those of the test set at their numbers; (n_papers, n_words)."""
    known, tested = known.tocoo(), tested.tocoo()
    rows = np.concatenate([known.row, test[tested.row]])
    columns = np.concatenate([known.col, tested.col])
    values = np.concatenate([known.data, tested.data]).astype(np.float32)
    return sparse.csr_matrix((values, (rows, columns)), shape=(n_papers, known.shape[1]))


class _PickledMatrix:
    """Receives the fields of a pickled scipy matrix, whatever scipy wrote it."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    _shape: tuple[int, int]

    def matrix(self) -> sparse.csr_matrix:
        """Return the fields as a matrix of the scipy that is installed."""
        return sparse.csr_matrix((self.data, self.indices, self.indptr), shape=self._shape)


_HARMLESS: dict[tuple[str, str], Any] = {
    ("scipy.sparse.csr", "csr_matrix"): _PickledMatrix,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
}


class _HarmlessUnpickler(pickle.Unpickler):
    """Builds arrays, matrices and dicts of lists, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(
                f"the file asks for {module}.{name}, which a citation graph does not need; "
                "it is not read."
            )
        return _HARMLESS[module, name]


def load_pickle(file: Path) -> Any:
    """Read an array, a matrix or a dict of lists from a pickle of Python 2.

    Raises
    ------
    pickle.UnpicklingError
        The file asks for anything else; nothing of it is called.
    """
    with file.open("rb") as stream:
        loaded = _HarmlessUnpickler(stream, encoding="latin1").load()
    return loaded.matrix() if isinstance(loaded, _PickledMatrix) else loaded
