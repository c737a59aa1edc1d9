"""Contacts of each ligand atom over windows of time: what the network sees.

An image is one ligand atom ``a`` over one window ``n`` of ``W`` consecutive frames: its soft
contacts with the ``R`` pocket residues, time downwards::

    images[a, n, w, r] = C[starts[n] + w, a, r]

so that a contact which keeps changing looks different from one that persists with the same average
occupancy. Windows start every ``stride`` frames and never straddle two replicas. They overlap, so a
random split would put the same frames on both sides; `time_blocks` holds out blocks of time.

Notation: ``C`` (n_frames, n_atoms, n_residues) soft contacts in [0, 1]; ``W`` ``window``, in
frames; ``replica`` (n_frames,) which trajectory a frame comes from.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from labkit.errors import ParameterError
from labkit.hotspots.contacts import ContactMatrices, soft_contacts

logger = logging.getLogger(__name__)

CHANNELS = ("none", "difference", "window_moments")
MIN_WINDOWS = 64
"""With fewer windows of an atom, as `AtomWindows.n_counted` counts them, intervals are wide."""
HELD_OUT = 0.2
N_BLOCKS = 5
"""By default a fifth of the time is held out, in one of five blocks."""


@dataclass(frozen=True, eq=False)
class AtomWindows:
    """Images of all ligand atoms over all windows.

    Attributes
    ----------
    images : ndarray of float32, shape (n_atoms, n_windows, window, n_residues)
        Read-only; of a single trajectory it is a view that shares frames between windows.
    starts : ndarray of int, shape (n_windows,)
        Position of each window's first frame in the contact tensor.
    replica : ndarray of int, shape (n_windows,)
        Trajectory that each window comes from.
    window, stride : int
        Length of a window and distance between two, in frames.
    n_frames : int
        Frames of the contact tensor.
    notes : tuple of str
        What a reader of the results should know: replicas left out, few windows.

    Examples
    --------
    >>> windows = atom_windows(np.zeros((40, 3, 5)), window=16, stride=4)
    >>> windows.images.shape, windows.n_images
    ((3, 7, 16, 5), 21)
    >>> windows.starts
    array([ 0,  4,  8, 12, 16, 20, 24])
    """

    images: np.ndarray
    starts: np.ndarray
    replica: np.ndarray
    window: int
    stride: int
    n_frames: int
    notes: tuple[str, ...] = ()

    @property
    def n_atoms(self) -> int:
        """Number of ligand heavy atoms."""
        return self.images.shape[0]

    @property
    def n_windows(self) -> int:
        """Number of windows of each atom."""
        return self.images.shape[1]

    @property
    def n_counted(self) -> int:
        """Windows of each atom as if they began no closer than a quarter of a window.

        Windows that overlap by more repeat each other: a smaller stride adds images to train on,
        not time.

        Examples
        --------
        >>> C = np.zeros((79, 1, 1))
        >>> [atom_windows(C, window=16, stride=stride).n_counted for stride in (1, 4, 8)]
        [16, 16, 8]
        """
        apart = max(self.stride, -(-self.window // 4))
        return sum(
            1 + int(self.starts[last - 1] - self.starts[first]) // apart
            for first, last, _ in replica_runs(self.replica)
        )

    @property
    def n_images(self) -> int:
        """Number of images: atoms times windows."""
        return self.n_atoms * self.n_windows

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of an image with its one channel: (1, window, n_residues)."""
        return (1, *self.images.shape[2:])

    @property
    def atom_index(self) -> np.ndarray:
        """Atom of each image of `flat`, shape (n_images,)."""
        return np.repeat(np.arange(self.n_atoms), self.n_windows)

    @property
    def time_index(self) -> np.ndarray:
        """Window of each image of `flat`, shape (n_images,)."""
        return np.tile(np.arange(self.n_windows), self.n_atoms)

    def flat(self) -> np.ndarray:
        """All images, atom by atom, as a copy of shape (n_images, 1, window, n_residues)."""
        return np.ascontiguousarray(self.images).reshape(self.n_images, *self.input_shape)

    def take(self, index: np.ndarray) -> np.ndarray:
        """Images of `flat` by index, copied, without copying the others."""
        atoms, windows = np.divmod(np.asarray(index), self.n_windows)
        return self.images[atoms, windows][:, None]


