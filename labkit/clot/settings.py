"""What a run of the study does: one frozen set of choices, with presets."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.choices import not_allowed, preset_changes, require_folder, require_whole
from labkit.clot.platelet import check_shape
from labkit.clot.scenes import MOST_PLATELETS, Scene, scene
from labkit.errors import ParameterError

SCENES = ("collision", "clot")
FLOWS = ("reverse-poiseuille", "shear")
CONTROLLERS = ("learned", "lstm", "gru", "displacement", "doubling", "fixed")
ENGINES = ("respa", "split")
MAX_SEED = 2**31 - 1
MAX_SEEDS = 100


@dataclass(frozen=True)
class Range:
    """Values that a number may have, both ends included.

    Attributes
    ----------
    low, high : float
    unit : str
    reason : str
        Why not less or more, as a clause.
    """

    low: float
    high: float
    unit: str
    reason: str

    def check(self, name: str, value: object) -> None:
        """Refuse what is no number of the range.

        Raises
        ------
        ParameterError
            Naming the choice, its value, both ends and the reason.
        """
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not self.low <= value <= self.high:  # type: ignore[operator]
            raise ParameterError(
                f"{name}={value!r} is not allowed; use a number from {self.low:g} to "
                f"{self.high:g}{self.unit}: {self.reason}."
            )


_LONG = "less is no whole segment, and more is years of computing"
RANGES = {
    "shear_rate": Range(
        0.001,
        0.5,
        " per time unit",
        "a slower platelet takes hours of computing to tumble, and a faster flow heats the plasma",
    ),
    "platelet_a": Range(
        1.2, 10.0, " rc", "less has no room for cytoplasm, and more fills the machine with plasma"
    ),
    "platelet_c": Range(
        0.6, 6.0, " rc", "less has no room for cytoplasm, and more fills the machine with plasma"
    ),
    "receptor_D": Range(
        0.01, 20.0, "", "receptors deeper than that heat the platelets that they bind beyond use"
    ),
    "receptor_alpha": Range(
        3.0,
        100.0,
        " per rc",
        "wider receptors pull membranes through each other, and narrower ones never bind",
    ),
    "tolerance": Range(1e-9, 0.1, " rc", "more is no error but another simulation"),
    "time": Range(0.5, 1e5, "", _LONG),
    "plasma_time": Range(5.0, 1e5, "", "less has no steady profile, and more is days of computing"),
    "tumbling_strain": Range(2.0, 1e3, "", "less shows no turn, and more is days of computing"),
    "lesson_time": Range(0.5, 1e3, "", "less is all noise, and more is days of computing"),
}
"""Of all choices that are numbers."""


@dataclass(frozen=True)
class ClotConfig:
    """Choices of one run of the study.

    Attributes
    ----------
    preset : str
        Name of the preset that the choices started from.
    scene : {"collision", "clot"}
        What aggregates: two platelets, or `n_platelets` of them.
    flow : {"reverse-poiseuille", "shear"}
        Flow in which the plasma alone is checked.
    shear_rate : float
        Of the platelets' flow [1/time].
    n_platelets : int
        Of scene clot.
    platelet_a, platelet_c : float
        Semi-axes [rc].
    receptor_D, receptor_alpha : float, optional
        Depth [energy] and inverse width [1/rc] of the receptors' potential; None leaves those that
        the shipped networks were trained with.
    controller : str
        Who chooses the step plan of each segment: one of `CONTROLLERS`.
    tolerance : float, optional
        Largest error of a platelet's beads in a window that a plan may make [rc]; None is a tenth
        of the amplitude with which heat shakes a membrane spring. "lstm" and "gru" were trained
        for that one; "displacement" and "fixed" know no error.
    engine : {"respa", "split"}
        One LAMMPS for all, or one for the plasma and one for the platelets.
    time : float
        Length of the aggregation run [time].
    seeds : int
        Members of every ensemble.
    compare : bool
        Run every controller on every seed; without it they are compared on stored labels alone.
    plasma_time, tumbling_strain, lesson_time : float
        Length of the plasma check [time], of the tumbling [strain], and of each run of the noise
        lesson [time].
    ranks : int
        MPI ranks of the runs that `labkit.clot.parallel_runs` compares with runs on one; 1 leaves
        them out. Of a preset, no more than this machine has cores.
    seed : int
        The first of the ensemble's.
    out_dir : str, optional
        Folder for raw runs, tables and LAMMPS decks; None means no export.

    Examples
    --------
    >>> config = ClotConfig.from_preset("quick", shear_rate=0.1, seeds=None)
    >>> config.shear_rate, config.preset
    (0.1, 'quick')
    """

    preset: str = "custom"
    scene: str = "collision"
    flow: str = "reverse-poiseuille"
    shear_rate: float = 0.2
    n_platelets: int = 8
    platelet_a: float = 2.0
    platelet_c: float = 0.6
    receptor_D: float | None = None
    receptor_alpha: float | None = None
    controller: str = "learned"
    tolerance: float | None = None
    engine: str = "respa"
    time: float = 16.0
    seeds: int = 2
    compare: bool = False
    plasma_time: float = 100.0
    tumbling_strain: float = 6.0
    lesson_time: float = 3.0
    ranks: int = 1
    seed: int = 0
    out_dir: str | None = None

    @classmethod
    def from_preset(cls, preset: str = "quick", **overrides: Any) -> ClotConfig:
        """A preset with some choices changed, checked.

        Parameters
        ----------
        preset : {"quick", "full"}
            Where to start.
        **overrides
            Fields of this class; None means "as in the preset".

        Raises
        ------
        ParameterError
            If the preset or a field is not known, or a value is not allowed.
        """
        if not isinstance(preset, str):
            raise ParameterError(not_allowed("preset", preset, PRESETS))
        plain = {name: _plain(value) for name, value in overrides.items()}
        given = preset_changes(preset, plain, PRESETS)
        start = PRESETS[preset]
        start = dataclasses.replace(start, ranks=min(start.ranks, usable_cores()))
        return dataclasses.replace(start, **given).validate()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def system(self, *, seed: int | None = None) -> Scene:
        """What aggregates."""
        wanted: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("shear_rate", "platelet_a", "platelet_c", "receptor_D", "receptor_alpha")
        }
        if self.scene == "clot":
            wanted["n_platelets"] = self.n_platelets
        return scene(self.scene, seed=self.seed if seed is None else seed, **wanted)

    def ensemble(self) -> range:
        """Seeds of the ensemble."""
        return range(self.seed, self.seed + self.seeds)

    def validate(self) -> ClotConfig:
        """Return the configuration itself if it makes sense.

        Raises
        ------
        ParameterError
            Naming the choice, its value and what is allowed.
        """
        _check_names(self)
        _check_counts(self)
        for name, allowed in RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                allowed.check(name, value)
        check_shape(self.platelet_a, self.platelet_c, prefix="platelet_")
        if self.scene == "clot" and self.shear_rate > FASTEST_CLOT:
            raise ParameterError(
                f"shear_rate={self.shear_rate:g} is not allowed with scene='clot'; use at most "
                f"{FASTEST_CLOT:g}, as platelets that bind faster heat the plasma to twice its "
                "temperature."
            )
        return self


FASTEST_CLOT = 0.3
"""Shear rate up to which clots stay within the guard's limits [1/time]."""
_MAY_BE_NONE = ("receptor_D", "receptor_alpha", "tolerance")


