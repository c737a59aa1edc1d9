"""What decides the frames of a run, apart from the system, and its checks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from labkit.errors import ParameterError


@dataclass(frozen=True)
class MDSettings:
    """Lengths, step, thermostat and seed of a run; see `labkit.hotspots.simulate.run_md`.

    Raises
    ------
    ParameterError
        A number is out of range, or times are not multiples of each other.

    Examples
    --------
    >>> MDSettings(ps=50, report_ps=0.2).frames
    250
    """

    ps: float = 50.0
    report_ps: float = 0.2
    equilibrate_ps: float = 2.0
    dt_fs: float = 4.0
    temperature_K: float = 300.0
    friction_per_ps: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("ps", "report_ps", "dt_fs", "temperature_K", "friction_per_ps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f"{name}={value} is not allowed; give a positive number.")
        if not (math.isfinite(self.equilibrate_ps) and self.equilibrate_ps >= 0):
            raise ParameterError(f"equilibrate_ps={self.equilibrate_ps} must be 0 or more.")
        if isinstance(self.seed, bool) or int(self.seed) != self.seed or self.seed < 0:
            raise ParameterError(f"seed={self.seed!r} is not a whole number of 0 or more.")
        self._check_multiple("report_ps", self.report_ps, "dt_fs", self.dt_fs / 1000)
        self._check_multiple("ps", self.ps, "report_ps", self.report_ps)

    def _check_multiple(self, name: str, whole: float, part_name: str, part: float) -> None:
        ratio = whole / part
        if ratio < 0.5 or abs(ratio - round(ratio)) > 1e-6 * ratio:
            raise ParameterError(
                f"{name}={getattr(self, name):g} is not a multiple of "
                f"{part_name}={getattr(self, part_name):g}; choose one that is."
            )

    @property
    def steps(self) -> int:
        """Steps between frames."""
        return round(1000 * self.report_ps / self.dt_fs)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return round(self.ps / self.report_ps)

    def random(self, part: int) -> int:
        """Seed for a part of the run, in the range that OpenMM takes.

        Part 0 is the equilibration. 0 would ask OpenMM for a random seed.
        """
        sequence = np.random.SeedSequence([self.seed, part])
        return int(sequence.generate_state(1)[0] % (2**31 - 2)) + 1
