"""The impulse scheme of four time steps in NumPy: all pairs, exact images, nothing wrapped.

Independent of LAMMPS and of neighbor lists; at zero temperature.
"""

from __future__ import annotations

import numpy as np

from labkit.clot.suspension import CYTOPLASM, MEMBRANE


class ImpulseScheme:
    """Positions and velocities that do not jump, advanced by plans."""

    def __init__(self, suspension, forcefield, rate, snapshot):
        self.suspension, self.forcefield, self.rate = suspension, forcefield, rate
        self.box, self.time, self.tilt = suspension.box, 0.0, snapshot.tilt
        self.x, self.v = snapshot.unwrapped(), snapshot.v.copy()
        self.v[:, 0] += snapshot.image[:, 1] * rate * self.box[1]
        n = suspension.n_beads
        self.beads, self.plasma = slice(n), slice(n, None)
        kinds, platelet = suspension.types[:n], suspension.molecule[:n]
        bonded = np.zeros((n, n), dtype=bool)
        bonded[tuple(suspension.bonds.T)] = bonded[tuple(suspension.bonds[:, ::-1].T)] = True
        inside = kinds == CYTOPLASM
        membrane = kinds == MEMBRANE
        self.cytoplasm_pairs = (inside[:, None] | inside) & ~bonded
        self.receptor_pairs = membrane[:, None] & membrane & (platelet[:, None] != platelet)

    def run(self, plan, n_steps):
        h4, h3, h2, h1 = plan.steps
        n3, n2, n1 = plan.ratios
        f4, f3, f2, f1 = self.fluid(), self.interface(), self.contacts(), self.springs()
        beads, plasma = self.beads, self.plasma
        for _ in range(n_steps):
            self.v[plasma] += h4 / 2 * f4
            for _ in range(n3):
                self.v += h3 / 2 * f3
                for _ in range(n2):
                    self.v[beads] += h2 / 2 * f2
                    for _ in range(n1):
                        self.v[beads] += h1 / 2 * f1
                        self.x[beads] += h1 * self.v[beads]
                        f1 = self.springs()
                        self.v[beads] += h1 / 2 * f1
                    self.time += h2
                    f2 = self.contacts()
                    self.v[beads] += h2 / 2 * f2
                self.x[plasma] += h3 * self.v[plasma]
                f3 = self.interface()
                self.v += h3 / 2 * f3
            f4 = self.fluid()
            self.v[plasma] += h4 / 2 * f4

    def offsets(self, first, second):
        """Return vectors from second to first at their nearest images, and velocities likewise."""
        r = self.x[first][:, None] - self.x[second]
        v = self.v[first][:, None] - self.v[second]
        shift = self.tilt + self.rate * self.box[1] * self.time
        up = np.rint(r[..., 1] / self.box[1])
        r[..., 1] -= up * self.box[1]
        r[..., 0] -= up * shift
        v[..., 0] -= up * self.rate * self.box[1]
        r[..., [0, 2]] -= np.rint(r[..., [0, 2]] / self.box[[0, 2]]) * self.box[[0, 2]]
        distance = np.linalg.norm(r, axis=-1)
        distance[distance == 0] = np.inf
        return r / distance[..., None], distance, v

    def fluid(self):
        e, r, v = self.offsets(self.plasma, self.plasma)
        w = np.clip(1 - r, 0, None)
        plasma = self.forcefield.plasma
        size = plasma.a * w - plasma.gamma * w**2 * np.einsum("ijk,ijk->ij", e, v)
        return np.einsum("ij,ijk->ik", size, e)

    def interface(self):
        e, r, v = self.offsets(self.beads, self.plasma)
        wall = self.forcefield.interface
        s = (wall.sigma / r) ** 6
        size = np.where(r < wall.cutoff, 24 * wall.epsilon * (2 * s**2 - s) / r, 0.0)
        w = np.clip(1 - r, 0, None)
        size -= wall.gamma * w**2 * np.einsum("ijk,ijk->ij", e, v)
        pairs = size[..., None] * e
        return np.concatenate([pairs.sum(axis=1), -pairs.sum(axis=0)])

    def contacts(self):
        e, r, _ = self.offsets(self.beads, self.beads)
        size = np.where(self.cytoplasm_pairs, morse(r, self.forcefield.cytoplasm), 0.0)
        size += np.where(self.receptor_pairs, morse(r, self.forcefield.receptors), 0.0)
        return np.einsum("ij,ijk->ik", size, e)

    def springs(self):
        first, second = self.suspension.bonds.T
        membrane = self.forcefield.membrane
        stiffness = np.where(self.suspension.is_strut, membrane.K_strut, membrane.K_edge)
        r = self.x[first] - self.x[second]
        length = np.linalg.norm(r, axis=1)
        rest = np.round(self.suspension.rest_lengths, 9)
        pull = (-2 * stiffness * (length - rest) / length)[:, None] * r
        f = np.zeros((self.suspension.n_beads, 3))
        np.add.at(f, first, pull)
        np.add.at(f, second, -pull)
        return f


def morse(r, constants):
    """Return the force of a Morse potential, positive outward; nothing beyond its cutoff."""
    decay = np.exp(-constants.alpha * (r - constants.r0))
    size = 2 * constants.D * constants.alpha * (decay**2 - decay)
    return np.where(r < constants.cutoff, size, 0.0)
