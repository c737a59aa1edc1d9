"""Names of ligand atoms and of residues that are different for different things, always.

Tables and figures are indexed by them, so two rows must never share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from MDAnalysis import AtomGroup


def unique_names(names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Names with a number wherever one occurs again, and a note when that was needed.

    Examples
    --------
    >>> unique_names(["C1", "C2", "C1"])[0]
    ('C1', 'C2', 'C1#2')
    >>> unique_names(["C1", "C1#2", "C1"])[0]
    ('C1', 'C1#2', 'C1#3')
    """
    given, seen = set(names), set[str]()
    number: dict[str, int] = {}
    unique = []
    for name in names:
        label = name
        while label in seen or (label != name and label in given):
            number[name] = number.get(name, 1) + 1
            label = f"{name}#{number[name]}"
        seen.add(label)
        unique.append(label)
    if not number:
        return tuple(unique), ""
    first = next(new for new, name in zip(unique, names, strict=True) if new != name)
    listed = ", ".join(list(number)[:5])
    note = f"Atom names occur more than once ({listed}): numbered as {first} ..."
    return tuple(unique), note


def residue_labels(protein: AtomGroup) -> tuple[str, ...]:
    """Label of each residue, such as ``ASP129``.

    Residues that would share a label are told apart by their segment (``ASP129.A``), else by their
    chain, else by a number (``ASP129#2``).
    """
    residues = protein.residues
    codes = getattr(residues, "icodes", [""] * len(residues))
    labels = np.array(
        [
            f"{r.resname}{r.resid}{str(code).strip()}"
            for r, code in zip(residues, codes, strict=True)
        ],
        dtype=object,
    )
    marks = _marks(protein)
    names, count = np.unique(labels.astype(str), return_counts=True)
    for name in names[count > 1]:
        same = np.flatnonzero(labels == name)
        told_apart = max(marks[:, same], key=lambda mark: len(set(mark) - {""}))
        if len(set(told_apart)) > 1:
            labels[same] = [f"{name}.{mark}" if mark else name for mark in told_apart]
    return unique_names(labels.tolist())[0]


def _marks(protein: AtomGroup) -> np.ndarray:
    """Segment and chain of each residue, of shape (2, n_residues); empty where there is none."""
    _, first = np.unique(protein.resindices, return_index=True)
    atoms = protein[first]
    found = [getattr(atoms, name, [""] * len(first)) for name in ("segids", "chainIDs")]
    return np.array([[str(mark).strip() for mark in marks] for marks in found], dtype=object)