def atom_windows(
    contacts: ContactMatrices | ArrayLike,
    *,
    window: int = 16,
    stride: int = 4,
    replica: ArrayLike | None = None,
) -> AtomWindows:
    """Cut contacts into windows of time, one image per ligand atom and window.

    Parameters
    ----------
    contacts : ContactMatrices or array_like of shape (n_frames, n_atoms, n_residues)
        Distances, which are made soft contacts with the defaults of `soft_contacts`, or an array
        of contacts in [0, 1].
    window : int
        Frames of a window.
    stride : int
        Frames from the start of one window to the next.
    replica : array_like of int, shape (n_frames,), optional
        Trajectory of each frame; of `contacts` if it has one, else a single trajectory.

    Returns
    -------
    AtomWindows

    Raises
    ------
    ParameterError
        If no window fits, or contacts are missing, nan or outside [0, 1].
    """
    C = _as_soft_contacts(contacts)
    runs = replica_runs(_replica_of(contacts, replica, len(C)))
    _check_window(window, stride, runs)
    starts = np.concatenate(
        [np.arange(first, last - window + 1, stride) for first, last, _ in runs]
    )
    owner = np.concatenate(
        [np.full(max(0, (last - first - window) // stride + 1), r) for first, last, r in runs]
    )
    series = np.ascontiguousarray(C.transpose(1, 0, 2), dtype=np.float32)
    view = sliding_window_view(series, window, axis=1).transpose(0, 1, 3, 2)
    images = view[:, ::stride] if len(runs) == 1 else view[:, starts]
    images.flags.writeable = False
    windows = AtomWindows(images, starts, owner, window, stride, len(C))
    windows = replace(windows, notes=_notes(windows, runs))
    for note in windows.notes:
        logger.info(note)
    return windows


def temporal_channels(
    contacts: ContactMatrices | ArrayLike,
    *,
    kind: str = "none",
    lag: int | None = None,
    replica: ArrayLike | None = None,
) -> np.ndarray:
    """Contact maps of single frames with channels that tell how they change.

    ``"difference"`` adds ``|C[t] - C[t - lag]|``; ``"window_moments"`` replaces the map by the mean
    and the standard deviation over the ``lag`` frames that end at ``t``. At the start of a replica,
    where fewer frames came before, the difference is 0 and the moments are of the frames there are.

    Parameters
    ----------
    contacts : ContactMatrices or array_like of shape (n_frames, n_atoms, n_residues)
    kind : {"none", "difference", "window_moments"}
    lag : int, optional
        In frames; 1 for the difference, 5 for the moments.
    replica : array_like of int, shape (n_frames,), optional

    Returns
    -------
    ndarray of float32, shape (n_frames, n_channels, n_atoms, n_residues)
        One channel for ``"none"``, else two.

    Examples
    --------
    >>> C = np.array([0.0, 1.0, 1.0]).reshape(3, 1, 1)
    >>> temporal_channels(C, kind="difference")[:, 1, 0, 0]
    array([0., 1., 0.], dtype=float32)
    """
    if kind not in CHANNELS:
        raise ParameterError(f"temporal={kind!r} is not known; use one of {', '.join(CHANNELS)}.")
    lag = (5 if kind == "window_moments" else 1) if lag is None else lag
    if lag < 1:
        raise ParameterError(f"lag={lag} is not a number of frames; use 1 or more.")
    C = _as_soft_contacts(contacts)
    if kind == "none":
        return C[:, None]
    runs = replica_runs(_replica_of(contacts, replica, len(C)))
    change = _differences if kind == "difference" else _moments
    return np.concatenate([change(C[first:last], lag) for first, last, _ in runs])


def time_blocks(
    windows: AtomWindows,
    *,
    validation: float = HELD_OUT,
    n_blocks: int = N_BLOCKS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Split windows into training and validation by whole blocks of time.

    The frames are cut into ``n_blocks`` equal stretches, and a share ``validation`` of these, drawn
    at random, is held out. A window trains if all its frames are in training blocks and validates
    if all are in held-out blocks; one that reaches into both is used for neither.

    Parameters
    ----------
    windows : AtomWindows
    validation : float
        Share of the blocks to hold out, above 0 and below 1; at least one block, never all.
    n_blocks : int
        Blocks of time, 2 or more.
    seed : int
        Which blocks are drawn.

    Returns
    -------
    train_mask, valid_mask : ndarray of bool, shape (n_windows,)

    Raises
    ------
    ParameterError
        If the blocks are too short to hold a window of each side.

    Examples
    --------
    >>> windows = atom_windows(np.zeros((100, 1, 1)), window=10, stride=5)
    >>> train, valid = time_blocks(windows, validation=0.2, n_blocks=5, seed=0)
    >>> windows.starts[valid], windows.starts[~train & ~valid]
    (array([80, 85, 90]), array([75]))
    """
    if not 0 < validation < 1 or n_blocks < 2:
        raise ParameterError(
            f"validation={validation} with n_blocks={n_blocks} leaves one side empty; use a share "
            "between 0 and 1 and 2 blocks or more."
        )
    split = _Split(validation, n_blocks, seed)
    train, valid = split.masks(windows.starts, windows.window, windows.n_frames)
    if not train.any() or not valid.any():
        n_replicas = len(replica_runs(windows.replica))
        needed = split.frames_needed(windows.window, windows.stride, n_replicas)
        raise ParameterError(
            f"{windows.n_frames} frames are too few for window={windows.window}: validation="
            f"{validation} holds out whole stretches of time, and a window has to fit there and in "
            f"the rest. {_needs(needed, n_replicas)} for this window and stride={windows.stride}; "
            "give more frames or a shorter window."
        )
    return train, valid


@dataclass(frozen=True)
class _Split:
    """How time is divided into training and validation."""

    validation: float = HELD_OUT
    n_blocks: int = N_BLOCKS
    seed: int = 0

    def masks(
        self, starts: np.ndarray, window: int, n_frames: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which windows train, and which validate."""
        count = min(max(1, round(self.validation * self.n_blocks)), self.n_blocks - 1)
        chosen = np.random.default_rng(self.seed).choice(self.n_blocks, count, replace=False)
        block = np.arange(n_frames) * self.n_blocks // n_frames
        before = np.concatenate([[0], np.cumsum(np.isin(block, chosen))])
        inside = before[starts + window] - before[starts]
        return inside == 0, inside == window

    def allows(self, lengths: Sequence[int], window: int, stride: int) -> bool:
        """Whether replicas of these lengths have a window on either side."""
        ends = np.cumsum(lengths)
        starts = np.concatenate(
            [
                np.arange(end - length, end - window + 1, stride)
                for end, length in zip(ends, lengths, strict=True)
            ]
        )
        return all(mask.any() for mask in self.masks(starts, window, int(ends[-1])))

    def frames_needed(self, window: int, stride: int, n_replicas: int = 1) -> int:
        """Fewest frames of each replica with which, and with any more, the split can be made."""
        needed = self.n_blocks * (window + stride - 1)
        while self.allows([needed - 1] * n_replicas, window, stride):
            needed -= 1
        return needed

    def longest_window(self, lengths: Sequence[int], stride: int) -> int:
        """Longest window with which the split can be made; 0 if there is none."""
        candidates = range(1, max(lengths) + 1)
        return bisect.bisect_left(
            candidates, True, key=lambda window: not self.allows(lengths, window, stride)
        )


def _needs(n_frames: int, n_replicas: int) -> str:
    of = "A trajectory needs" if n_replicas == 1 else f"Each of {n_replicas} replicas needs"
    return f"{of} at least {n_frames} frames"


def replica_runs(replica: np.ndarray) -> list[tuple[int, int, int]]:
    """Stretches of frames of one replica: first frame, one past the last, replica."""
    cuts = np.flatnonzero(np.diff(replica)) + 1
    firsts, lasts = [0, *cuts.tolist()], [*cuts.tolist(), len(replica)]
    return [(first, last, int(replica[first])) for first, last in zip(firsts, lasts, strict=True)]


def _as_soft_contacts(contacts: ContactMatrices | ArrayLike) -> np.ndarray:
    if isinstance(contacts, ContactMatrices):
        contacts = soft_contacts(contacts.distances)
    C = np.asarray(contacts, dtype=np.float32)
    if C.ndim != 3 or 0 in C.shape:
        raise ParameterError(
            f"contacts of shape {C.shape} cannot be cut into windows; give (n_frames, n_atoms, "
            "n_residues) with at least one of each."
        )
    if np.isnan(C).any():
        frames = np.flatnonzero(np.isnan(C).any(axis=(1, 2)))
        raise ParameterError(
            f"contacts of {len(frames)} frames are nan, the first is frame {frames[0]}; leave "
            "frames without coordinates out."
        )
    if C.min() < 0 or C.max() > 1:
        raise ParameterError(
            f"contacts reach from {C.min():.3g} to {C.max():.3g}, not within 0 to 1; turn "
            "distances into contacts with soft_contacts or binary_contacts."
        )
    return C


def _replica_of(
    contacts: ContactMatrices | ArrayLike, replica: ArrayLike | None, n_frames: int
) -> np.ndarray:
    if replica is None and isinstance(contacts, ContactMatrices):
        replica = contacts.replica
    replica = np.zeros(n_frames, dtype=int) if replica is None else np.asarray(replica)
    if replica.shape != (n_frames,):
        raise ParameterError(
            f"replica has shape {replica.shape} for {n_frames} frames; give one number per frame."
        )
    return replica


def _check_window(window: int, stride: int, runs: list[tuple[int, int, int]]) -> None:
    if window < 1 or stride < 1:
        raise ParameterError(f"window={window} and stride={stride}: both are 1 frame or more.")
    lengths = [last - first for first, last, _ in runs]
    longest = max(lengths)
    if window <= longest:
        return
    needed = _Split().frames_needed(window, stride, len(runs))
    needs = f"{_needs(needed, len(runs))} for this window"
    if longest == 1:
        raise ParameterError(
            f"window={window} needs frames that follow one another and there is 1 frame: a single "
            f"structure shows no motion; give a trajectory. {needs} and stride={stride}."
        )
    of = "the trajectory has" if len(runs) == 1 else "the longest replica has"
    allowed = _Split().longest_window(lengths, stride)
    shorter = f"Use a window of at most {allowed}, or more frames. " if allowed else ""
    raise ParameterError(
        f"window={window} is longer than what there is: {of} {longest} frames. {shorter}{needs} "
        f"and stride={stride}, part of the time being held out."
    )


def _notes(windows: AtomWindows, runs: list[tuple[int, int, int]]) -> tuple[str, ...]:
    window = windows.window
    short = [f"{r} ({last - first} frames)" for first, last, r in runs if last - first < window]
    notes = []
    if short:
        notes.append(f"Left out, shorter than window={window}: replica {', '.join(short)}.")
    if windows.n_counted < MIN_WINDOWS:
        notes.append(
            f"Only {windows.n_counted} windows of each atom, fewer than {MIN_WINDOWS} (windows "
            "that overlap by more than three quarters are not counted): intervals of ranks are "
            "wide."
        )
    return tuple(notes)


def _differences(C: np.ndarray, lag: int) -> np.ndarray:
    change = np.zeros_like(C)
    change[lag:] = np.abs(C[lag:] - C[:-lag])
    return np.stack([C, change], axis=1)


def _moments(C: np.ndarray, lag: int) -> np.ndarray:
    """Mean and standard deviation over the last frames, by differences of running sums."""
    count = np.minimum(np.arange(1, len(C) + 1), lag)[:, None, None]
    mean = _trailing_sum(C, lag) / count
    variance = _trailing_sum(C.astype(np.float64) ** 2, lag) / count - mean**2
    return np.stack([mean, np.sqrt(np.clip(variance, 0, None))], axis=1).astype(np.float32)


def _trailing_sum(x: np.ndarray, lag: int) -> np.ndarray:
    total = np.cumsum(x, axis=0, dtype=np.float64)
    total[lag:] = total[lag:] - total[:-lag].copy()
    return total
