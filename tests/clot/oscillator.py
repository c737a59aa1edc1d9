"""A simulation with a closed form, for what does not depend on forces: one particle on a spring."""

from types import SimpleNamespace

import numpy as np

from labkit.clot.flows import Quiescent
from labkit.clot.simulation import EngineError, Segment
from labkit.clot.state import Snapshot


class Oscillator:
    """x'' = -omega^2 x along x for one particle, integrated by velocity Verlet."""

    def __init__(self, omega):
        self.omega, self.time, self.segments = omega, 0.0, []
        self.suspension = SimpleNamespace(n_platelets=1, n_beads=1, beads=lambda p: slice(0, 1))
        self.flow = Quiescent()
        self.x, self.v = 1.0, 0.0

    def run(self, plan, time, *, noise=True, bins=None):
        h = plan.fluid
        for _ in range(plan.n_fluid_steps(time)):
            self.v -= h / 2 * self.omega**2 * self.x
            self.x += h * self.v
            self.v -= h / 2 * self.omega**2 * self.x
            if abs(self.x) > 10:
                raise EngineError("blew up")
        evaluations = plan.evaluations(time)
        self.segments.append(
            Segment(
                plan=plan,
                start=self.time,
                time=time,
                evaluations=evaluations,
                cpu_seconds=0.0,
                wall_seconds=0.0,
            )
        )
        self.time += time

    def snapshot(self):
        x, v = (np.array([[value, 0.0, 0.0]]) for value in (self.x, self.v))
        return Snapshot(x, v, np.zeros((1, 3), dtype=np.int32), np.ones(3), time=self.time)

    def restore(self, snapshot):
        self.x, self.v, self.time = snapshot.x[0, 0], snapshot.v[0, 0], snapshot.time
