r"""Trajectories with a planted hotspot, on which only the order of the frames tells the answer.

Five five-membered rings (:data:`ROLES`) lie far apart, each with residues of its own: one bead
per residue, at a distance :math:`r` from the ring's center in a direction within
:data:`_CONE_DEG` of the ring's normal. Beads and atoms move in three dimensions and the contacts
are the Euclidean distances between them, so that neighboring atoms of a ring share what they see
and the ligand's fluctuation is what it would be from coordinates. It is a scene, not a molecule:
nothing is bonded, nothing has an energy.

============  ========  ==========================================================================
role          residues  motion of its residues
============  ========  ==========================================================================
anchor        2         always in contact
hotspot       3 x 2     a Markov chain over three states; in state k the k-th pair is in contact
decoy         3 x 2     the hotspot's own states in random order: equal marginals, no memory
thermal       8         each jitters about the contact distance, anew in every frame
breathing     8         all move in and out together, correlation time 2 frames
============  ========  ==========================================================================

The chain leaves its state with probability :math:`1/\tau` per frame, to either other state, so a
dwell time :math:`D` is geometric,

.. math::

    P(D = d) = \tfrac{1}{\tau} (1 - \tfrac{1}{\tau})^{d - 1}, \qquad \langle D \rangle = \tau ,

and the three states are equally likely (Norris, *Markov Chains*, 1997, section 1.1). Every atom
has two contacts on average whatever its role, every atom fluctuates by 0.15 A, and the decoy has
exactly the hotspot's occupancies; thermal and breathing atoms have a higher contact entropy than
the hotspot, the anchor a lower one. Scores that forget the order of the frames therefore cannot
find the hotspot, and shuffling the frames (:func:`time_shuffle`) must cost a score that can.

================  ===================  ==================================================
symbol            variable             meaning
================  ===================  ==================================================
:math:`\tau`      ``dwell``            mean dwell time of a hotspot state, frames
:math:`r`         ``_IN``, ``_OUT``    bead to ring center, in and out of contact, angstrom
================  ===================  ==================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from labkit.errors import ParameterError
from labkit.hotspots.contacts import ContactMatrices

ROLES = ("anchor", "hotspot", "decoy", "thermal", "breathing")
KINDS = ("hotspot", "null")
CUTOFF = 8.0

_N_STATES = 3
_PER_STATE = 2
_RESIDUES = {"anchor": 2, "hotspot": 6, "decoy": 6, "thermal": 8, "breathing": 8}
_RING_ATOMS = 5
_RING_RADIUS = 1.2
_SPACING = 40.0
_CONE_DEG = 25.0
_IN, _OUT = 3.6, 6.9
_EDGE = 4.9
_SWING = 0.6
_BEAD_NOISE = 0.25
_ATOM_RMSF = 0.15
_BREATHING_MEMORY = np.exp(-1 / 2.0)
_SHORTEST, _DWELLS = 240, 5


@dataclass(frozen=True, eq=False)
class Planted:
    """A planted trajectory and its truth.

    Attributes
    ----------
    contacts : ContactMatrices
        25 atoms and 30 residues in an order drawn from the seed; cutoff 8 A.
    roles : ndarray of str, shape (n_atoms,)
        One of :data:`ROLES`; in a null trajectory the hotspot's atoms are called anchor.
    fragment : ndarray of int, shape (n_atoms,)
        Ring of each atom, by its place in :data:`ROLES`; 1 is the (would-be) hotspot.
    states, decoy_states : ndarray of int, shape (n_frames,)
        Which pair of residues is in contact with the hotspot and with the decoy; the hotspot of a
        null trajectory stays in state 0.
    ligand_positions : ndarray of float32, shape (n_frames, n_atoms, 3)
        Angstrom.
    dwell : float
        Mean dwell time, frames.
    kind : {"hotspot", "null"}
    seed : int
    """

    contacts: ContactMatrices
    roles: np.ndarray
    fragment: np.ndarray
    states: np.ndarray
    decoy_states: np.ndarray
    ligand_positions: np.ndarray
    dwell: float
    kind: str
    seed: int

    @property
    def is_hotspot(self) -> np.ndarray:
        """Which atoms are dynamic, shape (n_atoms,)."""
        return self.roles == "hotspot"

    @property
    def rmsf(self) -> np.ndarray:
        """Root mean square fluctuation of each atom, shape (n_atoms,), angstrom."""
        positions = self.ligand_positions.astype(float)
        offset = positions - positions.mean(axis=0)
        return np.sqrt((offset**2).sum(axis=2).mean(axis=0))


def planted_trajectory(
    *, seed: int, n_frames: int | None = None, dwell: float = 25, kind: str = "hotspot"
) -> Planted:
    """Contacts of a ligand of which one ring keeps changing its surroundings.

    Parameters
    ----------
    seed : int
    n_frames : int, optional
        Default: 240 or five dwell times, whichever is longer.
    dwell : float
        Mean dwell time of the hotspot's states in frames, 1 or more.
    kind : {"hotspot", "null"}
        In a null trajectory the hotspot never leaves its first state: a second anchor.

    Returns
    -------
    Planted

    Raises
    ------
    ParameterError
        Unknown kind, dwell under 1, or fewer than two frames.

    Examples
    --------
    >>> planted = planted_trajectory(seed=0)
    >>> planted.contacts.distances.shape
    (240, 25, 30)
    >>> planted.roles[planted.is_hotspot]
    array(['hotspot', 'hotspot', 'hotspot', 'hotspot', 'hotspot'], dtype='<U9')
    """
    n_frames = _checked_length(n_frames, dwell, kind)
    rng = np.random.default_rng(seed)
    chain = _markov_chain(n_frames, dwell, rng)
    states = chain if kind == "hotspot" else np.zeros_like(chain)
    decoy_states = rng.permutation(chain)
    radii = {
        "anchor": np.full((n_frames, _RESIDUES["anchor"]), _IN),
        "hotspot": _switching(states),
        "decoy": _switching(decoy_states),
        "thermal": _EDGE + rng.normal(0, _SWING, (n_frames, _RESIDUES["thermal"])),
        "breathing": _breathing(n_frames, rng),
    }
    atoms, distances = _scene(radii, rng)
    fragment = np.repeat(np.arange(len(ROLES)), _RING_ATOMS)
    roles = np.array(ROLES)[fragment]
    if kind == "null":
        roles = np.where(roles == "hotspot", "anchor", roles)
    columns = rng.permutation(distances.shape[2])
    return Planted(
        contacts=_as_contacts(distances[:, :, columns]),
        roles=roles,
        fragment=fragment,
        states=states,
        decoy_states=decoy_states,
        ligand_positions=atoms,
        dwell=float(dwell),
        kind=kind,
        seed=seed,
    )


def time_shuffle(contacts: ContactMatrices, *, seed: int) -> ContactMatrices:
    """The same frames in random order, each replica by itself.

    What a frame holds and how often is kept; what follows what is lost. A score that is (nearly)
    unchanged by this does not measure dynamics.

    Parameters
    ----------
    contacts : ContactMatrices
    seed : int

    Returns
    -------
    ContactMatrices
        Frame numbers and replicas stay where they were.
    """
    rng = np.random.default_rng(seed)
    order = np.arange(len(contacts.distances))
    for replica in np.unique(contacts.replica):
        places = np.flatnonzero(contacts.replica == replica)
        order[places] = rng.permutation(places)
    return replace(contacts, distances=contacts.distances[order])


def _checked_length(n_frames: int | None, dwell: float, kind: str) -> int:
    if kind not in KINDS:
        raise ParameterError(f"kind={kind!r} is not one of {', '.join(KINDS)}.")
    if not dwell >= 1:
        raise ParameterError(f"dwell={dwell} frames: a state lasts 1 frame or longer.")
    if n_frames is None:
        return max(_SHORTEST, int(np.ceil(_DWELLS * dwell)))
    if n_frames < 2:
        raise ParameterError(f"n_frames={n_frames}: a trajectory has 2 frames or more.")
    return n_frames


def _markov_chain(n_frames: int, dwell: float, rng: np.random.Generator) -> np.ndarray:
    """States of a chain that leaves with probability 1/dwell, from its stationary start."""
    jumps = rng.random(n_frames - 1) < 1 / dwell
    steps = np.where(jumps, rng.integers(1, _N_STATES, n_frames - 1), 0)
    return (rng.integers(_N_STATES) + np.concatenate([[0], np.cumsum(steps)])) % _N_STATES


def _switching(states: np.ndarray) -> np.ndarray:
    """Bead radii, shape (n_frames, n_states * per_state): the state's own pair is in."""
    owner = np.repeat(np.arange(_N_STATES), _PER_STATE)
    return np.where(states[:, None] == owner, _IN, _OUT)