def _plain(value: object) -> object:
    """Return a number of numpy as one of Python, which JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_names(config: ClotConfig) -> None:
    allowed = {"scene": SCENES, "flow": FLOWS, "controller": CONTROLLERS, "engine": ENGINES}
    for name, choices in allowed.items():
        if getattr(config, name) not in choices:
            raise ParameterError(not_allowed(name, getattr(config, name), choices))
    if not isinstance(config.compare, bool):
        raise ParameterError(not_allowed("compare", config.compare, (True, False)))
    if config.out_dir is not None:
        _check_folder(config.out_dir)


def _check_folder(out_dir: object) -> None:
    if not isinstance(out_dir, str) or not out_dir.strip() or "\0" in out_dir:
        raise ParameterError(f"out_dir={out_dir!r} is not allowed; use a path as text, or None.")
    try:
        require_folder("out_dir", out_dir)
    except ParameterError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ParameterError(
            f"out_dir={out_dir!r} cannot be a folder ({reason}); name another one."
        ) from error


def _check_counts(config: ClotConfig) -> None:
    require_whole("seeds", config.seeds, low=2, high=MAX_SEEDS)
    require_whole("ranks", config.ranks, low=1)
    require_whole("seed", config.seed, low=0, high=MAX_SEED - MAX_SEEDS)
    require_whole("n_platelets", config.n_platelets, low=2, high=MOST_PLATELETS)
    if config.ranks > usable_cores():
        raise ParameterError(
            f"ranks={config.ranks} is not allowed, as this process may use {usable_cores()} cores; "
            "use no more than that."
        )


PRESETS = {
    "quick": ClotConfig(preset="quick"),
    "full": ClotConfig(
        preset="full",
        scene="clot",
        shear_rate=0.1,
        time=16.0,
        seeds=5,
        compare=True,
        plasma_time=400.0,
        tumbling_strain=14.0,
        lesson_time=5.0,
        ranks=2,
        seed=100,
    ),
}
"""``quick`` is a lesson in a minute; ``full`` runs the ensembles, about 10 minutes on two cores,
with seeds that no shipped label has."""
