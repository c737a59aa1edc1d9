"""What a run of the study does: one frozen set of choices, with presets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from labkit.choices import not_allowed, preset_changes, require_folder, require_whole
from labkit.clot.forcefield import require_positive
from labkit.clot.scenes import Scene, scene
from labkit.errors import ParameterError

SCENES = ("collision", "clot")
FLOWS = ("reverse-poiseuille", "shear")
CONTROLLERS = ("learned", "lstm", "gru", "displacement", "doubling", "fixed")
ENGINES = ("respa", "split")
MAX_SEED = 2**31 - 1
MAX_SEEDS = 100
MAX_RANKS = 1024


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
        of the amplitude with which heat shakes a membrane spring.
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
        MPI ranks of the run that the scaling model is fitted to, besides one rank; 1 leaves the
        communication at its shipped constants.
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
    lesson_time: float = 2.0
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
        given = preset_changes(preset, overrides, PRESETS)
        return dataclasses.replace(PRESETS[preset], **given).validate()

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
        _check_numbers(self)
        self.system()
        return self


def _check_names(config: ClotConfig) -> None:
    allowed = {"scene": SCENES, "flow": FLOWS, "controller": CONTROLLERS, "engine": ENGINES}
    for name, choices in allowed.items():
        if getattr(config, name) not in choices:
            raise ParameterError(not_allowed(name, getattr(config, name), choices))
    if not isinstance(config.compare, bool):
        raise ParameterError(not_allowed("compare", config.compare, (True, False)))
    if config.out_dir is not None:
        require_folder("out_dir", config.out_dir)


def _check_numbers(config: ClotConfig) -> None:
    require_whole("seeds", config.seeds, low=2, high=MAX_SEEDS)
    require_whole("ranks", config.ranks, low=1, high=MAX_RANKS)
    require_whole("seed", config.seed, low=0, high=MAX_SEED - MAX_SEEDS)
    for name in ("time", "plasma_time", "tumbling_strain", "lesson_time"):
        require_positive(name, getattr(config, name))
    if config.tolerance is not None:
        require_positive("tolerance", config.tolerance)
    rate: Any = config.shear_rate
    known = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not known or not math.isfinite(rate) or rate <= 0:
        raise ParameterError(
            f"shear_rate={rate!r} is not allowed; use a number above 0, as the platelets of this "
            "study tumble and meet in shear (labkit.clot.scenes has plasma at rest)."
        )


PRESETS = {
    "quick": ClotConfig(preset="quick"),
    "full": ClotConfig(
        preset="full",
        scene="clot",
        time=24.0,
        seeds=5,
        compare=True,
        plasma_time=400.0,
        tumbling_strain=14.0,
        lesson_time=5.0,
        ranks=2,
    ),
}
"""``quick`` is a lesson in a minute; ``full`` runs the ensembles, about 10 minutes on two cores."""