def _breathing(n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One stationary AR(1) displacement for all beads, standard deviation `_SWING`."""
    kicks = rng.normal(0, _SWING, n_frames)
    kicks[1:] *= np.sqrt(1 - _BREATHING_MEMORY**2)
    swing = np.empty(n_frames)
    swing[0] = kicks[0]
    for t in range(1, n_frames):
        swing[t] = _BREATHING_MEMORY * swing[t - 1] + kicks[t]
    return np.repeat(_EDGE + swing[:, None], _RESIDUES["breathing"], axis=1)


def _scene(radii: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ligand positions (n_frames, n_atoms, 3) and distances (n_frames, n_atoms, n_residues)."""
    atoms, beads = [], []
    for number, role in enumerate(ROLES):
        center = np.array([_SPACING * number, 0.0, 0.0])
        n_frames, n_beads = radii[role].shape
        ring = np.broadcast_to(center + _ring(), (n_frames, _RING_ATOMS, 3))
        atoms.append(ring + rng.normal(0, _ATOM_RMSF / np.sqrt(3), ring.shape))
        bead = center + radii[role][:, :, None] * _directions(n_beads)
        beads.append(bead + rng.normal(0, _BEAD_NOISE, bead.shape))
    ligand, protein = np.concatenate(atoms, axis=1), np.concatenate(beads, axis=1)
    distances = np.linalg.norm(ligand[:, :, None] - protein[:, None], axis=3)
    return ligand.astype(np.float32), distances


def _ring() -> np.ndarray:
    angle = 2 * np.pi * np.arange(_RING_ATOMS) / _RING_ATOMS
    return _RING_RADIUS * np.stack([np.cos(angle), np.sin(angle), np.zeros(_RING_ATOMS)], axis=1)


def _directions(n_beads: int) -> np.ndarray:
    """Unit vectors, alternately above and below the ring, evenly turned about its normal."""
    number = np.arange(n_beads)
    tilt, turn = np.radians(_CONE_DEG), 2 * np.pi * number / n_beads
    side = np.where(number % 2 == 0, 1.0, -1.0)
    flat = np.sin(tilt) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.concatenate([flat, (side * np.cos(tilt))[:, None]], axis=1)


def _as_contacts(distances: np.ndarray) -> ContactMatrices:
    n_frames, n_atoms, n_residues = distances.shape
    return ContactMatrices(
        distances=np.where(distances < CUTOFF, distances, np.inf).astype(np.float32),
        cutoff=CUTOFF,
        atom_names=tuple(f"C{i + 1}" for i in range(n_atoms)),
        residue_labels=tuple(f"SIM{i + 1}" for i in range(n_residues)),
        residue_indices=np.arange(n_residues),
        frames=np.arange(n_frames),
        replica=np.zeros(n_frames, dtype=int),
    )
