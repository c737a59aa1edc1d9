"""Contact tensors: the distance of every ligand atom to every residue in every frame.

    d[t, a, r] = min over heavy atoms b of residue r of |x_a(t) - x_b(t)|

kept where it is below a cutoff and infinite elsewhere, so that every smaller contact cutoff can be
tried without reading the trajectory again. Atoms that are further than the cutoff from the box
around the ligand cannot matter and are left out before distances are computed.

The soft contact is s(d) = 1 / (1 + exp((d - d0) / width)), with d0 and width in angstrom.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from labkit.errors import ParameterError
from labkit.hotspots.extraction import ContactTask, extract
from labkit.hotspots.lifetimes import contact_lifetimes

if TYPE_CHECKING:
    from labkit.hotspots.systems import Complex

CONTACT = 4.5  # angstrom: heavy atoms in van der Waals contact
UNBOUND_SHARE = 0.1
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class ContactMatrices:
    """Distances between ligand atoms and residues over frames.

    Parameters
    ----------
    distances : ndarray of shape (n_frames, n_atoms, n_residues), float32
        Smallest distance between heavy atoms, angstrom; ``inf`` at or beyond `cutoff`.
    cutoff : float
        Angstrom.
    atom_names, residue_labels : tuple of str
        Names along the last two axes.
    residue_indices : ndarray of shape (n_residues,)
        Position of each residue in ``universe.residues``.
    frames : ndarray of shape (n_frames,)
        Trajectory index of each frame.
    replica : ndarray of shape (n_frames,)
        Number of the trajectory that each frame comes from.
    """

    distances: np.ndarray
    cutoff: float
    atom_names: tuple[str, ...]
    residue_labels: tuple[str, ...]
    residue_indices: np.ndarray
    frames: np.ndarray
    replica: np.ndarray

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.distances.shape[0]

    @property
    def n_atoms(self) -> int:
        """Number of ligand atoms."""
        return self.distances.shape[1]

    @property
    def n_residues(self) -> int:
        """Number of residues."""
        return self.distances.shape[2]

    @property
    def unbound(self) -> np.ndarray:
        """Whether the ligand has no residue below `cutoff`, of shape (n_frames,)."""
        reached = [np.isfinite(part).any(axis=(1, 2)) for part in _parts(self.distances)]
        return ~np.concatenate(reached)

    def pocket(self, min_occupancy: float = 0.0, cutoff: float = CONTACT) -> ContactMatrices:
        """The residues that any atom touches in more than a share of the frames.

        Parameters
        ----------
        min_occupancy : float
            Share of frames, 0 to 1; a residue must be touched in more of them.
        cutoff : float
            Distance that counts as touching, angstrom.

        Raises
        ------
        ParameterError
            No residue is left.
        """
        self._check(cutoff)
        touched = sum((part < cutoff).any(axis=1).sum(axis=0) for part in _parts(self.distances))
        share = np.asarray(touched) / self.n_frames
        keep = np.flatnonzero(share > min_occupancy)
        if not len(keep):
            raise ParameterError(
                f"min_occupancy={min_occupancy} at cutoff={cutoff} A leaves no residue; the most "
                f"frequent one is touched in {share.max():.2f} of the frames."
            )
        return replace(
            self,
            distances=np.ascontiguousarray(self.distances[:, :, keep]),
            residue_labels=tuple(self.residue_labels[k] for k in keep),
            residue_indices=self.residue_indices[keep],
        )

    def select_frames(self, frames: np.ndarray | slice) -> ContactMatrices:
        """Some of the frames, by a mask, positions in the tensor or a slice."""
        return replace(
            self,
            distances=self.distances[frames],
            frames=self.frames[frames],
            replica=self.replica[frames],
        )

    def occupancy(self, cutoff: float = CONTACT) -> pd.DataFrame:
        """Share of frames in contact, atoms x residues."""
        self._check(cutoff)
        counts = sum((part < cutoff).sum(axis=0) for part in _parts(self.distances))
        return pd.DataFrame(
            np.asarray(counts) / self.n_frames,
            index=pd.Index(self.atom_names, name="atom"),
            columns=pd.Index(self.residue_labels, name="residue"),
        )

    def lifetimes(self, cutoff: float = CONTACT, gap: int = 1) -> pd.DataFrame:
        """Lifetimes of contacts, in frames; those that outlast the trajectory are censored.

        See :func:`labkit.hotspots.lifetimes.contact_lifetimes`.
        """
        self._check(cutoff)
        return contact_lifetimes(
            self.distances < cutoff,
            atom_names=self.atom_names,
            residue_labels=self.residue_labels,
            replica=self.replica,
            gap=gap,
        )

    def save(self, path: str | Path) -> Path:
        """Write a compressed npz file that `load` reads; returns its path."""
        file = Path(path).expanduser()
        file = file if file.suffix == ".npz" else file.with_name(file.name + ".npz")
        with file.open("wb") as stream:
            np.savez_compressed(stream, **vars(self))
        return file

    @classmethod
    def load(cls, path: str | Path) -> ContactMatrices:
        """Read what `save` wrote."""
        with np.load(Path(path).expanduser(), allow_pickle=False) as stored:
            values: dict[str, Any] = {name: stored[name] for name in cls.__dataclass_fields__}
        values["cutoff"] = float(values["cutoff"])
        for name in ("atom_names", "residue_labels"):
            values[name] = tuple(values[name].tolist())
        return cls(**values)

    def _check(self, cutoff: float) -> None:
        if not 0 < cutoff <= self.cutoff:
            raise ParameterError(
                f"cutoff={cutoff} A is not between 0 and {self.cutoff} A, the cutoff that the "
                "distances were computed with. Use a smaller one, or compute_contacts(cutoff=...)."
            )


def compute_contacts(
    complex: Complex,
    *,
    cutoff: float = 8.0,
    step: int = 1,
    chunk: int = 1000,
    n_jobs: int = 1,
    client: Any = None,
    progress: Progress | None = None,
    out: str | Path | None = None,
) -> ContactMatrices:
    """Distances of ligand atoms to residues in all frames of a complex.

    Parameters
    ----------
    complex : Complex
        What `load_complex` returns.
    cutoff : float
        Distances at or beyond it are stored as ``inf``, angstrom.
    step : int
        Take every so-manieth of the complex' frames.
    chunk : int
        Frames per task; bounds the memory of a task beside the result.
    n_jobs : int
        Processes that read frame ranges side by side, each with files of its own; -1 for all cores.
    client : distributed.Client, optional
        Dask cluster that takes the tasks instead; its workers must see the trajectory files.
    progress : callable, optional
        Called as ``progress(done, total, text)`` with frames.
    out : path, optional
        File (``.npy``) that holds the distances instead of memory, for tensors larger than it.

    Returns
    -------
    ContactMatrices
        All residues of the protein, in the order of ``complex.residue_labels``.

    Warns
    -----
    UserWarning
        The ligand has no residue below the cutoff in more than a tenth of the frames.
    """
    _require_positive(cutoff=cutoff, step=step, chunk=chunk)
    frames, replica = complex.frames[::step], complex.replica[::step]
    protein = complex.protein
    shape = (len(frames), complex.n_atoms, complex.n_residues)
    distances = _tensor(shape, out)
    tasks = [
        ContactTask.of(complex, frames[begin : begin + chunk], cutoff)
        for begin in range(0, len(frames), chunk)
    ]
    done = 0
    for blocks in _run(tasks, n_jobs, client):
        for block in blocks:
            part = distances[done : done + block.n_frames]
            part[:, :, block.residues] = block.distances.transpose(1, 2, 0)
            done += block.n_frames
        if progress is not None:
            progress(done, len(frames), "contacts")
    contacts = ContactMatrices(
        distances=distances,
        cutoff=float(cutoff),
        atom_names=complex.atom_names,
        residue_labels=complex.residue_labels,
        residue_indices=protein.residues.ix,
        frames=frames,
        replica=replica,
    )
    _warn_if_unbound(contacts)
    return contacts


def soft_contacts(d: np.ndarray, *, d0: float = 4.5, width: float = 0.5) -> np.ndarray:
    """Smooth contact, 1 at short and 0 at long distance, one half at `d0`.

    Parameters
    ----------
    d : ndarray
        Distances, angstrom; ``inf`` gives exactly 0.
    d0, width : float
        Midpoint and width of the switch, angstrom.

    Returns
    -------
    ndarray of the shape of `d`, float32

    Examples
    --------
    >>> soft_contacts(np.array([0.0, 4.5, np.inf])).round(3)
    array([1. , 0.5, 0. ], dtype=float32)
    """
    _require_positive(width=width)
    scaled = (np.float32(d0) - np.asarray(d, dtype=np.float32)) / np.float32(width)
    return expit(scaled, out=scaled)


def binary_contacts(d: np.ndarray, *, cutoff: float = CONTACT) -> np.ndarray:
    """Whether a distance is below a cutoff, angstrom.

    Examples
    --------
    >>> binary_contacts(np.array([3.9, 4.5, np.inf]))
    array([ True, False, False])
    """
    return np.asarray(d) < cutoff


def _run(tasks: Sequence[ContactTask], n_jobs: int, client: Any) -> Iterator[Any]:
    if client is not None:
        futures = client.map(extract, tasks, pure=False)
        for future in futures:
            yield future.result()
            future.release()
    elif n_jobs == 1 or len(tasks) == 1:
        yield from map(extract, tasks)
    else:
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        yield from parallel(delayed(extract)(task) for task in tasks)


def _tensor(shape: tuple[int, int, int], out: str | Path | None) -> np.ndarray:
    if out is None:
        return np.full(shape, np.inf, dtype=np.float32)
    file = Path(out).expanduser()
    tensor = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    for part in _parts(tensor):
        part[:] = np.inf
    return tensor


def _parts(tensor: np.ndarray, size: int = 1000) -> Iterable[np.ndarray]:
    return (tensor[begin : begin + size] for begin in range(0, len(tensor), size))


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ParameterError(f"{name}={value} is not allowed. Give a number above 0.")


def _warn_if_unbound(contacts: ContactMatrices) -> None:
    away = np.flatnonzero(contacts.unbound)
    if len(away) <= UNBOUND_SHARE * contacts.n_frames:
        return
    warnings.warn(
        f"the ligand has no residue within {contacts.cutoff:g} A in {len(away)} of "
        f"{contacts.n_frames} frames, the first is frame {contacts.frames[away[0]]}: it left the "
        "pocket, or is in another periodic image. ContactMatrices.unbound marks these frames; "
        "select_frames(~contacts.unbound) leaves them out.",
        stacklevel=3,
    )
